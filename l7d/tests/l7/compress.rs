//! Compression: the same responses are compressed as by Debian's haproxy, to the same content and with the same fields.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};

use crate::http::read_head;
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, unused_address};

const TEXT: &str = "all work and no play makes a dull body; ";

/// What the server says by path: its fields, and what is special about it.
const RESPONSES: [(&str, &str); 24] = [
    ("/html", "Content-Type: text/html; charset=utf-8\r\n"),
    ("/capitals", "Content-Type: TEXT/HTML\r\n"),
    ("/json", "Content-Type: application/json\r\n"),
    ("/longer", "Content-Type: text/htmlx\r\n"),
    ("/multipart", "Content-Type: multipart/mixed\r\n"),
    ("/none", ""),
    ("/strong", "ETag: \"a\"\r\n"),
    ("/weak", "ETag: W/\"a\"\r\n"),
    ("/notag", "ETag: a\r\n"),
    ("/tags", "ETag: \"a\"\r\nETag: \"b\"\r\n"),
    ("/vary", "Vary: Cookie\r\n"),
    ("/notransform", "Cache-Control: max-age=3, no-transform\r\n"),
    ("/encoded", "Content-Encoding: br\r\n"),
    ("/identity", "Content-Encoding: identity\r\n"),
    ("/ranges", "Accept-Ranges: bytes\r\n"),
    ("/201", ""),
    ("/203", ""),
    ("/206", "Content-Range: bytes 0-1/3\r\n"),
    ("/404", ""),
    ("/chunked", ""),
    ("/close", ""),
    ("/old", ""),
    ("/empty", ""),
    ("/short", ""),
];

