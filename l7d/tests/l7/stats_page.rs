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
    assert!(page.contains("<td>app/s1<td>") && page.contains("href=\"/behind;csv\"") && page.contains("<title>l7d</title>"), "{page}");
}

const SCOPED: &str = r"
defaults
    mode http
    timeout connect 2s
    timeout client  30s
    timeout server  30s

frontend web
    bind WEB
    stats uri /stats
    stats show-legends
    default_backend app

frontend other
    bind OTHER
    stats uri /stats
    stats scope .
    stats scope spare
    default_backend app

backend app
    server s1 SERVER check inter 100
    server s2 NOBODY check inter 100 fall 1
    server s3 SERVER disabled

backend spare
    server s4 SERVER
";

/// Returns the proxy and the name of each row of a table.
fn names(answer: &str) -> Vec<(String, String)> {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let cells = |line: &str| {
        let mut cells = line.split(',').map(str::to_owned);
        Some((cells.next()?, cells.next()?))
    };
    body.lines().filter(|line| !line.starts_with('#')).filter_map(cells).collect()
}

/// Returns a body without the lengths of its chunks, if it has any.
fn joined(head: &str, body: &str) -> String {
    if !head.contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&more[..length]);
        rest = more[length..].trim_start_matches("\r\n");
    }
    whole
}

#[test]
fn what_is_shown_is_chosen_as_in_haproxy() {
    let server = moody();
    let nobody = unused_address();
    let addresses: [[SocketAddr; 2]; 2] = std::array::from_fn(|_| std::array::from_fn(|_| unused_address()));
    let site = |[web, other]: [SocketAddr; 2]| {
        let site = SCOPED.replace("WEB", &web.to_string()).replace("OTHER", &other.to_string());
        site.replace("SERVER", &server.address().to_string()).replace("NOBODY", &nobody.to_string())
    };
    let _daemon = Daemon::start_haproxy(&site(addresses[0]));
    let _process = Haproxy::find().start(&site(addresses[1]), addresses[1][0]);
    for [web, _] in addresses {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let is_settled = |answer: &str| answer.contains("L4CON") && answer.contains("L4OK");
        while !is_settled(&ask(web, "/stats;csv", "")) {
            assert!(std::time::Instant::now() < deadline, "the checks are not over");
        }
    }
    let paths = ["/stats;csv", "/stats;csv;up", "/stats;up;csv", "/stats;csv?scope=ap", "/stats;csv?scope=none"];
    for (door, path) in [0, 1].into_iter().flat_map(|door| paths.map(|path| (door, path))) {
        let [ours, theirs] = addresses.map(|of| names(&ask(of[door], path, "")));
        assert_eq!(ours, theirs, "{path} at door {door}");
    }
    for path in ["/stats;json", "/stats;json?scope=spare"] {
        let shown = |address| {
            let answer = ask(address, path, "");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("application/json"), "{head}");
            let rows: serde_json::Value = serde_json::from_str(&joined(head, body)).unwrap();
            let row = |row: &serde_json::Value| [0, 1].map(|place| row[place]["value"]["value"].as_str().unwrap().to_owned());
            rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(shown(addresses[0][0]), shown(addresses[1][0]), "{path}");
    }
    let page = ask(addresses[0][0], "/stats?scope=app", "");
    assert!(page.contains("<td title=\"addr: ") && page.contains("check desc: Layer4 ") && !page.contains(">spare/"), "{page}");
    assert!(page.contains("class=\"server down\"") && page.contains("name=\"scope\" value=\"app\""), "{page}");
    assert!(page.contains("Content-Security-Policy: default-src 'none'"), "{page}");
    let plain = ask(addresses[0][1], "/stats", "");
    assert!(!plain.contains("title=\"addr") && plain.contains("<td>spare/s4<td>") && !plain.contains("<td>app"), "{plain}");
    let script = ask(addresses[0][0], "/stats?scope=%22%3E<script>", "");
    assert_eq!(script.matches("<script>").count(), 1, "a filter cannot become a tag");
}
