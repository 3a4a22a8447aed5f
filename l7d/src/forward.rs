//! Streams one request and its response over one connection to a server.
//!
//! The request's head and whatever of its body has arrived leave in one write, and so do the response's. A body that is not complete
//! by then streams while the response is awaited, because a server may answer before it has read everything. Nothing here chooses
//! servers or tries again; an error says whether that would be safe. Either side may speak either version: [`crate::lane`] passes on
//! the bytes of HTTP/1 as they are, [`crate::transfer`] moves content between versions.

mod answer;
mod held;
mod request;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use h2::client::ResponseFuture;

use crate::buffer::Buffer;
use crate::compress::Pressed;
use crate::deadline::Deadline;
use crate::downstream::{self, Close, Downstream, Wire};
use crate::error::ExchangeError;
use crate::flow::{Flow, Meters};
use crate::h1::body::Body;
use crate::lane::{IoFailure, Lane, RelayError, flatten};
use crate::review::Ruling;
use crate::stick::{Event, Returned};
use crate::stream::Stream;
use crate::streams::{Incoming, Responder, Sending};
use crate::transfer::{Coding, Sink, Source, Transfer};
use crate::tunnel::{Carriage, Carried, Quiet};
use crate::upstream::{Link, Upstream};
use answer::Answer;
pub(crate) use held::Held;
pub(crate) use request::Outgoing;

/// What becomes of a connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may serve the next exchange.
    Keep,
    /// It closes.
    Close,
}

/// How long each side may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The client.
    pub(crate) client: Option<Duration>,
    /// The server.
    pub(crate) server: Option<Duration>,
    /// Both, once the connections have become a tunnel.
    pub(crate) tunnel: Quiet,
}

/// What the response was.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Its status, once its head was sent to the client.
    pub(crate) status: Option<u16>,
    /// The status the server answered with.
    pub(crate) heard: Option<u16>,
    /// When its head had arrived.
    pub(crate) answered: Option<std::time::Instant>,
    /// What became of the persistence cookie.
    pub(crate) cookie: Option<Returned>,
    /// Bytes taken from the client behind the head of its request.
    pub(crate) received: Flow,
    /// Bytes sent to the client.
    pub(crate) sent: Flow,
    /// Whether any byte of a response came.
    pub(crate) server_spoke: bool,
    /// Whether nothing of the request left.
    pub(crate) unsent: bool,
    /// Whether the server says that it did not begin to process the request.
    pub(crate) unprocessed: bool,
    /// What flowed once the connections had become a tunnel.
    pub(crate) tunnel: Carriage,
    /// What counts bytes while they flow, if anything does.
    pub(crate) meters: Option<Meters>,
    /// How much was compressed, if anything was.
    pub(crate) pressed: Option<Rc<Pressed>>,
}

/// What a completed exchange leaves behind.
#[derive(Debug)]
pub(crate) enum Finished {
    /// Two connections, with what becomes of each.
    Exchanged {
        /// The client's.
        client: Fate,
        /// The server's.
        server: Fate,
    },
    /// The client's connection, which still waits for an answer: a rule has put another in place of the server's.
    Overruled {
        /// The answer.
        ruling: Ruling,
        /// What becomes of the client's connection.
        client: Fate,
    },
    /// Nothing: the connections became a tunnel, which has ended.
    Tunnel(Carried),
}

/// Where the client's bytes come in.
#[derive(Debug)]
enum Inflow<'a> {
    H1 { stream: &'a Stream, input: &'a mut Buffer, close: Close },
    Stream(&'a mut Incoming),
}

