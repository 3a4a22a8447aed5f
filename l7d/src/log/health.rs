//! Lines about servers: checks that end otherwise than before, and changes of status, in the words of HAProxy, to logs and by mail.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use control::fleet::{Changed, CheckOutcome, Checked, Event, Moved, Probe, Reason};
use control::server_state::{Admin, Status};
use tokio::sync::{mpsc, watch};

use super::output::Line;
use crate::level::Level;
use crate::mail::Post;
use crate::site::{Backend, Site};

/// Writes what happens to servers to the logs of their backends, and has it sent to who wants mails, until nothing can happen any more.
pub(crate) async fn follow(mut events: mpsc::Receiver<Event>, site: watch::Receiver<Arc<Site>>) {
    let (mut packet, mut post) = (Vec::new(), Post::default());
    while let Some(event) = events.recv().await {
        let site = Arc::clone(&site.borrow());
        let name = match &event {
            Event::Checked(checked) => &checked.backend,
            Event::Changed(changed) => &changed.transition.backend,
            Event::Moved(moved) => &moved.to.backend,
        };
        let Some(backend) = site.backends().iter().find(|backend| backend.name() == name) else { continue };
        let lines = match &event {
            Event::Checked(checked) => vec![(Level::Notice, of_check(checked))],
            Event::Changed(changed) => of_change(changed, backend),
            Event::Moved(moved) => of_move(moved),
        };
        let urgency = match &event {
            Event::Checked(_) => Some(Level::Information),
            Event::Changed(changed) => urgency(changed),
            Event::Moved(_) => None,
        };
        if let Some(((alert, urgency), (_, text))) = backend.alert().zip(urgency).zip(lines.first())
            && urgency <= Level::numbered(alert.level())
        {
            post.send(alert, text.trim_end_matches('.'));
        }
        for (level, text) in lines {
            backend.log().write(Line { level, text: text.as_bytes(), structured: b"" }, &mut packet);
        }
    }
}

fn of_check(checked: &Checked) -> String {
    let Checked { backend, server, outcome, progress: (done, all), .. } = checked;
    let probe = match checked.probe {
        Probe::Health => "Health",
        Probe::Agent => "Agent",
    };
    let backup = if checked.is_backup { "backup " } else { "" };
    let ended = match outcome.result.name() {
        "L7OKC" => "conditionally succeeded",
        name if name.ends_with("OK") => "succeeded",
        _ => "failed",
    };
    let status = if checked.is_up { "UP" } else { "DOWN" };
    format!("{probe} check for {backup}server {backend}/{server} {ended}, {}, status: {done}/{all} {status}.", reason(outcome))
}

/// Says what came of a check.
fn reason(outcome: &CheckOutcome) -> String {
    let mut text = format!("reason: {}", outcome.result.description());
    if let Some(code) = outcome.code {
        let _ = write!(text, ", code: {code}");
    }
    if !outcome.detail.is_empty() {
        let shown: String = outcome.detail.chars().map(|c| if c.is_control() || c == '"' { '.' } else { c }).collect();
        let _ = write!(text, ", info: \"{shown}\"");
    }
    if outcome.result.has_duration() {
        let _ = write!(text, ", check duration: {}ms", outcome.duration.as_millis());
    }
    text
}

/// Says that a server is elsewhere, or called otherwise.
fn of_move(Moved { to, from }: &Moved) -> Vec<(Level, String)> {
    let name = format!("{}/{}", to.backend, to.server);
    let host = to.to.host().filter(|host| from.host() != Some(host));
    let called = host.map(|host| format!("{name} changed its FQDN from {} to {host} by 'SRV record'", from.host().unwrap_or("(null)")));
    let (old, new) = (from.ip(), to.to.ip());
    let shown = |ip: Option<IpAddr>| ip.map_or_else(|| "(none)".to_owned(), |ip| ip.to_string());
    let is_there =
        (old != new && new.is_some()).then(|| format!("{name} changed its IP from {} to {} by {}.", shown(old), shown(new), to.by));
    called.into_iter().chain(is_there).map(|text| (Level::Notice, text)).collect()
}

