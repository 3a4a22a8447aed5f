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
    LEFT_OUT.contains(&name)
}

const LEFT_OUT: [&str; 3] =
    ["haproxy_process_pipes_free_total", "haproxy_process_spliced_bytes_out_total", "haproxy_process_failed_resolutions"];

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

const VARYING: [&str; 29] = [
    "downtime_seconds_total",
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
    let (named, _) = server(|head, _| match head.split(' ').nth(1) {
        Some("/lost") => ok("x").replacen("200 OK", "404 Not Found", 1),
        Some("/text") => ok(&"text ".repeat(1000)).replacen("OK\r\n", "OK\r\nContent-Type: text/plain\r\n", 1),
        _ => ok("x"),
    });
    let dead = unused_address();
    let config = |[front, stats, shut, closed]: [SocketAddr; 4]| {
        format!(
            "global\n nbthread 1\n maxconn 500\n maxconnrate 3000\n maxsessrate 2000\n maxsslrate 1000\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             frontend f\n bind {front}\n maxconn 50\n rate-limit sessions 700\n http-request deny if {{ path /denied }}\n http-request redirect location / if {{ path /moved }}\n\
             http-request return status 200 if {{ path /own }}\n http-request auth if {{ path /who }}\n\
             http-response deny if {{ status 404 }}\n use_backend c if {{ path /text }}\n default_backend b\n\
             frontend m\n bind {stats}\n maxconn 20\n http-request use-service prometheus-exporter\n\
             frontend shut\n bind {shut}\n tcp-request connection reject\n default_backend b\n\
             frontend closed\n bind {closed}\n tcp-request session reject\n default_backend b\n\
             backend gone\n fullconn 3\n server g {dead} check inter 100ms fall 1\n\
             backend c\n fullconn 3\n compression algo gzip\n compression type text/plain\n server s1 {0}\n\
             backend b\n fullconn 30\n\
             http-request return status 200 if {{ path /inner }}\n stick-table type ip size 100 expire 1m store http_req_cnt\n http-request track-sc0 src\n\
             server s1 {0} check inter 200ms weight 7 maxconn 6 maxqueue 9 pool-max-conn 5\n server s2 {0} weight 0\n\
             server s3 {0} disabled\nbackend void\n fullconn 3\n",
            named.address()
        )
    };
    let [ours, theirs] = [(); 2].map(|()| [(); 4].map(|()| unused_address()));
    let _daemon = Daemon::start_haproxy(&config(ours));
    let _process = Haproxy::find().start(&config(theirs), theirs[1]);
    for [front, _, shut, closed] in [ours, theirs] {
        for path in PATHS {
            let mut client = connect(front);
            write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        }
        for refused in [shut, closed] {
            let _ = connect(refused).read(&mut [0]);
        }
    }
    let [ours_then, theirs_then] = [ours, theirs].map(|[_, stats, ..]| settled(stats));
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
    for proxy in ["frontend", "backend"] {
        let labels = if proxy == "frontend" { "proxy=\"f\"" } else { "proxy=\"c\"" };
        let [taken, given] = ["in", "out"].map(|way| format!("haproxy_{proxy}_http_comp_bytes_{way}_total"));
        assert_eq!((ours_then.value(&taken, labels), theirs_then.value(&taken, labels)), (5000.0, 5000.0), "{proxy}");
        assert!((1.0..1000.0).contains(&ours_then.value(&given, labels)), "{proxy}: {}", ours_then.value(&given, labels));
    }
    assert_eq!(ours_then.value("haproxy_backend_check_up_down_total", "proxy=\"gone\""), 1.0);
    for query in QUERIES {
        let [ours, theirs] = [ours, theirs].map(|[_, stats, ..]| Scrape::of(stats, query));
        assert_eq!(ours.shared(), theirs.shared(), "{query}");
    }
}

/// What is asked for.
const PATHS: [&str; 14] =
    ["/", "/", "/denied", "/lost", "/", "/lost", "/", "/denied", "/denied", "/moved", "/own", "/who", "/inner", "/text"];

