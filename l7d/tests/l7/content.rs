//! Rules about connections, their first bytes, and every answer that goes out; beside Debian's haproxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use crate::http::{ok, server};
use crate::kit::{Daemon, Haproxy, Server, connect, is_at_end, read, refusal, unused_address};
use crate::rules::{Site, converse, mirror};
use crate::sni::{self, client_hello};

/// Says something, and returns what comes back until the end.
fn say(address: SocketAddr, parts: &[&[u8]]) -> String {
    let mut client = connect(address);
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = client.write_all(part);
    }
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    answer
}

fn as_bytes(config: &str) -> String {
    config.replace("mode = \"http\"", "mode = \"tcp\"").replace(" mode http", " mode tcp")
}

const PASSTHROUGH: [&str; 14] = [
    "tcp-request inspect-delay 20s",
    "tcp-request content set-var(sess.sni) req.ssl_sni if { req.ssl_hello_type 1 }",
    "tcp-request content reject if { var(sess.sni) -m str -i bad.example }",
    "tcp-request content reject if { req.ssl_ver gt 3.3 } or { req.ssl_ver 3.0 }",
    "tcp-request content accept if { req_ssl_hello_type 1 }",
    "tcp-request content reject if { req.payload(0,3) -m bin 424144 }",
    "tcp-request content reject if { req.payload_lv(0,2) -m str no }",
    "tcp-request content reject if HTTP { path_beg /deny }",
    "tcp-request content accept if HTTP",
    "tcp-request content accept if RDP_COOKIE",
    "tcp-request content accept if { req.len gt 40 }",
    "use_backend other if { req_ssl_sni -i b.example } or { req.ssl_sni -m end .b.example }",
    "use_backend other if { method POST } or { hdr(host) -i two }",
    "use_backend other if { rdp_cookie(mstshash) -m beg adm }",
];

#[test]
fn first_bytes_choose_and_refuse_as_haproxys_do() {
    let haproxy = Haproxy::find();
    let servers = [sni::server("one"), sni::server("two")];
    let addresses = [servers[0].address(), servers[1].address()];
    let site = Site { rules: &PASSTHROUGH, ..Site::default() };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&as_bytes(&site.toml(ours, addresses)));
    let _peer = haproxy.start(&as_bytes(&site.cfg(theirs, addresses)), theirs);
    let hello = |name: &str| client_hello(name);
    let (a, b, bad) = (hello("a.example"), hello("B.example"), hello("bad.example"));
    let rdp = |cookie: &str| [&[3, 0, 0, 40, 35, 0xe0, 0, 0, 0, 0, 0][..], format!("Cookie: {cookie}\r\n").as_bytes()].concat();
    let rdp = [rdp("mstshash=admin"), rdp("mstshash=x"), rdp("other=adm")];
    let mut future = hello("a.example");
    future[10] = 9;
    let cases: [(&str, &[&[u8]]); 20] = [
        ("a name", &[&a]),
        ("another name", &[&b]),
        ("a name below", &[&hello("x.b.example")]),
        ("a name that is refused", &[&bad]),
        ("a version that is refused", &[&future]),
        ("in pieces", &[&b[..3], &b[3..40], &b[40..]]),
        ("half a message", &[&b[..60]]),
        ("bytes that are refused", &[b"BAD bytes"]),
        ("and in pieces", &[b"B", b"A", b"D bytes"]),
        ("a measured text that is refused", &[b"\0\x02no more"]),
        ("a measured text", &[b"\0\x02yes"]),
        ("a request", &[b"GET / HTTP/1.1\r\nHost: one\r\n\r\n"]),
        ("a request to another host", &[b"GET / HTTP/1.1\r\nHost: two\r\n\r\n"]),
        ("a request with another method", &[b"POST / HT", b"TP/1.1\r\nHost: one\r\n\r\n"]),
        ("a request that is refused", &[b"GET /deny/x HTTP/1.1\r\nHost: one\r\n\r\n"]),
        ("a cookie of RDP", &[&rdp[0]]),
        ("another", &[&rdp[1]]),
        ("one of another name", &[&rdp[2]]),
        ("long and unknown", &[&[b'x'; 50]]),
        ("nothing", &[]),
    ];
    for (description, parts) in cases {
        assert_eq!(say(ours, parts), say(theirs, parts), "{description}");
    }
    assert!(say(ours, &[&b]).starts_with("two") && say(ours, &[&a]).starts_with("one") && say(ours, &[&bad]).is_empty());
}

#[test]
fn who_waits_for_bytes_that_do_not_come_is_served_in_the_end() {
    let (one, two) = (Server::echo("one"), Server::echo("two"));
    let front = unused_address();
    let rules = [
        "tcp-request inspect-delay 300ms",
        "tcp-request content accept if { src 127.0.0.2 }",
        "tcp-request content reject if { req.len gt 4 }",
        "tcp-request content accept if WAIT_END",
    ];
    let site = Site { rules: &rules, ..Site::default() };
    let _daemon = Daemon::start(&as_bytes(&site.toml(front, [one.address(), two.address()])));
    let start = Instant::now();
    assert_eq!(read(&mut connect(front), 3), "one", "the server speaks first");
    assert!(start.elapsed() >= Duration::from_millis(300));
    let mut client = connect(front);
    client.write_all(b"too much").unwrap();
    assert!(is_at_end(&mut client));
}

