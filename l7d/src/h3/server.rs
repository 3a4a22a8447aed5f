//! A client's connection of HTTP/3: every stream becomes an exchange of its own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use control::config::{Timeout, Timeouts};
use http::{Response, StatusCode};
use quinn::{Connection, Incoming as Knock, RecvStream, SendStream};
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tracing::{debug, info};

use super::frame::{GOAWAY, put_number};
use super::listener::HalfOpen;
use super::{Body, Code, Endpoint, Fault, NO_ERROR, REQUEST_INCOMPLETE, REQUEST_REJECTED, Sender, control as unidirectional, endpoint};
use crate::deadline::Deadline;
use crate::error::ExchangeError;
use crate::exchange::{self, Turn};
use crate::h2::convert::Malformed;
use crate::idle::Seat;
use crate::log;
use crate::message::head::Version;
use crate::peer::Peer;
use crate::rules::{Ingress, Keepsake, Memory, ProxyRules, Scene, Verdict};
use crate::session;
use crate::sessions::{self, Entry};
use crate::site::{Door, Frontend};
use crate::stats::Counter;
use crate::stats::census::{self, Channel, Side};
use crate::stick::Event;
use crate::stream::Privacy;
use crate::streams::{Active, Activity, Arrival, Incoming, Newcomer, Responder};
use crate::tls::Secured;
use crate::upstream::Own;

/// Serves a client until its connection ends; `current` is the door it came in by, and changes at a reload.
pub(super) async fn serve(knock: Knock, half_open: HalfOpen, endpoint: &Endpoint, current: &RefCell<Arc<Door>>) {
    let door = Arc::clone(&current.borrow());
    let mut guest = Guest::new(&knock, endpoint);
    if door.frontend().rules().asks_entry() {
        guest.memory.entry = Some(Ingress::new(&door));
    }
    match guest.passes(door.frontend(), (door.frontend().rules().concerns_connections(), ProxyRules::on_connection)) {
        Entrance::Open => {}
        entrance @ (Entrance::Shut | Entrance::Silent) => {
            door.frontend().meter().add(Counter::DeniedConnections, 1);
            return if entrance == Entrance::Silent { knock.ignore() } else { knock.refuse() };
        }
    }
    let began = Instant::now();
    let Some(connection) = Box::pin(guest.shake_hands(knock, &door)).await else { return };
    drop(half_open);
    guest.handshake = began.elapsed();
    if guest.passes(door.frontend(), (door.frontend().rules().concerns_sessions(), ProxyRules::on_session)) != Entrance::Open {
        door.frontend().meter().add(Counter::DeniedSessions, 1);
        debug!("{} on frontend {}: a rule rejects the session", guest.source, door.frontend().name());
        connection.close(REQUEST_REJECTED.into(), b"");
        return endpoint::flush().await;
    }
    if guest.memory.is_tracking() {
        guest.memory.note(|record| record.count(Event::Session));
    }
    let outcome = Box::pin(run(guest, &connection, current)).await;
    match outcome {
        Ok(()) => connection.close(NO_ERROR.into(), b""),
        Err(Departed { source, fault: Fault::Connection(code, what) }) => {
            info!("{source} on frontend {}: {what}", current.borrow().frontend().name());
            connection.close(code.into(), what.as_bytes());
        }
        Err(Departed { source, fault }) => debug!("{source} left: {fault}"),
    }
    endpoint::flush().await;
}

/// A client before it has asked for anything.
struct Guest {
    source: Peer,
    destination: Option<SocketAddr>,
    memory: Keepsake,
    secured: Option<Secured>,
    handshake: Duration,
    /// Once there is TLS to be had.
    channel: Option<Channel>,
}

/// Takes a client through some of its frontend's rules.
type Rules = fn(&ProxyRules, &mut Scene<'_>, &mut Memory) -> Verdict;

/// What rules say about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entrance {
    Open,
    Shut,
    Silent,
}

