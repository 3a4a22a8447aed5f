//! Opens a connection to a server.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use control::config::Timeout;
use tokio::net::TcpStream;

use crate::deadline::Deadline;
use crate::site::{Backend, Server};

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

/// Connects to a server on behalf of a client that came in on `inbound`.
///
/// # Errors
/// Fails as connecting does, or when it takes longer than the backend allows.
pub(crate) async fn connect(
    backend: &Backend,
    server: &Server,
    inbound: &TcpStream,
    deadline: &mut Deadline,
) -> Result<TcpStream, ConnectError> {
    let address = match server.address() {
        Some(address) => address,
        None => server.address_for(inbound.local_addr()?.port()),
    };
    let limit = backend.timeouts().of(Timeout::Connect);
    let opened = deadline.within(limit, pin!(open(address))).await.map_err(|_| ConnectError::TimedOut)?;
    Ok(opened?)
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