/// Where the client takes its response.
#[derive(Debug)]
enum Outflow<'a> {
    H1(&'a Stream),
    Stream(&'a mut Responder),
}

/// Where the server's response comes from.
#[derive(Debug)]
enum Reply<'a> {
    H1(&'a Stream),
    H2(ResponseFuture),
}

/// Where the server takes the rest of the request.
#[derive(Debug)]
enum Uplink<'a> {
    H1(&'a Stream),
    H2(Sending),
}

/// Sends a request and relays its response.
///
/// # Errors
/// Names the side that failed; `progress` tells how far it came.
pub(crate) async fn run(
    client: &mut Downstream<'_>,
    server: &mut Upstream,
    request: &mut Outgoing<'_>,
    limits: Limits,
    progress: &mut Progress,
) -> Result<Finished, ExchangeError> {
    let deadline = &mut *client.deadline;
    let (mut inflow, outflow) = match &mut client.wire {
        Wire::H1 { stream, input, close } => (Inflow::H1 { stream, input, close: *close }, Outflow::H1(stream)),
        Wire::Stream(stream) => (Inflow::Stream(&mut stream.body), Outflow::Stream(&mut stream.respond)),
    };
    let (reply, mut uplink) = match server {
        Upstream::H1(Link { stream: server, .. }) => {
            if let Some(start) = request.start(&mut inflow)? {
                flatten(deadline.within(limits.server, pin!(server.send(start))).await).map_err(server_failed)?;
            }
            (Reply::H1(server), Uplink::H1(server))
        }
        Upstream::H2(sender) => {
            let sent = request.send(sender, deadline, limits.server).await;
            let (response, rest) = sent.inspect_err(|_| progress.unsent = true)?;
            (Reply::H2(response), Uplink::H2(rest))
        }
    };
    progress.received.add(request.early);
    let mut body = std::mem::replace(&mut request.body, Body::Done);
    let pending = if body.is_done() { None } else { Some(request.take_unsent()) };
    let answer = Answer { request, limits, is_awaited: Cell::new(true) };
    let Some(pending) = pending else {
        let tunnel = answer::TunnelEnds { inflow, uplink };
        return answer.relay(reply, outflow, Some(tunnel), deadline, progress).await;
    };
    let straggling = match (&inflow, &uplink) {
        (Inflow::H1 { .. }, Uplink::H1(_)) => Straggling::GoesOn,
        (Inflow::Stream(_), _) | (_, Uplink::H2(_)) => Straggling::Ends,
    };
    // Most requests have no body, or it came with the head: this future is large, and they do without it.
    let uploaded = Flow::default();
    uploaded.watch(request.review.borrow().audience(Event::BytesIn, progress.meters.as_ref()));
    let outcome = Box::pin(async {
        let mut upload_deadline = Deadline::default();
        let whole = Cell::new(false);
        let upload = pin!(async {
            upload(&mut inflow, &mut uplink, (&mut body, pending), limits, &mut upload_deadline, &uploaded).await?;
            whole.set(true);
            answer.watch(&mut inflow).await
        });
        let response = pin!(answer.relay(reply, outflow, None, deadline, progress));
        both(upload, &whole, response, straggling).await
    })
    .await;
    progress.received.join(&uploaded);
    outcome
}

/// What becomes of a request whose answer is complete before it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Straggling {
    /// A server of HTTP/1 that keeps its connection goes on reading it, and may have answered without meaning to stop it.
    GoesOn,
    /// A stream ends with its answer.
    Ends,
}

/// Sends the rest of a request; `pending` is its head if that waits for it.
async fn upload(
    inflow: &mut Inflow<'_>,
    uplink: &mut Uplink<'_>,
    (body, pending): (&mut Body, Buffer),
    limits: Limits,
    deadline: &mut Deadline,
    uploaded: &Flow,
) -> Result<(), RelayError> {
    let coding = if matches!(body, Body::Length(_)) { Coding::Plain } else { Coding::Chunked };
    let (from, to) = match (inflow, uplink) {
        (Inflow::H1 { stream, input, .. }, Uplink::H1(server)) => {
            let mut lane = Lane { from: stream, from_limit: limits.client, to: server, to_limit: limits.server };
            return lane.relay(body, input, deadline, uploaded).await;
        }
        (Inflow::H1 { stream, input, .. }, Uplink::H2(server)) => (Source::H1 { stream, buffer: input, body }, Sink::Stream(server)),
        (Inflow::Stream(stream), Uplink::H1(server)) => (Source::Stream(stream), Sink::H1 { stream: server, pending, coding }),
        (Inflow::Stream(stream), Uplink::H2(server)) => (Source::Stream(stream), Sink::Stream(server)),
    };
    let transfer = Transfer { from, from_limit: limits.client, to, to_limit: limits.server, coder: None, recording: None };
    transfer.run(deadline, uploaded).await
}