impl Guest {
    fn new(knock: &Knock, endpoint: &Endpoint) -> Self {
        Self {
            source: Peer::Inet(knock.remote_address()),
            destination: knock.local_ip().map(|ip| SocketAddr::new(ip, endpoint.local().port())),
            memory: Keepsake::default(),
            secured: None,
            handshake: Duration::ZERO,
            channel: None,
        }
    }

    /// Takes the client through rules about connections, if there are any.
    fn passes(&mut self, frontend: &Frontend, (any, rules): (bool, Rules)) -> Entrance {
        if !any {
            return Entrance::Open;
        }
        let mut scene = session::scene(frontend, self.source, Privacy::Tls, || self.destination);
        let before = (scene.source, scene.destination);
        let verdict = rules(frontend.rules(), &mut scene, &mut self.memory);
        if let Some(source) = scene.source.filter(|_| before.0 != scene.source) {
            self.source = Peer::Inet(source);
        }
        if before.1 != scene.destination {
            self.destination = scene.destination;
        }
        match verdict {
            Verdict::Pass => Entrance::Open,
            Verdict::Vanish => Entrance::Silent,
            Verdict::Wait(_)
            | Verdict::Answer(_)
            | Verdict::Held(_)
            | Verdict::Challenge(_)
            | Verdict::Deny(_)
            | Verdict::Tarpit(_)
            | Verdict::Close
            | Verdict::Cut
            | Verdict::Fail => Entrance::Shut,
        }
    }