/// Scrapes once everything is counted and checked.
fn settled(stats: SocketAddr) -> Scrape {
    let end = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(stats, "");
        let is_counted = scrape.value("haproxy_frontend_http_requests_total", "proxy=\"f\"") >= 14.0;
        let is_checked = scrape.value("haproxy_server_check_status", "proxy=\"b\",server=\"s1\",state=\"L4OK\"") == 1.0;
        let has_gone = scrape.value("haproxy_frontend_current_sessions", "proxy=\"f\"") == 0.0;
        let is_dead = scrape.value("haproxy_server_check_status", "proxy=\"gone\",server=\"g\",state=\"L4CON\"") == 1.0;
        let is_refused = ["connections", "sessions"].into_iter().zip(["shut", "closed"]).all(|(what, frontend)| {
            scrape.value(&format!("haproxy_frontend_denied_{what}_total"), &format!("proxy=\"{frontend}\"")) == 1.0
        });
        if is_counted && is_checked && has_gone && is_dead && is_refused {
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

#[test]
fn metrics_and_pages_are_compressed_for_who_takes_that() {
    let (front, metrics) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&format!(
        "[global]\nmetrics = \"{metrics}\"\n[frontend.f]\nmode = \"http\"\nbind = \"{front}\"\nstats = {{ uri = \"/stats\" }}\n\
         timeout = {{ client = \"5s\" }}\nrules = [\"http-request use-service prometheus-exporter if {{ path /metrics }}\"]\n"
    ));
    for address in [front, metrics] {
        for (path, beginning) in [("/metrics", "# HELP "), ("/stats", "<!doctype html>"), ("/stats;csv", "# pxname,"), ("/stats;json", "[")]
        {
            let [plain, squeezed] = ["", "Accept-Encoding: br, gzip\r\n"].map(|field| {
                let mut client = connect(address);
                write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\n{field}Connection: close\r\n\r\n").unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).unwrap();
                let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
                let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
                (head, answer[end..].to_vec())
            });
            assert!(plain.0.contains("vary: accept-encoding\r\n") && !plain.0.contains("content-encoding"), "{path}: {}", plain.0);
            assert!(squeezed.0.contains("content-encoding: gzip\r\n"), "{path}: {}", squeezed.0);
            let mut text = String::new();
            flate2::read::GzDecoder::new(&squeezed.1[..]).read_to_string(&mut text).expect("gzip");
            assert!(text.starts_with(beginning) && String::from_utf8_lossy(&plain.1).starts_with(beginning), "{path}: {text:.99}");
            assert!(squeezed.1.len() * 3 < text.len() * 2, "{path}: {} of {}", squeezed.1.len(), text.len());
        }
    }
}

#[test]
fn changes_that_cannot_be_made_are_counted() {
    let (front, strict, stats) = (unused_address(), unused_address(), unused_address());
    let rule = "http-request set-header X-Path %[path,url_dec]\n http-request return status 200\n";
    let _daemon = Daemon::start_haproxy(&format!(
        "defaults\n mode http\n timeout client 5s\nfrontend lax\n bind {front}\n http-request strict-mode off\n {rule}\
         frontend strict\n bind {strict}\n {rule}frontend m\n bind {stats}\n http-request use-service prometheus-exporter\n"
    ));
    for (address, path, status) in [(front, "/x%0d%0a", "200"), (front, "/x", "200"), (strict, "/x%0d%0a", "500"), (strict, "/x", "200")] {
        let mut client = connect(address);
        write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        assert_eq!(answer.get(9..12), Some(status), "{path}: {answer}");
    }
    let wanted = [("lax", [1.0, 0.0, 0.0, 2.0]), ("strict", [1.0, 1.0, 0.0, 1.0])];
    let end = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(stats, "");
        let found = wanted.map(|(frontend, _)| {
            let names = ["failed_header_rewriting", "internal_errors", "requests_denied", "intercepted_requests"];
            (frontend, names.map(|name| scrape.value(&format!("haproxy_frontend_{name}_total"), &format!("proxy=\"{frontend}\""))))
        });
        if found == wanted {
            break;
        }
        assert!(Instant::now() < end, "{found:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