/// Drives both directions until the answer is complete, and the request too where both connections may outlive it.
async fn both(
    mut upload: Pin<&mut impl Future<Output = Result<(), RelayError>>>,
    whole: &Cell<bool>,
    mut response: Pin<&mut impl Future<Output = Result<Finished, ExchangeError>>>,
    straggling: Straggling,
) -> Result<Finished, ExchangeError> {
    let mut uploaded = Uploaded::NotYet;
    let mut has_ended = false;
    let mut answered = None;
    poll_fn(|cx| {
        if !has_ended && let Poll::Ready(outcome) = upload.as_mut().poll(cx) {
            has_ended = true;
            uploaded = match outcome {
                Ok(()) => Uploaded::Whole,
                Err(RelayError::From(IoFailure::Io(error))) if whole.get() => return Poll::Ready(Err(taken_back(error))),
                // A server may close its receiving side and still answer; whether it does, the response tells.
                Err(RelayError::To(_)) => Uploaded::Refused,
                Err(RelayError::Syntax(error)) => return Poll::Ready(Err(ExchangeError::Upload(error))),
                Err(RelayError::From(IoFailure::Io(_))) => return Poll::Ready(Err(ExchangeError::UploadCut)),
                Err(RelayError::From(IoFailure::Elapsed(_))) => return Poll::Ready(Err(ExchangeError::UploadTimeout)),
            };
        }
        if whole.get() {
            uploaded = Uploaded::Whole;
        }
        if answered.is_none() {
            answered = Some(ready!(response.as_mut().poll(cx))?);
        }
        if let (Some(Finished::Exchanged { server: Fate::Keep, .. }), Uploaded::NotYet, Straggling::GoesOn) =
            (&answered, uploaded, straggling)
        {
            return Poll::Pending;
        }
        Poll::Ready(Ok(match (answered.take().expect("the answer is complete"), uploaded) {
            (Finished::Exchanged { .. }, Uploaded::NotYet | Uploaded::Refused) => {
                Finished::Exchanged { client: Fate::Close, server: Fate::Close }
            }
            (Finished::Overruled { ruling, .. }, Uploaded::NotYet | Uploaded::Refused) => {
                Finished::Overruled { ruling, client: Fate::Close }
            }
            (finished, _) => finished,
        }))
    })
    .await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Uploaded {
    NotYet,
    Whole,
    Refused,
}

/// Returns what it is that a client is gone for whom an answer is awaited.
fn taken_back(error: io::Error) -> ExchangeError {
    if downstream::is_close(&error) { ExchangeError::TakenBack(error) } else { ExchangeError::Client(error) }
}

fn server_failed(failure: IoFailure) -> ExchangeError {
    match failure {
        IoFailure::Io(error) => ExchangeError::Server(error),
        IoFailure::Elapsed(_) => ExchangeError::ServerTimeout,
    }
}

fn client_failed(failure: IoFailure) -> ExchangeError {
    match failure {
        IoFailure::Io(error) => ExchangeError::Client(error),
        IoFailure::Elapsed(_) => ExchangeError::ClientTimeout,
    }
}

fn download_failed(error: RelayError) -> ExchangeError {
    match error {
        RelayError::From(IoFailure::Io(error)) => ExchangeError::Download(error),
        RelayError::From(IoFailure::Elapsed(_)) => ExchangeError::DownloadTimeout,
        RelayError::To(failure) => client_failed(failure),
        RelayError::Syntax(error) => ExchangeError::DownloadInvalid(error),
    }
}
