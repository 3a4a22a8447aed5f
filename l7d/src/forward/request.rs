//! A request on its way to a server: its head, what has arrived of its body, and what the server gets of both.

use std::borrow::Cow;
use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use control::config::RetryOn;
use h2::client::ResponseFuture;

use super::{Fate, Inflow, server_failed};
use crate::buffer::Buffer;
use crate::compress::Offer;
use crate::deadline::Deadline;
use crate::downstream::Wire;
use crate::error::ExchangeError;
use crate::h1::body::Body;
use crate::h1::encode::{self, Connection};
use crate::h2::client::{Ends, Sender};
use crate::h2::{convert, io_error, websocket};
use crate::lane::{IoFailure, flatten};
use crate::log::Outline;
use crate::message::head::{Method, RequestHead, Version};
use crate::message::headers::Known;
use crate::queue::Priority;
use crate::review::Review;
use crate::site::Server;
use crate::stick::Affinity;
use crate::streams::Sending;

/// A request on its way to a server.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// The head as the server gets it.
    pub(crate) head: RequestHead,
    /// What is left of the body, framed as the client frames it.
    pub(crate) body: Body,
    /// The head as printed for HTTP/1, with the part of the body that arrived with it.
    start: Option<Buffer>,
    /// The whole body, where it was awaited so that the request can be sent again.
    kept: Option<Vec<u8>>,
    /// What makes the request go to a server again, as far as attempts are left.
    pub(crate) retry_on: RetryOn,
    /// How much of what is printed is the head.
    printed: usize,
    /// How much of the body arrived with it.
    pub(super) early: u64,
    /// Whether the request asks for the connection to become something else.
    pub(crate) tunnel: Tunnel,
    /// What becomes of the client's connection if the response leaves it a choice.
    pub(crate) client: Fate,
    /// What becomes of the server's connection if the response leaves it a choice.
    pub(crate) server: Fate,
    /// What a server of HTTP/1 is told whose connection closes behind the response.
    pub(crate) farewell: Connection,
    /// What is offered to the response: to compress it.
    pub(crate) compression: Option<Offer<'a>>,
    /// The rules, which have a say about the response.
    pub(crate) review: RefCell<Review<'a>>,
    /// What ties the exchange to a server.
    pub(crate) affinity: Affinity<'a>,
    /// What a line about the response will say of everything before it, if there is to be one.
    pub(crate) outline: Option<Box<Outline<'a>>>,
}

/// Whether a request may turn its connection into a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// It asked for it, by `Upgrade` or `CONNECT`.
    Wanted,
    /// It did not.
    Unwanted,
}

impl<'a> Outgoing<'a> {
    /// Returns a request of which nothing was sent.
    pub(crate) fn new(head: RequestHead, body: Body, client: Fate, server: Fate, (review, affinity): (Review<'a>, Affinity<'a>)) -> Self {
        let tunnel = if head.upgrades() || head.method() == Method::Connect { Tunnel::Wanted } else { Tunnel::Unwanted };
        Self {
            head,
            body,
            start: None,
            kept: None,
            retry_on: RetryOn::NEVER,
            printed: 0,
            early: 0,
            tunnel,
            client,
            server,
            farewell: Connection::Close,
            compression: None,
            review: RefCell::new(review),
            affinity,
            outline: None,
        }
    }

