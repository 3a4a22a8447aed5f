//! Streams that end early, by whoever's will, and what becomes of the others on their connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::frames::*;
use crate::http::{ask, hello, ok, read_head, site, status};
use crate::kit::{Daemon, PATIENCE, Server, connect, is_at_end, unused_address};

const CANCEL: u32 = 8;
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
/// Far more than all the buffers on the way of a response hold.
const LONG: u64 = 1 << 40;
/// A header block that says nothing but `:status: 200`.
const OK: &[u8] = &[0x88];

/// Returns a configuration whose one server speaks HTTP/2.
fn site_of_h2(front: SocketAddr, settings: &str, server: SocketAddr) -> String {
    site(front, settings, &[]) + &format!("s1 = {{ address = \"{server}\", proto = \"h2\" }}\n")
}

/// Where the log of a configuration goes.
struct Log(UdpSocket);

impl Log {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn of(&self, config: &str) -> String {
        let log = format!("[global]\nlog = [\"{} local0\"]", self.0.local_addr().unwrap());
        config.replace("[global]", &log).replace("[frontend.front]", "[frontend.front]\noption = [\"httplog\"]")
    }

    /// Returns the status, the bytes and the termination of the next request, and the request.
    fn next(&self) -> (String, String, String, String) {
        let mut packet = [0; 1000];
        let count = self.0.recv(&mut packet).unwrap();
        let line = String::from_utf8_lossy(&packet[..count]).into_owned();
        let words: Vec<&str> = line.split("]: ").nth(1).unwrap().split(' ').collect();
        (words[5].to_owned(), words[6].to_owned(), words[9].to_owned(), line.split('"').nth(1).unwrap().to_owned())
    }
}

