//! The answers we give ourselves: when no server can, when none is asked, and when a rule does.

mod file;

use std::sync::Arc;

use crate::forward::Fate;
use crate::h1::encode::{self, Connection};
use crate::message::head::{ResponseHead, Version};
use crate::message::headers::InvalidField;
pub(crate) use file::ErrorFile;

/// A whole response of our own.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status it stands for, which that of a file may differ from.
    status: u16,
    content: Box<Content>,
    closes: bool,
}

/// What a reply says.
#[derive(Debug)]
enum Content {
    /// The page that tells what the status means, unless the proxy has another.
    Usual,
    /// This.
    Own { head: ResponseHead, content_type: Option<Box<[u8]>>, body: Vec<u8> },
    /// This, with everything its head has to say.
    Whole { head: ResponseHead, body: Arc<[u8]> },
    /// Nothing at all.
    Silence,
}

impl Reply {
    /// Returns a response without a body.
    pub(crate) fn new(status: u16) -> Self {
        let head = ResponseHead::of(Version::Http11, status, reason(status).as_bytes());
        Self { status, content: Box::new(Content::Own { head, content_type: None, body: Vec::new() }), closes: false }
    }

    /// Returns what is answered with a status by whoever has no other answer: a page that tells what it means.
    pub(crate) fn page(status: u16) -> Self {
        Self { status, content: Box::new(Content::Usual), closes: false }
    }

    /// Returns what a file says, in place of the page of a status.
    pub(crate) fn of_file(status: u16, file: &ErrorFile) -> Self {
        match file {
            ErrorFile::Silence => Self { status, content: Box::new(Content::Silence), closes: true },
            ErrorFile::Response(response) => {
                let content = Content::Whole { head: response.head(), body: Arc::clone(&response.body) };
                Self { status, content: Box::new(content), closes: response.closes }
            }
        }
    }

    /// Returns a redirection, in place of the page of a status.
    pub(crate) fn of_location(status: u16, code: u16, location: &[u8]) -> Self {
        let mut head = ResponseHead::of(Version::Http11, code, reason(code).as_bytes());
        for (name, value) in [(&b"Cache-Control"[..], &b"no-cache"[..]), (b"Content-Length", b"0"), (b"Location", location)] {
            head.headers.append(name, value).expect("locations are checked at load");
        }
        Self { status, content: Box::new(Content::Whole { head, body: Arc::default() }), closes: false }
    }

    /// Adds a field; a page that only tells what its status means, and what a file says, keep those they have.
    ///
    /// # Errors
    /// Refuses what would end the field or the head.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        match &mut *self.content {
            Content::Own { head, .. } => head.headers.append(name, value),
            Content::Usual | Content::Whole { .. } | Content::Silence => Ok(()),
        }
    }

    /// Gives it a body.
    pub(crate) fn set_body(&mut self, content_type: &[u8], body: Vec<u8>) {
        let content_type = Some(content_type.into());
        let head = ResponseHead::of(Version::Http11, self.status, reason(self.status).as_bytes());
        let head = match std::mem::replace(&mut *self.content, Content::Silence) {
            Content::Own { head, .. } => head,
            Content::Usual | Content::Whole { .. } | Content::Silence => head,
        };
        *self.content = Content::Own { head, content_type, body };
    }

    /// Closes the connection behind it.
    pub(crate) fn close(&mut self) {
        self.closes = true;
    }

    /// Returns the status it stands for.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Tells whether it only says what its status means, so that the proxy may have another answer.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(*self.content, Content::Usual)
    }

    /// Tells whether the connection closes behind it whatever the client asked for.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Lets rules change the head, if anything is said.
    pub(crate) fn revise(&mut self, change: impl FnOnce(&mut ResponseHead)) {
        let (mut head, body) = match std::mem::replace(&mut *self.content, Content::Silence) {
            Content::Silence => return,
            Content::Whole { head, body } => (head, body),
            Content::Own { head, content_type, body } => (measured(head, content_type.as_deref(), &body), body.into()),
            Content::Usual => {
                let (head, body) = usual(self.status);
                (head, Arc::from(body.as_slice()))
            }
        };
        let before = head.status();
        change(&mut head);
        if head.status() != before {
            self.status = head.status();
        }
        *self.content = Content::Whole { head, body };
    }

    /// Prints it for HTTP/1; nothing if nothing is said.
    pub(crate) fn print(self, body_of: BodyOf, connection: Connection) -> Vec<u8> {
        let (head, body) = match *self.content {
            Content::Silence => return Vec::new(),
            Content::Whole { head, body } => (head, Bytes::Shared(body)),
            Content::Own { head, content_type, body } => (measured(head, content_type.as_deref(), &body), Bytes::Own(body)),
            Content::Usual => usual(self.status),
        };
        let mut out = Vec::new();
        encode::response(&head, connection, &mut out);
        if body_of == BodyOf::Any && has_content(head.status()) {
            out.extend_from_slice(body.as_slice());
        }
        out
    }
}

enum Bytes {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Returns the page that tells what a status means.
fn usual(status: u16) -> (ResponseHead, Bytes) {
    let (reason, explanation) = (reason(status), explanation(status));
    let title = format!("{status} {reason}");
    let body = format!("<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{explanation}</p></body></html>\n").into_bytes();
    let mut head = ResponseHead::of(Version::Http11, status, reason.as_bytes());
    head.headers.append(b"Cache-Control", b"no-cache").expect("plain text");
    (measured(head, Some(b"text/html"), &body), Bytes::Own(body))
}

/// Adds what is said about a body.
fn measured(mut head: ResponseHead, content_type: Option<&[u8]>, body: &[u8]) -> ResponseHead {
    if has_content(head.status()) {
        head.headers.append(b"Content-Length", body.len().to_string().as_bytes()).expect("digits");
    }
    if let Some(content_type) = content_type {
        head.headers.append(b"Content-Type", content_type).expect("checked at load");
    }
    head
}

/// Tells whether a status has content, which alone can be measured (RFC 9110 section 8.6).
fn has_content(status: u16) -> bool {
    !matches!(status, 100..200 | 204 | 304)
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

const PAGES: [(u16, &str, &str); 19] = [
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
    (501, "Not Implemented", "This cannot be done here."),
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
