//! Opens a connection to a server.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;

use control::config::{SendProxy, Timeout};
use control::tls::Host;
use rustix::net::{AddressFamily, SocketAddrAny, sockopt};

use super::source::Given;
use crate::brand::Brand;
use crate::deadline::Deadline;
use crate::peer::Peer;
use crate::proxy_header::{self, Endpoints};
use crate::site::{Backend, Server};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls::Wanted;
use crate::upstream::{Link, Open};

/// Why a server could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The server or the network refused.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// It took too long.
    #[error("timed out")]
    TimedOut,
    /// There is no TLS with it.
    #[error("TLS: {0}")]
    Tls(io::Error),
}

/// The client's connection, on behalf of which a server is connected to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inbound<'a> {
    /// Who is at its other end.
    pub(crate) client: Peer,
    /// Where the client connected to, if that is known already.
    pub(crate) destination: Option<SocketAddr>,
    /// The socket, whose own address is the destination if nothing else is known.
    pub(crate) socket: Option<&'a Socket>,
    /// The host that a server of TLS is asked for.
    pub(crate) host: Host<'a>,
    /// What the packets to the server are to carry.
    pub(crate) brand: Brand,
}

impl Inbound<'_> {
    fn destination(&self) -> Option<SocketAddr> {
        self.destination.or_else(|| self.socket?.local_address())
    }

    fn endpoints(&self) -> Endpoints {
        let relayed = |(source, destination)| Endpoints::Relayed { source, destination };
        self.client.inet().zip(self.destination()).map_or(Endpoints::Unknown, relayed)
    }
}

/// Connects to a server on behalf of a client, announces the client if the server wants that, and begins TLS.
///
/// # Errors
/// Fails as connecting does, or when it takes longer than the backend allows.
pub(crate) async fn connect(
    backend: &Backend,
    server: &Server,
    inbound: Inbound<'_>,
    deadline: &mut Deadline,
) -> Result<Link, ConnectError> {
    let counted = Open::on(server.shared_meter());
    let limit = backend.timeouts().of(Timeout::Connect);
    let opens_fast = server.opens_fast(backend.mode());
    let stream = deadline.within(limit, pin!(open(server, inbound, opens_fast))).await.map_err(|_| ConnectError::TimedOut)??;
    backend.upkeep().apply(stream.socket());
    Ok(Link::new(stream, counted))
}

async fn open(server: &Server, inbound: Inbound<'_>, opens_fast: bool) -> Result<Stream, ConnectError> {
    let socket = match server.address() {
        Some(address) => dial(server, address, inbound, opens_fast).await?,
        None => {
            let address = inbound
                .destination()
                .and_then(|destination| server.address_for(destination))
                .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
            dial(server, &address, inbound, opens_fast).await?
        }
    };
    let mut stream = Stream::plain(socket);
    if let Some(version) = server.send_proxy() {
        stream.send(&header(version, &inbound.endpoints())).await?;
    }
    if let Some(connector) = server.connector() {
        stream.secure(connector.begin(inbound.host).map_err(ConnectError::Tls)?);
        stream.handshake(Wanted::Whole).await.map_err(ConnectError::Tls)?;
    }
    Ok(stream)
}

/// Connects from where the server wants it; where only some ports are allowed, from one that is free.
async fn dial(server: &Server, address: &SocketAddrAny, inbound: Inbound<'_>, opens_fast: bool) -> io::Result<Socket> {
    let family = address.address_family();
    // The address of a client of another family means nothing to the server.
    let fits = |guise: &SocketAddr| family == if guise.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let guise = server.source().and_then(|source| source.guise(inbound.client)).filter(fits);
    let mut choices = server.source().filter(|_| guise.is_none()).map_or(1, super::Source::choices);
    loop {
        choices -= 1;
        let socket = Socket::open(family)?;
        if family != AddressFamily::UNIX {
            sockopt::set_tcp_nodelay(&socket, true)?;
            inbound.brand.press(&socket);
            prepare(server, &socket, opens_fast);
        }
        let given = server.source().map_or(Ok(Given::Done), |source| source.give(&socket, guise))?;
        let taken = match given {
            Given::Taken => io::Error::from(io::ErrorKind::AddrInUse),
            Given::Done => match Socket::connect(socket, address).await {
                // The port is in use for this very destination.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => error,
                outcome => return outcome,
            },
        };
        if choices == 0 {
            return Err(taken);
        }
    }
}

/// Sets what a server wants of the sockets to it; what the kernel does not have is done without.
fn prepare(server: &Server, socket: &OwnedFd, opens_fast: bool) {
    if let Some(patience) = server.patience() {
        let _ = sockopt::set_tcp_user_timeout(socket, u32::try_from(patience.as_millis()).unwrap_or(u32::MAX));
    }
    if opens_fast {
        let _ = nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::TcpFastOpenConnect, &true);
    }
}

/// Returns a PROXY header.
pub(crate) fn header(version: SendProxy, endpoints: &Endpoints) -> Vec<u8> {
    let mut header = Vec::with_capacity(proxy_header::LONGEST);
    match version {
        SendProxy::V1 => proxy_header::encode_v1(endpoints, &mut header),
        SendProxy::V2 { checksum: false } => proxy_header::encode_v2(endpoints, &mut header),
        SendProxy::V2 { checksum: true } => proxy_header::encode_v2_with_checksum(endpoints, &mut header),
    }
    header
}
