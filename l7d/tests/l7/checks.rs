//! Checks of servers, step by step: the same results, codes and words as those of Debian's haproxy, and the same bytes to the servers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, directory, unused_address};
use crate::runtime::ask;

/// What a server is asked, by who asked: the port of the server tells.
type Heard = Arc<Mutex<BTreeSet<String>>>;

/// A server that says `first`, answers each piece it reads, and then waits for the end, or ends itself.
pub(crate) struct Talker {
    server: Server,
    heard: Heard,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Wait,
    Close,
}

impl Talker {
    pub(crate) fn start(first: &'static [u8], answers: &'static [&'static [u8]], then: Then) -> Self {
        let heard = Heard::default();
        let all = Arc::clone(&heard);
        let server = Server::start(move |mut stream| {
            let mut buffer = [0; 4096];
            if stream.write_all(first).is_err() {
                return;
            }
            let mut asked = String::new();
            for answer in answers {
                let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
                asked += &String::from_utf8_lossy(&buffer[..count]);
                all.lock().unwrap().insert(asked.clone());
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
            if then == Then::Close {
                return;
            }
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                asked += &String::from_utf8_lossy(&buffer[..count]);
                all.lock().unwrap().insert(asked.clone());
            }
        });
        Self { server, heard }
    }

    fn http(answer: &'static [&'static [u8]]) -> Self {
        Self::start(b"", answer, Then::Wait)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns all that was asked, each once.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().cloned().collect()
    }
}

/// Backends with one server each, whose checks are compared.
pub(crate) struct Trial {
    /// Lines of `defaults`.
    pub(crate) defaults: String,
    /// Each with its name, its lines, and the words of its server.
    pub(crate) backends: Vec<(String, String, String)>,
}

impl Trial {
    pub(crate) fn config(&self, front: SocketAddr, socket: &Path) -> String {
        let mut config = format!(
            "global\n stats socket {} level admin\n{}\nfrontend f\n bind {front}\n",
            socket.display(),
            format_args!(
                "defaults\n mode tcp\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n timeout check 400ms\n{}",
                self.defaults
            )
        );
        for (name, lines, words) in &self.backends {
            writeln!(config, "backend {name}\n{lines}\n server s {words} check inter 300ms downinter 10s").unwrap();
        }
        config
    }

    /// Runs it in both and returns the rows of all servers, ours first.
    pub(crate) fn run(&self) -> [BTreeMap<String, Row>; 2] {
        let directory = directory();
        let sockets = [directory.join("ours"), directory.join("theirs")];
        let fronts = [unused_address(), unused_address()];
        let ours = Daemon::start_haproxy(&self.config(fronts[0], &sockets[0]));
        let theirs = Haproxy::find().start(&self.config(fronts[1], &sockets[1]), fronts[1]);
        let rows = [0, 1].map(|who| settled(&sockets[who]));
        drop((ours, theirs));
        std::fs::remove_dir_all(&directory).unwrap();
        rows
    }

    /// Runs it in both, and compares every row.
    pub(crate) fn compare(&self) {
        let [ours, theirs] = self.run();
        assert_eq!(ours.len(), self.backends.len());
        for (name, row) in &ours {
            assert_eq!(row, &theirs[name], "{name}:\n{}", self.backends.iter().find(|(other, ..)| other == name).unwrap().1);
        }
    }
}

/// What is said of a server: its status, and of its check the result, the code, the words and the description.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) [String; 5]);

