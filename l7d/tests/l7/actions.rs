//! Actions of rules that change how an exchange goes on, and the names exchanges get.

use std::io::{Read, Write};

use crate::http::server;
use crate::kit::{Server, connect, refusal};
use crate::rules::mirror;
use crate::twins::Twins;

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n")
}

/// One frontend with these keywords, and a backend with those.
fn config(front: &str, back: &str, server: &Server) -> String {
    format!(
        "global\n expose-experimental-directives\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n timeout client 30s\n timeout server 30s\n \
         timeout connect 2s\nfrontend f\n bind @DOOR@\n default_backend b\n{front}backend b\n{back} server s {}\n",
        server.address()
    )
}

#[test]
fn targets_are_normalized_as_by_haproxy() {
    let server = mirror("s");
    let cases: [(&str, &[&str]); 11] = [
        ("path-merge-slashes", &["//a///b//?c//d", "/", "http://h//a//b"]),
        ("path-strip-dot", &["/./a/./.?b/./c", "/.", "/a/.well/..", "/.well-known/"]),
        (
            "path-strip-dotdot",
            &["/foo/../", "/foo/bar/../..", "/../bar/", "/bar/../../x", "/foo//../", "/a/..?b/../c", "http://h/a/../../b", "/.."],
        ),
        (
            "path-strip-dotdot full",
            &["/foo/../", "/foo/bar/../..", "/../bar/", "/bar/../../x", "/foo//../", "/..", "/../..", "/a/../../../b/.."],
        ),
        ("percent-decode-unreserved", &["/%61%7e%2f%3F%zz%%36%36?%41=%20", "/a%", "/%4"]),
        ("percent-decode-unreserved strict", &["/%61b?%41", "/%zz", "/a?%4", "/%%36%36"]),
        ("percent-to-uppercase", &["/%6f%zz%aF?%3a%", "/%6f"]),
        ("percent-to-uppercase strict", &["/%6f", "/%zz"]),
        ("query-sort-by-name", &["/?c=3&a=1&b=2", "/?aaa=3&a=1&aa=2", "/?a=3&b=4&a=1&b=5&a=2&&=x&a", "/a", "/a?"]),
        ("fragment-strip", &["/a"]),
        ("fragment-encode", &["/a"]),
    ];
    for (normalizer, paths) in cases {
        let front = format!(" log-format \"%ST %tsc %HP\"\n http-request normalize-uri {normalizer}\n");
        let twins = Twins::start(&config(&front, "", &server));
        for path in paths {
            twins.compare(&get(path, ""));
        }
    }
}

#[test]
fn ends_time_outs_and_lines_are_those_that_rules_say() {
    let (slow, _) = server(|head, _| {
        if head.contains("/slow") {
            std::thread::sleep(std::time::Duration::from_millis(1500));
        }
        let seen: String = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-")).collect();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", seen.len(), seen.to_ascii_lowercase())
    });
    let front = " option forwardfor\n log-format \"%ci %fi %ST %tsc %HP\"\n tcp-request content set-src str(10.9.8.7) if { path /content }\n \
                 http-request set-src req.hdr(x-src) if { req.hdr(x-src) -m found }\n http-request set-src-port int(77) if { path /port }\n \
                 http-request set-dst int(16909060) if { path /dst }\n http-request set-dst-port int(99) if { path /dst }\n \
                 http-request set-header X-Src-Port %[src_port] if { path /port }\n http-request set-header X-Src \"%[src]\"\n \
                 http-request set-header X-Dst \"%[dst] %[dst_port]\" if { path /dst }\n http-request set-log-level silent if { path /silent }\n \
                 http-response set-log-level silent if { capture.req.uri /silent-later }\n http-request set-nice 5\n";
    let back = " http-request set-src src,ipmask(24) if { path /masked }\n http-request set-timeout server 300 if { path /slow/number }\n \
                http-request set-timeout server int(100),add(200) if { path /slow/computed }\n http-request set-var(txn.a) str(x),set-var(txn.b),upper\n \
                http-request set-header X-Var \"%[var(txn.a)]%[var(txn.b)]%[str(y),set-var(txn.c),lower]%[var(txn.c)]%[str(z),unset-var(txn.b)]%[var(txn.b)]\"\n";
    let twins = Twins::start(&config(front, back, &slow));
    for fields in ["", "X-Src: 10.1.2.3\r\n", "X-Src: 2001:db8::1\r\n", "X-Src: nobody\r\n"] {
        for path in ["/", "/port", "/dst", "/masked", "/content"] {
            twins.compare(&get(path, fields));
        }
    }
    for path in ["/slow/number", "/slow/computed"] {
        let (answer, _) = twins.compare(&get(path, ""));
        assert!(answer[0].ends_with("504"), "{}", answer[0]);
    }
    // Whoever is silent leaves no line: the next one is that of another request.
    for twin in [&twins.ours, &twins.theirs] {
        for path in ["/silent", "/silent-later"] {
            let mut client = connect(twin.door);
            client.write_all(get(path, "").as_bytes()).unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
        }
        assert!(twin.ask(&get("/loud", "")).1.contains("/loud"));
    }
}

