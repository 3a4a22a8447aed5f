//! Captures: what of messages is kept for log lines and later rules.

use crate::http::server;
use crate::kit::{Server, refusal};
use crate::log_format::shape;
use crate::twins::Twins;

/// A server whose answers have something to be captured.
fn talkative() -> Server {
    let (server, _) = server(|_, _| {
        "HTTP/1.1 200 OK\r\nServer: srv/1\r\nX-L: a, b\r\nX-L: one two \"q\" | {b}\r\nSet-Cookie: other=1\r\nSet-Cookie: SID=resp; path=/\r\n\
         Set-Cookie: SIDX=r2\r\nContent-Length: 2\r\n\r\nok"
            .to_owned()
    });
    server
}

const REQUESTS: [&str; 9] = [
    "GET /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: first\r\nUser-Agent: agent with spaces\r\nX-A: 0123456789\r\nCookie: a=b; SIDfoo=1; SID=abcdefghijklm\r\n",
    "GET http://h.x/x HTTP/1.1\r\nHost: h.x\r\nUser-Agent: q\"u|o{}te\\te]\t#x\r\n",
    "GET /deny HTTP/1.0\r\nHost: h\r\nCookie: SID=abc\r\n",
    "GET /denied-behind HTTP/1.1\r\nHost: h\r\nCookie: SID=abc\r\n",
    "GET /ck HTTP/1.1\r\nHost: h\r\nCookie: SIDX=q\r\n",
    "POST /res HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nCookie: x; SID=1\r\n",
    "HEAD /empty HTTP/1.1\r\nHost: h\r\nUser-Agent:\r\nCookie: SID=\r\n",
    "BAD\r\n",
    "GET /x HTTP/1.1\r\nHost: h\r\nCookie: SID = a\r\nCookie: SID=b\r\n",
];

/// One frontend for each way to capture and to print.
fn config(server: &Server, keywords: &str) -> String {
    format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n timeout client 30s\n timeout server 30s\n timeout connect 2s\n\
         frontend f\n bind @DOOR@\n default_backend b\n{keywords}\
         backend b\n http-request deny if {{ path /denied-behind }}\n http-request capture path,upper id 1\n http-response capture str(late) id 1 if {{ capture.req.uri -m end res }}\n \
         http-response set-header X-B \"%[capture.req.hdr(0)]\"\n server s {}\n",
        server.address()
    )
}

#[test]
fn what_is_captured_is_logged_as_by_haproxy() {
    let server = talkative();
    let usual = " capture request header User-Agent len 10\n declare capture request len 5\n capture request header Host len 40\n capture cookie SID len 9\n \
                 capture response header Server len 20\n declare capture response len 6\n capture response header X-L len 60\n \
                 http-request deny if { path /deny }\n http-request set-header User-Agent changed\n http-request set-header Cookie SID=new if { path /ck }\n \
                 http-request capture req.hdr(x-a) id 1\n http-request capture path len 30\n http-request capture req.hdr(none) len 30\n \
                 http-response capture res.hdr(server) id 1\n \
                 http-response set-header X-C \"%[capture.req.hdr(0)]|%[capture.req.hdr(1)]|%[capture.req.hdr(9)]|%[capture.res.hdr(0)]|%[capture.req.method]|%[capture.req.uri]|%[capture.req.ver]|%[capture.res.ver]\"\n";
    let cases = [
        format!("{usual} log-format \"%ST %CC %CS %tsc %hr %hs %{{+Q}}r\"\n"),
        format!("{usual} log-format \"%hrl | %hsl | %{{+Q}}hrl | %{{+Q}}hsl | %{{+Q}}CC %{{+Q}}CS\"\n"),
        " capture request header User-Agent len 100\n capture request header None len 10\n capture cookie SID= len 5\n \
         log-format \"%hr|%hs|%hrl|%hsl|%CC|%CS|%{+Q}hr|%{+Q}hs|%{+Q}hrl|%{+Q}CC|%{+E}hr|%{+E,+Q}hrl x\"\n"
            .to_owned(),
        " log-format \"%hr|%hs|%hrl|%hsl|%CC|%CS|%[capture.req.hdr(0)]|%[capture.req.uri]|%[capture.req.method]|%[capture.req.ver]|%[capture.res.ver] x\"\n \
         tcp-request inspect-delay 2s\n tcp-request content capture req.hdr(host),upper len 10 if { path /x }\n tcp-request content capture src len 10\n \
         http-request set-var(txn.a) path,capture-req(0)\n http-response set-var(txn.b) status,capture-res(0)\n declare capture response len 6\n"
            .to_owned(),
        " log-format \"%hr|%hs|%hrl|%hsl|%CC|%CS x\"\n http-request set-var(txn.a) path,capture-req(0)\n".to_owned(),
    ];
    for keywords in cases {
        let twins = Twins::start(&config(&server, &keywords));
        for request in REQUESTS {
            twins.compare(&format!("{request}Connection: close\r\n\r\n"));
        }
    }
}

#[test]
fn the_usual_lines_are_those_of_haproxy() {
    let server = talkative();
    for option in ["httplog", "httplog clf", "httpslog"] {
        let keywords = format!(
            " option {option}\n capture request header User-Agent len 10\n capture request header Host len 40\n capture response header X-L len 60\n \
             capture cookie SID len 9\n http-request deny if {{ path /deny }}\n"
        );
        let twins = Twins::start(&config(&server, &keywords));
        for request in REQUESTS.iter().filter(|request| **request != "BAD\r\n") {
            let request = format!("{request}Connection: close\r\n\r\n");
            let [ours, theirs] = [&twins.ours, &twins.theirs].map(|twin| shape(&twin.ask(&request).1));
            assert_eq!(ours, theirs, "{option}: {request:?}");
        }
    }
}

#[test]
fn captures_that_cannot_be_are_refused() {
    let site = |rule: &str| format!("[frontend.f]\nbind = \"127.0.0.1:1\"\ntimeout = {{ client = \"1s\" }}\nrules = ['{rule}']\n");
    let cases = [
        ("capture request header Host", "the most bytes to keep are missing"),
        ("capture request body len 4", "only a `header`"),
        ("capture request header Host len 0", "is not a number of bytes"),
        ("declare capture both len 4", "neither request nor response"),
        ("http-request capture path id 0", "there is no capture 0 above"),
        ("http-response capture status len 4", "only rules of a frontend about requests"),
        ("http-request capture path", "it is not said where"),
        ("http-request capture status len 4", "is not known when this rule runs"),
    ];
    for (rule, expected) in cases {
        let said = refusal(&site(rule));
        assert!(said.contains(expected), "{rule}: {said}");
    }
}
