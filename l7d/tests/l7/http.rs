//! Mode `http`: what goes through, what is refused, and what happens when a side fails.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Server, connect, is_at_end, read, unused_address};

/// Returns a configuration with one http frontend and one backend.
pub(crate) fn site(front: SocketAddr, settings: &str, servers: &[SocketAddr]) -> String {
    crate::kit::tcp_site(front, settings, servers).replace("mode = \"tcp\"", "mode = \"http\"")
}

/// Reads up to and including the empty line; returns "" at the end of the stream.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn length_of(head: &str) -> usize {
    let field =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().to_owned()));
    field.map_or(0, |value| value.parse().unwrap())
}

/// A server that answers every request with `answer(head, body)` and remembers what it saw.
pub(crate) fn server(answer: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> (Server, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let server = Server::start(move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let body = read(&mut stream, length_of(&head));
            sink.lock().unwrap().push(format!("{head}{body}"));
            if stream.write_all(answer(&head, &body).as_bytes()).is_err() {
                return;
            }
        }
    });
    (server, seen)
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn hello() -> (Server, Arc<Mutex<Vec<String>>>) {
    server(|_, _| ok("hello"))
}

/// Sends a request and reads an answer of known length.
pub(crate) fn ask(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let head = read_head(stream);
    let body = read(stream, length_of(&head));
    (head, body)
}

pub(crate) fn status(head: &str) -> &str {
    head.get(9..12).unwrap_or("")
}

#[test]
fn both_connections_are_kept_and_nothing_is_changed() {
    let (server, seen) = server(|_, _| "HTTP/1.1 203 Fine By Me\r\nx-B: 1\r\nX-a:2\r\nx-B: 3\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    for _ in 0..5 {
        let (head, body) =
            ask(&mut client, "GET /p?q=%20 HTTP/1.1\r\nHost: h\r\nZ:  last\r\na: first\r\nZ: again\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(head, "HTTP/1.1 203 Fine By Me\r\nx-B: 1\r\nX-a: 2\r\nx-B: 3\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(body, "ok");
    }
    assert_eq!(server.accepted(), 1);
    let expected = "GET /p?q=%20 HTTP/1.1\r\nHost: h\r\nZ: last\r\na: first\r\nZ: again\r\n\r\n";
    assert!(seen.lock().unwrap().iter().all(|request| request == expected), "{seen:?}");
}

#[test]
fn head_may_come_byte_by_byte_and_requests_all_at_once() {
    let (server, _) = server(|head, _| ok(head.split(' ').nth(1).unwrap()));
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.set_nodelay(true).unwrap();
    for byte in b"\r\nGET /slow HTTP/1.1\r\nHost: h\r\n\r\n" {
        client.write_all(&[*byte]).unwrap();
    }
    read_head(&mut client);
    assert_eq!(read(&mut client, 5), "/slow");
    let all: String = (0..20).map(|number| format!("POST /{number:02} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")).collect();
    client.write_all(all.as_bytes()).unwrap();
    for number in 0..20 {
        read_head(&mut client);
        assert_eq!(read(&mut client, 3), format!("/{number:02}"));
    }
}

#[test]
fn client_that_asks_for_close_gets_it() {
    let (server, seen) = hello();
    let front = unused_address();
    // Idle connections to servers are kept by each thread for itself.
    let _daemon = Daemon::start(&site(front, "", &[server.address()]).replace("nbthread = 2", "nbthread = 1"));
    for (request, line) in [
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "Connection: close"),
        ("GET / HTTP/1.0\r\nHost: h\r\n\r\n", "Connection: close"),
    ] {
        let mut client = connect(front);
        let (head, _) = ask(&mut client, request);
        assert!(head.contains(line), "{head}");
        assert!(is_at_end(&mut client));
    }
    let mut client = connect(front);
    for _ in 0..2 {
        let (head, _) = ask(&mut client, "GET / HTTP/1.0\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n");
        assert!(head.contains("Connection: keep-alive"), "{head}");
    }
    assert_eq!(server.accepted(), 1, "the server's connection is kept all the same");
    assert!(seen.lock().unwrap().iter().all(|request| !request.contains("onnection")));
}