    /// Completes the handshake; if that fails, it was logged.
    async fn shake_hands(&mut self, knock: Knock, door: &Door) -> Option<Connection> {
        let (frontend, began) = (door.frontend(), Instant::now());
        let (config, witness) = endpoint::server_config(door)?;
        let timeouts = frontend.timeouts();
        let limit = timeouts.of(Timeout::HttpRequest).or(timeouts.of(Timeout::Client));
        let mut deadline = Deadline::default();
        self.channel = Some(Channel::take(Side::Client));
        let (phrase, error) = match knock.accept_with(config) {
            Ok(connecting) => match deadline.within(limit, pin!(connecting)).await {
                Ok(Ok(connection)) => {
                    self.secured = witness.secured();
                    census::note_handshake(Side::Client, witness.is_resumed().then_some(HandshakeKind::Resumed));
                    if frontend.rules().asks_tls() {
                        let peer = connection.peer_identity().and_then(|peer| peer.downcast::<Vec<CertificateDer<'static>>>().ok());
                        self.memory.tls = witness.session(peer.map(|peer| *peer).unwrap_or_default()).map(Arc::new);
                    }
                    return Some(connection);
                }
                Ok(Err(error)) => ("SSL handshake failure", error.to_string()),
                Err(elapsed) => ("Timeout during SSL handshake", elapsed.to_string()),
            },
            Err(error) => ("SSL handshake failure", error.to_string()),
        };
        info!("{} on frontend {}: QUIC handshake: {error}", self.source, frontend.name());
        log::refused(frontend, self.source, began, door.acceptor()?.bind(), phrase);
        None
    }
}

/// A client that did not leave in order.
struct Departed {
    source: Peer,
    fault: Fault,
}

async fn run(guest: Guest, connection: &Connection, current: &RefCell<Arc<Door>>) -> Result<(), Departed> {
    let Guest { source, destination, memory, secured, handshake, channel: _channel } = guest;
    let departed = |fault: Fault| Departed { source, fault };
    let mut ours = connection.open_uni().await.map_err(|error| departed(Fault::Io(error.into())))?;
    ours.write_all(&unidirectional::greeting()).await.map_err(|error| departed(Fault::Io(error.into())))?;
    let mut life = Life::new(current.borrow().frontend().timeouts());
    let mut deadline = Deadline::default();
    let (memory, own) = (Rc::new(RefCell::new(memory)), Rc::new(Own::default()));
    let mut shaken = handshake;
    let mut turn = Turn::First;
    let mut next_id = 0;
    let mut listening = pin!(unidirectional::listen(connection));
    // Begins once the client was told to leave.
    let mut silence = pin!(silence(connection));
    loop {
        let step = tokio::select! {
            fault = &mut listening => {
                // If it was closed already, whoever has closed it has counted why.
                let is_new = connection.close_reason().is_none() && matches!(fault, Fault::Connection(..));
                memory.borrow().note_glitches(u32::from(is_new));
                return Err(departed(fault));
            }
            streams = connection.accept_bi() => Step::Stream(streams.map_err(|error| departed(Fault::Io(error.into())))?),
            step = poll_fn(|cx| life.poll_step(&mut deadline, cx)) => step,
            () = &mut silence, if life.is_leaving() => Step::Close,
        };
        match step {
            Step::Stream((send, recv)) if life.is_leaving() => reject(send, recv),
            Step::Stream(streams) => {
                next_id = next_id.max(u64::from(streams.1.id()) + STREAMS_APART);
                let newcomer = Newcomer {
                    version: Version::Http3,
                    source,
                    destination,
                    secured,
                    handshake: std::mem::take(&mut shaken),
                    turn: std::mem::replace(&mut turn, Turn::Later),
                    memory: Rc::clone(&memory),
                    own: Rc::clone(&own),
                };
                let (door, active, connection) = (Arc::clone(&current.borrow()), Active::new(&life.active), Connection::clone(connection));
                sessions::spawn(|entry| exchange(newcomer, streams, connection, door, (active, entry)));
            }
            Step::Leave => {
                let mut farewell = Vec::new();
                put_number(GOAWAY, &mut farewell);
                let mut id = Vec::new();
                put_number(next_id, &mut id);
                put_number(id.len() as u64, &mut farewell);
                farewell.append(&mut id);
                // A client that does not take it learns when its next stream is rejected.
                let _ = deadline.within(Some(FAREWELL), pin!(ours.write_all(&farewell))).await;
            }
            Step::Close => return Ok(()),
        }
    }
}

/// Waits until it is certain that a client does not even confirm what it is told, and so is not there any more.
async fn silence(connection: &Connection) {
    let heard = || connection.stats().udp_rx.datagrams;
    let before = heard();
    tokio::time::sleep(SILENCE).await;
    if heard() != before {
        // Should it go later, the engine finds that out.
        std::future::pending().await
    }
}

/// Rejects a stream that was opened too late; the client may ask elsewhere.
fn reject(mut send: SendStream, mut recv: RecvStream) {
    let _ = send.reset(REQUEST_REJECTED.into());
    let _ = recv.stop(REQUEST_REJECTED.into());
}

/// What a connection does next.
enum Step {
    Stream((SendStream, RecvStream)),
    /// It tells the client to open no further stream.
    Leave,
    Close,
}

/// When a connection ends: at a drain, or when it has carried nothing for too long.
struct Life {
    seat: Seat,
    active: Rc<Activity>,
    quiet_since: Option<tokio::time::Instant>,
    /// How long the connection may carry nothing.
    limit: Option<Duration>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client was told to open no further stream.
    Leaving,
}

impl Life {
    fn new(timeouts: &Timeouts) -> Self {
        let limit = timeouts.of(Timeout::HttpKeepAlive).or(timeouts.of(Timeout::Client));
        Self { seat: Seat::take(), active: Rc::default(), quiet_since: None, limit, stage: Stage::Open }
    }

    fn is_leaving(&self) -> bool {
        self.stage == Stage::Leaving
    }

