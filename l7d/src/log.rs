//! What is written about every connection and request, in HAProxy's formats, and where it goes.
//!
//! A [`Record`] collects what happened while it happens; at the end it becomes one line for every target. Formats of one's own and
//! lines in other formats are not here yet. Times of day are UTC.

mod date;
mod target;

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use target::{Log, Target};

use crate::error::ExchangeError;
use crate::forward::Progress;
use crate::message::head::{Method, RequestHead};
use crate::message::headers::Known;
use crate::peer::Peer;
use crate::site::{Backend, Frontend, Server};
use crate::stream::Privacy;
use crate::tunnel::{Carried, Ended, Side};

/// What happened to one request or connection so far.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    client: Peer,
    privacy: Privacy,
    frontend: &'a str,
    /// Whether a line will be written; if not, nothing is kept that costs anything.
    wanted: bool,
    began: Instant,
    request: Option<Instant>,
    queued: Option<Instant>,
    connected: Option<Instant>,
    answered: Option<Instant>,
    method: Option<Method>,
    line: String,
    backend: Option<&'a Backend>,
    server: Option<&'a Server>,
    retries: u32,
    status: Option<u16>,
    sent: u64,
    termination: &'static str,
}

impl<'a> Record<'a> {
    /// Begins the record of a client's request.
    pub(crate) fn new(client: Peer, frontend: &'a Frontend, began: Instant) -> Self {
        Self {
            client,
            privacy: Privacy::Clear,
            frontend: frontend.name(),
            wanted: frontend.log().is_wanted(),
            began,
            request: None,
            queued: None,
            connected: None,
            answered: None,
            method: None,
            line: String::new(),
            backend: None,
            server: None,
            retries: 0,
            status: None,
            sent: 0,
            termination: "--",
        }
    }

    /// Returns when it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Notes whether others could read what the client sent.
    pub(crate) fn privacy(&mut self, privacy: Privacy) {
        self.privacy = privacy;
    }

    /// Notes that the request head is complete.
    pub(crate) fn request(&mut self, head: &RequestHead) {
        self.method = Some(head.method());
        if self.wanted {
            self.request = Some(Instant::now());
            let text = |bytes| String::from_utf8_lossy(bytes);
            let _ = write!(self.line, "{} ", text(head.method_text()));
            if let Some(scheme) = head.scheme().filter(|_| head.target().starts_with(b"/")) {
                let host = head.headers.known(Known::Host).next().unwrap_or_default();
                let _ = write!(self.line, "{}://{}", scheme.as_str(), text(host));
            }
            let _ = write!(self.line, "{} {}", text(head.target()), head.version().as_str());
        }
    }

    /// Notes the backend.
    pub(crate) fn backend(&mut self, backend: &'a Backend) {
        self.backend = Some(backend);
    }

    /// Notes that there is a server with room.
    pub(crate) fn queued(&mut self) {
        if self.wanted {
            self.queued = Some(Instant::now());
        }
    }

    /// Notes which server is tried, and how many attempts failed before.
    pub(crate) fn server(&mut self, server: &'a Server, failed: u32) {
        self.server = Some(server);
        self.retries = failed;
    }

    /// Notes that there is a connection.
    pub(crate) fn connected(&mut self) {
        if self.wanted {
            self.connected = Some(Instant::now());
        }
    }

    /// Notes how far the response came.
    pub(crate) fn response(&mut self, progress: &Progress) {
        self.status = progress.status;
        self.answered = progress.answered;
        self.sent = progress.sent;
    }

    /// Notes what a tunnel carried.
    pub(crate) fn tunnel(&mut self, carried: &Carried) {
        self.sent += carried.to_client;
        self.termination = match &carried.end {
            Ended::Closed => "--",
            Ended::Quiet(Side::Client) => "cD",
            Ended::Quiet(Side::Server) => "sD",
            Ended::Failed(Side::Client, _) => "CD",
            Ended::Failed(Side::Server, _) => "SD",
        };
    }

    /// Lets it end without a line.
    pub(crate) fn silence(&mut self) {
        self.wanted = false;
    }

    /// Notes why it failed.
    pub(crate) fn fail(&mut self, error: &ExchangeError) {
        self.termination = error.termination();
        if self.wanted && self.line.is_empty() {
            self.line.push_str("<BADREQ>");
        }
    }

