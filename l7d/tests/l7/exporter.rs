//! The metrics beside those of HAProxy's exporter, for the same configuration and traffic.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{ok, server};
use crate::kit::{Daemon, Haproxy, PATIENCE, connect, unused_address};
use crate::stats::get;

/// What one exporter says.
#[derive(Debug)]
struct Scrape {
    /// The type of each family.
    kinds: BTreeMap<String, String>,
    /// The value of each sample, by its family and labels.
    samples: BTreeMap<(String, String), f64>,
}

impl Scrape {
    fn of(address: SocketAddr, query: &str) -> Self {
        let text = get(address, &format!("/metrics{query}"));
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let kinds = kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let samples = samples.map(|(sample, value)| {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            ((name.to_owned(), labels.to_owned()), value.parse().expect("a number"))
        });
        Self { kinds, samples: samples.collect() }
    }

    fn value(&self, name: &str, labels: &str) -> f64 {
        self.samples.get(&(name.to_owned(), format!("{labels}}}"))).copied().unwrap_or(-2.0)
    }

    /// Returns the names and labels of the samples that both exporters have to have.
    fn shared(&self) -> Vec<(&str, &str)> {
        let samples = self.samples.keys().map(|(name, labels)| (name.as_str(), labels.as_str()));
        // The version is its own.
        let samples = samples.filter(|(name, _)| *name != "haproxy_process_build_info");
        samples.filter(|(name, _)| !is_left_out(name) && !is_own(name)).collect()
    }
}

/// Tells whether only HAProxy has the family: its number is not counted here.
fn is_left_out(name: &str) -> bool {
    LEFT_OUT.iter().any(|left_out| name.strip_prefix("haproxy_").is_some_and(|name| name.ends_with(left_out)))
        || matches!(
            name,
            "haproxy_backend_check_up_down_total" | "haproxy_backend_check_last_change_seconds" | "haproxy_backend_downtime_seconds_total"
        )
}

const LEFT_OUT: [&str; 12] = [
    "_http_comp_bytes_in_total",
    "_http_comp_bytes_out_total",
    "_http_comp_bytes_bypassed_total",
    "_http_comp_responses_total",
    "_intercepted_requests_total",
    "_denied_connections_total",
    "_denied_sessions_total",
    "_failed_header_rewriting_total",
    "_internal_errors_total",
    "process_pipes_free_total",
    "process_spliced_bytes_out_total",
    "process_failed_resolutions",
];

/// Tells whether only we have the family.
fn is_own(name: &str) -> bool {
    name.starts_with("l7d_")
        || ["_current_session_rate", "_current_http_request_rate", "_current_connection_rate"]
            .iter()
            .any(|rate| name.ends_with(rate) && !name.starts_with("haproxy_process_"))
}

/// Tells whether a value is of the moment, of the machine or of the program.
fn varies(name: &str) -> bool {
    VARYING.iter().any(|varying| name.contains(varying))
}

const VARYING: [&str; 28] = [
    "_time_",
    "uptime_seconds",
    "_last_session_seconds",
    "_last_change_seconds",
    "check_duration_seconds",
    "_current_connection_rate",
    "_current_session_rate",
    "_max_connection_rate",
    "_max_session_rate",
    "_connections_rate_max",
    "_http_requests_rate_max",
    "_bytes_",
    "_allocated_bytes",
    "_used_bytes",
    "_max_sessions",
    "_connection_attempts_total",
    "_connection_reuses_total",
    "_idle_connections_current",
    "_need_connections_current",
    "_process_connections_total",
    "_process_current_connections",
    "_process_requests_total",
    "_process_current_tasks",
    "_process_jobs",
    "_process_max_fds",
    "_process_max_sockets",
    "_process_max_pipes",
    "_process_build_info",
];

/// Tells whether HAProxy has a number for some configurations alone where there is always one here.
fn is_always_known(name: &str) -> bool {
    name.ends_with("_zlib_memory") || ["haproxy_server_check_up_down_total", "haproxy_server_downtime_seconds_total"].contains(&name)
}

