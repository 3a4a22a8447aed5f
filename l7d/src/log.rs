//! What is written about every connection and request, in HAProxy's formats or in formats of one's own, and where it goes.
//!
//! A [`Record`] collects what happened while it happens; at the end it is counted in [`crate::stats`] and becomes one line for every
//! target of the frontend's [`Log`]. Times of day are those of the system's time zone.

mod connection;
mod ending;
mod forward;
mod health;
mod journal;
mod message;
mod output;
mod ring;
mod span;
mod spool;
mod step;
mod tally;
mod target;

use std::cell::RefCell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use ending::Ending;
pub(crate) use forward::{Forwarding, taken};
pub(crate) use health::follow;
pub(crate) use journal::{Log, Logs};
pub(crate) use output::flush;
pub(crate) use ring::{Rings, Since};
pub(crate) use spool::dropped;
pub(crate) use step::Outline;
pub(crate) use target::{Target, check_format};

use journal::Outcome;
use output::Line;

use control::config::LogStep;

use crate::date;
use crate::error::{ExchangeError, Phase};
use crate::forward::Progress;
use crate::message::head::{Method, RequestHead};
use crate::message::headers::Known;
use crate::otlp::{self, Span};
use crate::peer::Peer;
use crate::rules::{Counts, Ends, Facts, Memory, Steps, View};
use crate::sessions::{Cause, Place, Seat};
use crate::site::{Backend, Frontend, Server};
use crate::stats::{Counter, Presence};
use crate::stick::{Cookie, Given, Returned};
use crate::stream::Stream;
use crate::tls::Secured;
use crate::tunnel::{Carried, Ended, Refusal, Side};

