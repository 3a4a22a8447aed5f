//! HTTP/3 to clients: what goes through, what is refused, and how connections end (RFC 9114).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::certs::Authority;
use crate::h3_client::*;
use crate::http::{hello, ok, read_head, server};
use crate::kit::{Daemon, Server, read, refusal, unused_address};

/// Returns a configuration with one frontend of HTTP/3.
pub(crate) fn site(front: SocketAddr, authority: &Authority, (words, lines): (&str, &str), server: SocketAddr) -> String {
    let pem = authority.pem(&["a.test"]);
    format!(
        "global\n nbthread 2\n log stderr format raw local0\ndefaults\n mode http\n log global\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         option httplog\n\
         frontend front\n bind quic4@{front} ssl crt {} {words}\n{lines}\n default_backend back\nbackend back\n server s {server}\n",
        pem.display()
    )
}

pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path)]
}

fn with(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    headers(&[&request(method, "/x")[..], more].concat())
}

pub(crate) fn answer(heard: Heard) -> Answer {
    let Heard::Answer(answer) = heard else { panic!("{heard:?}") };
    answer
}

const NO_ERROR: u64 = 0x100;
const INTERNAL_ERROR: u64 = 0x102;
const STREAM_CREATION_ERROR: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const FRAME_ERROR: u64 = 0x106;
const SETTINGS_ERROR: u64 = 0x109;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_INCOMPLETE: u64 = 0x10d;
const MESSAGE_ERROR: u64 = 0x10e;
const DECOMPRESSION_FAILED: u64 = 0x200;

#[test]
fn request_goes_through_rules_and_log() {
    let (authority, front) = (Authority::new(), unused_address());
    let (server, seen) = hello();
    let lines = " http-request set-header x-v %[fc_http_major]:%[req.ver]:%[ssl_fc]:%[ssl_fc_alpn]:%[ssl_fc_protocol]:%[ssl_fc_sni]:%[dst_port]:%[quic_enabled]\n \
                 http-request deny if { path /no }\n http-request return status 200 content-type text/plain string mine if { path /mine }\n \
                 http-response set-header alt-svc 'h3=\":443\"'";
    let daemon = Daemon::start_haproxy(&site(front, &authority, ("alpn h3", lines), server.address()));
    let client = Client::connect(front, &authority);
    let got = client.get("/a?b=c");
    assert_eq!((got.status(), got.text().as_str()), (200, "hello"));
    assert_eq!(got.field("alt-svc"), Some("h3=\":443\""));
    let head = seen.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\nhost: a.test\r\n"), "{head}");
    assert!(head.contains(&format!("x-v: 3:3.0:1:h3:TLSv1.3:a.test:{}:1\r\n", front.port())), "{head}");
    let line = daemon.wait_for_log("\"GET https://a.test/a?b=c HTTP/3.0\"");
    assert!(line.contains("front~ back/s") && line.contains(" 200 ") && line.contains(" ---- "), "{line}");
    assert_eq!(client.get("/no").status(), 403);
    assert!(daemon.wait_for_log("https://a.test/no HTTP/3.0").contains(" PR-- "));
    let mine = client.get("/mine");
    assert_eq!((mine.status(), mine.text().as_str()), (200, "mine"));
    let head = answer(client.ask(&headers(&request("HEAD", "/x"))));
    assert_eq!((head.status(), head.field("content-length"), head.body.len()), (200, Some("5"), 0));
}

