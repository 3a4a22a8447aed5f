//! Every counter, by every way to ask for it, beside Debian's haproxy under the same traffic; and who stands out.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::http::{ask, server};
use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, Server, connect, directory, unused_address};
use crate::tables::{lasting, tell};

/// Everything that can be asked of a value that is none of an array.
const PLAIN: &[&str] = &[
    "bytes_in_rate",
    "bytes_out_rate",
    "clr_gpc0",
    "clr_gpc1",
    "conn_cnt",
    "conn_cur",
    "conn_rate",
    "get_gpc0",
    "get_gpc1",
    "get_gpt0",
    "gpc0_rate",
    "gpc1_rate",
    "http_err_cnt",
    "http_err_rate",
    "http_fail_cnt",
    "http_fail_rate",
    "http_req_cnt",
    "http_req_rate",
    "inc_gpc0",
    "inc_gpc1",
    "kbytes_in",
    "kbytes_out",
    "sess_cnt",
    "sess_rate",
];
/// And of an element of one.
const INDEXED: &[&str] = &["get_gpc", "get_gpt", "gpc_rate", "inc_gpc", "clr_gpc"];
/// What converters ask for.
const LOOKUPS: &[&str] = &[
    "table_bytes_in_rate",
    "table_bytes_out_rate",
    "table_conn_cnt",
    "table_conn_cur",
    "table_conn_rate",
    "table_gpc0",
    "table_gpc0_rate",
    "table_gpc1",
    "table_gpc1_rate",
    "table_gpt0",
    "table_http_err_cnt",
    "table_http_err_rate",
    "table_http_fail_cnt",
    "table_http_fail_rate",
    "table_http_req_cnt",
    "table_http_req_rate",
    "table_kbytes_in",
    "table_kbytes_out",
    "table_sess_cnt",
    "table_sess_rate",
    "table_server_id",
    "in_table",
];
const INDEXED_LOOKUPS: &[&str] = &["table_gpc", "table_gpt", "table_gpc_rate"];

/// Returns all questions, each with its name, in lists that fit into a line.
fn questions() -> Vec<String> {
    let mut all = Vec::new();
    for name in PLAIN {
        all.extend([format!("sc_{name}(0)"), format!("sc0_{name}"), format!("sc_{name}(1,plain)"), format!("src_{name}(plain)")]);
        all.push(format!("sc1_{name}"));
    }
    for name in INDEXED {
        all.extend([format!("sc_{name}(1,1)"), format!("sc_{name}(0,0)"), format!("src_{name}(2,arrays)"), format!("sc_{name}(9,1)")]);
    }
    for name in LOOKUPS {
        all.extend(["plain", "arrays"].map(|table| format!("src,{name}({table})")));
        all.push(format!("str(10.1.2.3),{name}(plain)"));
    }
    for name in INDEXED_LOOKUPS {
        all.extend([format!("src,{name}(1,arrays)"), format!("src,{name}(0,plain)"), format!("src,{name}(7,arrays)")]);
    }
    all.push("src_updt_conn_cnt(plain)".to_owned());
    all.extend(["sc0_tracked", "sc1_tracked", "sc2_tracked", "sc_tracked(1)", "sc0_trackers", "sc_trackers(1)"].map(str::to_owned));
    all.extend(["table_expire", "table_idle"].map(|name| format!("src,{name}(plain),div(40000)")));
    all.extend(["table_expire", "table_idle"].map(|name| format!("str(10.1.2.3),{name}(plain,77)")));
    let line = |part: &[String]| part.iter().map(|asked| format!("{asked} = %[{asked}];")).collect::<Vec<_>>().join(" ");
    all.chunks(8).map(line).collect()
}

fn cfg(front: SocketAddr, socket: &str, server: SocketAddr) -> String {
    let mut text = format!(
        "global\n nbthread 1\n stats socket {socket} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {front}\n tcp-request connection track-sc0 src table plain\n http-request track-sc1 src table arrays\n \
         http-request sc-inc-gpc0(0) if {{ path_beg /mark }}\n http-request sc-inc-gpc1(0) if {{ path_beg /mark }}\n \
         http-request sc-set-gpt0(0) 9 if {{ path_beg /mark }}\n http-request sc-inc-gpc(1,1) if {{ path_beg /mark }}\n \
         http-request sc-inc-gpc(2,1) if {{ path_beg /mark }}\n http-request sc-set-gpt(1,1) 8 if {{ path_beg /mark }}\n \
         http-request deny if {{ path /deny }}\n"
    );
    for (number, question) in questions().iter().enumerate() {
        writeln!(text, " http-request return status 200 content-type text/plain lf-string \"{question}\" if {{ path /ask/{number} }}")
            .unwrap();
    }
    text + &format!(
        " default_backend back\nbackend back\n stick on src table plain\n server s1 {server}\n\
         backend plain\n stick-table type ip size 100 expire 1m store server_id,conn_cnt,conn_cur,conn_rate(60s),sess_cnt,sess_rate(60s),http_req_cnt,\
         http_req_rate(60s),http_err_cnt,http_err_rate(60s),http_fail_cnt,http_fail_rate(60s),bytes_in_cnt,bytes_in_rate(60s),bytes_out_cnt,\
         bytes_out_rate(60s),gpc0,gpc0_rate(60s),gpc1,gpc1_rate(60s),gpt0\n\
         backend arrays\n stick-table type ip size 100 expire 1m store gpc(3),gpc_rate(3,60s),gpt(3)\n"
    )
}