/// What happened to one request or connection so far.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    seat: Seat,
    client: Peer,
    tls: Option<Secured>,
    /// Whether a line will be written; if not, its text is not kept.
    wanted: bool,
    /// Whether the line shows addresses beside the client's.
    asks_ends: bool,
    /// How long PROXY header and TLS took, before it began.
    handshake: Duration,
    began: Instant,
    /// When the first byte was there, which is where the times begin.
    start: Instant,
    request: Option<Instant>,
    queued: Option<Instant>,
    connected: Option<Instant>,
    answered: Option<Instant>,
    method: Option<Method>,
    /// The request line as it came; empty if there was none.
    line: Vec<u8>,
    ends: Ends,
    backend: Option<&'a Backend>,
    presence: Option<Presence<'a>>,
    server: Option<&'a Server>,
    /// Whether the statistics answer in place of a server.
    is_exhibit: bool,
    /// Where it counts that a rule refused it.
    denied: Option<Counter>,
    retries: u32,
    /// Whether the last retry was on another server.
    redispatched: bool,
    /// What the server has answered so far, this time.
    pub(crate) progress: Progress,
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
    /// Its part in a trace, if it has one.
    span: Option<Box<Span>>,
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
            seat: Seat::take(client, frontend, began),
            client,
            tls: None,
            wanted: frontend.log().is_wanted(),
            asks_ends: frontend.rules().lines().asks_ends(),
            handshake: Duration::ZERO,
            began,
            start: Instant::now(),
            request: None,
            queued: None,
            connected: None,
            answered: None,
            method: None,
            line: Vec::new(),
            ends: Ends::default(),
            backend: None,
            presence: None,
            server: None,
            is_exhibit: false,
            denied: None,
            retries: 0,
            redispatched: false,
            progress: Progress::default(),
            status: None,
            maker: Maker::Ourselves,
            head: 0,
            received: 0,
            sent: 0,
            termination: "--",
            cookies: *b"--",
            span: None,
        }
    }

    /// Returns when it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Notes what was agreed on with the client before it began, and how long that took.
    pub(crate) fn secured(&mut self, tls: Option<Secured>, handshake: Duration) {
        self.tls = tls;
        self.handshake = handshake;
    }

    /// Notes that the request head is complete.
    pub(crate) fn request(&mut self, head: &RequestHead) {
        self.method = Some(head.method());
        self.request = Some(Instant::now());
        self.span = otlp::begin(head);
        self.head = head.headers.size() as u64;
        if self.wanted {
            let host = head.headers.known(Known::Host).next().unwrap_or_default();
            let scheme = head.scheme().filter(|_| head.target().starts_with(b"/"));
            let origin = scheme.map_or([b"" as &[u8]; 3], |scheme| [scheme.as_str().as_bytes(), b"://", host]);
            let version = head.version().as_str().as_bytes();
            let [scheme, separator, host] = origin;
            let parts = [head.method_text(), b" ", scheme, separator, host, head.target(), b" ", version];
            self.line.reserve_exact(parts.iter().map(|part| part.len()).sum());
            parts.iter().for_each(|part| self.line.extend_from_slice(part));
        }
    }

    /// Notes that the rules have seen the body of the request, or that it did not come.
    pub(crate) fn seen(&mut self, is_there: bool) {
        self.request = is_there.then(Instant::now);
    }

    /// Notes the backend.
    pub(crate) fn backend(&mut self, backend: &'a Backend) {
        self.backend = Some(backend);
        self.seat.note_backend(backend);
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
        self.seat.note_server(server);
        self.retries = failed;
    }

    /// Notes where the client connected to, if the line is to show it.
    pub(crate) fn destination(&mut self, find: impl FnOnce() -> Option<SocketAddr>) {
        if self.asks_ends {
            self.ends.frontend = find();
        }
    }

    /// Notes that rules say that the client is somebody else, or has connected to somewhere else.
    pub(crate) fn ends(&mut self, source: Peer, destination: Option<SocketAddr>) {
        self.client = source;
        if self.asks_ends && destination.is_some() {
            self.ends.frontend = destination;
        }
    }

    /// Notes that a connection is being opened.
    pub(crate) fn connecting(&self) {
        self.count_connection(Counter::Connects);
    }

    /// Notes that the connection is there.
    pub(crate) fn connected(&mut self, stream: Option<&Stream>) {
        self.connected = Some(Instant::now());
        self.note_ends(stream);
    }

    /// Notes that a connection serves once more.
    pub(crate) fn reused(&mut self, stream: Option<&Stream>) {
        self.count_connection(Counter::Reuses);
        self.connected = self.queued;
        self.note_ends(stream);
    }

    fn note_ends(&mut self, stream: Option<&Stream>) {
        if self.asks_ends {
            self.ends.backend = stream.and_then(|stream| stream.socket().local_address());
            self.ends.server = stream.and_then(|stream| stream.socket().peer_address());
        }
    }

    /// Notes how far the response came.
    pub(crate) fn response(&mut self) {
        let progress = &self.progress;
        self.status = progress.status;
        self.maker = Maker::Server;
        self.answered = progress.answered;
        self.received = progress.received.count();
        self.sent = progress.sent.count();
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
            Ended::Cut => "--",
            Ended::Refused(Refusal::Told) => "PD",
            Ended::Refused(Refusal::Silent) => "PR",
        };
        if matches!(carried.end, Ended::Refused(_)) {
            self.denied = Some(Counter::DeniedResponses);
        }
    }

    /// Notes the status of a response that the client does not get.
    pub(crate) fn withheld(&mut self) {
        self.status = self.progress.heard;
    }

    /// Notes how far it came until it was ended from outside, and returns that as what went wrong.
    pub(crate) fn ended(&mut self, cause: Cause) -> ExchangeError {
        let is_http = self.request.is_some();
        if self.connected.is_some() && is_http {
            self.response();
        }
        self.sent += self.progress.tunnel.to_client.count();
        self.received += self.progress.tunnel.to_server.count();
        let phase = match (self.backend, self.server, self.connected) {
            (_, _, Some(_)) if !is_http => Phase::Bytes,
            (_, _, Some(_)) if self.status.is_some() => Phase::Data,
            (_, _, Some(_)) => Phase::Headers,
            (_, Some(_), None) => Phase::Connect,
            (Some(_), None, None) => Phase::Queue,
            (None, None, None) => Phase::Request,
        };
        ExchangeError::Ended(cause, phase)
    }

    /// Returns where it is found among all that is under way.
    pub(crate) fn place(&self) -> Place {
        self.seat.place()
    }

    /// Lets it end without a line.
    pub(crate) fn silence(&mut self) {
        self.wanted = false;
    }

    /// Notes why it failed.
    pub(crate) fn fail(&mut self, error: &ExchangeError) {
        self.termination = error.termination();
    }

    /// Returns the names of the backend and the server, as far as there are any.
    pub(crate) fn names(&self) -> (Option<&'a str>, Option<&'a str>) {
        (self.backend.map(Backend::name), self.server.map(Server::name))
    }

    /// Notes that it asks for the statistics.
    pub(crate) fn names_statistics(&mut self) {
        self.is_exhibit = true;
    }

    /// Notes that it is answered by the statistics.
    pub(crate) fn exhibited(&mut self) {
        self.termination = "LR";
        self.is_exhibit = true;
        (self.queued, self.connected, self.answered) = (self.request, self.request, self.request);
    }

    /// Notes that a cache answers, with this status.
    pub(crate) fn held(&mut self, status: u16) {
        self.termination = "LR";
        self.status = Some(status);
        self.maker = Maker::Ourselves;
        (self.queued, self.connected, self.answered) = (self.request, self.request, self.request);
    }

    /// Notes how much of what a cache had was sent.
    pub(crate) fn sent(&mut self) {
        self.sent = self.progress.sent.count();
    }

    /// Notes that a rule ended it.
    pub(crate) fn ruled(&mut self, termination: &'static str) {
        self.termination = termination;
        self.denied = match termination {
            "PR" => Some(Counter::DeniedRequests),
            "PD" | "PH" => Some(Counter::DeniedResponses),
            _ => None,
        };
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

    /// Returns what became of it so far, for who watches.
    pub(crate) fn ending(&self) -> Ending {
        let (backend, server) = self.names();
        Ending {
            backend: backend.map(str::to_owned),
            server: server.map(str::to_owned),
            status: self.status,
            termination: self.termination,
            time: self.start.elapsed(),
        }
    }

    /// Counts a request and writes its line; `view` is what the line's expressions are evaluated over.
    pub(crate) fn write(mut self, frontend: &Frontend, view: &View<'_>) {
        let ended = Instant::now();
        self.presence = None;
        self.end_span(frontend, ended);
        self.count_faults(frontend, view.memory);
        self.count_request(frontend, ended);
        self.count_cache(frontend, view.memory);
        self.write_line(frontend, (LogStep::Close, view), ended);
    }

    /// Counts a connection in mode `tcp` and writes its line.
    pub(crate) fn write_tcp(mut self, frontend: &Frontend, view: &View<'_>) {
        let ended = Instant::now();
        self.presence = None;
        self.count_end(frontend, ended);
        self.request = Some(self.start);
        self.answered = self.connected;
        self.write_line(frontend, (LogStep::Close, view), ended);
    }

    /// Tells whether it went as it should, by HAProxy's rules.
    fn outcome(&self) -> Outcome {
        let by_ourselves = self.termination.starts_with(['-', 'L']);
        let is_normal = by_ourselves && self.retries == 0 && !self.redispatched && self.status.is_none_or(|status| status < 500);
        if is_normal { Outcome::Normal } else { Outcome::Failure }
    }

    fn facts<'f>(&self, (frontend, line): (&'f Frontend, Option<&'f [u8]>), (step, memory): (LogStep, &Memory), ended: Instant) -> Facts<'f>
    where
        'a: 'f,
    {
        let now = SystemTime::now();
        let date = |at: Instant| now.checked_sub(ended.saturating_duration_since(at)).unwrap_or(SystemTime::UNIX_EPOCH);
        Facts {
            client: self.client,
            ends: self.ends,
            accepted: date(self.began - self.handshake),
            began: date(self.start),
            steps: self.steps(ended),
            frontend: frontend.name(),
            backend: self.backend.map_or(frontend.name(), Backend::name),
            server: memory.wishes.service.or(if self.is_exhibit { Some("<STATS>") } else { self.server.map(Server::name) }),
            tls: self.tls,
            status: self.status,
            received: self.head + self.received,
            sent: self.sent,
            termination: self.termination,
            cookies: self.cookies,
            counts: self.counts(frontend, memory),
            origin: step::origin(step),
            line: line.filter(|line| !line.is_empty()),
        }
    }

    /// Returns how long each step took of those that it came to.
    fn steps(&self, ended: Instant) -> Steps {
        let step = |from: Option<Instant>, to: Option<Instant>| from.zip(to).map(|(from, to)| to.saturating_duration_since(from));
        // In mode tcp there is nothing to wait for.
        let request = self.request.or(self.queued.map(|_| self.start));
        Steps {
            handshake: self.handshake,
            idle: self.start.saturating_duration_since(self.began),
            request: step(Some(self.start), request),
            queue: step(request, self.queued),
            connect: step(self.queued, self.connected),
            response: step(self.connected, self.answered),
            data: step(self.answered, Some(ended)),
            active: ended.saturating_duration_since(self.start),
        }
    }

    fn counts(&self, frontend: &Frontend, memory: &Memory) -> Counts {
        let (process, own) = frontend.connections();
        let asks_numbers = frontend.rules().lines().asks_numbers();
        let (exchange, lines) = if asks_numbers { (memory.number(), frontend.log().number()) } else { (0, 0) };
        Counts {
            process: process.into(),
            frontend: own.into(),
            backend: self.backend.map_or(0, |backend| backend.meter().sum(Counter::Current)),
            server: self.server.map_or(0, |server| server.load().active().into()),
            retries: self.retries,
            redispatched: self.redispatched,
            server_queue: 0,
            backend_queue: self.backend.map_or(0, |backend| backend.waiting() as u64),
            exchange,
            lines,
        }
    }
}

thread_local! {
    /// What lines are put together in: the text, its structured data, and the packet.
    static LINE: RefCell<[Vec<u8>; 3]> = const { RefCell::new([const { Vec::new() }; 3]) };
}

/// Writes the line of a connection that got no further than its first bytes, on the bind of this name.
pub(crate) fn refused(frontend: &Frontend, client: Peer, began: Instant, bind: impl std::fmt::Display, reason: &str) {
    let Some(level) = frontend.log().level(Outcome::Failure).filter(|_| frontend.log().is_wanted()) else { return };
    let began = SystemTime::now().checked_sub(began.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    LINE.with_borrow_mut(|[text, structured, packet]| {
        text.clear();
        structured.clear();
        let (date, frontend_name) = (date::Common(began), frontend.name());
        let written = match client {
            Peer::Inet(address) => write!(text, "{}:{}", address.ip().to_canonical(), address.port()),
            Peer::Unix(number) => write!(text, "unix:{number}"),
        };
        written.and_then(|()| write!(text, " [{date}] {frontend_name}/{bind}: {reason}")).expect("a vector takes everything");
        frontend.log().write(Line { level, text, structured }, packet);
    });
}
