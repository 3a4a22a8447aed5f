//! Heads of requests.

use l7d::h1::Fault;

use super::{Attempt, Pace, attempt, refuse_all};

/// A `POST` with these fields and a body that is a chunk to one reader and something else to another.
fn fields(name: &'static str, fields: &[u8], fault: Fault) -> Attempt {
    attempt(name, [b"POST / HTTP/1.1\r\nHost: h\r\n", fields, b"\r\n\r\n0\r\n\r\n"].concat(), fault)
}

fn lengths_and_codings() -> Vec<Attempt> {
    let coding = |name, value: &[u8]| fields(name, &[b"Transfer-Encoding: ", value].concat(), Fault::Coding);
    let length = |name, value: &[u8]| fields(name, &[b"Content-Length: ", value].concat(), Fault::Length);
    vec![
        fields("CL.TE", b"Content-Length: 6\r\nTransfer-Encoding: ^^chunked", Fault::LengthWithCoding),
        fields("TE.CL", b"Transfer-Encoding: ^^chunked\r\nContent-Length: 3", Fault::LengthWithCoding),
        fields("TE.CL of zero", b"Transfer-Encoding: ^^chunked\r\nContent-Length: 0", Fault::LengthWithCoding),
        fields("CL.TE in odd letters", b"CONTENT-LENGTH: 6\r\ntRANSFER-eNCODING: ^^chunked", Fault::LengthWithCoding),
        fields("CL.TE, coding unknown", b"Content-Length: 6\r\nTransfer-Encoding: ^^x", Fault::LengthWithCoding),
        fields("CL.CL", b"Content-Length: 5\r\nContent-Length: ^^6", Fault::DuplicateLength),
        fields("CL.CL, equal", b"Content-Length: 5\r\nContent-Length: ^^5", Fault::DuplicateLength),
        fields("CL.CL around another field", b"Content-Length: 5\r\nX: y\r\ncontent-length: ^^0", Fault::DuplicateLength),
        fields("CL.CL in one field", b"Content-Length: 5^^, 6", Fault::DuplicateLength),
        fields("CL.CL in one field, equal", b"Content-Length: 5^^,5", Fault::DuplicateLength),
        coding("unknown coding", b"^^xchunked"),
        coding("part of the coding", b"^^chunk"),
        coding("coding with a tail", b"^^chunkedx"),
        coding("chunked, identity", b"^^chunked, identity"),
        coding("identity, chunked", b"^^identity, chunked"),
        coding("chunked twice", b"^^chunked, chunked"),
        coding("list that ends", b"^^chunked,"),
        coding("list that begins", b"^^, chunked"),
        coding("coding with a parameter", b"^^chunked;q=1"),
        coding("coding in double quotes", b"^^\"chunked\""),
        coding("coding in single quotes", b"^^'chunked'"),
        coding("coding with a dot", b"^^chunked."),
        coding("coding with a colon", b"^^: chunked"),
        coding("coding after a byte beyond ASCII", b"^^\xffchunked"),
        coding("coding and another word", b"^^chunked foo"),
        coding("gzip", b"^^gzip"),
        coding("identity", b"^^identity"),
        coding("no coding", b"^^"),
        fields("two codings", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: ^^identity", Fault::Coding),
        fields("two codings, the other order", b"Transfer-Encoding: x\r\nTransfer-Encoding: ^^chunked", Fault::Coding),
        fields("two codings, equal", b"Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: ^^chunked", Fault::Coding),
        fields("vertical tab before the coding", b"Transfer-Encoding: ^^\x0bchunked", Fault::ControlByte),
        fields("form feed behind the coding", b"Transfer-Encoding: chunked^^\x0c", Fault::ControlByte),
        fields("NUL before the coding", b"Transfer-Encoding: ^^\0chunked", Fault::ControlByte),
        fields("space before the colon of the coding", b"Transfer-Encoding^^ : chunked", Fault::SpaceBeforeColon),
        fields("tab before the colon of the coding", b"Transfer-Encoding^^\t: chunked", Fault::SpaceBeforeColon),
        fields("space inside the name of the coding", b"Transfer^^ Encoding: chunked", Fault::SpaceBeforeColon),
        fields("NUL in the name of the coding", b"Transfer-Encoding^^\0: chunked", Fault::FieldName),
        fields("folded coding", b"Transfer-Encoding:\r\n^^ chunked", Fault::Folding),
        fields("coding behind a bare line feed", b"Transfer-Encoding:^^\n chunked", Fault::BareLineFeed),
        fields("coding hidden by a bare line feed", b"X: y^^\nTransfer-Encoding: chunked", Fault::BareLineFeed),
        fields("coding hidden by a bare carriage return", b"X: y^^\rTransfer-Encoding: chunked", Fault::BareCarriageReturn),
        fields("coding hidden by folding", b"X: y\r\n^^ Transfer-Encoding: chunked", Fault::Folding),
        fields("coding hidden by a folded tab", b"X: y\r\n^^\tTransfer-Encoding: chunked", Fault::Folding),
        attempt("coding in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: ^^chunked\r\n\r\n0\r\n\r\n", Fault::CodingInHttp10),
        length("positive length", b"^^+5"),
        length("negative length", b"^^-5"),
        length("negative zero", b"^^-0"),
        length("hexadecimal length", b"0^^x5"),
        length("hexadecimal digits", b"^^a"),
        length("fraction", b"5^^.0"),
        length("exponent", b"5^^e1"),
        length("two numbers", b"5^^ 5"),
        length("number and a semicolon", b"5^^;"),
        length("number with an underscore", b"5^^_0"),
        length("number in quotes", b"^^\"5\""),
        length("word", b"^^five"),
        length("wide digit", b"^^\xef\xbc\x95"),
        length("no length", b"^^"),
        length("length beyond 64 bits", b"^^18446744073709551616"),
        length("length of thirty digits", b"^^100000000000000000000000000000"),
        fields("NUL behind the length", b"Content-Length: 5^^\0", Fault::ControlByte),
        fields("vertical tab before the length", b"Content-Length: ^^\x0b5", Fault::ControlByte),
        fields("space before the colon of the length", b"Content-Length^^ : 5", Fault::SpaceBeforeColon),
        fields("folded length", b"Content-Length: 5\r\n^^ 6", Fault::Folding),
    ]
}

fn first_lines() -> Vec<Attempt> {
    let line = |name, line: &[u8], fault| attempt(name, [line, b"\r\nHost: h\r\n\r\n"].concat(), fault);
    vec![
        line("NUL first", b"^^\0GET / HTTP/1.1", Fault::Method),
        line("space first", b"^^ GET / HTTP/1.1", Fault::Method),
        line("NUL in the method", b"G^^\0T / HTTP/1.1", Fault::Method),
        line("parenthesis in the method", b"GE^^(T / HTTP/1.1", Fault::Method),
        line("colon in the method", b"GET^^: / HTTP/1.1", Fault::Method),
        line("tab behind the method", b"GET^^\t/ HTTP/1.1", Fault::Method),
        line("two spaces", b"GET ^^ / HTTP/1.1", Fault::Target),
        line("NUL in the target", b"GET /^^\0 HTTP/1.1", Fault::Target),
        line("tab in the target", b"GET /^^\tHTTP/1.1", Fault::Target),
        line("byte beyond ASCII in the target", b"GET /^^\xe9 HTTP/1.1", Fault::Target),
        line("fragment", b"GET /a^^#b HTTP/1.1", Fault::Target),
        line("two versions", b"GET / HTTP/1.1^^ HTTP/1.1", Fault::Version),
        line("space behind the version", b"GET / HTTP/1.1^^ ", Fault::Version),
        line("version 1.2", b"GET / HTTP/1.^^2", Fault::Version),
        line("version 1.10", b"GET / HTTP/1.1^^0", Fault::Version),
        line("version 0.9", b"GET / HTTP/^^0.9", Fault::Version),
        line("version with a comma", b"GET / HTTP/1^^,1", Fault::Version),
        line("version in lower case", b"GET / ^^http/1.1", Fault::Version),
        line("another protocol", b"GET / ^^RTSP/1.0", Fault::Version),
        line("no version", b"GET /^^", Fault::Version),
        line("bare line feed behind the line", b"GET / HTTP/1.1^^\nX: y", Fault::BareLineFeed),
        line("bare carriage return behind the line", b"GET / HTTP/1.1^^\rX: y", Fault::BareCarriageReturn),
        line("bare line feed first", b"^^\nGET / HTTP/1.1", Fault::BareLineFeed),
        line("bare line feed behind an empty line", b"\r\n^^\nGET / HTTP/1.1", Fault::BareLineFeed),
        line("bare carriage return first", b"^^\rGET / HTTP/1.1", Fault::BareCarriageReturn),
        line("target without a slash", b"GET ^^index HTTP/1.1", Fault::TargetForm),
        line("asterisk", b"POST ^^* HTTP/1.1", Fault::TargetForm),
        line("authority with GET", b"GET ^^h:80 HTTP/1.1", Fault::TargetForm),
        line("path with CONNECT", b"CONNECT ^^/ HTTP/1.1", Fault::TargetForm),
        line("user information", b"GET ^^http://a@h/ HTTP/1.1", Fault::TargetForm),
        line("backslash in the authority", b"GET ^^http://h\\a/ HTTP/1.1", Fault::TargetForm),
        line("no authority", b"GET ^^http:///a HTTP/1.1", Fault::TargetForm),
        line("other scheme", b"GET ^^file://h/ HTTP/1.1", Fault::TargetForm),
    ]
}

fn hosts_and_names() -> Vec<Attempt> {
    let get = |name, fields: &[u8], fault| attempt(name, [b"GET / HTTP/1.1\r\n", fields, b"\r\n\r\n"].concat(), fault);
    let absolute = |name, text: &str| attempt(name, text, Fault::HostMismatch);
    let many = format!("GET / HTTP/1.1\r\n{}^^\r\n", "A: b\r\n".repeat(101));
    vec![
        get("two hosts", b"Host: a\r\nHost: ^^b", Fault::DuplicateHost),
        get("two equal hosts", b"Host: a\r\nX: y\r\nhost: ^^a", Fault::DuplicateHost),
        get("two hosts in one field", b"Host: a^^, b", Fault::Host),
        get("host with a space", b"Host: a^^ b", Fault::Host),
        get("host with a path", b"Host: a^^/b", Fault::Host),
        get("host with user information", b"Host: a^^@b", Fault::Host),
        get("host with a backslash", b"Host: a^^\\b", Fault::Host),
        get("host with a query", b"Host: a^^?b", Fault::Host),
        get("host beyond ASCII", b"Host: ^^\xc3\xa9", Fault::Host),
        absolute("host differs from the authority", "GET http://a/ HTTP/1.1\r\nHost: ^^b\r\n\r\n"),
        absolute("port differs from the authority's", "GET http://a:81/ HTTP/1.1\r\nHost: ^^a\r\n\r\n"),
        absolute("authority that ends like the host", "GET http://xa/ HTTP/1.1\r\nHost: ^^a\r\n\r\n"),
        absolute("host differs from the target of CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: ^^b:443\r\n\r\n"),
        get("no name", b"Host: h\r\n^^: b", Fault::FieldName),
        get("no colon", b"Host: h\r\nX^^", Fault::FieldName),
        get("parenthesis in a name", b"A^^(: b", Fault::FieldName),
        get("quote in a name", b"A^^\": b", Fault::FieldName),
        get("at sign in a name", b"A^^@: b", Fault::FieldName),
        get("slash in a name", b"A^^/: b", Fault::FieldName),
        get("byte beyond ASCII in a name", b"A^^\xc3\xa9: b", Fault::FieldName),
        get("control byte in a name", b"A^^\x01: b", Fault::FieldName),
        get("bare line feed in a name", b"A^^\n: b", Fault::FieldName),
        get("NUL in a value", b"A: b^^\0c", Fault::ControlByte),
        get("DEL in a value", b"A: ^^\x7f", Fault::ControlByte),
        get("escape in a value", b"A: ^^\x1b[2J", Fault::ControlByte),
        get("two carriage returns", b"A: b^^\r", Fault::BareCarriageReturn),
        get("folded value", b"A: b\r\n^^\tc", Fault::Folding),
        get("first field folded", b"^^ Host: h", Fault::Folding),
        get("bare line feed as the empty line", b"A: b\r\n^^\n", Fault::BareLineFeed),
        attempt("a field too many", many, Fault::TooManyFields),
    ]
}

#[test]
fn doubtful_lengths_and_codings() {
    refuse_all(lengths_and_codings(), Pace::AtOnce);
    refuse_all(lengths_and_codings(), Pace::ByteByByte);
}

#[test]
fn doubtful_first_lines() {
    refuse_all(first_lines(), Pace::AtOnce);
    refuse_all(first_lines(), Pace::ByteByByte);
}

#[test]
fn doubtful_hosts_and_names() {
    refuse_all(hosts_and_names(), Pace::AtOnce);
    refuse_all(hosts_and_names(), Pace::ByteByByte);
}
