//! What is written about every connection and request, in HAProxy's formats, and where it goes.
//!
//! A [`Record`] collects what happened while it happens; at the end it is counted in [`crate::stats`] and becomes one line for every
//! target. Formats of one's own and lines in other formats are not here yet. Times of day are those of the system's time zone.

mod date;
mod escape;
mod tally;
mod target;
mod writer;

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use target::{Log, Target};
pub(crate) use writer::{dropped, flush};

use escape::Escaped;

use crate::error::ExchangeError;
use crate::forward::Progress;
use crate::message::head::{Method, RequestHead};
use crate::message::headers::Known;
use crate::peer::Peer;
use crate::site::{Backend, Frontend, Server};
use crate::stats::{Counter, Presence};
use crate::stick::{Cookie, Given, Returned};
use crate::stream::Privacy;
use crate::tunnel::{Carried, Ended, Side};

/// What happened to one request or connection so far.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    client: Peer,
    privacy: Privacy,
    frontend: &'a str,
    /// Whether a line will be written; if not, its text is not kept.
    wanted: bool,
    began: Instant,
    /// When the first byte was there, which is where the times begin.
    start: Instant,
    request: Option<Instant>,
    queued: Option<Instant>,
    connected: Option<Instant>,
    answered: Option<Instant>,
    method: Option<Method>,
    line: String,
    backend: Option<&'a Backend>,
    presence: Option<Presence<'a>>,
    server: Option<&'a Server>,
    retries: u32,
    /// Whether the last retry was on another server.
    redispatched: bool,
    status: Option<u16>,
    maker: Maker,
    /// Bytes of the request head.
    head: u64,
    /// Bytes of what came behind it.
    received: u64,
    sent: u64,
    termination: &'static str,
    /// What the client's persistence cookie said, and what became of the server's.
    cookies: [u8; 2],
}

/// Who made the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Server,
    Ourselves,
}

