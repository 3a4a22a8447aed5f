//! The page as clients of a proxy see it: where it is, who may see it, and what they asked for.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use control::config::{ServerId, StatsPage};
use tokio::sync::mpsc;

use super::page::{Filter, Legends};
use super::{Stats, csv, dump, manage, page};
use crate::base64;
use crate::message::head::RequestHead;
use crate::reply::Reply;
use crate::rules::hostname;
use crate::sessions::{Mark, Which};
use crate::stats::overview::Overview;

/// What a client of the page may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// It may look.
    Reader,
    /// It may change servers.
    Administrator,
}

/// Where clients of a proxy see the statistics.
#[derive(Debug)]
pub(crate) struct Entrance {
    uri: String,
    challenge: String,
    /// What clients that may see it send.
    credentials: Vec<String>,
    refresh: Option<Duration>,
    title: String,
    /// The only proxies it shows; all where there is none.
    scope: Option<Vec<String>>,
    legends: Legends,
}

/// What pages show, and what they can end.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) stats: Stats,
    /// Takes sessions that are to end.
    ends: mpsc::Sender<Which>,
}

impl Shown {
    /// Has all sessions with a server ended, and tells whether that is under way.
    pub(super) fn end_sessions(&self, server: ServerId) -> bool {
        let site = std::sync::Arc::clone(&self.stats.site.borrow());
        let machine = site.backends().iter().flat_map(|backend| backend.servers()).find(|machine| machine.model().id() == server);
        machine.is_some_and(|machine| self.ends.try_send(Which::OfServer(Mark::of(machine.meter()))).is_ok())
    }
}

static SHOWN: OnceLock<Shown> = OnceLock::new();

/// Lets every proxy that has a page show these numbers from now on, and end sessions by `ends`.
pub(crate) fn show(stats: Stats, ends: mpsc::Sender<Which>) {
    // A process has only one set of numbers.
    let _ = SHOWN.set(Shown { stats, ends });
}

/// Answers who scrapes metrics by a rule.
pub(crate) fn scrape(head: &RequestHead) -> Reply {
    let Some(Shown { stats, .. }) = SHOWN.get() else { return Reply::page(503) };
    let query = head.target_parts().query.unwrap_or_default();
    let scraped = control::exposition::scrape(&String::from_utf8_lossy(query), |metrics| stats.write(metrics));
    let Ok((content_type, text)) = scraped else { return Reply::page(400) };
    let mut reply = Reply::new(200);
    reply.add(b"Cache-Control", b"no-store").expect("plain text");
    set_body(&mut reply, head, (content_type, text));
    reply
}

/// Gives an answer its text, compressed for who takes it so.
fn set_body(reply: &mut Reply, asker: &RequestHead, (content_type, text): (&str, String)) {
    reply.add(b"Vary", b"Accept-Encoding").expect("plain text");
    let squeezed = control::exposition::gzip(asker.headers.all("accept-encoding"), text.as_bytes());
    if squeezed.is_some() {
        reply.add(b"Content-Encoding", b"gzip").expect("plain text");
    }
    reply.set_body(content_type.as_bytes(), squeezed.unwrap_or_else(|| text.into_bytes()));
}

impl Entrance {
    /// Returns the entrance of a proxy that a configuration describes.
    pub(crate) fn new(model: &StatsPage, proxy: &str) -> Self {
        let mut title = if model.hides_version() { "l7d".to_owned() } else { format!("l7d {}", env!("CARGO_PKG_VERSION")) };
        if let Some(node) = model.node() {
            let _ = write!(title, " on {}", node.unwrap_or_else(|| hostname()));
        }
        if let Some(description) = model.description() {
            let _ = write!(title, ": {description}");
        }
        Self {
            uri: model.uri().to_owned(),
            challenge: format!("Basic realm=\"{}\"", model.realm().replace('\\', "\\\\").replace('"', "\\\"")),
            credentials: model.accounts().iter().map(|account| base64::encode(account.as_bytes())).collect(),
            refresh: model.refresh(),
            title,
            scope: model.scope().map(|names| names.iter().map(|name| if name == "." { proxy } else { name }.to_owned()).collect()),
            legends: if model.shows_legends() { Legends::Shown } else { Legends::Hidden },
        }
    }

    /// Tells whether a request is for the page.
    pub(crate) fn is_for(&self, head: &RequestHead) -> bool {
        SHOWN.get().is_some() && self.is_at(head)
    }

    /// Tells whether the page is what a request names, there or not.
    pub(crate) fn is_at(&self, head: &RequestHead) -> bool {
        self.options(head).is_some()
    }

