//! The servers as metrics, under the names of HAProxy's exporter, so that dashboards made for it work.

use std::time::Duration;

use super::text::{Kind, Metrics};
use crate::fleet::{CheckResult, ServerSnapshot, Snapshot};
use crate::server_state::{Status, WEIGHT_SCALE};

/// Writes the metrics of all backends and servers.
pub fn write_fleet(metrics: &mut Metrics, fleet: &Snapshot) {
    write_backends(metrics, fleet);
    write_sums(metrics, fleet);
    let servers: Vec<_> = named(fleet).filter(|(_, _, server)| !metrics.hides(server.status)).collect();
    write_servers(metrics, fleet, &servers);
    write_checks(metrics, fleet, &servers);
}

fn write_backends(metrics: &mut Metrics, fleet: &Snapshot) {
    let mut status = metrics.family("haproxy_backend_status", Kind::Gauge, "Whether the backend is in the state of the label.");
    for backend in fleet.config.backends() {
        // One without servers has none that fails, as HAProxy sees it.
        let up = fleet.servers_of(backend.id()).any(takes_traffic) || fleet.servers_of(backend.id()).next().is_none();
        status.whole(&[("proxy", backend.name()), ("state", "UP")], up.into());
        status.whole(&[("proxy", backend.name()), ("state", "DOWN")], (!up).into());
    }
    let mut weight = metrics.family("haproxy_backend_weight", Kind::Gauge, "Sum of the effective weights of the servers.");
    for backend in fleet.config.backends() {
        weight.whole(&[("proxy", backend.name())], fleet.servers_of(backend.id()).map(whole_weight).sum());
    }
    let counts = [
        ("haproxy_backend_active_servers", "Servers that take traffic, not counting backup servers.", false),
        ("haproxy_backend_backup_servers", "Backup servers that can take traffic.", true),
    ];
    for (name, help, backup) in counts {
        let mut family = metrics.family(name, Kind::Gauge, help);
        for backend in fleet.config.backends() {
            let servers = fleet.servers_of(backend.id()).filter(|server| fleet.config.server(server.id).backup() == backup);
            family.whole(&[("proxy", backend.name())], servers.filter(|server| takes_traffic(server)).map(|_| 1).sum());
        }
    }
}

/// Writes how many servers of each backend are in which state; nothing of those without servers.
fn write_sums(metrics: &mut Metrics, fleet: &Snapshot) {
    let checked = |server: &&ServerSnapshot| fleet.config.server(server.id).check().is_some();
    // The second is the older name of the first.
    for name in ["haproxy_backend_agg_server_status", "haproxy_backend_agg_server_check_status"] {
        let mut family = metrics.family(name, Kind::Gauge, "Servers in the state of the label.");
        for backend in fleet.config.backends().iter().filter(|backend| backend.servers().next().is_some()) {
            for state in ServerSnapshot::STATES {
                let servers = fleet.servers_of(backend.id()).filter(|server| server.state_name() == state);
                family.whole(&[("proxy", backend.name()), ("state", state)], servers.count() as u64);
            }
        }
    }
    let mut family = metrics.family("haproxy_backend_agg_check_status", Kind::Gauge, "Servers whose last check ended as the label says.");
    for backend in fleet.config.backends().iter().filter(|backend| backend.servers().next().is_some()) {
        for state in CheckResult::NAMES {
            let ended = |server: &ServerSnapshot| server.last_check.as_ref().is_some_and(|last| last.outcome.result.name() == state);
            let servers = fleet.servers_of(backend.id()).filter(checked).filter(|server| ended(server));
            family.whole(&[("proxy", backend.name()), ("state", state)], servers.count() as u64);
        }
    }
}

