//! `trace`: live requests as they end, with every rule that was asked, for who wants to see some of them, and no longer than that.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::http::{ask, hello, status};
use crate::kit::{Daemon, PATIENCE, Server, connect, directory, unused_address};
use crate::tables::tell;

struct Place {
    web: SocketAddr,
    socket: PathBuf,
    directory: PathBuf,
    _server: Server,
    _daemon: Daemon,
}

impl Place {
    fn new() -> Self {
        let (web, other, directory, (server, _)) = (unused_address(), unused_address(), directory(), hello());
        let socket = directory.join("s");
        let text = format!(
            "global\n nbthread 2\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n\
             frontend web\n bind {web}\n stick-table type ip size 1k store http_req_cnt\n http-request track-sc0 src\n \
             http-request deny deny_status 403 if {{ path_beg /secret }}\n http-request set-header X-Who %[src]\n default_backend app\n\
             frontend other\n bind {other}\n default_backend app\n\
             backend app\n http-response set-header X-Seen yes if {{ status 200 }}\n server s1 {}\n",
            socket.display(),
            server.address(),
        );
        let daemon = Daemon::start_haproxy(&text);
        Self { web, socket, directory, _server: server, _daemon: daemon }
    }

    fn ask(&self, path: &str) -> String {
        let (head, _) = ask(&mut connect(self.web), &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        head
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A client of the runtime interface that goes on reading.
struct Follower(BufReader<UnixStream>);

impl Follower {
    fn start(socket: &Path, command: &str) -> Self {
        let mut stream = UnixStream::connect(socket).expect("the runtime interface");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        writeln!(stream, "{command}").expect("a command");
        let end = Instant::now() + PATIENCE;
        while !tell(socket, "show trace").contains(&format!(": {command}, told ")) {
            assert!(Instant::now() < end, "{command} does not begin");
        }
        Self(BufReader::new(stream))
    }

    /// Returns what is told of the next request, without what differs from run to run.
    fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("in time") == 0 {
                assert_eq!(text.trim(), "");
                return None;
            }
            text.push_str(&line);
            if line.starts_with("-> ") {
                return Some(text.trim_start().to_owned());
            }
        }
    }
}

#[test]
fn live_requests_are_told_with_every_rule_and_what_became_of_them() {
    let place = Place::new();
    let mut follower = Follower::start(&place.socket, "trace limit 2 if { path_beg /api } or { path_beg /secret }");
    assert!(tell(&place.socket, "show trace").contains("{ path_beg /secret }, told 0, missed 0, "));
    assert_eq!(status(&place.ask("/other")), "200");
    let answer = place.ask("/api/x?y=1");
    assert!(answer.to_ascii_lowercase().contains("x-seen: yes"), "what is watched happens: {answer}");
    assert_eq!(status(&place.ask("/secret")), "403");
    // Two threads may end them in either order.
    let mut both = [follower.next().expect("a request"), follower.next().expect("a request")];
    both.sort_by_key(|told| told.contains("/secret from "));
    let [told, denied] = both;
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("] GET http://h/api/x?y=1 from 127.") && lines[0].ends_with(" to frontend web"), "{told}");
    for expected in [
        "frontend web\n",
        "haproxy.cfg:12: http-request track-sc0 src\n",
        "      table web has ",
        "haproxy.cfg:13: http-request deny deny_status 403 if { path_beg /secret }\n      path is \"/api/x\"\n      no: path_beg /secret\n      -> does not apply\n",
        "http-request set-header X-Who %[src]\n",
        "\nbackend app\n",
        "\nresponse of backend app\n",
        "http-response set-header X-Seen yes if { status 200 }\n      status is \"200\"\n      yes: status 200\n      -> applies: goes on\n",
        "\n-> status 200 by server app/s1 after ",
        " ms (termination state --)\n",
    ] {
        assert!(told.contains(expected), "{expected}\n---\n{told}");
    }
    let end = "applies: denied with status 403\n\n-> status 403 without a backend after ";
    assert!(denied.contains(end) && denied.contains(" state PR)"), "{denied}");
    assert_eq!(follower.next(), None, "two were wanted");
    assert_eq!(tell(&place.socket, "show trace").trim(), "Nothing is traced.");
    let counted = tell(&place.socket, "show table web");
    assert!(counted.contains("http_req_cnt=3"), "watching changes no table: {counted}");
}

#[test]
fn traces_end_by_time_by_command_and_with_their_reader() {
    let place = Place::new();
    let begun = Instant::now();
    assert_eq!(tell(&place.socket, "trace for 300ms").trim(), "");
    assert!(begun.elapsed().as_millis() >= 300);
    let mut follower = Follower::start(&place.socket, "trace frontend web for 1h");
    place.ask("/one");
    assert!(follower.next().expect("a request").contains("GET http://h/one from "));
    assert_eq!(tell(&place.socket, "trace 0").trim(), "");
    assert_eq!(follower.next(), None);
    drop(Follower::start(&place.socket, "trace for 1h"));
    let end = Instant::now() + PATIENCE;
    while tell(&place.socket, "show trace").trim() != "Nothing is traced." {
        assert!(Instant::now() < end, "who left is still told");
    }
    let mut other = Follower::start(&place.socket, "trace frontend other for 1h");
    place.ask("/two");
    tell(&place.socket, "trace 0");
    assert_eq!(other.next(), None, "another frontend's requests are none of its own");
}

#[test]
fn what_cannot_be_traced_is_refused_with_the_reason() {
    let place = Place::new();
    for (command, reason) in [
        ("trace", "trace [frontend <name>] [limit <n>] [for <time>] [if|unless <condition>]"),
        ("trace h2 sink stderr", "'trace h2' is not supported: events of HAProxy's inside"),
        ("show trace h1", "'show trace h1' is not supported"),
        ("trace limit 0", "'limit' takes a number from 1 to 10000, not '0'."),
        ("trace for 2h", "'for' takes a time up to an hour, not '2h'."),
        ("trace frontend nope", "No frontend 'nope'."),
        ("trace limit", "something is missing behind 'limit'"),
        ("trace if { pth /x }", "there is no sample fetch `pth`"),
        ("trace if { status 200 }", "a request has no response yet"),
        ("trace if { var(txn.x) -m found }", "variables are set by rules, which are asked later"),
        ("trace if { req.body -m found }", "bodies come later"),
        ("trace if { ssl_fc_sni x }", "nothing is kept of TLS"),
    ] {
        let answer = tell(&place.socket, command);
        assert!(answer.contains(reason), "{command}: {answer}");
    }
    assert_eq!(tell(&place.socket, "show trace").trim(), "Nothing is traced.");
}
