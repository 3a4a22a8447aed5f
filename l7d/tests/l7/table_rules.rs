//! Tables in every set of rules, with keys of every type, full ones and such that forget: beside Debian's haproxy.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::http::{ask, server};
use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, Server, connect, directory, read, unused_address};
use crate::tables::{lasting, tell};

const COUNTS: &str =
    "store conn_cnt,conn_cur,sess_cnt,http_req_cnt,http_req_rate(60s),http_err_cnt,http_fail_cnt,gpc0,gpc0_rate(60s),gpc1,gpt0";
const ARRAYS: &str = "store gpc(3),gpc_rate(3,60s),gpt(3),http_req_cnt,http_err_cnt,http_fail_cnt";

/// Both programs with the same configuration.
struct Both {
    _daemon: Daemon,
    _haproxy: HaproxyProcess,
    /// The doors of ours, and of theirs.
    doors: [Vec<SocketAddr>; 2],
    directory: PathBuf,
}

impl Both {
    /// Starts both; `@1`, `@2` and so on are replaced by addresses.
    fn start(count: usize, cfg: &str) -> Self {
        let directory = directory();
        let doors = [(); 2].map(|()| (0..count).map(|_| unused_address()).collect::<Vec<_>>());
        let text = |name: &str, doors: &[SocketAddr]| {
            let head = format!(
                "global\n nbthread 1\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n \
                 timeout server 30s\n",
                directory.join(name).display()
            );
            (1..)
                .zip(doors)
                .fold(format!("{head}{cfg}"), |text, (number, door)| text.replace(&format!("@{number}\n"), &format!("{door}\n")))
        };
        let _daemon = Daemon::start_haproxy(&text("ours", &doors[0]));
        let _haproxy = Haproxy::find().start(&text("theirs", &doors[1]), doors[1][0]);
        Self { _daemon, _haproxy, doors, directory }
    }

    /// Asks both the same over one connection, and returns what they answer.
    fn ask(&self, door: usize, requests: &[&str]) -> [Vec<String>; 2] {
        [0, 1].map(|which| {
            let mut client = connect(self.doors[which][door]);
            let text = |request: &&str| {
                let mut parts = request.split('|');
                let mut text = format!("GET {} HTTP/1.1\r\nHost: h\r\n", parts.next().unwrap());
                parts.for_each(|field| write!(text, "{field}\r\n").unwrap());
                text + "\r\n"
            };
            requests.iter().map(|request| ask(&mut client, &text(request))).map(|(head, body)| format!("{} {body}", &head[9..12])).collect()
        })
    }

    /// Asks both the same; the statuses must be.
    fn same(&self, door: usize, requests: &[&str]) {
        let [ours, theirs] =
            self.ask(door, requests).map(|answers| answers.iter().map(|answer| answer[..3].to_owned()).collect::<Vec<_>>());
        assert_eq!(ours, theirs);
    }

