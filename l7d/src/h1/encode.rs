//! Message heads → bytes.
//!
//! Prints what the message model holds, in its order, and replaces the fields that only concern one connection. The body is not
//! touched: it keeps the framing its head declares; a status that never has a body loses what its head declares (RFC 9110 section
//! 8.6), because not every reader knows to ignore it.

use crate::message::head::{RequestHead, ResponseHead, Version};
use crate::message::headers::{Headers, Known, lists};

/// What the head says about the connection it travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: HTTP/1.1 keeps the connection open.
    Unstated,
    /// It stays open, said aloud for a peer that speaks HTTP/1.0.
    KeepAlive,
    /// It closes behind this message.
    Close,
    /// It becomes something else, as the `Upgrade` field says.
    Upgrade,
}

/// Appends a request head.
///
/// It says HTTP/1.1 whatever the client said (RFC 9110 section 6.2), unless that would be invalid: without `Host` a request of
/// HTTP/1.0 stays one, and closes its connection as such requests do.
pub fn request(head: &RequestHead, connection: Connection, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method_text());
    out.push(b' ');
    out.extend_from_slice(head.target());
    if head.version() == Version::Http10 && head.headers.known(Known::Host).next().is_none() {
        out.extend_from_slice(b" HTTP/1.0\r\n");
        return fields(&head.headers, Connection::Close, Framing::Stays, out);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(&head.headers, connection, Framing::Stays, out);
}

/// Appends a response head.
pub fn response(head: &ResponseHead, connection: Connection, out: &mut Vec<u8>) {
    status_line(head, out);
    let framing = if matches!(head.status(), 100..200 | 204) { Framing::Goes } else { Framing::Stays };
    fields(&head.headers, connection, framing, out);
}

/// Appends a response head for a body whose chunks are taken apart, as a peer that speaks HTTP/1.0 needs it.
pub fn response_without_coding(head: &ResponseHead, connection: Connection, out: &mut Vec<u8>) {
    status_line(head, out);
    fields(&head.headers, connection, Framing::Goes, out);
}

fn status_line(head: &ResponseHead, out: &mut Vec<u8>) {
    let status = head.status();
    let digit = |value: u16| b'0' + u8::try_from(value % 10).expect("a remainder of ten is one digit");
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
}

/// Whether a message keeps the fields that say where its body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Stays,
    Goes,
}

fn fields(headers: &Headers, connection: Connection, framing: Framing, out: &mut Vec<u8>) {
    for field in headers.iter() {
        let value = match field.known {
            Known::Connection | Known::KeepAlive | Known::ProxyConnection => continue,
            Known::Upgrade if connection != Connection::Upgrade => continue,
            Known::TransferEncoding | Known::ContentLength if framing == Framing::Goes => continue,
            // The other codings it may name are this hop's business, and this proxy knows none (RFC 9110 section 10.1.4).
            Known::Te if lists(field.value, "trailers") => b"trailers",
            Known::Te => continue,
            Known::ContentLength | Known::Expect | Known::Host | Known::Other | Known::TransferEncoding | Known::Upgrade => field.value,
        };
        out.extend_from_slice(field.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(match connection {
        Connection::Unstated => b"\r\n",
        Connection::KeepAlive => b"Connection: keep-alive\r\n\r\n",
        Connection::Close => b"Connection: close\r\n\r\n",
        Connection::Upgrade => b"Connection: upgrade\r\n\r\n",
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::h1::parse::{self, Parsed};

    fn reprinted(bytes: &[u8], connection: Connection) -> Vec<u8> {
        let Parsed::Complete { head, .. } = parse::request(bytes).unwrap() else { panic!("incomplete") };
        let mut out = Vec::new();
        request(&head, connection, &mut out);
        out
    }

    #[test]
    fn only_the_fields_of_the_connection_change() {
        let wire = b"GET /a HTTP/1.1\r\nb: 1\r\nConnection: close, x\r\nKeep-Alive: 5\r\nA: 2\r\nProxy-Connection: x\r\nUpgrade: ws\r\nb: 3\r\n\r\n";
        assert_eq!(reprinted(wire, Connection::Unstated), b"GET /a HTTP/1.1\r\nb: 1\r\nA: 2\r\nb: 3\r\n\r\n");
        assert_eq!(reprinted(wire, Connection::Close), b"GET /a HTTP/1.1\r\nb: 1\r\nA: 2\r\nb: 3\r\nConnection: close\r\n\r\n");
        let upgraded = b"GET /a HTTP/1.1\r\nb: 1\r\nA: 2\r\nUpgrade: ws\r\nb: 3\r\nConnection: upgrade\r\n\r\n";
        assert_eq!(reprinted(wire, Connection::Upgrade), upgraded);
    }

    #[test]
    fn response_line_is_printed_with_three_digits_and_its_reason() {
        for (status, reason) in [(100, "Continue"), (207, ""), (999, "x y")] {
            let wire = format!("HTTP/1.0 {status} {reason}\r\nA: b\r\n\r\n");
            let Parsed::Complete { head, .. } = parse::response(wire.as_bytes()).unwrap() else { panic!("incomplete") };
            let mut out = Vec::new();
            response(&head, Connection::Unstated, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 {status} {reason}\r\nA: b\r\n\r\n"));
        }
    }

    #[test]
    fn only_trailers_are_asked_for() {
        let wire = b"GET / HTTP/1.1\r\nTE: gzip;q=0.5 , Trailers\r\nte: deflate\r\nA: b\r\n\r\n";
        assert_eq!(reprinted(wire, Connection::Unstated), b"GET / HTTP/1.1\r\nTE: trailers\r\nA: b\r\n\r\n");
    }

    #[test]
    fn request_without_a_host_stays_as_old_as_it_is() {
        let old = b"GET / HTTP/1.0\r\nA: b\r\n\r\n";
        assert_eq!(reprinted(old, Connection::Unstated), b"GET / HTTP/1.0\r\nA: b\r\nConnection: close\r\n\r\n");
        let hosted = b"GET / HTTP/1.0\r\nHost: h\r\n\r\n";
        assert_eq!(reprinted(hosted, Connection::Unstated), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    }

    #[test]
    fn status_without_a_body_declares_none() {
        for (status, kept) in [(103, ""), (204, ""), (205, "Content-Length: 5\r\n"), (304, "Content-Length: 5\r\n")] {
            let wire = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\nA: b\r\n\r\n");
            let Parsed::Complete { head, .. } = parse::response(wire.as_bytes()).unwrap() else { panic!("incomplete") };
            let mut out = Vec::new();
            response(&head, Connection::Unstated, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 {status} X\r\n{kept}A: b\r\n\r\n"));
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(fields in prop::collection::vec(("[A-Za-z-]{1,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..20)) {
            let fields: Vec<_> = fields.into_iter().filter(|(name, _)| Known::recognise(name.as_bytes()) == Known::Other).collect();
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let wire = format!("PUT /x HTTP/1.1\r\n{lines}\r\n");
            prop_assert_eq!(reprinted(wire.as_bytes(), Connection::Unstated), wire.as_bytes());
        }
    }
}
