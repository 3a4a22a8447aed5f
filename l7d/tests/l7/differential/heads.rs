//! Request heads: methods, targets, versions, fields, keep-alive, pipelining.

use super::script::Step;
use super::{Case, LINES, OK, Theatre, VALUES, VERSION, say};

/// A request of HTTP/1.0 without a host, which no server of HTTP/1.1 would take.
const OLD: ([&str; 1], [&str; 1], &str) =
    (["HTTP/1.0 (closes)"], ["HTTP/1.0 (stays)"], "it goes as it is, on a connection that nobody has to keep in step");
const VERSIONS: &str = "RFC 9112 section 2.3: what another version means is unknown";

fn plain(name: &'static str, request: &str) -> Case {
    Case::new(name, request).answer(OK)
}

#[test]
fn methods_and_targets() {
    let mut cases = vec![
        plain("absolute target", "GET http://h/a?b HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("absolute target without a path", "GET http://h HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("absolute target with a port", "GET http://h:80/ HTTP/1.1\r\nHost: h:80\r\n\r\n").differs(
            ["http://h:80/ HTTP/1.1", "host: h:80"],
            ["http://h/ HTTP/1.1"],
            "nothing is rewritten that nobody asked to rewrite",
        ),
        plain("absolute target with a query and no path", "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n").differs(
            ["GET http://h?q HTTP/1.1", "200 OK"],
            ["400 P"],
            "RFC 9110 section 4.2.1: the path may be empty",
        ),
        plain("absolute target, scheme in capitals", "GET HTTP://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("absolute target without a host", "GET http://h/ HTTP/1.1\r\n\r\n"),
        plain("absolute target and another host", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
        plain("absolute https target", "GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("asterisk without OPTIONS", "GET * HTTP/1.1\r\nHost: h\r\n\r\n")
            .refused("RFC 9112 section 3.2.4: only OPTIONS may be asked of *"),
        plain("relative target", "GET a HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("target of every allowed byte", "GET /aZ09-._~!$&'()*+,;=:@%41?/?[]|^`{}\"\\<> HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("dots and slashes stay", "GET //a/../b/./c//?x=/../ HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("byte beyond ASCII in the target", "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("unknown method", "BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("method in lower case", "get / HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("method of odd tokens", "M-$EARCH!|~ / HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("user information", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n")
            .refused("RFC 9110 section 4.2.4: user information is an error"),
        plain("other scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n").refused("RFC 9110 section 7.4: a gateway serves http and https"),
    ];
    for (name, method) in [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("DELETE", "DELETE"), ("PATCH", "PATCH"), ("TRACE", "TRACE")] {
        cases.push(plain(name, &format!("{method} /x HTTP/1.1\r\nHost: h\r\n\r\n")));
    }
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn fields() {
    let with = |name, fields: &str| plain(name, &format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
    let many: String = (0..90).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let too_many: String = (0..130).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let cases = vec![
        with("order, duplicates and case", "Z: 1\r\na: 2\r\nZ: 3\r\nA: 4\r\nCookie: a=1\r\ncookie: b=2\r\n"),
        with("white space around values", "A:b\r\nB:   b  \r\nC:\t b\t\r\n"),
        with("empty values", "A:\r\nB: \r\nC: \t \r\n"),
        with("bytes beyond ASCII in a value", "A: \u{e9}\u{4e2d}\r\n"),
        with("tab inside a value", "A: b\tc\r\n"),
        with("every token byte in a name", "!#$%&'*+-.^_`|~0aZ: 1\r\n"),
        with("ninety fields", &many),
        with("too many fields", &too_many),
        with("a head of ten thousand bytes", &format!("A: {}\r\n", "x".repeat(10_000))),
        with("a head that fits no buffer", &format!("A: {}\r\n", "x".repeat(40_000))),
        with("Connection names other fields", "Connection: x-secret, te\r\nX-Secret: 1\r\nTE: trailers\r\n"),
        with("Proxy-Connection", "Proxy-Connection: keep-alive\r\n"),
        with("Keep-Alive", "Keep-Alive: timeout=5\r\nConnection: keep-alive\r\n"),
        with("TE without Connection", "TE: trailers, deflate\r\n"),
        with("Upgrade without Connection", "Upgrade: websocket\r\n").differs(
            ["server saw GET / HTTP/1.1 (stays)\n  host: h\nclient"],
            ["upgrade: websocket"],
            "RFC 9110 section 7.8: without Connection it concerns nobody",
        ),
        with("Trailer", "Trailer: X\r\n"),
        with("X-Forwarded-For stays", "X-Forwarded-For: 1.2.3.4\r\n"),
        with("Via and Max-Forwards stay", "Via: 1.1 a\r\nMax-Forwards: 0\r\n"),
        with("Host in another place", "A: b\r\n"),
        plain("Host last", "GET / HTTP/1.1\r\nA: b\r\nHOST: h\r\n\r\n"),
        plain("no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n"),
        plain("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        plain("Host twice, equal", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n")
            .refused("RFC 9112 section 3.2: more than one Host is refused"),
        plain("Host twice, different", "GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n"),
        plain("Host of IPv6", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        plain("one empty line first", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("three empty lines first", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        plain("folded value", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n").refused("RFC 9112 section 5.2: folding is refused"),
        plain("bare line feeds", "GET / HTTP/1.1\nHost: h\n\n").refused(LINES),
        plain("bare line feed first", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").refused(LINES),
        plain("space before the colon", "GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n"),
        plain("NUL in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: \0\r\n\r\n").refused(VALUES),
        plain("control byte in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: a\x01b\r\n\r\n").refused(VALUES),
        plain("DEL in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n").refused(VALUES),
        plain("two spaces after the method", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n")
            .refused("RFC 9112 section 3: one space, or two readers see two requests"),
        plain("space behind the version", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n"),
    ];
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn versions_and_persistence() {
    let two = |name, request: &str| plain(name, &request.repeat(2)).answer(OK);
    let cases = vec![
        plain("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n").differs(OLD.0, OLD.1, OLD.2),
        plain("HTTP/1.0 with a host", "GET / HTTP/1.0\r\nHost: h\r\n\r\n").differs(
            ["server saw GET / HTTP/1.1"],
            ["server saw GET / HTTP/1.0"],
            VERSION,
        ),
        plain("HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").differs(OLD.0, OLD.1, OLD.2),
        plain("HTTP/1.0 with a body", "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").differs(
            ["POST / HTTP/1.0 (closes)"],
            ["POST / HTTP/1.0 (stays)"],
            OLD.2,
        ),
        plain("HTTP/0.9", "GET /\r\n\r\n"),
        plain("HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n").refused(VERSIONS),
        plain("HTTP/3.0", "GET / HTTP/3.0\r\nHost: h\r\n\r\n").refused(VERSIONS),
        plain("close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
        plain("Close in capitals among others", "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE\r\n\r\n"),
        plain("close and keep-alive", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, keep-alive\r\n\r\n"),
        plain("HTTP/1.0, close and keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").differs(OLD.0, OLD.1, OLD.2),
        two("two requests at once", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        two("two requests with bodies at once", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"),
        two("two chunked requests at once", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        two("two requests with an empty line between", "GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n"),
        two("nothing behind a request that closes", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").lines(1),
        two("two requests of HTTP/1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").differs(OLD.0, OLD.1, OLD.2),
        plain("a hundred pipelined requests", &"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(100)),
        plain("a fault behind a good request", "GET / HTTP/1.1\r\nHost: h\r\n\r\nBAD\r\n\r\n").lines(2),
        Case::new("byte by byte", "")
            .client([Step::Drip(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody".to_vec())])
            .answer(OK),
        plain("one request after the other", "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
            .client([Step::Hear("ok"), say("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"), Step::Hear("ok"), say("GET /3 HTTP/1.0\r\n\r\n")])
            .answer(OK)
            .answer(OK)
            .differs(["GET /3 HTTP/1.0 (closes)"], ["GET /3 HTTP/1.0 (stays)"], OLD.2),
    ];
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn options() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";
    for option in
        ["forwardfor", "forwardfor if-none", "forwardfor except 127.0.0.1", "forwardfor header X-Client", "http-server-close", "httpclose"]
    {
        let old = "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n";
        let cases = vec![
            plain("one request", request),
            plain("HTTP/1.0", old).differs(["server saw GET / HTTP/1.1"], ["server saw GET / HTTP/1.0"], VERSION),
        ];
        let theatre = Theatre::open(&[], &[option], "");
        theatre.play(cases);
    }
}
