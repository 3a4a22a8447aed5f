//! The page of statistics on the doors of clients, and what one file of HAProxy's makes both programs log and count.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::kit::{Daemon, Haproxy, connect, unused_address};
use crate::log::{moody, receiver};

const SITE: &str = r#"
global
    log TARGET local0
    log-tag edge
    nbthread 1

defaults
    mode http
    log global
    timeout connect 2s
    timeout client  30s
    timeout server  30s
    log-format "%ft %b/%s %ST %tsc %{+Q}r #%B"

frontend web
    bind WEB
    stats enable
    stats uri /stats
    stats realm "a realm"
    stats auth admin:secret
    stats refresh 5s
    http-request deny if { path /deny }
    default_backend app

backend app
    stats uri /behind
    stats hide-version
    http-request deny if { path /refused }
    http-request set-var(txn.never) int(1) if { path /never }
    http-response deny if { var(txn.never) -m found }
    server s1 SERVER
"#;

/// Sends a request and returns its answer.
fn ask(address: SocketAddr, path: &str, fields: &str) -> String {
    let mut client = connect(address);
    write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns what of an answer both programs agree on: the status, and fields with these names.
fn gist(answer: &str, fields: &[&str]) -> Vec<String> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let mut lines: Vec<String> = vec![head.split(' ').nth(1).unwrap_or_default().to_owned()];
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        let name = name.to_ascii_lowercase();
        if fields.contains(&name.as_str()) {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines.sort();
    lines
}

#[test]
fn page_is_where_haproxy_has_it_and_for_whom() {
    let server = moody();
    let [our_web, their_web] = std::array::from_fn(|_| unused_address());
    let (our_log, their_log) = (receiver(), receiver());
    let site = |web: SocketAddr, target: SocketAddr| {
        let site = SITE.replace("WEB", &web.to_string()).replace("TARGET", &target.to_string());
        site.replace("SERVER", &server.address().to_string())
    };
    let _daemon = Daemon::start_haproxy(&site(our_web, our_log.local_addr().unwrap()));
    let _process = Haproxy::find().start(&site(their_web, their_log.local_addr().unwrap()), their_web);
    let line = |log: &std::net::UdpSocket| loop {
        let mut packet = [0; 2000];
        let count = log.recv(&mut packet).unwrap();
        let text = String::from_utf8_lossy(&packet[..count]).into_owned();
        let (header, line) = text.split_once("]: ").unwrap();
        if let Some((line, _)) = line.rsplit_once('#') {
            break (header.rsplit_once('[').unwrap().0.rsplit(' ').next().unwrap().to_owned(), line.to_owned());
        }
    };
    let admin = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";
    let cases = [
        ("/stats", ""),
        ("/stats", "Authorization: Basic YWRtaW46d3Jvbmc=\r\n"),
        ("/stats", admin),
        ("/stats;csv", admin),
        ("/stats;norefresh", admin),
        ("/statistics", ""),
        ("/behind", ""),
        ("/deny", ""),
        ("/refused", ""),
        ("/never", ""),
        ("/", ""),
    ];
    for (path, fields) in cases {
        let (ours, theirs) = (ask(our_web, path, fields), ask(their_web, path, fields));
        let names = ["www-authenticate", "refresh", "cache-control"];
        assert_eq!(gist(&ours, &names), gist(&theirs, &names), "{path} {fields}\n{ours}\n{theirs}");
        let (tag, our_line) = line(&our_log);
        // HAProxy logs 400 where its answer says 401.
        let our_line = our_line.replace("<STATS> 401", "<STATS> 400");
        assert_eq!((tag, our_line), line(&their_log), "{path} {fields}");
    }
    let [ours, theirs] = [our_web, their_web].map(|web| ask(web, "/stats;csv", admin));
    for (row, name) in
        [("web,FRONTEND", "dreq"), ("app,BACKEND", "dreq"), ("web,FRONTEND", "dresp"), ("app,BACKEND", "dresp"), ("app,s1", "dresp")]
    {
        let cell = |table: &str| {
            let body = table.split_once("\r\n\r\n").unwrap().1;
            let place = body
                .lines()
                .find(|line| line.starts_with("# "))
                .unwrap()
                .trim_start_matches("# ")
                .split(',')
                .position(|column| column == name);
            body.lines().find(|line| line.starts_with(row)).unwrap().split(',').nth(place.unwrap()).unwrap().to_owned()
        };
        assert_eq!(cell(&ours), cell(&theirs), "{row} {name}");
        assert_ne!(cell(&ours), "0", "{row} {name}");
    }
    let page = ask(our_web, "/behind", "");
    assert!(page.contains("<td>app<td>s1") && page.contains("href=\"/behind;csv\"") && page.contains("<title>l7d</title>"), "{page}");
}
