//! Stick tables: the same traffic under the same rules counts for us what it counts for Debian's haproxy, and limits are limits.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::http::{ask, server, status};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, refusal, unused_address};

const STORE: &str = "conn_cnt,conn_cur,conn_rate(60s),sess_cnt,sess_rate(60s),http_req_cnt,http_req_rate(60s),http_err_cnt,http_err_rate(60s),\
                     http_fail_cnt,http_fail_rate(60s),gpc0,gpc0_rate(60s),gpc1,gpt0";

/// Everything that can be asked of what is tracked under a number.
fn shown(scope: &str) -> String {
    let names = [
        "conn_cnt",
        "conn_cur",
        "conn_rate",
        "sess_cnt",
        "sess_rate",
        "http_req_cnt",
        "http_req_rate",
        "http_err_cnt",
        "http_err_rate",
        "http_fail_cnt",
        "http_fail_rate",
        "get_gpc0",
        "gpc0_rate",
        "get_gpc1",
        "get_gpt0",
        "trackers",
        "tracked",
    ];
    names.iter().map(|name| format!("{name}=%[{scope}_{name}] ")).collect()
}

fn rules() -> Vec<String> {
    let show = |path: &str, text: &str| {
        format!("http-request return status 200 content-type text/plain lf-string \"{text}\" if {{ path {path} }}")
    };
    vec![
        "tcp-request connection track-sc0 src table front".into(),
        "tcp-request connection sc-inc-gpc1(0)".into(),
        "http-request track-sc1 hdr(x-user) table users if { hdr(x-user) -m found }".into(),
        "http-request track-sc1 str(late) table users if { path /twice }".into(),
        "http-request sc-inc-gpc0(0) if { path_beg /mark }".into(),
        "http-request sc-set-gpt0(0) 7 if { path /mark }".into(),
        "http-request sc-set-gpt0(0) int(3),add(5) if { path /mark8 }".into(),
        "http-request sc-inc-gpc(2,1) if { path /mark }".into(),
        "http-request sc-inc-gpc(1,1) if { path /mark }".into(),
        "http-request deny if { path /deny }".into(),
        "http-request deny deny_status 429 if { sc1_http_req_rate gt 4 }".into(),
        show("/show", &shown("sc0")),
        show("/user", &shown("sc1")),
        show(
            "/more",
            "%[sc_http_req_cnt(0)] %[src_http_req_cnt(front)] %[src_get_gpc0(front)] %[src_inc_gpc0(front)] %[src_clr_gpc0(front)] \
             %[src_get_gpc0(front)] %[sc0_inc_gpc0] %[sc_inc_gpc1(0)] %[sc0_clr_gpc1] %[sc_get_gpc(0,1)] %[sc_get_gpc(1,1)] %[sc_get_gpc(2,1)] \
             %[sc2_http_req_cnt] %[sc2_tracked]",
        ),
        show(
            "/look",
            "%[hdr(x-ask),in_table(users)] %[hdr(x-ask),table_http_req_cnt(users)] %[hdr(x-ask),table_gpc(2,users)] %[src,in_table(front)] \
             %[src,table_conn_cnt(front)] %[src,table_gpt0(front)] %[str(10.9.9.9),table_conn_cnt(front)] %[hdr(x-ask),in_table(front)] \
             %[src,table_kbytes_in(front)]",
        ),
    ]
}

/// A proxy of both kinds with the same rules.
struct Pair {
    _daemon: Daemon,
    _haproxy: crate::kit::HaproxyProcess,
    ours: SocketAddr,
    theirs: SocketAddr,
    /// Of the runtime interfaces.
    directory: PathBuf,
    _server: Server,
}

fn toml(front: SocketAddr, server: SocketAddr, rules: &[String]) -> String {
    let rules: String = rules.iter().map(|rule| format!("'''{rule}''',\n")).collect();
    let store = |list: &str| list.split(',').map(|kind| format!("\"{kind}\",")).collect::<String>();
    format!(
        "[global]\nnbthread = 2\n[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n[frontend.front]\nbind = \"{front}\"\n\
         default-backend = \"back\"\nrules = [{rules}]\n[backend.back]\nserver = {{ s1 = \"{server}\" }}\n\
         [table.front]\ntype = \"ip\"\nsize = 100\nexpire = \"1m\"\nstore = [{}]\n\
         [table.users]\ntype = \"string(16)\"\nsize = 3\nexpire = \"1m\"\nstore = [\"http_req_cnt\", \"http_req_rate(60s)\", \"gpc(3)\", \"conn_cur\", \"conn_cnt\"]\n",
        store(STORE)
    )
}

fn cfg(front: SocketAddr, server: SocketAddr, rules: &[String]) -> String {
    let rules: String = rules.iter().map(|rule| format!(" {rule}\n")).collect();
    format!(
        "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nfrontend front\n bind {front}\n stick-table type ip size 100 expire 1m store {STORE}\n{rules} \
         default_backend back\nbackend back\n server s1 {server}\nbackend users\n stick-table type string len 16 size 3 expire 1m store \
         http_req_cnt,http_req_rate(60s),gpc(3),conn_cur,conn_cnt\n"
    )
}

