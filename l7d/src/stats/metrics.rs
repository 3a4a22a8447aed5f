//! The statistics as metrics, under the names of HAProxy's exporter, so that dashboards made for it work.

use control::exposition::{Family, Kind, Metrics};

use super::csv;
use super::info::Fact;
use super::overview::{Overview, Row, Subject, Value};
use crate::otlp;
use crate::stick::Table;

/// One family of metrics, for those kinds of rows that have it.
struct Measure {
    /// The name behind `haproxy_frontend_`, `haproxy_backend_` or `haproxy_server_`.
    name: &'static str,
    /// Where its value stands.
    column: &'static str,
    /// What has it in HAProxy's exporter.
    scopes: &'static [&'static str],
    kind: Kind,
    help: &'static str,
}

const fn measure(name: &'static str, column: &'static str, scopes: &'static [&'static str], kind: Kind, help: &'static str) -> Measure {
    Measure { name, column, scopes, kind, help }
}

/// Writes what is known of the process as a whole: the numbers of `show info`.
pub(super) fn write_process(metrics: &mut Metrics, facts: &[Fact]) {
    for (name, field, kind) in PROCESS {
        let fact = facts.iter().find(|fact| fact.name == field);
        debug_assert!(fact.is_some(), "{field}");
        let Some((fact, value)) = fact.and_then(|fact| Some((fact, fact.value.parse().ok()?))) else { continue };
        metrics.family(&format!("haproxy_process_{name}"), kind, fact.help).whole(&[], value);
    }
    for (name, help) in NO_ZLIB {
        metrics.family(name, Kind::Gauge, help).whole(&[], 0);
    }
    if let Some((sent, lost)) = otlp::counts() {
        let mut spans = metrics.family("l7d_spans_total", Kind::Counter, "Spans of requests, by what became of them.");
        spans.whole(&[("outcome", "sent")], sent).whole(&[("outcome", "lost")], lost);
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
        let is_up = row.value("status") == Some(Value::Text("OPEN".into()));
        for (state, is) in [("DOWN", !is_up), ("UP", is_up)] {
            status.whole(&[("proxy", row.proxy()), ("state", state)], is.into());
        }
    }
    for scope in SCOPES {
        for measure in &MEASURES {
            write_measure(metrics, &rows, scope, measure);
        }
        write_responses(metrics, &rows, scope);
        write_latency(metrics, &rows, scope);
    }
    write_tables(metrics, overview);
}

fn write_tables(metrics: &mut Metrics, overview: &Overview<'_>) {
    if overview.tables().is_empty() {
        return;
    }
    let mut family = |name: &'static str, help, value: fn(&Table) -> u64| {
        let mut family = metrics.family(name, Kind::Gauge, help);
        for table in overview.tables() {
            family.whole(&[("name", table.name()), ("type", table.type_name())], value(table));
        }
    };
    family("haproxy_sticktable_size", "Entries the table may have.", Table::size);
    family("haproxy_sticktable_used", "Entries the table has.", Table::used);
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
    if !measure.scopes.contains(&wanted) {
        return;
    }
    let name = format!("haproxy_{wanted}_{}", measure.name);
    let mut family = metrics.family(&name, measure.kind, measure.help);
    for row in rows.iter().filter(|row| scope(row) == wanted) {
        let labels = [("proxy", row.proxy()), ("server", row.name())];
        put(&mut family, if wanted == "server" { &labels } else { &labels[..1] }, row.value(measure.column).as_ref());
    }
}