#[test]
fn hints_come_before_the_response() {
    let server = mirror("s");
    let front = " log-format \"%ST %tsc\"\n http-request early-hint Link \"<%[path]>; rel=preload\" if { path_beg /hint }\n \
                 http-request early-hint X-Second 2 if { path /hint/two }\n http-request deny if { path /hint/deny }\n";
    let twins = Twins::start(&config(front, "", &server));
    let heads = |answer: &str| -> Vec<String> {
        let parts = answer.split("\r\n\r\n").filter(|part| part.starts_with("HTTP/"));
        parts
            .map(|part| {
                part.lines()
                    .filter(|line| line.starts_with("HTTP/") || line.contains("preload") || line.to_lowercase().contains("second"))
                    .map(|line| line.to_lowercase()[..12.min(line.len())].to_owned())
                    .collect::<Vec<_>>()
                    .join("|")
            })
            .collect()
    };
    for request in [
        "GET /hint HTTP/1.1\r\n",
        "GET /hint/two HTTP/1.1\r\n",
        "GET /hint/deny HTTP/1.1\r\n",
        "GET /no HTTP/1.1\r\n",
        "GET /hint HTTP/1.0\r\n",
    ] {
        let [ours, theirs] = [&twins.ours, &twins.theirs].map(|twin| {
            let mut client = connect(twin.door);
            client.write_all(format!("{request}Host: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            (heads(&String::from_utf8(answer).unwrap()), twin.line())
        });
        assert_eq!(ours, theirs, "{request}");
        assert_eq!(
            ours.0.len(),
            if request.contains("two") {
                3
            } else if request.contains("/no") || request.contains("1.0") {
                1
            } else {
                2
            }
        );
    }
}

#[test]
fn exchanges_have_names_as_with_haproxy() {
    let server = mirror("s");
    let front = " unique-id-format %{+X}o\\ %ci-%fi:%rt-%f\n unique-id-header X-Unique\n log-format \"%ID %[unique-id] %HP\"\n \
                 http-request set-src str(10.1.2.3) if { path /src }\n http-request set-header X-Early \"%[unique-id]\" if { path /early }\n \
                 http-request return status 200 content-type text/plain lf-string \"%[unique-id]|%[req.hdr(x-unique)]\" if { path /return }\n";
    let twins = Twins::start(&config(front, "", &server));

    for path in ["/", "/src", "/early", "/return", "/"] {
        let (_, line) = twins.compare(&get(path, ""));
        assert!(line.contains("-door:"), "{line}");
    }
}

#[test]
fn what_such_actions_cannot_do_is_refused() {
    let site = |rule: &str| format!("[frontend.f]\nbind = \"127.0.0.1:1\"\ntimeout = {{ client = \"1s\" }}\nrules = ['{rule}']\n");
    let cases = [
        ("http-request normalize-uri path-strip-dots", "is not a normalizer"),
        ("http-request set-log-level loud", "is not a level"),
        ("http-request set-nice 5000", "is not a number from -1024 to 1024"),
        ("http-request set-timeout server 5s", "is one of backends"),
        ("http-request set-timeout connect 5s", "is not a time-out that a rule can set"),
        ("http-request strict-mode maybe", "neither on nor off"),
        ("http-response set-src src", "cannot stand in these rules"),
        ("http-request early-hint Content-Length 5", "rules cannot change"),
    ];
    for (rule, expected) in cases {
        let said = refusal(&site(rule));
        assert!(said.contains(expected), "{rule}: {said}");
    }
}
