//! Bytes → message heads.
//!
//! `httparse` does the reading; what it forgives and others read differently (bare LF, bytes beyond ASCII in a target, several
//! `Host` fields) is refused here. Where the body ends is left to [`super::framing`].

use std::mem::MaybeUninit;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use control::config::HeadLimits;
use httparse::{Header, ParserConfig, Status};

use super::{Fault, SyntaxError, explain};
use crate::buffer::{Buffer, LARGE, SMALL};
use crate::message::head::{Method, RequestHead, RequestLine, ResponseHead, Version};
use crate::message::headers::{Headers, Known, Span};

/// The outcome of reading a head that has no fault so far.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The head is not complete.
    Partial,
    /// The head is complete.
    Complete {
        /// The head.
        head: T,
        /// How many bytes it took, the empty line included.
        length: usize,
    },
}

/// Reads a request head from the beginning of `bytes`.
///
/// # Errors
/// Names the first byte that makes the head invalid.
pub fn request(bytes: &[u8]) -> Result<Parsed<RequestHead>, SyntaxError> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; SLOTS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut slots[..most_fields()]) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Parsed::Partial),
        Err(_) => return Err(explain::request(bytes)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(explain::request(bytes));
    };
    let line = RequestLine { method: Span::within(bytes, method.as_bytes()), target: Span::within(bytes, target.as_bytes()) };
    let first_line_end = line.target.start() + target.len() + " HTTP/1.1".len();
    let empty_lines = bytes[..line.method.start()].chunks(2).all(|pair| pair == b"\r\n");
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic());
    if !empty_lines || !is_plain || !lines_are_whole(&bytes[..length], first_line_end, request.headers) {
        return Err(explain::request(bytes));
    }
    let head = RequestHead::new(collect(&bytes[..length], request.headers), version(minor), line);
    check_target(&head)?;
    check_host(&head)?;
    Ok(Parsed::Complete { head, length })
}

/// Reads a response head from the beginning of `bytes`.
///
/// # Errors
/// Names the first byte that makes the head invalid.
pub fn response(bytes: &[u8]) -> Result<Parsed<ResponseHead>, SyntaxError> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; SLOTS];
    let mut response = httparse::Response::new(&mut []);
    let length = match ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut slots[..most_fields()]) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Parsed::Partial),
        Err(_) => return Err(explain::response(bytes)),
    };
    let (Some(minor), Some(status)) = (response.version, response.code) else {
        return Err(explain::response(bytes));
    };
    // httparse steps over empty lines first, which in a response are the remains of something else.
    let line_length = bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default().saturating_sub(1);
    let whole = bytes.starts_with(b"HTTP/1.") && lines_are_whole(&bytes[..length], line_length, response.headers);
    if !whole || status < 100 {
        return Err(explain::response(bytes));
    }
    let reason = Span::new(STATUS_LINE.min(line_length), line_length);
    let head = ResponseHead::new(collect(&bytes[..length], response.headers), version(minor), status, reason);
    Ok(Parsed::Complete { head, length })
}

/// Returns the fault of a response that goes over to another protocol when it must not, at its status.
pub(crate) fn unexpected_switch() -> SyntaxError {
    SyntaxError { offset: "HTTP/1.1 ".len(), found: Some(b'1'), fault: Fault::Switch }
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

fn collect(head: &[u8], fields: &[Header<'_>]) -> Headers {
    let mut headers = Headers::over(head);
    for field in fields {
        headers.push_span(Span::within(head, field.name.as_bytes()), Span::within(head, field.value));
    }
    headers
}

/// Tells whether every line ends with CR LF, which httparse does not insist on.
fn lines_are_whole(head: &[u8], first_line_end: usize, fields: &[Header<'_>]) -> bool {
    let ends_line = |at: usize| head.get(at..).is_some_and(|rest| rest.starts_with(b"\r\n"));
    let field_ends = |field: &Header<'_>| {
        let end = Span::within(head, field.value).start() + field.value.len();
        let padding = head[end..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        ends_line(end + padding)
    };
    ends_line(first_line_end) && fields.iter().all(field_ends) && head.ends_with(b"\r\n")
}

/// Checks that the target has one of the forms its method allows (RFC 9112 section 3.2).
fn check_target(head: &RequestHead) -> Result<(), SyntaxError> {
    let target = head.target();
    let fits = match head.method() {
        Method::Connect => authority_port(target).is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit)),
        Method::Head | Method::Idempotent | Method::Other => {
            target.first() == Some(&b'/') || (target == b"*" && head.method_text() == b"OPTIONS") || absolute_authority(target).is_some()
        }
    };
    if !fits {
        return Err(SyntaxError { offset: head.target_offset(), found: target.first().copied(), fault: Fault::TargetForm });
    }
    // A fragment never leaves the client; whoever strips it and whoever does not would see two different resources.
    match target.iter().position(|byte| *byte == b'#') {
        Some(at) => Err(SyntaxError { offset: head.target_offset() + at, found: Some(b'#'), fault: Fault::Target }),
        None => Ok(()),
    }
}

/// Checks that there is at most one host, and that a target with an authority names the same one.
fn check_host(head: &RequestHead) -> Result<(), SyntaxError> {
    let mut hosts = head.headers.known_spans(Known::Host);
    let Some((span, host)) = hosts.next() else { return Ok(()) };
    let error = |offset: usize, found: Option<u8>, fault| Err(SyntaxError { offset, found, fault });
    if let Some((second, value)) = hosts.next() {
        return error(second.start(), value.first().copied(), Fault::DuplicateHost);
    }
    if let Some(at) = host.iter().position(|byte| !is_host_byte(*byte)) {
        return error(span.start() + at, Some(host[at]), Fault::Host);
    }
    let is_same = match (head.method(), absolute_authority(head.target())) {
        (Method::Connect, _) => same_host(head.target(), host, default_port(head.target())),
        (Method::Head | Method::Idempotent | Method::Other, Some((authority, port))) => same_host(authority, host, port),
        (Method::Head | Method::Idempotent | Method::Other, None) => true,
    };
    if is_same { Ok(()) } else { error(span.start(), host.first().copied(), Fault::HostMismatch) }
}

/// Tells whether a byte may stand in a host with its port.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"/?#@,\\\"<>".contains(&byte)
}

