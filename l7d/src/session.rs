//! One client connection, from accept to close: reads the PROXY header and begins TLS if there must be, then hands over to the mode's engine.
//!
//! Most connections of a busy proxy wait for their next request. Whatever such a connection does not need while it waits is boxed, so
//! that it holds no room for it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use control::config::{Mode, Protocol, Timeout};
use tracing::{debug, info};

use crate::buffer::Buffer;
use crate::deadline::{Deadline, Elapsed};
use crate::downstream::{Close, Downstream, Outlook, Wire};
use crate::exchange::{self, Turn};
use crate::forward::Fate;
use crate::h2::server::{self, PREFACE};
use crate::idle::Seat;
use crate::peer::Peer;
use crate::proxy_header::{self, Decoded, Endpoints, ProxyHeaderError};
use crate::rules::{Ingress, Keepsake, Memory, ProxyRules, Scene, Verdict, View};
use crate::site::{Door, Frontend};
use crate::stats::Counter;
use crate::stick::Event;
use crate::stream::{Privacy, Stream};
use crate::tcp;
use crate::tls::handshake;
use crate::upstream::Own;

/// A client and what is known of it.
#[derive(Debug)]
pub(crate) struct Client {
    /// The connection.
    pub(crate) stream: Stream,
    /// Who is at the other end: the client itself, not a proxy in front of us.
    pub(crate) source: Peer,
    /// What a PROXY header, TLS or a rule left to know.
    preamble: Option<Box<Preamble>>,
    /// What rules keep in mind about it.
    pub(crate) memory: Keepsake,
    /// Bytes that came and were not yet asked for: behind a PROXY header, or behind the last request.
    pub(crate) early: Option<Buffer>,
    /// Connections to servers that serve this client alone.
    pub(crate) own: Own,
    /// The timer of this connection.
    pub(crate) deadline: Deadline,
}

/// What was found out before the first request.
#[derive(Debug, Default)]
struct Preamble {
    /// Where the client connected to, if a proxy in front of us or a rule said so.
    destination: Option<SocketAddr>,
    /// How long PROXY header and TLS took; nothing once the first exchange has it.
    handshake: Duration,
}

impl Client {
    /// Returns a client of which nothing is known but its connection.
    pub(crate) fn new(stream: Stream, peer: Peer) -> Self {
        Self {
            stream,
            source: peer,
            preamble: None,
            memory: Keepsake::default(),
            early: None,
            own: Own::default(),
            deadline: Deadline::default(),
        }
    }

    /// Returns where the client connected to, if a proxy in front of us or a rule said so.
    pub(crate) fn stated_destination(&self) -> Option<SocketAddr> {
        self.preamble.as_ref()?.destination
    }

    /// Returns where the client connected to.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.stated_destination().or_else(|| self.stream.socket().local_address())
    }

    /// Hands out how long PROXY header and TLS took, to the first exchange.
    pub(crate) fn take_handshake(&mut self) -> Duration {
        self.preamble.as_mut().map_or(Duration::ZERO, |preamble| std::mem::take(&mut preamble.handshake))
    }

    /// Returns what rules may know of the connection.
    pub(crate) fn scene<'s>(&self, frontend: &'s Frontend) -> Scene<'s> {
        scene(frontend, self.source, self.stream.privacy(), || self.destination())
    }

    /// Returns what lines about the connection may look at.
    pub(crate) fn view<'v>(&'v self, scene: &'v Scene<'v>) -> View<'v> {
        View { scene, request: None, response: None, memory: &self.memory }
    }

    /// Takes the connection through rules about it, which may say that somebody else is the client; tells whether it is served.
    fn passes(&mut self, frontend: &Frontend, rules: fn(&ProxyRules, &mut Scene<'_>, &mut Memory) -> Verdict) -> bool {
        let mut scene = self.scene(frontend);
        let before = (scene.source, scene.destination);
        let verdict = rules(frontend.rules(), &mut scene, &mut self.memory);
        self.believe(before, &scene);
        match verdict {
            Verdict::Pass => true,
            Verdict::Vanish => {
                self.stream.socket().vanish();
                false
            }
            Verdict::Wait(_)
            | Verdict::Answer(_)
            | Verdict::Held(_)
            | Verdict::Challenge(_)
            | Verdict::Deny(_)
            | Verdict::Tarpit(_)
            | Verdict::Close
            | Verdict::Cut
            | Verdict::Fail => false,
        }
    }

    /// Takes over what rules said of where the connection comes from and goes to.
    pub(crate) fn believe(&mut self, before: (Option<SocketAddr>, Option<SocketAddr>), scene: &Scene<'_>) {
        if let Some(source) = scene.source.filter(|_| before.0 != scene.source) {
            self.source = Peer::Inet(source);
        }
        if before.1 != scene.destination {
            self.preamble.get_or_insert_default().destination = scene.destination;
        }
    }
}

