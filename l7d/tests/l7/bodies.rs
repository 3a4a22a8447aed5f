//! Bodies that rules wait for and look at; the same as with haproxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, unused_address};

/// A server whose answers are what their paths ask for, or else the fields beginning with `x-` that it got, and the body.
fn server() -> Server {
    Server::start(|mut stream| {
        let Some((head, body)) = request(&mut stream) else { return };
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let parts: &[&str] = match path.as_str() {
            "/late" => &["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "defghij"],
            "/stuck" => &["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "", "", "", "", "defghij"],
            "/cut" => &["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
            "/chunks" => &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "2\r\nde\r\n0\r\n\r\n"],
            _ => {
                let mut fields: Vec<_> = head.lines().filter(|line| line.starts_with("x-") || line.starts_with("expect")).collect();
                fields.sort_unstable();
                let text = format!("{} {}", fields.join("; "), body);
                let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes());
                return;
            }
        };
        for part in parts {
            if stream.write_all(part.as_bytes()).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    })
}

/// Reads a request: its head in lower case, and the content of its body.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let mut body = Vec::new();
    if let Some(length) = head.split("content-length: ").nth(1) {
        body.resize(length.split("\r\n").next().unwrap().parse().unwrap(), 0);
        stream.read_exact(&mut body).ok()?;
    } else if head.contains("chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            body.push(byte[0]);
        }
    }
    let body = content(&String::from_utf8_lossy(&body));
    Some((head, if body.len() > 1000 { format!("{} bytes", body.len()) } else { body }))
}

/// Takes chunks out of their framing, which one program renews and the other does not.
fn content(body: &str) -> String {
    let mut rest = body;
    let mut content = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { return body.to_owned() };
        content.push_str(&more[..size]);
        rest = &more[size + 2..];
    }
    if rest.is_empty() { content } else { body.to_owned() }
}

/// Says one part after the other, and returns the status and the end of the answer without what names the program.
fn talk(front: SocketAddr, parts: &[&str]) -> String {
    let mut client = connect(front);
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            thread::sleep(Duration::from_millis(50));
        }
        if client.write_all(part.as_bytes()).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let mut more = [0; 4096];
    client.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    while let Ok(count @ 1..) = client.read(&mut more) {
        answer.extend_from_slice(&more[..count]);
    }
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return answer };
    // Both fold an answer of their own into their own words.
    let body = if body.starts_with("<html>") { "page".to_owned() } else { content(body) };
    let mut fields: Vec<_> = head.lines().filter(|line| line.starts_with("x-")).collect();
    fields.sort_unstable();
    format!("{} [{}] {body}", head.lines().next().unwrap().split(' ').nth(1).unwrap(), fields.join("; "))
}

const REQUEST_RULES: &str = " http-request set-header x-b %[req.body] if { req.body_len lt 100 }\n http-request set-header x-l %[req.body_len]\n \
     http-request set-header x-s %[req.body_size]\n http-request set-header x-p %[req.body_param(q)]\n \
     http-request set-header x-any %[req.body_param]\n";
const RESPONSE_RULES: &str = " http-response set-header x-b %[res.body] if { res.body_len lt 100 }\n http-response set-header x-l %[res.body_len]\n \
     http-response set-header x-s %[res.body_size]\n";

fn site(front: SocketAddr, server: SocketAddr, frontend: &str, backend: &str) -> String {
    format!(
        "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n timeout http-request 300ms\n\
         frontend f\n bind {front}\n{frontend} default_backend b\nbackend b\n{backend} server s {server}\n"
    )
}

/// Compares what two programs make of some conversations.
fn compare(frontend: &str, backend: &str, conversations: &[&[&str]]) -> Vec<String> {
    let server = server();
    let (front, beside) = (unused_address(), unused_address());
    let _ours = Daemon::start_haproxy(&site(front, server.address(), frontend, backend));
    let _theirs = Haproxy::find().start(&site(beside, server.address(), frontend, backend), beside);
    let all = |front| move || conversations.iter().map(|parts| talk(front, parts)).collect::<Vec<_>>();
    let (ours, theirs) = thread::scope(|scope| {
        let (ours, theirs) = (scope.spawn(all(front)), scope.spawn(all(beside)));
        (ours.join().unwrap(), theirs.join().unwrap())
    });
    assert_eq!(ours, theirs, "{frontend}{backend}");
    ours
}