    /// Returns what both know of a table, once nobody uses an entry of it.
    fn known(&self, table: &str) -> [String; 2] {
        ["ours", "theirs"].map(|name| {
            let end = Instant::now() + PATIENCE;
            loop {
                let shown = tell(&self.directory.join(name), &format!("show table {table}"));
                if shown.lines().filter(|line| line.contains("key=")).all(|line| line.contains("use=0")) {
                    return lasting(&shown);
                }
                assert!(Instant::now() < end, "{name}: {shown}");
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    }

    fn compare(&self, table: &str) -> String {
        let [ours, theirs] = self.known(table);
        assert_eq!(ours, theirs, "{table}");
        ours
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn statuses() -> Server {
    let answer = |head: &str, _: &str| {
        let status = head.split(' ').nth(1).and_then(|path| path.strip_prefix("/status/")).unwrap_or("200");
        format!("HTTP/1.1 {status} X\r\nX-Key: k{status}\r\nContent-Length: 2\r\n\r\nok")
    };
    server(answer).0
}

#[test]
fn all_rules_track_and_count_as_haproxys_do() {
    let (web, echo) = (statuses(), Server::echo("hello"));
    let table = |name: &str, kind: &str, store: &str| format!("backend {name}\n stick-table type {kind} size 100 expire 1m {store}\n");
    let both = Both::start(
        3,
        &format!(
            "frontend front\n bind @1\n tcp-request session track-sc0 src table session\n tcp-request session sc-inc-gpc0(0)\n \
             tcp-request session sc-inc-gpc1(0)\n tcp-request session sc-set-gpt0(0) 5\n tcp-request content track-sc1 src table content\n \
             tcp-request content sc-inc-gpc0(1)\n tcp-request content sc-inc-gpc1(1)\n tcp-request content sc-set-gpt0(1) int(3),add(4)\n \
             http-request track-sc2 path table request\n http-request sc-inc-gpc(1,2)\n http-request sc-set-gpt(1,2) 9\n \
             http-request deny if {{ path /deny }}\n default_backend web\n\
             backend web\n http-response sc-inc-gpc(2,2)\n http-response sc-inc-gpc0(0)\n http-response sc-inc-gpc1(1)\n \
             http-response sc-set-gpt(2,2) status\n http-response sc-set-gpt0(0) status,add(1)\n server s {web}\n\
             frontend late\n bind @2\n http-response track-sc0 src table late\n http-response track-sc1 res.hdr(x-key) table keys\n \
             http-response sc-inc-gpc0(0)\n http-response sc-set-gpt0(0) status\n http-response sc-inc-gpc(1,1)\n \
             http-request return status 200 if {{ path /here }}\n default_backend plain\nbackend plain\n server s {web}\n\
             listen bytes\n mode tcp\n bind @3\n tcp-request connection track-sc0 src table connection\n tcp-request connection sc-inc-gpc0(0)\n \
             tcp-request connection sc-inc-gpc1(0)\n tcp-request connection sc-set-gpt0(0) 2\n tcp-request content track-sc1 src table stream\n \
             tcp-request content sc-inc-gpc(0,1)\n tcp-request content sc-set-gpt(0,1) 3\n tcp-response content sc-inc-gpc0(0)\n \
             tcp-response content sc-inc-gpc1(0)\n tcp-response content sc-inc-gpc(2,1)\n tcp-response content sc-set-gpt(2,1) 4\n \
             tcp-response content sc-set-gpt0(0) int(7)\n server s {}\n{}",
            echo.address(),
            ["session", "content", "late", "connection"].map(|name| table(name, "ip", COUNTS)).concat()
                + &table("request", "string len 20", ARRAYS)
                + &table("keys", "string len 20", ARRAYS)
                + &table("stream", "ip", ARRAYS),
            web = web.address(),
        ),
    );
    let paths = ["/", "/status/404", "/status/500", "/status/501", "/", "/deny"];
    both.same(0, &paths);
    both.same(1, &["/", "/status/404", "/here", "/status/500", "/status/501", "/status/404"]);
    for which in [0, 1] {
        for _ in 0..3 {
            assert_eq!(read(&mut connect(both.doors[which][2]), 5), "hello");
        }
    }
    let mut different = String::new();
    for name in ["session", "content", "request", "late", "keys", "connection", "stream"] {
        let [ours, theirs] = both.known(name);
        assert!(ours.contains("key="), "{ours}");
        if ours != theirs {
            write!(different, "{name}:\n{ours}\n{theirs}\n").unwrap();
        }
    }
    assert_eq!(different, "");
}

#[test]
fn keys_of_every_type_are_made_as_haproxy_makes_them() {
    let web = statuses();
    let types = ["ip", "ipv6", "integer", "string len 5", "binary len 4"];
    let mut cfg = "frontend front\n bind @1\n default_backend web\n".to_owned();
    for (number, _) in types.iter().enumerate() {
        writeln!(cfg, " http-request track-sc0 req.hdr(x-key) table t{number} if {{ path /{number} }}").unwrap();
        writeln!(cfg, " http-request track-sc1 req.hdr(x-key),length table t{number} if {{ path /length/{number} }}").unwrap();
        writeln!(cfg, " http-request track-sc1 src table t{number} if {{ path /src/{number} }}").unwrap();
        let asked = format!("%[req.hdr(x-key),table_http_req_cnt(t{number})] %[req.hdr(x-key),in_table(t{number})]");
        writeln!(cfg, " http-request return status 200 content-type text/plain lf-string \"{asked}\" if {{ path /ask/{number} }}").unwrap();
    }
    writeln!(cfg, "backend web\n server s {}", web.address()).unwrap();
    for (number, kind) in types.iter().enumerate() {
        writeln!(cfg, "backend t{number}\n stick-table type {kind} size 100 expire 1m store http_req_cnt,gpc0").unwrap();
    }
    let both = Both::start(1, &cfg);
    let keys = [
        "10.0.0.1",
        "::ffff:10.0.0.2",
        "2001:db8::1",
        "2001:DB8:0::1",
        "junk",
        "",
        "12",
        "007",
        "-1",
        "4294967297",
        "0x10",
        "12a",
        "abcde",
        "abcdef",
        "ab",
        "a b",
        "a=b",
        "a\\b",
        "a\tb",
        "a\"b",
        "~{}",
        "café",
    ];
    let mut different = String::new();
    for (number, kind) in types.iter().enumerate() {
        for key in keys {
            for path in ["", "/length", "/src", "/ask"] {
                let request = format!("{path}/{number}|X-Key: {key}");
                let [ours, theirs] = both.ask(0, &[&request]);
                if ours != theirs {
                    writeln!(different, "{kind}: {request}: {ours:?} {theirs:?}").unwrap();
                }
            }
        }
        let [ours, theirs] = both.known(&format!("t{number}"));
        assert!(ours.contains("key="), "{ours}");
        if ours != theirs {
            write!(different, "{kind}:\n{ours}\n{theirs}\n").unwrap();
        }
    }
    assert_eq!(different, "");
}

#[test]
fn tables_are_full_and_forget_as_haproxys_do() {
    let web = statuses();
    let rule = |name: &str| {
        format!(
            " http-request track-sc0 path table {name} if {{ path_beg /{name} }}\n \
             http-request return status 200 content-type text/plain lf-string \"%[sc0_tracked] %[sc0_http_req_cnt]\" if {{ path_beg /{name} }}\n"
        )
    };
    let table = |name: &str, settings: &str| format!("backend {name}\n stick-table type string len 20 {settings} store http_req_cnt\n");
    let both = Both::start(
        1,
        &format!(
            "frontend front\n bind @1\n{} default_backend web\nbackend web\n server s {}\n{}",
            ["full", "keeps", "short"].map(rule).concat(),
            web.address(),
            table("full", "size 2 expire 1m") + &table("keeps", "size 2 expire 1m nopurge") + &table("short", "size 10 expire 4s")
        ),
    );
    let visit = |path: &str| {
        let [ours, theirs] = both.ask(0, &[path]);
        assert_eq!(ours, theirs, "{path}");
        // An entry that is in use stays, which it may be for a moment after its client knows; and theirs tell milliseconds apart at most.
        for table in ["full", "keeps"] {
            both.known(table);
        }
        std::thread::sleep(Duration::from_millis(3));
        ours.concat()
    };
    for name in ["a", "b", "a", "c", "a", "b", "c"] {
        visit(&format!("/full/{name}"));
        visit(&format!("/keeps/{name}"));
    }
    assert_eq!(visit("/keeps/c"), "200 0 ", "there is no room");
    assert!(both.compare("keeps").contains("key=/keeps/a"));
    both.compare("full");
    // An entry lives from its last use on.
    visit("/short/lost");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(5500) {
        visit("/short/kept");
        std::thread::sleep(Duration::from_millis(200));
    }
    let known = ["ours", "theirs"].map(|name| tell(&both.directory.join(name), "show table short"));
    for known in known {
        assert!(known.contains("key=/short/kept ") && !known.contains("key=/short/lost "), "{known}");
    }
}
