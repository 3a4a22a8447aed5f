//! Requests of probes and their responses, over a connection that is open already.

use std::error::Error;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connect::{Failure, reason};
use super::connection::Connection;
use super::format::Scope;
use crate::config::{self, HttpVersion};
use crate::fleet::CheckResult;

/// A request on its way, and its response as far as it has come.
pub(super) struct Exchange {
    /// Moves the bytes of the connection.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stage: Stage,
}

enum Stage {
    Waiting(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>),
    Answered(Box<Answer>),
}

/// A response.
pub(super) struct Answer {
    pub(super) status: u16,
    /// What stands beside the status.
    pub(super) reason: String,
    pub(super) headers: HeaderMap,
    body: Incoming,
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

/// Fills in what a step says of a request; `state` is how the server is seen, where it is told, and `host` where the connection goes.
///
/// # Errors
/// Says what of it cannot be sent.
pub(super) fn request(
    step: &config::Request,
    scope: &Scope<'_>,
    state: Option<&str>,
    (wire, host): (Wire, Option<&str>),
) -> Result<Request<Full<Bytes>>, String> {
    let target = step.target().map_or_else(|| "/".to_owned(), |target| scope.text(target));
    let uri = target.parse::<Uri>().map_err(|_| format!("`{target}` is not a target of a request"))?;
    let body = step.body().map(|body| Bytes::from(scope.fill(body)));
    let version = match step.version() {
        HttpVersion::Http10 => Version::HTTP_10,
        HttpVersion::Http11 => Version::HTTP_11,
    };
    let mut request = Request::new(Full::new(body.clone().unwrap_or_default()));
    *request.method_mut() = step.method().parse().map_err(|_| format!("`{}` is not a method", step.method()))?;
    (*request.uri_mut(), *request.version_mut()) = (uri, version);
    let headers = request.headers_mut();
    // HTTP/1.1 cannot do without a host, RFC 9112 section 3.2, and over HTTP/2 it makes the target a whole one.
    let asks_host = version == Version::HTTP_11 || wire == Wire::H2;
    let is_named = step.headers().iter().any(|(name, _)| name == "host");
    let missing_host = host.filter(|_| asks_host && !is_named).map(|host| ("host", host.as_bytes().to_vec()));
    let own = step.headers().iter().map(|(name, value)| (name.as_str(), scope.fill(value)));
    let told = state.map(|state| ("x-haproxy-server-state", state.as_bytes().to_vec()));
    let length = body.as_ref().map(|body| ("content-length", body.len().to_string().into_bytes()));
    let closes = version == Version::HTTP_11 && !step.headers().iter().any(|(name, _)| name == "connection");
    let close = closes.then(|| ("connection", b"close".to_vec()));
    for (name, value) in missing_host.into_iter().chain(own).chain(told).chain(length).chain(close) {
        let value = HeaderValue::from_bytes(&value).map_err(|_| format!("the value of `{name}` cannot be sent"))?;
        headers.append(HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header field"))?, value);
    }
    Ok(request)
}

impl Exchange {
    /// Sets a request on its way; it is sent while the answer is waited for.
    ///
    /// # Errors
    /// What the connection said at its begin.
    pub(super) async fn begin(connection: Connection, wire: Wire, mut request: Request<Full<Bytes>>) -> Result<Self, Failure> {
        let scheme = if connection.is_tls() { "https" } else { "http" };
        let io = TokioIo::new(connection);
        if wire == Wire::H1 {
            let (mut sender, connection) =
                http1::Builder::new().max_buf_size(MOST_HEAD).handshake(io).await.map_err(|error| failure(&error))?;
            let answer = Box::pin(async move { sender.send_request(request).await });
            return Ok(Self { driver: Some(Box::pin(async { drop(connection.await) })), stage: Stage::Waiting(answer) });
        }
        let builder = http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(io).await.map_err(|error| failure(&error))?;
        // HTTP/2 names the host in the target, RFC 9113 section 8.3.1, and knows no field about connections.
        request.headers_mut().remove("connection");
        if let Some(host) = request.headers_mut().remove("host").and_then(|host| host.to_str().ok().map(str::to_owned)) {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
            if let Ok(uri) = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build() {
                *request.uri_mut() = uri;
            }
        }
        *request.version_mut() = Version::HTTP_2;
        let answer = Box::pin(async move { sender.send_request(request).await });
        Ok(Self { driver: Some(Box::pin(async { drop(connection.await) })), stage: Stage::Waiting(answer) })
    }

    /// Waits for the head of the response.
    ///
    /// # Errors
    /// What came in its place.
    pub(super) async fn answer(&mut self) -> Result<&mut Answer, Failure> {
        if let Stage::Waiting(waiting) = &mut self.stage {
            let response = driven(&mut self.driver, waiting).await.map_err(|error| failure(&error))?;
            self.stage = Stage::Answered(Box::new(Answer::new(response)));
        }
        match &mut self.stage {
            Stage::Answered(answer) => Ok(answer),
            Stage::Waiting(_) => Err((CheckResult::BadResponse, String::new())),
        }
    }

    /// Waits for more of the body, and puts it behind what is there, up to `most` bytes.
    ///
    /// # Errors
    /// What came in its place.
    pub(super) async fn more(&mut self, seen: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
        let Stage::Answered(answer) = &mut self.stage else { return Ok(()) };
        match driven(&mut self.driver, answer.body.frame()).await {
            None => answer.is_over = true,
            Some(Err(error)) => return Err(failure(&error)),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let room = most.saturating_sub(seen.len()).min(data.len());
                    seen.extend_from_slice(&data[..room]);
                    answer.is_over = seen.len() >= most;
                }
                answer.trailers = frame.into_trailers().ok().or_else(|| answer.trailers.take());
            }
        }
        Ok(())
    }
}

impl Answer {
    fn new(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let written =
            head.extensions.get::<hyper::ext::ReasonPhrase>().map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        // Only HTTP/1 has reasons, of which hyper keeps those that are not the usual ones.
        let usual = head.status.canonical_reason().filter(|_| head.version < Version::HTTP_2).unwrap_or_default();
        let reason = written.unwrap_or_else(|| usual.to_owned());
        Self { status: head.status.as_u16(), reason, headers: head.headers, body, trailers: None, is_over: false }
    }
}

/// Waits for something of a connection while its bytes are moved; the connection may end with it already handed over.
async fn driven<T>(driver: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Some(connection) = driver {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = connection => {}
        }
    }
    *driver = None;
    work.await
}

/// Tells a connection that broke from one that speaks something else.
fn failure(error: &hyper::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>().filter(|io| io.raw_os_error().is_some()) {
            return (CheckResult::SocketError, reason(io));
        }
        cause = inner.source();
    }
    (CheckResult::BadResponse, String::new())
}

/// The largest head of a response.
const MOST_HEAD: usize = 16 * 1024;
