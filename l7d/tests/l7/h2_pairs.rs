//! Every pairing of versions: what one side says in its own is heard by the other in its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use crate::frames::*;
use crate::http::{ok, read_head, site, status};
use crate::kit::{Daemon, Server, connect, echo, read, unused_address};

/// A daemon for each step of the way: the versions spoken on it, from the client to the server.
struct Chain {
    front: SocketAddr,
    _daemons: Vec<Daemon>,
}

impl Chain {
    /// Puts so many steps of HTTP/2 between `front` and a server of HTTP/1.
    fn of(steps: usize, server: &Server) -> Self {
        let mut next = (server.address(), "h1");
        let daemons = (0..=steps).map(|_| {
            let front = unused_address();
            let (address, proto) = std::mem::replace(&mut next, (front, "h2"));
            let server = if proto == "h2" { format!("{{ address = \"{address}\", proto = \"h2\" }}") } else { format!("\"{address}\"") };
            Daemon::start(&format!("{}s1 = {server}\n", site(front, "", &[])))
        });
        let daemons = daemons.collect();
        Self { front: next.0, _daemons: daemons }
    }
}

/// Reads a body in chunks, and what trails it.
fn chunks(stream: &mut TcpStream) -> (Vec<u8>, String) {
    let line = |stream: &mut TcpStream| {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line.push_str(&read(stream, 1));
        }
        line
    };
    let mut body = Vec::new();
    loop {
        let count = usize::from_str_radix(line(stream).trim(), 16).unwrap();
        if count == 0 {
            break;
        }
        let start = body.len();
        body.resize(start + count, 0);
        stream.read_exact(&mut body[start..]).unwrap();
        line(stream);
    }
    let mut trailers = String::new();
    loop {
        let line = line(stream);
        if line == "\r\n" {
            return (body, trailers);
        }
        trailers.push_str(&line);
    }
}

fn length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(|value| value.parse().unwrap()))
}

fn body_of(stream: &mut TcpStream, head: &str) -> (Vec<u8>, String) {
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return chunks(stream);
    }
    let mut body = vec![0; length(head).unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    (body, String::new())
}