#[test]
fn options_close_one_or_both_connections() {
    let (server, seen) = hello();
    let front = unused_address();
    let daemon = Daemon::start(&site(front, "option = [\"http-server-close\"]", &[server.address()]));
    let mut client = connect(front);
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1, "hello");
    }
    assert_eq!(server.accepted(), 3);
    assert!(seen.lock().unwrap()[0].contains("Connection: close\r\n"));
    daemon.reload(&site(front, "option = [\"httpclose\"]", &[server.address()]));
    let (head, _) = ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.contains("Connection: close"), "a kept connection follows the reload: {head}");
    assert!(is_at_end(&mut client));
}

#[test]
fn client_address_is_added_as_configured() {
    let (server, seen) = hello();
    let front = unused_address();
    let daemon = Daemon::start(&site(front, "option = [\"forwardfor\"]", &[server.address()]));
    ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n");
    daemon.reload(&site(front, "option = [\"forwardfor if-none header X-Client\"]", &[server.address()]));
    ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\nX-Client: me\r\n\r\n");
    ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    daemon.reload(&site(front, "option = [\"forwardfor except 127.0.0.0/8\"]", &[server.address()]));
    ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let seen = seen.lock().unwrap();
    let fields: Vec<String> =
        seen.iter().map(|request| request.lines().filter(|line| line.starts_with("X-")).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(fields, ["X-Forwarded-For: 1.2.3.4|X-Forwarded-For: 127.0.0.1", "X-Client: me", "X-Client: 127.0.0.1", ""]);
}

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    let (server, _) = server(|head, _| match head.split(' ').next().unwrap() {
        "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n".to_owned(),
        "PUT" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "OPTIONS" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n".to_owned(),
        _ => ok("x"),
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    for (method, expected) in [("HEAD", "200"), ("PUT", "204"), ("OPTIONS", "304"), ("HEAD", "200")] {
        client.write_all(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(status(&read_head(&mut client)), expected);
    }
    assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1, "x");
    assert_eq!(server.accepted(), 1);
}

const CHUNKS: &str = "5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";

#[test]
fn chunks_and_trailers_pass_in_both_directions() {
    let seen = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&seen);
    let server = Server::start(move |mut stream| {
        for _ in 0..2 {
            read_head(&mut stream);
            *sink.lock().unwrap() = read(&mut stream, CHUNKS.len());
            stream.write_all(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}").as_bytes()).unwrap();
        }
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    for pause in [false, true] {
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for part in CHUNKS.as_bytes().chunks(7) {
            client.write_all(part).unwrap();
            if pause {
                thread::sleep(Duration::from_millis(2));
            }
        }
        let head = read_head(&mut client);
        assert!(head.contains("Transfer-Encoding: chunked"));
        assert_eq!(read(&mut client, CHUNKS.len()), CHUNKS);
        assert_eq!(*seen.lock().unwrap(), CHUNKS);
    }
}

#[test]
fn chunks_are_taken_apart_for_http_1_0() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}").as_bytes()).unwrap();
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world");
}

#[test]
fn body_until_close_ends_the_connection() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        stream.write_all(&[b'x'; 300_000]).unwrap();
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_head(&mut client).contains("Connection: close"));
    let mut body = Vec::new();
    client.read_to_end(&mut body).unwrap();
    assert!(body == [b'x'; 300_000]);
}

