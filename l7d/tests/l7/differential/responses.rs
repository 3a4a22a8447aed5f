//! Responses: statuses, framing, faults, what does not belong to them.

use super::script::Step;
use super::{Case, LENGTHS, LINES, OK, TRAILERS, Theatre, VALUES, VERSION, say};

const UNCHUNKED: &str = "RFC 9112 section 6.1: a client of HTTP/1.0 is not sent chunks";
const STATUS: &str = "RFC 9110 section 15: a status has three digits and begins with 1 or more";

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn answered(name: &'static str, response: &str) -> Case {
    Case::new(name, GET).turn([say(response), Step::Leave])
}

#[test]
fn statuses_and_framing() {
    let large = "y".repeat(3_000_000);
    let cases = vec![
        answered("a length", OK),
        answered(
            "order, duplicates and case",
            "HTTP/1.1 200 OK\r\nZ: 1\r\na: 2\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\nA: 3\r\n\r\n",
        ),
        answered("reason of several words", "HTTP/1.1 299 Fine By Me!\r\nContent-Length: 0\r\n\r\n"),
        answered("no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
        answered("no space behind the code", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
        answered("status 999", "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"),
        answered("until close", "HTTP/1.1 200 OK\r\n\r\nto the end"),
        answered("until close, nothing", "HTTP/1.1 200 OK\r\n\r\n"),
        answered("three megabytes", &format!("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n{large}")),
        answered("three megabytes until close", &format!("HTTP/1.1 200 OK\r\n\r\n{large}")),
        answered("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        answered(
            "chunks with trailers",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n",
        ),
        answered("204", "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"),
        answered("204 with a length of zero", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        answered("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        answered("304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        answered("304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        answered("304 with chunks", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
        answered("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").differs(
            ["saw HTTP/1.1 200"],
            ["saw HTTP/1.0 200"],
            VERSION,
        ),
        answered("HTTP/1.0 with keep-alive", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok").differs(
            ["saw HTTP/1.1 200"],
            ["saw HTTP/1.0 200"],
            VERSION,
        ),
        answered("HTTP/1.0 until close", "HTTP/1.0 200 OK\r\n\r\nok").differs(["saw HTTP/1.1 200"], ["saw HTTP/1.0 200"], VERSION),
        answered("the server closes", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
        answered("the server closes after chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"),
        answered("Connection names other fields", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"),
        answered("Keep-Alive", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=9\r\nConnection: keep-alive\r\n\r\n"),
        Case::new("HEAD with a length", GET.replace("GET", "HEAD")).answer("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        Case::new("HEAD with chunks", GET.replace("GET", "HEAD")).answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Case::new("HEAD without a length", GET.replace("GET", "HEAD")).answer("HTTP/1.1 200 OK\r\n\r\n"),
        Case::new("HEAD and GET", format!("{}{GET}", GET.replace("GET", "HEAD")))
            .answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            .answer(OK),
        Case::new("chunks for HTTP/1.0", "GET / HTTP/1.0\r\n\r\n")
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .differs(["until close \"abc\""], ["transfer-encoding: chunked"], UNCHUNKED),
        Case::new("chunks for HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n")
            .differs(["until close \"abc\""], ["transfer-encoding: chunked"], UNCHUNKED),
        Case::new("until close for HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .turn([say("HTTP/1.1 200 OK\r\n\r\nabc"), Step::Leave])
            .differs(["GET / HTTP/1.0 (closes)"], ["GET / HTTP/1.0 (stays)"], "as every request of HTTP/1.0 without a host"),
    ];
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn faults() {
    let many: String = (0..130).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let cases = vec![
        answered("not HTTP", "SSH-2.0-x\r\n\r\n"),
        answered("nothing", ""),
        answered("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        answered("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n")
            .refused("RFC 9112 section 2.3: what another version means is unknown"),
        answered("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n").differs(
            ["502 from the proxy", "502 PH--"],
            ["HTTP/1.1 2000 OK"],
            STATUS,
        ),
        answered("bad length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        answered("negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        answered("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        answered("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab").refused(LENGTHS),
        answered("length beside chunks", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
            .refused("RFC 9112 section 6.3: a length beside a coding may be an attempt to split responses"),
        answered("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
        answered("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").differs(
            ["502 from the proxy", "502 PH--"],
            ["HTTP/1.0 200 OK"],
            "RFC 9112 section 6.1: framing of an HTTP/1.0 message with a coding is faulty",
        ),
        answered("bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 0\n\n").refused(LINES),
        answered("folded value", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n")
            .refused("RFC 9112 section 5.2: folding is refused"),
        answered("space before the colon", "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n"),
        answered("NUL in a value", "HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n").refused(VALUES),
        answered("no colon", "HTTP/1.1 200 OK\r\nA\r\nContent-Length: 0\r\n\r\n"),
        answered("too many fields", &format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{many}\r\n")),
        answered("a head that fits no buffer", &format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: {}\r\n\r\n", "x".repeat(40_000))),
        answered("a long head", &format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: {}\r\n\r\n", "x".repeat(10_000))),
        answered("an empty line first", &format!("\r\n{OK}"))
            .refused("RFC 9112 section 2.2: empty lines may come before requests, not before responses"),
        answered("bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"),
        answered("bad chunk after a good one", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\nabc\r\n0\r\n\r\n"),
        answered("chunks that end early", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        answered("framing in a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n")
            .refused(TRAILERS),
        answered("a length that is not kept", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        answered("bytes behind the response", &format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nfooling")),
        answered("a body with 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
        answered("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        answered("interim response and no more", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        Case::new("a body with HEAD", GET.replace("GET", "HEAD"))
            .turn([say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), Step::Leave]),
    ];
    Theatre::open(&[], &[], "").play(cases);
}
