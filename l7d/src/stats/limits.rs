//! Which limits are near, in words: one screen for whoever wants to know whether all is well.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control::fleet::Snapshot;
use control::server_state::{Checking, Status};

use super::overview::address;
use super::{Stats, info};
use crate::log;
use crate::site::Site;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// Clients notice.
    Bad,
    /// Clients will notice if it goes on like this.
    Near,
    /// It is far from that.
    Well,
}

/// Which findings are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Those that somebody should look at.
    Worrying,
    /// All of them.
    Everything,
}

/// Something that was looked at.
struct Finding {
    urgency: Urgency,
    what: String,
    words: String,
}

impl Stats {
    /// Tells which limits are near.
    pub(crate) fn health(&self, depth: Depth) -> String {
        let (site, fleet) = (std::sync::Arc::clone(&self.site.borrow()), self.fleet.snapshot());
        let mut findings = Vec::new();
        process(&site, &mut findings);
        frontends(&site, &mut findings);
        backends(&site, &fleet, &mut findings);
        tables(&site, &mut findings);
        certificates(&site, &mut findings);
        findings.sort_by_key(|finding| finding.urgency);
        write(&findings, depth)
    }
}

fn write(findings: &[Finding], depth: Depth) -> String {
    let count = |urgency| findings.iter().filter(|finding| finding.urgency == urgency).count();
    let (bad, near) = (count(Urgency::Bad), count(Urgency::Near));
    let mut text = match (bad, near) {
        (0, 0) => format!("all is well: {} limits looked at\n", findings.len()),
        _ => format!("{bad} bad, {near} near their limit, {} well\n", findings.len() - bad - near),
    };
    for finding in findings.iter().filter(|finding| depth == Depth::Everything || finding.urgency != Urgency::Well) {
        let word = match finding.urgency {
            Urgency::Bad => "bad ",
            Urgency::Near => "near",
            Urgency::Well => "well",
        };
        let _ = writeln!(text, "{word}  {}: {}", finding.what, finding.words);
    }
    text
}

/// Says how much of a limit is used, and what happens where all of it is.
fn used(what: String, (now, most): (u64, u64), (then, worst): (&str, Urgency), findings: &mut Vec<Finding>) {
    let percent = now.saturating_mul(100).checked_div(most).unwrap_or(100);
    let urgency = match percent {
        100.. => worst,
        NEAR.. => Urgency::Near,
        _ => Urgency::Well,
    };
    let words = match urgency {
        Urgency::Bad | Urgency::Near if percent >= 100 => format!("{now} of {most}, full: {then}"),
        Urgency::Near => format!("{now} of {most}, {percent} %; at the limit {then}"),
        Urgency::Bad | Urgency::Well => format!("{now} of {most}, {percent} %"),
    };
    findings.push(Finding { urgency, what, words });
}

fn process(site: &Site, findings: &mut Vec<Finding>) {
    let (connections, limit) = site.connections();
    if let Some(limit) = limit {
        used("process, connections".to_owned(), (connections.into(), limit.into()), ("new clients wait", Urgency::Bad), findings);
    }
    let files = info::descriptors();
    if let (Some(open), Some(most)) = files {
        used("process, descriptors".to_owned(), (open, most), ("no connection can be opened", Urgency::Bad), findings);
    }
    let dropped = log::dropped();
    let urgency = if dropped > 0 { Urgency::Near } else { Urgency::Well };
    findings.push(Finding { urgency, what: "logs".to_owned(), words: format!("{dropped} lines lost since the start") });
}

fn frontends(site: &Site, findings: &mut Vec<Finding>) {
    for frontend in site.frontends() {
        if let Some(limit) = frontend.limit() {
            let what = format!("frontend {}, connections", frontend.name());
            used(what, (frontend.connections().1.into(), limit.into()), ("new clients wait", Urgency::Bad), findings);
        }
    }
}