#[test]
fn bodies_go_both_ways_and_wait_for_who_takes_them() {
    let (authority, front) = (Authority::new(), unused_address());
    // Returns what it gets, in chunks with a trailer if it came in chunks.
    let server = Server::start(|mut stream| {
        loop {
            let head = read_head(&mut stream).to_lowercase();
            if head.is_empty() {
                return;
            }
            if head.contains("expect: 100-continue") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            let chunked = head.contains("transfer-encoding: chunked");
            let (mut body, mut trailer) = (Vec::new(), String::new());
            if chunked {
                loop {
                    let line = read_line(&mut stream);
                    let length = usize::from_str_radix(&line, 16).unwrap();
                    if length == 0 {
                        break;
                    }
                    let mut chunk = vec![0; length + 2];
                    stream.read_exact(&mut chunk).unwrap();
                    body.extend_from_slice(&chunk[..length]);
                }
                loop {
                    let line = read_line(&mut stream);
                    if line.is_empty() {
                        break;
                    }
                    trailer = line;
                }
            } else {
                body = read(&mut stream, crate::http::length_of(&head)).into_bytes();
            }
            let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {}", body.len()) };
            write!(stream, "HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").unwrap();
            if chunked {
                write!(stream, "{:x}\r\n", body.len()).unwrap();
            }
            stream.write_all(&body).unwrap();
            if chunked {
                write!(stream, "\r\n0\r\n{trailer}\r\n\r\n").unwrap();
            }
        }
    });
    let _daemon = Daemon::start_haproxy(&site(front, &authority, ("", ""), server.address()));
    let client = Client::connect(front, &authority);
    let content: Vec<u8> = (0u32..3_000_000).map(|n| b'a' + u8::try_from(n % 23).unwrap()).collect();
    let length = content.len().to_string();
    let echoed = answer(client.ask(&[with("POST", &[("content-length", &length)]), frame(DATA, &content)].concat()));
    assert_eq!((echoed.status(), echoed.body.len()), (200, content.len()));
    assert!(echoed.body == content);
    let pieces: Vec<u8> = content.chunks(70_000).flat_map(|piece| frame(DATA, piece)).collect();
    let trailers = headers(&[("x-sum", "7")]);
    let echoed = answer(client.ask(&[with("POST", &[("te", "trailers")]), pieces, trailers].concat()));
    assert!(echoed.body == content);
    assert_eq!(echoed.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    let invited = answer(client.ask(&[with("POST", &[("expect", "100-continue"), ("content-length", "2")]), frame(DATA, b"hi")].concat()));
    assert_eq!((invited.statuses, invited.body), (vec![100, 200], b"hi".to_vec()));
    // Side by side, and more than there are windows for.
    let heard = client.runtime.block_on(async {
        let request = [with("POST", &[("content-length", &length)]), frame(DATA, &content)].concat();
        tokio::join!(client.exchange(&request), client.exchange(&request), client.exchange(&request))
    });
    for heard in [heard.0, heard.1, heard.2] {
        assert!(answer(heard).body == content);
    }
}

fn read_line(stream: &mut impl Read) -> String {
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        line.push_str(&read(stream, 1));
    }
    line.trim_end().to_owned()
}