/// Returns the authority of an absolute `http` or `https` URI and its scheme's port.
fn absolute_authority(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let prefix_matches = |prefix: &str| target.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
    let (rest, port): (_, &[u8]) = match target {
        _ if prefix_matches("http://") => (&target[7..], b":80"),
        _ if prefix_matches("https://") => (&target[8..], b":443"),
        _ => return None,
    };
    let authority = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default();
    (!authority.is_empty() && authority.iter().all(|byte| is_host_byte(*byte))).then_some((authority, port))
}

/// Tells whether two hosts are the same, one of which may leave out the port that goes without saying.
fn same_host(authority: &[u8], host: &[u8], default_port: &[u8]) -> bool {
    let trim = |text: &'_ [u8]| text.strip_suffix(default_port).unwrap_or(text).to_ascii_lowercase();
    trim(authority) == trim(host)
}

/// Returns the port with its colon that need not be repeated in `Host` beside this `CONNECT` target: those of the web.
fn default_port(target: &[u8]) -> &[u8] {
    match target.iter().rposition(|byte| *byte == b':').map(|colon| &target[colon..]) {
        Some(port @ (b":80" | b":443")) => port,
        _ => b"",
    }
}

fn authority_port(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().rposition(|byte| *byte == b':')?;
    let host = &target[..colon];
    let is_host = !host.is_empty() && host.iter().all(|byte| is_host_byte(*byte));
    is_host.then(|| &target[colon + 1..])
}

/// How many header fields a message may have.
static MOST_FIELDS: AtomicUsize = AtomicUsize::new(MAX_FIELDS);
/// How many bytes a head may have.
static MOST_BYTES: AtomicUsize = AtomicUsize::new(SMALL);

/// Lets heads be as large as the configuration says.
pub(crate) fn follow(limits: HeadLimits) {
    MOST_FIELDS.store(limits.fields().unwrap_or(MAX_FIELDS).min(SLOTS), Relaxed);
    MOST_BYTES.store(limits.bytes().unwrap_or(SMALL).min(LARGE), Relaxed);
}

/// Returns how many header fields a message may have.
pub(super) fn most_fields() -> usize {
    MOST_FIELDS.load(Relaxed)
}

/// Returns how many bytes a head may have.
pub(crate) fn most_bytes() -> usize {
    MOST_BYTES.load(Relaxed)
}

/// Tells whether a head may have so many bytes.
pub(crate) fn may_be(length: usize) -> bool {
    length <= MOST_BYTES.load(Relaxed)
}

/// Makes room for more of a head that is not complete; tells whether it may go on.
pub(crate) fn goes_on(input: &mut Buffer) -> bool {
    let most = MOST_BYTES.load(Relaxed);
    if input.len() >= most {
        return false;
    }
    if input.make_room() == 0 && most > SMALL {
        input.grow();
    }
    input.make_room() > 0
}

/// How many header fields there is room for while a head is read.
const SLOTS: usize = 1024;
/// Most header fields a message may have unless something else is said; HAProxy's default of 101 counts the first line too.
pub const MAX_FIELDS: usize = 100;
/// Length of `HTTP/1.1 200 `, behind which the reason phrase begins.
const STATUS_LINE: usize = 13;

#[cfg(test)]
mod tests;