/// Returns what rules may know of a connection.
pub(crate) fn scene(frontend: &Frontend, source: Peer, privacy: Privacy, destination: impl FnOnce() -> Option<SocketAddr>) -> Scene<'_> {
    let rules = frontend.rules();
    Scene {
        source: source.inet(),
        destination: if rules.asks_destination() { destination() } else { None },
        is_tls: privacy == Privacy::Tls,
        is_first: true,
        frontend: frontend.name(),
        backend: None,
        server: None,
        shared: rules.shared(),
        content: None,
        answer: None,
        site: Some(frontend),
        observer: None,
    }
}

/// Serves a client until its connection ends; `current` is the door it came in by, and changes at a reload.
///
/// Each request sees the configuration in force when it begins.
pub(crate) async fn serve(client: &mut Client, current: &RefCell<Arc<Door>>) {
    match enter(client, current).await {
        Some(Mode::Http) => {}
        Some(Mode::Tcp) => return Box::pin(serve_bytes(client, current)).await,
        None => return,
    }
    let mut turn = Turn::First;
    let mut began = Instant::now();
    loop {
        if client.early.is_none() {
            let door = Arc::clone(&current.borrow());
            client.early = match await_request(client, door.frontend(), turn).await {
                Awaited::Request(bytes) => Some(bytes),
                // A first request that does not come, or not in time, is answered and counted like one that does not end so.
                Awaited::Nothing | Awaited::TooLate if turn == Turn::First => Some(Buffer::take()),
                Awaited::Nothing | Awaited::TooLate => return,
            };
        }
        if turn == Turn::Later {
            began = Instant::now();
        }
        if turn == Turn::First {
            let only = current.borrow().protocol();
            if only != Some(Protocol::H1) && may_be_preface(client) && Box::pin(begins_with_preface(client, current, began)).await {
                return Box::pin(server::serve(client, current)).await;
            }
            if only == Some(Protocol::H2) {
                debug!("{} on frontend {} does not speak HTTP/2", client.source, current.borrow().frontend().name());
                return;
            }
        }
        // Asked for anew: a reload may have come while the connection was idle.
        let door = Arc::clone(&current.borrow());
        match Box::pin(serve_request(client, door.frontend(), turn, began)).await {
            Next::Request => {}
            Next::Linger => return Box::pin(linger(client)).await,
            Next::Part => return Box::pin(part(client)).await,
        }
        turn = Turn::Later;
    }
}