impl Pair {
    fn start() -> Self {
        let (server, _) = server(|head, _| {
            let status = head.split(' ').nth(1).and_then(|path| path.strip_prefix("/status/")).unwrap_or("200");
            let status = if status == "garbage" { return "nonsense\r\n\r\n".to_owned() } else { status };
            format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok")
        });
        let (ours, theirs) = (unused_address(), unused_address());
        let directory = directory();
        let (site, cfg) = with_sockets(&directory, &toml(ours, server.address(), &rules()), &cfg(theirs, server.address(), &rules()));
        let _daemon = Daemon::start(&site);
        let _haproxy = Haproxy::find().start(&cfg, theirs);
        Self { _daemon, _haproxy, ours, theirs, directory, _server: server }
    }

    /// Sends requests over one connection and tells what each was answered.
    fn talk(&self, requests: &[&str]) {
        let answers = |front: SocketAddr| {
            let mut client = connect(front);
            let paced = requests.iter().map(|request| {
                // Haproxy's clock counts milliseconds: what was touched within the same one leaves a full table in any order.
                std::thread::sleep(Duration::from_millis(5));
                one(&mut client, request)
            });
            paced.collect::<Vec<_>>()
        };
        let (ours, theirs) = (answers(self.ours), answers(self.theirs));
        self.wait_for_quiet();
        for (request, (ours, theirs)) in requests.iter().zip(ours.into_iter().zip(theirs)) {
            assert_eq!(ours, theirs, "{request}");
        }
    }
}

