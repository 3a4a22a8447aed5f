//! Opens a connection to a server.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use control::config::Timeout;
use rustix::net::{AddressFamily, SocketAddrAny, sockopt};

use crate::deadline::Deadline;
use crate::site::Backend;
use crate::socket::Socket;
use crate::stream::Stream;

/// Why a server could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The server or the network refused.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// It took too long.
    #[error("timed out")]
    TimedOut,
}

/// Connects to a server at this address.
///
/// # Errors
/// Fails as connecting does, or when it takes longer than the backend allows.
pub(crate) async fn connect(backend: &Backend, address: SocketAddr, deadline: &mut Deadline) -> Result<Stream, ConnectError> {
    let limit = backend.timeouts().of(Timeout::Connect);
    let opened = deadline.within(limit, pin!(open(address))).await.map_err(|_| ConnectError::TimedOut)?;
    Ok(opened?)
}

async fn open(address: SocketAddr) -> io::Result<Stream> {
    let socket = Socket::open(if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 })?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(Stream::plain(Socket::connect(socket, &SocketAddrAny::from(address)).await?))
}