#[test]
fn interim_responses_come_before_the_body_is_sent() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").unwrap();
        let body = read(&mut stream, 10);
        stream.write_all(ok(&body).as_bytes()).unwrap();
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n").unwrap();
    assert_eq!(read_head(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(read_head(&mut client), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(ask(&mut client, "0123456789").1, "0123456789");
}

#[test]
fn upgraded_connection_carries_bytes_both_ways() {
    let server = Server::start(|mut stream| {
        let head = read_head(&mut stream);
        assert!(head.contains("Upgrade: echo\r\n") && head.contains("Connection: upgrade\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n").unwrap();
        crate::kit::echo("early", stream);
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\nConnection: keep-alive, Upgrade\r\n\r\nfirst").unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: echo\r\n") && head.contains("Connection: upgrade\r\n"), "{head}");
    assert_eq!(read(&mut client, 10), "earlyfirst");
    client.write_all(b"second").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second");
}

#[test]
fn refused_upgrade_is_an_ordinary_response() {
    let (server, _) = hello();
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    for _ in 0..2 {
        let request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(ask(&mut client, request).1, "hello");
    }
}

#[test]
fn connect_opens_a_tunnel() {
    let server = Server::start(|mut stream| {
        assert!(read_head(&mut stream).starts_with("CONNECT h:1 HTTP/1.1\r\n"));
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
        crate::kit::echo("", stream);
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\nping").unwrap();
    assert_eq!(status(&read_head(&mut client)), "200");
    assert_eq!(read(&mut client, 4), "ping");
}

#[test]
fn smuggled_requests_are_refused_and_reach_no_server() {
    let (server, seen) = hello();
    let front = unused_address();
    let daemon = Daemon::start(&site(front, "", &[server.address()]));
    let bodies = [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nZ\r\nQ",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nAAAAAA",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nAAAAA",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\n chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\nHost: h\nContent-Length: 0\n\n",
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nAAAAA\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nAAAAA\r\n0\r\n\r\n",
    ];
    for request in bodies {
        let mut client = connect(front);
        client.write_all(request.as_bytes()).unwrap();
        client.write_all(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request:?}: {answer:?}");
    }
    assert_eq!(*seen.lock().unwrap(), [] as [String; 0]);
    daemon.wait_for_log("INFO 127.0.0.1:");
    daemon.wait_for_log("byte 15 (0x0a): line ends without a carriage return");
}

#[test]
fn head_that_does_not_fit_is_refused() {
    let (server, seen) = hello();
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(20_000)).as_bytes()).unwrap();
    assert_eq!(status(&read_head(&mut client)), "400");
    assert_eq!(ask(&mut connect(front), &format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(15_000))).1, "hello");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn each_silence_has_its_status() {
    let (server, _) = server(|head, _| {
        if head.contains("/silent") {
            thread::sleep(Duration::from_secs(30));
        }
        ok("hello")
    });
    let front = unused_address();
    let times =
        "timeout = { connect = \"300ms\", client = \"30s\", http-request = \"200ms\", http-keep-alive = \"200ms\", server = \"300ms\" }";
    let config = site(front, "", &[server.address()]).replace("timeout = { connect = \"2s\", client = \"30s\", server = \"30s\" }", times);
    let _daemon = Daemon::start(&config);
    let mut nothing = connect(front);
    assert_eq!(status(&read_head(&mut nothing)), "408");
    let mut half = connect(front);
    half.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    assert_eq!(status(&read_head(&mut half)), "408");
    let mut answered = connect(front);
    ask(&mut answered, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(read_head(&mut answered), "", "an idle connection is closed without a word");
    let mut silent = connect(front);
    silent.write_all(b"GET /silent HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(status(&read_head(&mut silent)), "504");
}

#[test]
fn slow_head_is_cut_off_however_steadily_it_drips() {
    let (server, _) = hello();
    let front = unused_address();
    let config = site(front, "", &[server.address()]).replace("client = \"30s\"", "client = \"30s\", http-request = \"400ms\"");
    let _daemon = Daemon::start(&config);
    let mut client = connect(front);
    let start = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut first = [0; 12];
    while client.read_exact(&mut first).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "still served");
        let _ = client.write_all(b"A: b\r\n");
    }
    assert_eq!(&first, b"HTTP/1.1 408");
}

#[test]
fn failing_servers_have_their_status() {
    let cases: [(&'static str, &str); 4] = [
        ("", "502"),
        ("garbage\r\n\r\n", "502"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "502"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "502"),
    ];
    for (response, expected) in cases {
        let server = Server::start(move |mut stream| {
            read_head(&mut stream);
            stream.write_all(response.as_bytes()).unwrap();
        });
        let front = unused_address();
        let _daemon = Daemon::start(&site(front, "", &[server.address()]));
        let mut client = connect(front);
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(status(&read_head(&mut client)), expected, "{response:?}");
    }
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "retries = 0", &[unused_address()]));
    let mut client = connect(front);
    client.write_all(b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn cut_response_is_not_passed_off_as_whole() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(length_of(&read_head(&mut client)), 100);
    assert_eq!(read(&mut client, 4), "half");
    assert!(is_at_end(&mut client));
}

#[test]
fn request_on_a_dying_connection_is_repeated_unseen() {
    // Closes each connection on its second request, without a word.
    let server = Server::start(|mut stream| {
        let head = read_head(&mut stream);
        let body = read(&mut stream, length_of(&head));
        stream.write_all(ok(&format!("hello{body}")).as_bytes()).unwrap();
        read_head(&mut stream);
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    for number in 1..=4 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1, "hello");
        assert_eq!(server.accepted(), number);
    }
    // Once a connection is idle, the first request of another client that must not be repeated does not risk it.
    let (head, body) = ask(&mut connect(front), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n!");
    assert_eq!((status(&head), body.as_str()), ("200", "hello!"));
    // On a kept connection it does, and is not repeated.
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n!").unwrap();
    assert_eq!(status(&read_head(&mut client)), "502");
}

#[test]
fn idle_connection_the_server_closed_is_not_used() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(ok("hello").as_bytes()).unwrap();
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "POST / HTTP/1.1\r\nHost: h\r\n\r\n").1, "hello");
        thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn early_answer_reaches_a_client_that_is_still_sending() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut sink = [0; 65536];
        while matches!(stream.read(&mut sink), Ok(1..)) {}
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n").unwrap();
    client.write_all(&[b'x'; 100_000]).unwrap();
    assert_eq!(status(&read_head(&mut client)), "413");
    assert_eq!(read(&mut client, 2), "no");
}

#[test]
fn large_bodies_arrive_intact_both_ways() {
    const SIZE: usize = 30_000_000;
    fn byte(position: usize) -> u8 {
        u8::try_from((position ^ position >> 7 ^ position >> 15) % 253).unwrap()
    }
    fn check(stream: &mut TcpStream) {
        let (mut position, mut buffer) = (0, vec![0; 100_000]);
        while position < SIZE {
            let most = buffer.len().min(SIZE - position);
            let count = stream.read(&mut buffer[..most]).unwrap();
            assert!(count > 0, "cut after {position} bytes");
            let wrong = buffer[..count].iter().zip(position..).position(|(found, position)| *found != byte(position));
            assert_eq!(wrong, None, "after {position} bytes");
            position += count;
        }
    }
    fn fill(stream: &mut TcpStream) {
        for start in (0..SIZE).step_by(100_000) {
            let chunk: Vec<u8> = (start..start + 100_000).map(byte).collect();
            stream.write_all(&chunk).unwrap();
        }
    }
    let server = Server::start(|mut stream| {
        for _ in 0..2 {
            read_head(&mut stream);
            check(&mut stream);
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
            fill(&mut stream);
        }
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    for _ in 0..2 {
        client.write_all(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
        fill(&mut client);
        assert_eq!(status(&read_head(&mut client)), "200");
        check(&mut client);
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn large_chunked_bodies_arrive_intact() {
    let chunk = "x".repeat(70_000);
    let wire = format!("{:x}\r\n{chunk}\r\n", chunk.len()).repeat(100) + "0\r\n\r\n";
    let (expected, sent) = (wire.clone(), wire);
    let server = Server::start(move |mut stream| {
        read_head(&mut stream);
        assert!(read(&mut stream, sent.len()) == sent);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.write_all(expected.as_bytes()).unwrap();
    read_head(&mut client);
    assert!(read(&mut client, expected.len()) == expected);
}

#[test]
fn drain_finishes_the_request_and_sends_the_idle_home() {
    let (server, _) = server(|head, _| {
        if head.contains("/slow") {
            thread::sleep(Duration::from_millis(500));
        }
        ok("hello")
    });
    let front = unused_address();
    let mut daemon = Daemon::start(&site(front, "", &[server.address()]));
    let (mut idle, mut busy) = (connect(front), connect(front));
    ask(&mut idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    daemon.signal("TERM");
    assert!(is_at_end(&mut idle));
    assert_eq!(ask(&mut busy, "").1, "hello");
    assert!(daemon.wait().success());
}

#[test]
fn full_server_queues_and_answers_503_in_the_end() {
    let (server, _) = server(|_, _| {
        thread::sleep(Duration::from_millis(600));
        ok("hello")
    });
    let front = unused_address();
    let config = site(front, "", &[]).replace("connect = \"2s\"", "connect = \"2s\", queue = \"200ms\"")
        + &format!("s1 = {{ address = \"{}\", maxconn = 1 }}\n", server.address());
    let _daemon = Daemon::start(&config);
    let mut first = connect(front);
    first.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    let mut second = connect(front);
    second.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(status(&read_head(&mut second)), "503");
    assert_eq!(status(&read_head(&mut first)), "200");
}

#[test]
fn every_request_has_its_log_line() {
    let (server, _) = hello();
    let log = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    log.set_read_timeout(Some(crate::kit::PATIENCE)).unwrap();
    let front = unused_address();
    let config = site(front, "", &[server.address()])
        .replace("[global]", &format!("[global]\nlog = [\"{} local0\"]", log.local_addr().unwrap()))
        .replace("[frontend.front]", "[frontend.front]\noption = [\"httplog\"]");
    let _daemon = Daemon::start(&config);
    let mut client = connect(front);
    ask(&mut client, "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n");
    client.write_all(b"GET / HTTP/1.1\r\nBroken\r\n\r\n").unwrap();
    read_head(&mut client);
    let line = || {
        let mut packet = [0; 1000];
        let count = log.recv(&mut packet).unwrap();
        String::from_utf8_lossy(&packet[..count]).trim_end().to_owned()
    };
    let (good, bad) = (line(), line());
    let words: Vec<&str> = good.split("]: ").nth(1).unwrap().split(' ').collect();
    assert_eq!(words[0], client.local_addr().unwrap().to_string(), "{good}");
    assert_eq!((words[2], words[3], words[5], words[6]), ("front", "back/s1", "200", "43"), "{good}");
    assert_eq!(words[9], "----", "{good}");
    assert!(good.ends_with("\"GET /a?b HTTP/1.1\""), "{good}");
    assert!(
        bad.contains(" front front/<NOSRV> -1/-1/-1/-1/") && bad.contains(" 400 ") && bad.ends_with(" PR-- 1/1/0/0/0 0/0 \"<BADREQ>\""),
        "{bad}"
    );
}

#[test]
fn curl_is_content() {
    let (server, _) = server(|head, body| ok(&format!("{} {}", head.split(' ').next().unwrap(), body.len())));
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let curl = |arguments: &[&str]| {
        let output = std::process::Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let url = format!("http://{front}/");
    assert_eq!(curl(&[&url, &url]), "GET 0GET 0");
    assert_eq!(curl(&["-d", &"x".repeat(5000), &url]), "POST 5000");
    assert_eq!(curl(&["-0", &url]), "GET 0");
}

/// What either proxy does to a message, apart from the letter case of names and the connection's own fields.
pub(crate) fn essence(message: &str) -> Vec<String> {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
    for line in lines.iter_mut().skip(1) {
        let (name, value) = line.split_once(':').unwrap();
        *line = format!("{}:{}", name.to_ascii_lowercase(), value.trim());
    }
    lines.retain(|line| !line.starts_with("connection:") && !line.starts_with("keep-alive:"));
    lines.push(body.to_owned());
    lines
}

#[test]
fn debian_haproxy_and_l7d_pass_the_same_messages() {
    let haproxy = crate::kit::Haproxy::find();
    let (server, seen) = server(|head, _| match head.split(' ').nth(1).unwrap() {
        "/chunked" => {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nx-b: 2\r\nX-A: 3\r\n\r\n{}", "3\r\nabc\r\n0\r\n\r\n")
        }
        "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_owned(),
        _ => "HTTP/1.1 201 Made\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\nServer: t\r\n\r\nok".to_owned(),
    });
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&site(ours, "option = [\"forwardfor\"]", &[server.address()]));
    let _peer = haproxy.start(
        &format!(
            "defaults\n mode http\n option forwardfor\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nlisten l\n bind {theirs}\n \
             server s1 {}\n",
            server.address()
        ),
        theirs,
    );
    let requests = [
        "GET / HTTP/1.1\r\nHost: h\r\nCookie: a\r\nAccept: */*\r\nCookie: b\r\nConnection: close\r\n\r\n",
        "POST /x?y=/../z HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Empty:\r\nConnection: close\r\n\r\nabc",
        "GET /chunked HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close\r\n\r\n",
        "GET /304 HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"x\"\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: h\r\nX: a,b , c\r\nConnection: close\r\n\r\n",
    ];
    for request in requests {
        let converse = |address: SocketAddr| {
            let mut client = connect(address);
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            (essence(&seen.lock().unwrap().pop().unwrap()), essence(&answer))
        };
        assert_eq!(converse(ours), converse(theirs), "{request:?}");
    }
}
