//! The response to one request: from whichever version the server speaks to whichever the client does.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use control::config::RetryCause;
use h2::client::ResponseFuture;
use http::Response;
use tokio::time::Instant;

use super::request::Tunnel;
use super::{
    Fate, Finished, Inflow, Limits, Outflow, Outgoing, Progress, Reply, Uplink, client_failed, download_failed, server_failed, taken_back,
};
use crate::buffer::Buffer;
use crate::cache::Recording;
use crate::compress::{Coder, Offer};
use crate::deadline::Deadline;
use crate::downstream::{Close, poll_close, unless_closed, unless_reset};
use crate::error::ExchangeError;
use crate::h1::body::Body;
use crate::h1::encode::{self, Connection};
use crate::h1::framing;
use crate::h1::parse::{self, Parsed};
use crate::h2::{convert, io_error, websocket};
use crate::lane::{IoFailure, Lane, RelayError, flatten};
use crate::look::{self, Inlet, Sight, Until};
use crate::message::body::Framing;
use crate::message::head::{Method, ResponseHead, Version};
use crate::message::headers::Known;
use crate::stick::Event;
use crate::stream::Stream;
use crate::streams::{Incoming, Responder, Sending};
use crate::transfer::{Coding, Sink, Source, Transfer};
use crate::tunnel::{self, End, Ends};

/// The response to one request.
pub(super) struct Answer<'a, 'r> {
    pub(super) request: &'a Outgoing<'r>,
    pub(super) limits: Limits,
    /// Whether its head is still to come.
    pub(super) is_awaited: Cell<bool>,
}

/// What a tunnel needs beside the way of the response.
pub(super) struct TunnelEnds<'a> {
    pub(super) inflow: Inflow<'a>,
    pub(super) uplink: Uplink<'a>,
}

/// A response whose head has arrived.
struct Arrived<'a> {
    head: ResponseHead,
    rest: Rest<'a>,
}

/// What follows the head of a response.
enum Rest<'a> {
    /// Bytes of HTTP/1, some of which were read already.
    H1 { server: &'a Stream, input: Buffer },
    /// Frames of HTTP/2.
    H2(Incoming),
}

