//! One client connection, from accept to close: reads the PROXY header and begins TLS if there must be, then hands over to the mode's engine.
//!
//! Most connections of a busy proxy wait for their next request. Whatever such a connection does not need while it waits is boxed, so
//! that it holds no room for it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use control::config::{Mode, Timeout};
use tracing::{debug, info};

use crate::buffer::Buffer;
use crate::deadline::{Deadline, Elapsed};
use crate::downstream::{Close, Downstream, Wire};
use crate::exchange::{self, Turn};
use crate::forward::Fate;
use crate::h2::server::{self, PREFACE};
use crate::idle::Seat;
use crate::peer::Peer;
use crate::proxy_header::{self, Decoded, Endpoints, ProxyHeaderError};
use crate::rules::{Memory, ProxyRules, Scene, Verdict};
use crate::site::{Door, Frontend};
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
    /// Where the client connected to, if a proxy in front of us said so.
    pub(crate) destination: Option<SocketAddr>,
    /// What rules keep in mind about it.
    pub(crate) memory: Memory,
    /// Bytes that came and were not yet asked for: behind a PROXY header, or behind the last request.
    pub(crate) early: Option<Buffer>,
    /// How long PROXY header and TLS took; nothing once the first exchange has it.
    pub(crate) handshake: Duration,
    /// Connections to servers that serve this client alone.
    pub(crate) own: Own,
    /// The timer of this connection.
    pub(crate) deadline: Deadline,
}

impl Client {
    /// Returns a client of which nothing is known but its connection.
    pub(crate) fn new(stream: Stream, peer: Peer) -> Self {
        Self {
            stream,
            source: peer,
            destination: None,
            memory: Memory::default(),
            early: None,
            handshake: Duration::ZERO,
            own: Own::default(),
            deadline: Deadline::default(),
        }
    }

    /// Returns what rules may know of the connection.
    pub(crate) fn scene<'s>(&self, frontend: &'s Frontend) -> Scene<'s> {
        let rules = frontend.rules();
        let find = || self.destination.or_else(|| self.stream.socket().local_address());
        Scene {
            source: self.source.inet(),
            destination: if rules.asks_destination() { find() } else { None },
            is_tls: self.stream.privacy() == Privacy::Tls,
            is_first: true,
            frontend: frontend.name(),
            backend: None,
            shared: rules.shared(),
            content: None,
            site: Some(frontend),
        }
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
            Verdict::Answer(_) | Verdict::Challenge(_) | Verdict::Deny(_) | Verdict::Tarpit(_) | Verdict::Close | Verdict::Fail => false,
        }
    }

    /// Takes over what rules said of where the connection comes from and goes to.
    pub(crate) fn believe(&mut self, before: (Option<SocketAddr>, Option<SocketAddr>), scene: &Scene<'_>) {
        if let Some(source) = scene.source.filter(|_| before.0 != scene.source) {
            self.source = Peer::Inet(source);
        }
        if before.1 != scene.destination {
            self.destination = scene.destination;
        }
    }
}

/// Serves a client until its connection ends; `current` is the door it came in by, and changes at a reload.
pub(crate) async fn serve(client: &mut Client, current: &RefCell<Arc<Door>>) {
    let door = Arc::clone(&current.borrow());
    let frontend = door.frontend();
    if frontend.rules().concerns_connections() && !client.passes(frontend, ProxyRules::on_connection) {
        return debug!("{} on frontend {}: a rule rejects the connection", client.source, frontend.name());
    }
    let accepted = (door.accepts_proxy() || door.acceptor().is_some()).then(Instant::now);
    if door.accepts_proxy()
        && let Err(error) = Box::pin(read_proxy_header(client, frontend.timeouts().of(Timeout::Client))).await
    {
        info!("{} on frontend {}: {error}", client.source, frontend.name());
        return;
    }
    if let Some(acceptor) = door.acceptor()
        && !Box::pin(handshake::accept(client, acceptor, frontend)).await
    {
        return;
    }
    if frontend.rules().asks_tls() {
        client.memory.tls = client.stream.session().map(Arc::new);
    }
    client.handshake = accepted.map_or(Duration::ZERO, |accepted| accepted.elapsed());
    if frontend.rules().concerns_sessions() && !client.passes(frontend, ProxyRules::on_session) {
        return debug!("{} on frontend {}: a rule rejects the session", client.source, frontend.name());
    }
    if client.memory.is_tracking() {
        client.memory.note(|record| record.count(Event::Session));
    }
    if frontend.mode() == Mode::Tcp {
        return Box::pin(tcp::serve(client, frontend)).await;
    }
    drop(door);
    serve_http(client, current).await;
}

