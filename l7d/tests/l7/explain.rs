//! Why traffic goes where it goes: the same way is told as real traffic takes, from a file and from the process, and nothing changes by that.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

use crate::certs::Authority;
use crate::http::{ask, server};
use crate::kit::{Daemon, PATIENCE, connect, directory, unused_address};
use crate::tables::tell;

struct Place {
    directory: PathBuf,
    file: PathBuf,
}

impl Place {
    fn new(text: &str) -> Self {
        let directory = directory();
        let file = directory.join("lb.cfg");
        std::fs::write(&file, text).expect("a directory of our own");
        Self { directory, file }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
        command.arg("explain").arg("-f").arg(&self.file).args(arguments).output().expect("the program runs")
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[arguments, &["--json"]].concat())).expect("JSON")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const RULES: &str = "defaults
 mode http
 timeout connect 2s
 timeout client 30s
 timeout server 30s
frontend web
 bind 127.0.0.1:8080
 acl is_api path_beg /api/
 acl is_bad src 192.0.2.0/24
 http-request deny deny_status 429 if is_bad
 http-request set-var(txn.user) req.hdr(x-user),lower
 http-request redirect location /new if { path /old }
 use_backend api if is_api { var(txn.user) -m str ann }
 use_backend none if { path /none }
 default_backend www
backend api
 balance uri
 http-request set-header X-User %[var(txn.user)]
 server a1 127.0.0.1:8001
 server a2 127.0.0.1:8002
backend www
 server w1 127.0.0.1:8003 weight 3 maxconn 7
 server w2 127.0.0.1:8004 backup
 server w3 127.0.0.1:8005 disabled
backend none
 server n1 127.0.0.1:8006 disabled
";

#[test]
fn every_rule_is_told_with_its_line_its_values_and_what_came_of_it() {
    let place = Place::new(RULES);
    let file = place.file.display();
    let text = place.text(&["--path", "/api/x?y=1", "--header", "X-User: Ann", "--src", "198.51.100.7:1000"]);
    let expected = format!(
        "GET http://localhost/api/x?y=1 from 198.51.100.7:1000 to frontend web\n\n\
         frontend web\n  {file}:10: http-request deny deny_status 429 if is_bad\n      src is \"198.51.100.7\"\n      \
         no: src 192.0.2.0/24\n      no: acl is_bad\n      -> does not apply\n  \
         {file}:11: http-request set-var(txn.user) req.hdr(x-user),lower\n      req.hdr(x-user),lower is \"ann\"\n      -> applies: goes on\n  \
         {file}:12: http-request redirect location /new if {{ path /old }}\n      path is \"/api/x\"\n      no: path /old\n      -> does not apply\n  \
         {file}:13: use_backend api if is_api {{ var(txn.user) -m str ann }}\n      path is \"/api/x\"\n      yes: path_beg /api/\n      yes: acl is_api\n      \
         var(txn.user) is \"ann\"\n      yes: var(txn.user) -m str ann\n      -> applies\n\n\
         backend api\n  {file}:18: http-request set-header X-User %[var(txn.user)]\n      var(txn.user) is \"ann\"\n      -> applies: goes on\n\n\
         backend api, balance uri by the key "
    );
    assert!(text.starts_with(&expected), "{text}\n---\n{expected}");
    assert!(text.contains("up, weight 1, 0 connections; chosen\n") && text.contains("; the key belongs to another one\n"), "{text}");
}

#[test]
fn what_becomes_of_requests_is_told() {
    let place = Place::new(RULES);
    let cases: &[(&[&str], &str, &[&str])] = &[
        (&["--src", "192.0.2.9"], "answered with status 429 by a rule (termination state PR)", &["-> applies: denied with status 429"]),
        (&["--path", "/old"], "answered with status 302 by a rule (termination state LR)", &["-> applies: answered with status 302"]),
        (
            &["--path", "/", "--host", "shop.example"],
            "backend www, balance roundrobin",
            &[
                "-> w1 127.0.0.1:8003: up, weight 3, 0 of 7 connections; chosen",
                "   w2 127.0.0.1:8004: a backup, and others are there",
                "   w3 127.0.0.1:8005: taken out by an administrator",
            ],
        ),
        (&["--path", "/none"], "answered with status 503: no server is available", &["n1 127.0.0.1:8006: taken out by an administrator"]),
    ];
    for (arguments, outcome, lines) in cases {
        let text = place.text(arguments);
        assert!(text.contains(outcome), "{arguments:?}: {outcome}\n{text}");
        for line in *lines {
            assert!(text.contains(line), "{arguments:?}: {line}\n{text}");
        }
    }
    let json = place.json(&["--path", "/"]);
    assert_eq!(json["outcome"]["server"], "w1");
    assert_eq!(json["outcome"]["servers"][0]["chosen"], true);
    assert_eq!(json["rules"][0]["line"], 10);
    assert_eq!(json["rules"][0]["notes"][0]["fetch"], "src");
    assert_eq!(json["rules"][1]["applied"], true);
}