impl Answer<'_, '_> {
    /// Relays the response; `tunnel` is given if the request is complete, so that the connections may become one.
    pub(super) async fn relay(
        &self,
        reply: Reply<'_>,
        mut outflow: Outflow<'_>,
        mut tunnel: Option<TunnelEnds<'_>>,
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<Finished, ExchangeError> {
        let asked = self.request.review.borrow().concerns_first_answers().then(Instant::now);
        let mut arrived = match reply {
            Reply::H1(server) => self.await_bytes(server, (&mut outflow, &mut tunnel), deadline, progress).await?,
            Reply::H2(response) => self.await_frames(response, (&mut outflow, &mut tunnel), deadline, progress).await?,
        };
        self.is_awaited.set(false);
        progress.answered = Some(std::time::Instant::now());
        let status = arrived.head.status();
        progress.heard = Some(status);
        if self.request.retry_on.contains(RetryCause::Status(status)) {
            return Err(ExchangeError::Declined(status));
        }
        if let Some(asked) = asked {
            let heard = self.request.review.borrow_mut().listen(&self.request.head, &arrived.head, asked.elapsed());
            if let Err(ruling) = heard {
                return Ok(Finished::Overruled { ruling, client: self.request.client });
            }
        }
        self.request.review.borrow().learn(&self.request.affinity, &self.request.head, &arrived.head);
        if self.request.review.borrow().looks_at_bodies() {
            Box::pin(self.look_at(&mut arrived, (Until::Now, None), deadline)).await?;
        }
        loop {
            let judged = self.request.review.borrow_mut().respond(&self.request.head, &mut arrived.head);
            let wait = match judged {
                Err(ruling) => return Ok(Finished::Overruled { ruling, client: self.request.client }),
                Ok(None) => break,
                Ok(Some(wait)) => wait,
            };
            // What a tunnel carries is no body.
            if tunnel.is_some() && self.opens_tunnel(&arrived) {
                continue;
            }
            let until = wait.least.map_or(Until::Whole, Until::Least);
            Box::pin(self.look_at(&mut arrived, (until, Some(Instant::now() + wait.time)), deadline)).await?;
        }
        progress.cookie = self.request.affinity.respond(&self.request.head, &mut arrived.head);
        if let Some(outline) = &self.request.outline {
            outline.answered(arrived.head.status(), &self.request.review.borrow().view_of_response(&self.request.head, &arrived.head));
        }
        match tunnel {
            Some(ends) if self.opens_tunnel(&arrived) => Box::pin(self.open(arrived, outflow, ends, deadline, progress)).await,
            _ if arrived.head.status() == 101 => Err(ExchangeError::Response(parse::unexpected_switch())),
            _ => self.pass(arrived, outflow, deadline, progress).await,
        }
    }

    /// Lets rules see the body of the response, waiting for as much as is wanted; one that is cut off is passed on as it is.
    async fn look_at(
        &self,
        arrived: &mut Arrived<'_>,
        (until, end): (Until, Option<Instant>),
        deadline: &mut Deadline,
    ) -> Result<(), ExchangeError> {
        let Arrived { head, rest } = arrived;
        let body;
        let inlet = match rest {
            Rest::H1 { server, input } => {
                body = Body::new(framing::response(head, self.request.head.method()).map_err(ExchangeError::Response)?);
                Inlet::H1 { stream: server, input, body: &body }
            }
            Rest::H2(frames) => Inlet::Stream(frames),
        };
        let Sight { content, outcome } = look::look(inlet, until, end, deadline).await.map_err(ExchangeError::Response)?;
        head.seen = Some(content);
        if matches!(outcome, Err(IoFailure::Elapsed(_))) { Err(ExchangeError::ResponseBodyTimeout) } else { Ok(()) }
    }

    /// Waits until the client closes, as long as that takes back its request; it has sent all of that.
    pub(super) async fn watch(&self, inflow: &mut Inflow<'_>) -> Result<(), RelayError> {
        let Inflow::H1 { stream, input, close: Close::TakesBack } = inflow else { return Ok(()) };
        let closed = poll_fn(|cx| if self.is_awaited.get() { poll_close(stream, input, cx) } else { Poll::Pending });
        Err(RelayError::From(closed.await.into()))
    }

    /// Waits for the head of a response of HTTP/1, passing on interim ones.
    async fn await_bytes<'s>(
        &self,
        server: &'s Stream,
        (outflow, tunnel): (&mut Outflow<'_>, &mut Option<TunnelEnds<'_>>),
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<Arrived<'s>, ExchangeError> {
        let first = outflow.unless_left(tunnel, pin!(deadline.within(self.limits.server, pin!(server.receive())))).await?;
        let mut input = flatten(first).map_err(server_failed)?;
        if input.is_empty() {
            return Err(server_failed(IoFailure::Io(io::ErrorKind::UnexpectedEof.into())));
        }
        progress.server_spoke = true;
        loop {
            let head = self.read_head(server, &mut input, deadline).await?;
            if !head.is_interim() {
                return Ok(Arrived { head, rest: Rest::H1 { server, input } });
            }
            self.pass_interim(&head, outflow, deadline, progress).await?;
        }
    }

