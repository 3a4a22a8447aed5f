//! Heads of requests and responses.

use l7d::h1::encode::{self, Connection};
use l7d::h1::parse::{self, MAX_FIELDS, Parsed};
use l7d::h1::{Fault, framing};
use l7d::message::head::{Method, RequestHead, ResponseHead};

use super::{WORDS, fuzz};

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\r\n\r\nPOST /a?b=c HTTP/1.0\r\nHost: h:80\r\nContent-Length: 12\r\nX:  y \t\r\n\r\nbody",
    b"OPTIONS * HTTP/1.1\r\nhost: [::1]:80\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nTE: trailers\r\n\r\n",
    b"GET http://h/ HTTP/1.1\r\nHost: h\r\nA: b\r\na: c\r\nExpect: 100-continue\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\r\n",
];
const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 404 Not Here\r\nA: b\r\na:c\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 204\r\nTransfer-Encoding: chunked\r\n\r\n",
];

/// What of a head must not change on its way.
fn fields(head: &l7d::message::headers::Headers) -> Vec<(Vec<u8>, Vec<u8>)> {
    let of_connection: [&[u8]; 5] = [b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te"];
    let stays = |name: &[u8]| !of_connection.iter().any(|other| name.eq_ignore_ascii_case(other));
    head.iter().filter(|field| stays(field.name)).map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}

fn reparsed_request(head: &RequestHead) -> RequestHead {
    let mut printed = Vec::new();
    encode::request(head, Connection::Unstated, &mut printed);
    match parse::request(&printed) {
        Ok(Parsed::Complete { head, length }) if length == printed.len() => head,
        other => panic!("{:?} printed as {:?}: {other:?}", head, String::from_utf8_lossy(&printed)),
    }
}

fn reparsed_response(head: &ResponseHead) -> ResponseHead {
    let mut printed = Vec::new();
    encode::response(head, Connection::Unstated, &mut printed);
    match parse::response(&printed) {
        Ok(Parsed::Complete { head, length }) if length == printed.len() => head,
        other => panic!("{:?} printed as {:?}: {other:?}", head, String::from_utf8_lossy(&printed)),
    }
}

#[test]
fn request_heads() {
    fuzz(200_000, REQUESTS, WORDS, |bytes, seed| match parse::request(bytes) {
        Ok(Parsed::Complete { head, length }) => {
            assert!(length <= bytes.len() && bytes[..length].ends_with(b"\r\n\r\n") && head.headers.len() <= MAX_FIELDS);
            let again = reparsed_request(&head);
            assert_eq!((again.method_text(), again.target()), (head.method_text(), head.target()));
            assert_eq!(fields(&again.headers), fields(&head.headers));
            if let Ok(sent) = framing::request(&head) {
                let seen = framing::request(&again).expect("what is sent on is valid");
                assert_eq!(sent, seen, "whoever reads it next sees another body");
            }
            // Nothing behind the head takes part, and no part of it is a head.
            assert!(matches!(parse::request(&bytes[..length]), Ok(Parsed::Complete { length: again, .. }) if again == length));
            let part = seed.below(length);
            assert!(matches!(parse::request(&bytes[..part]), Ok(Parsed::Partial)));
        }
        Ok(Parsed::Partial) => {
            let part = seed.below(bytes.len() + 1);
            assert!(matches!(parse::request(&bytes[..part]), Ok(Parsed::Partial)));
        }
        Err(error) => {
            assert!(error.found.is_none() || error.found == bytes.get(error.offset).copied());
            assert_ne!(error.fault, Fault::Malformed, "no explanation");
        }
    });
}

#[test]
fn response_heads() {
    let methods = [Method::Head, Method::Connect, Method::Idempotent, Method::Other];
    fuzz(200_000, RESPONSES, WORDS, |bytes, seed| match parse::response(bytes) {
        Ok(Parsed::Complete { head, length }) => {
            assert!(length <= bytes.len() && bytes[..length].ends_with(b"\r\n\r\n") && (100..1000).contains(&head.status()));
            let again = reparsed_response(&head);
            assert_eq!((again.status(), again.reason()), (head.status(), head.reason()));
            let method = methods[seed.below(4)];
            if let Ok(sent) = framing::response(&head, method) {
                let seen = framing::response(&again, method).expect("what is sent on is valid");
                assert_eq!(sent, seen, "whoever reads it next sees another body");
            }
            let part = seed.below(length);
            assert!(matches!(parse::response(&bytes[..part]), Ok(Parsed::Partial)));
        }
        Ok(Parsed::Partial) => {
            let part = seed.below(bytes.len() + 1);
            assert!(matches!(parse::response(&bytes[..part]), Ok(Parsed::Partial)));
        }
        Err(error) => {
            assert!(error.found.is_none() || error.found == bytes.get(error.offset).copied());
            assert_ne!(error.fault, Fault::Malformed, "no explanation");
        }
    });
}
