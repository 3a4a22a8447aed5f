//! The answers we give ourselves: when no server can, when none is asked, and when a rule does.

use crate::forward::Fate;
use crate::h1::encode::{self, Connection};
use crate::message::head::{ResponseHead, Version};
use crate::message::headers::InvalidField;

/// A whole response of our own.
#[derive(Debug)]
pub(crate) struct Reply {
    head: ResponseHead,
    content_type: Option<Box<[u8]>>,
    body: Vec<u8>,
}

impl Reply {
    /// Returns a response without a body.
    pub(crate) fn new(status: u16) -> Self {
        Self { head: ResponseHead::of(Version::Http11, status, reason(status).as_bytes()), content_type: None, body: Vec::new() }
    }

    /// Returns a response whose body tells what its status means.
    pub(crate) fn page(status: u16) -> Self {
        let (reason, explanation) = (reason(status), explanation(status));
        let title = format!("{status} {reason}");
        let body = format!("<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{explanation}</p></body></html>\n");
        let mut reply = Self { content_type: Some(b"text/html"[..].into()), body: body.into_bytes(), ..Self::new(status) };
        reply.add(b"Cache-Control", b"no-cache").expect("plain text");
        reply
    }

    /// Adds a field.
    ///
    /// # Errors
    /// Refuses what would end the field or the head.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        self.head.headers.append(name, value)
    }

    /// Gives it a body.
    pub(crate) fn set_body(&mut self, content_type: &[u8], body: Vec<u8>) {
        self.content_type = Some(content_type.into());
        self.body = body;
    }

    /// Returns the status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// Prints it for HTTP/1.
    pub(crate) fn print(mut self, body: BodyOf, connection: Connection) -> Vec<u8> {
        // A status without content has none to measure (RFC 9110 section 8.6).
        let measured = !matches!(self.status(), 100..200 | 204 | 304);
        if measured {
            let length = self.body.len().to_string();
            self.add(b"Content-Length", length.as_bytes()).expect("digits");
        }
        if let Some(content_type) = self.content_type.take() {
            self.add(b"Content-Type", &content_type).expect("checked at load");
        }
        let mut out = Vec::new();
        encode::response(&self.head, connection, &mut out);
        if body == BodyOf::Any && measured {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// Returns the whole answer to who asks whether we are there.
pub(crate) fn ready(body: BodyOf, fate: Fate) -> Vec<u8> {
    let page = "<html><body><h1>200 OK</h1><p>Ready.</p></body></html>\n";
    let close = if fate == Fate::Close { "Connection: close\r\n" } else { "" };
    let page_length = page.len();
    let page = if body == BodyOf::Any { page } else { "" };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {page_length}\r\nCache-Control: no-cache\r\n{close}Content-Type: text/html\r\n\r\n{page}")
        .into_bytes()
}

/// Which request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyOf {
    /// One with `HEAD`, whose response has no body.
    Head,
    /// Any other.
    Any,
}

/// Tells whether there is something to tell about a status.
pub(crate) fn has_page(status: u16) -> bool {
    PAGES.iter().any(|(known, _, _)| *known == status)
}

/// Returns the usual reason phrase of a status.
pub(crate) fn reason(status: u16) -> &'static str {
    let page = PAGES.iter().find(|(known, _, _)| *known == status).map(|(_, reason, _)| *reason);
    page.or_else(|| http::StatusCode::from_u16(status).ok()?.canonical_reason()).unwrap_or("Other")
}

fn explanation(status: u16) -> &'static str {
    let page = PAGES.iter().find(|(known, _, _)| *known == status).map(|(_, _, explanation)| *explanation);
    page.unwrap_or("The request could not be answered.")
}

const PAGES: [(u16, &str, &str); 18] = [
    (200, "OK", "The request was carried out."),
    (400, "Bad Request", "The request could not be understood."),
    (401, "Unauthorized", "This needs a name and a password."),
    (403, "Forbidden", "This request is not allowed."),
    (404, "Not Found", "There is nothing here."),
    (405, "Method Not Allowed", "This cannot be done here."),
    (407, "Proxy Authentication Required", "This needs a name and a password."),
    (408, "Request Timeout", "The request took too long to arrive."),
    (410, "Gone", "What was here is gone."),
    (413, "Content Too Large", "The request is larger than allowed."),
    (421, "Misdirected Request", "This host is not served here."),
    (422, "Unprocessable Content", "The request could not be carried out."),
    (425, "Too Early", "This request should be repeated later."),
    (429, "Too Many Requests", "There were too many requests in a short time."),
    (500, "Internal Server Error", "The request could not be answered."),
    (502, "Bad Gateway", "The server's answer was invalid or incomplete."),
    (503, "Service Unavailable", "No server is ready to answer this request."),
    (504, "Gateway Timeout", "The server took too long to answer."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::framing;
    use crate::h1::parse::{self, Parsed};
    use crate::message::body::Framing;
    use crate::message::head::Method;

    #[test]
    fn every_page_is_a_valid_response_of_the_declared_length() {
        for (status, _, _) in PAGES {
            let wire = Reply::page(status).print(BodyOf::Any, Connection::Close);
            let Ok(Parsed::Complete { head, length }) = parse::response(&wire) else { panic!("{status}") };
            assert_eq!(head.status(), status);
            assert_eq!(framing::response(&head, Method::Other), Ok(Framing::Length((wire.len() - length) as u64)));
            assert_eq!(Reply::page(status).print(BodyOf::Head, Connection::Close), wire[..length]);
        }
    }

    #[test]
    fn a_status_without_content_has_no_length() {
        let wire = Reply::new(204).print(BodyOf::Any, Connection::Unstated);
        assert_eq!(wire, b"HTTP/1.1 204 No Content\r\n\r\n");
    }
}
