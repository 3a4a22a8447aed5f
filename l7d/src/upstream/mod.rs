//! From a backend to a connection with one of its servers.
//!
//! [`pursuit`] finds a server and decides what follows a failure, [`mod@connect`] opens a connection, [`pool`] keeps those that may serve
//! again. The loop around them belongs to the caller.

mod attempts;
pub(crate) mod connect;
pub(crate) mod pool;
pub(crate) mod pursuit;
mod reserve;
mod sharing;
mod source;

pub(crate) use attempts::Redispatch;
pub(crate) use reserve::NoServer;
pub(crate) use sharing::{Own, Sharing};
pub(crate) use source::{Given, Source, may_disguise};

use std::rc::Rc;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::h2::client::Sender;
use crate::rules::ServerLine;
use crate::site::{Backend, Protocol, Server};
use crate::socket::Socket;
use crate::stats::{Counter, Here, Meter};
use crate::stream::Stream;
use crate::tls::Session;
use connect::{ConnectError, Inbound, connect};

/// A connection to a server that takes a request.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// One of HTTP/1, for one request at a time.
    H1(Link),
    /// A share of one of HTTP/2.
    H2(Sender),
}

/// A connection to a server, which counts as open while it lives.
#[derive(Debug)]
pub(crate) struct Link {
    /// The connection.
    pub(crate) stream: Stream,
    /// How many requests it has served.
    served: u32,
    open: Open,
}

/// Counts a connection of a server while it lives.
#[derive(Debug)]
pub(crate) struct Open(Arc<Meter>);

impl Open {
    /// Counts a connection that is about to be opened.
    fn on(meter: &Arc<Meter>) -> Self {
        meter.add(Counter::Open, 1);
        meter.here().inspect(Here::note_use);
        Self(Arc::clone(meter))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.subtract(Counter::Open, 1);
    }
}

impl Link {
    fn new(stream: Stream, open: Open) -> Self {
        Self { stream, served: 0, open }
    }

    /// Notes that it has served a request; tells whether it may serve another.
    fn serve(&mut self, server: &Server) -> bool {
        let may_again = server.model().pool().most_reuses().is_none_or(|most| self.served < most);
        self.served += 1;
        may_again
    }

    /// Takes it apart: the connection, and what counts it.
    pub(crate) fn into_parts(self) -> (Stream, Open) {
        (self.stream, self.open)
    }
}

impl Upstream {
    /// Returns the connection if no other exchange has a part in it.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        match self {
            Self::H1(link) => Some(&link.stream),
            Self::H2(_) => None,
        }
    }

    /// Returns what rules may know of the connection itself; of one that others have a part in, the version alone.
    pub(crate) fn line(&self) -> ServerLine {
        let socket = self.stream().map(Stream::socket);
        let version = if matches!(self, Self::H2(_)) { 2 } else { 1 };
        ServerLine { local: socket.and_then(Socket::local_address), peer: socket.and_then(Socket::peer_address), version }
    }

    /// Returns all that rules may know of the TLS with the server; none for clear text.
    pub(crate) fn session(&self) -> Option<Rc<Session>> {
        match self {
            Self::H1(link) => link.stream.session().map(Rc::new),
            Self::H2(sender) => sender.session(),
        }
    }

    /// Gives the connection no further exchange after one has failed; one of HTTP/1 ends with its exchange anyway.
    pub(crate) fn distrust(&self) {
        match self {
            Self::H1(_) => {}
            Self::H2(sender) => sender.distrust(),
        }
    }

    /// Tells whether it takes one more exchange now.
    fn is_ready(&mut self) -> bool {
        match self {
            Self::H1(link) => link.stream.is_quiet(),
            Self::H2(sender) => sender.has_room(),
        }
    }

    /// Tells whether it carries an exchange besides being kept.
    fn is_busy(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(sender) => sender.is_busy(),
        }
    }

    /// Tells whether it has served again already; one of HTTP/2 need not prove that.
    fn is_proven(&self) -> bool {
        match self {
            Self::H1(link) => link.served > 1,
            Self::H2(_) => true,
        }
    }
}

/// Opens a connection to a server on behalf of a client.
///
/// # Errors
/// Fails as connecting does, or when it takes longer than the backend allows.
pub(crate) async fn open(
    backend: &Backend,
    server: &Server,
    inbound: Inbound<'_>,
    deadline: &mut Deadline,
) -> Result<Upstream, ConnectError> {
    let link = connect(backend, server, inbound, deadline).await?;
    let agreed = || link.stream.tls().is_some_and(|agreed| agreed.alpn.as_deref() == Some(b"h2"));
    match server.protocol().unwrap_or_else(|| if agreed() { Protocol::H2 } else { Protocol::H1 }) {
        Protocol::H1 => Ok(Upstream::H1(link)),
        Protocol::H2 => Ok(Upstream::H2(Sender::open(link, server.model().pool().most_reuses()).await?)),
    }
}