#[test]
fn a_rule_that_needs_no_bytes_waits_for_none() {
    let (one, two) = (Server::echo("one"), Server::echo("two"));
    let front = unused_address();
    let rules =
        ["tcp-request inspect-delay 20m", "tcp-request content accept if { src 127.0.0.1 }", "tcp-request content accept if WAIT_END"];
    let site = Site { rules: &rules, backend_rules: &["tcp-request content set-var(sess.x) src"], ..Site::default() };
    let _daemon = Daemon::start(&as_bytes(&site.toml(front, [one.address(), two.address()])));
    assert_eq!(read(&mut connect(front), 3), "one");
}

#[test]
fn rules_about_sessions_and_content_come_before_those_about_requests() {
    let haproxy = Haproxy::find();
    let servers = [mirror("one"), mirror("two")];
    let addresses = [servers[0].address(), servers[1].address()];
    let rules = [
        "http-request set-header X-Seen %[var(sess.a)],%[var(sess.b)],%[var(txn.c)]",
        "http-request deny if { path /late }",
        "tcp-request content reject if { path_beg /reject }",
        "tcp-request content set-var(txn.c) path,length",
        "tcp-request session set-var(sess.b) src",
        "tcp-request connection set-var(sess.a) src,ipmask(8)",
        "use_backend other if { path_beg /two }",
    ];
    let backend_rules = ["tcp-request content reject if { path_end /inner }", "http-request set-header X-In 1"];
    let site = Site { rules: &rules, backend_rules: &backend_rules, ..Site::default() };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&site.toml(ours, addresses));
    let _peer = haproxy.start(&site.cfg(theirs, addresses), theirs);
    for path in ["/", "/two", "/late"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(converse(ours, &request), converse(theirs, &request), "{path}");
    }
    for path in ["/reject", "/inner"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(say(ours, &[request.as_bytes()]), say(theirs, &[request.as_bytes()]), "{path}");
    }
}

#[test]
fn every_answer_goes_through_the_last_rules() {
    let haproxy = Haproxy::find();
    let (one, _) = server(|head, _| if head.contains("/broken") { "nonsense\r\n\r\n".to_owned() } else { ok("one") });
    let closed = unused_address();
    let rules = [
        "http-request deny if { path /deny }",
        "http-request redirect location /x if { path /go }",
        "http-request return status 200 content-type a/b string x if { path /own }",
        "http-response deny if { res.hdr(content-length) 3 } { var(txn.path) -m str /late }",
        "http-request set-var(txn.path) path",
        "http-after-response set-header X-Always %[status]",
        "http-after-response set-header X-Path %[var(txn.path)] if { var(txn.path) -m found }",
        "http-after-response del-header Cache-Control",
        "http-after-response set-status 418 if { status 502 }",
        "http-after-response allow if { status 200 }",
        "http-after-response add-header X-Bad 1",
        "use_backend other if { path /down }",
    ];
    let site = Site { rules: &rules, backend_rules: &["http-after-response set-header X-Back 1"], ..Site::default() };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&site.toml(ours, [one.address(), closed]));
    let _peer = haproxy.start(&site.cfg(theirs, [one.address(), closed]), theirs);
    for path in ["/", "/deny", "/go", "/own", "/late", "/down", "/broken"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!(converse(ours, &request), converse(theirs, &request), "{path}");
    }
    assert_eq!(converse(ours, "G(T / HTTP/1.1\r\n\r\n"), converse(theirs, "G(T / HTTP/1.1\r\n\r\n"));
}

#[test]
fn how_busy_everything_is_decides_as_at_haproxys() {
    let haproxy = Haproxy::find();
    let servers = [mirror("one"), mirror("two")];
    let addresses = [servers[0].address(), servers[1].address()];
    let rules = [
        "http-request set-header X-State \"%[nbsrv(back)]|%[nbsrv(other)]|%[be_conn(back)]|%[queue(back)]|%[fe_conn]\"",
        "http-request set-header X-Server \"%[srv_conn(back/s1)]|%[srv_queue(back/s1)]\"",
        "http-request deny deny_status 503 if { path /dead } { nbsrv(other) lt 1 }",
        "use_backend other if { nbsrv(other) ge 1 }",
    ];
    let backend_rules = ["http-request set-header X-Here \"%[nbsrv]|%[queue]|%[be_conn]\""];
    let site = Site { rules: &rules, backend_rules: &backend_rules, ..Site::default() };
    let (ours, theirs) = (unused_address(), unused_address());
    let toml = site.toml(ours, addresses).replace(
        &format!("[backend.other]\nserver = {{ s1 = \"{}\" }}", addresses[1]),
        &format!("[backend.other]\nserver = {{ s1 = {{ address = \"{}\", weight = 0 }} }}", addresses[1]),
    );
    let _daemon = Daemon::start(&toml);
    let cfg = site.cfg(theirs, addresses).replace(&format!("server s1 {}", addresses[1]), &format!("server s1 {} weight 0", addresses[1]));
    let _peer = haproxy.start(&cfg, theirs);
    for path in ["/", "/dead"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(converse(ours, &request), converse(theirs, &request), "{path}");
    }
    let unknown = Site { rules: &["http-request deny if { nbsrv(bakc) lt 1 }"], ..Site::default() };
    assert!(refusal(&unknown.toml(unused_address(), addresses)).contains("no backend `bakc`"));
}