/// Both programs with the same rules.
struct Both {
    _daemon: Daemon,
    _haproxy: HaproxyProcess,
    fronts: [SocketAddr; 2],
    _server: Server,
    directory: std::path::PathBuf,
}

impl Both {
    fn start() -> Self {
        let (server, _) = server(|head, _| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let status = path.strip_prefix("/status/").unwrap_or("200");
            let body = "x".repeat(if path == "/large" { 300_000 } else { 2 });
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        });
        let (fronts, directory) = ([unused_address(), unused_address()], directory());
        let socket = |name: &str| directory.join(name).display().to_string();
        let _daemon = Daemon::start_haproxy(&cfg(fronts[0], &socket("ours"), server.address()));
        let _haproxy = Haproxy::find().start(&cfg(fronts[1], &socket("theirs"), server.address()), fronts[1]);
        Self { _daemon, _haproxy, fronts, _server: server, directory }
    }

    /// Sends requests over one connection and returns the answers of both.
    fn talk(&self, paths: &[String]) -> [Vec<String>; 2] {
        self.fronts.map(|front| {
            let mut client = connect(front);
            let request = |path: &String| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            paths.iter().map(|path| ask(&mut client, &request(path)).1).collect()
        })
    }
}

/// Tells whether two answers are the same, but for bytes: HAProxy leaves out parts of heads.
fn same(ours: &str, theirs: &str) -> bool {
    let (Some((name, ours)), Some((other, theirs))) = (ours.split_once(" = "), theirs.split_once(" = ")) else { return ours == theirs };
    let number = |text: &str| text.parse::<f64>().unwrap_or(-1.0);
    // Requests without a body are little more than their heads.
    let tolerance = if name.contains("bytes_in") { 0.5 } else { 0.05 };
    name == other && (ours == theirs || name.contains("bytes") && (number(ours) - number(theirs)).abs() < tolerance * number(theirs))
}

