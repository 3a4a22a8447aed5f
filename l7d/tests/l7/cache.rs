//! Caches: what is kept, for whom and how long, beside Debian's haproxy; and what operators see of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::http::{ask, read_head};
use crate::kit::{Daemon, PATIENCE, Server, connect, directory, unused_address};
use crate::twins::Twins;

/// A server that answers with the fields that the request wants, its status, and as long a body.
fn origin() -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let server = Server::start(move |mut stream| {
        let head = read_head(&mut stream);
        if head.is_empty() {
            return;
        }
        counter.fetch_add(1, Ordering::SeqCst);
        let wanted = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let wanted = |name: &str| wanted(name).or_else(|| wanted(&name.to_lowercase()));
        let fields: String =
            wanted("X-Say").unwrap_or_default().split('|').filter(|field| !field.is_empty()).map(|field| format!("{field}\r\n")).collect();
        let status = wanted("X-Status").unwrap_or("200");
        let body = "x".repeat(wanted("X-Length").map_or(5, |length| length.parse().unwrap()));
        let start = format!("HTTP/1.1 {status} Fine\r\n{fields}Connection: close\r\n");
        let no_body = head.starts_with("HEAD");
        let answer = match wanted("X-Frame") {
            Some("chunked") => format!("{start}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
            Some("trailer") => format!("{start}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-T: 1\r\n\r\n", body.len()),
            Some("close") => format!("{start}\r\n{body}"),
            Some("short") => format!("{start}Content-Length: {}\r\n\r\n{body}", body.len() + 1),
            _ if no_body => format!("{start}Content-Length: {}\r\n\r\n", body.len()),
            _ => format!("{start}Content-Length: {}\r\n\r\n{body}", body.len()),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    (server, count)
}

const PROXIES: &str = "defaults\n mode http\n log global\n log-format \"%b/%s %ST %tsc %HM %HP\"\n timeout client 30s\n timeout server 30s\n timeout connect 2s\n\
    cache plain\n total-max-size 4\n max-age 240\n\
    cache varying\n total-max-size 4\n process-vary on\n max-secondary-entries 3\n\
    frontend f\n bind @DOOR@\n compression algo gzip\n compression type text/html\n\
     http-after-response set-header X-Cache \"%[res.cache_hit] %[res.cache_name]\"\n\
     http-after-response set-header X-Aged %[res.hdr(age),div(10)] if { res.hdr(age) -m found }\n http-after-response del-header age\n\
     http-request cache-use plain if { path_beg /front }\n http-response cache-store plain if { res.hdr(x-front) -m found }\n\
     use_backend v if { path_beg /vary }\n default_backend b\n\
    backend b\n http-request cache-use plain\n http-response set-header X-Before 1\n http-response cache-store plain\n \
     http-response set-header X-Behind 1\n filter cache plain\n filter compression\n server s @SERVER@\n\
    backend v\n http-request set-path %[path,regsub(/rewritten,,)]\n http-request cache-use varying\n http-response cache-store varying\n server s @SERVER@\n";

const TWICE: &[(&str, &str)] = &[("GET", ""), ("GET", "")];

const FRESH: &[(&str, &[(&str, &str)])] = &[
    ("X-Say: Cache-Control: max-age=100", TWICE),
    ("X-Say: Cache-Control: max-age=\"100\"", TWICE),
    ("X-Say: Cache-Control: max-age=many|ETag: \"x\"", TWICE),
    ("X-Say: X: 1", TWICE),
    ("X-Say: ETag: \"x\"", TWICE),
    ("X-Say: Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", TWICE),
    ("X-Say: Expires: Mon, 01 Jan 2034 00:00:00 GMT", TWICE),
    ("X-Say: Expires: Mon, 01 Jan 2004 00:00:00 GMT|ETag: \"x\"", TWICE),
    ("X-Say: Expires: 0|ETag: \"x\"", TWICE),
    ("X-Say: Cache-Control: no-cache|ETag: \"x\"", TWICE),
    ("X-Say: Cache-Control: no-store, max-age=100", TWICE),
    ("X-Say: Cache-Control: private, max-age=100", TWICE),
    ("X-Say: Cache-Control: must-revalidate, max-age=100", TWICE),
    ("X-Say: Cache-Control: s-maxage=0, max-age=100", TWICE),
    ("X-Say: Cache-Control: max-age=0|ETag: \"x\"", TWICE),
    ("X-Say: Cache-Control: s-maxage=100, max-age=0", TWICE),
    ("X-Say: Cache-Control: no-cache=\"Set-Cookie\", max-age=100|Set-Cookie: a=b", TWICE),
    ("X-Say: Cache-Control: max-age=100|Set-Cookie: a=b", TWICE),
    ("X-Say: Cache-Control: max-age=100|Pragma: no-cache", TWICE),
    ("X-Say: Cache-Control: max-age=100|Age: 130", TWICE),
    ("X-Say: Cache-Control: max-age=100|Vary: Referer", TWICE),
    ("X-Say: Cache-Control: max-age=100\r\nX-Status: 404", TWICE),
    ("X-Say: Cache-Control: max-age=100\r\nX-Status: 203", TWICE),
    ("X-Say: Cache-Control: max-age=100|Location: /\r\nX-Status: 301", TWICE),
    ("X-Say: Cache-Control: max-age=100\r\nX-Frame: chunked", TWICE),
    ("X-Say: Cache-Control: max-age=100\r\nX-Length: 0", TWICE),
    ("X-Say: Cache-Control: max-age=100\r\nX-Length: 16000", TWICE),
    ("X-Say: Cache-Control: max-age=100\r\nX-Length: 16384", TWICE),
    ("X-Say: Cache-Control: max-age=100|Content-Type: text/html\r\nX-Length: 3000", TWICE),
];

const ASKED: &[(&str, &[(&str, &str)])] = &[
    (
        "X-Say: Cache-Control: public, max-age=100",
        &[("GET", "Authorization: Basic eA==\r\n"), ("GET", ""), ("GET", "Authorization: Basic eA==\r\n"), ("GET", "")],
    ),
    (
        "X-Say: Cache-Control: max-age=100",
        &[("GET", "Cache-Control: no-cache\r\n"), ("GET", ""), ("GET", "Cache-Control: no-cache\r\n"), ("GET", "")],
    ),
    (
        "X-Say: Cache-Control: max-age=100",
        &[("GET", "Cache-Control: no-store\r\n"), ("GET", ""), ("GET", "Cache-Control: no-store\r\n"), ("GET", "")],
    ),
    (
        "X-Say: Cache-Control: max-age=100",
        &[("GET", "Cache-Control: max-age=0\r\n"), ("GET", ""), ("GET", "Cache-Control: max-age=10\r\n")],
    ),
    (
        "X-Say: Cache-Control: max-age=100",
        &[
            ("GET", "Pragma: no-cache\r\n"),
            ("GET", ""),
            ("GET", "Pragma: no-cache\r\n"),
            ("GET", "Pragma: no-cache\r\nCache-Control: x\r\n"),
        ],
    ),
    ("X-Say: Cache-Control: max-age=100", &[("HEAD", ""), ("GET", ""), ("HEAD", ""), ("GET", "")]),
    (
        "X-Say: Cache-Control: max-age=100",
        &[("POST", "Content-Length: 0\r\n"), ("GET", ""), ("GET", ""), ("POST", "Content-Length: 0\r\n"), ("GET", "")],
    ),
    (
        "X-Say: Cache-Control: max-age=100",
        &[("GET", ""), ("DELETE", ""), ("GET", ""), ("OPTIONS", ""), ("GET", ""), ("PUT", "Content-Length: 0\r\n"), ("GET", "")],
    ),
    (
        "X-Say: Cache-Control: max-age=100",
        &[("GET", ""), ("PATCH", "X-Status: 404\r\nContent-Length: 0\r\n"), ("GET", ""), ("FOO", "X-Status: 302\r\n"), ("GET", "")],
    ),
    ("X-Say: Cache-Control: max-age=100", &[("GET", "Content-Length: 0\r\n"), ("GET", ""), ("GET", "Content-Length: 0\r\n")]),
    (
        "X-Say: Cache-Control: max-age=100|ETag: \"x\"",
        &[
            ("GET", ""),
            ("GET", "If-None-Match: \"x\"\r\n"),
            ("GET", "If-None-Match: W/\"x\"\r\n"),
            ("GET", "If-None-Match: \"y\"\r\n"),
            ("GET", "If-None-Match: \"y\", \"x\"\r\n"),
            ("GET", "If-None-Match: *\r\n"),
            ("HEAD", "If-None-Match: \"x\"\r\n"),
            ("GET", "If-None-Match: \"y\"\r\nIf-Modified-Since: Mon, 01 Jan 2034 00:00:00 GMT\r\n"),
        ],
    ),
    ("X-Say: Cache-Control: max-age=100|ETag: W/\"x\"", &[("GET", ""), ("GET", "If-None-Match: \"x\"\r\n")]),
    ("X-Say: Cache-Control: max-age=100", &[("GET", ""), ("GET", "If-None-Match: \"x\"\r\n"), ("GET", "If-None-Match: *\r\n")]),
    (
        "X-Say: Cache-Control: max-age=100|Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT",
        &[
            ("GET", ""),
            ("GET", "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n"),
            ("GET", "If-Modified-Since: Mon, 01 Jan 2023 00:00:00 GMT\r\n"),
            ("GET", "If-Modified-Since: Monday, 01-Jan-24 00:00:00 GMT\r\n"),
            ("GET", "If-Modified-Since: soon\r\n"),
        ],
    ),
    (
        "X-Say: Cache-Control: max-age=100|Date: Mon, 01 Jan 2024 00:00:00 GMT",
        &[
            ("GET", ""),
            ("GET", "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n"),
            ("GET", "If-Modified-Since: Mon, 01 Jan 2023 00:00:00 GMT\r\n"),
        ],
    ),
    ("X-Say: Cache-Control: max-age=100", &[("GET", ""), ("GET", "Range: bytes=0-1\r\n")]),
];

const VARYING: &[(&str, &[(&str, &str)])] = &[
    (
        "X-Say: Cache-Control: max-age=100|Vary: Accept-Encoding",
        &[("GET", "Accept-Encoding: gzip\r\n"), ("GET", "Accept-Encoding: br\r\n"), ("GET", "")],
    ),
    (
        "X-Say: Cache-Control: max-age=100|Vary: accept-encoding|Content-Encoding: gzip",
        &[
            ("GET", "Accept-Encoding: gzip\r\n"),
            ("GET", "Accept-Encoding: gzip, br\r\n"),
            ("GET", ""),
            ("GET", "Accept-Encoding: gzip;q=0\r\n"),
            ("GET", "Accept-Encoding: *\r\n"),
        ],
    ),
    (
        "X-Say: Cache-Control: max-age=100|Vary: Accept-Encoding|Content-Encoding: junk",
        &[("GET", "Accept-Encoding: junk\r\n"), ("GET", "Accept-Encoding: junk\r\n")],
    ),
    ("X-Say: Cache-Control: max-age=100|Vary: Origin", TWICE),
    ("X-Say: Cache-Control: max-age=100|Vary: *", TWICE),
    (
        "X-Say: Cache-Control: max-age=100|Vary: Referer, Accept-Encoding",
        &[("GET", "Referer: a\r\n"), ("GET", "Referer: a\r\n"), ("GET", "Referer: b\r\n")],
    ),
    ("X-Say: Cache-Control: max-age=100", TWICE),
];

/// Where haproxy does otherwise, whether a cache answers.
const OURS: &[(&str, &[(&str, bool)])] = &[
    (
        "X-Say: Cache-Control: max-age=100|Vary: Referer",
        &[("Referer: a", false), ("Referer: a", true), ("Referer: b", false), ("Referer: b", true), ("Referer: a", true), ("X: 1", false)],
    ),
    ("X-Say: Cache-Control: max-age=1000|Age: 230", &[("X: 1", false), ("X: 1", true)]),
    ("X-Say: Cache-Control: max-age=100|Age: young", &[("X: 1", false), ("X: 1", false)]),
    ("X-Say: Cache-Control: max-age=100\r\nX-Frame: close", &[("X: 1", false), ("X: 1", false)]),
    (
        "X-Say: Cache-Control: max-age=100|Content-Type: text/html\r\nX-Length: 3000",
        &[("Accept-Encoding: gzip", false), ("X: 1", true), ("Accept-Encoding: gzip", true)],
    ),
];

/// Asks both for the same targets; of each a few requests come one after the other, of a method and with fields beside those all have.
fn compare(twins: &Twins, prefix: &str, cases: &[(&str, &[(&str, &str)])]) {
    for (number, (say, asks)) in cases.iter().enumerate() {
        for (method, fields) in *asks {
            twins.compare(&format!("{method} {prefix}{number} HTTP/1.1\r\nHost: h\r\n{say}\r\n{fields}Connection: close\r\n\r\n"));
        }
    }
}

fn twins() -> (Twins, Server) {
    let (server, _) = origin();
    let config = format!("global\n log @LOG@ local0\n nbthread 1\n{PROXIES}").replace("@SERVER@", &server.address().to_string());
    (Twins::start(&config), server)
}

#[test]
fn answers_are_kept_as_haproxy_keeps_them() {
    let (twins, _server) = twins();
    compare(&twins, "/fresh/", FRESH);
    compare(&twins, "/asked/", ASKED);
    compare(&twins, "/front/", &FRESH[..2]);
    let front = &[("X-Say: X-Front: 1|Cache-Control: max-age=100", &[("GET", ""), ("GET", ""), ("HEAD", "")][..])];
    compare(&twins, "/front/kept/", front);
}

#[test]
fn answers_that_differ_are_kept_as_haproxy_keeps_them() {
    let (twins, _server) = twins();
    compare(&twins, "/vary/", VARYING);
    compare(&twins, "/vary/rewritten", &VARYING[7..]);
    // The version, the host and the query count.
    let say = "X-Say: Cache-Control: max-age=100\r\n";
    for (target, version, host) in [
        ("/vary/a", "1.0", "h"),
        ("/vary/a", "1.1", "h"),
        ("/vary/a", "1.1", "h"),
        ("/vary/a", "1.0", "h"),
        ("/vary/a", "1.1", "other"),
        ("/vary/a?b", "1.1", "h"),
    ] {
        twins.compare(&format!("GET {target} HTTP/{version}\r\nHost: {host}\r\n{say}Connection: close\r\n\r\n"));
    }
}

#[test]
fn answers_are_kept_where_haproxy_does_otherwise() {
    let (twins, _server) = twins();
    for (number, (say, asks)) in OURS.iter().enumerate() {
        for (fields, expected) in *asks {
            let (answer, _) =
                twins.ours.ask(&format!("GET /vary/{number} HTTP/1.1\r\nHost: h\r\n{say}\r\n{fields}\r\nConnection: close\r\n\r\n"));
            assert_eq!(answer.contains(&"x-cache:1 varying".to_owned()), *expected, "{say} {fields} {answer:?}");
            let is_packed = answer.contains(&"content-encoding:gzip".to_owned());
            assert_eq!(is_packed, fields.contains("gzip"), "{answer:?}");
            if say.contains("Age: 230") {
                assert!(answer.contains(&"x-aged:23".to_owned()), "{answer:?}");
            }
        }
    }
}

fn command(socket: &std::path::Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Returns a value of a row of the statistics.
fn value(table: &str, row: &str, column: &str) -> String {
    let mut lines = table.lines();
    let place = lines.next().unwrap().trim_start_matches("# ").split(',').position(|name| name == column).unwrap();
    let line = lines.find(|line| line.starts_with(row)).unwrap();
    line.split(',').nth(place).unwrap().to_owned()
}

fn toml(front: std::net::SocketAddr, server: std::net::SocketAddr, socket: &std::path::Path, cache: &str) -> String {
    format!(
        "[global.stats-socket]\npath = '{}'\nlevel = 'admin'\n[cache.small]\n{cache}[defaults]\nmode = 'http'\n\
         timeout = {{ connect = '5s', client = '30s', server = '30s' }}\n[frontend.front]\nbind = ['{front}']\ndefault-backend = 'back'\n\
         [backend.back]\nrules = ['http-request cache-use small', 'http-response cache-store small', 'filter cache small']\nserver.s1 = '{server}'\n",
        socket.display()
    )
}

/// Asks for a target and returns the head of the answer.
fn get(front: std::net::SocketAddr, target: &str, fields: &str) -> String {
    let (head, _) =
        ask(&mut connect(front), &format!("GET {target} HTTP/1.1\r\nHost: h\r\nX-Say: Cache-Control: max-age=100\r\n{fields}\r\n"));
    head
}

#[test]
fn a_cache_is_seen_on_the_socket_and_outlives_a_reload() {
    let ((server, count), front, directory) = (origin(), unused_address(), directory());
    let socket = directory.join("l7d.sock");
    let config = toml(front, server.address(), &socket, "total-max-size = '1m'\nmax-object-size = '64k'\nmax-age = '100s'\n");
    let daemon = Daemon::start(&config);
    for _ in 0..3 {
        get(front, "/a", "");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let shown = command(&socket, "show cache");
    let mut lines = shown.lines();
    let first = lines.next().unwrap();
    assert!(first.contains(": small (shctx:0x") && first.ends_with("available blocks:1024)"), "{shown}");
    let entry = lines.next().unwrap();
    assert!(
        entry.contains(" hash:") && entry.contains(" vary:0x0000000000000000 size:") && entry.contains("(1 blocks), refcount:"),
        "{shown}"
    );
    for (row, expected) in [("back,BACKEND", ["3", "2"]), ("front,FRONTEND", ["0", "0"])] {
        // An exchange is counted once its client has the answer.
        let end = Instant::now() + PATIENCE;
        loop {
            let table = command(&socket, "show stat");
            let found = [value(&table, row, "cache_lookups"), value(&table, row, "cache_hits")];
            if found == expected {
                break;
            }
            assert!(Instant::now() < end, "{row} {found:?}");
        }
    }
    daemon.reload(&format!("{config}# once more\n"));
    get(front, "/a", "");
    assert_eq!(count.load(Ordering::SeqCst), 1, "what is kept outlives a reload");
    daemon.reload(&config.replace("100s", "90s"));
    get(front, "/a", "");
    assert_eq!(count.load(Ordering::SeqCst), 2, "a cache that was changed begins anew");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_cache_takes_no_more_room_than_it_has() {
    let ((server, count), front, directory) = (origin(), unused_address(), directory());
    let socket = directory.join("l7d.sock");
    let _daemon = Daemon::start(&toml(front, server.address(), &socket, "total-max-size = '1m'\nmax-object-size = '64k'\n"));
    for number in 0..40 {
        get(front, &format!("/{number}"), "X-Length: 60000\r\n");
    }
    assert_eq!(count.load(Ordering::SeqCst), 40);
    let shown = command(&socket, "show cache");
    let size: usize = shown.lines().filter_map(|line| line.split("size:").nth(1)?.split(' ').next()?.parse::<usize>().ok()).sum();
    assert!(size > 200_000 && size <= 1 << 20, "{shown}");
    // What is cut off is not kept, and neither is what has trailers.
    for frame in ["short", "trailer"] {
        for _ in 0..2 {
            let mut client = connect(front);
            let request = format!(
                "GET /{frame} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Say: Cache-Control: max-age=100\r\nX-Frame: {frame}\r\n\r\n"
            );
            client.write_all(request.as_bytes()).unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 44);
    std::fs::remove_dir_all(&directory).unwrap();
}