#[test]
fn a_response_is_taken_through_its_rules() {
    let place = Place::new(
        "defaults
 mode http
 timeout connect 2s
 timeout client 30s
 timeout server 30s
frontend web
 bind 127.0.0.1:8080
 http-response set-header X-Server %[srv_name]
 http-response deny deny_status 502 if { res.hdr(x-leak) -m found }
 http-after-response set-header X-After %[status]
 default_backend app
backend app
 http-response set-status 418 if { status 404 }
 server a1 127.0.0.1:8001
",
    );
    let file = place.file.display();
    let text = place.text(&["--status", "404", "--response-header", "Content-Type: text/plain"]);
    for expected in [
        &format!(
            "response of backend app\n  {file}:13: http-response set-status 418 if {{ status 404 }}\n      status is \"404\"\n      yes: status 404\n      \
             -> applies: goes on\n"
        ),
        &format!("response of frontend web\n  {file}:8: http-response set-header X-Server %[srv_name]\n      srv_name is \"a1\"\n"),
        &format!("  {file}:9: http-response deny deny_status 502 if {{ res.hdr(x-leak) -m found }}\n      res.hdr(x-leak) has no value\n"),
        &format!("  {file}:10: http-after-response set-header X-After %[status]\n      status is \"418\"\n"),
        "the client gets status 418\n  Content-Type: text/plain\n  X-Server: a1\n  X-After: 418\n",
    ] {
        assert!(text.contains(expected), "{expected}\n---\n{text}");
    }
    let text = place.text(&["--response-header", "X-Leak: 1"]);
    assert!(text.contains("the client gets status 502 by a rule instead (termination state PH)\n"), "{text}");
    let json = place.json(&["--status", "200"]);
    assert_eq!(json["outcome"]["response"]["status"], 200);
    assert_eq!(json["outcome"]["response"]["fields"][0], "X-Server: a1");
    assert!(place.json(&[])["outcome"]["response"].is_null(), "nothing is told of what was not asked");
    for (arguments, message) in [(["--status", "700"], "700 is not in 200..600"), (["--response-header", "X"], "the response is invalid")] {
        let output = place.run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(message), "{error}");
    }
}