fn of_change(changed: &Changed, backend: &Backend) -> Vec<(Level, String)> {
    let transition = &changed.transition;
    let name = format!("{} {}/{}", if changed.is_backup { "Backup Server" } else { "Server" }, transition.backend, transition.server);
    let why = match &transition.reason {
        Reason::Check(outcome) | Reason::Agent(outcome) if !changed.is_explained => format!(", {}", reason(outcome)),
        Reason::Health => ", changed from CLI".to_owned(),
        Reason::Tracked { server, .. } => format!(" via {server}"),
        Reason::Resolution(Some(lack)) => format!(" ({})", lack.as_str()),
        Reason::Check(_) | Reason::Agent(_) | Reason::Admin(_) | Reason::Weight | Reason::Configuration | Reason::Resolution(None) => {
            String::new()
        }
    };
    let via = if matches!(transition.reason, Reason::Tracked { .. } | Reason::Resolution(_)) { why.as_str() } else { "" };
    let (left, online) = (rest(changed, backend, "left"), rest(changed, backend, "online"));
    let line = match (transition.from, transition.to, &transition.reason) {
        (_, _, Reason::Weight) => None,
        (_, Status::Maint, _) => Some((Level::Alert, format!("{name} is going DOWN for maintenance{via}. {left}"))),
        (Status::Maint, to, Reason::Tracked { .. }) => Some((Level::Notice, format!("{name} is {to}/READY (leaving maintenance)."))),
        (Status::Maint, to, Reason::Resolution(_)) => {
            let host = changed.host.as_deref().unwrap_or_default();
            Some((Level::Notice, format!("{name} ('{host}') is {to}/READY (resolves again).")))
        }
        (Status::Maint, to, _) => Some((Level::Notice, format!("{name} is {to}/READY (leaving forced maintenance)."))),
        (_, Status::Down, _) => Some((Level::Alert, format!("{name} is DOWN{why}. {left}"))),
        (_, Status::Drain, _) if changed.is_stopping => Some((Level::Notice, format!("{name} is stopping{why}. {online}"))),
        (_, Status::Drain, _) => Some((Level::Notice, format!("{name} enters drain state{via}. {online}"))),
        (Status::Drain, Status::Up, Reason::Admin(Admin::Ready) | Reason::Tracked { by_admin: true, .. }) => {
            Some((Level::Notice, format!("{name} is UP (leaving forced drain).")))
        }
        (_, Status::Up, _) => Some((Level::Notice, format!("{name} is UP{why}. {online}"))),
    };
    let is_last = transition.from == Status::Up && changed.active + changed.backup == 0;
    let none = is_last.then(|| (Level::Emergency, format!("backend {} has no server available!", transition.backend)));
    let is_back = transition.from == Status::Maint && matches!(transition.reason, Reason::Resolution(_));
    let ready = is_back.then(|| (Level::Notice, format!("{name} administratively READY thanks to valid DNS answer.")));
    line.into_iter().chain(ready).chain(none).collect()
}

/// Returns how much a change matters to who gets mails; nothing where it is known to who has caused it.
fn urgency(changed: &Changed) -> Option<Level> {
    let Changed { transition, .. } = changed;
    match (transition.from, transition.to, &transition.reason) {
        (_, _, Reason::Weight) | (Status::Maint, _, _) | (_, Status::Maint, _) => None,
        (Status::Drain, Status::Up, Reason::Admin(Admin::Ready) | Reason::Tracked { by_admin: true, .. }) => None,
        (_, Status::Drain, _) if changed.is_stopping => None,
        (Status::Drain, Status::Down, _) | (_, Status::Up | Status::Drain, _) => Some(Level::Notice),
        (_, Status::Down, _) => Some(Level::Alert),
    }
}

/// Says what is left of a backend, and what becomes of the server's clients.
fn rest(changed: &Changed, backend: &Backend, left: &str) -> String {
    let Changed { active, backup, .. } = changed;
    let running = if *active == 0 && *backup > 0 { " Running on backup." } else { "" };
    let servers = format!("{active} active and {backup} backup servers {left}.{running}");
    let waiting = backend.queue().waiting(&[]);
    if left == "online" {
        return format!("{servers} 0 sessions requeued, {waiting} total in queue.");
    }
    let server = backend.servers().iter().find(|server| server.name() == changed.transition.server);
    let sessions = server.map_or(0, |server| server.load().active());
    format!("{servers} {sessions} sessions active, 0 requeued, {waiting} remaining in queue.")
}
