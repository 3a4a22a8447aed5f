//! HTTP/2 of probes: one request and its response, by hyper.

use std::error::Error;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connect::{Failure, reason};
use super::connection::Connection;
use super::http::{Answer, Written};
use crate::fleet::CheckResult;

/// A request on its way, and its response as far as it has come.
pub(super) struct Exchange {
    /// Moves the bytes of the connection.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stage: Stage,
}

enum Stage {
    Waiting(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>),
    Answered(Box<Answer>, Incoming),
}

impl Exchange {
    /// Sets a request on its way; it is sent while the answer is waited for.
    ///
    /// # Errors
    /// What the connection said at its begin, or what of the request cannot be sent.
    pub(super) async fn begin(connection: Connection, written: Written<'_>) -> Result<Self, Failure> {
        let scheme = if connection.is_tls() { "https" } else { "http" };
        let request = request(written, scheme).map_err(|reason| (CheckResult::NotProbed, reason))?;
        let builder = http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(connection)).await.map_err(|error| failure(&error))?;
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
            let (head, body) = response.into_parts();
            // HTTP/2 has no reasons.
            let (status, reason) = (head.status.as_u16(), String::new());
            let answer = Answer { status, reason, headers: head.headers, trailers: None, is_over: false };
            self.stage = Stage::Answered(Box::new(answer), body);
        }
        match &mut self.stage {
            Stage::Answered(answer, _) => Ok(answer),
            Stage::Waiting(_) => Err((CheckResult::BadResponse, String::new())),
        }
    }

    /// Waits for more of the body, and puts it behind what is there, up to `most` bytes.
    ///
    /// # Errors
    /// What came in its place.
    pub(super) async fn more(&mut self, seen: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
        let Stage::Answered(answer, body) = &mut self.stage else { return Ok(()) };
        match driven(&mut self.driver, body.frame()).await {
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

/// Writes a request as HTTP/2 has it: the host is named in the target, RFC 9113 section 8.3.1, and no field is about connections.
fn request(written: Written<'_>, scheme: &str) -> Result<Request<Full<Bytes>>, String> {
    let Written { method, target, fields, body, .. } = written;
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method.parse().map_err(|_| format!("`{method}` is not a method"))?;
    *request.version_mut() = Version::HTTP_2;
    let mut uri = target.parse::<Uri>().map_err(|_| format!("`{target}` is not a target of a request"))?;
    for (name, value) in fields {
        if name == "host"
            && let Ok(host) = std::str::from_utf8(&value)
        {
            let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build().unwrap_or(uri);
        } else if name != "connection" {
            let value = HeaderValue::from_bytes(&value).map_err(|_| format!("the value of `{name}` cannot be sent"))?;
            request
                .headers_mut()
                .append(HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header field"))?, value);
        }
    }
    *request.uri_mut() = uri;
    Ok(request)
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

/// Tells a connection that broke or ended from one that speaks something else.
fn failure(error: &hyper::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<io::Error>().or_else(|| inner.downcast_ref::<h2::Error>().and_then(h2::Error::get_io));
        match io {
            Some(io) if io.raw_os_error().is_some() => return (CheckResult::SocketError, reason(io)),
            // The library keeps the kinds of errors alone.
            Some(io) if io.kind() == io::ErrorKind::ConnectionReset => return (CheckResult::SocketError, RESET.to_owned()),
            Some(_) => return (CheckResult::BadResponse, EMPTY.to_owned()),
            None => cause = inner.source(),
        }
    }
    (CheckResult::BadResponse, String::new())
}

const RESET: &str = "Connection reset by peer";

/// What is said of a connection that ended in place of an answer, but for the step.
pub(super) const EMPTY: &str = "TCPCHK got an empty response";
