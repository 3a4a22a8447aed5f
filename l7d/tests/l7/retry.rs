//! What makes a request go to a server again, and what a server gets then; the same as with haproxy.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use crate::kit::{Daemon, Haproxy, Server, connect, unused_address};

/// How often each path was asked for.
type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// A server that fails the first so many times it is asked for `/BACKEND/FAILURE/TIMES/…`, and then answers with what it got.
fn server() -> (Server, Counts) {
    let counts = Counts::default();
    let counter = Arc::clone(&counts);
    let server = Server::start(move |mut stream| {
        let Some((path, body)) = request(&mut stream) else { return };
        let count = {
            let mut counts = counter.lock().unwrap();
            let count = counts.entry(path.clone()).or_default();
            *count += 1;
            *count
        };
        let parts: Vec<&str> = path.split('/').collect();
        let answer = |status: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        };
        if count > parts[3].parse().unwrap() {
            let _ = stream.write_all(&answer("200", &body));
            return;
        }
        let _ = match parts[2] {
            "empty" => Ok(()),
            "junk" => stream.write_all(b"what?\r\n\r\n"),
            "partial" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le"),
            "slow" => stream.read(&mut [0]).map(drop),
            status => stream.write_all(&answer(status, b"no")),
        };
    });
    (server, counts)
}

/// Reads a request, and returns its path and body.
fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.to_lowercase().split("content-length: ").nth(1).map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head.split(' ').nth(1).unwrap().to_owned(), body))
}

