//! How connections to a server are made: where to, where from, and what stands before the first byte.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::bind::PortRange;
use super::resolvers::Lack;
use super::unix::UnixAddress;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// An IP address and its port; none keeps the port the client connected to.
    Inet(IpAddr, Option<u16>),
    /// A Unix stream socket.
    Unix(UnixAddress),
    /// Wherever a name leads.
    Named(NamedAddress),
}

/// A name of the DNS, and where it leads at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedAddress {
    pub(crate) service: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) ip: Option<IpAddr>,
    /// Why the address does not count any more.
    pub(crate) lack: Option<Lack>,
    /// What a record of the service says of its weight.
    pub(crate) weight: Option<u16>,
}

impl NamedAddress {
    /// Returns the name of the service whose records say which machines there are; none for the name of a machine.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Returns the name of the machine; none where no record of the service is left for this server.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns its address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Returns its port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns why it is not to be connected to; none while it has an address that counts.
    pub fn lack(&self) -> Option<Lack> {
        self.lack.or(self.ip.is_none().then_some(Lack::NoAddress))
    }
}

impl ServerAddress {
    /// Returns the IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(ip, _) => Some(*ip),
            Self::Named(named) => named.ip,
            Self::Unix(_) => None,
        }
    }

    /// Tells whether both are the same place at present, whatever it is called.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (self.ip(), self.port(), self.unix()) == (other.ip(), other.port(), other.unix())
    }

    /// Returns the port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(_, port) => *port,
            Self::Named(named) => named.port,
            Self::Unix(_) => None,
        }
    }

    /// Returns the Unix socket.
    pub fn unix(&self) -> Option<&UnixAddress> {
        match self {
            Self::Inet(..) | Self::Named(_) => None,
            Self::Unix(address) => Some(address),
        }
    }

    /// Returns the name that leads there.
    pub fn named(&self) -> Option<&NamedAddress> {
        match self {
            Self::Inet(..) | Self::Unix(_) => None,
            Self::Named(named) => Some(named),
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
    pub(in crate::config) guise: Option<Guise>,
}

/// Whose address a server sees, where that is not this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guise {
    /// This one, with this port unless that is 0.
    Address(SocketAddr),
    /// The client's, with its port.
    Client,
    /// The client's.
    ClientIp,
}

impl ServerSource {
    /// What leaves everything to the system.
    pub(in crate::config) const ANY: Self = Self { ip: None, ports: None, interface: None, guise: None };

    /// Returns whose address the server sees, where that is not this host's; checks come from this host all the same.
    pub fn guise(&self) -> Option<Guise> {
        self.guise
    }

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