    /// Returns what stands behind the address of the page; none in a request for something else.
    fn options<'h>(&self, head: &'h RequestHead) -> Option<&'h str> {
        let target = str::from_utf8(head.target()).ok()?;
        origin_form(target).strip_prefix(self.uri.as_str())
    }

    /// Answers a request for the page.
    pub(crate) fn answer(&self, head: &RequestHead, visitor: Visitor) -> Reply {
        let (Some(shown), Some(rest)) = (SHOWN.get(), self.options(head)) else { return Reply::page(404) };
        if !self.admits(head) {
            let mut reply = Reply::page(401);
            reply.revise(|head| {
                head.headers
                    .append(b"WWW-Authenticate", self.challenge.as_bytes())
                    .expect("the configuration allows no control characters");
            });
            return reply;
        }
        if head.method_text() == b"POST" {
            return self.change(shown, head, visitor);
        }
        self.show(&shown.stats, (head, rest), visitor)
    }

    /// Carries out a form that an administrator sends, and sends the client back to the page.
    fn change(&self, shown: &Shown, head: &RequestHead, visitor: Visitor) -> Reply {
        let form = head.seen.as_deref().unwrap_or_default();
        let outcome = match visitor {
            Visitor::Reader => manage::Outcome::Denied,
            Visitor::Administrator if manage::is_foreign(head) => manage::Outcome::Denied,
            Visitor::Administrator if form.len() > LONGEST_FORM => manage::Outcome::TooLong,
            Visitor::Administrator => manage::carry_out(shown, form),
        };
        let up = if self.options(head).is_some_and(|rest| rest.split(';').any(|part| part == "up")) { ";up" } else { "" };
        let mut reply = Reply::new(303);
        let location = format!("{};st={}{up}", self.uri, outcome.letters());
        for (name, value) in [(&b"Cache-Control"[..], "no-cache"), (b"Location", location.as_str())] {
            reply.add(name, value.as_bytes()).expect("the configuration allows no control characters");
        }
        reply.set_body(b"text/plain", Vec::new());
        reply
    }

    fn show(&self, stats: &Stats, (head, rest): (&RequestHead, &str), visitor: Visitor) -> Reply {
        let (site, fleet) = (std::sync::Arc::clone(&stats.site.borrow()), stats.fleet.snapshot());
        let overview = Overview::new(&site, &fleet);
        let has = |option: &str| rest.split([';', '?', '&']).any(|part| part == option);
        let mut reply = Reply::new(200);
        let mut add = |name: &[u8], value: &str| reply.add(name, value.as_bytes()).expect("plain text");
        add(b"Cache-Control", "no-cache");
        if let Some(refresh) = self.refresh.filter(|_| !has("norefresh")) {
            add(b"Refresh", &refresh.as_secs().max(1).to_string());
        }
        let text = rest.split_once("?scope=").map(|(_, text)| text.split(['&', ';']).next().unwrap_or_default());
        let filter = Filter { only_up: has("up"), text: text.filter(|text| !text.is_empty()), proxies: self.scope.as_deref() };
        if has("csv") || has("json") {
            let mut rows = overview.rows();
            rows.retain(|row| filter.lets_see(row));
            if has("csv") {
                set_body(&mut reply, head, ("text/plain", csv::write_rows(&rows)));
            } else {
                set_body(&mut reply, head, ("application/json", dump::json(&rows)));
            }
            return reply;
        }
        reply.add(b"Content-Security-Policy", page::POLICY.as_bytes()).expect("plain text");
        let outcome = rest.split(';').find_map(|part| manage::Outcome::of(part.strip_prefix("st=")?));
        let words = page::Words { title: &self.title, uri: &self.uri, metrics: None, filter, legends: self.legends, visitor, outcome };
        set_body(&mut reply, head, ("text/html; charset=utf-8", page::write(&overview, stats.start, &words)));
        reply
    }

    /// Tells whether a request names someone who may see the page.
    fn admits(&self, head: &RequestHead) -> bool {
        if self.credentials.is_empty() {
            return true;
        }
        let given = head.headers.all("authorization").next().and_then(|value| str::from_utf8(value).ok());
        let Some((scheme, given)) = given.and_then(|given| given.split_once(' ')) else { return false };
        // Every account is compared whole, so that the time says nothing about which came near.
        let mut is_known = false;
        for known in &self.credentials {
            is_known |= is_same(known.as_bytes(), given.trim().as_bytes());
        }
        scheme.eq_ignore_ascii_case("basic") && is_known
    }
}

/// How many bytes a form may have.
const LONGEST_FORM: usize = 8192;

/// Compares in a time that depends on the lengths only.
fn is_same(known: &[u8], given: &[u8]) -> bool {
    known.len() == given.len() && known.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Returns a target without the scheme and the host.
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => rest.find('/').map_or("", |slash| &rest[slash..]),
        _ => target,
    }
}