    /// Waits for the head of a response of HTTP/2, passing on interim ones.
    async fn await_frames<'s>(
        &self,
        mut response: ResponseFuture,
        (outflow, tunnel): (&mut Outflow<'_>, &mut Option<TunnelEnds<'_>>),
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<Arrived<'s>, ExchangeError> {
        loop {
            let next = poll_fn(|cx| {
                if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                    return Poll::Ready(interim.map(|interim| (interim.into_parts().0, None)));
                }
                pin!(&mut response).poll(cx).map_ok(|response| {
                    let (parts, body) = response.into_parts();
                    (parts, Some(body))
                })
            });
            let next = outflow.unless_left(tunnel, pin!(deadline.within(self.limits.server, pin!(next)))).await?;
            let next = next.map_err(|elapsed| server_failed(elapsed.into()))?;
            let (parts, body) = next.map_err(|error| {
                progress.unprocessed = crate::h2::client::is_unprocessed(&error);
                server_failed(IoFailure::Io(io_error(error)))
            })?;
            progress.server_spoke = true;
            let head = convert::response_head(parts.status, &parts.headers).map_err(ExchangeError::Untranslatable)?;
            match body {
                Some(body) => return Ok(Arrived { head, rest: Rest::H2(Incoming::h2(body)) }),
                None => self.pass_interim(&head, outflow, deadline, progress).await?,
            }
        }
    }

    /// Reads the next head, beginning with what is in `input` already.
    async fn read_head(&self, server: &Stream, input: &mut Buffer, deadline: &mut Deadline) -> Result<ResponseHead, ExchangeError> {
        loop {
            if let Parsed::Complete { head, length } = parse::response(input.filled()).map_err(ExchangeError::Response)? {
                input.consume(length);
                return Ok(head);
            }
            if !parse::goes_on(input) {
                return Err(ExchangeError::ResponseTooLong);
            }
            let more = flatten(deadline.within(self.limits.server, pin!(server.receive_more(input))).await).map_err(server_failed)?;
            if more == 0 {
                return Err(server_failed(IoFailure::Io(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    async fn pass_interim(
        &self,
        head: &ResponseHead,
        outflow: &mut Outflow<'_>,
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<(), ExchangeError> {
        match outflow {
            // An interim response means nothing to HTTP/1.0.
            Outflow::H1(_) if self.request.head.version() == Version::Http10 => Ok(()),
            Outflow::H1(client) => {
                let mut out = Buffer::take();
                encode::response(head, Connection::Unstated, out.tail());
                self.send(client, [out.filled(), &[]], deadline, progress).await
            }
            Outflow::Stream(respond) => {
                let interim = convert::response(head).map_err(ExchangeError::Untranslatable)?;
                flatten(deadline.within(self.limits.client, pin!(respond.inform(interim))).await).map_err(client_failed)
            }
        }
    }

    /// Tells whether a response turns the connections into a tunnel.
    fn opens_tunnel(&self, arrived: &Arrived<'_>) -> bool {
        let status = arrived.head.status();
        let is_success = (200..300).contains(&status);
        let accepts = match arrived.rest {
            Rest::H1 { .. } => arrived.head.switches_protocol(),
            Rest::H2(_) => is_success && convert::asks_for_websocket(&self.request.head),
        };
        self.request.tunnel == Tunnel::Wanted && (accepts || (self.request.head.method() == Method::Connect && is_success))
    }

    /// Answers the client and carries bytes both ways until the tunnel ends.
    async fn open(
        &self,
        arrived: Arrived<'_>,
        outflow: Outflow<'_>,
        ends: TunnelEnds<'_>,
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<Finished, ExchangeError> {
        let Arrived { head, mut rest } = arrived;
        progress.status = Some(head.status());
        let TunnelEnds { inflow, mut uplink } = ends;
        let early_answer = if let Rest::H1 { input, .. } = &mut rest { std::mem::replace(input, Buffer::take()) } else { Buffer::take() };
        let mut responding;
        let (client, early) = match (inflow, outflow) {
            (Inflow::Stream(inlet), Outflow::Stream(respond)) => {
                let accepted = convert::accepted(&head).map_err(ExchangeError::Untranslatable)?;
                let begun = deadline.within(self.limits.client, pin!(respond.respond(accepted, false))).await;
                responding = flatten(begun).map_err(client_failed)?;
                let bytes = bytes::Bytes::from_owner(early_answer);
                progress.sent.add(bytes.len() as u64);
                let pushed = deadline.within(self.limits.client, pin!(responding.push(bytes, false))).await;
                flatten(pushed).map_err(client_failed)?;
                (End::Stream(inlet, &mut responding), Buffer::take())
            }
            (Inflow::H1 { stream, input, .. }, Outflow::H1(client)) => {
                let mut out = Buffer::take();
                self.print_acceptance(head, out.tail());
                self.send(client, [out.filled(), early_answer.filled()], deadline, progress).await?;
                (End::Bytes(stream), std::mem::replace(input, Buffer::take()))
            }
            (Inflow::H1 { .. }, Outflow::Stream(_)) | (Inflow::Stream(_), Outflow::H1(_)) => unreachable!("a client speaks one version"),
        };
        let server = match (&mut rest, &mut uplink) {
            (Rest::H2(inlet), Uplink::H2(outlet)) => End::Stream(inlet, outlet),
            (Rest::H1 { server, .. }, _) => End::Bytes(server),
            (Rest::H2(_), Uplink::H1(_)) => unreachable!("a server speaks one version"),
        };
        let ends = Ends { client, server, early: Some(early), held: None };
        self.request.review.borrow().watch(&progress.tunnel, progress.meters.as_ref());
        Ok(Finished::Tunnel(tunnel::run(ends, self.limits.tunnel, deadline, &progress.tunnel).await))
    }

    /// Prints the head that tells a client of HTTP/1 that its connection has become a tunnel.
    fn print_acceptance(&self, mut head: ResponseHead, out: &mut Vec<u8>) {
        let request = &self.request.head;
        if head.version() == Version::Http2 && convert::asks_for_websocket(request) {
            head = ResponseHead::of(Version::Http11, 101, b"Switching Protocols");
            let key = request.headers.all("sec-websocket-key").next().unwrap_or_default();
            let added = head.headers.append(b"upgrade", b"websocket");
            added.and_then(|()| head.headers.append(b"sec-websocket-accept", websocket::accept(key).as_bytes())).expect("plain text");
        }
        encode::response(&head, if head.status() == 101 { Connection::Upgrade } else { Connection::Unstated }, out);
    }

    /// Relays a response that ends the exchange.
    async fn pass(
        &self,
        arrived: Arrived<'_>,
        outflow: Outflow<'_>,
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<Finished, ExchangeError> {
        let Arrived { mut head, rest } = arrived;
        let framing = match rest {
            Rest::H1 { .. } => framing::response(&head, self.request.head.method()).map_err(ExchangeError::Response)?,
            Rest::H2(_) => Framing::Chunked,
        };
        let recording = self.record(&head, &rest, framing);
        let coder = match &self.request.compression {
            None => None,
            Some(offer) => self.compress(offer, &mut head, &rest, framing),
        };
        progress.pressed = coder.as_ref().map(Coder::pressed);
        // What has no body gets none, whatever a server sends behind its head: it would be taken for the next response.
        let bodiless = self.is_bodiless(&head);
        match (rest, outflow) {
            (Rest::H1 { server, input }, Outflow::H1(client)) => {
                self.pass_bytes(&head, Wires { server, client }, (framing, input, coder, recording), deadline, progress).await
            }
            (Rest::H1 { server, mut input }, Outflow::Stream(respond)) => {
                let mut body = Body::new(framing);
                let stays = head.keeps_alive() && !matches!(body, Body::UntilClose);
                let response = convert::response(&head).map_err(ExchangeError::Untranslatable)?;
                progress.status = Some(head.status());
                let mut sending = self.begin(respond, (response, body.is_done()), deadline).await?;
                if !body.is_done() {
                    let from = Source::H1 { stream: server, buffer: &mut input, body: &mut body };
                    self.transfer((from, Sink::Stream(&mut sending), coder, recording), deadline, progress).await?;
                }
                // Bytes behind the response belong to no request of ours.
                let server = if stays && input.is_empty() { self.request.server } else { Fate::Close };
                Ok(Finished::Exchanged { client: Fate::Keep, server })
            }
            (Rest::H2(mut body), Outflow::Stream(respond)) => {
                let response = convert::response(&head).map_err(ExchangeError::Untranslatable)?;
                progress.status = Some(head.status());
                let is_over = bodiless || body.is_end_stream();
                let mut sending = self.begin(respond, (response, is_over), deadline).await?;
                if !is_over {
                    self.transfer((Source::Stream(&mut body), Sink::Stream(&mut sending), coder, recording), deadline, progress).await?;
                }
                Ok(Finished::Exchanged { client: Fate::Keep, server: Fate::Keep })
            }
            (Rest::H2(mut body), Outflow::H1(stream)) => {
                progress.status = Some(head.status());
                let is_over = bodiless || body.is_end_stream();
                let (coding, client) = self.frame(&mut head, is_over);
                let mut pending = Buffer::take();
                self.encode(&head, client, pending.tail());
                if is_over {
                    self.send(stream, [pending.filled(), &[]], deadline, progress).await?;
                } else {
                    let to = Sink::H1 { stream, pending, coding };
                    self.transfer((Source::Stream(&mut body), to, coder, recording), deadline, progress).await?;
                }
                Ok(Finished::Exchanged { client, server: Fate::Keep })
            }
        }
    }

    /// Begins the response on a client's stream, and tells whether it ends there.
    async fn begin(
        &self,
        respond: &mut Responder,
        (response, is_whole): (Response<()>, bool),
        deadline: &mut Deadline,
    ) -> Result<Sending, ExchangeError> {
        flatten(deadline.within(self.limits.client, pin!(respond.respond(response, is_whole))).await).map_err(client_failed)
    }

    /// Relays a response between two connections of HTTP/1: its head and first bytes in one write, the rest as it comes.
    async fn pass_bytes(
        &self,
        head: &ResponseHead,
        wires: Wires<'_>,
        (framing, mut input, coder, recording): (Framing, Buffer, Option<Coder>, Option<Recording>),
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<Finished, ExchangeError> {
        let mut body = Body::new(framing);
        let plain = self.request.head.version() == Version::Http10 && matches!(body, Body::Chunked(_));
        let client = if plain || matches!(body, Body::UntilClose) { Fate::Close } else { self.request.client };
        let server_stays = head.keeps_alive() && !matches!(body, Body::UntilClose);
        let mut out = Buffer::take();
        if plain {
            progress.status = Some(head.status());
            encode::response_without_coding(head, Connection::Close, out.tail());
            let from = Source::H1 { stream: wires.server, buffer: &mut input, body: &mut body };
            let to = Sink::H1 { stream: wires.client, pending: out, coding: Coding::Plain };
            self.transfer((from, to, None, recording), deadline, progress).await?;
        } else if coder.is_some() || recording.is_some() {
            progress.status = Some(head.status());
            self.encode(head, client, out.tail());
            let coding = if coder.is_some() || matches!(body, Body::Chunked(_)) { Coding::Chunked } else { Coding::Plain };
            let from = Source::H1 { stream: wires.server, buffer: &mut input, body: &mut body };
            let to = Sink::H1 { stream: wires.client, pending: out, coding };
            self.transfer((from, to, coder, recording), deadline, progress).await?;
        } else {
            self.encode(head, client, out.tail());
            let count = body.take(input.filled()).map_err(ExchangeError::Response)?;
            progress.status = Some(head.status());
            let start = &input.filled()[..count];
            if count <= WORTH_GATHERING {
                out.tail().extend_from_slice(start);
                self.send(wires.client, [out.filled(), &[]], deadline, progress).await?;
            } else {
                self.send(wires.client, [out.filled(), start], deadline, progress).await?;
            }
            input.consume(count);
            drop(out);
            let mut lane = Lane { from: wires.server, from_limit: self.limits.server, to: wires.client, to_limit: self.limits.client };
            if !body.is_done() {
                progress.sent.watch(self.request.review.borrow().audience(Event::BytesOut, progress.meters.as_ref()));
            }
            lane.relay(&mut body, &mut input, deadline, &progress.sent).await.map_err(download_failed)?;
        }
        // Bytes behind the response belong to no request of ours.
        let server = if server_stays && input.is_empty() { self.request.server } else { Fate::Close };
        Ok(Finished::Exchanged { client, server })
    }

    /// Takes a response on to be compressed, if it may be.
    fn compress(&self, offer: &Offer<'_>, head: &mut ResponseHead, rest: &Rest<'_>, framing: Framing) -> Option<Coder> {
        let length = match (rest, framing) {
            _ if self.request.head.version() == Version::Http10 => return None,
            (_, Framing::None | Framing::UntilClose) => return None,
            (_, Framing::Length(length)) => Some(length),
            (Rest::H1 { .. }, Framing::Chunked) => None,
            (Rest::H2(body), Framing::Chunked) if self.is_bodiless(head) || body.is_end_stream() => return None,
            (Rest::H2(_), Framing::Chunked) => match framing::response(head, self.request.head.method()) {
                Ok(Framing::Length(length)) => Some(length),
                Ok(Framing::None | Framing::Chunked | Framing::UntilClose) | Err(_) => None,
            },
        };
        let coder = offer.accept(head, length)?;
        self.request.review.borrow_mut().compressed(offer.coding());
        if let Rest::H1 { .. } = rest {
            head.headers.append(b"Transfer-Encoding", b"chunked").ok()?;
        }
        Some(coder)
    }

    /// Begins to take the body down, if a cache is to keep the response and can tell where it ends.
    fn record(&self, head: &ResponseHead, rest: &Rest<'_>, framing: Framing) -> Option<Recording> {
        let keep = self.request.review.borrow_mut().take_keep()?;
        let length = match (rest, framing) {
            (_, Framing::None | Framing::UntilClose) => return None,
            (_, Framing::Length(length)) => Some(length),
            (Rest::H1 { .. }, Framing::Chunked) => None,
            (Rest::H2(_), Framing::Chunked) => match framing::response(head, self.request.head.method()) {
                Ok(Framing::Length(length)) => Some(length),
                Ok(Framing::None | Framing::Chunked | Framing::UntilClose) | Err(_) => None,
            },
        };
        keep.record(length)
    }

    fn is_bodiless(&self, head: &ResponseHead) -> bool {
        self.request.head.method() == Method::Head || matches!(head.status(), 204 | 304)
    }

    /// Decides how a body that came in frames ends in HTTP/1, and says so in the head.
    fn frame(&self, head: &mut ResponseHead, is_over: bool) -> (Coding, Fate) {
        let has_length = head.headers.known(Known::ContentLength).next().is_some();
        if has_length || self.is_bodiless(head) {
            return (Coding::Plain, self.request.client);
        }
        let (name, value, outcome): (&[u8], &[u8], _) = match (is_over, self.request.head.version()) {
            (true, _) => (b"content-length", b"0", (Coding::Plain, self.request.client)),
            (false, Version::Http10) => return (Coding::Plain, Fate::Close),
            (false, Version::Http11 | Version::Http2 | Version::Http3) => {
                (b"transfer-encoding", b"chunked", (Coding::Chunked, self.request.client))
            }
        };
        head.headers.append(name, value).expect("plain text");
        outcome
    }

    async fn transfer(
        &self,
        (from, to, coder, recording): (Source<'_>, Sink<'_>, Option<Coder>, Option<Recording>),
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<(), ExchangeError> {
        let (from_limit, to_limit) = (self.limits.server, self.limits.client);
        let transfer = Transfer { from, from_limit, to, to_limit, coder, recording };
        progress.sent.watch(self.request.review.borrow().audience(Event::BytesOut, progress.meters.as_ref()));
        transfer.run(deadline, &progress.sent).await.map_err(download_failed)
    }

    fn encode(&self, head: &ResponseHead, client: Fate, out: &mut Vec<u8>) {
        let connection = match (client, self.request.head.version()) {
            (Fate::Close, _) => Connection::Close,
            (Fate::Keep, Version::Http10) => Connection::KeepAlive,
            (Fate::Keep, Version::Http11 | Version::Http2 | Version::Http3) => Connection::Unstated,
        };
        encode::response(head, connection, out);
    }

    async fn send(
        &self,
        client: &Stream,
        pieces: [&[u8]; 2],
        deadline: &mut Deadline,
        progress: &mut Progress,
    ) -> Result<(), ExchangeError> {
        let sent = deadline.within(self.limits.client, pin!(client.send_pieces(pieces))).await;
        flatten(sent).map_err(client_failed)?;
        progress.sent.add(pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Wires<'a> {
    server: &'a Stream,
    client: &'a Stream,
}

impl Outflow<'_> {
    /// Does `work` unless the client takes its request back.
    async fn unless_left<T>(
        &mut self,
        tunnel: &mut Option<TunnelEnds<'_>>,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, ExchangeError> {
        match (self, tunnel) {
            (Self::Stream(respond), _) => unless_reset(respond, work).await.map_err(ExchangeError::TakenBack),
            (Self::H1(_), Some(TunnelEnds { inflow: Inflow::H1 { stream, input, close: Close::TakesBack }, .. })) => {
                unless_closed(stream, input, work).await.map_err(taken_back)
            }
            (Self::H1(_), _) => Ok(work.await),
        }
    }
}

/// Up to this length a body is copied behind its head, which costs less than a gathering write.
const WORTH_GATHERING: usize = 2048;
