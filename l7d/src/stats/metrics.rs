//! The statistics as metrics, under the names of HAProxy's exporter, so that dashboards made for it work.

use std::time::{Instant, SystemTime};

use control::exposition::{Family, Kind, Metrics};

use super::counter::Counter;
use super::overview::{Overview, Row, Subject, Value};
use super::{Start, csv};
use crate::log;
use crate::site::Site;

/// One family of metrics, for those kinds of rows that have it.
struct Measure {
    /// The name behind `haproxy_frontend_`, `haproxy_backend_` or `haproxy_server_`.
    name: &'static str,
    /// Where its value stands.
    column: &'static str,
    kind: Kind,
    help: &'static str,
}

const fn measure(name: &'static str, column: &'static str, kind: Kind, help: &'static str) -> Measure {
    Measure { name, column, kind, help }
}

/// Writes what is known of the process as a whole.
pub(super) fn write_process(metrics: &mut Metrics, site: &Site, start: Start) {
    let now = Instant::now();
    let meter = site.meter();
    let (connections, limit) = site.connections();
    let sessions = meter.sum(Counter::Sessions);
    let (rate, most) = {
        let rates = meter.rates();
        (rates.sessions.last_second(sessions, now), rates.sessions.most(sessions, now))
    };
    let started = start.date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let uptime = now.saturating_duration_since(start.instant).as_secs();
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let numbers = [
        ("nbthread", Kind::Gauge, "Threads that serve clients.", Some(site.threads() as u64)),
        ("start_time_seconds", Kind::Gauge, "When the process began to serve, in seconds of Unix time.", Some(started)),
        ("uptime_seconds", Kind::Gauge, "Time since the process began to serve.", Some(uptime)),
        ("max_fds", Kind::Gauge, "Descriptors the process may open.", files),
        ("max_connections", Kind::Gauge, "Connections from clients allowed at a time.", limit.map(u64::from)),
        ("current_connections", Kind::Gauge, "Connections from clients at present.", Some(connections.into())),
        ("connections_total", Kind::Counter, "Connections from clients.", Some(sessions)),
        ("requests_total", Kind::Counter, "Requests of HTTP.", Some(meter.sum(Counter::Requests))),
        ("bytes_out_total", Kind::Counter, "Bytes sent to clients.", Some(meter.sum(Counter::BytesOut))),
        ("current_connection_rate", Kind::Gauge, "Connections from clients over the last second.", Some(rate)),
        ("max_connection_rate", Kind::Gauge, "Most connections from clients in a second.", Some(most)),
        ("current_session_rate", Kind::Gauge, "Sessions over the last second.", Some(rate)),
        ("max_session_rate", Kind::Gauge, "Most sessions in a second.", Some(most)),
        ("dropped_logs_total", Kind::Counter, "Log lines that could not be written.", Some(log::dropped())),
    ];
    for (name, kind, help, value) in numbers {
        if let Some(value) = value {
            metrics.family(&format!("haproxy_process_{name}"), kind, help).whole(&[], value);
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    metrics.family("haproxy_process_build_info", Kind::Gauge, "The version, as a label.").whole(&[("version", version)], 1);
}

/// Writes what is known of frontends, backends and servers.
pub(super) fn write(metrics: &mut Metrics, overview: &Overview<'_>) {
    let mut rows = overview.rows();
    rows.retain(|row| !matches!(row.subject, Subject::Server(_, _, state) if metrics.hides(state.status)));
    let mut status = metrics.family("haproxy_frontend_status", Kind::Gauge, "Whether the frontend is in the state of the label.");
    for row in rows.iter().filter(|row| scope(row) == "frontend") {
        status.whole(&[("proxy", row.proxy()), ("state", "DOWN")], 0).whole(&[("proxy", row.proxy()), ("state", "UP")], 1);
    }
    for scope in SCOPES {
        for measure in &MEASURES {
            write_measure(metrics, &rows, scope, measure);
        }
        write_responses(metrics, &rows, scope);
        write_latency(metrics, &rows, scope);
    }
}

/// Writes how long exchanges took, of those that had any; HAProxy's exporter has nothing of the kind.
fn write_latency(metrics: &mut Metrics, rows: &[Row<'_>], wanted: &str) {
    let help = match wanted {
        "frontend" => "From the first byte of a request to the last of its response; in mode tcp of the connection.",
        _ => "From the connection to a server to the head of its response; in mode tcp to the end of the connection.",
    };
    let name = format!("l7d_{wanted}_latency_seconds");
    let mut rows = rows.iter().filter(|row| scope(row) == wanted).filter_map(|row| Some((row, row.lengths()?))).peekable();
    if rows.peek().is_none() {
        return;
    }
    let mut family = metrics.family(&name, Kind::Histogram, help);
    for (row, lengths) in rows {
        let labels = [("proxy", row.proxy()), ("server", row.name())];
        family.steps(if wanted == "server" { &labels } else { &labels[..1] }, lengths.steps(), (lengths.count(), lengths.seconds()));
    }
}

fn write_measure(metrics: &mut Metrics, rows: &[Row<'_>], wanted: &str, measure: &Measure) {
    debug_assert!(csv::COLUMNS.split(',').any(|column| column == measure.column), "{}", measure.column);
    let mut rows = rows.iter().filter(|row| scope(row) == wanted).filter_map(|row| Some((row, row.value(measure.column)?))).peekable();
    if rows.peek().is_none() || is_left_out(wanted, measure.column) {
        return;
    }
    let name = format!("haproxy_{wanted}_{}", measure.name);
    let mut family = metrics.family(&name, measure.kind, measure.help);
    for (row, value) in rows {
        let labels = [("proxy", row.proxy()), ("server", row.name())];
        put(&mut family, if wanted == "server" { &labels } else { &labels[..1] }, &value);
    }
}

/// Tells whether HAProxy's exporter has no such family although its table has the column.
fn is_left_out(scope: &str, column: &str) -> bool {
    scope == "server" && column == "req_tot"
}

fn write_responses(metrics: &mut Metrics, rows: &[Row<'_>], wanted: &str) {
    let name = format!("haproxy_{wanted}_http_responses_total");
    let mut family = metrics.family(&name, Kind::Counter, "Responses by the class of their status.");
    for row in rows.iter().filter(|row| scope(row) == wanted) {
        for code in ["1xx", "2xx", "3xx", "4xx", "5xx", "other"] {
            let Some(value) = row.value(&format!("hrsp_{code}")) else { continue };
            let (proxy, code) = (("proxy", row.proxy()), ("code", code));
            if wanted == "server" {
                put(&mut family, &[proxy, ("server", row.name()), code], &value);
            } else {
                put(&mut family, &[proxy, code], &value);
            }
        }
    }
}

fn put(family: &mut Family<'_>, labels: &[(&str, &str)], value: &Value<'_>) {
    match value {
        Value::Count(count) => family.whole(labels, *count),
        Value::Micros(time) => family.fraction(labels, std::time::Duration::from_micros(*time).as_secs_f64()),
        Value::Text(_) | Value::Negative => family,
    };
}

fn scope(row: &Row<'_>) -> &'static str {
    match row.subject {
        Subject::Frontend(..) => "frontend",
        Subject::Backend(..) => "backend",
        Subject::Server(..) => "server",
    }
}

const SCOPES: [&str; 3] = ["frontend", "backend", "server"];

const MEASURES: [Measure; 43] = [
    measure("current_queue", "qcur", Kind::Gauge, "Exchanges that wait for a slot of a server."),
    measure("max_queue", "qmax", Kind::Gauge, "Most that waited at a time."),
    measure("queue_limit", "qlimit", Kind::Gauge, "Exchanges that may wait for the server."),
    measure("current_sessions", "scur", Kind::Gauge, "Sessions at present."),
    measure("max_sessions", "smax", Kind::Gauge, "Most sessions at a time."),
    measure("limit_sessions", "slim", Kind::Gauge, "Sessions allowed at a time."),
    measure("sessions_total", "stot", Kind::Counter, "Sessions."),
    measure("bytes_in_total", "bin", Kind::Counter, "Bytes of requests."),
    measure("bytes_out_total", "bout", Kind::Counter, "Bytes of responses."),
    measure("requests_denied_total", "dreq", Kind::Counter, "Requests that a rule refused."),
    measure("responses_denied_total", "dresp", Kind::Counter, "Responses that a rule refused."),
    measure("request_errors_total", "ereq", Kind::Counter, "Requests that were invalid, cut off or too late."),
    measure("connection_errors_total", "econ", Kind::Counter, "Requests for which no connection to a server came about."),
    measure("response_errors_total", "eresp", Kind::Counter, "Responses that were invalid, cut off or too late."),
    measure("retry_warnings_total", "wretr", Kind::Counter, "Connections attempted anew on the same server."),
    measure("redispatch_warnings_total", "wredis", Kind::Counter, "Connections attempted anew on another server."),
    measure("loadbalanced_total", "lbtot", Kind::Counter, "Times a server was chosen."),
    measure("limit_session_rate", "rate_lim", Kind::Gauge, "Sessions allowed in a second; 0 for any number."),
    measure("max_session_rate", "rate_max", Kind::Gauge, "Most sessions in a second."),
    measure("http_requests_rate_max", "req_rate_max", Kind::Gauge, "Most requests in a second."),
    measure("http_requests_total", "req_tot", Kind::Counter, "Requests of HTTP."),
    measure("connections_rate_max", "conn_rate_max", Kind::Gauge, "Most connections in a second."),
    measure("connections_total", "conn_tot", Kind::Counter, "Connections from clients."),
    measure("client_aborts_total", "cli_abrt", Kind::Counter, "Transfers that the client ended early."),
    measure("server_aborts_total", "srv_abrt", Kind::Counter, "Transfers that the server ended early."),
    measure("last_session_seconds", "lastsess", Kind::Gauge, "Time since the last session began."),
    measure("queue_time_average_seconds", "qtime", Kind::Gauge, "Average time in the queue of the last 1024 exchanges."),
    measure("connect_time_average_seconds", "ctime", Kind::Gauge, "Average time to connect of the last 1024 exchanges."),
    measure("response_time_average_seconds", "rtime", Kind::Gauge, "Average time to the response of the last 1024 exchanges."),
    measure("total_time_average_seconds", "ttime", Kind::Gauge, "Average time from first to last of the last 1024 exchanges."),
    measure("max_queue_time_seconds", "qtime_max", Kind::Gauge, "Longest time in the queue."),
    measure("max_connect_time_seconds", "ctime_max", Kind::Gauge, "Longest time to connect."),
    measure("max_response_time_seconds", "rtime_max", Kind::Gauge, "Longest time to the response."),
    measure("max_total_time_seconds", "ttime_max", Kind::Gauge, "Longest time from first to last."),
    measure("connection_attempts_total", "connect", Kind::Counter, "Connections to servers that were attempted."),
    measure("connection_reuses_total", "reuse", Kind::Counter, "Connections to servers that served once more."),
    measure("http_cache_lookups_total", "cache_lookups", Kind::Counter, "Requests that a cache was asked about."),
    measure("http_cache_hits_total", "cache_hits", Kind::Counter, "Requests that a cache could answer."),
    measure("current_throttle", "throttle", Kind::Gauge, "How far a slow start has come, in percent."),
    measure("uweight", "uweight", Kind::Gauge, "Weight before any slow start."),
    // Not in HAProxy's exporter, which leaves rates to who reads it.
    measure("current_session_rate", "rate", Kind::Gauge, "Sessions over the last second."),
    measure("current_http_request_rate", "req_rate", Kind::Gauge, "Requests over the last second."),
    measure("current_connection_rate", "conn_rate", Kind::Gauge, "Connections over the last second."),
];
