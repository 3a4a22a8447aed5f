//! Where a connection to a server comes from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};

use control::config::ServerSource;
use nix::sys::socket::{SetSockOpt, sockopt::IpBindAddressNoPort};
use socket2::SockRef;

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

    /// Gives a socket its source, the next port if only some are allowed.
    ///
    /// # Errors
    /// Fails if the address or the interface is not this host's.
    pub(crate) fn give(&self, socket: &OwnedFd) -> io::Result<Given> {
        let descriptor = socket;
        let socket = SockRef::from(socket);
        if let Some(interface) = self.model.interface() {
            socket.bind_device(Some(interface.as_bytes()))?;
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
