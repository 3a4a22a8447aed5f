//! Slow clients and servers: each phase ends by its own time-out, with HAProxy's status and letters, and nobody else notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{LogTap, ask, obliging, read_head, site, status};
use crate::kit::{Daemon, PATIENCE, Server, connect, unused_address};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";

/// Sends a byte now and then, so that the connection is never silent for long, until the other side answers or closes.
fn drip(client: &mut TcpStream, start: &[u8], byte: u8) -> String {
    client.write_all(start).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let began = Instant::now();
    let mut first = [0];
    let mut head = loop {
        match client.read(&mut first) {
            Ok(count) => break first[..count].to_vec(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => assert!(began.elapsed() < PATIENCE, "still served"),
            Err(error) => panic!("{error}"),
        }
        let _ = client.write_all(&[byte]);
    };
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    head.extend(read_head(client).into_bytes());
    String::from_utf8(head).unwrap()
}

#[test]
fn slow_clients_end_with_their_codes() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (front, log) = (unused_address(), LogTap::open());
    let times = "client = \"400ms\", http-request = \"400ms\"";
    let _daemon = Daemon::start(&log.tap(&site(front, "", &[server.address()]).replace("client = \"30s\"", times)));
    let cases: [(&str, &[u8], &str, &str); 6] = [
        ("nothing", b"", "408", "cR--"),
        ("half a first line", b"GET /", "408", "cR--"),
        ("half a head", b"GET / HTTP/1.1\r\nHo", "408", "cR--"),
        ("half of what HTTP/2 begins with", b"PRI * HT", "408", "cR--"),
        ("half a body", POST, "408", "cD--"),
        ("half a chunk", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "408", "cD--"),
    ];
    for (name, bytes, expected, letters) in cases {
        let mut client = connect(front);
        let began = Instant::now();
        client.write_all(bytes).unwrap();
        assert_eq!(status(&read_head(&mut client)), expected, "{name}");
        assert!(began.elapsed() >= Duration::from_millis(390), "{name}");
        let (logged, termination, _) = log.next();
        assert_eq!((logged.as_str(), termination.as_str()), (expected, letters), "{name}");
    }
    // A head that never falls silent is no better.
    let mut client = connect(front);
    assert_eq!(status(&drip(&mut client, b"GET / HTTP/1.1\r\nX: ", b'x')), "408");
    assert_eq!(log.next().1, "cR--");
    let mut client = connect(front);
    assert_eq!(status(&drip(&mut client, b"G", b'T')), "408");
    assert_eq!(log.next().1, "cR--");
}

#[test]
fn slow_servers_end_with_their_codes() {
    let cases: [(&str, &'static [u8], &str, &str); 5] = [
        ("nothing", b"", "504", "sH--"),
        ("half a head", b"HTTP/1.1 200 OK\r\nA:", "504", "sH--"),
        ("interim response and no more", b"HTTP/1.1 103 Early Hints\r\n\r\n", "504", "sH--"),
        ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "200", "sD--"),
        ("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "200", "sD--"),
    ];
    for (name, bytes, expected, letters) in cases {
        let server = Server::start(move |mut stream| {
            read_head(&mut stream);
            stream.write_all(bytes).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let (front, log) = (unused_address(), LogTap::open());
        let _daemon = Daemon::start(&log.tap(&site(front, "", &[server.address()]).replace("server = \"30s\"", "server = \"400ms\"")));
        let mut client = connect(front);
        let began = Instant::now();
        client.write_all(GET).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
        assert!(began.elapsed() >= Duration::from_millis(390), "{name}");
        let (logged, termination, _) = log.next();
        assert_eq!((logged.as_str(), termination.as_str()), (expected, letters), "{name}");
    }
}

#[test]
fn reader_that_stops_is_let_go() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let block = [b'x'; 1 << 16];
        while stream.write_all(&block).is_ok() {}
    });
    let (front, log) = (unused_address(), LogTap::open());
    let _daemon = Daemon::start(&log.tap(&site(front, "", &[server.address()]).replace("client = \"30s\"", "client = \"500ms\"")));
    let mut client = connect(front);
    client.write_all(GET).unwrap();
    assert_eq!(status(&read_head(&mut client)), "200");
    let (logged, termination, _) = log.next();
    assert_eq!((logged.as_str(), termination.as_str()), ("200", "cD--"));
}

#[test]
fn thousands_of_slow_clients_harm_nobody() {
    const COUNT: usize = 3000;
    let server = obliging();
    let front = unused_address();
    let _daemon =
        Daemon::start(&site(front, "", &[server.address()]).replace("client = \"30s\"", "client = \"30s\", http-request = \"5s\""));
    let mut slow: Vec<TcpStream> = (0..COUNT)
        .map(|number| {
            let mut client = connect(front);
            let head: &[u8] = match number % 3 {
                0 => b"",
                1 => b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ",
                _ => b"G",
            };
            client.write_all(head).unwrap();
            client
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(ask(front), "200");
    }
    let answers = slow.iter_mut().map(read_head).filter(|head| status(head) == "408").count();
    assert_eq!(answers, COUNT);
    assert_eq!(ask(front), "200");
}

/// What `slowhttptest` finds when it attacks in one of its ways.
fn attack(front: SocketAddr, way: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["60", "slowhttptest"]).args(way).args(["-c", "300", "-r", "300", "-l", "8", "-p", "3", "-u"]);
    let output = command.arg(format!("http://{front}/")).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn program_that_attacks_slowly_gives_up_while_others_are_served() {
    let (server, front) = (obliging(), unused_address());
    let config = site(front, "", &[server.address()]).replace("client = \"30s\"", "client = \"2s\", http-request = \"2s\"");
    let _daemon = Daemon::start(&config);
    for way in [&["-H", "-i", "1"][..], &["-B", "-i", "4", "-s", "8192"], &["-X", "-w", "8", "-y", "16", "-n", "1", "-z", "8"]] {
        let found = attack(front, way);
        assert!(found.contains("service available:") && !found.contains("NO"), "{way:?}: {found}");
        assert!(found.contains("No open connections left"), "{way:?}: {found}");
        assert_eq!(ask(front), "200", "{way:?}");
    }
}
