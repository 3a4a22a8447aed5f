//! What is in the first bytes of a connection, before anybody has agreed on what they mean.
//!
//! Bytes come piece by piece. What more of them could change is noted in the [`Content`], so that whoever asked may wait.

use super::Needs;
use crate::client_hello::{self, ClientHello, ClientHelloError, Peek};
use crate::h1::parse::{self, Parsed};
use crate::rdp;
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::{Content, View};

/// Whose bytes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Origin {
    Client,
    Server,
    /// Those the rule is about.
    AtHand,
}

impl Origin {
    fn content<'v>(self, view: &View<'v>) -> Option<&'v Content<'v>> {
        match self {
            Self::Client => view.scene.content,
            Self::Server => view.scene.answer,
            Self::AtHand => view.scene.answer.or(view.scene.content),
        }
    }
}

/// Something in the first bytes of a connection.
#[derive(Debug)]
pub(in crate::rules) enum Bytes {
    /// How many there are.
    Length,
    /// Some of them; none for the length means all that follow.
    Payload { start: usize, length: Option<usize> },
    /// As many of them as a number among them says.
    Measured { at: usize, size: usize, start: Start },
    /// Whether they begin a request of HTTP.
    IsHttp,
    /// The type of the first message of TLS.
    TlsMessage,
    /// The name a client of TLS asks for.
    TlsName,
    /// The version a client of TLS offers.
    TlsVersion,
    /// The protocols a client of TLS offers.
    TlsProtocols,
    /// The cookie of this name that a client of RDP sends, or of any.
    RdpCookie(Option<Box<[u8]>>),
    /// Whether there is one.
    RdpCookieCount(Option<Box<[u8]>>),
    /// Whether all bytes have come that are waited for.
    WaitEnd,
}

/// Where bytes begin whose number is written among them.
#[derive(Debug, Clone, Copy)]
pub(in crate::rules) enum Start {
    /// There.
    At(usize),
    /// So far behind the number.
    Behind(usize),
    /// So far before the end of the number.
    Before(usize),
}

impl Bytes {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Length | Self::TlsMessage | Self::TlsVersion | Self::RdpCookieCount(_) => Kind::Int,
            Self::IsHttp | Self::WaitEnd => Kind::Bool,
            Self::Payload { .. } | Self::Measured { .. } => Kind::Binary,
            Self::TlsName | Self::TlsProtocols | Self::RdpCookie(_) => Kind::Text,
        }
    }

    pub(super) fn needs(&self, origin: Origin) -> Needs {
        match (self, origin) {
            (Self::WaitEnd | Self::IsHttp, _) => Needs::Connection,
            (_, Origin::Server) => Needs::Response,
            (_, Origin::Client | Origin::AtHand) => Needs::Content,
        }
    }

    pub(super) fn find<'v>(&self, origin: Origin, view: &View<'v>) -> Option<Sample<'v>> {
        match (self, origin.content(view)) {
            // Where nothing is waited for, everything has come.
            (Self::WaitEnd, content) => return (!content.is_some_and(Content::could_change)).then_some(Sample::Bool(true)),
            (Self::IsHttp, _) if view.request.is_some() => return Some(Sample::Bool(true)),
            _ => {}
        }
        let content = origin.content(view)?;
        let bytes = content.bytes()?;
        match self {
            Self::Length => {
                content.could_change();
                i64::try_from(bytes.len()).ok().map(Sample::Int)
            }
            Self::Payload { start, length } => match length {
                Some(length) => part(content, bytes, *start, *length),
                None if content.could_change() => None,
                None => bytes.get(*start..).map(|rest| Sample::Binary(rest.into())),
            },
            Self::Measured { at, size, start } => measured(content, bytes, *at, *size, *start),
            Self::IsHttp | Self::WaitEnd => is_http(content, bytes).map(Sample::Bool),
            Self::TlsMessage if origin == Origin::Server => tls_message(content, bytes).map(Sample::Int),
            Self::TlsMessage => match client_hello::peek(bytes) {
                Ok(Peek::Complete(_)) => Some(Sample::Int(1)),
                Ok(Peek::Partial) => lack(content),
                Err(ClientHelloError::OtherMessage(kind)) => Some(Sample::Int(kind.into())),
                Err(ClientHelloError::NotTls | ClientHelloError::TooLong(_) | ClientHelloError::Malformed) => None,
            },
            Self::TlsName => hello(content, bytes)?.server_name.map(|name| Sample::own(name.into_bytes())),
            Self::TlsVersion => {
                let version = hello(content, bytes)?.version;
                Some(Sample::Int(i64::from(version >> 8) << 16 | i64::from(version & 0xff)))
            }
            Self::TlsProtocols => {
                let protocols = hello(content, bytes)?.protocols;
                (!protocols.is_empty()).then(|| Sample::own(protocols.join(&b',')))
            }
            Self::RdpCookie(name) => rdp_cookie(content, bytes, name.as_deref()).flatten().map(Sample::text),
            Self::RdpCookieCount(name) => rdp_cookie(content, bytes, name.as_deref()).map(|found| Sample::Int(found.map_or(0, |_| 1))),
        }
    }
}

