//! Statistics: the numbers HAProxy has for the same traffic, under the names it has for them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, unused_address};
use crate::log::{Doors, moody, our_config, receiver, their_config};

/// Fetches a page; its body if that comes in one piece, all chunks joined if not.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200"), "{path}: {head}");
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let mut rest = body;
    let mut joined = String::new();
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        joined.push_str(&more[..length]);
        rest = more[length..].trim_start_matches("\r\n");
    }
    joined
}

/// A table by proxy, name and column.
struct Table(HashMap<(String, String), HashMap<String, String>>);

impl Table {
    fn of(address: SocketAddr) -> Self {
        let text = get(address, "/stats;csv");
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap().trim_start_matches("# ").split(',').collect();
        let row = |line: &str| {
            let cells = line.split(',').map(str::to_owned);
            let row: HashMap<String, String> = columns.iter().map(|column| (*column).to_owned()).zip(cells).collect();
            ((row["pxname"].clone(), row["svname"].clone()), row)
        };
        Self(lines.filter(|line| !line.is_empty()).map(row).collect())
    }

    fn cell(&self, proxy: &str, name: &str, column: &str) -> &str {
        &self.0[&(proxy.to_owned(), name.to_owned())][column]
    }

    fn number(&self, proxy: &str, name: &str, column: &str) -> u64 {
        self.cell(proxy, name, column).parse().unwrap_or_else(|_| panic!("{proxy}/{name} {column}"))
    }
}

fn request(address: SocketAddr, path: &str) {
    let mut client = connect(address);
    write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let _ = client.read_to_end(&mut Vec::new());
}

fn traffic(doors: &Doors) {
    ["/", "/", "/reset", "/garbage", "/short", "/"].iter().for_each(|path| request(doors.web, path));
    let mut client = connect(doors.web);
    client.write_all(b"nonsense\r\n\r\n").unwrap();
    let _ = client.read_to_end(&mut Vec::new());
}

