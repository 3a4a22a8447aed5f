//! Connections of HTTP/2 to servers: each carries many exchanges of this thread at a time.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use tokio::task::spawn_local;
use tracing::debug;

use super::io::Io;
use super::{CONNECTION_WINDOW, MAX_HEAD, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, io_error};
use crate::stream::Stream;

/// A connection that takes exchanges.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    requests: SendRequest<Bytes>,
    /// One holder for each exchange, and one for the pool.
    holders: Rc<()>,
    /// Whether the connection takes no exchange any more.
    ended: Rc<Cell<bool>>,
}

impl Sender {
    /// Begins to speak HTTP/2 on a connection.
    ///
    /// # Errors
    /// Fails if the connection does.
    pub(crate) async fn open(stream: Stream) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false);
        let io = Io { stream: Rc::new(stream), early: None };
        let (requests, connection) = builder.handshake(io).await.map_err(io_error)?;
        let ended = Rc::new(Cell::new(false));
        let end = Rc::clone(&ended);
        spawn_local(async move {
            if let Err(error) = connection.await {
                debug!("connection to a server ended: {error}");
            }
            end.set(true);
        });
        Ok(Self { requests, holders: Rc::new(()), ended })
    }

    /// Tells whether it takes one more exchange now.
    pub(crate) fn has_room(&self) -> bool {
        let most = self.requests.current_max_send_streams().min(MAX_STREAMS as usize);
        !self.ended.get() && Rc::strong_count(&self.holders) <= most
    }

    /// Tells whether it carries exchanges now.
    pub(crate) fn is_busy(&self) -> bool {
        Rc::strong_count(&self.holders) > 1
    }

    /// Tells whether its connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended.get()
    }

    /// Begins an exchange; `ends` if the head is the whole request.
    ///
    /// # Errors
    /// Fails if the connection takes no exchange any more.
    pub(crate) async fn send(&mut self, request: Request<()>, ends: Ends) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await?;
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