fn write_servers(metrics: &mut Metrics, fleet: &Snapshot, servers: &[Named<'_>]) {
    let mut status = metrics.family("haproxy_server_status", Kind::Gauge, "Whether the server is in the state of the label.");
    for (proxy, name, server) in servers {
        for state in ServerSnapshot::STATES {
            status.whole(&[("proxy", proxy), ("server", name), ("state", state)], (server.state_name() == state).into());
        }
    }
    let mut weight =
        metrics.family("haproxy_server_weight", Kind::Gauge, "Effective weight, rounded up; that to come of a server that gets nothing.");
    for (proxy, name, server) in servers {
        let whole = if server.effective_weight == 0 { server.weight.into() } else { whole_weight(server) };
        weight.whole(&[("proxy", proxy), ("server", name)], whole);
    }
    let mut downs = metrics.family("haproxy_server_check_up_down_total", Kind::Counter, "Times the server went down.");
    for (proxy, name, server) in servers {
        downs.whole(&[("proxy", proxy), ("server", name)], server.downs);
    }
    let mut since = metrics.family("haproxy_server_check_last_change_seconds", Kind::Gauge, "Time since the status last changed.");
    for (proxy, name, server) in servers {
        since.whole(&[("proxy", proxy), ("server", name)], fleet.at.saturating_duration_since(server.since).as_secs());
    }
    let mut downtime = metrics.family("haproxy_server_downtime_seconds_total", Kind::Counter, "Time spent down.");
    for (proxy, name, server) in servers {
        downtime.whole(&[("proxy", proxy), ("server", name)], server.downtime.as_secs());
    }
}

fn write_checks(metrics: &mut Metrics, fleet: &Snapshot, servers: &[Named<'_>]) {
    let checked = || servers.iter().filter(|(_, _, server)| fleet.config.server(server.id).check().is_some());
    let mut failures =
        metrics.family("haproxy_server_check_failures_total", Kind::Counter, "Failed checks, counted only while the server was up.");
    for (proxy, name, server) in servers {
        let labels = [("proxy", *proxy), ("server", *name)];
        match fleet.config.server(server.id).check() {
            Some(_) => failures.whole(&labels, server.failed_checks),
            // Whoever reads HAProxy's exporter finds one for each server.
            None => failures.fraction(&labels, f64::NAN),
        };
    }
    let mut status = metrics.family("haproxy_server_check_status", Kind::Gauge, "Whether the last check ended as the label says.");
    for (proxy, name, server) in checked() {
        let last = server.last_check.as_ref().map(|last| last.outcome.result.name());
        for state in CheckResult::NAMES {
            status.whole(&[("proxy", proxy), ("server", name), ("state", state)], (last == Some(state)).into());
        }
    }
    let mut code = metrics.family("haproxy_server_check_code", Kind::Gauge, "Status code of the last check, 0 if it had none.");
    for (proxy, name, server) in checked() {
        let last = server.last_check.as_ref().and_then(|last| last.outcome.code);
        code.whole(&[("proxy", proxy), ("server", name)], last.unwrap_or_default().into());
    }
    let mut duration = metrics.family("haproxy_server_check_duration_seconds", Kind::Gauge, "How long the last check took.");
    for (proxy, name, server) in checked() {
        let last = server.last_check.as_ref().map_or(Duration::ZERO, |last| last.outcome.duration);
        duration.fraction(&[("proxy", proxy), ("server", name)], last.as_secs_f64());
    }
}

/// A server with the name of its backend and its own.
type Named<'a> = (&'a str, &'a str, &'a ServerSnapshot);

/// Returns each server with the name of its backend and its own.
fn named(fleet: &Snapshot) -> impl Iterator<Item = Named<'_>> {
    fleet.config.servers().iter().zip(&fleet.servers).map(|(written, server)| {
        let backend = fleet.config.backend(written.backend());
        (backend.name(), written.name(), server)
    })
}

fn takes_traffic(server: &ServerSnapshot) -> bool {
    server.status == Status::Up
}

fn whole_weight(server: &ServerSnapshot) -> u64 {
    server.effective_weight.div_ceil(WEIGHT_SCALE).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::fleet::{CheckOutcome, Fleet};

    const TEXT: &str = r#"
        [backend.app]
        mode = "tcp"
        check = { http = { path = "/" } }
        default-server = { weight = 10 }
        [backend.app.server]
        web1 = "127.0.0.1:8001"
        web2 = "127.0.0.1:8002"
        spare = { address = "127.0.0.1:8003", backup = true }
        [backend.db]
        mode = "tcp"
        [backend.db.server]
        db1 = { address = "127.0.0.1:5432", disabled = true }
    "#;

    #[tokio::test(start_paused = true)]
    async fn servers_show_under_the_names_dashboards_know() {
        let config = Config::parse("test.toml", TEXT).expect("the test's configuration is right");
        let fleet = Fleet::new(Arc::new(config));
        let view = fleet.view();
        let (result, code, duration) = (CheckResult::WrongStatus, Some(503), Duration::from_millis(250));
        let outcome = CheckOutcome { result, code, duration, detail: String::new() };
        fleet.report(&view, view.config().servers()[0].id(), outcome);
        tokio::time::advance(Duration::from_secs(7)).await;

        let mut metrics = Metrics::new();
        write_fleet(&mut metrics, &fleet.snapshot());
        let text = metrics.into_text();
        let expected = r#"
haproxy_backend_status{proxy="app",state="UP"} 1
haproxy_backend_status{proxy="db",state="UP"} 0
haproxy_backend_status{proxy="db",state="DOWN"} 1
haproxy_backend_weight{proxy="app"} 20
haproxy_backend_active_servers{proxy="app"} 1
haproxy_backend_backup_servers{proxy="app"} 1
haproxy_backend_agg_server_status{proxy="app",state="DOWN"} 1
haproxy_backend_agg_server_status{proxy="app",state="UP"} 2
haproxy_backend_agg_check_status{proxy="app",state="L7STS"} 1
haproxy_server_status{proxy="app",server="web1",state="UP"} 0
haproxy_server_status{proxy="app",server="web1",state="DOWN"} 1
haproxy_server_status{proxy="db",server="db1",state="MAINT"} 1
haproxy_server_weight{proxy="app",server="web2"} 10
haproxy_server_check_up_down_total{proxy="app",server="web1"} 1
haproxy_server_check_last_change_seconds{proxy="app",server="web1"} 7
haproxy_server_downtime_seconds_total{proxy="app",server="web1"} 7
haproxy_server_check_failures_total{proxy="app",server="web1"} 1
haproxy_server_check_status{proxy="app",server="web1",state="L7STS"} 1
haproxy_server_check_status{proxy="app",server="web1",state="L7OK"} 0
haproxy_server_check_code{proxy="app",server="web1"} 503
haproxy_server_check_duration_seconds{proxy="app",server="web1"} 0.25
"#;
        for line in expected.trim().lines() {
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line} in\n{text}");
        }
        assert!(!text.contains("\nhaproxy_server_check_status{proxy=\"db\""), "no check, no check metrics");
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name} is announced once");
        }
    }
}