#[test]
fn every_counter_says_what_haproxy_says() {
    let both = Both::start();
    let paths = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let traffic = paths(&["/", "/mark", "/mark", "/large", "/large", "/status/404", "/status/500", "/status/503", "/status/501", "/mark"]);
    let asked: Vec<String> = (0..questions().len()).map(|number| format!("/ask/{number}")).collect();
    for round in 0..2 {
        both.talk(&traffic);
        both.talk(&paths(&["/deny"]));
        // An exchange counts when it is over, which may be a moment after its client knows.
        let end = Instant::now() + PATIENCE;
        for name in ["ours", "theirs"] {
            while !tell(&both.directory.join(name), "show table plain").contains("use=0") {
                assert!(Instant::now() < end, "{name} keeps a connection");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let [ours, theirs] = both.talk(&asked);
        let mut count = 0;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!(!ours.is_empty() && ours.matches(';').count() == theirs.matches(';').count(), "{ours}\n{theirs}");
            for (ours, theirs) in ours.split(';').zip(theirs.split(';')) {
                assert!(same(ours.trim(), theirs.trim()), "round {round}: {ours} here, {theirs} there");
                count += 1;
            }
        }
        assert!(count > 200, "{count}");
    }
    std::fs::remove_dir_all(&both.directory).unwrap();
}

#[test]
fn bytes_of_connections_are_counted_to_the_byte() {
    let server = Server::echo("hello");
    let (fronts, directory) = ([unused_address(), unused_address()], directory());
    let cfg = |front: SocketAddr, name: &str| {
        format!(
            "global\n nbthread 1\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
             frontend front\n bind {front}\n stick-table type ip size 10 expire 1m store conn_cnt,sess_cnt,bytes_in_cnt,bytes_in_rate(60s),\
             bytes_out_cnt,bytes_out_rate(60s)\n tcp-request connection track-sc0 src\n default_backend back\nbackend back\n server s1 {}\n",
            directory.join(name).display(),
            server.address()
        )
    };
    let _daemon = Daemon::start_haproxy(&cfg(fronts[0], "ours"));
    let _haproxy = Haproxy::find().start(&cfg(fronts[1], "theirs"), fronts[1]);
    for front in fronts {
        for size in [1, 1000, 200_000] {
            let mut client = connect(front);
            let bytes = vec![7; size];
            let mut writer = client.try_clone().unwrap();
            let writing = std::thread::spawn(move || writer.write_all(&bytes).and_then(|()| writer.shutdown(std::net::Shutdown::Write)));
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            writing.join().unwrap().unwrap();
            assert_eq!(answer.len(), size + 5);
        }
    }
    let shown = ["ours", "theirs"].map(|name| {
        let end = Instant::now() + PATIENCE;
        loop {
            let shown = tell(&directory.join(name), "show table front");
            if shown.contains("use=0") {
                return lasting(&shown);
            }
            assert!(Instant::now() < end, "{shown}");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(shown[0], shown[1]);
    assert!(shown[0].contains("bytes_in_cnt=201001") && shown[0].contains("bytes_out_cnt=201016"), "{}", shown[0]);
    std::fs::remove_dir_all(directory).unwrap();
}

/// Asks for the page of statistics.
fn page(address: SocketAddr) -> String {
    let (head, body) = ask(&mut connect(address), "GET /stats HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body
}

#[test]
fn who_stands_out_is_shown_by_command_and_on_the_page() {
    let (server, _) = crate::http::hello();
    let (front, directory) = (unused_address(), directory());
    let socket = directory.join("ours");
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nfrontend front\n \
         bind {front}\n stats uri /stats\n http-request track-sc0 hdr(x-user) table users if {{ hdr(x-user) -m found }}\n default_backend back\n\
         backend back\n server s1 {}\nbackend users\n stick-table type string len 16 size 100 expire 1m store gpt0,http_req_cnt,http_req_rate(60s)\n",
        socket.display(),
        server.address()
    ));
    for (user, count) in [("ann", 3), ("<bob>", 9), ("carl", 1), ("dora", 5)] {
        let mut client = connect(front);
        for _ in 0..count {
            ask(&mut client, &format!("GET / HTTP/1.1\r\nHost: h\r\nX-User: {user}\r\n\r\n"));
        }
    }
    let keys = |line: &str| {
        let shown = tell(&socket, line);
        shown.split_whitespace().filter_map(|word| word.strip_prefix("key=")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(keys("show table users top 3"), ["<bob>", "dora", "ann"]);
    assert_eq!(keys("show table users top"), ["<bob>", "dora", "ann", "carl"]);
    assert_eq!(keys("show table users top data.http_req_cnt 1"), ["<bob>"]);
    assert!(keys("show table users top data.gpt0").is_empty());
    tell(&socket, "set table users key carl data.gpt0 4");
    assert_eq!(keys("show table users top data.gpt0 2"), ["carl"]);
    for (line, said) in [
        ("show table users top 0", "Require a number from 1"),
        ("show table users top data.gpc0", "Data type not stored"),
        ("show table users top data.nothing 3", "Unknown data type"),
    ] {
        assert!(tell(&socket, line).contains(said), "{line}");
    }
    let page = page(front);
    let list = "<h2>table users: most http_req_rate in 60 s</h2><ol><li>&lt;bob&gt;: 9<li>dora: 5<li>ann: 3<li>carl: 1</ol>";
    assert!(page.contains(list), "{page}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_none_of_the_protocol_is_a_glitch() {
    let (server, _) = crate::http::hello();
    let (front, directory) = (unused_address(), directory());
    let socket = directory.join("ours");
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nfrontend front\n \
         bind {front}\n stick-table type ip size 100 expire 1m store glitch_cnt,glitch_rate(60s)\n tcp-request connection track-sc0 src\n \
         http-request return status 200 content-type text/plain lf-string \"%[sc0_glitch_cnt] %[sc_glitch_rate(0)] %[src_glitch_cnt] \
         %[src_glitch_rate] %[src,table_glitch_cnt(front)] %[src,table_glitch_rate(front)]\" if {{ path /show }}\n default_backend back\n\
         backend back\n server s1 {}\n",
        socket.display(),
        server.address()
    ));
    let show = || ask(&mut connect(front), "GET /show HTTP/1.1\r\nHost: h\r\n\r\n").1;
    assert_eq!(show(), "0 0 0 0 0 0");
    for _ in 0..2 {
        let mut client = connect(front);
        client.write_all(b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(show(), "2 2 2 2 2 2");
    std::fs::remove_dir_all(directory).unwrap();
}
