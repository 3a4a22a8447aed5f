//! One request from its first byte to the last byte of its response; the file to read first.
//!
//! read the head → choose the backend → choose a server, waiting for a slot → connect, or reuse a connection → forward → log. There is
//! one loop, around choosing, connecting and forwarding, and nobody below it tries anything twice.

use std::io::Write;
use std::pin::pin;
use std::time::Instant;

use control::config::Timeout;
use tracing::{debug, info};

use crate::balance;
use crate::buffer::Buffer;
use crate::error::ExchangeError;
use crate::forward::{self, Fate, Finished, Limits, Outgoing, Pair, Progress, Tunnel};
use crate::h1::body::Body;
use crate::h1::encode::{self, Connection};
use crate::h1::framing;
use crate::h1::parse::{self, Parsed};
use crate::idle;
use crate::lane::{IoFailure, flatten};
use crate::log::Record;
use crate::message::head::{Method, RequestHead, Version};
use crate::message::headers::Known;
use crate::reply::{self, BodyOf};
use crate::session::Client;
use crate::site::{Backend, ForwardFor, Frontend, Reuse, Server};
use crate::stream::Stream;
use crate::tunnel::{self, Ends, Quiet};
use crate::upstream::connect::connect;
use crate::upstream::pool;
use crate::upstream::pursuit::{Pursuit, Verdict};

/// Where in the life of its connection a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the first.
    First,
    /// Others came before it.
    Later,
}

/// Serves the request that begins with the client's early bytes, and returns what becomes of its connection.
pub(crate) async fn run(client: &mut Client, frontend: &Frontend, turn: Turn, began: Instant) -> Fate {
    let mut bytes = client.early.take().unwrap_or_else(Buffer::take);
    let input = &mut bytes;
    let mut record = Record::new(client.source, frontend, began);
    let fate = match serve(client, input, frontend, turn, &mut record).await {
        Ok(fate) => fate,
        Err(error) => {
            if error.is_doubtful() {
                info!("{} on frontend {}: {error}", client.source, frontend.name());
            } else {
                debug!("{} on frontend {}: {error}", client.source, frontend.name());
            }
            record.fail(&error);
            refuse(client, &error, &mut record).await;
            Fate::Close
        }
    };
    record.write(frontend);
    client.early = Some(bytes).filter(|bytes| !bytes.is_empty());
    fate
}

