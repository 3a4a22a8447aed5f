//! HTTP/1 on the proxied path: bytes ↔ [`crate::message`].
//!
//! [`parse`] reads heads, [`framing`] decides where a body ends, [`chunked`] follows a chunked body, [`encode`] prints heads. All of
//! it is pure and strict: what two implementations could read in two ways is refused with a [`SyntaxError`] that names the byte.

pub mod body;
pub mod chunked;
pub mod encode;
mod explain;
pub mod framing;
pub mod parse;

use std::fmt;

/// A message that is not valid HTTP/1, or whose meaning is open to doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct SyntaxError {
    /// How many bytes of the head, or of the body if the fault lies there, come before the offending one.
    pub offset: usize,
    /// The offending byte, unless the fault is that one is missing.
    pub found: Option<u8>,
    /// What is wrong.
    pub fault: Fault,
}

impl SyntaxError {
    fn at(bytes: &[u8], offset: usize, fault: Fault) -> Self {
        Self { offset, found: bytes.get(offset).copied(), fault }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(byte) => write!(f, "byte {} (0x{byte:02x}): {}", self.offset, self.fault),
            None => write!(f, "byte {}: {}", self.offset, self.fault),
        }
    }
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The method holds something that is no token character.
    #[error("method is not a token")]
    Method,
    /// The request target holds a byte that no target may hold.
    #[error("request target holds an invalid byte")]
    Target,
    /// The target is no path, absolute URI, authority or `*`, or not one this method allows.
    #[error("request target has none of the forms its method allows")]
    TargetForm,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// The status code is not three digits from 100 on.
    #[error("status code is not a number from 100 to 999")]
    Status,
    /// The status is 101, and nobody asked for another protocol, or none is named.
    #[error("status 101 without an upgrade that both sides named")]
    Switch,
    /// A line ends with LF alone.
    #[error("line ends without a carriage return")]
    BareLineFeed,
    /// A carriage return stands without LF.
    #[error("carriage return without a line feed")]
    BareCarriageReturn,
    /// A header line begins with white space.
    #[error("header line begins with white space (obsolete folding)")]
    Folding,
    /// White space stands between a field name and its colon.
    #[error("white space before the colon of a header field")]
    SpaceBeforeColon,
    /// A field name holds something that is no token character, or is empty.
    #[error("header field name is not a token")]
    FieldName,
    /// A field value or reason phrase holds a control byte.
    #[error("control byte in a field value")]
    ControlByte,
    /// There are more header fields than are accepted.
    #[error("more than {} header fields", parse::most_fields())]
    TooManyFields,
    /// `Host` is given more than once.
    #[error("more than one host field")]
    DuplicateHost,
    /// `Host` holds what no host may hold.
    #[error("host field is not a host")]
    Host,
    /// `Host` differs from the authority of the target.
    #[error("host field differs from the authority of the target")]
    HostMismatch,
    /// Both `Content-Length` and `Transfer-Encoding` are given.
    #[error("content-length beside transfer-encoding")]
    LengthWithCoding,
    /// `Content-Length` is given more than once.
    #[error("more than one content-length")]
    DuplicateLength,
    /// `Content-Length` is not a plain decimal number.
    #[error("content-length is not a plain decimal number")]
    Length,
    /// `Transfer-Encoding` is anything but `chunked` once.
    #[error("transfer-encoding is not exactly `chunked`")]
    Coding,
    /// `Transfer-Encoding` is given in HTTP/1.0, which has none.
    #[error("transfer-encoding in HTTP/1.0")]
    CodingInHttp10,
    /// A chunk does not begin with a plain hexadecimal size.
    #[error("chunk size is not a plain hexadecimal number")]
    ChunkSize,
    /// A chunk extension holds a control byte.
    #[error("chunk extension holds an invalid byte")]
    ChunkExtension,
    /// The data of a chunk is not followed by CR LF.
    #[error("chunk data is longer than its size")]
    ChunkEnd,
    /// A line that frames chunks, or all trailers together, is too long.
    #[error("chunk line or trailers too long")]
    ChunkOverhead,
    /// A trailer field decides about framing, routing or the connection.
    #[error("trailer field is not allowed in trailers")]
    Trailer,
    /// The head is wrong in a way that the explanation does not know.
    #[error("malformed head")]
    Malformed,
}