fn write_responses(metrics: &mut Metrics, rows: &[Row<'_>], wanted: &str) {
    let name = format!("haproxy_{wanted}_http_responses_total");
    let mut family = metrics.family(&name, Kind::Counter, "Responses by the class of their status.");
    for row in rows.iter().filter(|row| scope(row) == wanted) {
        for code in ["1xx", "2xx", "3xx", "4xx", "5xx", "other"] {
            let value = row.value(&format!("hrsp_{code}"));
            let (proxy, code) = (("proxy", row.proxy()), ("code", code));
            if wanted == "server" {
                put(&mut family, &[proxy, ("server", row.name()), code], value.as_ref());
            } else {
                put(&mut family, &[proxy, code], value.as_ref());
            }
        }
    }
}

/// Adds a value; what there is none of is no number, as with HAProxy.
fn put(family: &mut Family<'_>, labels: &[(&str, &str)], value: Option<&Value<'_>>) {
    match value {
        Some(Value::Count(count)) => family.whole(labels, *count),
        Some(Value::Micros(time)) => family.fraction(labels, std::time::Duration::from_micros(*time).as_secs_f64()),
        Some(Value::Negative) => family.fraction(labels, -1.0),
        Some(Value::Text(_)) | None => family.fraction(labels, f64::NAN),
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
const FRONTEND: [&str; 1] = ["frontend"];
const BACKEND: [&str; 1] = ["backend"];
const SERVER: [&str; 1] = ["server"];
/// Those that are proxies.
const PROXIES: [&str; 2] = ["frontend", "backend"];
/// Those on the side of the servers.
const BEHIND: [&str; 2] = ["backend", "server"];

/// Names behind `haproxy_process_`, and the fields of `show info` that hold their values.
const PROCESS: [(&str, &str, Kind); 54] = [
    ("nbthread", "Nbthread", Kind::Gauge),
    ("nbproc", "Nbproc", Kind::Gauge),
    ("relative_process_id", "Process_num", Kind::Gauge),
    ("start_time_seconds", "Start_time_sec", Kind::Gauge),
    ("uptime_seconds", "Uptime_sec", Kind::Gauge),
    ("max_memory_bytes", "Memmax_bytes", Kind::Gauge),
    ("pool_allocated_bytes", "PoolAlloc_bytes", Kind::Gauge),
    ("pool_used_bytes", "PoolUsed_bytes", Kind::Gauge),
    ("pool_failures_total", "PoolFailed", Kind::Counter),
    ("max_fds", "Ulimit-n", Kind::Gauge),
    ("max_sockets", "Maxsock", Kind::Gauge),
    ("max_connections", "Maxconn", Kind::Gauge),
    ("hard_max_connections", "Hard_maxconn", Kind::Gauge),
    ("current_connections", "CurrConns", Kind::Gauge),
    ("connections_total", "CumConns", Kind::Counter),
    ("requests_total", "CumReq", Kind::Counter),
    ("max_pipes", "Maxpipes", Kind::Gauge),
    ("pipes_used_total", "PipesUsed", Kind::Counter),
    ("current_connection_rate", "ConnRate", Kind::Gauge),
    ("limit_connection_rate", "ConnRateLimit", Kind::Gauge),
    ("max_connection_rate", "MaxConnRate", Kind::Gauge),
    ("current_session_rate", "SessRate", Kind::Gauge),
    ("limit_session_rate", "SessRateLimit", Kind::Gauge),
    ("max_session_rate", "MaxSessRate", Kind::Gauge),
    ("max_ssl_connections", "MaxSslConns", Kind::Gauge),
    ("current_ssl_connections", "CurrSslConns", Kind::Gauge),
    ("ssl_connections_total", "CumSslConns", Kind::Counter),
    ("current_ssl_rate", "SslRate", Kind::Gauge),
    ("limit_ssl_rate", "SslRateLimit", Kind::Gauge),
    ("max_ssl_rate", "MaxSslRate", Kind::Gauge),
    ("current_frontend_ssl_key_rate", "SslFrontendKeyRate", Kind::Gauge),
    ("max_frontend_ssl_key_rate", "SslFrontendMaxKeyRate", Kind::Gauge),
    ("frontend_ssl_reuse", "SslFrontendSessionReuse_pct", Kind::Gauge),
    ("current_backend_ssl_key_rate", "SslBackendKeyRate", Kind::Gauge),
    ("max_backend_ssl_key_rate", "SslBackendMaxKeyRate", Kind::Gauge),
    ("ssl_cache_lookups_total", "SslCacheLookups", Kind::Counter),
    ("ssl_cache_misses_total", "SslCacheMisses", Kind::Counter),
    ("http_comp_bytes_in_total", "CompressBpsIn", Kind::Counter),
    ("http_comp_bytes_out_total", "CompressBpsOut", Kind::Counter),
    ("limit_http_comp", "CompressBpsRateLim", Kind::Gauge),
    ("current_tasks", "Tasks", Kind::Gauge),
    ("current_run_queue", "Run_queue", Kind::Gauge),
    ("idle_time_percent", "Idle_pct", Kind::Gauge),
    ("stopping", "Stopping", Kind::Gauge),
    ("jobs", "Jobs", Kind::Gauge),
    ("unstoppable_jobs", "Unstoppable Jobs", Kind::Gauge),
    ("listeners", "Listeners", Kind::Gauge),
    ("active_peers", "ActivePeers", Kind::Gauge),
    ("connected_peers", "ConnectedPeers", Kind::Gauge),
    ("dropped_logs_total", "DroppedLogs", Kind::Counter),
    ("busy_polling_enabled", "BusyPolling", Kind::Gauge),
    ("bytes_out_total", "TotalBytesOut", Kind::Counter),
    ("bytes_out_rate", "BytesOutRate", Kind::Gauge),
    ("recv_logs_total", "CumRecvLogs", Kind::Counter),
];

/// HAProxy's numbers about a library that compresses; the one used here is another and has no limit.
const NO_ZLIB: [(&str, &str); 2] = [
    ("haproxy_process_current_zlib_memory", "Memory that zlib uses, 0 as it is not used."),
    ("haproxy_process_max_zlib_memory", "Limit of the memory of zlib, 0 as there is none."),
];

const MEASURES: [Measure; 61] = [
    measure("current_queue", "qcur", &BEHIND, Kind::Gauge, "Exchanges that wait for a slot of a server."),
    measure("max_queue", "qmax", &BEHIND, Kind::Gauge, "Most that waited at a time."),
    measure("queue_limit", "qlimit", &SERVER, Kind::Gauge, "Exchanges that may wait for the server."),
    measure("current_sessions", "scur", &SCOPES, Kind::Gauge, "Sessions at present."),
    measure("max_sessions", "smax", &SCOPES, Kind::Gauge, "Most sessions at a time."),
    measure("limit_sessions", "slim", &SCOPES, Kind::Gauge, "Sessions allowed at a time."),
    measure("sessions_total", "stot", &SCOPES, Kind::Counter, "Sessions."),
    measure("bytes_in_total", "bin", &SCOPES, Kind::Counter, "Bytes of requests."),
    measure("bytes_out_total", "bout", &SCOPES, Kind::Counter, "Bytes of responses."),
    measure("requests_denied_total", "dreq", &PROXIES, Kind::Counter, "Requests that a rule refused."),
    measure("responses_denied_total", "dresp", &SCOPES, Kind::Counter, "Responses that a rule refused."),
    measure("request_errors_total", "ereq", &FRONTEND, Kind::Counter, "Requests that were invalid, cut off or too late."),
    measure("connection_errors_total", "econ", &BEHIND, Kind::Counter, "Requests for which no connection to a server came about."),
    measure("response_errors_total", "eresp", &BEHIND, Kind::Counter, "Responses that were invalid, cut off or too late."),
    measure("retry_warnings_total", "wretr", &BEHIND, Kind::Counter, "Connections attempted anew on the same server."),
    measure("redispatch_warnings_total", "wredis", &BEHIND, Kind::Counter, "Connections attempted anew on another server."),
    measure("loadbalanced_total", "lbtot", &BEHIND, Kind::Counter, "Times a server was chosen."),
    measure("limit_session_rate", "rate_lim", &FRONTEND, Kind::Gauge, "Sessions allowed in a second; 0 for any number."),
    measure("max_session_rate", "rate_max", &SCOPES, Kind::Gauge, "Most sessions in a second."),
    measure("http_requests_rate_max", "req_rate_max", &FRONTEND, Kind::Gauge, "Most requests in a second."),
    measure("http_requests_total", "req_tot", &PROXIES, Kind::Counter, "Requests of HTTP."),
    measure("connections_rate_max", "conn_rate_max", &FRONTEND, Kind::Gauge, "Most connections in a second."),
    measure("connections_total", "conn_tot", &FRONTEND, Kind::Counter, "Connections from clients."),
    measure("client_aborts_total", "cli_abrt", &BEHIND, Kind::Counter, "Transfers that the client ended early."),
    measure("server_aborts_total", "srv_abrt", &BEHIND, Kind::Counter, "Transfers that the server ended early."),
    measure("last_session_seconds", "lastsess", &BEHIND, Kind::Gauge, "Time since the last session began."),
    measure("queue_time_average_seconds", "qtime", &BEHIND, Kind::Gauge, "Average time in the queue of the last 1024 exchanges."),
    measure("connect_time_average_seconds", "ctime", &BEHIND, Kind::Gauge, "Average time to connect of the last 1024 exchanges."),
    measure("response_time_average_seconds", "rtime", &BEHIND, Kind::Gauge, "Average time to the response of the last 1024 exchanges."),
    measure("total_time_average_seconds", "ttime", &BEHIND, Kind::Gauge, "Average time from first to last of the last 1024 exchanges."),
    measure("max_queue_time_seconds", "qtime_max", &BEHIND, Kind::Gauge, "Longest time in the queue."),
    measure("max_connect_time_seconds", "ctime_max", &BEHIND, Kind::Gauge, "Longest time to connect."),
    measure("max_response_time_seconds", "rtime_max", &BEHIND, Kind::Gauge, "Longest time to the response."),
    measure("max_total_time_seconds", "ttime_max", &BEHIND, Kind::Gauge, "Longest time from first to last."),
    measure("connection_attempts_total", "connect", &BEHIND, Kind::Counter, "Connections to servers that were attempted."),
    measure("connection_reuses_total", "reuse", &BEHIND, Kind::Counter, "Connections to servers that served once more."),
    measure("http_cache_lookups_total", "cache_lookups", &PROXIES, Kind::Counter, "Requests that a cache was asked about."),
    measure("http_cache_hits_total", "cache_hits", &PROXIES, Kind::Counter, "Requests that a cache could answer."),
    measure("http_comp_bytes_in_total", "comp_in", &PROXIES, Kind::Counter, "Bytes of bodies before they were compressed."),
    measure("http_comp_bytes_out_total", "comp_out", &PROXIES, Kind::Counter, "Bytes of bodies after they were compressed."),
    measure("http_comp_bytes_bypassed_total", "comp_byp", &PROXIES, Kind::Counter, "Bytes left as they are for want of time, always 0."),
    measure("http_comp_responses_total", "comp_rsp", &PROXIES, Kind::Counter, "Responses that were compressed."),
    measure("intercepted_requests_total", "intercepted", &FRONTEND, Kind::Counter, "Requests that the frontend answered itself."),
    measure("denied_connections_total", "dcon", &FRONTEND, Kind::Counter, "Connections that a rule refused as they came."),
    measure("denied_sessions_total", "dses", &FRONTEND, Kind::Counter, "Connections that a rule refused once they were ready."),
    measure("failed_header_rewriting_total", "wrew", &SCOPES, Kind::Counter, "Changes to messages that could not be made."),
    measure("internal_errors_total", "eint", &SCOPES, Kind::Counter, "Exchanges that failed because of that."),
    measure("check_up_down_total", "chkdown", &BACKEND, Kind::Counter, "Times the last server went down."),
    measure("check_last_change_seconds", "lastchg", &BACKEND, Kind::Gauge, "Time since there are servers, or none."),
    measure("downtime_seconds_total", "downtime", &BACKEND, Kind::Counter, "Time without any server."),
    measure("current_throttle", "throttle", &SERVER, Kind::Gauge, "How far a slow start has come, in percent."),
    measure("idle_connections_current", "srv_icur", &SERVER, Kind::Gauge, "Connections to the server that wait for a request."),
    measure("idle_connections_limit", "src_ilim", &SERVER, Kind::Gauge, "Connections that may wait for a request."),
    measure("unsafe_idle_connections_current", "idle_conn_cur", &SERVER, Kind::Gauge, "Those that wait for their second request."),
    measure("safe_idle_connections_current", "safe_conn_cur", &SERVER, Kind::Gauge, "Those that wait and have served more than one."),
    measure("used_connections_current", "used_conn_cur", &SERVER, Kind::Gauge, "Connections to the server that serve a request."),
    measure("need_connections_current", "need_conn_est", &SERVER, Kind::Gauge, "Connections it is reckoned to need."),
    measure("uweight", "uweight", &BEHIND, Kind::Gauge, "Weight before any slow start."),
    // Not in HAProxy's exporter, which leaves rates to who reads it.
    measure("current_session_rate", "rate", &SCOPES, Kind::Gauge, "Sessions over the last second."),
    measure("current_http_request_rate", "req_rate", &FRONTEND, Kind::Gauge, "Requests over the last second."),
    measure("current_connection_rate", "conn_rate", &FRONTEND, Kind::Gauge, "Connections over the last second."),
];