#[test]
fn whatever_haproxys_exporter_has_is_there() {
    let (named, _) = server(|_: &str, path: &str| {
        let status = if path.starts_with("/lost") { "404 Not Found" } else { "200 OK" };
        ok("x").replacen("200 OK", status, 1)
    });
    let config = |[front, stats]: [SocketAddr; 2]| {
        format!(
            "global\n nbthread 1\n maxconn 500\n maxconnrate 3000\n maxsessrate 2000\n maxsslrate 1000\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             frontend f\n bind {front}\n maxconn 50\n rate-limit sessions 700\n http-request deny if {{ path /denied }}\n\
             http-response deny if {{ status 404 }}\n default_backend b\n\
             frontend m\n bind {stats}\n maxconn 20\n http-request use-service prometheus-exporter\n\
             backend b\n fullconn 30\n stick-table type ip size 100 expire 1m store http_req_cnt\n http-request track-sc0 src\n\
             server s1 {0} check inter 200ms weight 7 maxconn 6 maxqueue 9 pool-max-conn 5\n server s2 {0} weight 0\n\
             server s3 {0} disabled\nbackend void\n fullconn 3\n",
            named.address()
        )
    };
    let [ours, theirs] = [(); 2].map(|()| [unused_address(), unused_address()]);
    let _daemon = Daemon::start_haproxy(&config(ours));
    let _process = Haproxy::find().start(&config(theirs), theirs[1]);
    for [front, _] in [ours, theirs] {
        for path in ["/", "/", "/denied", "/lost", "/", "/lost", "/", "/denied", "/denied"] {
            let mut client = connect(front);
            write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        }
    }
    let [ours_then, theirs_then] = [ours, theirs].map(|[_, stats]| settled(stats));
    for (name, kind) in theirs_then.kinds.iter().filter(|(name, _)| !is_left_out(name)) {
        assert_eq!(ours_then.kinds.get(name), Some(kind), "{name}");
    }
    assert!(!ours_then.kinds.keys().any(|name| is_left_out(name)), "what is left out is left out");
    let mut wrong = Vec::new();
    for ((name, labels), value) in &theirs_then.samples {
        let ours = ours_then.samples.get(&(name.clone(), labels.clone()));
        let same = ours.is_some_and(|ours| ours == value || (ours.is_nan() && value.is_nan()));
        // The requests for the metrics are counted at another moment.
        let is_compared = !is_left_out(name) && !varies(name) && !labels.starts_with("proxy=\"m\"");
        if is_compared && !same && !(is_always_known(name) && value.is_nan() && ours == Some(&0.0)) {
            wrong.push(format!("{name}{{{labels}: {ours:?}, theirs {value}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for query in QUERIES {
        let [ours, theirs] = [ours, theirs].map(|[_, stats]| Scrape::of(stats, query));
        assert_eq!(ours.shared(), theirs.shared(), "{query}");
    }
}

/// Scrapes once everything is counted and checked.
fn settled(stats: SocketAddr) -> Scrape {
    let end = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(stats, "");
        let is_counted = scrape.value("haproxy_frontend_http_requests_total", "proxy=\"f\"") >= 9.0;
        let is_checked = scrape.value("haproxy_server_check_status", "proxy=\"b\",server=\"s1\",state=\"L4OK\"") == 1.0;
        let has_gone = scrape.value("haproxy_frontend_current_sessions", "proxy=\"f\"") == 0.0;
        if is_counted && is_checked && has_gone {
            return scrape;
        }
        assert!(Instant::now() < end, "not counted: {scrape:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

const QUERIES: [&str; 12] = [
    "",
    "?no-maint",
    "?scope=*",
    "?scope=",
    "?scope=global",
    "?scope=frontend",
    "?scope=backend&no-maint",
    "?scope=server",
    "?scope=server&no-maint",
    "?scope=listener",
    "?scope=sticktable",
    "?scope=frontend&scope=sticktable&scope=server&other=1",
];
