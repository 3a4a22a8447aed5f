//! The client's end of one exchange, whichever version it speaks.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use crate::buffer::Buffer;
use crate::deadline::Deadline;
use crate::h1::parse::{self, Parsed};
use crate::h2::convert;
use crate::message::head::RequestHead;
use crate::peer::Peer;
use crate::socket::Socket;
use crate::stream::{Privacy, Stream};
use crate::streams::{Incoming, Responder};
use crate::tls::Secured;
use crate::upstream::Own;

/// The client's end of one exchange.
#[derive(Debug)]
pub(crate) struct Downstream<'a> {
    /// What carries the exchange.
    pub(crate) wire: Wire<'a>,
    /// Who is at the other end: the client itself, not a proxy in front of us.
    pub(crate) source: Peer,
    /// Where the client connected to, if that is known already.
    pub(crate) destination: Option<SocketAddr>,
    /// How long PROXY header and TLS took, if this is the first exchange of its connection.
    pub(crate) handshake: Duration,
    /// Connections to servers that serve this client alone.
    pub(crate) own: &'a Own,
    /// The timer of the exchange.
    pub(crate) deadline: &'a mut Deadline,
    /// What may come from the client once this exchange is over.
    pub(crate) outlook: Outlook,
}

/// What may come from a client once an exchange is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Another request, or the rest of this one.
    More,
    /// Nothing: all of the request has come, and the client has said that it is the last.
    Nothing,
}

/// What carries an exchange.
#[derive(Debug)]
pub(crate) enum Wire<'a> {
    /// A connection of HTTP/1.
    H1 {
        /// The connection.
        stream: &'a Stream,
        /// What was read from it and not used yet.
        input: &'a mut Buffer,
        /// Whether its close takes back the request.
        close: Close,
    },
    /// A stream of HTTP/2 or HTTP/3.
    Stream(Box<Streamed>),
}

/// What it means that a client closes its connection, or only its sending half, before it has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// Nothing: it may still want the answer.
    Nothing,
    /// It does not want the answer any more (`option abortonclose`).
    TakesBack,
}

/// One stream of HTTP/2 or HTTP/3.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// The request head, until the exchange takes it.
    pub(crate) head: Option<RequestHead>,
    /// The request body.
    pub(crate) body: Incoming,
    /// Takes the response.
    pub(crate) respond: Responder,
    /// What was agreed on with the client; none for clear text.
    pub(crate) secured: Option<Secured>,
}

impl<'a> Wire<'a> {
    /// Returns the socket of a connection that carries this exchange alone.
    pub(crate) fn socket(&self) -> Option<&'a Socket> {
        match self {
            Self::H1 { stream, .. } => Some(stream.socket()),
            Self::Stream(_) => None,
        }
    }

    /// Tells whether nothing has come that is not used yet.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::H1 { input, .. } => input.is_empty(),
            Self::Stream(_) => false,
        }
    }

    /// Says what it means that the client closes.
    pub(crate) fn set_close(&mut self, meaning: Close) {
        if let Self::H1 { close, .. } = self {
            *close = meaning;
        }
    }

    /// Does `work` unless the client takes its request back, which one of HTTP/1 can only do by leaving.
    ///
    /// # Errors
    /// Fails if the client does.
    pub(crate) async fn unless_left<T>(&mut self, work: Pin<&mut impl Future<Output = T>>) -> io::Result<T> {
        match self {
            Self::H1 { close: Close::Nothing, .. } => Ok(work.await),
            Self::H1 { stream, input, close: Close::TakesBack } => unless_closed(stream, input, work).await,
            Self::Stream(stream) => unless_reset(&mut stream.respond, work).await,
        }
    }
}

/// Does `work` unless the client closes; what it says meanwhile is kept in `input`, and once that is full its close is not seen.
///
/// # Errors
/// Fails if the client closes or its connection fails; [`is_close`] tells which.
pub(crate) async fn unless_closed<T>(stream: &Stream, input: &mut Buffer, mut work: Pin<&mut impl Future<Output = T>>) -> io::Result<T> {
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => poll_close(stream, input, cx).map(Err),
    })
    .await
}