fn origin() -> Server {
    Server::start(|mut stream| {
        let head = read_head(&mut stream);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let fields = RESPONSES.iter().find(|(known, _)| *known == path).map_or("", |(_, fields)| *fields);
        let status = path.get(1..).filter(|status| status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or("200");
        let version = if path == "/old" { "1.0" } else { "1.1" };
        let body = match path {
            "/empty" => String::new(),
            "/short" => "x".to_owned(),
            _ => TEXT.repeat(3000),
        };
        let asked = if head.to_lowercase().contains("accept-encoding") { "yes" } else { "no" };
        let start = format!("HTTP/{version} {status} Fine\r\n{fields}X-Asked: {asked}\r\n");
        let answer = match path {
            "/chunked" => format!("{start}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Trailer: 1\r\n\r\n", body.len()),
            "/close" => format!("{start}\r\n{body}"),
            _ if head.starts_with("HEAD") => format!("{start}Content-Length: {}\r\n\r\n", body.len()),
            _ => format!("{start}Content-Length: {}\r\n\r\n{body}", body.len()),
        };
        let _ = stream.write_all(answer.as_bytes());
    })
}

/// Settings of frontend and backend, as haproxy and as we write them.
struct Case {
    frontend: [&'static str; 2],
    backend: [&'static str; 2],
}

const CASES: [Case; 6] = [
    Case { frontend: ["", ""], backend: ["compression algo gzip", "{ algo = 'gzip' }"] },
    Case {
        frontend: ["", ""],
        backend: [
            "compression algo deflate gzip\n compression type text/html application/json\n compression offload",
            "{ algo = ['deflate', 'gzip'], type = ['text/html', 'application/json'], offload = true }",
        ],
    },
    Case { frontend: ["", ""], backend: ["compression algo raw-deflate", "{ algo = 'raw-deflate' }"] },
    Case { frontend: ["", ""], backend: ["compression algo identity", "{ algo = 'identity' }"] },
    Case {
        frontend: ["compression algo gzip\n compression type text/html", "{ algo = 'gzip', type = 'text/html' }"],
        backend: ["compression type application/json", "{ type = 'application/json' }"],
    },
    Case { frontend: ["compression algo gzip", "{ algo = 'gzip' }"], backend: ["compression algo deflate", "{ algo = 'deflate' }"] },
];

fn toml(front: SocketAddr, server: &str, case: &Case) -> String {
    let key = |text: &str| if text.is_empty() { String::new() } else { format!("compression = {text}\n") };
    format!(
        "[defaults]\nmode = 'http'\ntimeout = {{ connect = '5s', client = '30s', server = '30s' }}\n[frontend.front]\nbind = ['{front}']\n\
         default-backend = 'back'\n{}[backend.back]\n{}server.s1 = {server}\n",
        key(case.frontend[1]),
        key(case.backend[1])
    )
}

fn cfg(front: SocketAddr, server: SocketAddr, case: &Case) -> String {
    format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\nfrontend front\n bind {front}\n \
         default_backend back\n {}\nbackend back\n {}\n server s1 {server}\n",
        case.frontend[0], case.backend[0]
    )
}

/// Sends a request that ends its connection and returns the fields of the answer, its content as it was sent first, and its trailers.
fn fetch(address: SocketAddr, request: &str) -> (Vec<String>, String) {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).unwrap();
    let head = read_head(&mut client);
    let mut lines: Vec<String> = head.trim_end().lines().map(str::to_lowercase).collect();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    if lines.iter().any(|line| line == "transfer-encoding: chunked") && !request.starts_with("HEAD") {
        let (body, trailers) = joined(&rest);
        rest = body;
        lines.push(trailers);
    }
    // haproxy goes on with the version of the server; what that means for the connection is the same.
    lines[0] = lines[0].replace("http/1.0", "http/1.1");
    lines.retain(|line| line != "connection: close");
    lines[1..].sort();
    let coding = lines.iter().find_map(|line| line.strip_prefix("content-encoding: ")).map(str::to_owned);
    (lines, decoded(coding.as_deref(), &rest))
}

fn joined(mut bytes: &[u8]) -> (Vec<u8>, String) {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        bytes.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        if size == 0 {
            return (body, String::from_utf8(bytes.to_vec()).unwrap().to_lowercase());
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

fn decoded(coding: Option<&str>, bytes: &[u8]) -> String {
    let mut text = Vec::new();
    match coding {
        Some("gzip") if !bytes.is_empty() => GzDecoder::new(bytes).read_to_end(&mut text),
        Some("deflate") if bytes.starts_with(b"x") => ZlibDecoder::new(bytes).read_to_end(&mut text),
        Some("deflate") => DeflateDecoder::new(bytes).read_to_end(&mut text),
        _ => {
            text = bytes.to_vec();
            Ok(0)
        }
    }
    .unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn responses_are_compressed_as_by_debian_haproxy() {
    let origin = origin();
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n");
    let asks = [
        "Accept-Encoding: gzip\r\n",
        "",
        "Accept-Encoding: gzip;q=0\r\n",
        "Accept-Encoding: br, *\r\n",
        "Accept-Encoding: *;q=0\r\n",
        "Accept-Encoding: deflate\r\n",
        "Accept-Encoding: GZIP\r\n",
        "Accept-Encoding: x-gzip\r\n",
        "Accept-Encoding: deflate, gzip\r\n",
        "Accept-Encoding: gzip;q=0.5, deflate; q=0.4\r\n",
        "Accept-Encoding: gzip;q=0.3\r\nAccept-Encoding: deflate;q=0.35\r\n",
        "Accept-Encoding: identity;q=1, gzip;q=0.5\r\n",
        "Accept-Encoding: gzip\r\nUser-Agent: Mozilla/4.0\r\n",
        "Accept-Encoding: gzip\r\nUser-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows)\r\n",
        "Accept-Encoding: gzip\r\nUser-Agent: Mozilla/4.0 (compatible; MSIE 7.0; Windows)\r\n",
    ];
    for case in CASES {
        let (ours, theirs, spoken) = (unused_address(), unused_address(), unused_address());
        let _spoken = Daemon::start_haproxy(&cfg(spoken, origin.address(), &case));
        let _daemon = Daemon::start(&toml(ours, &format!("'{}'", origin.address()), &case));
        let _peer = Haproxy::find().start(&cfg(theirs, origin.address(), &case), theirs);
        let mut requests: Vec<String> = RESPONSES.iter().map(|(path, _)| get(path, "Accept-Encoding: gzip, deflate\r\n")).collect();
        requests.extend(asks.iter().map(|fields| get("/html", fields)));
        requests.push(get("/html", "Accept-Encoding: gzip\r\n").replace("GET", "HEAD"));
        requests.push(get("/html", "Accept-Encoding: gzip\r\n").replace("HTTP/1.1", "HTTP/1.0"));
        for request in requests {
            let theirs = fetch(theirs, &request);
            assert_eq!(fetch(ours, &request), theirs, "{} {}: {request:?}", case.frontend[0], case.backend[0]);
            assert_eq!(fetch(spoken, &request), theirs, "{} {}: {request:?}", case.frontend[0], case.backend[0]);
        }
    }
}

#[test]
fn what_is_said_slowly_arrives_slowly() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .unwrap();
        // The second word is said when the first was heard.
        let mut heard = [0];
        let _ = stream.read(&mut heard);
        let _ = stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n");
    });
    let front = unused_address();
    let case = Case { frontend: ["", ""], backend: ["", "{ algo = 'gzip' }"] };
    let _daemon = Daemon::start(&toml(front, &format!("'{}'", server.address()), &case));
    let mut client = connect(front);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nContent-Length: 1\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let answer = read_head(&mut client);
    assert!(answer.to_lowercase().contains("content-encoding: gzip"), "{answer}");
    let mut reader = GzDecoder::new(Chunks(BufReader::new(client.try_clone().unwrap()), 0));
    let mut word = [0; 5];
    reader.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"first");
    client.write_all(b"x").unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second");
}

