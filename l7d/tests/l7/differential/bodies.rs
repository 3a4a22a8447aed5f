//! Request bodies: lengths, chunks, trailers, expectations, large ones.

use super::script::Step;
use super::{ANSWERED, CHUNKS, Case, LENGTHS, OK, TRAILERS, Theatre, say};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunked(name: &'static str, body: &str) -> Case {
    Case::new(name, format!("{CHUNKED}{body}")).answer(OK)
}

fn sized(name: &'static str, fields: &str, body: &str) -> Case {
    Case::new(name, format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}")).answer(OK)
}

#[test]
fn lengths() {
    let large = "x".repeat(3_000_000);
    let cases = vec![
        sized("empty body", "Content-Length: 0\r\n", ""),
        sized("no length", "", ""),
        sized("a body", "Content-Length: 5\r\n", "hello"),
        sized("leading zeros", "Content-Length: 0005\r\n", "hello"),
        sized("a length of twenty zeros and a five", "Content-Length: 000000000000000000005\r\n", "hello"),
        sized("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello").refused(LENGTHS),
        sized("two equal lengths in one field", "Content-Length: 5, 5\r\n", "hello").refused(LENGTHS),
        sized("two different lengths", "Content-Length: 5\r\nContent-Length: 4\r\n", "hello"),
        sized("signed length", "Content-Length: +5\r\n", "hello"),
        sized("negative length", "Content-Length: -5\r\n", "hello"),
        sized("hexadecimal length", "Content-Length: 0x5\r\n", "hello"),
        sized("no digits", "Content-Length:\r\n", "hello"),
        sized("length with a tail", "Content-Length: 5 \t\r\n", "hello"),
        sized("overflow", "Content-Length: 99999999999999999999\r\n", "hello"),
        sized("length beside chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")
            .refused("RFC 9112 section 6.3: a length beside a coding may be an attempt to smuggle"),
        sized("three megabytes", "Content-Length: 3000000\r\n", &large),
        Case::new("a body with GET", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").answer(OK),
        Case::new("a body with DELETE", "DELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").answer(OK),
        Case::new("a body with HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
            .answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        Case::new("a body behind its head", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
            .client([Step::Met(1), say("def")])
            .answer(OK),
    ];
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn chunks() {
    let large = format!("{:x}\r\n{}\r\n", 70_000, "x".repeat(70_000)).repeat(40) + "0\r\n\r\n";
    let tiny = "1\r\nx\r\n".repeat(20_000) + "0\r\n\r\n";
    let cases =
        vec![
            chunked("no content", "0\r\n\r\n"),
            chunked("three chunks", "3\r\nabc\r\n1\r\nd\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            chunked("sizes in both cases and with zeros", "00a\r\n0123456789\r\n0A\r\n0123456789\r\n000\r\n\r\n"),
            chunked("extensions", "3;a\r\nabc\r\n3;a=b;c=\"d;e\"\r\ndef\r\n0;last\r\n\r\n"),
            chunked("space before an extension", "3 ;a\r\nabc\r\n0\r\n\r\n"),
            chunked("space behind a size", "3 \r\nabc\r\n0\r\n\r\n"),
            chunked("trailers", "3\r\nabc\r\n0\r\nX-Sum: 1\r\nx-b:2\r\nX-Sum: 3\r\n\r\n"),
            chunked("large chunks", &large),
            chunked("many tiny chunks", &tiny),
            chunked("no size", "\r\nabc\r\n0\r\n\r\n"),
            chunked("signed size", "+3\r\nabc\r\n0\r\n\r\n"),
            chunked("prefixed size", "0x3\r\nabc\r\n0\r\n\r\n"),
            chunked("size that overflows", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            chunked("data longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
            chunked("data shorter than its size", "4\r\nabc\r\n0\r\n\r\n").lines(1).refused(CHUNKS),
            chunked("LF behind a size", "3\nabc\r\n0\r\n\r\n").refused(CHUNKS),
            chunked("LF behind the data", "3\r\nabc\n0\r\n\r\n").refused(CHUNKS),
            chunked("LF as the last line", "3\r\nabc\r\n0\r\n\n").refused(CHUNKS),
            chunked("NUL in an extension", "3;\0\r\nabc\r\n0\r\n\r\n").refused(CHUNKS),
            chunked("CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
            chunked("framing in a trailer", "3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n").refused(TRAILERS),
            chunked("folded trailer", "3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n").refused("RFC 9112 section 5.2: folding is refused"),
            chunked("trailer without a colon", "3\r\nabc\r\n0\r\nA\r\n\r\n"),
            Case::new("chunks byte by byte", CHUNKED).client([Step::Drip(b"3;a\r\nabc\r\n0\r\nX: y\r\n\r\n".to_vec())]).answer(OK),
            Case::new("a bad chunk when the server has the head", CHUNKED).client([Step::Met(1), say("x\r\nabc\r\n0\r\n\r\n")]).answer(OK),
            Case::new("a bad chunk behind a good one", CHUNKED).client([Step::Met(1), say("3\r\nabc\r\nx\r\nabc\r\n0\r\n\r\n")]).answer(OK),
            Case::new("coding in capitals", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n").answer(OK),
            Case::new("another coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n").answer(OK),
            Case::new("gzip, chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
                .answer(OK)
                .differs(["400 P"], ["422 PR--"], "a coding that is not understood is refused like any other doubt"),
            Case::new("chunked, gzip", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n").answer(OK),
            Case::new("chunked twice", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n").answer(OK),
            Case::new(
                "chunked in two fields",
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            )
            .answer(OK),
            Case::new("identity", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n").answer(OK),
            Case::new("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                .answer(OK)
                .refused("RFC 9112 section 6.1: framing of an HTTP/1.0 message with a coding is faulty"),
        ];
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn expectations() {
    let expects = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let cases = vec![
        Case::new("100 from the server", expects).client([Step::Hear("100 Continue\r\n\r\n"), say("hello")]).turn([
            say("HTTP/1.1 100 Continue\r\n\r\n"),
            Step::Body,
            say(OK),
        ]),
        Case::new("several interim responses", expects).client([Step::Hear("</b>\r\n\r\n"), say("hello")]).turn([
            say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"),
            Step::Body,
            say(OK),
        ]),
        Case::new("refused expectation", expects)
            .turn([say("HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), Step::Leave])
            .differs(["417 ----"], ["417 CD--"], ANSWERED),
        Case::new("body sent without waiting", format!("{expects}hello")).turn([say("HTTP/1.1 100 Continue\r\n\r\n"), Step::Body, say(OK)]),
        Case::new("another expectation", expects.replace("100-continue", "x")).client([say("hello")]).answer(OK),
        Case::new("early hints for a client of HTTP/1.0", "GET / HTTP/1.0\r\n\r\n")
            .answer(format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"))
            .differs(
                ["server saw GET / HTTP/1.0 (closes)\nclient saw HTTP/1.1 200"],
                ["103"],
                "RFC 9110 section 15.2: HTTP/1.0 knows no interim responses",
            ),
        Case::new("early hints", "GET / HTTP/1.1\r\nHost: h\r\n\r\n").answer(format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}")),
        Case::new("expectation of HTTP/1.0", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
            .answer(OK)
            .differs(["POST / HTTP/1.0 (closes)"], ["POST / HTTP/1.0 (stays)"], "as every request of HTTP/1.0 without a host"),
    ];
    Theatre::open(&[], &[], "").play(cases);
}