    /// Returns the host that a server is asked for in the handshake of TLS.
    pub(crate) fn host_for<'s>(&self, server: &'s Server) -> Option<Cow<'s, [u8]>> {
        self.review.borrow().host_for(server, &self.head)
    }

    /// Tells whether rules let a server have the request that has had it already.
    pub(crate) fn may_repeat(&self) -> bool {
        self.review.borrow().may_repeat()
    }

    /// Returns how urgent rules say it is.
    pub(crate) fn priority(&self) -> Priority {
        self.review.borrow().priority()
    }

    /// Awaits the whole body, if it is short and its length is known, so that the request can be sent more than once.
    ///
    /// # Errors
    /// Fails if the client does, takes too long, or the body is invalid.
    pub(crate) async fn keep(
        &mut self,
        wire: &mut Wire<'_>,
        deadline: &mut Deadline,
        limit: Option<Duration>,
    ) -> Result<(), ExchangeError> {
        let Body::Length(length) = self.body else { return Ok(()) };
        let (Ok(length @ ..=MOST_KEPT), None) = (usize::try_from(length), self.head.headers.known(Known::Expect).next()) else {
            return Ok(());
        };
        let mut kept = Vec::with_capacity(length);
        while !self.body.is_done() {
            match wire {
                Wire::H1 { input, .. } if !input.is_empty() => {
                    let count = self.body.take(input.filled()).map_err(ExchangeError::Upload)?;
                    kept.extend_from_slice(&input.filled()[..count]);
                    input.consume(count);
                }
                Wire::H1 { stream, input, .. } => match flatten(deadline.within(limit, pin!(stream.receive_more(input))).await) {
                    Ok(0) | Err(IoFailure::Io(_)) => return Err(ExchangeError::UploadCut),
                    Ok(_) => {}
                    Err(IoFailure::Elapsed(_)) => return Err(ExchangeError::UploadTimeout),
                },
                Wire::Stream(stream) => {
                    let next = deadline.within(limit, pin!(stream.body.data())).await;
                    let Some(Ok(bytes)) = next.map_err(|_| ExchangeError::UploadTimeout)? else { return Err(ExchangeError::UploadCut) };
                    let count = self.body.take(&bytes).map_err(ExchangeError::Upload)?;
                    kept.extend_from_slice(&bytes[..count]);
                }
            }
        }
        self.early = kept.len() as u64;
        self.kept = Some(kept);
        Ok(())
    }

    /// Prints the request for HTTP/1 once, takes along what of its body has arrived, and returns what may be sent at once.
    ///
    /// # Errors
    /// Fails if what has arrived of the body is invalid.
    pub(super) fn start(&mut self, inflow: &mut Inflow<'_>) -> Result<Option<&[u8]>, ExchangeError> {
        if self.start.is_none() {
            let start = self.print(inflow)?;
            self.start = Some(start);
        }
        // The head of a body that comes in frames waits for the first of them.
        let goes_alone = self.body.is_done() || matches!(inflow, Inflow::H1 { .. });
        Ok(self.start.as_ref().filter(|_| goes_alone).map(Buffer::filled))
    }

    fn print(&mut self, inflow: &mut Inflow<'_>) -> Result<Buffer, ExchangeError> {
        if self.head.version() >= Version::Http2 {
            self.translate();
        }
        let connection = self.connection();
        let mut start = Buffer::take();
        encode::request(&self.head, connection, start.tail());
        self.printed = start.len();
        if let Inflow::H1 { input, .. } = inflow {
            let count = self.body.take(input.filled()).map_err(ExchangeError::Upload)?;
            start.tail().extend_from_slice(&input.filled()[..count]);
            input.consume(count);
            self.early += count as u64;
        }
        start.tail().extend_from_slice(self.kept.as_deref().unwrap_or_default());
        Ok(start)
    }

    /// Returns what a server of HTTP/1 is told of its connection.
    fn connection(&self) -> Connection {
        match (self.head.upgrades(), self.server) {
            (true, _) => Connection::Upgrade,
            (false, Fate::Keep) => Connection::Unstated,
            (false, Fate::Close) => self.farewell,
        }
    }

    /// Tells a server its name, in place of whatever the field says.
    pub(crate) fn tell_name(&mut self, field: &str, server: &Server) {
        self.head.headers.remove(field);
        // A head without room for it goes without it.
        let _ = self.head.headers.append(field.as_bytes(), server.name().as_bytes());
        let connection = self.connection();
        // What was printed for another server has that one's name.
        if let Some(start) = &mut self.start {
            let body = start.filled().get(self.printed..).unwrap_or_default().to_vec();
            *start = Buffer::take();
            encode::request(&self.head, connection, start.tail());
            self.printed = start.len();
            start.tail().extend_from_slice(&body);
        }
    }

    /// Adds what HTTP/1 needs and its successors do without.
    fn translate(&mut self) {
        let added = if self.tunnel == Tunnel::Wanted && self.head.upgrades() {
            self.head.headers.append(b"sec-websocket-key", websocket::key().as_bytes())
        } else if !self.body.is_done() && self.head.headers.known(Known::ContentLength).next().is_none() {
            self.head.headers.append(b"transfer-encoding", b"chunked")
        } else {
            Ok(())
        };
        added.expect("names and values are our own");
    }

    /// Returns the printed head if it waits for the first piece of its body.
    pub(super) fn take_unsent(&mut self) -> Buffer {
        self.start.take().unwrap_or_else(Buffer::take)
    }

    /// Begins the request on a connection of HTTP/2.
    ///
    /// # Errors
    /// Fails if the connection does, takes too long, or the head has no equal there.
    pub(super) async fn send(
        &self,
        sender: &mut Sender,
        deadline: &mut Deadline,
        limit: Option<Duration>,
    ) -> Result<(ResponseFuture, Sending), ExchangeError> {
        if self.start.is_some() && !self.body.is_done() {
            // Part of the body went to a server of HTTP/1 that failed, framed for it alone.
            return Err(server_failed(IoFailure::Io(std::io::ErrorKind::BrokenPipe.into())));
        }
        let request = convert::request(&self.head, sender.scheme()).map_err(ExchangeError::Unsendable)?;
        let is_tunnel = self.tunnel == Tunnel::Wanted && (self.head.method() == Method::Connect || convert::asks_for_websocket(&self.head));
        let ends = if self.body.is_done() && self.kept.is_none() && !is_tunnel { Ends::Here } else { Ends::Later };
        let sending = async { sender.send(request, ends).await.map_err(io_error) };
        let (response, rest) = flatten(deadline.within(limit, pin!(sending)).await).map_err(server_failed)?;
        let mut rest = Sending::H2(rest);
        if let Some(kept) = &self.kept {
            let sent = rest.push(Bytes::copy_from_slice(kept), true).await;
            sent.map_err(|error| server_failed(IoFailure::Io(error)))?;
        }
        Ok((response, rest))
    }
}

/// Most bytes of a body that are kept, which together with a head are about what HAProxy keeps.
const MOST_KEPT: usize = 16 * 1024;
