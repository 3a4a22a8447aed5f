//! A client's connection of HTTP/2: every stream becomes an exchange of its own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use control::config::{Timeout, Timeouts};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tracing::{debug, info};

use super::io::{Backlog, Io};
use super::{CLIENT_WINDOW, MAX_HEAD, MOST_FRAME, SEND_BUFFER, STREAMS, WINDOW};
use crate::deadline::Deadline;
use crate::exchange::Turn;
use crate::h1::parse;
use crate::idle::Seat;
use crate::message::head::Version;
use crate::peer::Peer;
use crate::rules::Keepsake;
use crate::session::Client;
use crate::sessions::{self, Entry};
use crate::site::Door;
use crate::stream::Stream;
use crate::streams::{Active, Activity, Arrival, Incoming, Newcomer, Responder};

/// What every HTTP/2 connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Engine<'a> = Connection<Io<&'a Stream>, Bytes>;

/// Serves a client until its connection ends; the first bytes have been read.
pub(crate) async fn serve(client: &mut Client, current: &RefCell<Arc<Door>>) {
    let timeouts = *current.borrow().frontend().timeouts();
    let limit = timeouts.of(Timeout::HttpRequest).or(timeouts.of(Timeout::Client));
    let (destination, mut shaken) = (client.destination(), client.take_handshake());
    let Client { stream, source, memory, early, own, deadline, .. } = client;
    let (stream, source) = (&*stream, *source);
    let memory = Rc::new(RefCell::new(std::mem::take(memory)));
    let own = Rc::new(std::mem::take(own));
    let backlog = Rc::new(Backlog::default());
    if memory.borrow().is_tracking() {
        backlog.count_complaints();
    }
    let streams = STREAMS.load(Relaxed);
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW.load(Relaxed))
        .initial_connection_window_size(CLIENT_WINDOW.max(WINDOW.load(Relaxed)))
        .max_frame_size(MOST_FRAME.load(Relaxed))
        .max_concurrent_streams(streams)
        .max_header_list_size(u32::try_from(parse::most_bytes()).unwrap_or(MAX_HEAD).max(MAX_HEAD))
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    let handshake = builder.handshake(Io { stream, early: early.take(), backlog: Rc::clone(&backlog) });
    let mut engine = match deadline.within(limit, std::pin::pin!(handshake)).await {
        Ok(Ok(engine)) => engine,
        Ok(Err(error)) => return refuse((source, &memory), current, &error),
        Err(_) => return,
    };
    let secured = stream.secured();
    let mut life = Life::new(&timeouts, Rc::clone(&backlog));
    let mut turn = Turn::First;
    let active = Rc::clone(&life.active);
    let mut next = |cx: &mut Context<'_>| {
        let arrived = life.poll_next(&mut engine, deadline, cx);
        memory.borrow().note_glitches(backlog.take_complaints());
        arrived
    };
    while let Some(arrived) = poll_fn(&mut next).await {
        match arrived {
            Ok((_, mut respond)) if active.count() >= SURPLUS * streams as usize => respond.send_reset(Reason::REFUSED_STREAM),
            Ok((request, respond)) => {
                let active = Active::new(&active);
                let (memory, own, handshake) = (Rc::clone(&memory), Rc::clone(&own), std::mem::take(&mut shaken));
                let newcomer = Newcomer { version: Version::Http2, source, destination, secured, handshake, turn, memory, own };
                let door = Arc::clone(&current.borrow());
                sessions::spawn(|entry| exchange(newcomer, (request, respond), door, (active, entry)));
                turn = Turn::Later;
            }
            Err(error) => return refuse((source, &memory), current, &error),
        }
    }
    let _ = stream.shutdown().await;
}

fn refuse((source, memory): (Peer, &RefCell<Keepsake>), current: &RefCell<Arc<Door>>, error: &h2::Error) {
    if !error.is_io() && !error.is_remote() {
        memory.borrow().note_glitches(1);
    }
    if error.is_io() {
        debug!("{source} left: {error}");
    } else {
        info!("{source} on frontend {}: {error}", current.borrow().frontend().name());
    }
}

/// When a connection ends: at a drain, or when it has carried nothing for too long.
struct Life {
    seat: Seat,
    active: Rc<Activity>,
    backlog: Rc<Backlog>,
    /// What the client had taken when that was last looked at.
    taken: u64,
    quiet_since: Option<tokio::time::Instant>,
    /// How long the connection may carry nothing.
    limit: Option<Duration>,
    /// How long the client may leave untaken what it was sent.
    taking_limit: Option<Duration>,
    /// Whether the client was told to open no further stream.
    leaving: bool,
}

type Arrived = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

impl Life {
    fn new(timeouts: &Timeouts, backlog: Rc<Backlog>) -> Self {
        let taking_limit = timeouts.of(Timeout::Client);
        let limit = timeouts.of(Timeout::HttpKeepAlive).or(taking_limit);
        Self { seat: Seat::take(), active: Rc::default(), backlog, taken: 0, quiet_since: None, limit, taking_limit, leaving: false }
    }

    fn poll_next(&mut self, engine: &mut Engine<'_>, deadline: &mut Deadline, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        if !self.leaving && self.seat.is_draining(cx) {
            self.leave(engine);
        }
        loop {
            if let Poll::Ready(arrived) = engine.poll_accept(cx) {
                self.quiet_since = None;
                return Poll::Ready(arrived);
            }
            if self.active.poll_busy(cx) {
                self.quiet_since = None;
                return Poll::Pending;
            }
            // Exchanges end when the engine has their last bytes: the client may take them slowly.
            let written = self.backlog.written();
            let waits = self.backlog.waits();
            if waits && std::mem::replace(&mut self.taken, written) != written {
                self.quiet_since = None;
            }
            let since = *self.quiet_since.get_or_insert_with(tokio::time::Instant::now);
            let limit = match (waits, self.leaving) {
                (true, _) => self.taking_limit,
                (false, true) => Some(FAREWELL),
                (false, false) => self.limit,
            };
            let Some(limit) = limit else { return Poll::Pending };
            ready!(deadline.poll_until(since + limit, cx));
            if waits || self.leaving {
                return Poll::Ready(None);
            }
            self.leave(engine);
        }
    }

    fn leave(&mut self, engine: &mut Engine<'_>) {
        self.leaving = true;
        self.quiet_since = None;
        engine.graceful_shutdown();
    }
}

async fn exchange(
    newcomer: Newcomer,
    (request, respond): (Request<RecvStream>, SendResponse<Bytes>),
    door: Arc<Door>,
    (_active, entry): (Active, Entry),
) {
    entry.enter().await;
    let (head, body) = request.into_parts();
    let (body, respond) = (Incoming::h2(body), Responder::H2(respond));
    Arrival { newcomer, began: Instant::now(), head, body, respond }.serve(&door).await;
}

/// How many times as many exchanges as streams one connection may have: those of streams that were taken back may last a little longer than the streams.
const SURPLUS: usize = 2;
/// How long a client that was told to leave may take to do so.
const FAREWELL: Duration = Duration::from_secs(1);
