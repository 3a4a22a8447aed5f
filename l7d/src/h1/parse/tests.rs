use proptest::prelude::*;

use super::*;

fn complete(bytes: &[u8]) -> (RequestHead, usize) {
    match request(bytes) {
        Ok(Parsed::Complete { head, length }) => (head, length),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn complete_response(bytes: &[u8]) -> (ResponseHead, usize) {
    match response(bytes) {
        Ok(Parsed::Complete { head, length }) => (head, length),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn request_keeps_order_duplicates_case_and_trims_values() {
    let bytes = b"\r\nPOST /a?b=c HTTP/1.1\r\nX-One:  1 \t\r\nHOST: h\r\nx-one: 2\r\nEmpty:\r\nBlank:   \r\n\r\nbody";
    let (head, length) = complete(bytes);
    assert_eq!(&bytes[length..], b"body");
    assert_eq!((head.method_text(), head.target(), head.version()), (&b"POST"[..], &b"/a?b=c"[..], Version::Http11));
    let fields: Vec<(&[u8], &[u8])> = head.headers.iter().map(|field| (field.name, field.value)).collect();
    let expected: [(&[u8], &[u8]); 5] = [(b"X-One", b"1"), (b"HOST", b"h"), (b"x-one", b"2"), (b"Empty", b""), (b"Blank", b"")];
    assert_eq!(fields, expected);
}

#[test]
fn response_keeps_its_reason() {
    let cases: [(&[u8], u16, &[u8], Version); 4] = [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b"OK", Version::Http11),
        (b"HTTP/1.0 404 Not \xffound\r\nA: b\r\n\r\n", 404, b"Not \xffound", Version::Http10),
        (b"HTTP/1.1 204 \r\n\r\n", 204, b"", Version::Http11),
        (b"HTTP/1.1 999\r\n\r\n", 999, b"", Version::Http11),
    ];
    for (bytes, status, reason, version) in cases {
        let (head, length) = complete_response(bytes);
        assert_eq!((head.status(), head.reason(), head.version(), length), (status, reason, version, bytes.len()));
    }
}

#[test]
fn every_prefix_of_a_valid_head_is_partial() {
    let bytes = b"GET http://h/ HTTP/1.1\r\nHost: h\r\nA:  b \r\n\r\n";
    for end in 0..bytes.len() {
        assert!(matches!(request(&bytes[..end]), Ok(Parsed::Partial)), "{end}");
    }
    let bytes = b"HTTP/1.1 200 OK\r\nHost: h\r\nA:  b \r\n\r\n";
    for end in 0..bytes.len() {
        assert!(matches!(response(&bytes[..end]), Ok(Parsed::Partial)), "{end}");
    }
}

#[test]
fn doubtful_request_heads_are_refused_at_their_byte() {
    let cases: &[(&str, &[u8], usize, Fault)] = &[
        ("bare LF after the request line", b"GET / HTTP/1.1\nHost: h\r\n\r\n", 14, Fault::BareLineFeed),
        ("bare LF after a field", b"GET / HTTP/1.1\r\nHost: h\n\r\n", 23, Fault::BareLineFeed),
        ("bare LF after an empty value", b"GET / HTTP/1.1\r\nA:\n\r\n", 18, Fault::BareLineFeed),
        ("bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: h\r\n\n", 25, Fault::BareLineFeed),
        ("bare LF before the request", b"\nGET / HTTP/1.1\r\n\r\n", 0, Fault::BareLineFeed),
        ("CR inside a value", b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 20, Fault::BareCarriageReturn),
        ("CR CR LF", b"GET / HTTP/1.1\r\nA: b\r\r\n\r\n", 20, Fault::BareCarriageReturn),
        ("folded value", b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 22, Fault::Folding),
        ("white space before the first field", b"GET / HTTP/1.1\r\n A: b\r\n\r\n", 16, Fault::Folding),
        ("space before the colon", b"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", 30, Fault::SpaceBeforeColon),
        ("tab before the colon", b"GET / HTTP/1.1\r\nA\t: 3\r\n\r\n", 17, Fault::SpaceBeforeColon),
        ("NUL in a value", b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 20, Fault::ControlByte),
        ("DEL in a value", b"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", 19, Fault::ControlByte),
        ("NUL in a name", b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n", 17, Fault::FieldName),
        ("bytes beyond ASCII in a name", b"GET / HTTP/1.1\r\nA\xc3\xa9: b\r\n\r\n", 17, Fault::FieldName),
        ("no name", b"GET / HTTP/1.1\r\n: b\r\n\r\n", 16, Fault::FieldName),
        ("no colon", b"GET / HTTP/1.1\r\nfoo\r\n\r\n", 19, Fault::FieldName),
        ("control byte in the target", b"GET /\x01 HTTP/1.1\r\n\r\n", 5, Fault::Target),
        ("byte beyond ASCII in the target", b"GET /\xe9 HTTP/1.1\r\n\r\n", 5, Fault::Target),
        ("fragment", b"GET /a#b HTTP/1.1\r\n\r\n", 6, Fault::Target),
        ("two spaces", b"GET  / HTTP/1.1\r\n\r\n", 4, Fault::Target),
        ("HTTP/0.9", b"GET /\r\n\r\n", 5, Fault::Version),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 11, Fault::Version),
        ("version 1.2", b"GET / HTTP/1.2\r\n\r\n", 13, Fault::Version),
        ("lower-case version", b"GET / http/1.1\r\n\r\n", 6, Fault::Version),
        ("space after the version", b"GET / HTTP/1.1 \r\n\r\n", 14, Fault::Version),
        ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01", 0, Fault::Method),
        ("target without a slash", b"GET index.html HTTP/1.1\r\n\r\n", 4, Fault::TargetForm),
        ("asterisk without OPTIONS", b"GET * HTTP/1.1\r\n\r\n", 4, Fault::TargetForm),
        ("other scheme", b"GET ftp://h/ HTTP/1.1\r\n\r\n", 4, Fault::TargetForm),
        ("user information", b"GET http://u@h/ HTTP/1.1\r\n\r\n", 4, Fault::TargetForm),
        ("CONNECT to a path", b"CONNECT / HTTP/1.1\r\n\r\n", 8, Fault::TargetForm),
        ("CONNECT without a port", b"CONNECT h: HTTP/1.1\r\n\r\n", 8, Fault::TargetForm),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 31, Fault::DuplicateHost),
        ("two hosts in one", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 23, Fault::Host),
        ("host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 23, Fault::Host),
        ("host and authority differ", b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 30, Fault::HostMismatch),
        ("CONNECT and host differ", b"CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", 30, Fault::HostMismatch),
        ("CONNECT and the port of the host differ", b"CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n", 30, Fault::HostMismatch),
        ("quote in the authority", b"GET http://a\"b/ HTTP/1.1\r\n\r\n", 4, Fault::TargetForm),
    ];
    for (description, bytes, offset, fault) in cases {
        let error = request(bytes).expect_err(description);
        assert_eq!((error.offset, error.fault), (*offset, *fault), "{description}");
        assert_eq!(error.found, bytes.get(*offset).copied(), "{description}");
    }
}

#[test]
fn doubtful_response_heads_are_refused_at_their_byte() {
    let cases: &[(&str, &[u8], usize, Fault)] = &[
        ("empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", 0, Fault::Version),
        ("bare LF after the status line", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", 15, Fault::BareLineFeed),
        ("bare LF after the code", b"HTTP/1.1 200\n\r\n", 12, Fault::BareLineFeed),
        ("folded value", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", 23, Fault::Folding),
        ("space before the colon", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", 18, Fault::SpaceBeforeColon),
        ("status below 100", b"HTTP/1.1 099 X\r\n\r\n", 9, Fault::Status),
        ("status of two digits", b"HTTP/1.1 20 OK\r\n\r\n", 11, Fault::Status),
        ("status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", 12, Fault::Status),
        ("control byte in the reason", b"HTTP/1.1 200 O\x01\r\n\r\n", 14, Fault::ControlByte),
        ("not HTTP", b"SSH-2.0-OpenSSH\r\n", 0, Fault::Version),
    ];
    for (description, bytes, offset, fault) in cases {
        let error = response(bytes).expect_err(description);
        assert_eq!((error.offset, error.fault), (*offset, *fault), "{description}");
    }
}

#[test]
fn valid_targets_are_accepted() {
    for bytes in [
        &b"OPTIONS * HTTP/1.1\r\n\r\n"[..],
        b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
        b"CONNECT H:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:5000 HTTP/1.1\r\nHost: h:5000\r\n\r\n",
        b"GET http://H:80/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET HTTPS://h HTTP/1.1\r\nHost: h:443\r\n\r\n",
        b"GET /%23?a=/../;x HTTP/1.0\r\n\r\n",
        b"M-SEARCH / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    ] {
        complete(bytes);
    }
}

#[test]
fn one_field_too_many_is_refused() {
    let head = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    complete(head(MAX_FIELDS).as_bytes());
    assert_eq!(request(head(MAX_FIELDS + 1).as_bytes()).unwrap_err().fault, Fault::TooManyFields);
}

#[test]
fn error_message_names_the_byte() {
    let error = request(b"GET / HTTP/1.1\r\nHost: h\n\r\n").unwrap_err();
    assert_eq!(error.to_string(), "byte 23 (0x0a): line ends without a carriage return");
}

/// Heads that are nearly right: valid pieces with noise between them.
fn nearly_a_head(first_lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(&["Host: h", "A: b", "Content-Length: 3", "Transfer-Encoding: chunked", "A:", "X : y", " folded"][..])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let end = prop_oneof![8 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\r"[..]), 1 => Just(&b" \r\n"[..])];
    (prop::sample::select(first_lines), prop::collection::vec((piece, end.clone()), 0..5), end).prop_map(|(first, lines, last)| {
        let mut bytes = first.as_bytes().to_vec();
        for (piece, end) in lines {
            bytes.extend_from_slice(&piece);
            bytes.extend_from_slice(end);
        }
        bytes.extend_from_slice(last);
        bytes
    })
}

const REQUEST_LINES: &[&str] =
    &["GET / HTTP/1.1\r\n", "\r\nPOST /x HTTP/1.0\r\n", "GET / HTTP/1.1\n", "GET / HTTP/1.3\r\n", "G\x7fT / HTTP/1.1\r\n"];
const STATUS_LINES: &[&str] =
    &["HTTP/1.1 200 OK\r\n", "HTTP/1.0 302\r\n", "HTTP/1.1 200 OK\n", "\r\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 050 X\r\n"];

proptest! {
    #[test]
    fn a_refusal_always_has_an_explanation(bytes in nearly_a_head(REQUEST_LINES)) {
        match request(&bytes) {
            Err(error) => {
                prop_assert_ne!(error.fault, Fault::Malformed);
                prop_assert_eq!(error.found, bytes.get(error.offset).copied());
            }
            Ok(Parsed::Complete { length, .. }) => prop_assert_eq!(explain::request(&bytes[..length]).fault, Fault::Malformed),
            Ok(Parsed::Partial) => {}
        }
    }

    #[test]
    fn a_refused_response_always_has_an_explanation(bytes in nearly_a_head(STATUS_LINES)) {
        match response(&bytes) {
            Err(error) => prop_assert_ne!(error.fault, Fault::Malformed),
            Ok(Parsed::Complete { length, .. }) => prop_assert_eq!(explain::response(&bytes[..length]).fault, Fault::Malformed),
            Ok(Parsed::Partial) => {}
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = request(&bytes);
        let _ = response(&bytes);
    }

    #[test]
    fn a_fault_does_not_depend_on_how_the_bytes_arrive(bytes in nearly_a_head(REQUEST_LINES)) {
        let whole = request(&bytes).map(|_| ()).map_err(|error| error.offset);
        for end in 0..bytes.len() {
            if let Err(early) = request(&bytes[..end]) {
                prop_assert_eq!(Err(early.offset), whole);
                break;
            }
        }
    }
}
