//! How connections to a server are made: where to, where from, and what stands before the first byte.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::bind::PortRange;
use super::unix::UnixAddress;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// An IP address and its port; none keeps the port the client connected to.
    Inet(IpAddr, Option<u16>),
    /// A Unix stream socket.
    Unix(UnixAddress),
}

impl ServerAddress {
    /// Returns the IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(ip, _) => Some(*ip),
            Self::Unix(_) => None,
        }
    }

    /// Returns the port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(_, port) => *port,
            Self::Unix(_) => None,
        }
    }

    /// Returns the Unix socket.
    pub fn unix(&self) -> Option<&UnixAddress> {
        match self {
            Self::Inet(..) => None,
            Self::Unix(address) => Some(address),
        }
    }
}

/// An address that needs nothing else to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixAddress),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

/// Where connections to a server come from; what is not set is for the system to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSource {
    pub(in crate::config) ip: Option<IpAddr>,
    pub(in crate::config) ports: Option<PortRange>,
    pub(in crate::config) interface: Option<String>,
}

impl ServerSource {
    /// Returns the address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Returns the ports; none without an address.
    pub fn ports(&self) -> Option<PortRange> {
        self.ports
    }

    /// Returns the interface.
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }
}

/// The PROXY header that stands before everything else on a connection to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendProxy {
    /// A line of text.
    V1,
    /// The binary form.
    V2 {
        /// Whether a checksum of the header is part of it.
        checksum: bool,
    },
}
