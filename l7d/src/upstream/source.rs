//! Where a connection to a server comes from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};

use control::config::{Guise, ServerSource};
use nix::sys::socket::{SetSockOpt, sockopt::IpBindAddressNoPort};
use socket2::SockRef;

use crate::peer::Peer;

/// The source of connections to one server.
#[derive(Debug)]
pub(crate) struct Source {
    model: ServerSource,
    /// Counts the ports given out, where only some are allowed.
    turn: AtomicU16,
}

/// What became of an attempt to give a socket its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// It has it.
    Done,
    /// Its port is taken; there may be others.
    Taken,
}

impl Source {
    /// Returns the source that the configuration asks for.
    pub(crate) fn new(model: &ServerSource) -> Self {
        Self { model: model.clone(), turn: AtomicU16::new(fastrand::u16(..)) }
    }

    /// Returns how many ports may be tried, at least 1.
    pub(crate) fn choices(&self) -> u32 {
        self.model.ports().map_or(1, |ports| ports.count())
    }

    /// Returns whose address the server is to see on behalf of a client, where that is not this host's; port 0 is any.
    pub(crate) fn guise(&self, client: Peer) -> Option<SocketAddr> {
        let of_client = || client.inet().map(|client| SocketAddr::new(client.ip().to_canonical(), client.port()));
        match self.model.guise()? {
            Guise::Address(address) => Some(address),
            Guise::Client => of_client(),
            Guise::ClientIp => of_client().map(|client| SocketAddr::new(client.ip(), 0)),
        }
    }

    /// Gives a socket its source: that of somebody else, or ours, of which it is the next port if only some are allowed.
    ///
    /// # Errors
    /// Fails if the address or the interface is not this host's, or the right to take another's is missing.
    pub(crate) fn give(&self, socket: &OwnedFd, guise: Option<SocketAddr>) -> io::Result<Given> {
        let descriptor = socket;
        let socket = SockRef::from(socket);
        if let Some(interface) = self.model.interface() {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        if let Some(guise) = guise {
            return disguise(descriptor, guise).map_err(|error| io::Error::new(error.kind(), format!("usesrc {guise}: {error}")));
        }
        let Some(ip) = self.model.ip() else { return Ok(Given::Done) };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("source {ip}: {error}"));
        let Some(ports) = self.model.ports() else {
            // The kernel chooses the port when it knows the destination, so that ports are not used up by others.
            IpBindAddressNoPort.set(descriptor, &true)?;
            return socket.bind(&SocketAddr::new(ip, 0).into()).map(|()| Given::Done).map_err(named);
        };
        let turn = u32::from(self.turn.fetch_add(1, Ordering::Relaxed)) % ports.count();
        let port = ports.first() + u16::try_from(turn).unwrap_or(0);
        // Without this a port could serve one server only.
        socket.set_reuse_address(true)?;
        match socket.bind(&SocketAddr::new(ip, port).into()) {
            Ok(()) => Ok(Given::Done),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(Given::Taken),
            Err(error) => Err(named(error)),
        }
    }
}

fn disguise(descriptor: &OwnedFd, guise: SocketAddr) -> io::Result<Given> {
    let socket = SockRef::from(descriptor);
    if guise.is_ipv4() {
        socket.set_ip_transparent_v4(true)?
    } else {
        socket.set_ip_transparent_v6(true)?
    }
    if guise.port() == 0 {
        IpBindAddressNoPort.set(descriptor, &true)?;
    } else {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&guise.into()).map(|()| Given::Done)
}

/// Looks whether this process may take the addresses of others.
///
/// # Errors
/// Fails if it may not.
pub(crate) fn may_disguise() -> io::Result<()> {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?.set_ip_transparent_v4(true)
}