/// Serves one request after the other; each sees the configuration in force when it begins.
async fn serve_http(client: &mut Client, current: &RefCell<Arc<Door>>) {
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
        if turn == Turn::First && begins_with_preface(client, current, began).await {
            return Box::pin(server::serve(client, current)).await;
        }
        // Asked for anew: a reload may have come while the connection was idle.
        let door = Arc::clone(&current.borrow());
        if Box::pin(serve_request(client, door.frontend(), turn, began)).await == Fate::Close {
            return Box::pin(linger(client)).await;
        }
        turn = Turn::Later;
    }
}

/// Serves the request that begins with the client's early bytes.
async fn serve_request(client: &mut Client, frontend: &Frontend, turn: Turn, began: Instant) -> Fate {
    let Client { stream, source, destination, memory, early, handshake, own, deadline } = client;
    let mut input = early.take().unwrap_or_else(Buffer::take);
    let wire = Wire::H1 { stream, input: &mut input, close: Close::Nothing };
    let handshake = std::mem::take(handshake);
    let mut exchange = Downstream { wire, source: *source, destination: *destination, handshake, own, deadline };
    let fate = exchange::run(&mut exchange, memory, frontend, turn, began).await;
    client.early = Some(input).filter(|input| !input.is_empty());
    fate
}

/// Tells whether a client speaks HTTP/2 without having been asked (RFC 9113 section 3.3), waiting for as many bytes as that takes.
async fn begins_with_preface(client: &mut Client, current: &RefCell<Arc<Door>>, began: Instant) -> bool {
    let Client { stream, early: Some(early), deadline, .. } = client else { return false };
    let end = head_limit(current.borrow().frontend()).map(|limit| tokio::time::Instant::from_std(began) + limit);
    while early.len() < PREFACE.len() && !early.is_empty() && PREFACE.starts_with(early.filled()) {
        let more = deadline.until(end, pin!(stream.receive_more(early))).await;
        if !matches!(more, Ok(Ok(1..))) {
            return false;
        }
    }
    early.filled().starts_with(PREFACE)
}

/// Returns how long a client may take for the head of a request.
fn head_limit(frontend: &Frontend) -> Option<Duration> {
    frontend.timeouts().of(Timeout::HttpRequest).or(frontend.timeouts().of(Timeout::Client))
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
    let seat = Seat::take();
    let mut bytes = pin!(client.stream.receive());
    let waiting = poll_fn(|cx| {
        let outcome = bytes.as_mut().poll(cx);
        let goes_home = outcome.is_pending() && turn == Turn::Later && seat.is_draining(cx);
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

async fn read_proxy_header(client: &mut Client, limit: Option<Duration>) -> Result<(), HeaderFailure> {
    let Client { stream, deadline, .. } = client;
    let (endpoints, rest) = deadline.within(limit, pin!(proxy_header(stream))).await??;
    if let Endpoints::Relayed { source, destination } = endpoints {
        client.source = Peer::Inet(source);
        client.destination = Some(destination);
    }
    client.early = Some(rest).filter(|rest| !rest.is_empty());
    Ok(())
}

async fn proxy_header(stream: &Stream) -> Result<(Endpoints, Buffer), HeaderFailure> {
    let mut header = Buffer::take();
    loop {
        let more = stream.receive().await?;
        if more.is_empty() {
            return Err(HeaderFailure::Closed);
        }
        header.tail().extend_from_slice(more.filled());
        if let Decoded::Complete { endpoints, length } = proxy_header::decode(header.filled())? {
            header.consume(length);
            return Ok((endpoints, header));
        }
    }
}