/// Returns the rows of all servers once all have been checked often enough.
pub(crate) fn settled(socket: &Path) -> BTreeMap<String, Row> {
    let end = Instant::now() + PATIENCE;
    loop {
        let (rows, is_settled) = rows(&ask(socket, "show stat\n"));
        if is_settled {
            return rows;
        }
        assert!(Instant::now() < end, "{rows:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn rows(stat: &str) -> (BTreeMap<String, Row>, bool) {
    let mut lines = stat.lines();
    let names: Vec<&str> = lines.next().unwrap().trim_start_matches("# ").split(',').collect();
    let (mut rows, mut is_settled) = (BTreeMap::new(), true);
    for fields in lines.map(fields).filter(|fields| fields.get(1).is_some_and(|name| name == "s")) {
        let field = |name: &str| fields[names.iter().position(|other| *other == name).unwrap()].clone();
        let (status, check) = (field("status"), field("check_status"));
        // A star marks a check under way, whose words are not there yet.
        is_settled &= check != "INI" && !check.starts_with('*') && !status.contains('/');
        rows.insert(field("pxname"), Row([status, check, field("check_code"), field("last_chk"), field("check_desc")]));
    }
    (rows, is_settled)
}

/// Cuts a line of CSV.
pub(crate) fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => fields.last_mut().unwrap().push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

/// Returns an address at which nothing listens, for as long as the listener is held.
fn refusing() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    // Bound and not listening is refused; another bind keeps others away.
    (TcpListener::bind("127.0.0.1:0").unwrap(), address)
}

const OK: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\nX-A: one, two\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}"];

