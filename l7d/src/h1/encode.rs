//! Message heads → bytes.
//!
//! Prints what the message model holds, in its order, and replaces the fields that only concern one connection. The body is not
//! touched: it keeps the framing its head declares.

use crate::message::head::{RequestHead, ResponseHead};
use crate::message::headers::{Headers, Known};

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
pub fn request(head: &RequestHead, connection: Connection, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method_text());
    out.push(b' ');
    out.extend_from_slice(head.target());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(&head.headers, connection, Coding::Stays, out);
}

/// Appends a response head.
pub fn response(head: &ResponseHead, connection: Connection, out: &mut Vec<u8>) {
    status_line(head, out);
    fields(&head.headers, connection, Coding::Stays, out);
}

/// Appends a response head for a body whose chunks are taken apart, as a peer that speaks HTTP/1.0 needs it.
pub fn response_without_coding(head: &ResponseHead, connection: Connection, out: &mut Vec<u8>) {
    status_line(head, out);
    fields(&head.headers, connection, Coding::Goes, out);
}

fn status_line(head: &ResponseHead, out: &mut Vec<u8>) {
    let status = head.status();
    let digit = |value: u16| b'0' + u8::try_from(value % 10).expect("a remainder of ten is one digit");
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
}

/// Whether the transfer coding of a message is kept.
#[derive(PartialEq, Eq)]
enum Coding {
    Stays,
    Goes,
}

fn fields(headers: &Headers, connection: Connection, coding: Coding, out: &mut Vec<u8>) {
    for field in headers.iter() {
        let stays = match field.known {
            Known::Connection | Known::KeepAlive | Known::ProxyConnection => false,
            Known::Upgrade => connection == Connection::Upgrade,
            Known::TransferEncoding => coding == Coding::Stays,
            Known::ContentLength | Known::Expect | Known::Host | Known::Other => true,
        };
        if stays {
            out.extend_from_slice(field.name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value);
            out.extend_from_slice(b"\r\n");
        }
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
        let wire = b"GET /a HTTP/1.0\r\nb: 1\r\nConnection: close, x\r\nKeep-Alive: 5\r\nA: 2\r\nProxy-Connection: x\r\nUpgrade: ws\r\nb: 3\r\n\r\n";
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