/// A server that returns what it got: the method in a field, the body framed as the path asks, the trailers.
fn mirror() -> Server {
    Server::start(|mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let (body, trailers) = body_of(&mut stream, &head);
            let words: Vec<&str> = head.split(' ').collect();
            let method = words[0];
            let fields = format!("HTTP/1.1 200 OK\r\nX-Method: {method}\r\n");
            let answer = match words[1] {
                "/length" => [format!("{fields}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat(),
                "/chunked" if method == "HEAD" => format!("{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
                "/chunked" => {
                    let mut answer = format!("{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                    for piece in body.chunks(10_000) {
                        answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                        answer.extend_from_slice(piece);
                        answer.extend_from_slice(b"\r\n");
                    }
                    [&answer, &b"0\r\n"[..], trailers.as_bytes(), b"\r\n"].concat()
                }
                "/close" => [format!("{fields}\r\n").as_bytes(), &body].concat(),
                "/none" => format!("HTTP/1.1 204 No Content\r\nX-Method: {method}\r\n\r\n").into_bytes(),
                path => panic!("{path}"),
            };
            if stream.write_all(&answer).is_err() || words[1] == "/close" {
                return;
            }
        }
    })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

#[test]
fn bodies_and_trailers_arrive_whole_between_clients_of_http_1_and_servers_over_any_steps() {
    let server = mirror();
    for steps in 0..=2 {
        let chain = Chain::of(steps, &server);
        for path in ["/length", "/chunked", "/close", "/none"] {
            for (framing, size) in [("none", 0), ("length", 0), ("length", 11), ("length", 5 << 20), ("chunked", 0), ("chunked", 5 << 20)] {
                let what = format!("{steps} steps, {path}, request {framing} of {size}");
                let body = pattern(size);
                let mut client = connect(chain.front);
                let mut writer = client.try_clone().unwrap();
                let sent = body.clone();
                let head = format!("{} {path} HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n", if framing == "none" { "GET" } else { "POST" });
                let writing = std::thread::spawn(move || match framing {
                    "none" => writer.write_all(format!("{head}\r\n").as_bytes()),
                    "length" => writer.write_all(&[format!("{head}Content-Length: {size}\r\n\r\n").as_bytes(), &sent].concat()),
                    _ => {
                        writer.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
                        for piece in sent.chunks(100_000) {
                            writer.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())?;
                        }
                        writer.write_all(b"0\r\nX-Sum: 42\r\n\r\n")
                    }
                });
                let head = read_head(&mut client);
                let (got, trailers) = match path {
                    "/close" if length(&head).is_none() && !head.to_ascii_lowercase().contains("chunked") => {
                        let mut rest = Vec::new();
                        client.read_to_end(&mut rest).unwrap();
                        (rest, String::new())
                    }
                    _ => body_of(&mut client, &head),
                };
                writing.join().unwrap().unwrap();
                let (expected, expected_status) = if path == "/none" { (Vec::new(), "204") } else { (body, "200") };
                assert_eq!(status(&head), expected_status, "{what}: {head}");
                assert!(got == expected, "{what}: {} bytes", got.len());
                if path == "/chunked" && framing == "chunked" {
                    assert_eq!(trailers.to_ascii_lowercase(), "x-sum: 42\r\n", "{what}");
                }
            }
        }
        let mut client = connect(chain.front);
        for path in ["/length", "/chunked", "/none", "/length"] {
            client.write_all(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
            let head = read_head(&mut client);
            assert!(head.to_ascii_lowercase().contains("x-method: head"), "{steps} steps, HEAD {path}: {head}");
        }
        let mut old = connect(chain.front);
        old.write_all(b"GET /length HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(status(&read_head(&mut old)), "200", "{steps} steps, HTTP/1.0 without a host");
    }
}

#[test]
fn curl_is_served_over_any_steps() {
    let server = mirror();
    for steps in 0..=1 {
        let chain = Chain::of(steps, &server);
        let curl = |arguments: &[&str], path: &str, body: &[u8]| {
            let url = format!("http://{}{path}", chain.front);
            let mut command = Command::new("curl");
            command
                .args(["-s", "--max-time", "60", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}"])
                .args(arguments)
                .arg(url);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let (mut stdin, body) = (child.stdin.take().unwrap(), body.to_vec());
            let writing = std::thread::spawn(move || stdin.write_all(&body));
            let output = child.wait_with_output().unwrap();
            let _ = writing.join().unwrap();
            output.stdout
        };
        let large = pattern(5 << 20);
        for path in ["/length", "/chunked", "/close"] {
            for arguments in [&["-T", "-"][..], &["--data-binary", "@-"]] {
                let got = curl(arguments, path, &large);
                assert!(got == [&large[..], b"2 200"].concat(), "{steps} steps, {path}, {arguments:?}: {} bytes", got.len());
            }
            assert_eq!(curl(&[], path, b""), b"2 200", "{steps} steps, {path}");
        }
        assert_eq!(curl(&[], "/none", b""), b"2 204");
        let head = String::from_utf8(curl(&["-I"], "/length", b"")).unwrap();
        assert!(head.starts_with("HTTP/2 200") && head.contains("x-method: HEAD") && head.contains("content-length: 0"), "{head}");
    }
}

#[test]
fn interim_responses_pass_over_any_steps() {
    for steps in 0..=2 {
        let server = Server::start(|mut stream| {
            let head = read_head(&mut stream);
            assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").unwrap();
            let (body, _) = body_of(&mut stream, &head);
            stream.write_all(ok(&String::from_utf8(body).unwrap()).as_bytes()).unwrap();
        });
        let chain = Chain::of(steps, &server);
        let mut client = connect(chain.front);
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n").unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 100 "), "{steps} steps");
        let hints = read_head(&mut client);
        assert!(hints.starts_with("HTTP/1.1 103 ") && hints.to_ascii_lowercase().contains("link: </a>"), "{steps} steps: {hints}");
        client.write_all(b"0123456789").unwrap();
        let head = read_head(&mut client);
        assert_eq!(body_of(&mut client, &head).0, b"0123456789", "{steps} steps");
    }
}

/// A server of HTTP/1 that says its name to whoever opens a tunnel, and returns what comes.
fn tunnels() -> Server {
    Server::start(|mut stream| {
        let head = read_head(&mut stream);
        let answer = if head.starts_with("CONNECT h:1 ") {
            "HTTP/1.1 200 Connected\r\n\r\n".to_owned()
        } else {
            let lower = head.to_ascii_lowercase();
            assert!(
                head.starts_with("GET /chat ") && lower.contains("upgrade: websocket") && lower.contains("connection: upgrade"),
                "{head}"
            );
            assert!(lower.contains("sec-websocket-key: "), "{head}");
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n".to_owned()
        };
        stream.write_all(answer.as_bytes()).unwrap();
        echo("early", stream);
    })
}

#[test]
fn websockets_and_tunnels_pass_over_any_steps() {
    let server = tunnels();
    let websocket = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for steps in 0..=2 {
        let chain = Chain::of(steps, &server);
        for (request, expected) in [(websocket, "101"), ("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "200")] {
            let mut client = connect(chain.front);
            client.write_all(request.as_bytes()).unwrap();
            let head = read_head(&mut client);
            assert_eq!(status(&head), expected, "{steps} steps: {head}");
            if steps > 0 && expected == "101" {
                assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{steps} steps: {head}");
            }
            assert_eq!(read(&mut client, 5), "early", "{steps} steps");
            for _ in 0..20 {
                client.write_all(&[b'x'; 10_000]).unwrap();
                assert_eq!(read(&mut client, 10_000), "x".repeat(10_000), "{steps} steps");
            }
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty());
        }
        let opening: [(&str, Vec<(&str, &str)>); 2] = [
            (
                "websocket",
                vec![
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "http"),
                    (":authority", "h"),
                    (":path", "/chat"),
                    ("sec-websocket-version", "13"),
                ],
            ),
            ("tunnel", vec![(":method", "CONNECT"), (":authority", "h:1")]),
        ];
        for (what, fields) in opening {
            let mut peer = Peer::connect(chain.front);
            peer.send(&headers(1, END_HEADERS, &fields));
            assert_eq!(peer.status(), 200, "{steps} steps, {what}");
            peer.send(&frame(DATA, 0, 1, b"ping"));
            let mut got = Vec::new();
            while got.len() < 9 {
                got.extend(peer.until(DATA).payload);
            }
            assert_eq!(got, b"earlyping", "{steps} steps, {what}");
            peer.send(&frame(DATA, END_STREAM, 1, b"last"));
            assert_eq!(peer.body(1), b"last", "{steps} steps, {what}");
        }
    }
}
