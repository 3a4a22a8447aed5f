//! Streams one request and its response over one connection to a server.
//!
//! The request's head and whatever of its body has arrived leave in one write, and so do the response's. A body that is not complete
//! by then streams while the response is awaited, because a server may answer before it has read everything. Nothing here chooses
//! servers or tries again; an error says whether that would be safe.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::buffer::Buffer;
use crate::deadline::Deadline;
use crate::error::ExchangeError;
use crate::h1::body::Body;
use crate::h1::encode::{self, Connection};
use crate::h1::framing;
use crate::h1::parse::{self, Parsed};
use crate::lane::{IoFailure, Lane, RelayError, flatten};
use crate::message::head::{Method, ResponseHead, Version};
use crate::message::headers::Known;
use crate::stream::Stream;

/// A request on its way to a server.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The head as the server gets it, with the part of the body that arrived with it.
    pub(crate) start: Buffer,
    /// The rest of the body.
    pub(crate) body: Body,
    /// The kind of method, which decides about the response's body.
    pub(crate) method: Method,
    /// Whether the request asks for the connection to become something else.
    pub(crate) tunnel: Tunnel,
    /// What the client understands.
    pub(crate) version: Version,
    /// What becomes of the client's connection if the response leaves it a choice.
    pub(crate) client: Fate,
    /// What becomes of the server's connection if the response leaves it a choice.
    pub(crate) server: Fate,
}

/// Whether a request may turn its connection into a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// It asked for it, by `Upgrade` or `CONNECT`.
    Wanted,
    /// It did not.
    Unwanted,
}

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
}

/// What the response was.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Its status, once its head was sent to the client.
    pub(crate) status: Option<u16>,
    /// When its head had arrived.
    pub(crate) answered: Option<std::time::Instant>,
    /// Bytes sent to the client.
    pub(crate) sent: u64,
    /// Whether any byte of a response came.
    pub(crate) server_spoke: bool,
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
    /// A tunnel, and what the server sent into it already was passed on.
    Tunnel,
}

/// Both connections of an exchange.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    /// The client's.
    pub(crate) client: &'a Stream,
    /// What the client sent behind the request.
    pub(crate) input: &'a mut Buffer,
    /// The server's.
    pub(crate) server: &'a Stream,
}

/// Sends a request and relays its response.
///
/// # Errors
/// Names the side that failed; `progress` tells how far it came.
pub(crate) async fn run(
    pair: Pair<'_>,
    request: &mut Outgoing,
    limits: Limits,
    deadline: &mut Deadline,
    progress: &mut Progress,
) -> Result<Finished, ExchangeError> {
    let Pair { client, input, server } = pair;
    let sending = server.send(request.start.filled());
    flatten(deadline.within(limits.server, pin!(sending)).await).map_err(server_failed)?;
    let mut body = std::mem::replace(&mut request.body, Body::Done);
    let answer = Answer { request, limits };
    if body.is_done() {
        return answer.relay(Wires { server, client }, deadline, progress).await;
    }
    let mut upload_deadline = Deadline::default();
    let mut lane = Lane { from: client, from_limit: limits.client, to: server, to_limit: limits.server };
    let mut uploaded = 0;
    let upload = lane.relay(&mut body, input, &mut upload_deadline, &mut uploaded);
    let response = answer.relay(Wires { server, client }, deadline, progress);
    both(upload, response).await
}

