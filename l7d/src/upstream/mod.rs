//! From a backend to a connection with one of its servers.
//!
//! [`pursuit`] finds a server and decides what follows a failure, [`mod@connect`] opens a connection, [`pool`] keeps those that may serve
//! again. The loop around them belongs to the caller.

mod attempts;
pub(crate) mod connect;
pub(crate) mod pool;
pub(crate) mod pursuit;
mod reserve;
mod source;

pub(crate) use attempts::Redispatch;
pub(crate) use reserve::NoServer;
pub(crate) use source::Source;

use crate::deadline::Deadline;
use crate::h2::client::Sender;
use crate::site::{Backend, Protocol, Server};
use crate::stream::Stream;
use connect::{ConnectError, Inbound, connect};

/// A connection to a server that takes a request.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// One of HTTP/1, for one request at a time.
    H1(Stream),
    /// A share of one of HTTP/2.
    H2(Sender),
}

impl Upstream {
    /// Returns the connection if no other exchange has a part in it.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        match self {
            Self::H1(stream) => Some(stream),
            Self::H2(_) => None,
        }
    }

    /// Gives the connection no further exchange after one has failed; one of HTTP/1 ends with its exchange anyway.
    pub(crate) fn distrust(&self) {
        match self {
            Self::H1(_) => {}
            Self::H2(sender) => sender.distrust(),
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
    let stream = connect(backend, server, inbound, deadline).await?;
    let agreed = || stream.tls().is_some_and(|agreed| agreed.alpn.as_deref() == Some(b"h2"));
    match server.protocol().unwrap_or_else(|| if agreed() { Protocol::H2 } else { Protocol::H1 }) {
        Protocol::H1 => Ok(Upstream::H1(stream)),
        Protocol::H2 => {
            let sender = Sender::open(stream).await?;
            if server.shares_connections() {
                pool::share(server.kind(inbound.host), &sender);
            }
            Ok(Upstream::H2(sender))
        }
    }
}