    fn poll_step(&mut self, deadline: &mut Deadline, cx: &mut Context<'_>) -> Poll<Step> {
        if self.stage == Stage::Open && self.seat.is_draining(cx) {
            return Poll::Ready(self.leave());
        }
        if self.active.poll_busy(cx) {
            self.quiet_since = None;
            return Poll::Pending;
        }
        let since = *self.quiet_since.get_or_insert_with(tokio::time::Instant::now);
        let limit = match self.stage {
            Stage::Open => self.limit,
            Stage::Leaving => Some(FAREWELL),
        };
        let Some(limit) = limit else { return Poll::Pending };
        ready!(deadline.poll_until(since + limit, cx));
        Poll::Ready(if self.is_leaving() { Step::Close } else { self.leave() })
    }

    fn leave(&mut self) -> Step {
        self.stage = Stage::Leaving;
        self.quiet_since = None;
        Step::Leave
    }
}

async fn exchange(
    newcomer: Newcomer,
    (send, recv): (SendStream, RecvStream),
    connection: Connection,
    door: Arc<Door>,
    (_active, entry): (Active, Entry),
) {
    entry.enter().await;
    let began = Instant::now();
    let frontend = door.frontend();
    let (mut body, mut sender) = (Body::new(recv, Connection::clone(&connection)), Sender::new(send));
    let settled = sender.settled();
    let mut deadline = Deadline::default();
    let head = deadline.until(frontend.head_end(began), pin!(body.head())).await;
    let error = match head {
        Ok(Ok(head)) => {
            let may_be_over = !body.has_length() && head.method != http::Method::CONNECT;
            let mut body = Incoming::h3(body);
            if may_be_over {
                // Many a client says in a packet of its own that nothing follows, which servers should not have to hear in chunks.
                let _ = deadline.within(Some(MOMENT), pin!(body.look_further())).await;
            }
            Arrival { newcomer, began, head, body, respond: Responder::H3(Some(sender)) }.serve(&door).await;
            return settle(&connection, pin!(settled), (&mut deadline, frontend.timeouts().of(Timeout::Client))).await;
        }
        Ok(Err(Fault::Io(_))) => return,
        Ok(Err(Fault::TooLarge)) => {
            let error = ExchangeError::RequestTooLong;
            let mut response = Response::new(());
            *response.status_mut() = error.status().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::BAD_REQUEST);
            let _ = deadline.within(Some(FAREWELL), pin!(sender.head(&response))).await;
            sender.finish();
            error
        }
        Ok(Err(Fault::Message(code, what))) => {
            newcomer.memory.borrow().note_glitches(1);
            refuse(&mut body, sender, code);
            ExchangeError::Malformed(Malformed::Stream(what))
        }
        Ok(Err(Fault::Connection(code, what))) => {
            newcomer.memory.borrow().note_glitches(1);
            connection.close(code.into(), what.as_bytes());
            ExchangeError::Malformed(Malformed::Stream(what))
        }
        Err(_) => {
            refuse(&mut body, sender, REQUEST_INCOMPLETE);
            ExchangeError::RequestTimeout
        }
    };
    exchange::reject(newcomer.source, frontend, began, &error);
}

fn refuse(body: &mut Body, sender: Sender, code: Code) {
    body.stop(code);
    sender.refuse(code);
}

/// Waits until the client has all that was sent, as long as it takes something from time to time.
async fn settle<T>(
    connection: &Connection,
    mut settled: std::pin::Pin<&mut impl Future<Output = T>>,
    (deadline, limit): (&mut Deadline, Option<Duration>),
) {
    loop {
        let before = connection.stats().frame_tx.stream;
        if deadline.within(limit, settled.as_mut()).await.is_ok() || connection.stats().frame_tx.stream == before {
            return;
        }
    }
}

/// How long a client that was told to leave may take to do so.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a client that was told to leave may take to confirm that it has heard of it.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the end of a request is waited for that may have no body.
const MOMENT: Duration = Duration::from_millis(5);
/// How far the numbers of a client's streams are apart.
const STREAMS_APART: u64 = 4;