impl<'a> Record<'a> {
    /// Begins the record of a request or connection whose first bytes are there; `began` is when they were first waited for.
    pub(crate) fn new(client: Peer, frontend: &'a Frontend, began: Instant) -> Self {
        Self {
            client,
            privacy: Privacy::Clear,
            frontend: frontend.name(),
            wanted: frontend.log().is_wanted(),
            began,
            start: Instant::now(),
            request: None,
            queued: None,
            connected: None,
            answered: None,
            method: None,
            line: String::new(),
            backend: None,
            presence: None,
            server: None,
            retries: 0,
            redispatched: false,
            status: None,
            maker: Maker::Ourselves,
            head: 0,
            received: 0,
            sent: 0,
            termination: "--",
            cookies: *b"--",
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
        self.request = Some(Instant::now());
        self.head = head.headers.size() as u64;
        if self.wanted {
            let _ = write!(self.line, "{} ", Escaped(head.method_text()));
            if let Some(scheme) = head.scheme().filter(|_| head.target().starts_with(b"/")) {
                let host = head.headers.known(Known::Host).next().unwrap_or_default();
                let _ = write!(self.line, "{}://{}", scheme.as_str(), Escaped(host));
            }
            let _ = write!(self.line, "{} {}", Escaped(head.target()), head.version().as_str());
        }
    }

    /// Notes the backend.
    pub(crate) fn backend(&mut self, backend: &'a Backend) {
        self.backend = Some(backend);
        if backend.cookie().is_some_and(Cookie::is_logged) {
            self.cookies = [Given::None.letter(), Returned::None.letter()];
        }
        self.presence = Some(backend.meter().enter());
        if let Some(here) = backend.meter().here() {
            here.begin_session(self.start);
        }
    }

    /// Notes what the client's persistence cookie said.
    pub(crate) fn given(&mut self, given: Option<Given>) {
        if let Some(given) = given {
            self.cookies[0] = given.letter();
        }
    }

    /// Notes that there is a server with room.
    pub(crate) fn queued(&mut self) {
        self.queued = Some(Instant::now());
    }

    /// Notes which server is tried, and how many attempts failed before.
    pub(crate) fn server(&mut self, server: &'a Server, failed: u32) {
        self.count_choice(server, failed);
        self.server = Some(server);
        self.retries = failed;
    }

    /// Notes that a connection is being opened.
    pub(crate) fn connecting(&self) {
        self.count_connection(Counter::Connects);
    }

    /// Notes that the connection is there.
    pub(crate) fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// Notes that a connection serves once more.
    pub(crate) fn reused(&mut self) {
        self.count_connection(Counter::Reuses);
        self.connected = self.queued;
    }

    /// Notes how far the response came.
    pub(crate) fn response(&mut self, progress: &Progress) {
        self.status = progress.status;
        self.maker = Maker::Server;
        self.answered = progress.answered;
        self.received = progress.received;
        self.sent = progress.sent;
        if let Some(cookie) = progress.cookie {
            self.cookies[1] = cookie.letter();
        }
    }

    /// Notes what a tunnel carried.
    pub(crate) fn tunnel(&mut self, carried: &Carried) {
        self.sent += carried.to_client;
        self.received += carried.to_server;
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

    /// Notes that a rule ended it.
    pub(crate) fn ruled(&mut self, termination: &'static str) {
        self.termination = termination;
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
        self.maker = Maker::Ourselves;
        self.sent = length as u64;
    }

    /// Counts a request and writes its line.
    pub(crate) fn write(mut self, frontend: &Frontend) {
        let ended = Instant::now();
        self.presence = None;
        self.count_request(frontend, ended);
        if self.wanted {
            frontend.log().write(self.http_line(frontend, ended));
        }
    }

    /// Counts a connection in mode `tcp` and writes its line.
    pub(crate) fn write_tcp(mut self, frontend: &Frontend) {
        let ended = Instant::now();
        self.presence = None;
        self.count_end(frontend, ended);
        if self.wanted {
            frontend.log().write(self.tcp_line(frontend, ended));
        }
    }

    fn http_line(&self, frontend: &Frontend, ended: Instant) -> String {
        let step =
            |from: Option<Instant>, to: Option<Instant>| Milliseconds(from.zip(to).map(|(from, to)| to.saturating_duration_since(from)));
        format!(
            "{} {}/{}/{}/{}/{} {} {} - - {}{}{} {} 0/{} \"{}\"",
            self.origin(),
            step(Some(self.start), self.request),
            step(self.request, self.queued),
            step(self.queued, self.connected),
            step(self.connected, self.answered),
            ended.saturating_duration_since(self.start).as_millis(),
            self.status.map_or(-1, i32::from),
            self.sent,
            self.termination,
            char::from(self.cookies[0]),
            char::from(self.cookies[1]),
            self.counts(frontend),
            self.waiting(),
            self.line
        )
    }

    fn tcp_line(&self, frontend: &Frontend, ended: Instant) -> String {
        let step = |to: Option<Instant>| Milliseconds(to.map(|to| to.saturating_duration_since(self.start)));
        format!(
            "{} {}/{}/{} {} {} {} 0/{}",
            self.origin(),
            step(self.queued),
            Milliseconds(self.queued.zip(self.connected).map(|(from, to)| to.saturating_duration_since(from))),
            ended.saturating_duration_since(self.start).as_millis(),
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
        format!("{} {}{secure} {backend}/{server}", Origin { client: self.client, began: self.start }, self.frontend)
    }

    /// Connections of the process, the frontend, the backend and the server, and the retries.
    fn counts(&self, frontend: &Frontend) -> String {
        let (process, own) = frontend.connections();
        let of_backend = self.backend.map_or(0, |backend| backend.meter().sum(Counter::Current));
        let of_server = self.server.map_or(0, |server| server.load().active());
        let sign = if self.redispatched { "+" } else { "" };
        format!("{process}/{own}/{of_backend}/{of_server}/{sign}{}", self.retries)
    }

    fn waiting(&self) -> usize {
        self.backend.map_or(0, |backend| backend.waiting())
    }
}

/// Writes the line of a connection that got no further than its first bytes, on the bind of this number.
pub(crate) fn refused(frontend: &Frontend, client: Peer, began: Instant, bind: usize, reason: &str) {
    if frontend.log().is_wanted() {
        frontend.log().write(format!("{} {}/{bind}: {reason}", Origin { client, began }, frontend.name()));
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