impl Pair {
    /// Waits until nobody is connected any more, which is not at once.
    fn wait_for_quiet(&self) {
        let end = Instant::now() + PATIENCE;
        for name in ["ours", "theirs"] {
            while !tell(&self.directory.join(name), "show table front").contains("use=0") {
                assert!(Instant::now() < end, "{name} keeps a connection");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Gives both proxies a runtime interface in a directory.
fn with_sockets(directory: &Path, site: &str, cfg: &str) -> (String, String) {
    let socket = format!("[global]\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\n", directory.join("ours").display());
    let cfg = format!("global\n stats socket {} level admin\n{cfg}", directory.join("theirs").display());
    (site.replace("[global]\n", &socket), cfg)
}

/// Sends `PATH|FIELD|FIELD` and returns the status, and the text of a 200.
fn one(client: &mut TcpStream, request: &str) -> String {
    let mut parts = request.split('|');
    let mut text = format!("GET {} HTTP/1.1\r\nHost: h\r\n", parts.next().unwrap());
    parts.for_each(|field| write!(text, "{field}\r\n").unwrap());
    let (head, body) = ask(client, &format!("{text}\r\n"));
    format!("{} {}", status(&head), if status(&head) == "200" { &body } else { "" })
}

#[test]
fn everything_counts_as_it_does_for_haproxy() {
    let pair = Pair::start();
    pair.talk(&["/", "/", "/show"]);
    pair.talk(&["/show", "/status/404", "/show", "/status/500", "/status/501", "/show"]);
    pair.talk(&["/mark", "/mark|X-User: ann", "/user|X-User: ann", "/mark|X-User: ann", "/more|X-User: ann", "/show", "/mark8", "/show"]);
    pair.talk(&["/deny"]);
    pair.talk(&["/show", "/status/garbage"]);
    pair.talk(&["/show", "/more"]);
    for user in ["a", "b", "c", "ann", "d", "e"] {
        pair.talk(&[&format!("/|X-User: {user}"), &format!("/user|X-User: {user}")]);
    }
    pair.talk(&[
        "/look|X-Ask: e",
        "/look|X-Ask: ann",
        "/look",
        "/look|X-Ask: nobody",
        "/twice|X-User: f",
        "/look|X-Ask: late",
        "/look|X-Ask: f",
    ]);
    pair.talk(&["/|X-User: hard", "/|X-User: hard", "/|X-User: hard", "/|X-User: hard", "/|X-User: hard"]);
    pair.talk(&["/show"]);
}

#[test]
fn a_limit_of_connections_counts_those_that_are_open() {
    let (server, _) = server(|_, _| crate::http::ok("hello"));
    let front = unused_address();
    let rules = [
        "tcp-request connection track-sc0 src table front".to_owned(),
        "tcp-request connection reject if { sc0_conn_cur gt 2 }".to_owned(),
    ];
    let _daemon = Daemon::start(&toml(front, server.address(), &rules));
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(front)).collect();
    for client in &mut held {
        assert_eq!(ask(client, get).1, "hello");
    }
    let mut third = connect(front);
    let _ = third.write_all(get.as_bytes());
    assert_eq!(third.read(&mut [0; 64]).unwrap_or(0), 0, "the third is turned away");
    held.pop();
    let end = Instant::now() + PATIENCE;
    loop {
        let mut again = connect(front);
        let mut text = [0; 64];
        let _ = again.write_all(get.as_bytes());
        if again.read(&mut text).unwrap_or(0) > 0 {
            break;
        }
        assert!(Instant::now() < end, "a place that was given up stays taken");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says one line to the runtime interface and returns its answer.
pub(crate) fn tell(socket: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Takes away what differs from run to run: where an entry lies and how long it lives.
pub(crate) fn lasting(answer: &str) -> String {
    let word = |word: &str| !word.starts_with("0x") && !word.starts_with("exp=");
    let mut lines: Vec<String> =
        answer.lines().map(|line| line.split(' ').filter(|part| word(part)).collect::<Vec<_>>().join(" ")).collect();
    // Nor is there an order in them.
    lines.sort();
    lines.join("\n")
}

#[test]
fn tables_are_shown_set_and_cleared_as_haproxy_does() {
    let (server, _) = server(|_, _| crate::http::ok("hello"));
    let directory = directory();
    let (ours, theirs) = (directory.join("ours"), directory.join("theirs"));
    let (our_front, their_front) = (unused_address(), unused_address());
    let rules = ["http-request track-sc0 hdr(x-user) table users".to_owned(), "http-request sc-inc-gpc(1,0)".to_owned()];
    let (site, cfg) = with_sockets(&directory, &toml(our_front, server.address(), &rules), &cfg(their_front, server.address(), &rules));
    let _daemon = Daemon::start(&site);
    let _haproxy = Haproxy::find().start(&cfg, their_front);
    for front in [our_front, their_front] {
        let mut client = connect(front);
        for user in ["ann", "bob", "ann"] {
            one(&mut client, &format!("/|X-User: {user}"));
        }
    }
    // Nobody is connected any more, which is not known at once.
    for socket in [&ours, &theirs] {
        let end = Instant::now() + PATIENCE;
        while tell(socket, "show table users").contains("use=1") {
            assert!(Instant::now() < end, "a connection stays");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    for line in [
        "show table",
        "show table users data.http_req_cnt gt 1",
        "show table users key bob",
        "show table users key nobody",
        "set table users key carl data.http_req_cnt 7 data.http_req_rate 9",
        "show table users key carl",
        "show table users data.http_req_cnt eq 7",
        "clear table users key ann",
        "show table users key ann",
        "clear table users data.http_req_cnt ge 7",
        "show table users",
        "clear table users",
        "show table",
        "show table nobody",
        "show table users foo",
        "show table users key",
        "show table users data.nothing eq 1",
        "show table users data.gpt0 eq 1",
        "show table users data.conn_cnt foo 1",
        "show table users data.conn_cnt eq x",
        "set table users key",
        "set table users key dora data.nothing 1",
        "set table users key dora data.gpt0 1",
        "set table users key dora data.conn_cnt x",
    ] {
        assert_eq!(lasting(&tell(&ours, line)), lasting(&tell(&theirs, line)), "{line}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_reload_keeps_what_is_known_of_clients() {
    let (server, _) = server(|_, _| crate::http::ok("hello"));
    let front = unused_address();
    let rules = rules();
    let site = toml(front, server.address(), &rules);
    let daemon = Daemon::start(&site);
    let counted = |front| {
        let text = one(&mut connect(front), "/show");
        let part = |name: &str| text.split(' ').find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
        (part("conn_cnt="), part("http_req_cnt="))
    };
    assert_eq!(counted(front), ("1".into(), "1".into()));
    daemon.reload(&site.replace("size = 100", "size = 200"));
    assert_eq!(counted(front), ("2".into(), "2".into()), "the definition is the same but for the size");
    daemon.reload(&site.replace("\"gpt0\",", "").replace("sc0_get_gpt0", "sc0_get_gpc0"));
    assert_eq!(counted(front), ("1".into(), "1".into()), "entries of another form begin anew");
}

#[test]
fn what_is_wrong_with_tables_is_named() {
    for (rule, said) in [
        ("http-request track-sc0 src", "has no table of its own"),
        ("http-request track-sc0 src table nobody", "no table `nobody`"),
        ("http-request deny if { src_conn_rate(nobody) gt 1 }", "no table `nobody`"),
        ("http-request deny if { sc_conn_rate gt 1 }", "wants the number of what is tracked"),
        ("http-request sc-inc-gpc0(x)", "wants the number of what is tracked"),
        ("http-request deny if { src,in_table(nobody) }", "no table `nobody`"),
        ("http-request track-sc12 src table front", "track-sc12"),
    ] {
        let site = toml(unused_address(), unused_address(), &[rule.to_owned()]);
        // Its own name would do.
        let site = site.replace("[frontend.front]", "[frontend.other]");
        let refusal = refusal(&site);
        assert!(refusal.contains(said), "{rule}: {refusal}");
    }
}