/// Drives both directions; an answer that is complete before its request is ends the exchange and both connections.
async fn both(
    upload: impl Future<Output = Result<(), RelayError>>,
    response: impl Future<Output = Result<Finished, ExchangeError>>,
) -> Result<Finished, ExchangeError> {
    let (mut upload, mut response) = (pin!(upload), pin!(response));
    let mut uploaded = Uploaded::NotYet;
    poll_fn(|cx| {
        if uploaded == Uploaded::NotYet
            && let Poll::Ready(outcome) = upload.as_mut().poll(cx)
        {
            uploaded = match outcome {
                Ok(()) => Uploaded::Whole,
                // A server may close its receiving side and still answer; whether it does, the response tells.
                Err(RelayError::To(_)) => Uploaded::Refused,
                Err(RelayError::Syntax(error)) => return Poll::Ready(Err(ExchangeError::Upload(error))),
                Err(RelayError::From(IoFailure::Io(_))) => return Poll::Ready(Err(ExchangeError::UploadCut)),
                Err(RelayError::From(IoFailure::Elapsed(_))) => return Poll::Ready(Err(ExchangeError::UploadTimeout)),
            };
        }
        let finished = std::task::ready!(response.as_mut().poll(cx))?;
        Poll::Ready(Ok(match (finished, uploaded) {
            (Finished::Exchanged { .. }, Uploaded::NotYet | Uploaded::Refused) => {
                Finished::Exchanged { client: Fate::Close, server: Fate::Close }
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

/// The response to one request.
struct Answer<'a> {
    request: &'a Outgoing,
    limits: Limits,
}

impl Answer<'_> {
    async fn relay(&self, wires: Wires<'_>, deadline: &mut Deadline, progress: &mut Progress) -> Result<Finished, ExchangeError> {
        let mut input = self.first_bytes(wires.server, deadline).await?;
        progress.server_spoke = true;
        let mut out = Buffer::take();
        let head = loop {
            let head = self.read_head(wires.server, &mut input, deadline).await?;
            if !head.is_interim() {
                break head;
            }
            encode::response(&head, Connection::Unstated, out.tail());
            // An interim response means nothing to HTTP/1.0.
            if self.request.version == Version::Http11 {
                self.send(wires.client, out.filled(), &[], deadline, progress).await?;
            }
            out.clear();
        };
        progress.answered = Some(std::time::Instant::now());
        let tunnels = self.request.tunnel == Tunnel::Wanted && opens_tunnel(&head, self.request.method);
        if tunnels {
            encode::response(&head, if head.status() == 101 { Connection::Upgrade } else { Connection::Unstated }, out.tail());
            progress.status = Some(head.status());
            self.send(wires.client, out.filled(), input.filled(), deadline, progress).await?;
            return Ok(Finished::Tunnel);
        }
        self.relay_final(&head, wires, Buffers { input, out }, deadline, progress).await
    }

    /// Relays a response that ends the exchange.
    async fn relay_final(
        &self,
        head: &ResponseHead,
        wires: Wires<'_>,
        buffers: Buffers,
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<Finished, ExchangeError> {
        let Buffers { mut input, mut out } = buffers;
        let framing = framing::response(head, self.request.method).map_err(ExchangeError::Response)?;
        let mut body = Body::new(framing);
        let plain = self.request.version == Version::Http10 && matches!(body, Body::Chunked(_));
        let client = if plain || matches!(body, Body::UntilClose) { Fate::Close } else { self.request.client };
        let server_stays = keeps_alive(head) && !matches!(body, Body::UntilClose);
        self.encode(head, client, plain, out.tail());
        progress.status = Some(head.status());
        let mut lane = Lane { from: wires.server, from_limit: self.limits.server, to: wires.client, to_limit: self.limits.client };
        if plain {
            self.send(lane.to, out.filled(), &[], deadline, progress).await?;
            if let Body::Chunked(decoder) = &mut body {
                lane.relay_content(decoder, &mut input, deadline, &mut progress.sent).await.map_err(download_failed)?;
            }
        } else {
            let count = body.take(input.filled()).map_err(ExchangeError::Response)?;
            let start = &input.filled()[..count];
            if count <= WORTH_GATHERING {
                out.tail().extend_from_slice(start);
                self.send(lane.to, out.filled(), &[], deadline, progress).await?;
            } else {
                self.send(lane.to, out.filled(), start, deadline, progress).await?;
            }
            input.consume(count);
            drop(out);
            lane.relay(&mut body, &mut input, deadline, &mut progress.sent).await.map_err(download_failed)?;
        }
        // Bytes behind the response belong to no request of ours.
        let server = if server_stays && input.is_empty() { self.request.server } else { Fate::Close };
        Ok(Finished::Exchanged { client, server })
    }

    fn encode(&self, head: &ResponseHead, client: Fate, plain: bool, out: &mut Vec<u8>) {
        let connection = match (client, self.request.version) {
            (Fate::Close, _) => Connection::Close,
            (Fate::Keep, Version::Http10) => Connection::KeepAlive,
            (Fate::Keep, Version::Http11) => Connection::Unstated,
        };
        if plain { encode::response_without_coding(head, connection, out) } else { encode::response(head, connection, out) }
    }

    async fn first_bytes(&self, server: &Stream, deadline: &mut Deadline) -> Result<Buffer, ExchangeError> {
        let bytes = flatten(deadline.within(self.limits.server, pin!(server.receive())).await).map_err(server_failed)?;
        if bytes.is_empty() { Err(server_failed(IoFailure::Io(io::ErrorKind::UnexpectedEof.into()))) } else { Ok(bytes) }
    }

    /// Reads the next head, beginning with what is in `input` already.
    async fn read_head(&self, server: &Stream, input: &mut Buffer, deadline: &mut Deadline) -> Result<ResponseHead, ExchangeError> {
        loop {
            if let Parsed::Complete { head, length } = parse::response(input.filled()).map_err(ExchangeError::Response)? {
                input.consume(length);
                return Ok(head);
            }
            if input.make_room() == 0 {
                return Err(ExchangeError::ResponseTooLong);
            }
            let more = flatten(deadline.within(self.limits.server, pin!(server.receive_more(input))).await).map_err(server_failed)?;
            if more == 0 {
                return Err(server_failed(IoFailure::Io(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    async fn send(
        &self,
        client: &Stream,
        head: &[u8],
        body: &[u8],
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<(), ExchangeError> {
        let sent = deadline.within(self.limits.client, pin!(client.send_both(head, body))).await;
        flatten(sent).map_err(client_failed)?;
        progress.sent += (head.len() + body.len()) as u64;
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Wires<'a> {
    server: &'a Stream,
    client: &'a Stream,
}

struct Buffers {
    input: Buffer,
    out: Buffer,
}

/// Tells whether a response turns the connection into a tunnel.
fn opens_tunnel(head: &ResponseHead, method: Method) -> bool {
    head.status() == 101 || (method == Method::Connect && (200..300).contains(&head.status()))
}

/// Tells whether a server means to keep its connection.
fn keeps_alive(head: &ResponseHead) -> bool {
    match head.version() {
        Version::Http11 => !head.headers.lists(Known::Connection, "close"),
        Version::Http10 => head.headers.lists(Known::Connection, "keep-alive"),
    }
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

/// Up to this length a body is copied behind its head, which costs less than a gathering write.
const WORTH_GATHERING: usize = 2048;
