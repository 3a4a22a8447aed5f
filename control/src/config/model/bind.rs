//! Where a frontend listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::server::Protocol;
use super::tls::Tls;
use super::unix::{SocketFile, UnixAddress};
use crate::config::location::{Located, Location};

/// One address a frontend listens on, with the settings of its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) address: Located<BindAddress>,
    pub(in crate::config) tls: Option<Tls>,
    pub(in crate::config) accept_proxy: bool,
    pub(in crate::config) backlog: Option<u32>,
    pub(in crate::config) maxconn: Option<u32>,
    pub(in crate::config) interface: Option<Located<String>>,
    pub(in crate::config) v6only: bool,
    pub(in crate::config) transparent: bool,
    pub(in crate::config) file: SocketFile,
    pub(in crate::config) quic: Quic,
    pub(in crate::config) tcp: Tcp,
    pub(in crate::config) protocol: Option<Protocol>,
}

/// What is asked of a listening socket of TCP, and with it of the connections accepted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tcp {
    pub(in crate::config) fast_open: bool,
    pub(in crate::config) defers: bool,
    pub(in crate::config) patience: Option<Duration>,
    pub(in crate::config) segment: Option<u16>,
}

impl Tcp {
    /// Tells whether clients may send their first bytes with their first packet.
    pub fn fast_open(self) -> bool {
        self.fast_open
    }

    /// Tells whether connections are accepted only when something was sent over them.
    pub fn defers(self) -> bool {
        self.defers
    }

    /// Returns how long what was sent may go unacknowledged.
    pub fn patience(self) -> Option<Duration> {
        self.patience
    }

    /// Returns the longest segment that clients are to send, in bytes.
    pub fn segment(self) -> Option<u16> {
        self.segment
    }
}

/// How QUIC is spoken on an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quic {
    pub(in crate::config) forces_retry: bool,
    pub(in crate::config) congestion: Congestion,
}

impl Quic {
    /// Tells whether every client proves its address first.
    pub fn forces_retry(self) -> bool {
        self.forces_retry
    }

    /// Returns what decides how fast is sent.
    pub fn congestion(self) -> Congestion {
        self.congestion
    }
}

/// What decides how fast is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC.
    #[default]
    Cubic,
    /// New Reno.
    NewReno,
}

impl Bind {
    /// Returns what it is called in logs and statistics, if not by its number.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the address.
    pub fn address(&self) -> &BindAddress {
        &self.address
    }

    /// Returns where the address was written.
    pub fn location(&self) -> &Location {
        self.address.location()
    }

    /// Returns how TLS is ended here; none for clear text.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Tells whether every connection begins with a PROXY header.
    pub fn accept_proxy(&self) -> bool {
        self.accept_proxy
    }

    /// Returns the length of the listen queue.
    pub fn backlog(&self) -> Option<u32> {
        self.backlog
    }

    /// Returns the most connections accepted here at a time.
    pub fn maxconn(&self) -> Option<u32> {
        self.maxconn
    }

    /// Returns the only interface connections may come from.
    pub fn interface(&self) -> Option<&Located<String>> {
        self.interface.as_ref()
    }

    /// Tells whether an IPv6 wildcard leaves IPv4 alone.
    pub fn v6only(&self) -> bool {
        self.v6only
    }

    /// Tells whether the address need not belong to this host.
    pub fn transparent(&self) -> bool {
        self.transparent
    }

    /// Returns how QUIC is spoken here.
    pub fn quic(&self) -> Quic {
        self.quic
    }

    /// Tells whether QUIC is spoken here.
    pub fn is_quic(&self) -> bool {
        self.address.inet().is_some_and(|inet| inet.transport() == Transport::Quic)
    }

    /// Returns what is asked of its socket where it is one of TCP.
    pub fn tcp(&self) -> Tcp {
        self.tcp
    }

    /// Returns the only version of HTTP that is spoken, in mode http; none where clients choose.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Returns who may connect to the file of a Unix socket.
    pub fn file(&self) -> &SocketFile {
        &self.file
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// An IP address and its ports.
    Inet(Inet),
    /// A Unix stream socket.
    Unix(UnixAddress),
    /// A stream socket that the process was started with, by the number of its descriptor.
    Inherited(u16),
}

impl BindAddress {
    /// Returns the IP address and ports.
    pub fn inet(&self) -> Option<&Inet> {
        match self {
            Self::Inet(inet) => Some(inet),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(inet) => inet.fmt(f),
            Self::Unix(address) => address.fmt(f),
            Self::Inherited(number) => write!(f, "fd@{number}"),
        }
    }
}

/// An IP address and one or more of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet {
    pub(in crate::config) transport: Transport,
    pub(in crate::config) ip: IpAddr,
    pub(in crate::config) ports: PortRange,
}

impl Inet {
    /// Returns the transport protocol.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns the address; the unspecified one of its family for a wildcard.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Returns the ports.
    pub fn ports(&self) -> PortRange {
        self.ports
    }

    /// Tells whether this is every address of the family.
    pub fn is_wildcard(&self) -> bool {
        self.ip.is_unspecified()
    }

    /// Returns each address and port in turn.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let ip = self.ip;
        self.ports.iter().map(move |port| SocketAddr::new(ip, port))
    }

    /// Tells whether some packet could be meant for both.
    pub(in crate::config) fn overlaps(&self, other: &Self) -> bool {
        self.transport.is_datagrams() == other.transport.is_datagrams() && self.ip == other.ip && self.ports.overlaps(other.ports)
    }
}

impl fmt::Display for Inet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tcp => {}
            Transport::Udp => f.write_str("udp@")?,
            Transport::Quic => f.write_str(if self.ip.is_ipv4() { "quic4@" } else { "quic6@" })?,
        }
        match self.ip {
            IpAddr::V4(ip) if ip.is_unspecified() => write!(f, "*:{}", self.ports),
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.ports),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.ports),
        }
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams; served by the kernel tier only.
    Udp,
    /// Streams over datagrams, which carry HTTP/3.
    Quic,
}

impl Transport {
    /// Tells whether it is carried by UDP.
    pub fn is_datagrams(self) -> bool {
        match self {
            Self::Tcp => false,
            Self::Udp | Self::Quic => true,
        }
    }
}

/// Ports from the first to the last, both included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// Invariant: not greater than `last`.
    pub(in crate::config) first: u16,
    pub(in crate::config) last: u16,
}

impl PortRange {
    /// Returns the first port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// Returns the last port, which belongs to the range.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Returns the number of ports, 1 to 65536.
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Returns the port of a range of one.
    pub fn single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    /// Returns each port in turn.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(port) => write!(f, "{port}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}
