//! The first line of a message with its header fields.

use super::headers::{Headers, InvalidField, Known, Span, is_field_byte, is_token};
use super::target::{self, Target};

/// A protocol version as its head declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Version {
    /// Returns the version as the first line spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Http3 => "HTTP/3.0",
        }
    }
}

/// A request method, told apart where the proxy treats it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `CONNECT`, which asks for a tunnel.
    Connect,
    /// `HEAD`, whose response has no body.
    Head,
    /// `GET`, `OPTIONS`, `TRACE`, `PUT` or `DELETE`: doing it twice is the same as doing it once.
    Idempotent,
    /// Anything else; doing it twice may not be the same as doing it once.
    Other,
}

impl Method {
    /// Recognises a method; names are case-sensitive (RFC 9110 section 9.1).
    pub fn recognise(text: &[u8]) -> Self {
        match text {
            b"CONNECT" => Self::Connect,
            b"HEAD" => Self::Head,
            b"GET" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE" => Self::Idempotent,
            _ => Self::Other,
        }
    }

    /// Tells whether a request may be sent again when it is unknown what became of it (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Head | Self::Idempotent)
    }
}

/// Tells whether the sender of a head means to keep its connection (RFC 9112 section 9.3).
fn keeps_alive(headers: &Headers, version: Version) -> bool {
    let closes = headers.lists(Known::Connection, "close");
    match version {
        Version::Http11 | Version::Http2 | Version::Http3 => !closes,
        Version::Http10 => !closes && headers.lists(Known::Connection, "keep-alive"),
    }
}

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    /// The header fields.
    pub headers: Headers,
    version: Version,
    method: Method,
    method_text: Span,
    target: Span,
    scheme: Option<Scheme>,
    /// What was seen of the body, where rules look at it.
    pub(crate) seen: Option<Box<[u8]>>,
}

/// A scheme that the request itself names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// Returns the scheme as a URI spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl RequestHead {
    /// Builds a head from the places of its parts in the text of `headers`.
    pub(crate) fn new(headers: Headers, version: Version, line: RequestLine) -> Self {
        let method = Method::recognise(headers.text(line.method));
        Self { headers, version, method, method_text: line.method, target: line.target, scheme: None, seen: None }
    }

    /// Builds a head without fields of a version that names the scheme beside the target.
    pub(crate) fn of(version: Version, method: &[u8], scheme: Option<Scheme>, target: &[u8]) -> Self {
        let mut headers = Headers::over(b"");
        let line = RequestLine { method: headers.push_text(method), target: headers.push_text(target) };
        Self { scheme, ..Self::new(headers, version, line) }
    }

    /// Returns the scheme, if the version has it beside the target.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// Tells whether the client means to keep its connection.
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.headers, self.version)
    }

    /// Tells whether the client asks for another protocol on this connection.
    ///
    /// HTTP/1.0 cannot (RFC 9110 section 7.8), and the one way into HTTP/2 that began so is gone (RFC 9113 section 3.1): it only
    /// serves to talk to a server behind a proxy's back.
    pub fn upgrades(&self) -> bool {
        self.version != Version::Http10
            && self.headers.lists(Known::Connection, "upgrade")
            && self.headers.known(Known::Upgrade).next().is_some()
            && !self.headers.lists(Known::Upgrade, "h2c")
    }

    /// Returns the version the client speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns what kind of method it is.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the method as written.
    pub fn method_text(&self) -> &[u8] {
        self.headers.text(self.method_text)
    }

    /// Returns the target as written: a path, an absolute URI, an authority or `*`.
    pub fn target(&self) -> &[u8] {
        self.headers.text(self.target)
    }

    /// Returns the parts of the target.
    pub fn target_parts(&self) -> Target<'_> {
        target::parts(self.target())
    }

    /// Puts another target in place of the one that came in.
    ///
    /// # Errors
    /// Refuses a target that would not fit between the spaces of a request line.
    pub fn set_target(&mut self, target: &[u8]) -> Result<(), InvalidField> {
        if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
            return Err(InvalidField);
        }
        self.target = self.headers.add_text(target)?;
        Ok(())
    }

    /// Puts another method in place of the one that came in.
    ///
    /// # Errors
    /// Refuses a method that is no token.
    pub fn set_method(&mut self, method: &[u8]) -> Result<(), InvalidField> {
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(InvalidField);
        }
        self.method_text = self.headers.add_text(method)?;
        self.method = Method::recognise(method);
        Ok(())
    }

    /// Returns where the target begins in the head as it came in.
    pub(crate) fn target_offset(&self) -> usize {
        self.target.start()
    }
}

/// Where the parts of a request line lie in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLine {
    pub(crate) method: Span,
    pub(crate) target: Span,
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The header fields.
    pub headers: Headers,
    version: Version,
    status: u16,
    reason: Span,
    /// What was seen of the body, where rules look at it.
    pub(crate) seen: Option<Box<[u8]>>,
}

impl ResponseHead {
    /// Builds a head from its parts; `reason` is a place in the text of `headers`.
    pub(crate) fn new(headers: Headers, version: Version, status: u16, reason: Span) -> Self {
        Self { headers, version, status, reason, seen: None }
    }

    /// Builds a head without fields.
    pub(crate) fn of(version: Version, status: u16, reason: &[u8]) -> Self {
        let mut headers = Headers::over(b"");
        let reason = headers.push_text(reason);
        Self::new(headers, version, status, reason)
    }

    /// Tells whether the server means to keep its connection.
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.headers, self.version)
    }

    /// Tells whether the server goes over to another protocol, and names it as it must (RFC 9110 section 15.2.2).
    pub fn switches_protocol(&self) -> bool {
        self.status == 101 && self.headers.lists(Known::Connection, "upgrade") && self.headers.known(Known::Upgrade).next().is_some()
    }

    /// Returns the version the server speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the status code, from 100 to 999.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the reason phrase as written, often empty.
    pub fn reason(&self) -> &[u8] {
        self.headers.text(self.reason)
    }

    /// Puts another status in place of the one that came in, with its reason phrase.
    ///
    /// # Errors
    /// Refuses a phrase with control bytes.
    pub fn set_status(&mut self, status: u16, reason: &[u8]) -> Result<(), InvalidField> {
        if !reason.iter().all(|byte| is_field_byte(*byte)) {
            return Err(InvalidField);
        }
        self.reason = self.headers.add_text(reason)?;
        self.status = status;
        Ok(())
    }

    /// Tells whether another response to the same request follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}
