//! Lines about servers: checks that end otherwise than before, and changes of status, in the words of HAProxy.

use std::fmt::Write as _;
use std::sync::Arc;

use control::fleet::{Changed, CheckOutcome, Checked, Event, Probe, Reason};
use control::server_state::{Admin, Status};
use tokio::sync::{mpsc, watch};

use super::output::Line;
use crate::level::Level;
use crate::site::{Backend, Site};

/// Writes what happens to servers to the logs of their backends, until nothing can happen any more.
pub(crate) async fn follow(mut events: mpsc::Receiver<Event>, site: watch::Receiver<Arc<Site>>) {
    let mut packet = Vec::new();
    while let Some(event) = events.recv().await {
        let site = Arc::clone(&site.borrow());
        let name = match &event {
            Event::Checked(checked) => &checked.backend,
            Event::Changed(changed) => &changed.transition.backend,
        };
        let Some(backend) = site.backends().iter().find(|backend| backend.name() == name) else { continue };
        let lines = match &event {
            Event::Checked(checked) => vec![(Level::Notice, of_check(checked))],
            Event::Changed(changed) => of_change(changed, backend),
        };
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

fn of_change(changed: &Changed, backend: &Backend) -> Vec<(Level, String)> {
    let transition = &changed.transition;
    let name = format!("{} {}/{}", if changed.is_backup { "Backup Server" } else { "Server" }, transition.backend, transition.server);
    let why = match &transition.reason {
        Reason::Check(outcome) | Reason::Agent(outcome) if !changed.is_explained => format!(", {}", reason(outcome)),
        Reason::Health => ", changed from CLI".to_owned(),
        Reason::Tracked { server, .. } => format!(" via {server}"),
        Reason::Check(_) | Reason::Agent(_) | Reason::Admin(_) | Reason::Weight | Reason::Configuration => String::new(),
    };
    let via = if matches!(transition.reason, Reason::Tracked { .. }) { why.as_str() } else { "" };
    let (left, online) = (rest(changed, backend, "left"), rest(changed, backend, "online"));
    let line = match (transition.from, transition.to, &transition.reason) {
        (_, _, Reason::Weight) => None,
        (_, Status::Maint, _) => Some((Level::Alert, format!("{name} is going DOWN for maintenance{via}. {left}"))),
        (Status::Maint, to, Reason::Tracked { .. }) => Some((Level::Notice, format!("{name} is {to}/READY (leaving maintenance)."))),
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
    line.into_iter().chain(none).collect()
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
