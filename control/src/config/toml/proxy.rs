//! What frontends, backends and `[defaults]` have in common.

use std::sync::Arc;

use super::check;
use super::compression;
use super::log;
use super::mail;
use super::pool;
use super::reader::{Item, Reader};
use super::reply;
use super::section::Section;
use super::server;
use super::stats;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{Acl, Preset, Probes, RetryOn, Timeout, UniqueId};
use crate::config::suggest;
use crate::config::value::{option, retry, text, units, word};
use crate::config::written::{Alert, Checks, Defaults, Heritage, Proxy};

/// Settings HAProxy has in every proxy and this model has no place for.
pub(super) const LATER: [&str; 2] = ["description", "id"];

/// Where settings of a proxy stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Defaults,
    Frontend,
    Backend,
    /// Both in one.
    Listen,
}

impl Side {
    /// Tells whether a timeout means something here.
    fn has(self, timeout: Timeout) -> bool {
        let (frontend, backend) = timeout.sides();
        match self {
            Self::Defaults | Self::Listen => true,
            Self::Frontend => frontend,
            Self::Backend => backend,
        }
    }
}

pub(super) fn proxy(reader: &mut Reader, section: &mut Section<'_>, side: Side) -> Proxy {
    let disabled = section.take("disabled").and_then(|item| reader.boolean(&item));
    let mode = section.take("mode").and_then(|item| reader.text(&item, "tcp", |text| word::MODE.read(text)));
    let title = format!("`timeout` of {}", section.title());
    let timeouts = section.take("timeout").map(|item| timeouts(reader, &item, title, side)).unwrap_or_default();
    let options = section.take("option").map(|item| reader.texts(&item, "httplog", option::option)).unwrap_or_default();
    let mut probes = |keys, has: bool| if has { probes(reader, section, keys) } else { Probes::default() };
    let client_probes = probes(["clitcpka-cnt", "clitcpka-idle", "clitcpka-intvl"], side != Side::Backend);
    let server_probes = probes(["srvtcpka-cnt", "srvtcpka-idle", "srvtcpka-intvl"], side != Side::Frontend);
    let errors = reply::errors(reader, section);
    let compression = compression::compression(reader, section);
    if side == Side::Backend {
        log::refuse(reader, section);
    }
    let log = log::logging(reader, section);
    let stats = stats::stats(reader, section);
    let unique_id = if side == Side::Backend { UniqueId::default() } else { log::unique_id(reader, section) };
    let alert = if side == Side::Frontend { Alert::default() } else { mail::alert(reader, section) };
    Proxy { disabled, mode, timeouts, options, client_probes, server_probes, compression, errors, log, stats, alert, unique_id }
}

/// Reads when the kernel asks silent peers, by keys for how often, after which time and in which intervals.
fn probes(reader: &mut Reader, section: &mut Section<'_>, [count, idle, interval]: [&'static str; 3]) -> Probes {
    let mut time = |key| section.take(key).and_then(|item| reader.text(&item, "30s", units::probe)).map(|time| *time.value());
    let (idle, interval) = (time(idle), time(interval));
    Probes { count: section.take(count).and_then(|item| reader.integer(&item, Probes::COUNTS, 3)), idle, interval }
}

pub(super) fn defaults(reader: &mut Reader, mut section: Section<'_>) -> Defaults {
    let defaults = settings(reader, &mut section);
    // HAProxy does not let frontends and backends begin from the same rules; here all begin from this section.
    section.misplaced(reader, &["acl", "rules"], |key| format!("write `{key}` in each frontend or backend, or in [preset.NAME]"));
    section.finish(reader, &LATER);
    defaults
}

