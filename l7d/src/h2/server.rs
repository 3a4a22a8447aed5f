//! A client's connection of HTTP/2: every stream becomes an exchange of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use control::config::{Timeout, Timeouts};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::task::spawn_local;
use tracing::{debug, info};

use super::io::Io;
use super::{CONNECTION_WINDOW, MAX_HEAD, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, convert};
use crate::deadline::Deadline;
use crate::downstream::{Downstream, Streamed, Wire};
use crate::exchange::{self, Turn};
use crate::idle::Seat;
use crate::peer::Peer;
use crate::session::Client;
use crate::site::Door;
use crate::stream::{Privacy, Stream};

/// What every HTTP/2 connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Engine<'a> = Connection<Io<&'a Stream>, Bytes>;

/// Serves a client until its connection ends; the first bytes have been read.
pub(crate) async fn serve(client: &mut Client, current: &RefCell<Arc<Door>>) {
    let timeouts = *current.borrow().frontend().timeouts();
    let limit = timeouts.of(Timeout::HttpRequest).or(timeouts.of(Timeout::Client));
    let Client { stream, source, destination, early, deadline } = client;
    let (stream, source) = (&*stream, *source);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    let handshake = builder.handshake(Io { stream, early: early.take() });
    let mut engine = match deadline.within(limit, std::pin::pin!(handshake)).await {
        Ok(Ok(engine)) => engine,
        Ok(Err(error)) => return refuse(source, current, &error),
        Err(_) => return,
    };
    let destination = destination.or_else(|| stream.socket().local_address());
    let privacy = stream.privacy();
    let mut life = Life { seat: Seat::take(), active: Rc::default(), quiet_since: None, limit: idle_limit(&timeouts), leaving: false };
    let mut turn = Turn::First;
    while let Some(arrived) = poll_fn(|cx| life.poll_next(&mut engine, deadline, cx)).await {
        match arrived {
            Ok((request, respond)) => {
                let exchange = exchange(request, respond, Ends { source, destination, privacy }, Arc::clone(&current.borrow()), turn);
                let active = Active::new(&life.active);
                spawn_local(async move {
                    exchange.await;
                    drop(active);
                });
                turn = Turn::Later;
            }
            Err(error) => return refuse(source, current, &error),
        }
    }
    let _ = stream.shutdown().await;
}

fn refuse(source: Peer, current: &RefCell<Arc<Door>>, error: &h2::Error) {
    if error.is_io() {
        debug!("{source} left: {error}");
    } else {
        info!("{source} on frontend {}: {error}", current.borrow().frontend().name());
    }
}

fn idle_limit(timeouts: &Timeouts) -> Option<Duration> {
    timeouts.of(Timeout::HttpKeepAlive).or(timeouts.of(Timeout::Client))
}

/// When a connection ends: at a drain, or when it has carried nothing for too long.
struct Life {
    seat: Seat,
    active: Rc<Activity>,
    quiet_since: Option<tokio::time::Instant>,
    limit: Option<Duration>,
    /// Whether the client was told to open no further stream.
    leaving: bool,
}

type Arrived = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

impl Life {
    fn poll_next(&mut self, engine: &mut Engine<'_>, deadline: &mut Deadline, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        if !self.leaving && self.seat.is_draining(cx) {
            self.leave(engine);
        }
        loop {
            if let Poll::Ready(arrived) = engine.poll_accept(cx) {
                self.quiet_since = None;
                return Poll::Ready(arrived);
            }
            if self.active.count.get() > 0 {
                self.quiet_since = None;
                *self.active.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let since = *self.quiet_since.get_or_insert_with(tokio::time::Instant::now);
            let limit = if self.leaving { Some(FAREWELL) } else { self.limit };
            let Some(limit) = limit else { return Poll::Pending };
            std::task::ready!(deadline.poll_until(since + limit, cx));
            if self.leaving {
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

/// How many exchanges a connection carries, and who wants to know when it carries none.
#[derive(Debug, Default)]
struct Activity {
    count: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// Counts an exchange of a connection while it lasts.
struct Active(Rc<Activity>);

impl Active {
    fn new(activity: &Rc<Activity>) -> Self {
        activity.count.set(activity.count.get() + 1);
        Self(Rc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

/// Both ends of the client's connection.
#[derive(Debug, Clone, Copy)]
struct Ends {
    source: Peer,
    destination: Option<SocketAddr>,
    privacy: Privacy,
}

async fn exchange(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, ends: Ends, door: Arc<Door>, turn: Turn) {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let head = match convert::request_head(&parts) {
        Ok(head) => head,
        Err(error) => {
            info!("{} on frontend {}: request is invalid: {error}", ends.source, door.frontend().name());
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return;
        }
    };
    let mut deadline = Deadline::default();
    let stream = Box::new(Streamed { head: Some(head), body, respond, privacy: ends.privacy });
    let mut client = Downstream { wire: Wire::H2(stream), source: ends.source, destination: ends.destination, deadline: &mut deadline };
    exchange::run(&mut client, door.frontend(), turn, began).await;
}

/// How long a client that was told to leave may take to do so.
const FAREWELL: Duration = Duration::from_secs(1);