fn backends(site: &Site, fleet: &Snapshot, findings: &mut Vec<Finding>) {
    for backend in site.backends() {
        let servers = backend.servers();
        let usable = backend.usable_servers();
        if !servers.is_empty() {
            let (urgency, words) = match usable {
                0 => (Urgency::Bad, format!("none of {} takes traffic", servers.len())),
                _ if usable_share(backend.servers().len(), usable) => {
                    (Urgency::Well, format!("{usable} of {} take traffic", servers.len()))
                }
                _ => (Urgency::Near, format!("only {usable} of {} take traffic", servers.len())),
            };
            findings.push(Finding { urgency, what: format!("backend {}, servers", backend.name()), words });
        }
        let waiting = backend.waiting();
        let urgency = if waiting > 0 { Urgency::Near } else { Urgency::Well };
        let what = format!("backend {}, queue", backend.name());
        findings.push(Finding { urgency, what, words: format!("{waiting} requests wait for a server") });
        for (server, state) in servers.iter().zip(fleet.servers_of(backend.id())) {
            let name = format!("server {}/{} ({})", backend.name(), server.name(), address(server.model()));
            if state.status == Status::Down {
                let words = format!("down for {}", time(state.since.elapsed()));
                findings.push(Finding { urgency: Urgency::Near, what: name.clone(), words });
            }
            if let Some(limit) = state.maxconn.or(server.model().maxconn()) {
                used(
                    format!("{name}, connections"),
                    (server.load().active().into(), limit.into()),
                    ("requests for it wait", Urgency::Near),
                    findings,
                );
            }
            if let (Some(check), Checking::On, Some(last)) = (server.model().check(), state.checking, &state.last_check)
                && state.status != Status::Maint
            {
                let longest = check.interval().max(check.down_interval()) + check.timeout() + check.connect_timeout();
                let (since, late) = (last.at.elapsed(), last.at.elapsed() > longest + LATE);
                let urgency = if late { Urgency::Bad } else { Urgency::Well };
                findings.push(Finding { urgency, what: format!("{name}, checks"), words: format!("the last was {} ago", time(since)) });
            }
        }
    }
}

/// Tells whether enough servers of a pool take traffic: at least half of them, rounded up, or the only backup meant for that.
fn usable_share(all: usize, usable: usize) -> bool {
    usable * 2 >= all
}

fn tables(site: &Site, findings: &mut Vec<Finding>) {
    for table in site.tables().all() {
        let what = format!("table {}, entries", table.name());
        used(what, (table.used(), table.size()), ("the oldest entries go", Urgency::Near), findings);
    }
}

fn certificates(site: &Site, findings: &mut Vec<Finding>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for (path, end) in site.tls().certificates().ends() {
        let left = u64::try_from(end).unwrap_or_default().checked_sub(now).map(Duration::from_secs);
        let (urgency, words) = match left {
            None => (Urgency::Bad, "expired".to_owned()),
            Some(left) if left < SOON => (Urgency::Near, format!("expires in {}", time(left))),
            Some(left) => (Urgency::Well, format!("expires in {}", time(left))),
        };
        findings.push(Finding { urgency, what: format!("certificate {}", path.display()), words });
    }
}

/// Shows a time by its largest unit.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// From which part of a limit on it is near, in percent.
const NEAR: u64 = 80;
/// How long before its end a certificate is to be renewed.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// How much later than planned a check may be.
const LATE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_in_words() {
        let cases = [
            ((0, 100), Urgency::Well, "0 of 100, 0 %"),
            ((79, 100), Urgency::Well, "79 of 100, 79 %"),
            ((80, 100), Urgency::Near, "80 of 100, 80 %; at the limit they wait"),
            ((100, 100), Urgency::Bad, "100 of 100, full: they wait"),
            ((0, 0), Urgency::Bad, "0 of 0, full: they wait"),
        ];
        for (numbers, urgency, words) in cases {
            let mut findings = Vec::new();
            used(String::new(), numbers, ("they wait", Urgency::Bad), &mut findings);
            assert_eq!((findings[0].urgency, findings[0].words.as_str()), (urgency, words));
        }
        for (seconds, shown) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")] {
            assert_eq!(time(Duration::from_secs(seconds)), shown);
        }
    }
}