/// Lets a client in, whose PROXY header and TLS come first; returns what it is served with, if it is.
async fn enter(client: &mut Client, current: &RefCell<Arc<Door>>) -> Option<Mode> {
    let door = Arc::clone(&current.borrow());
    let frontend = door.frontend();
    if frontend.rules().handles_clients() {
        // Without another handle the packets stay as they are.
        client.memory.line = client.stream.socket().as_fd().try_clone_to_owned().ok().map(Rc::new);
    }
    if frontend.rules().asks_entry() {
        client.memory.entry = Some(Ingress::new(&door));
    }
    if frontend.rules().concerns_connections() && !client.passes(frontend, ProxyRules::on_connection) {
        door.forgive();
        frontend.meter().add(Counter::DeniedConnections, 1);
        debug!("{} on frontend {}: a rule rejects the connection", client.source, frontend.name());
        return None;
    }
    let accepted = (door.accepts_proxy() || door.acceptor().is_some()).then(Instant::now);
    if door.accepts_proxy()
        && let Err(error) = Box::pin(read_proxy_header(client, frontend)).await
    {
        info!("{} on frontend {}: {error}", client.source, frontend.name());
        return None;
    }
    if let Some(acceptor) = door.acceptor()
        && !Box::pin(handshake::accept(client, acceptor, frontend)).await
    {
        return None;
    }
    if frontend.rules().asks_tls() {
        client.memory.tls = client.stream.session().map(Arc::new);
    }
    if let Some(accepted) = accepted {
        client.preamble.get_or_insert_default().handshake = accepted.elapsed();
    }
    if frontend.rules().concerns_sessions() && !client.passes(frontend, ProxyRules::on_session) {
        frontend.meter().add(Counter::DeniedSessions, 1);
        debug!("{} on frontend {}: a rule rejects the session", client.source, frontend.name());
        return None;
    }
    if client.memory.is_tracking() {
        client.memory.note(|record| record.count(Event::Session));
    }
    Some(frontend.mode())
}

/// Serves a client in mode `tcp`.
async fn serve_bytes(client: &mut Client, current: &RefCell<Arc<Door>>) {
    let door = Arc::clone(&current.borrow());
    tcp::serve(client, door.frontend()).await;
}

/// What follows a request.
enum Next {
    /// The next one.
    Request,
    /// The end, which the client may not expect yet.
    Linger,
    /// The end, as the client asked.
    Part,
}

/// Serves the request that begins with the client's early bytes.
async fn serve_request(client: &mut Client, frontend: &Frontend, turn: Turn, began: Instant) -> Next {
    let destination = client.stated_destination();
    let handshake = client.take_handshake();
    client.memory.is_early = client.stream.is_early();
    let Client { stream, source, memory, early, own, deadline, .. } = client;
    let mut input = early.take().unwrap_or_else(Buffer::take);
    let wire = Wire::H1 { stream, input: &mut input, close: Close::Nothing };
    let mut exchange = Downstream { wire, source: *source, destination, handshake, own, deadline, outlook: Outlook::More };
    let fate = exchange::run(&mut exchange, memory, frontend, turn, began).await;
    let next = match (fate, exchange.outlook) {
        (Fate::Keep, _) => Next::Request,
        (Fate::Close, Outlook::Nothing) if input.is_empty() => Next::Part,
        (Fate::Close, _) => Next::Linger,
    };
    client.early = Some(input).filter(|input| !input.is_empty());
    next
}

/// Tells whether what came so far could be the beginning of HTTP/2.
fn may_be_preface(client: &Client) -> bool {
    let bytes = client.early.as_ref().map_or(&[][..], Buffer::filled);
    !bytes.is_empty() && (PREFACE.starts_with(bytes) || bytes.starts_with(PREFACE))
}

/// Tells whether a client speaks HTTP/2 without having been asked (RFC 9113 section 3.3), waiting for as many bytes as that takes.
async fn begins_with_preface(client: &mut Client, current: &RefCell<Arc<Door>>, began: Instant) -> bool {
    let Client { stream, early: Some(early), deadline, .. } = client else { return false };
    let end = current.borrow().frontend().head_end(began);
    while early.len() < PREFACE.len() && !early.is_empty() && PREFACE.starts_with(early.filled()) {
        let more = deadline.until(end, pin!(stream.receive_more(early))).await;
        if !matches!(more, Ok(Ok(1..))) {
            return false;
        }
    }
    early.filled().starts_with(PREFACE)
}

enum Awaited {
    /// The first bytes of a request.
    Request(Buffer),
    /// The client left, or the drain sends it home.
    Nothing,
    TooLate,
}