/// Waits until everything is counted: an exchange is when it has ended, which the client may see first.
fn wait_for_requests(address: SocketAddr, count: u64) -> Table {
    let end = Instant::now() + PATIENCE;
    loop {
        let table = Table::of(address);
        if table.number("web", "FRONTEND", "req_tot") >= count {
            return table;
        }
        assert!(Instant::now() < end, "not counted");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn numbers_are_those_of_haproxy() {
    let haproxy = Haproxy::find();
    let server = moody();
    let (ours, theirs) = (Doors::new(), Doors::new());
    let log = receiver().local_addr().unwrap();
    let _daemon = Daemon::start(&our_config(&ours, server.address(), log));
    let _process = haproxy.start(&their_config(&theirs, server.address(), log), theirs.stats);
    traffic(&ours);
    traffic(&theirs);
    let (our_header, their_header) = (get(ours.stats, "/stats;csv"), get(theirs.stats, "/stats;csv"));
    let fixed = |text: &str| text.lines().next().unwrap().split_once(",-,").unwrap().0.to_owned();
    assert_eq!(fixed(&our_header), fixed(&their_header));
    let (our_table, their_table) = (wait_for_requests(ours.stats, 7), wait_for_requests(theirs.stats, 7));
    let same = [
        ("FRONTEND", "smax stot ereq status type hrsp_1xx hrsp_2xx hrsp_3xx hrsp_4xx hrsp_5xx req_tot mode conn_tot rate_lim"),
        ("s1", "qcur scur smax stot econ eresp wretr wredis status weight act bck lbtot type hrsp_2xx hrsp_5xx cli_abrt srv_abrt uweight"),
        ("BACKEND", "qcur qmax scur smax stot econ eresp wretr wredis status weight act bck lbtot type hrsp_2xx hrsp_5xx req_tot srv_abrt"),
    ];
    for (name, columns) in same {
        let proxy = if name == "FRONTEND" { "web" } else { "app" };
        for column in columns.split(' ') {
            // Theirs may count a connection before the one before it has gone, and so may ours.
            let least = column == "smax";
            let (our_cell, their_cell) = (our_table.cell(proxy, name, column), their_table.cell(proxy, name, column));
            assert!(our_cell == their_cell || (least && our_cell != "0"), "{proxy}/{name} {column}: {our_cell}, theirs {their_cell}");
        }
    }
    let connections = |table: &Table| table.number("app", "s1", "connect") + table.number("app", "s1", "reuse");
    // One that had died while it was idle was replaced, if it came to that.
    assert!((6..=7).contains(&connections(&our_table)) && (6..=7).contains(&connections(&their_table)));
}

#[test]
fn metrics_are_called_as_haproxys_are() {
    let haproxy = Haproxy::find();
    let server = moody();
    let (ours, theirs) = (Doors::new(), Doors::new());
    let log = receiver().local_addr().unwrap();
    let _daemon = Daemon::start(&our_config(&ours, server.address(), log));
    let _process = haproxy.start(&their_config(&theirs, server.address(), log), theirs.stats);
    traffic(&ours);
    let types = |text: &str| -> HashMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        lines.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    };
    let (our_text, their_text) = (get(ours.stats, "/metrics"), get(theirs.stats, "/metrics"));
    let (our_types, their_types) = (types(&our_text), types(&their_text));
    for (name, kind) in &our_types {
        // Rates are left to Prometheus there; the checks' families exist only where there are checks.
        let is_own = name.starts_with("l7d_")
            || name.contains("_server_check_")
            || (name.ends_with("_rate") && !name.starts_with("haproxy_process_"));
        assert!(is_own || their_types.get(name) == Some(kind), "{name} {kind}, theirs {:?}", their_types.get(name));
    }
    let mandatory = [
        "haproxy_process_requests_total",
        "haproxy_frontend_http_requests_total{proxy=\"web\"}",
        "haproxy_frontend_http_responses_total{proxy=\"web\",code=\"2xx\"}",
        "haproxy_frontend_bytes_out_total{proxy=\"web\"}",
        "haproxy_backend_response_time_average_seconds{proxy=\"app\"}",
        "haproxy_server_http_responses_total{proxy=\"app\",server=\"s1\",code=\"2xx\"}",
        "haproxy_server_current_sessions{proxy=\"app\",server=\"s1\"}",
        "haproxy_server_status{proxy=\"app\",server=\"s1\",state=\"UP\"}",
    ];
    for sample in mandatory {
        let is_there = |text: &str| text.lines().any(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
        assert!(is_there(&our_text) && is_there(&their_text), "{sample}");
    }
    let frontends = get(ours.stats, "/metrics?scope=frontend");
    assert!(frontends.contains("haproxy_frontend_status") && !frontends.contains("haproxy_server_"), "{frontends}");
    let families: Vec<&str> = our_text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(families.len(), our_types.len(), "each family once");
}

#[test]
fn latencies_are_told_by_length() {
    let server = Server::start(|mut stream| {
        let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(line) = head.next().and_then(Result::ok) {
            if line.starts_with("GET /slow") {
                thread::sleep(Duration::from_millis(120));
            }
            if line.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    let [front, stats] = [(); 2].map(|()| unused_address());
    let config = format!(
        "[global]\nmetrics = \"{stats}\"\nnbthread = 2\n[defaults]\nmode = \"http\"\n\
         timeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n[frontend.web]\nbind = \"{front}\"\n\
         default-backend = \"app\"\n[backend.app]\nserver = {{ s1 = \"{}\", idle = {{ address = \"{}\", disabled = true }} }}\n",
        server.address(),
        server.address()
    );
    let _daemon = Daemon::start(&config);
    (0..10).for_each(|_| request(front, "/slow"));
    (0..30).for_each(|_| request(front, "/fast"));
    wait_for_requests(stats, 40);
    let text = get(stats, "/metrics?scope=server&scope=frontend");
    let value = |sample: &str| text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse::<f64>().ok());
    for (family, labels) in [("server", "proxy=\"app\",server=\"s1\""), ("frontend", "proxy=\"web\"")] {
        let bucket = |le: &str| value(&format!("l7d_{family}_latency_seconds_bucket{{{labels},le=\"{le}\"}}")).unwrap();
        assert_eq!(bucket("+Inf"), 40.0);
        assert!(bucket("0.1") <= 30.0, "ten took longer: {text}");
        assert_eq!(value(&format!("l7d_{family}_latency_seconds_count{{{labels}}}")), Some(40.0));
        assert!(value(&format!("l7d_{family}_latency_seconds_sum{{{labels}}}")).unwrap() >= 1.2);
    }
    assert!(!text.contains("server=\"idle\",le"), "what had no exchange has no lengths");
    assert!(!get(stats, "/metrics?scope=global").contains("l7d_server_"));
    let json = get(stats, "/stats;json");
    let told = |name: &str| -> Vec<u64> {
        let name = format!("\"name\":\"{name}\"");
        let fields = json.split(&name).skip(1);
        fields.map(|field| field.split("\"value\":").nth(2).unwrap().split('}').next().unwrap().parse().unwrap()).collect()
    };
    let (half, most) = (told("latency_p50"), told("latency_p99"));
    assert_eq!((half.len(), most.len()), (3, 3), "frontend, server and backend: {json}");
    assert!(
        most.iter().all(|most| (100_000..1_000_000).contains(most)) && half.iter().zip(&most).all(|(half, most)| half < most),
        "{half:?} {most:?}"
    );
    assert!(get(stats, "/stats").contains("half / 95 % / 99 % within"));
}

#[test]
fn numbers_outlive_a_reload() {
    let server = moody();
    let doors = Doors::new();
    let config = our_config(&doors, server.address(), receiver().local_addr().unwrap());
    let daemon = Daemon::start(&config);
    let mut client = connect(doors.web);
    let body = "x".repeat(100_000);
    write!(client, "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let before = wait_for_requests(doors.stats, 1);
    daemon.reload(&config.replace("retries = 1", "retries = 2"));
    for (proxy, name) in [("web", "FRONTEND"), ("app", "s1"), ("app", "BACKEND")] {
        let after = Table::of(doors.stats);
        assert_eq!(before.number(proxy, name, "bin"), after.number(proxy, name, "bin"), "{proxy}/{name}");
        assert!((100_000..101_000).contains(&after.number(proxy, name, "bin")), "{proxy}/{name}");
        assert_eq!(after.number(proxy, name, "stot"), 1, "{proxy}/{name}");
    }
}

#[test]
fn page_shows_every_proxy() {
    let server = moody();
    let doors = Doors::new();
    let _daemon = Daemon::start(&our_config(&doors, server.address(), receiver().local_addr().unwrap()));
    let page = get(doors.stats, "/stats");
    for row in [">web FRONTEND<td>OPEN", ">app/s1<td>no check", ">gone/d1<td>no check", ">gone BACKEND<td>UP", "data-n=\"app\""] {
        assert!(page.contains(row), "no {row} in\n{page}");
    }
}
