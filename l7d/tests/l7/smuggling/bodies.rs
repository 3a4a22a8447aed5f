//! Chunked bodies of requests.

use l7d::h1::Fault;

use super::{Attempt, Pace, attempt, refuse_all};

fn chunks() -> Vec<Attempt> {
    let body = |name, body: &[u8], fault| {
        attempt(name, [b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat(), fault)
    };
    let size = |name, bytes: &[u8]| body(name, bytes, Fault::ChunkSize);
    let trailer = |name, field: &[u8]| body(name, &[b"3\r\nabc\r\n0\r\n", field, b": 5\r\n\r\n"].concat(), Fault::Trailer);
    vec![
        size("no size", b"^^\r\nabc\r\n0\r\n\r\n"),
        size("positive size", b"^^+3\r\nabc\r\n0\r\n\r\n"),
        size("negative size", b"^^-3\r\nabc\r\n0\r\n\r\n"),
        size("prefixed size", b"0^^x3\r\nabc\r\n0\r\n\r\n"),
        size("size with an h", b"3^^h\r\nabc\r\n0\r\n\r\n"),
        size("space before the size", b"^^ 3\r\nabc\r\n0\r\n\r\n"),
        size("two sizes", b"3 ^^3\r\nabc\r\n0\r\n\r\n"),
        size("size with a comma", b"3^^,3\r\nabc\r\n0\r\n\r\n"),
        size("size in quotes", b"^^\"3\"\r\nabc\r\n0\r\n\r\n"),
        size("wide digit", b"^^\xef\xbc\x93\r\nabc\r\n0\r\n\r\n"),
        size("size that overflows to nothing", b"1000000000000000^^0\r\n\r\n"),
        size("size that overflows to three", b"1000000000000000^^3\r\nabc\r\n0\r\n\r\n"),
        size("size of seventeen zeros and a three", b"0000000000000000^^03\r\nabc\r\n0\r\n\r\n"),
        size("size beyond 64 bits", b"ffffffffffffffff^^f\r\nabc\r\n0\r\n\r\n"),
        size("NUL behind the size", b"3^^\0\r\nabc\r\n0\r\n\r\n"),
        body("bare line feed behind the size", b"3^^\nabc\r\n0\r\n\r\n", Fault::BareLineFeed),
        body("bare carriage return behind the size", b"3\r^^abc\r\n0\r\n\r\n", Fault::BareCarriageReturn),
        body("two carriage returns behind the size", b"3\r^^\r\nabc\r\n0\r\n\r\n", Fault::BareCarriageReturn),
        body("bare line feed in an extension", b"3;a^^\nabc\r\n0\r\n\r\n", Fault::BareLineFeed),
        body("bare line feed in a quoted extension", b"3;a=\"b^^\nc\"\r\nabc\r\n0\r\n\r\n", Fault::BareLineFeed),
        body("bare carriage return in an extension", b"3;a\r^^b\r\nabc\r\n0\r\n\r\n", Fault::BareCarriageReturn),
        body("NUL in an extension", b"3;^^\0\r\nabc\r\n0\r\n\r\n", Fault::ChunkExtension),
        body("DEL in an extension", b"3;a=^^\x7f\r\nabc\r\n0\r\n\r\n", Fault::ChunkExtension),
        body("data longer than its size", b"3\r\nabc^^d\r\n0\r\n\r\n", Fault::ChunkEnd),
        body("data shorter than its size", b"5\r\nabc\r\n^^0\r\n\r\n", Fault::ChunkEnd),
        body("no line end behind the data", b"3\r\nabc^^0\r\n\r\n", Fault::ChunkEnd),
        body("bare line feed behind the data", b"3\r\nabc^^\n0\r\n\r\n", Fault::ChunkEnd),
        body("bare carriage return behind the data", b"3\r\nabc\r^^0\r\n\r\n", Fault::ChunkEnd),
        body("bare line feed as the last line", b"3\r\nabc\r\n0\r\n^^\n", Fault::BareLineFeed),
        body("bare carriage return as the last line", b"3\r\nabc\r\n0\r\n\r^^X", Fault::BareCarriageReturn),
        body("bare line feed behind the last size", b"3\r\nabc\r\n0^^\n\r\n", Fault::BareLineFeed),
        body("a request in place of the trailers", b"0\r\nGET^^ /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", Fault::SpaceBeforeColon),
        body("folded trailer", b"0\r\nA: b\r\n^^ c\r\n\r\n", Fault::Folding),
        body("space before the colon of a trailer", b"0\r\nA^^ : b\r\n\r\n", Fault::SpaceBeforeColon),
        body("trailer without a name", b"0\r\n^^: b\r\n\r\n", Fault::FieldName),
        body("trailer without a colon", b"0\r\nA^^\r\n\r\n", Fault::FieldName),
        body("NUL in a trailer", b"0\r\nA: ^^\0\r\n\r\n", Fault::ControlByte),
        body("bare line feed in a trailer", b"0\r\nA: b^^\nC: d\r\n\r\n", Fault::BareLineFeed),
        body("bare carriage return in a trailer", b"0\r\nA: b\r^^C: d\r\n\r\n", Fault::BareCarriageReturn),
        trailer("length in a trailer", b"Content-Length^^"),
        trailer("coding in a trailer", b"tRANSFER-eNCODING^^"),
        trailer("host in a trailer", b"Host^^"),
        trailer("connection in a trailer", b"Connection^^"),
        trailer("upgrade in a trailer", b"Upgrade^^"),
    ]
}

#[test]
fn doubtful_chunks() {
    refuse_all(chunks(), Pace::AtOnce);
    refuse_all(chunks(), Pace::ByteByByte);
}

#[test]
fn endless_framing() {
    let endless = |start: &[u8]| {
        let mut body = start.to_vec();
        body.resize(16 * 1024, b'x');
        let message = [b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", &body[..], b"^^xxxx"].concat();
        attempt("framing without an end", message, Fault::ChunkOverhead)
    };
    // The server may have the head by then.
    refuse_all(vec![endless(b"3;"), endless(b"0\r\nX: ")], Pace::ByteByByte);
}