/// Reads `[preset.NAME]`: defaults of the proxies that ask for them.
pub(super) fn preset(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Defaults {
    let preset = Preset { acls: acls(reader, &mut section), rules: rules(reader, &mut section) };
    let defaults = Defaults { name: Some(name), preset, ..settings(reader, &mut section) };
    section.finish(reader, &LATER);
    defaults
}

fn settings(reader: &mut Reader, section: &mut Section<'_>) -> Defaults {
    Defaults {
        name: None,
        place: None,
        proxy: proxy(reader, section, Side::Defaults),
        maxconn: maxconn(reader, section),
        backlog: backlog(reader, section),
        rate_limit: rate_limit(reader, section),
        default_backend: default_backend(reader, section),
        pool: pool::pool(reader, section),
        check: check::check(reader, section),
        checks: Checks::default(),
        retries: retries(reader, section),
        retry_on: retry_on(reader, section),
        default_server: server::default_server(reader, section),
        heritage: Heritage::default(),
        preset: Preset::default(),
    }
}

/// What proxies can begin from.
#[derive(Default)]
pub(super) struct Presets {
    /// What those begin from that ask for nothing else.
    pub(super) usual: Arc<Defaults>,
    pub(super) named: Vec<Arc<Defaults>>,
}

impl Presets {
    /// Returns what a proxy begins from: what its key `from` names, else what everyone does.
    pub(super) fn of(&self, reader: &mut Reader, section: &mut Section<'_>, side: Side) -> Arc<Defaults> {
        let asked = section.take("from").and_then(|item| reader.string(&item, "NAME"));
        let Some(asked) = asked else { return Arc::clone(&self.usual) };
        let name = |defaults: &Arc<Defaults>| defaults.name.as_ref().map(|name| name.value().clone()).unwrap_or_default();
        let Some(found) = self.named.iter().find(|defaults| name(defaults) == *asked.value()) else {
            let known: Vec<String> = self.named.iter().map(name).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let error = Diagnostic::error(asked.location(), format!("no section [preset.{}]", *asked));
            reader.push(if known.is_empty() { error } else { error.hint(suggest::hint(&asked, &known)) });
            return Arc::clone(&self.usual);
        };
        if side == Side::Listen && !found.preset.is_empty() {
            let error = Diagnostic::error(asked.location(), "a section `listen` cannot begin from a preset with rules");
            reader.push(error.hint("they would hold twice: write a frontend and a backend"));
        }
        Arc::clone(found)
    }
}

pub(super) fn maxconn(reader: &mut Reader, section: &mut Section<'_>) -> Option<u32> {
    section.take("maxconn").and_then(|item| reader.integer(&item, 1..=u32::MAX, 2000))
}

/// Reads how many new clients are let in per second.
pub(super) fn backlog(reader: &mut Reader, section: &mut Section<'_>) -> Option<u32> {
    section.take("backlog").and_then(|item| reader.integer(&item, 1..=u32::MAX, 1024))
}

pub(super) fn rate_limit(reader: &mut Reader, section: &mut Section<'_>) -> Option<u32> {
    let item = section.take("rate-limit")?;
    let mut inner = reader.section(&item, "`rate-limit`", "{ sessions = 100 }")?;
    let rate = inner.require(reader, "sessions", "100").and_then(|item| reader.integer(&item, 0..=u32::MAX, 100));
    inner.finish(reader, &[]);
    rate
}

pub(super) fn retries(reader: &mut Reader, section: &mut Section<'_>) -> Option<u32> {
    section.take("retries").and_then(|item| reader.integer(&item, 0..=MOST_RETRIES, 3))
}

/// Reads what makes a failed request go again: one text of several words, or several.
pub(super) fn retry_on(reader: &mut Reader, section: &mut Section<'_>) -> Option<Located<RetryOn>> {
    let item = section.take("retry-on")?;
    let texts: Vec<_> = reader.list(&item).iter().filter_map(|item| reader.string(item, "all-retryable-errors")).collect();
    let words = texts.iter().map(|text| text.value().as_str()).collect::<Vec<_>>().join(" ");
    let causes: Vec<_> = texts.iter().filter_map(|text| reader.parse(text, retry::retry_on)).collect();
    // Whatever is wrong with one text has been said.
    if causes.len() == texts.len() && texts.len() > 1 {
        reader.parse(&Located::new(words, item.location.clone()), retry::retry_on)?;
    }
    let all = causes.iter().fold(RetryOn::NEVER, |all, causes| all.and(*causes.value()));
    Some(Located::new(all, item.location))
}

pub(super) fn default_backend(reader: &mut Reader, section: &mut Section<'_>) -> Option<Located<String>> {
    section.take("default-backend").and_then(|item| reader.string(&item, "app"))
}

pub(super) fn acls(reader: &mut Reader, section: &mut Section<'_>) -> Vec<Acl> {
    let title = format!("`acl` of {}", section.title());
    let Some(item) = section.take("acl") else { return Vec::new() };
    let Some(mut inner) = reader.section(&item, title, "{ is_api = \"path_beg /api/\" }") else { return Vec::new() };
    let mut acls = Vec::new();
    for item in inner.names() {
        if !reader.name(&item.key, "an acl") {
            continue;
        }
        if reader.list(&item).is_empty() {
            reader.missing(&item.location, format!("acl `{}` is empty", *item.key), "for example \"path_beg /api/\"");
        }
        let expressions = reader.texts(&item, "path_beg /api/", text::not_empty);
        acls.push(Acl { name: item.key, expressions });
    }
    acls
}

pub(super) fn rules(reader: &mut Reader, section: &mut Section<'_>) -> Vec<Located<String>> {
    section.take("rules").map(|item| reader.texts(&item, "use_backend api if is_api", text::not_empty)).unwrap_or_default()
}

const MOST_RETRIES: u32 = 1000;

fn timeouts(reader: &mut Reader, item: &Item<'_>, title: String, side: Side) -> Vec<Located<(Timeout, std::time::Duration)>> {
    let Some(mut section) = reader.section(item, title, "{ client = \"30s\" }") else { return Vec::new() };
    let mut found = Vec::new();
    for timeout in Timeout::ALL {
        let Some(item) = section.take(timeout.name()) else { continue };
        if !side.has(timeout) {
            let other = if side == Side::Frontend { "backend" } else { "frontend" };
            let message = format!("timeout `{}` has no effect here", timeout.name());
            reader.push(Diagnostic::error(item.key.location(), message).hint(format!("set it in the {other} or in [defaults]")));
            continue;
        }
        if let Some(duration) = reader.duration(&item) {
            found.push(Located::new((timeout, duration), item.location.clone()));
        }
    }
    section.finish(reader, &["contimeout", "clitimeout", "srvtimeout", "http-response"]);
    found
}