fn ask(front: SocketAddr, method: &str, path: &str, body: &str) -> (String, String) {
    let mut client = connect(front);
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// Returns a site with a backend for each word, chosen by the path, and the same for haproxy.
fn sites(front: SocketAddr, beside: SocketAddr, server: SocketAddr, words: &[(&str, &str)]) -> (String, String) {
    let mut ours = format!(
        "[global]\nnbthread = 1\nlog = \"stderr format raw local0\"\n[defaults]\nmode = \"http\"\nretries = 2\noption = [\"httplog\"]\n\
         timeout = {{ connect = \"5s\", client = \"30s\", server = \"300ms\" }}\n[frontend.front]\nbind = [\"{front}\"]\n\
         rules = [\"http-request disable-l7-retry if METH_PUT\", \"use_backend %[path,field(2,/)]\"]\ndefault-backend = \"{}\"\n",
        words[0].0
    );
    let mut theirs = format!(
        "defaults\nmode http\nretries 2\ntimeout connect 5s\ntimeout client 30s\ntimeout server 300ms\nfrontend f\nbind {beside}\n\
         http-request disable-l7-retry if METH_PUT\nuse_backend %[path,field(2,/)]\n"
    );
    for (name, words) in words {
        writeln!(ours, "[backend.{name}]\nretry-on = \"{words}\"\nserver.s = \"{server}\"").unwrap();
        writeln!(theirs, "backend {name}\nretry-on {words}\nserver s {server}").unwrap();
    }
    (ours, theirs)
}

const WORDS: [(&str, &str); 6] = [
    ("all", "all-retryable-errors"),
    ("none", "none"),
    ("hollow", "empty-response"),
    ("junky", "junk-response"),
    ("late", "response-timeout"),
    ("some", "404 425"),
];

#[test]
fn every_word_means_what_it_means_to_haproxy() {
    let (front, beside, (server, counts)) = (unused_address(), unused_address(), server());
    let (_, theirs) = sites(front, beside, server.address(), &WORDS);
    let _daemon = Daemon::start_haproxy(&theirs.replace(&beside.to_string(), &front.to_string()));
    let _haproxy = Haproxy::find().start(&theirs, beside);
    let tried = |path: &str| counts.lock().unwrap().get(path).copied().unwrap_or(0);
    let mut repeated = 0;
    for (name, _) in WORDS {
        for failure in ["empty", "junk", "partial", "slow", "503", "404", "425"] {
            let paths = ["ours", "theirs"].map(|who| format!("/{name}/{failure}/1/{who}"));
            let statuses = [ask(front, "GET", &paths[0], "").0, ask(beside, "GET", &paths[1], "").0];
            assert_eq!(statuses[0], statuses[1], "{name} {failure}");
            let tries = paths.map(|path| tried(&path));
            assert_eq!(tries[0], tries[1], "{name} {failure}");
            repeated += usize::from(tries[0] == 2 && statuses[0] == "200");
        }
    }
    // All but 404 and 425 by the first, a part of a response as if it were none, and those two by the last.
    assert_eq!(repeated, 5 + 2 + 1 + 1 + 2);
}

#[test]
fn attempts_end_and_the_last_answer_counts() {
    let (front, (server, counts)) = (unused_address(), server());
    let (ours, _) = sites(front, front, server.address(), &WORDS);
    let daemon = Daemon::start(&ours);
    assert_eq!(ask(front, "GET", "/all/503/9/a", ""), ("503".to_owned(), "no".to_owned()));
    assert_eq!(ask(front, "GET", "/all/junk/9/a", "").0, "502");
    assert_eq!(ask(front, "GET", "/all/slow/9/a", "").0, "504");
    assert!(counts.lock().unwrap().values().all(|count| *count == 3), "{:?}", counts.lock().unwrap());
    let line = daemon.wait_for_log("/all/503/9/a");
    assert!(line.contains(" 503 ") && line.contains(" ---- 1/1/0/0/2 ") || line.contains("/2 0/0 "), "{line}");
    assert!(daemon.wait_for_log("/all/slow/9/a HTTP").contains(" sH-- "));
}

#[test]
fn body_is_sent_again_and_rules_can_forbid_that() {
    let (front, (server, counts)) = (unused_address(), server());
    let (ours, _) = sites(front, front, server.address(), &WORDS);
    let _daemon = Daemon::start(&ours);
    let body = "x".repeat(9000);
    assert_eq!(ask(front, "POST", "/all/503/2/a", &body), ("200".to_owned(), body.clone()));
    assert_eq!(ask(front, "PUT", "/all/503/2/b", &body).0, "503");
    // Its body comes later than its head.
    let mut client = connect(front);
    client.write_all(b"POST /all/empty/1/late HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.write_all(b"0123456789").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n0123456789"), "{answer}");
    // A body that is too long to be kept is sent once.
    let long = "y".repeat(100_000);
    assert_eq!(ask(front, "POST", "/all/503/1/long", &long).0, "503");
    assert_eq!(counts.lock().unwrap()["/all/503/1/long"], 1);
    // From a client of HTTP/2, too.
    let output = std::process::Command::new("curl")
        .args(["-s", "--http2-prior-knowledge", "--data", "hello", &format!("http://{front}/all/503/1/two")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello");
}

#[test]
fn another_server_is_tried_where_redispatch_says_so() {
    let (front, (good, _)) = (unused_address(), server());
    let bad = Server::start(|mut stream| {
        let _ = request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
    });
    let site = |option: &str| {
        let (ours, _) = sites(front, front, bad.address(), &[("all", "500")]);
        ours.replace("option = [\"httplog\"]", &format!("option = [\"httplog\"{option}]")) + &format!("server.t = \"{}\"\n", good.address())
    };
    let daemon = Daemon::start(&site(", \"redispatch 1\""));
    for _ in 0..4 {
        assert_eq!(ask(front, "GET", "/all/x/0/a", "").0, "200");
    }
    daemon.reload(&site(""));
    let statuses: Vec<_> = (0..4).map(|_| ask(front, "GET", "/all/x/0/a", "").0).collect();
    assert!(statuses.contains(&"500".to_owned()) && statuses.contains(&"200".to_owned()), "{statuses:?}");
}

#[test]
fn connections_are_tried_again_only_if_asked_for() {
    let (front, nobody) = (unused_address(), unused_address());
    let (ours, _) = sites(front, front, nobody, &[("none", "none"), ("once", "conn-failure")]);
    let daemon = Daemon::start(&ours.replace("connect = \"5s\"", "connect = \"100ms\""));
    assert_eq!(ask(front, "GET", "/none/a", "").0, "503");
    assert!(daemon.wait_for_log("GET /none/a").contains("/0 0/0 "));
    assert_eq!(ask(front, "GET", "/once/a", "").0, "503");
    assert!(daemon.wait_for_log("GET /once/a").contains("/2 0/0 "));
}
