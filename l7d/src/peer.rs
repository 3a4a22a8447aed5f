//! Who is at the other end of a client's connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who is at the other end of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Someone with an address.
    Inet(SocketAddr),
    /// Someone on this host who came in by a Unix socket: the one of this number, from 1, among those of the frontend.
    Unix(u32),
}

impl Peer {
    /// Returns the address and the port.
    pub(crate) fn inet(self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(address),
            Self::Unix(_) => None,
        }
    }

    /// Returns the address.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        self.inet().map(|address| address.ip())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(number) => write!(f, "unix:{number}"),
        }
    }
}