#[test]
fn who_breaks_off_is_told_by_code_and_log() {
    let (authority, front) = (Authority::new(), unused_address());
    let server = Server::start(|mut stream| {
        let head = read_head(&mut stream);
        if head.contains("/cut") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
        } else if head.contains("/early") {
            stream.write_all(ok("enough").as_bytes()).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        } else {
            // Silent until the other side is gone.
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let lines = " timeout http-request 500ms";
    let daemon = Daemon::start_haproxy(&site(front, &authority, ("", lines), server.address()));
    let client = Client::connect(front, &authority);
    assert_eq!(client.ask(&headers(&request("GET", "/cut"))), Heard::Reset(INTERNAL_ERROR));
    assert!(daemon.wait_for_log("/cut HTTP/3.0").contains(" SD-- "));
    // The client does not want the answer any more.
    let (mut send, mut recv) = client.begin(&headers(&request("GET", "/silent")));
    send.finish().unwrap();
    client.rest(Duration::from_millis(100));
    recv.stop(code(0x10c)).unwrap();
    client.rest(Duration::from_millis(100));
    assert!(daemon.wait_for_log("/silent HTTP/3.0").contains(" CH-- "));
    // The client breaks off its request.
    let (mut send, _recv) = client.begin(&headers(&[&request("POST", "/broken")[..], &[("content-length", "10")]].concat()));
    client.rest(Duration::from_millis(100));
    send.reset(code(0x10c)).unwrap();
    client.rest(Duration::from_millis(100));
    let line = daemon.wait_for_log("/broken HTTP/3.0");
    assert!(line.contains(" CD-- ") || line.contains(" CH-- "), "{line}");
    // A head that does not come.
    let (_send, mut recv) = client.begin(&[1, 20, 0]);
    assert_eq!(client.runtime.block_on(client.hear(&mut recv)), Heard::Reset(REQUEST_INCOMPLETE));
    assert!(daemon.wait_for_log("<BADREQ>").contains(" cR-- "));
    // An answer that needs no more of the request.
    let (send, mut recv) = client.begin(&[headers(&request("POST", "/early")), frame(DATA, b"some")].concat());
    assert_eq!(answer(client.runtime.block_on(client.hear(&mut recv))).text(), "enough");
    let stopped = client.runtime.block_on(send.stopped()).unwrap();
    assert_eq!(stopped.map(|code| code.into_inner()), Some(NO_ERROR));
    // None of that has harmed the connection.
    assert_eq!(client.get("/early").status(), 200);
}

#[test]
fn what_no_client_may_say_ends_the_stream_or_the_connection() {
    let (authority, front) = (Authority::new(), unused_address());
    let (server, seen) = hello();
    let _daemon = Daemon::start_haproxy(&site(front, &authority, ("", ""), server.address()));
    let get = headers(&request("GET", "/fine"));
    let long = "x".repeat(20_000);
    let cases = [
        ("content before the head", frame(DATA, b"x"), Heard::Closed(FRAME_UNEXPECTED)),
        ("settings on a request", frame(SETTINGS, &[]), Heard::Closed(FRAME_UNEXPECTED)),
        ("frame of HTTP/2", vec![8, 0], Heard::Closed(FRAME_UNEXPECTED)),
        ("head cut short", get[..10].to_vec(), Heard::Closed(FRAME_ERROR)),
        ("dynamic table", frame(HEADERS, &[0, 0, 0x80]), Heard::Closed(DECOMPRESSION_FAILED)),
        ("nothing", Vec::new(), Heard::Reset(REQUEST_INCOMPLETE)),
        ("no path", headers(&request("GET", "/")[..3]), Heard::Reset(MESSAGE_ERROR)),
        ("path twice", with("GET", &[(":path", "/y")]), Heard::Reset(MESSAGE_ERROR)),
        ("upper case", with("GET", &[("X-A", "1")]), Heard::Reset(MESSAGE_ERROR)),
        ("connection", with("GET", &[("connection", "x")]), Heard::Reset(MESSAGE_ERROR)),
        ("coding", with("POST", &[("transfer-encoding", "chunked")]), Heard::Reset(MESSAGE_ERROR)),
        ("line end in a value", with("GET", &[("a", "b\r\nc: d")]), Heard::Reset(MESSAGE_ERROR)),
        ("two hosts", with("GET", &[("host", "b.test")]), Heard::Reset(MESSAGE_ERROR)),
        ("path that is none", headers(&[&request("GET", "/")[..3], &[(":path", "x")]].concat()), Heard::Reset(MESSAGE_ERROR)),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, wanted) in cases {
        let heard = Client::connect(front, &authority).ask(&bytes);
        if heard != wanted {
            wrong.push(format!("{what}: {heard:?}"));
        }
    }
    for (what, bytes) in [
        ("too long", with("GET", &[("a", &long)])),
        ("less than declared", [with("POST", &[("content-length", "5")]), frame(DATA, b"abc")].concat()),
        ("more than declared", [with("POST", &[("content-length", "2")]), frame(DATA, b"abc")].concat()),
    ] {
        let heard = Client::connect(front, &authority).ask(&bytes);
        let is_refused = match &heard {
            Heard::Answer(answer) => answer.status() == 400,
            Heard::Reset(_) => true,
            Heard::Closed(_) => false,
        };
        if !is_refused {
            wrong.push(format!("{what}: {heard:?}"));
        }
    }
    let controls: [(&str, &[&[u8]], u64); 7] = [
        ("no settings", &[&[0, 7, 1, 0]], MISSING_SETTINGS),
        ("settings twice", &[&[0, 4, 0, 4, 0]], FRAME_UNEXPECTED),
        ("setting of HTTP/2", &[&[0, 4, 2, 2, 0]], SETTINGS_ERROR),
        ("content", &[&[0, 4, 0, 0, 1, 1]], FRAME_UNEXPECTED),
        ("two control streams", &[&[0, 4, 0], &[0, 4, 0]], STREAM_CREATION_ERROR),
        ("push", &[&[1, 0]], STREAM_CREATION_ERROR),
        ("settings without end", &[&[0, 4, 0x80, 1, 0, 0]], FRAME_ERROR),
    ];
    for (what, streams, wanted) in controls {
        let client = Client::try_connect(front, &authority).unwrap();
        let _open: Vec<_> = streams.iter().map(|bytes| client.open(bytes)).collect();
        let heard = client.runtime.block_on(client.closed());
        if heard != Heard::Closed(wanted) {
            wrong.push(format!("{what}: {heard:?}"));
        }
    }
    let client = Client::try_connect(front, &authority).unwrap();
    let mut control = client.open(&[0, 4, 0]);
    control.finish().unwrap();
    assert_eq!(client.runtime.block_on(client.closed()), Heard::Closed(CLOSED_CRITICAL_STREAM));
    // Unknown frames, settings and streams mean nothing.
    let client = Client::try_connect(front, &authority).unwrap();
    let _control = client.open(&[0, 4, 3, 0x21, 0x40, 0x40, 0x21, 2, 9, 9]);
    let _unknown = client.open(&[0x21, 1, 2, 3]);
    let fine = answer(client.ask(&[frame(0x21, b"?"), get, frame(0x21, b"?")].concat()));
    assert_eq!(fine.status(), 200);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let fine = seen.lock().unwrap().iter().filter(|head| head.starts_with("GET /fine")).count();
    assert_eq!(fine, 1, "nothing else has reached the server: {:?}", seen.lock().unwrap());
}

#[test]
fn connection_outlives_a_reload_and_leaves_in_order() {
    let (authority, front) = (Authority::new(), unused_address());
    let ((one, _), (other, _)) = (server(|_, _| ok("one")), server(|_, _| ok("other")));
    let mut daemon = Daemon::start_haproxy(&site(front, &authority, ("", ""), one.address()));
    let client = Client::connect(front, &authority);
    assert_eq!(client.get("/").text(), "one");
    daemon.reload(&site(front, &authority, ("", ""), other.address()));
    assert_eq!(client.get("/").text(), "other");
    assert_eq!(Client::connect(front, &authority).get("/").text(), "other");
    daemon.signal("TERM");
    let (greeting, end) = client.runtime.block_on(async {
        let mut control = client.connection.accept_uni().await.unwrap();
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = control.read_chunk(1000, true).await {
            bytes.extend_from_slice(&chunk.bytes);
        }
        (bytes, client.closed().await)
    });
    assert_eq!(end, Heard::Closed(NO_ERROR));
    assert_eq!(greeting[..2], [0, 4]);
    let mut goaway = &greeting[3 + usize::from(greeting[2])..];
    assert_eq!((number(&mut goaway), number(&mut goaway), number(&mut goaway)), (GOAWAY, 1, 8));
    assert!(daemon.wait().success());
}

#[test]
fn address_is_proven_where_the_bind_wants_it() {
    let (authority, server) = (Authority::new(), hello().0);
    for (words, retries) in [("", false), ("quic-force-retry quic-cc-algo newreno", true)] {
        let front = unused_address();
        let _daemon = Daemon::start_haproxy(&site(front, &authority, (words, ""), server.address()));
        // Another implementation, which tells what it sees.
        let mut client = Command::new("gtlsclient");
        client.args(["--exit-on-all-streams-close", "--timeout=5s", &front.ip().to_string(), &front.port().to_string(), "https://a.test/"]);
        let output = client.output().expect("gtlsclient: `cargo xtask setup` installs ngtcp2-client");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains(":status: 200"), "{said}");
        assert_eq!(said.contains("type=Retry") || said.contains(" Retry"), retries, "{said}");
    }
}

#[test]
fn what_cannot_be_quic_is_refused() {
    let bind = |bind: &str, mode: &str| {
        format!(
            "[defaults]\nmode = \"{mode}\"\ntimeout = {{ connect = \"1s\", client = \"1s\", server = \"1s\" }}\n[frontend.f]\nbind = [{bind}]\n\
             default-backend = \"b\"\n[backend.b]\nserver = {{ s = \"127.0.0.1:1\" }}\n"
        )
    };
    let tls = "tls = { certificates = \"/x.pem\" }";
    for (text, mode, wanted) in [
        ("\"quic4@127.0.0.1:443\"".to_owned(), "http", "QUIC needs TLS"),
        (format!("{{ address = \"quic4@127.0.0.1:443\", {tls} }}"), "tcp", "QUIC carries requests"),
        (format!("{{ address = \"quic4@127.0.0.1:443\", accept-proxy = true, {tls} }}"), "http", "PROXY headers cannot stand before QUIC"),
        (
            "{ address = \"quic4@127.0.0.1:443\", tls = { certificates = \"/x.pem\", alpn = [\"h2\"] } }".to_owned(),
            "http",
            "QUIC carries HTTP/3 only",
        ),
        (
            "{ address = \"quic4@127.0.0.1:443\", tls = { certificates = \"/x.pem\", max = \"1.2\" } }".to_owned(),
            "http",
            "QUIC needs TLS 1.3",
        ),
        ("{ address = \"127.0.0.1:443\", quic-force-retry = true }".to_owned(), "http", "`quic-force-retry` means nothing without QUIC"),
    ] {
        let said = refusal(&bind(&text, mode));
        assert!(said.contains(wanted), "{text}: {said}");
    }
}