#[test]
fn a_certificate_of_the_client_is_asked_as_if_it_had_been_shown() {
    let authority = Authority::new();
    let (door, client) = (authority.pem(&["door.test"]), authority.issue(&["ann.test"]));
    let text = |bind: &str| {
        format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nfrontend web\n bind 127.0.0.1:8443{bind}\n \
             use_backend ann if {{ ssl_c_s_dn(cn) ann.test }}\n use_backend known if {{ ssl_c_used }}\n default_backend other\n\
             backend ann\n server s 127.0.0.1:8001\nbackend known\n server s 127.0.0.1:8001\nbackend other\n server s 127.0.0.1:8001\n"
        )
    };
    let bind = format!(" ssl crt {} verify optional ca-file {}", door.display(), authority.root().display());
    let place = Place::new(&text(&bind));
    let shown = place.text(&["--cert", client.certificate.to_str().unwrap()]);
    assert!(shown.contains("ssl_c_s_dn(cn) is \"ann.test\"\n") && shown.contains("\nbackend ann, "), "{shown}");
    let other = place.text(&["--cert", authority.root().to_str().unwrap()]);
    assert!(other.contains("ssl_c_s_dn(cn) is \"authority\"\n") && other.contains("\nbackend known, "), "{other}");
    let none = place.text(&["--sni", "door.test"]);
    assert!(none.contains("ssl_c_s_dn(cn) has no value\n") && none.contains("\nbackend other, "), "{none}");
    let refused = |place: &Place, file: &std::path::Path, message: &str| {
        let output = place.run(&["--cert", file.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(message), "{error}");
    };
    refused(&Place::new(&text("")), &client.certificate, "a certificate is shown where TLS is spoken");
    // A key is no certificate.
    refused(&place, &client.key, "certificate");
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let place = Place::new(RULES);
    let cases: &[(&[&str], &str)] = &[
        (&["--frontend", "shop"], "no frontend `shop`: there are web"),
        (&["--src", "nowhere"], "`nowhere` is no address"),
        (&["--path", "no slash"], "the request is invalid"),
        (&["--header", "no colon"], "the request is invalid"),
        (&["--cert", "/nonexistent"], "/nonexistent"),
    ];
    for (arguments, message) in cases {
        let output = place.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(message), "{arguments:?}: {error}");
    }
    let two = Place::new(&format!("{RULES}frontend other\n bind 127.0.0.1:8081\n default_backend www\n"));
    let output = two.run(&[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--frontend says which is meant: web, other"));
    let output = Place::new("frontend\n").run(&[]);
    assert!(!output.status.success() && !output.stderr.is_empty());
}

#[test]
fn names_of_tls_lead_to_backends() {
    let place = Place::new(
        "defaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind 127.0.0.1:8443\n tcp-request inspect-delay 1s\n tcp-request content reject if { req.ssl_sni -m end .bad }\n \
         use_backend shop if { req.ssl_sni shop.example }\n default_backend other\n\
         backend shop\n server s1 127.0.0.1:8001\nbackend other\n server o1 127.0.0.1:8002\n",
    );
    for (name, outcome) in [
        ("shop.example", "backend shop, balance roundrobin"),
        ("else.example", "backend other, balance roundrobin"),
        ("very.bad", "closed by a rule without an answer"),
    ] {
        let text = place.text(&["--sni", name]);
        assert!(text.contains(outcome) && text.contains(&format!("req.ssl_sni is {name:?}")), "{name}: {text}");
    }
}

#[test]
fn the_process_answers_with_its_tables_and_servers_and_changes_nothing() {
    let (front, directory) = (unused_address(), directory());
    let path = directory.join("s");
    let (socket, path) = (path.display().to_string(), &*path);
    let servers = ["s1", "s2"].map(|name| server(move |_: &str, _: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{name}")).0);
    let [first, second] = servers.each_ref().map(|server| server.address());
    let daemon = Daemon::start_haproxy(&format!(
        "global\n nbthread 1\n stats socket {socket} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {front}\n http-request track-sc0 src table seen\n http-request set-var(proc.last) path\n \
         http-request deny if {{ sc_http_req_cnt(0) gt 2 }}\n default_backend back\n\
         backend back\n server s1 {first}\n server s2 {second}\n\
         backend seen\n stick-table type ip size 100 expire 1h store http_req_cnt\n"
    ));
    let get = || ask(&mut connect(front), "GET /real HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").1;
    let explain = || tell(path, "explain --path /thought --src 127.0.0.1");
    let chosen = |text: &str| text.lines().find_map(|line| line.trim().strip_prefix("-> s")).map(|rest| format!("s{}", &rest[..1]));
    for _ in 0..3 {
        assert!(explain().contains("table seen does not have 127.0.0.1"), "{}", explain());
    }
    let foreseen = chosen(&explain());
    assert_eq!(Some(get()), foreseen, "the server that was foreseen");
    let text = explain();
    assert!(text.contains("table seen has 127.0.0.1: http_req_cnt=1") && text.contains("sc_http_req_cnt(0) is \"2\""), "{text}");
    assert!(tell(path, "show table seen").contains("http_req_cnt=1"), "explaining counts nothing");
    assert_ne!(chosen(&text), foreseen, "it is the other one's turn");
    get();
    assert!(explain().contains("answered with status 403 by a rule"), "{}", explain());
    // An entry is kept while the last request's connection still holds it.
    let end = Instant::now() + PATIENCE;
    while tell(path, "show table seen").contains("key=") {
        assert!(Instant::now() < end, "the entry stays");
        tell(path, "clear table seen");
    }
    tell(path, "disable server back/s1");
    let text = explain();
    assert!(text.contains(&format!("s1 {first}: taken out by an administrator")) && chosen(&text).as_deref() == Some("s2"), "{text}");
    assert!(tell(path, "explain --frontend nobody").contains("no frontend `nobody`: there are front"));
    assert!(tell(path, "explain --nonsense").contains("unexpected argument '--nonsense'"));
    let json: Value = serde_json::from_str(&tell(path, "explain --json")).expect("JSON");
    assert_eq!(json["outcome"]["server"], "s2");
    drop(daemon);
    let _ = std::fs::remove_dir_all(directory);
}