    /// Tells whether the client has no answer yet.
    pub(crate) fn may_answer(&self) -> bool {
        self.status.is_none()
    }

    /// Tells whether the request is known to be a `HEAD`.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Some(Method::Head)
    }

    /// Notes an answer of our own.
    pub(crate) fn answered(&mut self, status: u16, length: usize) {
        self.status = Some(status);
        self.sent = length as u64;
    }

    /// Writes the line of a request.
    pub(crate) fn write(&self, frontend: &Frontend) {
        if self.wanted {
            frontend.log().write(&self.http_line(frontend));
        }
    }

    /// Writes the line of a connection in mode `tcp`.
    pub(crate) fn write_tcp(&self, frontend: &Frontend) {
        if self.wanted {
            frontend.log().write(&self.tcp_line(frontend));
        }
    }

    fn http_line(&self, frontend: &Frontend) -> String {
        let step =
            |from: Option<Instant>, to: Option<Instant>| Milliseconds(from.zip(to).map(|(from, to)| to.saturating_duration_since(from)));
        format!(
            "{} {}/{}/{}/{}/{} {} {} - - {}-- {} {}/0 \"{}\"",
            self.origin(),
            step(Some(self.began), self.request),
            step(self.request, self.queued),
            step(self.queued, self.connected),
            step(self.connected, self.answered),
            self.began.elapsed().as_millis(),
            self.status.map_or(-1, i32::from),
            self.sent,
            self.termination,
            self.counts(frontend),
            self.waiting(),
            self.line.replace('"', "#22")
        )
    }

    fn tcp_line(&self, frontend: &Frontend) -> String {
        let step = |to: Option<Instant>| Milliseconds(to.map(|to| to.saturating_duration_since(self.began)));
        format!(
            "{} {}/{}/{} {} {} {} {}/0",
            self.origin(),
            step(self.queued),
            Milliseconds(self.queued.zip(self.connected).map(|(from, to)| to.saturating_duration_since(from))),
            self.began.elapsed().as_millis(),
            self.sent,
            self.termination,
            self.counts(frontend),
            self.waiting(),
        )
    }

    /// Who came when, by which frontend, to which server.
    fn origin(&self) -> String {
        let backend = self.backend.map_or(self.frontend, Backend::name);
        let server = self.server.map_or("<NOSRV>", Server::name);
        let secure = match self.privacy {
            Privacy::Clear => "",
            Privacy::Tls => "~",
        };
        format!("{} {}{secure} {backend}/{server}", Origin { client: self.client, began: self.began }, self.frontend)
    }

    /// Connections of the process, the frontend, the backend and the server, and the retries.
    fn counts(&self, frontend: &Frontend) -> String {
        let (process, own) = frontend.connections();
        let of_backend: u32 = self.backend.map_or(0, |backend| backend.servers().iter().map(|server| server.load().active()).sum());
        let of_server = self.server.map_or(0, |server| server.load().active());
        format!("{process}/{own}/{of_backend}/{of_server}/{}", self.retries)
    }

    fn waiting(&self) -> usize {
        self.backend.map_or(0, |backend| backend.waiting())
    }
}

/// Writes the line of a connection that got no further than its first bytes, on the bind of this number.
pub(crate) fn refused(frontend: &Frontend, client: Peer, began: Instant, bind: usize, reason: &str) {
    if frontend.log().is_wanted() {
        frontend.log().write(&format!("{} {}/{bind}: {reason}", Origin { client, began }, frontend.name()));
    }
}

/// Who came when.
struct Origin {
    client: Peer,
    began: Instant,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let began = SystemTime::now().checked_sub(self.began.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        match self.client {
            Peer::Inet(address) => write!(f, "{}:{}", address.ip().to_canonical(), address.port())?,
            unix @ Peer::Unix(_) => unix.fmt(f)?,
        }
        write!(f, " [{}]", date::Common(began))
    }
}

/// A duration in milliseconds, or -1 for what did not happen.
struct Milliseconds(Option<Duration>);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(duration) => duration.as_millis().fmt(f),
            None => f.write_str("-1"),
        }
    }
}