/// The content of chunks as they come, and what is left of the one at hand.
struct Chunks(BufReader<TcpStream>, usize);

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            self.1 = usize::from_str_radix(line.trim(), 16).unwrap();
            if self.1 == 0 {
                return Ok(0);
            }
        }
        let most = out.len().min(self.1);
        let count = self.0.read(&mut out[..most])?;
        self.1 -= count;
        if self.1 == 0 {
            self.0.read_exact(&mut [0; 2])?;
        }
        Ok(count)
    }
}

#[test]
fn content_is_compressed_between_all_versions() {
    let origin = origin();
    let plain = unused_address();
    let case = Case { frontend: ["", ""], backend: ["", "{ algo = 'gzip', minsize-res = '1k' }"] };
    let _inner = Daemon::start(&toml(plain, &format!("'{}'", origin.address()), &Case { frontend: ["", ""], backend: ["", ""] }));
    let fronts = [unused_address(), unused_address()];
    let _h1 = Daemon::start(&toml(fronts[0], &format!("'{plain}'"), &case));
    let _h2 = Daemon::start(&toml(fronts[1], &format!("{{ address = '{plain}', proto = 'h2' }}"), &case));
    for front in fronts {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            for (path, is_compressed) in [("/html", true), ("/chunked", true), ("/short", false)] {
                let limit = PATIENCE.as_secs().to_string();
                let url = format!("http://{front}{path}");
                let arguments = ["-s", "-D", "-", "--compressed", "-H", "Accept-Encoding: gzip", version, "--max-time", &limit, &url];
                let output = std::process::Command::new("curl").args(arguments).output().unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                let expected = if path == "/short" { "x".to_owned() } else { TEXT.repeat(3000) };
                // Behind it curl shows the trailers.
                assert!(body.starts_with(&expected), "{version} {path}: {head}");
                let head = head.to_lowercase();
                assert_eq!(head.contains("content-encoding: gzip"), is_compressed, "{version} {path}: {head}");
                assert_eq!(head.contains("content-length: "), !is_compressed, "{version} {path}: {head}");
            }
        }
    }
}

#[test]
fn memory_stays_flat_while_much_is_compressed() {
    let server = Server::start(|mut stream| {
        read_head(&mut stream);
        let length = 12 << 20;
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        let block = TEXT.as_bytes().repeat(65_536 / TEXT.len() + 1);
        let mut left = length;
        while left > 0 {
            let count = left.min(block.len());
            if stream.write_all(&block[..count]).is_err() {
                return;
            }
            left -= count;
        }
    });
    let front = unused_address();
    let case = Case { frontend: ["", ""], backend: ["", "{ algo = 'gzip' }"] };
    let daemon = Daemon::start(&toml(front, &format!("'{}'", server.address()), &case));
    let before = daemon.resident();
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").unwrap();
    let head = read_head(&mut client);
    assert!(head.to_lowercase().contains("content-encoding: gzip"), "{head}");
    let mut reader = GzDecoder::new(Chunks(BufReader::new(client), 0));
    let count = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!(count, 12 << 20);
    let grown = daemon.resident_peak().saturating_sub(before);
    assert!(grown < 6 << 10, "{grown} KiB more");
}