#[test]
fn steps_of_requests_end_as_haproxys() {
    let ok = Talker::http(OK);
    let missing = Talker::http(&[b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope"]);
    let busy = Talker::http(&[b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nerr"]);
    let empty = Talker::http(&[b"HTTP/1.1 204 No Content\r\n\r\n"]);
    let chunked = Talker::http(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\nword\r\n0\r\n\r\n"]);
    let partial = Talker::http(&[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"]);
    let junk = Talker::http(&[b"SSH-2.0-x\r\n"]);
    let silent = Talker::start(b"", &[], Then::Wait);
    let closing = Talker::start(b"", &[b""], Then::Close);
    let half = Talker::start(b"", &[b"HTTP/1.1 200 OK\r\nContent-Le"], Then::Close);
    let (_held, closed) = refusing();
    let second = busy.address().port();
    let (ok_port, closed_port) = (ok.address().port(), closed.port());
    let cases: Vec<(&str, SocketAddr, String)> = vec![
        ("plain", ok.address(), String::new()),
        ("missing", missing.address(), String::new()),
        ("busy", busy.address(), String::new()),
        ("junk", junk.address(), String::new()),
        ("silent", silent.address(), String::new()),
        ("closing", closing.address(), String::new()),
        ("half", half.address(), String::new()),
        ("closed", closed, String::new()),
        ("nolb", missing.address(), "http-check disable-on-404".into()),
        ("nolb-expect", missing.address(), "http-check disable-on-404\nhttp-check expect status 200".into()),
        ("set", busy.address(), "http-check expect status 200,201,300-310".into()),
        ("not", busy.address(), "http-check expect ! status 503".into()),
        ("rstatus", busy.address(), "http-check expect rstatus ^2".into()),
        ("rstatus-good", ok.address(), "http-check expect rstatus ^2".into()),
        ("not-rstatus", busy.address(), "http-check expect ! rstatus ^5".into()),
        ("json", ok.address(), r#"http-check expect string \"status\":\"ok\""#.into()),
        ("absent", ok.address(), "http-check expect string absent".into()),
        ("unwanted", ok.address(), "http-check expect ! string status".into()),
        ("wanted-not", ok.address(), "http-check expect ! string absent".into()),
        ("rstring", ok.address(), "http-check expect rstring st.*k".into()),
        ("rstring-not", ok.address(), "http-check expect rstring ^zz comment mine".into()),
        ("bodiless", empty.address(), "http-check expect string absent".into()),
        ("bodiless-not", empty.address(), "http-check expect ! string absent".into()),
        ("chunks", chunked.address(), "http-check expect string cword".into()),
        ("early", partial.address(), "http-check expect string abc".into()),
        ("late", partial.address(), "http-check expect string absent".into()),
        ("format", ok.address(), "http-check set-var(check.w) str(status)\nhttp-check expect string-lf %[var(check.w)]".into()),
        ("format-not", ok.address(), "http-check expect string-lf zz%H".into()),
        ("header", ok.address(), "http-check expect hdr name X-A value two".into()),
        ("header-not", ok.address(), "http-check expect hdr name X-A value three".into()),
        ("header-neg", ok.address(), "http-check expect ! hdr name -m beg x-".into()),
        ("whole", ok.address(), "http-check expect fhdr name X-A value two".into()),
        ("whole-begin", ok.address(), "http-check expect fhdr name X-A value -m beg one".into()),
        ("header-reg", ok.address(), "http-check expect hdr name -m reg ^x-.$ value -m end wo".into()),
        ("header-none", ok.address(), "http-check expect hdr name X-None".into()),
        ("on-error", busy.address(), "http-check expect on-error \"bad %[status]\" status 200".into()),
        ("on-error-rsp", busy.address(), "http-check expect error-status L7RSP on-error bad%%-%s status 200".into()),
        ("on-success", ok.address(), "http-check expect on-success fine status 200".into()),
        ("ok-l4", ok.address(), "http-check expect ok-status L4OK status 200".into()),
        ("ok-conditional", ok.address(), "http-check expect ok-status L7OKC status 200".into()),
        ("tout-l4", silent.address(), "http-check expect tout-status L4TOUT status 200".into()),
        ("code", ok.address(), "http-check expect status-code int(7) status 200".into()),
        ("two-expects", ok.address(), "http-check expect status 200\nhttp-check expect string absent".into()),
        (
            "two-ports",
            ok.address(),
            format!(
                "http-check connect\nhttp-check send meth GET uri /1 ver HTTP/1.1 hdr host a\nhttp-check expect status 200\n\
                 http-check connect port {second}\nhttp-check send meth GET uri /2\nhttp-check expect comment \"second one\" status 200"
            ),
        ),
        (
            "second-closed",
            ok.address(),
            format!("http-check connect\nhttp-check send uri /1\nhttp-check expect status 200\nhttp-check connect port {closed_port}"),
        ),
        (
            "port-variable",
            closed,
            format!("http-check set-var(check.p) int({ok_port})\nhttp-check connect port var(check.p)\nhttp-check send uri /v"),
        ),
    ];
    let backend = |(name, address, lines): &(&str, SocketAddr, String)| {
        (format!("b-{name}"), format!(" option httpchk\n{lines}"), address.to_string())
    };
    Trial { defaults: String::new(), backends: cases.iter().map(backend).collect() }.compare();
}

#[test]
fn requests_of_checks_are_haproxys_to_the_byte() {
    let lines = [
        "option httpchk",
        "option httpchk /only",
        "option httpchk HEAD /x?y=z",
        "option httpchk GET /h HTTP/1.0\\r\\nHost:\\ name\\r\\nX-Y:\\ z",
        "option httpchk GET /h HTTP/1.1\\r\\nHost:\\ name\\r\\nX-Y:\\ z",
        "option httpchk OPTIONS * HTTP/1.1\nhttp-check send hdr Host www hdr X-Z %[str(q)]",
        "option httpchk GET /o\nhttp-check send meth POST uri /p ver HTTP/1.1 hdr host me body hello",
        "option httpchk\nhttp-check send meth GET uri-lf /p/%s/%b/%H hdr X-Be %[be_name] body-lf %[int(4)]",
        "http-check send hdr a b\noption httpchk GET /later",
    ];
    for lines in lines {
        let talkers = [Talker::http(OK), Talker::http(OK)];
        let directory = directory();
        let sockets = [directory.join("ours"), directory.join("theirs")];
        let fronts = [unused_address(), unused_address()];
        let config = |who: usize| {
            let backend = ("b".to_owned(), lines.to_owned(), talkers[who].address().to_string());
            Trial { defaults: String::new(), backends: vec![backend] }.config(fronts[who], &sockets[who])
        };
        let (_ours, _theirs) = (Daemon::start_haproxy(&config(0)), Haproxy::find().start(&config(1), fronts[1]));
        assert_eq!(settled(&sockets[0]), settled(&sockets[1]), "{lines}");
        assert_eq!(talkers[0].heard(), talkers[1].heard(), "{lines}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn steps_of_bytes_end_as_haproxys() {
    let pop = Talker::start(b"+OK POP3 ready\r\n", &[], Then::Wait);
    let short = Server::start(|mut stream| drop(stream.write_all(b"+O")));
    let nothing = Server::start(drop::<TcpStream>);
    let zero = Talker::start(b"a\0bc", &[], Then::Wait);
    let redis = Talker::start(b"", &[b"+PONG\r\n", b"role:master\r\n", b"+OK\r\n"], Then::Wait);
    let silent = Talker::start(b"", &[], Then::Wait);
    let slow = Server::start(|mut stream| {
        for part in ["+OK ", "ready\r\n"] {
            thread::sleep(Duration::from_millis(60));
            let _ = stream.write_all(part.as_bytes());
        }
        let _ = stream.read(&mut [0]);
    });
    let (_held, closed) = refusing();
    let (pop, short, nothing) = (pop.address(), short.address(), nothing.address());
    let (zero, redis, silent, slow) = (zero.address(), redis.address(), silent.address(), slow.address());
    let ports = format!(
        "tcp-check connect\ntcp-check expect string OK\ntcp-check connect port {} linger\ntcp-check expect string role",
        Talker::start(b"role", &[], Then::Wait).address().port()
    );
    let role = Talker::start(b"5.5.5-mysql", &[], Then::Wait);
    let port = role.address().port();
    let cases: Vec<(&str, SocketAddr, String)> = vec![
        ("none", pop, String::new()),
        ("banner", pop, "tcp-check expect string +OK\\ POP3\\ ready".into()),
        ("late", pop, "tcp-check expect string nope comment banner".into()),
        ("late-comment", pop, "tcp-check comment \"the banner\"\ntcp-check expect string nope".into()),
        ("wrong", short, "tcp-check expect string nope".into()),
        ("unwanted", pop, "tcp-check expect ! string POP3".into()),
        ("not-late", pop, "tcp-check expect ! string nope".into()),
        ("not-end", short, "tcp-check expect ! string nope".into()),
        ("regex", pop, "tcp-check expect rstring ^.OK.*ready".into()),
        ("regex-wrong", short, "tcp-check expect rstring zz".into()),
        ("regex-unwanted", short, "tcp-check expect ! rstring O".into()),
        ("binary", pop, "tcp-check expect binary 2b4F4b".into()),
        ("binary-wrong", short, "tcp-check expect binary 2b4F4b".into()),
        ("binary-unwanted", short, "tcp-check expect ! binary 4f".into()),
        ("binary-regex", pop, "tcp-check expect rbinary ^2B4F4B".into()),
        ("binary-regex-wrong", short, "tcp-check expect rbinary ^ff".into()),
        ("binary-regex-late", pop, "tcp-check expect rbinary ^2b4f4b".into()),
        ("format-wrong", short, "tcp-check expect string-lf zz%H".into()),
        ("format-late", pop, "tcp-check expect string-lf zz%H".into()),
        ("zero", zero, "tcp-check expect binary 6263".into()),
        ("slow", slow, "tcp-check expect string +OK\\ ready".into()),
        ("slow-least", slow, "tcp-check expect min-recv 9 ! string nope".into()),
        ("slow-unwanted", slow, "tcp-check expect ! string ready".into()),
        ("silent", silent, "tcp-check expect comment hmm tout-status L6TOUT string x".into()),
        ("nothing", nothing, "tcp-check expect string x".into()),
        ("closed", closed, "tcp-check expect string x".into()),
        ("closed-named", closed, "tcp-check connect comment here".into()),
        ("closed-plain", closed, String::new()),
        ("closed-second", pop, format!("tcp-check connect\ntcp-check expect string OK\ntcp-check connect port {}", closed.port())),
        ("variable-first", closed, "tcp-check set-var(check.a) int(1)\ntcp-check connect".into()),
        ("send-only", silent, "tcp-check send QUIT\\r\\n".into()),
        (
            "redis",
            redis,
            "tcp-check send PING\\r\\n\ntcp-check expect string +PONG\ntcp-check send info\\ replication\\r\\n\n\
             tcp-check expect string role:master\ntcp-check send QUIT\\r\\n\ntcp-check expect string +OK"
                .into(),
        ),
        (
            "redis-slave",
            redis,
            "tcp-check send PING\\r\\n\ntcp-check expect string +PONG\ntcp-check send info\\r\\n\n\
             tcp-check expect string role:slave comment \"is slave\""
                .into(),
        ),
        ("hex", redis, "tcp-check send-binary 50494e470d0a\ntcp-check expect string +PONG".into()),
        (
            "formats",
            redis,
            "tcp-check set-var(check.a) str(50494e47)\ntcp-check set-var-fmt(check.b) %[var(check.a)]0d0a\n\
             tcp-check send-binary-lf %[var(check.b)]\ntcp-check expect string-lf +PON%[str(G)]"
                .into(),
        ),
        ("no-digits", pop, "tcp-check send-binary-lf %[str(1)]".into()),
        ("code", redis, "tcp-check send PING\ntcp-check expect status-code int(77) on-success \"%[res.payload(1,4)]\" string +PONG".into()),
        ("code-wrong", short, "tcp-check expect error-status L7STS status-code int(9) on-error oops comment c1 string x".into()),
        ("error-l4", short, "tcp-check expect error-status L4CON string zzz".into()),
        ("error-conditional", short, "tcp-check expect error-status L7OKC string zzz".into()),
        ("ok-l6", pop, "tcp-check expect ok-status L6OK string OK".into()),
        (
            "ports",
            pop,
            format!("tcp-check connect\ntcp-check expect string POP3\ntcp-check connect port {port} linger\ntcp-check expect string mysql"),
        ),
        ("other-address", closed, format!("tcp-check connect addr 127.0.0.1 port {port}\ntcp-check expect string mysql")),
        ("gone", pop, ports),
    ];
    let backend = |(name, address, lines): &(&str, SocketAddr, String)| {
        (format!("b-{name}"), format!(" option tcp-check\n{lines}"), address.to_string())
    };
    Trial { defaults: String::new(), backends: cases.iter().map(backend).collect() }.compare();
}

#[test]
fn an_expectation_without_a_question_waits_for_the_banner() {
    let app = Talker::http(OK);
    let database = Talker::start(b"J\0\0\0\n5.5.5-10.11-mysql\0", &[], Then::Wait);
    let directory = directory();
    let socket = directory.join("ours");
    let lines = format!(
        " option httpchk\n http-check connect\n http-check send meth GET uri /1\n http-check expect rstatus ^2\n \
         http-check connect port {}\n http-check expect string mysql",
        database.address().port()
    );
    let trial = Trial { defaults: String::new(), backends: vec![("b".to_owned(), lines, app.address().to_string())] };
    let config = trial.config(unused_address(), &socket);
    let daemon = Daemon::start_haproxy(&config);
    assert_eq!(settled(&socket)["b"].0[..2], ["UP", "L7OK"]);
    daemon.wait_for_log("nothing is asked for before this is expected");
    daemon.reload(&config.replace("string mysql", "string postgres"));
    let end = Instant::now() + PATIENCE;
    while settled(&socket)["b"].0[..2] != ["DOWN", "L7TOUT"] {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_server_is_told_how_it_is_seen() {
    let app = Talker::http(OK);
    let directory = directory();
    let (socket, front) = (directory.join("s"), unused_address());
    let backend = ("b".to_owned(), " option httpchk\n http-check send-state".to_owned(), app.address().to_string());
    let config = Trial { defaults: String::new(), backends: vec![backend] }.config(front, &socket);
    let states = |heard: Vec<String>| -> Vec<String> {
        let state =
            |asked: &String| asked.split("x-haproxy-server-state: ").nth(1).unwrap().split("; scur=").next().unwrap().trim().to_owned();
        heard.iter().map(state).collect()
    };
    let two = || {
        let end = Instant::now() + PATIENCE;
        while app.heard().len() < 2 {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(20));
        }
        states(std::mem::take(&mut *app.heard.lock().unwrap()).into_iter().collect())
    };
    let theirs = Haproxy::find().start(&config, front);
    let expected = two();
    drop(theirs);
    app.heard.lock().unwrap().clear();
    let _ours = Daemon::start_haproxy(&config);
    assert_eq!(two(), expected);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_native_format_says_the_same_steps() {
    let app = Talker::http(OK);
    let redis = Talker::start(b"", &[b"+PONG\r\n"], Then::Wait);
    let (front, metrics) = (unused_address(), unused_address());
    let config = format!(
        "[global]\nmetrics = \"{metrics}\"\n[defaults]\nmode = \"tcp\"\ntimeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n\
         [frontend.f]\nbind = \"{front}\"\ndefault-backend = \"app\"\n\
         [backend.app]\ncheck = {{ inter = \"100ms\", http = {{ path = \"/h\", steps = ['connect', 'send hdr X-A \"b c\"', 'expect status 200', \
         'connect port {}', 'expect string absent comment banner'] }} }}\nserver.s = \"{}\"\n\
         [backend.redis]\ncheck = {{ inter = \"100ms\", tcp = {{ steps = ['send PING\\r\\n', 'expect string +PONG'] }} }}\nserver.s = \"{}\"\n",
        redis.address().port(),
        app.address(),
        redis.address(),
    );
    let daemon = Daemon::start(&config);
    let said = daemon.wait_for_log("server app/s is DOWN");
    assert!(said.contains("L7TOUT"), "{said}");
    assert_eq!(daemon.count("server redis/s is"), 0);
    assert_eq!(redis.heard()[0], "PING\r\n");
    assert!(app.heard()[0].starts_with("GET /h HTTP/1.1\r\n") && app.heard()[0].contains("x-a: b c\r\n"), "{:?}", app.heard());
}

/// What a server says: at once, and to each piece it reads.
type Script = (&'static [u8], &'static [&'static [u8]], Then);

#[test]
fn protocols_are_spoken_and_judged_as_by_haproxy() {
    const HELLO: &[u8] = b"\x14\0\0\0\x0a5.5.5-10.11-mysql\0\0";
    let (wait, close) = (Then::Wait, Then::Close);
    let cases: Vec<(&str, &str, Script)> = vec![
        ("my-ok", "mysql-check user bob", (HELLO, &[b"\x07\0\0\x02\0\0\0\x02\0\0\0"], wait)),
        ("my-old", "mysql-check user bob pre-41", (HELLO, &[b"\x07\0\0\x02\0\0\0\x02\0\0\0"], wait)),
        ("my-denied", "mysql-check user bob post-41", (HELLO, &[b"\x0f\0\0\x02\xff\x15\x04#28000Denied"], wait)),
        ("my-blocked", "mysql-check user bob", (b"\x0a\0\0\0\xff\x6a\x04Blocked", &[], wait)),
        ("my-blocked-plain", "mysql-check", (b"\x0a\0\0\0\xff\x6a\x04Blocked", &[], wait)),
        ("my-plain", "mysql-check", (HELLO, &[], wait)),
        ("my-half", "mysql-check user bob", (HELLO, &[], wait)),
        ("my-web", "mysql-check", (b"HTTP/1.1 400 Bad\r\n", &[], wait)),
        ("my-end", "mysql-check user bob", (HELLO, &[b""], close)),
        ("pg-ok", "pgsql-check user bob", (b"", &[b"R\0\0\0\x08\0\0\0\0"], wait)),
        ("pg-md5", "pgsql-check user bob", (b"", &[b"R\0\0\0\x0c\0\0\0\x05abcd"], wait)),
        ("pg-scram", "pgsql-check user bob", (b"", &[b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"], wait)),
        ("pg-refused", "pgsql-check user bob", (b"", &[b"E\0\0\0\x50SFATAL\0C28000\0Mno entry\0\0"], wait)),
        ("pg-other", "pgsql-check user bob", (b"", &[b"JUNKJUNKJUNKJUNK"], wait)),
        ("pg-end", "pgsql-check user bob", (b"", &[b""], close)),
        ("redis-ok", "redis-check", (b"", &[b"+PONG\r\n"], wait)),
        ("redis-auth", "redis-check", (b"", &[b"-NOAUTH Authentication required.\r\n"], wait)),
        ("redis-error", "redis-check", (b"", &[b"-ERR x\r\n"], close)),
        ("smtp-ok", "smtpchk EHLO me", (b"220 mx ESMTP\r\n", &[b"250-mx\r\n250-SIZE\r\n250 HELP\r\n", b"221 bye\r\n"], wait)),
        ("smtp-plain", "smtpchk", (b"220 mx ESMTP\r\n", &[b"250 hi\r\n", b"221 bye\r\n"], wait)),
        ("smtp-lines", "smtpchk", (b"220-a\r\n220 b\r\n", &[], wait)),
        ("smtp-busy", "smtpchk", (b"421 no\r\n", &[], wait)),
        ("smtp-other", "smtpchk FOO me", (b"hello\r\n", &[], wait)),
        ("smtp-quit", "smtpchk", (b"220 a\r\n", &[b"250 ok\r\n", b"500 no\r\n"], wait)),
        ("smtp-end", "smtpchk", (b"220 a\r\n", &[b""], close)),
        ("ldap-ok", "ldap-check", (b"", &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"], wait)),
        ("ldap-long", "ldap-check", (b"", &[b"\x30\x84\0\0\0\x10\x02\x01\x01\x61\x84\0\0\0\x07\x0a\x01\0\x04\0\x04\0"], wait)),
        ("ldap-refused", "ldap-check", (b"", &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00"], wait)),
        ("ldap-number", "ldap-check", (b"", &[b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"], wait)),
        ("ldap-other", "ldap-check", (b"", &[b"junkjunkjunkjunk"], wait)),
        ("ldap-end", "ldap-check", (b"", &[b""], close)),
        ("ssl-hello", "ssl-hello-chk", (b"", &[b"\x16\x03\x01\0\x02ab"], wait)),
        ("ssl-alert", "ssl-hello-chk", (b"", &[b"\x15\x03\0\0\x02\x02\x28"], wait)),
        ("ssl-web", "ssl-hello-chk", (b"", &[b"HTTP/1.0 400 Bad\r\n"], wait)),
        ("ssl-silent", "ssl-hello-chk", (b"", &[b""], wait)),
        ("ssl-end", "ssl-hello-chk", (b"", &[b""], close)),
    ];
    let talkers: Vec<Talker> = cases.iter().map(|(_, _, (first, answers, then))| Talker::start(first, answers, *then)).collect();
    let backend = |((name, option, _), talker): (&(&str, &str, Script), &Talker)| {
        (format!("b-{name}"), format!(" option {option}"), talker.address().to_string())
    };
    Trial { defaults: String::new(), backends: cases.iter().zip(&talkers).map(backend).collect() }.compare();
    for ((name, ..), talker) in cases.iter().zip(&talkers).filter(|((name, ..), _)| !name.starts_with("ssl")) {
        // Both asked the same server, so two different questions would have been heard.
        let heard = talker.heard();
        let longest = heard.last().cloned().unwrap_or_default();
        assert!(heard.iter().all(|asked| longest.starts_with(asked.as_str())), "{name}: {heard:?}");
    }
}
