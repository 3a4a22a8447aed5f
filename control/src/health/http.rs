//! Requests of probes and their responses, over a connection that is open already.

use http::HeaderMap;
use tokio::time::Instant;

use super::connect::Failure;
use super::connection::Connection;
use super::format::Scope;
use super::http1::{self, Asked};
use super::http2;
use crate::config::{self, HttpVersion};

/// A request on its way, and its response as far as it has come.
pub(super) enum Exchange {
    H1(Box<http1::Exchange>),
    H2(Box<http2::Exchange>),
}

/// A response, but for its body.
pub(super) struct Answer {
    pub(super) status: u16,
    /// What stands beside the status.
    pub(super) reason: String,
    pub(super) headers: HeaderMap,
    /// What follows the body.
    pub(super) trailers: Option<HeaderMap>,
    /// Whether there is no more of the body.
    pub(super) is_over: bool,
}

/// The version that is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    H1,
    H2,
}

/// A request as a step has it, filled in.
pub(super) struct Written<'s> {
    pub(super) method: &'s str,
    pub(super) target: String,
    pub(super) version: HttpVersion,
    pub(super) fields: Vec<(&'s str, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// Fills in what a step says of a request; `state` is how the server is seen, where it is told, and `host` where the connection goes.
///
/// # Errors
/// Says what of it cannot be sent.
pub(super) fn request<'s>(
    step: &'s config::Request,
    scope: &Scope<'_>,
    state: Option<&str>,
    (wire, host): (Wire, &str),
) -> Result<Written<'s>, String> {
    let target = step.target().map_or_else(|| "/".to_owned(), |target| scope.text(target));
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("`{target}` is not a target of a request"));
    }
    let (method, version) = (step.method(), step.version());
    let body = step.body().map(|body| scope.fill(body));
    // HTTP/1.1 cannot do without a host, RFC 9112 section 3.2, and over HTTP/2 it makes the target a whole one.
    let asks_host = version == HttpVersion::Http11 || wire == Wire::H2;
    let has = |wanted: &str| step.headers().iter().any(|(name, _)| name == wanted);
    let missing_host = (asks_host && !has("host")).then(|| ("host", host.as_bytes().to_vec()));
    let own = step.headers().iter().map(|(name, value)| (name.as_str(), scope.fill(value)));
    let told = state.map(|state| ("x-haproxy-server-state", state.as_bytes().to_vec()));
    // Of a method that says something its length is told, RFC 9110 section 8.6.
    let speaks = matches!(method, "POST" | "PUT" | "PATCH");
    let length = body.as_ref().map_or_else(|| speaks.then_some(0), |body| Some(body.len()));
    let length = length.map(|length| ("content-length", length.to_string().into_bytes()));
    let closes = version == HttpVersion::Http11 && !has("connection");
    let close = closes.then(|| ("connection", b"close".to_vec()));
    let fields: Vec<_> = missing_host.into_iter().chain(own).chain(told).chain(length).chain(close).collect();
    if let Some((name, _)) = fields.iter().find(|(_, value)| value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127))) {
        return Err(format!("the value of `{name}` cannot be sent"));
    }
    Ok(Written { method, target, version, fields, body: body.unwrap_or_default() })
}

impl Written<'_> {
    /// Returns the bytes of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let version = match self.version {
            HttpVersion::Http10 => "HTTP/1.0",
            HttpVersion::Http11 => "HTTP/1.1",
        };
        let mut bytes = [self.method, " ", &self.target, " ", version, "\r\n"].concat().into_bytes();
        for (name, value) in &self.fields {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Exchange {
    /// Sets a request on its way, until `deadline`.
    ///
    /// # Errors
    /// What the connection said to it.
    pub(super) async fn begin(connection: Connection, wire: Wire, request: Written<'_>, deadline: Instant) -> Result<Self, Failure> {
        if wire == Wire::H2 {
            return http2::Exchange::begin(connection, request).await.map(|exchange| Self::H2(Box::new(exchange)));
        }
        let asked = if request.method == "HEAD" { Asked::HeadAlone } else { Asked::All };
        let begun = http1::Exchange::begin(connection, &request.bytes(), asked, deadline).await;
        begun.map(|exchange| Self::H1(Box::new(exchange)))
    }

    /// Waits for the head of the response.
    ///
    /// # Errors
    /// What came in its place.
    pub(super) async fn answer(&mut self) -> Result<&mut Answer, Failure> {
        match self {
            Self::H1(exchange) => exchange.answer().await,
            Self::H2(exchange) => exchange.answer().await,
        }
    }

    /// Waits for more of the body, and puts it behind what is there, up to `most` bytes.
    ///
    /// # Errors
    /// What came in its place.
    pub(super) async fn more(&mut self, seen: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
        match self {
            Self::H1(exchange) => exchange.more(seen, most).await,
            Self::H2(exchange) => exchange.more(seen, most).await,
        }
    }
}