/// Waits for the first bytes of a request without holding a buffer.
async fn await_request(client: &mut Client, frontend: &Frontend, turn: Turn) -> Awaited {
    let timeouts = frontend.timeouts();
    let request = timeouts.of(Timeout::HttpRequest);
    let limit = match turn {
        Turn::First => request,
        Turn::Later => timeouts.of(Timeout::HttpKeepAlive).or(request),
    };
    client.memory.settle();
    let seat = Seat::take();
    let may_be_sent_home = turn == Turn::Later && !frontend.keeps_idle();
    let mut bytes = pin!(client.stream.receive());
    let waiting = poll_fn(|cx| {
        let outcome = bytes.as_mut().poll(cx);
        let goes_home = outcome.is_pending() && may_be_sent_home && seat.is_draining(cx);
        if goes_home { Poll::Ready(None) } else { outcome.map(Some) }
    });
    match client.deadline.within(limit.or(timeouts.of(Timeout::Client)), waiting).await {
        Ok(Some(Ok(bytes))) if !bytes.is_empty() => Awaited::Request(bytes),
        Ok(_) => Awaited::Nothing,
        Err(_) => Awaited::TooLate,
    }
}

/// Closes in order: what we said must not be lost because the client was still speaking (RFC 9112 section 9.6).
async fn linger(client: &mut Client) {
    let Client { stream, deadline, .. } = client;
    if stream.shutdown().await.is_err() {
        return;
    }
    let listening = async {
        let mut heard = 0;
        while heard < LINGER_BYTES
            && let Ok(bytes) = stream.receive().await
            && !bytes.is_empty()
        {
            heard += bytes.len();
        }
    };
    // Whoever keeps speaking is cut off in the end.
    let _ = deadline.within(Some(LINGER), pin!(listening)).await;
}

/// Closes at once.
async fn part(client: &mut Client) {
    let Client { stream, deadline, .. } = client;
    if stream.privacy() == Privacy::Tls {
        let _ = deadline.within(Some(LINGER), pin!(stream.shutdown())).await;
    }
}

/// How long, and how much, a client may go on speaking after its connection was closed.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
enum HeaderFailure {
    #[error(transparent)]
    Invalid(#[from] ProxyHeaderError),
    #[error("closed before its PROXY header was complete")]
    Closed,
    #[error("PROXY header took too long")]
    TooLate(#[from] Elapsed),
    #[error("reading its PROXY header: {0}")]
    Io(#[from] io::Error),
}

async fn read_proxy_header(client: &mut Client, frontend: &Frontend) -> Result<(), HeaderFailure> {
    let limit = frontend.timeouts().of(Timeout::Client);
    let Client { stream, deadline, .. } = client;
    let asks = frontend.rules().asks_entry();
    let (endpoints, extensions, rest) = deadline.within(limit, pin!(proxy_header(stream, asks))).await??;
    if asks {
        let ends = (client.source.inet(), client.destination());
        if let Some(entry) = client.memory.entry.as_mut() {
            entry.keep_before_proxy(ends, extensions);
        }
    }
    if let Endpoints::Relayed { source, destination } = endpoints {
        client.source = Peer::Inet(source);
        client.preamble.get_or_insert_default().destination = Some(destination);
    }
    client.early = Some(rest).filter(|rest| !rest.is_empty());
    Ok(())
}

/// Reads a header, and returns what it says, its extensions where somebody asks, and what came behind it.
async fn proxy_header(stream: &Stream, asks: bool) -> Result<(Endpoints, Box<[u8]>, Buffer), HeaderFailure> {
    let mut header = Buffer::take();
    loop {
        let more = stream.receive().await?;
        if more.is_empty() {
            return Err(HeaderFailure::Closed);
        }
        header.tail().extend_from_slice(more.filled());
        if let Decoded::Complete { endpoints, length } = proxy_header::decode(header.filled())? {
            let whole = &header.filled()[..length];
            let extensions = if asks { proxy_header::extensions(whole).into() } else { Box::default() };
            header.consume(length);
            return Ok((endpoints, extensions, header));
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    /// With what the runtime adds, the task of a connection takes 512 bytes up to this size and 640 beyond.
    const MOST: usize = 408;

    fn size_of_session<T>(_: impl FnOnce(&'static mut Client, &'static RefCell<Arc<Door>>) -> T) -> usize {
        size_of::<T>()
    }

    #[test]
    fn a_connection_that_waits_is_small() {
        let admission_and_references = 72;
        let size = size_of::<Client>() + size_of_session(serve) + admission_and_references;
        assert!(size <= MOST, "{size}");
    }
}