/// Notes that more bytes could tell.
fn lack<T>(content: &Content<'_>) -> Option<T> {
    content.could_change();
    None
}

fn part<'v>(content: &Content<'_>, bytes: &'v [u8], start: usize, length: usize) -> Option<Sample<'v>> {
    let end = start.checked_add(length)?;
    match bytes.get(start..end) {
        Some(bytes) => Some(Sample::Binary(bytes.into())),
        None => lack(content),
    }
}

fn measured<'v>(content: &Content<'_>, bytes: &'v [u8], at: usize, size: usize, start: Start) -> Option<Sample<'v>> {
    let behind = at.checked_add(size)?;
    let Some(number) = bytes.get(at..behind) else { return lack(content) };
    let length = number.iter().try_fold(0_usize, |value, byte| value.checked_mul(256)?.checked_add(usize::from(*byte)))?;
    let start = match start {
        Start::At(start) => start,
        Start::Behind(distance) => behind.checked_add(distance)?,
        Start::Before(distance) => behind.checked_sub(distance)?,
    };
    if length == 0 {
        return None;
    }
    part(content, bytes, start, length)
}

/// Finds the type of the first message of a handshake, once the message is whole (RFC 8446 sections 4 and 5.1).
fn tls_message(content: &Content<'_>, bytes: &[u8]) -> Option<i64> {
    let Some(head) = bytes.get(..9) else { return lack(content) };
    let number = |range: std::ops::Range<usize>| head[range].iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
    if !matches!(head[0], 0x14..=0x17 | 0xff) || head[1] < 3 || number(3..5) < 4 {
        return None;
    }
    if bytes.len() < head.len() + number(6..9) { lack(content) } else { Some(head[5].into()) }
}

fn hello(content: &Content<'_>, bytes: &[u8]) -> Option<ClientHello> {
    match client_hello::peek(bytes) {
        Ok(Peek::Complete(hello)) => Some(hello),
        Ok(Peek::Partial) => lack(content),
        Err(_) => None,
    }
}

fn is_http(content: &Content<'_>, bytes: &[u8]) -> Option<bool> {
    match parse::request(bytes) {
        Ok(Parsed::Complete { .. }) => Some(true),
        Ok(Parsed::Partial) => lack(content),
        Err(_) => None,
    }
}

/// Finds the cookie in the first message of a client of RDP. None if too few bytes have come to tell.
fn rdp_cookie<'v>(content: &Content<'_>, bytes: &'v [u8], name: Option<&[u8]>) -> Option<Option<&'v [u8]>> {
    match rdp::peek(bytes, name) {
        rdp::Peek::Partial => lack(content),
        rdp::Peek::Nothing => (bytes.len() > rdp::HEADERS).then_some(None),
        rdp::Peek::Value(value) => Some(Some(value)),
    }
}
