//! Rules that name servers, and rules of defaults.

use std::process::Command;

use crate::http::server;
use crate::kit::{Server, directory};
use crate::twins::Twins;

/// A server that says its name.
fn named(name: &'static str) -> Server {
    let (server, _) = server(move |_, _| format!("HTTP/1.1 200 OK\r\nX-Server: {name}\r\nContent-Length: 2\r\n\r\nok"));
    server
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n")
}

#[test]
fn rules_send_requests_to_the_servers_haproxy_sends_them_to() {
    let servers = [named("a"), named("b"), named("c")];
    let [a, b, c] = [&servers[0], &servers[1], &servers[2]].map(Server::address);
    let config = format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n log-format \"%b/%s %ST %tsc %rc %HP\"\n timeout client 30s\n \
         timeout server 30s\n timeout connect 2s\n retries 0\nfrontend f\n bind @DOOR@\n use_backend cookies if {{ path_beg /cookie }}\n use_backend tied if {{ path_beg /tied }}\n default_backend p\n\
         backend p\n balance first\n use-server down if {{ path_beg /down }}\n use-server c if {{ path_beg /down /c }}\n \
         use-server %[req.hdr(x-server)] if {{ req.hdr(x-server) -m found }}\n use-server b unless {{ path /a }}\n \
         server a {a}\n server b {b} weight 0\n server c {c}\n server down 127.0.0.1:1 disabled\n\
         backend cookies\n balance first\n cookie SRV insert indirect\n use-server c if TRUE\n server a {a} cookie va\n server b {b} cookie vb\n server c {c} cookie vc\n\
         backend tied\n balance first\n stick-table type string size 100\n stick on req.hdr(x-key)\n use-server c if {{ path_end /c }}\n server a {a}\n server b {b}\n server c {c}\n"
    );
    let twins = Twins::start(&config);
    for path in ["/a", "/", "/c", "/down", "/cookie", "/tied/x", "/tied/c"] {
        for fields in ["", "X-Server: a\r\n", "X-Server: nobody\r\n", "X-Server: down\r\n", "Cookie: SRV=va\r\n", "Cookie: SRV=none\r\n"] {
            twins.compare(&get(path, fields));
        }
    }
    // Who is sent somewhere is remembered there, and a rule counts more than what is remembered.
    for (path, key) in [("/tied/c", "one"), ("/tied/x", "one"), ("/tied/x", "two"), ("/tied/c", "two"), ("/tied/x", "two")] {
        twins.compare(&get(path, &format!("X-Key: {key}\r\n")));
    }
}

#[test]
fn rules_of_defaults_hold_first_and_see_their_own_acls() {
    let servers = [named("a"), named("b")];
    let [a, b] = [&servers[0], &servers[1]].map(Server::address);
    let config = "global\n log @LOG@ local0\n nbthread 1\n".to_owned()
        + &format!(
            "defaults front\n mode http\n log global\n log-format \"%b/%s %ST %tsc %HP %hr\"\n timeout client 30s\n acl x path_beg /x\n tcp-request inspect-delay 1s\n \
             tcp-request content set-var(txn.first) str(d)\n http-request set-header X-Order \"%[var(txn.first)]1\"\n http-request deny deny_status 429 if x\n \
             http-request capture req.hdr(host) len 10\n http-request allow if {{ path /allowed }}\n http-response set-header X-From defaults\n\
             http-after-response set-header X-After defaults\n\
             defaults back\n mode http\n timeout server 30s\n timeout connect 2s\n http-request set-header X-Back 1\n http-request deny if {{ path /y }}\n\
             frontend f from front\n bind @DOOR@\n acl x path_beg /never\n http-request deny if {{ path /allowed }}\n http-request set-header X-Order \"%[req.hdr(x-order)]2\"\n \
             http-request return status 200 content-type text/plain lf-string \"%[req.hdr(x-order)]\" if {{ path /order }}\n http-request deny deny_status 404 if x\n \
             http-response set-header X-From \"%[res.hdr(x-from)],own\"\n use_backend q if {{ path_beg /q }}\n default_backend p\n\
             backend p from back\n server a {a}\nbackend q from back\n http-response deny if {{ req.hdr(x-back) 2 }}\n server b {b}\n"
        );
    let twins = Twins::start(&config);
    for path in ["/", "/x/1", "/allowed", "/order", "/never", "/y", "/q", "/q/y"] {
        twins.compare(&get(path, ""));
    }
}

#[test]
fn rules_of_defaults_stand_where_haproxy_lets_them() {
    let base = " mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n";
    let directory = directory();
    let file = directory.join("haproxy.cfg");
    let cases = [
        ("defaults\n@ http-request deny\n", "frontend a\n bind :80\n"),
        ("defaults\n@ acl a path /\n", "frontend a\n bind :80\n"),
        ("defaults d\n@ acl a path /\n http-request deny if a\n", "frontend a\n bind :80\n"),
        ("defaults d\n@ acl a path /\n http-request deny if a\n", "frontend a from d\n bind :80\nbackend b from d\n"),
        ("defaults d\n@ http-request deny\n", "listen a from d\n bind :80\n"),
        ("defaults d\n@ tcp-request inspect-delay 5s\n", "listen a from d\n bind :80\n"),
        ("defaults d\n@ tcp-request connection accept\n", "backend a from d\n"),
        ("defaults d\n@ http-request deny\ndefaults e from d\n", "frontend a from e\n bind :80\n"),
        ("defaults d\n@ redirect location /\n", "frontend a from d\n bind :80\n"),
        ("defaults d\n@ http-request deny if a\n", "frontend a from d\n bind :80\n acl a path /\n"),
        ("defaults d\n@ http-request capture path len 5\n", "frontend a from d\n bind :80\n"),
        ("defaults\n@", "listen a\n bind :80\n use-server s\n server s 127.0.0.1:1\n"),
        ("defaults\n@", "listen a\n bind :80\n use-server none if TRUE\n server s 127.0.0.1:1\n"),
        ("defaults\n@", "listen a\n bind :80\n use-server %[path] if TRUE\n server s 127.0.0.1:1\n"),
    ];
    for (defaults, proxies) in cases {
        std::fs::write(&file, format!("{defaults}{proxies}").replace('@', base)).unwrap();
        let theirs = Command::new("/usr/sbin/haproxy").arg("-c").arg("-f").arg(&file).output().unwrap().status.success();
        let ours = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-f"]).arg(&file).output().unwrap();
        assert_eq!(ours.status.success(), theirs, "{defaults}{proxies}\n{}", String::from_utf8_lossy(&ours.stdout));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
