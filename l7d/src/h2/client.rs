//! Connections of HTTP/2 to servers: each carries many exchanges of this thread at a time.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use tokio::task::spawn_local;
use tracing::debug;

use super::io::Io;
use super::{MAX_HEAD, MAX_STREAMS, SEND_BUFFER, SERVER_WINDOW, WINDOW, io_error};
use crate::message::head::Scheme;
use crate::stream::Privacy;
use crate::tls::Session;
use crate::upstream::Link;

/// Whether a connection takes further exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It does.
    Open,
    /// Those it carries may end, but it gets no other.
    Distrusted,
    /// It is gone.
    Ended,
}

/// A connection that takes exchanges.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    requests: SendRequest<Bytes>,
    scheme: Scheme,
    /// All that rules may know of the TLS; none for clear text.
    session: Option<Rc<Session>>,
    /// One holder for each exchange, and one for the pool.
    holders: Rc<()>,
    state: Rc<Cell<State>>,
    /// How many exchanges it may still begin.
    left: Rc<Cell<u64>>,
}

impl Sender {
    /// Begins to speak HTTP/2 on a connection, which may serve again so many times.
    ///
    /// # Errors
    /// Fails if the connection does.
    pub(crate) async fn open(link: Link, most_reuses: Option<u32>) -> io::Result<Self> {
        let (stream, open) = link.into_parts();
        let session = stream.session().map(Rc::new);
        let mut builder = Builder::new();
        builder
            .initial_window_size(WINDOW.load(Relaxed))
            .initial_connection_window_size(SERVER_WINDOW.max(WINDOW.load(Relaxed)))
            .max_header_list_size(MAX_HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false);
        let scheme = match stream.privacy() {
            Privacy::Clear => Scheme::Http,
            Privacy::Tls => Scheme::Https,
        };
        let io = Io { stream: Rc::new(stream), early: None, backlog: Rc::default() };
        let (requests, connection) = builder.handshake(io).await.map_err(io_error)?;
        let state = Rc::new(Cell::new(State::Open));
        let end = Rc::clone(&state);
        spawn_local(async move {
            if let Err(error) = connection.await {
                debug!("connection to a server ended: {error}");
            }
            end.set(State::Ended);
            drop(open);
        });
        let left = most_reuses.map_or(u64::MAX, |most| u64::from(most) + 1);
        Ok(Self { requests, scheme, session, holders: Rc::new(()), state, left: Rc::new(Cell::new(left)) })
    }

    /// Returns the scheme of what is asked for here.
    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns all that rules may know of the TLS; none for clear text.
    pub(crate) fn session(&self) -> Option<Rc<Session>> {
        self.session.clone()
    }

    /// Tells whether it takes one more exchange now; a connection whose server sends its clients away does not.
    pub(crate) fn has_room(&mut self) -> bool {
        let most = self.requests.current_max_send_streams().min(MAX_STREAMS as usize);
        self.state.get() == State::Open
            && Rc::strong_count(&self.holders) <= most
            && matches!(self.requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
    }

    /// Gives the connection no further exchange, because one failed in a way that the next may fail, too.
    pub(crate) fn distrust(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Distrusted);
        }
    }

    /// Tells whether two are shares of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.state, &other.state)
    }

    /// Tells whether it carries exchanges now.
    pub(crate) fn is_busy(&self) -> bool {
        Rc::strong_count(&self.holders) > 1
    }

    /// Tells whether it will never take an exchange again.
    pub(crate) fn is_spent(&self) -> bool {
        self.state.get() != State::Open
    }

    /// Begins an exchange; `ends` if the head is the whole request.
    ///
    /// # Errors
    /// Fails if the connection takes no exchange any more.
    pub(crate) async fn send(&mut self, request: Request<()>, ends: Ends) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await?;
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            self.distrust();
        }
        self.requests.send_request(request, ends == Ends::Here)
    }
}

/// Whether something follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Nothing does.
    Here,
    /// A body does.
    Later,
}

/// Tells whether a server says that it did not begin to process the request.
pub(crate) fn is_unprocessed(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM) || (error.is_go_away() && error.is_remote())
}