/// Waits for the client to close; what it says meanwhile is kept in `input`, and once that is full its close is not seen.
pub(crate) fn poll_close(stream: &Stream, input: &mut Buffer, cx: &mut Context<'_>) -> Poll<io::Error> {
    while input.make_room() > 0 {
        match ready!(stream.poll_read(cx, input.tail())) {
            Ok(0) => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => return Poll::Ready(error),
        }
    }
    Poll::Pending
}

/// Tells whether a client closed in order.
pub(crate) fn is_close(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// Does `work` unless the client resets the stream that is to take the response.
///
/// # Errors
/// Fails if the client does.
pub(crate) async fn unless_reset<T>(respond: &mut Responder, mut work: Pin<&mut impl Future<Output = T>>) -> io::Result<T> {
    // Most work is done at once.
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        return Ok(done);
    }
    let mut reset = pin!(respond.reset());
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => reset.as_mut().poll(cx).map(Err),
    })
    .await
}

impl Downstream<'_> {
    /// Returns who can read the exchange on the wire.
    pub(crate) fn privacy(&self) -> Privacy {
        match &self.wire {
            Wire::H1 { stream, .. } => stream.privacy(),
            Wire::Stream(stream) => stream.secured.map_or(Privacy::Clear, |_| Privacy::Tls),
        }
    }

    /// Returns what was agreed on with the client; none for clear text.
    pub(crate) fn secured(&self) -> Option<Secured> {
        match &self.wire {
            Wire::H1 { stream, .. } => stream.secured(),
            Wire::Stream(stream) => stream.secured,
        }
    }

    /// Tells whether the request may be somebody else's who sends again what he has heard: its client has not completed its handshake.
    pub(crate) fn is_early(&self) -> bool {
        match &self.wire {
            Wire::H1 { stream, .. } => stream.is_early(),
            Wire::Stream(_) => false,
        }
    }

    /// Returns where the client connected to: the proxy in front of us, if there is one that says so.
    pub(crate) fn find_destination(&self) -> Option<SocketAddr> {
        self.destination.or_else(|| self.wire.socket().and_then(Socket::local_address))
    }

    /// Sends interim responses, printed as HTTP/1; a client that does not take them within `limit` is not waited for.
    pub(crate) async fn inform(&mut self, responses: &[u8], limit: Duration) {
        match &mut self.wire {
            Wire::H1 { stream, .. } => {
                let _ = self.deadline.within(Some(limit), pin!(stream.send(responses))).await;
            }
            Wire::Stream(stream) => {
                // A client that is gone hears no hints.
                let _ = self.deadline.within(Some(limit), pin!(inform_stream(stream, responses))).await;
            }
        }
    }

    /// Sends a whole response, printed as HTTP/1; a client that does not take it within `limit` is not waited for.
    pub(crate) async fn answer(&mut self, response: &[u8], limit: Duration) {
        match &mut self.wire {
            Wire::H1 { stream, .. } => {
                let _ = self.deadline.within(Some(limit), pin!(stream.send(response))).await;
            }
            Wire::Stream(stream) => {
                // Neither an answer of our own that cannot be sent nor a client that is gone can be helped.
                let _ = self.deadline.within(Some(limit), pin!(answer_stream(stream, response))).await;
            }
        }
    }
}

async fn inform_stream(stream: &mut Streamed, mut responses: &[u8]) -> Option<()> {
    while let Ok(Parsed::Complete { head, length }) = parse::response(responses) {
        stream.respond.inform(convert::response(&head).ok()?).await.ok()?;
        responses = &responses[length..];
    }
    Some(())
}

async fn answer_stream(stream: &mut Streamed, response: &[u8]) -> Option<()> {
    let Ok(Parsed::Complete { head, length }) = parse::response(response) else { return None };
    let body = &response[length..];
    let mut sending = stream.respond.respond(convert::response(&head).ok()?, body.is_empty()).await.ok()?;
    if body.is_empty() { Some(()) } else { sending.push(Bytes::copy_from_slice(body), true).await.ok() }
}
