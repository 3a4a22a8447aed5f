//! The probe that sends a request over a fresh connection and judges the status of the answer; the body is not read.

use std::pin::pin;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::tcp::{Finding, connect};
use super::tls::Secured;
use crate::config::{Check, HttpCheck, HttpVersion, Target};
use crate::fleet::CheckResult;

/// Sends the request and waits for the head of the answer.
pub(super) async fn probe(check: &Check, http: &HttpCheck, secured: Option<&Secured>) -> Finding {
    let deadline = Instant::now() + check.timeout();
    let request = match request(check, http) {
        Ok(request) => request,
        Err(error) => return (CheckResult::NotProbed, format!("request cannot be made: {error}")),
    };
    let stream = match connect(check, secured).await {
        Ok(stream) => stream,
        Err(finding) => return finding,
    };
    match timeout_at(deadline, exchange(stream, request)).await {
        Ok(Ok(status)) if http.expect().contains(status) => (CheckResult::GoodStatus(status), String::new()),
        Ok(Ok(status)) => (CheckResult::BadStatus(status), String::new()),
        Ok(Err(error)) => (CheckResult::BadResponse, error.to_string()),
        Err(_) => (CheckResult::ResponseTimeout, String::new()),
    }
}

fn request(check: &Check, http: &HttpCheck) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let version = match http.version() {
        HttpVersion::Http10 => Version::HTTP_10,
        HttpVersion::Http11 => Version::HTTP_11,
    };
    let mut request = Request::builder()
        .method(http.method())
        .uri(http.path())
        .version(version)
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .header(CONNECTION, HeaderValue::from_static("close"));
    // HTTP/1.1 cannot do without a host, RFC 9112 section 3.2.
    let host_of_target = || match check.target() {
        Target::Inet(address) => address.to_string(),
        Target::Unix(_) => "localhost".to_owned(),
    };
    let default_host = (version == Version::HTTP_11).then(host_of_target);
    if let Some(host) = http.host().or(default_host.as_deref()) {
        request = request.header(HOST, host);
    }
    request.body(Empty::new())
}

/// Returns the status of the answer.
async fn exchange(stream: Connection, request: Request<Empty<Bytes>>) -> Result<u16, hyper::Error> {
    let (mut sender, connection) = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
    let mut connection = pin!(connection);
    let mut answer = pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => return Ok(answer?.status().as_u16()),
        // The connection may end with the answer already handed over, and tells the answer's side if it failed.
        _ = &mut connection => {}
    }
    Ok(answer.await?.status().as_u16())
}

const AGENT: &str = concat!("health-check/", env!("CARGO_PKG_VERSION"));

/// The largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