const HEAD: &str = "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";

#[test]
fn request_body_is_seen_as_far_as_it_was_waited_for() {
    let chunked = "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nq=1\r\n";
    let expecting = "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let whole = format!("{HEAD}q=1&b=2345");
    let begun = format!("{HEAD}q=1");
    let conversations: [&[&str]; 5] = [
        &[&whole],
        &[&begun, "&b=2345"],
        &[chunked, "4\r\n&a=b\r\n0\r\n\r\n"],
        &[expecting, "q=1"],
        &["GET /g HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    ];
    let waited =
        compare(&format!(" http-request wait-for-body time 2s\n http-request wait-for-handshake\n{REQUEST_RULES}"), "", &conversations);
    assert!(waited[1].contains("x-b: q=1&b=2345; x-l: 10; x-p: 1; x-s: 10"), "{waited:?}");
    assert_eq!(waited, compare(&format!(" option http-buffer-request\n{REQUEST_RULES}"), "", &conversations));
    assert_eq!(waited, compare("", &format!(" option http-buffer-request\n{REQUEST_RULES}"), &conversations));
    assert_eq!(waited, compare("", &format!(" http-request wait-for-body time 2s\n{REQUEST_RULES}"), &conversations));
    let some = compare(&format!(" http-request wait-for-body time 2s at-least 3\n{REQUEST_RULES}"), "", &conversations[..2]);
    assert!(some[1].contains("x-b: q=1; x-l: 3; x-p: 1; x-s: 10"), "{some:?}");
    compare(REQUEST_RULES, "", &conversations[..1]);
}

#[test]
fn request_body_that_does_not_come_is_not_waited_for_any_longer() {
    let conversations: [&[&str]; 1] = [&["POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nq=1"]];
    let waited = compare(" http-request wait-for-body time 100ms\n", "", &conversations);
    assert_eq!(waited, ["408 [] page"]);
    assert_eq!(waited, compare(" option http-buffer-request\n", "", &conversations));
    assert_eq!(waited, compare("", " option http-buffer-request\n", &conversations));
}

#[test]
fn response_body_is_seen_as_far_as_it_was_waited_for() {
    let asked = ["late", "chunks", "cut", "else"].map(|path| format!("GET /{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let conversations: Vec<[&str; 1]> = asked.iter().map(|request| [request.as_str()]).collect();
    let conversations: Vec<&[&str]> = conversations.iter().map(|parts| &parts[..]).collect();
    let waited = compare(&format!(" http-response wait-for-body time 2s\n{RESPONSE_RULES}"), "", &conversations);
    assert!(waited[0].contains("[x-b: abcdefghij; x-l: 10; x-s: 10]"), "{waited:?}");
    compare("", &format!(" http-response wait-for-body time 2s at-least 2\n{RESPONSE_RULES}"), &conversations);
    let stuck: [&[&str]; 1] = [&["GET /stuck HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]];
    assert_eq!(compare(" http-response wait-for-body time 150ms\n", "", &stuck), ["504 [] page"]);
}

#[test]
fn bodies_in_frames_are_seen_and_passed_on_too() {
    let (server, front) = (server(), unused_address());
    let rules = format!(" http-request wait-for-body time 2s\n{REQUEST_RULES} http-response wait-for-body time 2s\n{RESPONSE_RULES}");
    let _daemon = Daemon::start_haproxy(&site(front, server.address(), &rules, ""));
    let curl = |arguments: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-s", "-i", "--http2-prior-knowledge"])
            .args(arguments)
            .arg(format!("http://{front}/p"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let short = curl(&["--data", "q=1&b=2"]);
    assert!(short.contains("x-any: 1; x-b: q=1&b=2; x-l: 7; x-p: 1; x-s: 7 q=1&b=2") && short.contains("\r\nx-l: "), "{short}");
    let endless = curl(&["--data", "q=1&b=2", "-H", "content-length:"]);
    assert!(endless.contains("x-b: q=1&b=2; x-l: 7;") && endless.ends_with(" q=1&b=2"), "{endless}");
    let long = curl(&["--data", &"y".repeat(60_000)]);
    assert!(long.contains("x-s: 60000 60000 bytes"), "{long}");
}
