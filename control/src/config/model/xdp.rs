//! The kernel tier as a whole; only l4d looks here.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::bind::PortRange;
use super::global::SocketLevel;
use crate::config::location::{Located, Location};

/// Settings of the kernel tier.
#[derive(Clone, Debug)]
pub struct Xdp {
    pub(in crate::config) location: Location,
    pub(in crate::config) interfaces: Vec<Located<String>>,
    pub(in crate::config) source_addresses: Vec<Located<IpAddr>>,
    pub(in crate::config) source_ports: Option<Located<PortRange>>,
    pub(in crate::config) mode: AttachMode,
    pub(in crate::config) flows: u32,
    pub(in crate::config) rings: Option<u32>,
    pub(in crate::config) hash_key: Option<[u8; 16]>,
    pub(in crate::config) pin: Located<PathBuf>,
    pub(in crate::config) on_stop: OnStop,
    pub(in crate::config) metrics: Option<Located<SocketAddr>>,
    pub(in crate::config) deny: Vec<Located<Prefix>>,
    pub(in crate::config) allow: Vec<Located<Prefix>>,
    pub(in crate::config) source_connections: Option<u32>,
    pub(in crate::config) source_packets: Option<u32>,
    pub(in crate::config) packet_log: Option<u32>,
    pub(in crate::config) syn_cookies: Option<u32>,
    pub(in crate::config) stats_socket: Option<CommandSocket>,
}

impl Xdp {
    /// Returns where the section begins.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the interfaces the program is attached to, at least one.
    pub fn interfaces(&self) -> &[Located<String>] {
        &self.interfaces
    }

    /// Returns the pool of source addresses of full NAT; empty means the interface's own addresses.
    pub fn source_addresses(&self) -> &[Located<IpAddr>] {
        &self.source_addresses
    }

    /// Returns the source ports of full NAT: a power of two of them, at least 1024, aligned to their number.
    ///
    /// None leaves the choice to l4d.
    pub fn source_ports(&self) -> Option<&Located<PortRange>> {
        self.source_ports.as_ref()
    }

    /// Returns how the program is attached.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Returns how many flows the flow table holds.
    pub fn flows(&self) -> u32 {
        self.flows
    }

    /// Returns how many slots the rings of all frontends have room for; none leaves it to l4d.
    pub fn rings(&self) -> Option<u32> {
        self.rings
    }

    /// Returns the key of the flow hash; none lets l4d draw one.
    ///
    /// Nodes with the same key and the same servers make the same choice.
    pub fn hash_key(&self) -> Option<[u8; 16]> {
        self.hash_key
    }

    /// Returns the directory in which maps and links are pinned.
    pub fn pin(&self) -> &Located<PathBuf> {
        &self.pin
    }

    /// Returns what happens to the attached program when l4d stops.
    pub fn on_stop(&self) -> OnStop {
        self.on_stop
    }

    /// Returns the prefixes whose packets to services are dropped, unless a longer allowed one holds them.
    pub fn deny(&self) -> &[Located<Prefix>] {
        &self.deny
    }

    /// Returns the prefixes that are neither denied nor held to a rate, unless a longer denied one holds them.
    pub fn allow(&self) -> &[Located<Prefix>] {
        &self.allow
    }

    /// Returns how many connections each source may open in a second.
    pub fn source_connections(&self) -> Option<u32> {
        self.source_connections
    }

    /// Returns how many packets each source may send to services in a second.
    pub fn source_packets(&self) -> Option<u32> {
        self.source_packets
    }

    /// Returns of how many packets one is logged.
    pub fn packet_log(&self) -> Option<u32> {
        self.packet_log
    }

    /// Returns how many connections a second may open with an address that listeners of this host have before they are answered by cookies.
    pub fn syn_cookies(&self) -> Option<u32> {
        self.syn_cookies
    }

    /// Returns where l4d takes commands.
    pub fn stats_socket(&self) -> Option<&CommandSocket> {
        self.stats_socket.as_ref()
    }

    /// Returns where l4d answers Prometheus.
    pub fn metrics(&self) -> Option<&Located<SocketAddr>> {
        self.metrics.as_ref()
    }
}

/// The Unix socket on which l4d takes commands.
#[derive(Clone, Debug)]
pub struct CommandSocket {
    pub(in crate::config) path: Located<PathBuf>,
    pub(in crate::config) mode: u32,
    pub(in crate::config) level: SocketLevel,
}

impl CommandSocket {
    /// Returns the file.
    pub fn path(&self) -> &Located<PathBuf> {
        &self.path
    }

    /// Returns the file's permission bits.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Returns what a client may do.
    pub fn level(&self) -> SocketLevel {
        self.level
    }
}

/// A prefix of addresses, whose bits after the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    pub(in crate::config) address: IpAddr,
    pub(in crate::config) length: u8,
}

impl Prefix {
    /// Returns the first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns how many leading bits all its addresses share.
    pub fn length(&self) -> u8 {
        self.length
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver where it can, else generic.
    Auto,
    /// In the driver.
    Native,
    /// In the network stack, on any interface.
    Generic,
}

/// What happens to the attached program when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// It is taken off; traffic falls back to the host.
    Detach,
    /// It keeps forwarding until the next start or an explicit detach.
    Keep,
}
