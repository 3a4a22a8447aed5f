//! From a backend to a connection with one of its servers.
//!
//! [`pursuit`] finds a server and decides what follows a failure, [`connect`] opens a connection, [`pool`] keeps those that may serve
//! again. The loop around them belongs to the caller.

mod attempts;
pub(crate) mod connect;
pub(crate) mod pool;
pub(crate) mod pursuit;
mod reserve;

pub(crate) use attempts::Redispatch;
pub(crate) use reserve::NoServer;

use std::net::SocketAddr;

use crate::deadline::Deadline;
use crate::h2::client::Sender;
use crate::site::{Backend, Protocol, Server};
use crate::stream::Stream;
use connect::{ConnectError, connect};

/// A connection to a server that takes a request.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// One of HTTP/1, for one request at a time.
    H1(Stream),
    /// A share of one of HTTP/2.
    H2(Sender),
}

/// Opens a connection to a server at this address.
///
/// # Errors
/// Fails as connecting does, or when it takes longer than the backend allows.
pub(crate) async fn open(
    backend: &Backend,
    server: &Server,
    address: SocketAddr,
    deadline: &mut Deadline,
) -> Result<Upstream, ConnectError> {
    let stream = connect(backend, address, deadline).await?;
    match server.protocol() {
        Protocol::H1 => Ok(Upstream::H1(stream)),
        Protocol::H2 => {
            let sender = Sender::open(stream).await?;
            pool::share(server.load().id(), &sender);
            Ok(Upstream::H2(sender))
        }
    }
}
