//! Connections that vanish at every phase: the slot of a server with room for one is free again, and every count is back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{LogTap, read_head, reset, site, status};
use crate::kit::{Daemon, PATIENCE, Server, answer, connect, unused_address};

/// A server with room for one, which does what the path says, and tells when it has got that far.
struct Phases {
    server: Server,
    reached: Receiver<()>,
}

const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";

fn phases() -> Phases {
    let (tell, reached) = channel();
    let tell = Arc::new(Mutex::new(tell));
    let server = Server::start(move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let done = match path.as_str() {
                "" => return,
                "/ok" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err(),
                "/half-close" | "/half-reset" => stream.write_all(HALF).is_err(),
                "/long" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n").is_err(),
                "/switch" | "/switch-reset" => stream.write_all(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n").is_err(),
                "/head-reset" | "/head-close" => stream.write_all(b"HTTP/1.1 200 OK\r\nA:").is_err(),
                _ => false,
            };
            let _ = tell.lock().unwrap().send(());
            if path.ends_with("-reset") {
                return reset(stream);
            }
            if done || path.ends_with("-close") {
                return;
            }
            // Who only waits for an answer is not watched, as with haproxy without `option abortonclose`; who takes one is.
            while path == "/long" && stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            if path != "/ok" {
                let _ = stream.read_to_end(&mut Vec::new());
                return;
            }
        }
    });
    Phases { server, reached }
}

fn limited(front: SocketAddr, server: &Server) -> String {
    site(front, "", &[]).replace("connect = \"2s\"", "connect = \"2s\", queue = \"20s\"")
        + &format!("s1 = {{ address = \"{}\", maxconn = 1 }}\n", server.address())
}

fn request(path: &str, rest: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{rest}")
}

/// Serves one more request, which needs the only slot, and checks that nobody else is counted any more.
fn check(front: SocketAddr, log: &LogTap, after: &str) {
    let began = Instant::now();
    let mut client = connect(front);
    client.write_all(request("/ok", "Connection: close\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(status(&read_head(&mut client)), "200", "{after}");
    assert!(began.elapsed() < PATIENCE, "{after}");
    // The line of the aborted exchange may come after this one's.
    let counts = loop {
        let (logged, termination, counts) = log.next();
        if (logged.as_str(), termination.as_str()) == ("200", "----") {
            break counts;
        }
    };
    let of_servers: Vec<&str> = counts.split('/').skip(2).take(2).collect();
    // The aborted exchange gives its slot away before it is no longer one of the backend's.
    assert!(["0/0", "1/0", "1/1"].contains(&of_servers.join("/").as_str()), "{after}: {counts}");
}

#[test]
fn clients_that_vanish_leave_no_trace() {
    let Phases { server, reached } = phases();
    let (front, log) = (unused_address(), LogTap::open());
    let _daemon = Daemon::start(&log.tap(&limited(front, &server)));
    let upgrade = "Upgrade: x\r\nConnection: upgrade\r\n\r\n";
    let cases: Vec<(&str, String, bool)> = vec![
        ("before a word", String::new(), false),
        ("inside the first line", "GET /o".to_owned(), false),
        ("inside the head", request("/silent", "X: y"), false),
        ("inside its body", request("/silent", "Content-Length: 9\r\n\r\nhalf"), true),
        ("inside its chunks", request("/silent", "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"), true),
        ("inside the response", request("/long", "\r\n"), true),
        ("inside a tunnel", request("/switch", upgrade), true),
    ];
    for (phase, bytes, reaches) in cases {
        for by_reset in [true, false] {
            let mut client = connect(front);
            client.write_all(bytes.as_bytes()).unwrap();
            if reaches {
                reached.recv_timeout(PATIENCE).unwrap();
            }
            if by_reset {
                reset(client);
            } else {
                drop(client);
            }
            check(front, &log, &format!("{phase}, by reset: {by_reset}"));
            while reached.try_recv().is_ok() {}
        }
    }
}

#[test]
fn servers_that_vanish_leave_no_trace() {
    let Phases { server, reached } = phases();
    let (front, log) = (unused_address(), LogTap::open());
    let _daemon = Daemon::start(&log.tap(&limited(front, &server)));
    for path in ["/reset-reset", "/close-close", "/head-reset", "/head-close", "/half-reset", "/half-close", "/switch-reset"] {
        for rest in ["\r\n", "Content-Length: 9\r\n\r\nhalf", "Upgrade: x\r\nConnection: upgrade\r\n\r\n"] {
            let mut client = connect(front);
            client.write_all(request(path, rest).as_bytes()).unwrap();
            reached.recv_timeout(PATIENCE).unwrap();
            answer(&mut client);
            drop(client);
            check(front, &log, &format!("{path} {rest:?}"));
            while reached.try_recv().is_ok() {}
        }
    }
}

#[test]
fn tunnels_of_tcp_that_vanish_leave_no_trace() {
    let server = Server::echo("s1");
    let front = unused_address();
    let config = crate::kit::tcp_site(front, "", &[]).replace("connect = \"2s\"", "connect = \"2s\", queue = \"20s\"")
        + &format!("s1 = {{ address = \"{}\", maxconn = 1 }}\n", server.address());
    let _daemon = Daemon::start(&config);
    for round in 0..20 {
        let mut client: TcpStream = connect(front);
        assert_eq!(crate::kit::read(&mut client, 2), "s1", "round {round}");
        if round % 2 == 0 {
            client.write_all(&vec![b'x'; round * 50_000]).unwrap();
        }
        if round % 3 == 0 {
            drop(client);
        } else {
            reset(client);
        }
    }
}