/// Starts a server that tells when a connection of its has ended, after it did `before`.
fn watching(before: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> (Server, mpsc::Receiver<()>) {
    let (ended, wait) = mpsc::channel();
    let ended = Mutex::new(ended);
    let server = Server::start(move |mut stream| {
        let ended = ended.lock().unwrap().clone();
        before(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    (server, wait)
}

#[test]
fn client_that_takes_its_request_back_ends_it_at_the_server() {
    type Phase = (&'static str, fn(&mut TcpStream), bool, (&'static str, &'static str));
    let phases: [Phase; 3] = [
        ("waiting", |stream| drop(read_head(stream)), false, ("400", "CH--")),
        (
            "silent in the body",
            |stream| {
                read_head(stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").unwrap();
            },
            true,
            ("200", "CD--"),
        ),
        (
            "silent in a chunked body",
            |stream| {
                read_head(stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
            },
            true,
            ("200", "CD--"),
        ),
    ];
    for (description, before, answers, (status, termination)) in phases {
        let log = Log::new();
        let (server, ended) = watching(before);
        let front = unused_address();
        let _daemon = Daemon::start(&log.of(&site(front, "", &[server.address()])));
        let mut peer = Peer::connect(front);
        peer.send(&get(1));
        if answers {
            assert_eq!(peer.status(), 200, "{description}");
            assert_eq!(peer.until(DATA).payload, b"abc");
        } else {
            while server.accepted() == 0 {
                std::thread::yield_now();
            }
        }
        peer.send(&reset(1, CANCEL));
        ended.recv_timeout(PATIENCE).expect(description);
        let line = log.next();
        assert_eq!((line.0.as_str(), line.2.as_str(), line.3.as_str()), (status, termination, "GET http://h/ HTTP/2.0"), "{description}");
        peer.send(&frame(PING, 0, 0, &[1; 8]));
        assert_eq!(peer.until(PING).flags, ACK, "{description}: the connection goes on");
    }
}

#[test]
fn client_that_takes_its_request_back_leaves_the_queue() {
    let log = Log::new();
    let (server, _ended) = watching(|stream| drop(read_head(stream)));
    let front = unused_address();
    let config = site(front, "", &[]) + &format!("s1 = {{ address = \"{}\", maxconn = 1 }}\n", server.address());
    let _daemon = Daemon::start(&log.of(&config.replace("connect = \"2s\"", "connect = \"2s\", queue = \"60s\"")));
    let mut peer = Peer::connect(front);
    peer.send(&get(1));
    while server.accepted() == 0 {
        std::thread::yield_now();
    }
    peer.send(&[get(3), frame(PING, 0, 0, &[1; 8])].concat());
    peer.until(PING);
    peer.send(&reset(3, CANCEL));
    assert_eq!(log.next().2, "CQ--");
    drop(peer);
    assert_eq!(log.next().2, "CH--", "a connection that ends takes its requests along");
}

#[test]
fn upload_that_the_client_gives_up_ends_at_the_server() {
    let log = Log::new();
    let (server, ended) = watching(|stream| drop(read_head(stream)));
    let front = unused_address();
    let _daemon = Daemon::start(&log.of(&site(front, "", &[server.address()])));
    let mut peer = Peer::connect(front);
    peer.send(&[headers(1, END_HEADERS, &request("POST")), frame(DATA, 0, 1, b"part")].concat());
    while server.accepted() == 0 {
        std::thread::yield_now();
    }
    peer.send(&reset(1, CANCEL));
    ended.recv_timeout(PATIENCE).unwrap();
    assert!(["CD--", "CH--"].contains(&log.next().2.as_str()));
}

#[test]
fn early_answer_ends_the_upload_without_an_error() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(ok("enough").as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut peer = Peer::connect(front);
    peer.send(&[headers(1, END_HEADERS, &request("POST")), frame(DATA, 0, 1, b"part")].concat());
    assert_eq!(peer.status(), 200);
    assert_eq!(peer.body(1), b"enough");
    let end = peer.until(RST_STREAM);
    assert_eq!((end.stream, code(&end)), (1, 0), "no error");
}

/// A server of HTTP/2 that answers the streams of each of its connections as `answer(connection, stream)` says.
fn server_of_h2(answer: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let connections = Arc::new(AtomicUsize::new(0));
    Server::start(move |stream| {
        let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
        let mut peer = Peer::accept(stream, &[]);
        while let Some(frame) = peer.next() {
            if frame.kind == HEADERS {
                peer.send(&answer(number, frame.stream));
            }
        }
    })
}

fn goaway(last: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

#[test]
fn request_that_the_server_did_not_begin_is_sent_again_whatever_its_method() {
    let server = server_of_h2(|connection, stream| match connection {
        1 => reset(stream, REFUSED_STREAM),
        2 => goaway(0),
        _ => frame(HEADERS, WHOLE, stream, OK),
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site_of_h2(front, "", server.address()));
    let mut client = connect(front);
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(status(&read_head(&mut client)), "200");
    assert_eq!(server.accepted(), 3);
}

#[test]
fn connection_whose_server_says_goodbye_gets_no_further_request() {
    let server = server_of_h2(|connection, stream| match (connection, stream) {
        (1, 1) => frame(HEADERS, WHOLE, stream, OK),
        (1, _) => [goaway(0x7fff_ffff), frame(HEADERS, END_HEADERS, stream, OK)].concat(),
        _ => frame(HEADERS, WHOLE, stream, OK),
    });
    let front = unused_address();
    let config = site_of_h2(front, "", server.address()).replace("nbthread = 2", "nbthread = 1");
    let _daemon = Daemon::start(&config);
    let mut client = Peer::connect(front);
    client.send(&get(1));
    assert_eq!(client.status(), 200);
    client.send(&get(3));
    assert_eq!(client.until(HEADERS).flags & END_STREAM, 0, "the response that keeps the old connection alive");
    for stream in [5, 7, 9] {
        client.send(&headers(stream, WHOLE, &request("POST")));
        assert_eq!(client.until(HEADERS).stream, stream);
    }
    assert_eq!(server.accepted(), 2);
}

#[test]
fn server_that_gives_a_request_up_is_a_bad_gateway() {
    let log = Log::new();
    let server = server_of_h2(|_, stream| match stream {
        1 => reset(stream, INTERNAL_ERROR),
        _ => [frame(HEADERS, END_HEADERS, stream, OK), frame(DATA, 0, stream, b"part"), reset(stream, INTERNAL_ERROR)].concat(),
    });
    let front = unused_address();
    let config = site_of_h2(front, "", server.address()).replace("nbthread = 2", "nbthread = 1");
    let _daemon = Daemon::start(&log.of(&config));
    let mut client = connect(front);
    assert_eq!(status(&ask(&mut client, "POST / HTTP/1.1\r\nHost: h\r\n\r\n").0), "502");
    assert_eq!(log.next().2, "SH--");
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("chunked") && !answer.contains("0\r\n\r\n"), "the end must not look like one: {answer}");
    assert_eq!(log.next().2, "SD--");
    assert_eq!(server.accepted(), 1, "the connection is as good as before");
}

#[test]
fn silent_connection_is_not_used_again() {
    let server = server_of_h2(|connection, stream| if connection == 1 { Vec::new() } else { frame(HEADERS, WHOLE, stream, OK) });
    let front = unused_address();
    let config = site_of_h2(front, "", server.address()).replace("server = \"30s\"", "server = \"300ms\"");
    let _daemon = Daemon::start(&config.replace("nbthread = 2", "nbthread = 1"));
    assert_eq!(status(&ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").0), "504");
    assert_eq!(status(&ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").0), "200");
}

#[test]
fn body_where_none_may_be_is_not_taken_for_a_response() {
    let server = server_of_h2(|_, stream| {
        let no_content = [0x89];
        [frame(HEADERS, END_HEADERS, stream, &no_content), frame(DATA, END_STREAM, stream, b"HTTP/1.1 200 Evil\r\n\r\n")].concat()
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site_of_h2(front, "", server.address()));
    let mut client = connect(front);
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(status(&read_head(&mut client)), "204");
    }
}

#[test]
fn empty_body_that_was_declared_empty_stays_empty() {
    let (server, seen) = crate::http::server(|_, _| ok("x"));
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]).replace("nbthread = 2", "nbthread = 1"));
    let mut peer = Peer::connect(front);
    for stream in [1, 3] {
        let head = headers(stream, END_HEADERS, &[&request("PUT"), &[("content-length", "0")][..]].concat());
        peer.send(&[head, headers(stream, WHOLE, &[("x-trailer", "1")])].concat());
        assert_eq!(peer.body(stream), b"x");
    }
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, vec!["PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"; 2]);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn slow_reader_holds_up_no_other_stream() {
    let server = Server::start(|mut stream| {
        if read_head(&mut stream).starts_with("GET /small") {
            return stream.write_all(ok("small").as_bytes()).unwrap();
        }
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n").as_bytes());
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let (middle, front) = (unused_address(), unused_address());
    // All requests share one connection of HTTP/2 to the inner daemon.
    let _inner = Daemon::start(&site(middle, "", &[server.address()]));
    let _outer = Daemon::start(&site_of_h2(front, "", middle).replace("nbthread = 2", "nbthread = 1"));
    // As many as would fill a window of a mebibyte.
    let slow: Vec<_> = (0..18)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(16_384).unwrap();
            socket.connect(&front.into()).unwrap();
            let mut client = TcpStream::from(socket);
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            assert_eq!(status(&read_head(&mut client)), "200");
            client
        })
        .collect();
    // Time for all of them to fill whatever they share.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (head, body) = ask(&mut connect(front), "GET /small HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), ("200", "small"));
    drop(slow);
}

#[test]
fn stream_without_room_holds_up_no_other_of_its_connection() {
    let (server, _) = hello();
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    // No stream may carry anything until it is told otherwise.
    let mut peer = Peer::connect_with(front, &[0, 4, 0, 0, 0, 0]);
    peer.send(&get(1));
    assert_eq!(peer.until(HEADERS).stream, 1);
    peer.send(&[get(3), room(3, 100)].concat());
    assert_eq!(peer.until(HEADERS).stream, 3);
    assert_eq!(peer.body(3), b"hello");
    peer.send(&room(1, 100));
    assert_eq!(peer.body(1), b"hello");
}

#[test]
fn drain_says_goodbye_and_finishes_what_was_begun() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::start(move |mut stream| {
        read_head(&mut stream);
        wait.lock().unwrap().recv().unwrap();
        let _ = stream.write_all(ok("hello").as_bytes());
    });
    let front = unused_address();
    let mut daemon = Daemon::start(&site(front, "", &[server.address()]));
    let (mut busy, mut idle) = (Peer::connect(front), Peer::connect(front));
    idle.until(SETTINGS);
    busy.send(&get(1));
    while server.accepted() == 0 {
        std::thread::yield_now();
    }
    daemon.signal("TERM");
    busy.until(GOAWAY);
    idle.until(GOAWAY);
    go.send(()).unwrap();
    assert_eq!(busy.status(), 200);
    assert_eq!(busy.body(1), b"hello");
    drop((busy, idle));
    assert!(daemon.wait().success());
}

#[test]
fn idle_connection_is_told_to_leave_and_an_open_stream_survives_a_reload() {
    let (server, _) = hello();
    let other = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(ok("other").as_bytes()).unwrap();
    });
    let front = unused_address();
    let config =
        |server: &Server| site(front, "", &[server.address()]).replace("client = \"30s\"", "client = \"30s\", http-keep-alive = \"400ms\"");
    let daemon = Daemon::start(&config(&server));
    let mut peer = Peer::connect(front);
    peer.send(&headers(1, END_HEADERS, &request("POST")));
    peer.until(SETTINGS);
    daemon.reload(&config(&other));
    peer.send(&frame(DATA, END_STREAM, 1, b"x"));
    assert_eq!(peer.status(), 200);
    peer.body(1);
    peer.send(&get(3));
    assert_eq!(peer.until(HEADERS).stream, 3);
    assert_eq!(peer.body(3), b"other");
    peer.until(GOAWAY);
    while peer.next().is_some() {}
    assert!(is_at_end(&mut peer.stream));
}