async fn serve<'a>(
    client: &mut Client,
    input: &mut Buffer,
    frontend: &'a Frontend,
    turn: Turn,
    record: &mut Record<'a>,
) -> Result<Fate, ExchangeError> {
    let mut head = read_head(client, input, frontend, record.began()).await?;
    record.request(&head);
    let body = Body::new(framing::request(&head).map_err(ExchangeError::Request)?);
    let backend = frontend.backend().ok_or(ExchangeError::NoBackend)?;
    record.backend(backend);
    add_forwarded_for(&mut head, client, frontend, backend);
    let mut request = outgoing(&head, body, input, frontend, backend)?;
    let mut fresh = if turn == Turn::First && !head.method().is_idempotent() { Reuse::Never } else { backend.reuse() };
    let mut pursuit = Pursuit::begin(backend, balance::of_address(client.source.ip()), &mut client.deadline).await?;
    record.queued();
    let limits = Limits { client: frontend.timeouts().of(Timeout::Client), server: backend.timeouts().of(Timeout::Server) };
    loop {
        let server = pursuit.server();
        record.server(server, pursuit.failed());
        let idle = if fresh == Reuse::Allowed { pool::take(server.load().id()) } else { None };
        let reused = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => match connect(backend, server, client.stream.socket(), &mut client.deadline).await {
                Ok(connection) => connection,
                Err(error) => match pursuit.after_failure(&mut client.deadline).await? {
                    Verdict::TryAgain => continue,
                    Verdict::GiveUp => return Err(error.into()),
                },
            },
        };
        record.connected();
        let whole = request.body.is_done();
        let mut progress = Progress::default();
        let pair = Pair { client: &client.stream, input, server: &connection };
        let outcome = forward::run(pair, &mut request, limits, &mut client.deadline, &mut progress).await;
        record.response(&progress);
        match outcome {
            Ok(Finished::Exchanged { client: fate, server: rest }) => {
                keep(connection, server, rest);
                return Ok(fate);
            }
            Ok(Finished::Tunnel) => {
                carry(client, input, &connection, frontend, backend, record).await;
                return Ok(Fate::Close);
            }
            // A server may close an idle connection at any moment, also at this one: it has not seen the request, or may see it twice.
            Err(ExchangeError::Server(_)) if reused && !progress.server_spoke && whole && head.method().is_idempotent() => {
                fresh = Reuse::Never;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads the head of the request that `input` begins with.
async fn read_head(client: &mut Client, input: &mut Buffer, frontend: &Frontend, began: Instant) -> Result<RequestHead, ExchangeError> {
    let limit = frontend.timeouts().of(Timeout::HttpRequest).or(frontend.timeouts().of(Timeout::Client));
    let end = limit.map(|limit| tokio::time::Instant::from_std(began) + limit);
    let mut worth_parsing = true;
    loop {
        if worth_parsing && let Parsed::Complete { head, length } = parse::request(input.filled()).map_err(ExchangeError::Request)? {
            input.consume(length);
            return Ok(head);
        }
        if input.make_room() == 0 {
            return Err(ExchangeError::RequestTooLong);
        }
        let seen = input.len();
        let more = client.deadline.until(end, pin!(client.stream.receive_more(input))).await;
        match flatten(more) {
            Ok(0) | Err(IoFailure::Io(_)) => return Err(ExchangeError::RequestCut),
            Ok(_) => {}
            Err(IoFailure::Elapsed(_)) => return Err(ExchangeError::RequestTimeout),
        }
        // A head that comes byte by byte is not read anew for each of them: only a line end can complete it.
        worth_parsing = input.filled()[seen..].contains(&b'\n');
    }
}

/// Adds the client's address to the request, as the frontend or the backend asks.
fn add_forwarded_for(head: &mut RequestHead, client: &Client, frontend: &Frontend, backend: &Backend) {
    let Some(forward) = frontend.forward_for().or(backend.forward_for()) else { return };
    let address = client.source.ip().to_canonical();
    let is_there = |forward: &ForwardFor| head.headers.all(&forward.header).next().is_some();
    if forward.trusts(address) || (forward.if_none && is_there(forward)) {
        return;
    }
    let mut text = [0; 64];
    let mut rest = &mut text[..];
    write!(rest, "{address}").expect("an address takes at most 45 bytes");
    let length = 64 - rest.len();
    head.headers.append(forward.header.as_bytes(), &text[..length]).expect("the configuration names valid fields, and addresses are plain");
}

/// Prints the request for the server, with what of its body has arrived.
fn outgoing(head: &RequestHead, body: Body, input: &mut Buffer, frontend: &Frontend, backend: &Backend) -> Result<Outgoing, ExchangeError> {
    let upgrades = head.headers.lists(Known::Connection, "upgrade") && head.headers.known(Known::Upgrade).next().is_some();
    let tunnel = if upgrades || head.method() == Method::Connect { Tunnel::Wanted } else { Tunnel::Unwanted };
    let closes = frontend.closes() || backend.closes();
    let client = if !closes && keeps_alive(head) && !idle::is_draining() { Fate::Keep } else { Fate::Close };
    let server = if backend.reuse() == Reuse::Allowed && !closes { Fate::Keep } else { Fate::Close };
    let connection = match (upgrades, server) {
        (true, _) => Connection::Upgrade,
        (false, Fate::Keep) => Connection::Unstated,
        (false, Fate::Close) => Connection::Close,
    };
    let mut start = Buffer::take();
    encode::request(head, connection, start.tail());
    let mut body = body;
    let count = body.take(input.filled()).map_err(ExchangeError::Upload)?;
    start.tail().extend_from_slice(&input.filled()[..count]);
    input.consume(count);
    Ok(Outgoing { start, body, method: head.method(), tunnel, version: head.version(), client, server })
}

/// Tells whether a client means to keep its connection.
fn keeps_alive(head: &RequestHead) -> bool {
    match head.version() {
        Version::Http11 => !head.headers.lists(Known::Connection, "close"),
        Version::Http10 => head.headers.lists(Known::Connection, "keep-alive"),
    }
}

fn keep(connection: Stream, server: &Server, fate: Fate) {
    if fate == Fate::Keep {
        pool::put(server.load().id(), connection);
    }
}

/// Carries bytes both ways after the response turned the connections into a tunnel.
async fn carry(client: &mut Client, input: &mut Buffer, server: &Stream, frontend: &Frontend, backend: &Backend, record: &mut Record<'_>) {
    let early = std::mem::replace(input, Buffer::take());
    let ends = Ends { client: &client.stream, server, early: Some(early).filter(|early| !early.is_empty()) };
    let carried = tunnel::run(ends, Quiet::of(frontend.timeouts(), backend.timeouts()), &mut client.deadline).await;
    record.tunnel(&carried);
}

/// Answers a request that failed, if the client still waits for an answer.
async fn refuse(client: &mut Client, error: &ExchangeError, record: &mut Record<'_>) {
    let Some(status) = error.status().filter(|_| record.may_answer()) else { return };
    let body = if record.is_head() { BodyOf::Head } else { BodyOf::Any };
    let response = reply::error(status, body);
    record.answered(status, response.len());
    // A client that does not take a few hundred bytes is not waited for.
    let _ = client.deadline.within(Some(REFUSAL), pin!(client.stream.send(&response))).await;
}

/// How long a refusal may take to be written.
const REFUSAL: std::time::Duration = std::time::Duration::from_secs(1);
