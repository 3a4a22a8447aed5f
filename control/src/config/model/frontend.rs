//! Where clients arrive and what decides about them.

use std::time::Duration;

use super::bind::Bind;
use super::compression::Compression;
use super::log::Logging;
use super::proxy::{Acl, Mode, Preset, Probes, ProxyOption, Timeouts, UniqueId};
use super::reply::ErrorReply;
use super::stats::StatsPage;
use super::{BackendId, FrontendId};
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location};

/// Where clients arrive and what decides about them.
#[derive(Clone, Debug)]
pub struct Frontend {
    pub(in crate::config) id: FrontendId,
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) mode: Mode,
    pub(in crate::config) binds: Vec<Bind>,
    pub(in crate::config) default_backend: Option<BackendId>,
    pub(in crate::config) sni: Vec<SniRoute>,
    pub(in crate::config) inspect_delay: Option<Duration>,
    pub(in crate::config) monitor_uri: Option<String>,
    pub(in crate::config) maxconn: Option<u32>,
    pub(in crate::config) rate_limit: u32,
    pub(in crate::config) timeouts: Timeouts,
    pub(in crate::config) options: Vec<Located<ProxyOption>>,
    pub(in crate::config) probes: Probes,
    pub(in crate::config) compression: Option<Compression>,
    pub(in crate::config) errors: Vec<ErrorReply>,
    pub(in crate::config) logging: Logging,
    pub(in crate::config) stats: Option<StatsPage>,
    pub(in crate::config) unique_id: UniqueId,
    pub(in crate::config) preset: Preset,
    pub(in crate::config) acls: Vec<Acl>,
    pub(in crate::config) rules: Vec<Located<String>>,
    pub(in crate::config) xdp: Option<XdpFrontend>,
    pub(in crate::config) kernel_obstacles: Vec<Diagnostic>,
}

impl Frontend {
    /// Returns the id.
    pub fn id(&self) -> FrontendId {
        self.id
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the frontend is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns what it understands of its traffic.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns where it listens, at least one address.
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// Returns the backend of whatever no rule sends elsewhere.
    pub fn default_backend(&self) -> Option<BackendId> {
        self.default_backend
    }

    /// Returns the backends of TLS clients by the name they ask for, in mode tcp; the default backend is for all others.
    pub fn sni(&self) -> &[SniRoute] {
        &self.sni
    }

    /// Returns how long is waited for what a decision needs to know of a client's first bytes.
    pub fn inspect_delay(&self) -> Option<Duration> {
        self.inspect_delay
    }

    /// Returns the target of requests that only ask whether we are there.
    pub fn monitor_uri(&self) -> Option<&str> {
        self.monitor_uri.as_deref()
    }

    /// Returns the most connections served at a time.
    pub fn maxconn(&self) -> Option<u32> {
        self.maxconn
    }

    /// Returns how many new clients it lets in per second; 0 for any number.
    pub fn rate_limit(&self) -> u32 {
        self.rate_limit
    }

    /// Returns the timeouts.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Returns when the kernel asks silent clients, if it is to ask at all.
    pub fn probes(&self) -> Probes {
        self.probes
    }

    /// Returns the switches that are on.
    pub fn options(&self) -> &[Located<ProxyOption>] {
        &self.options
    }

    /// Returns what it compresses, if anything.
    pub fn compression(&self) -> Option<&Compression> {
        self.compression.as_ref()
    }

    /// Returns its answers in place of its own pages; of two for the same status the later one counts.
    pub fn errors(&self) -> &[ErrorReply] {
        &self.errors
    }

    /// Returns what is written about its traffic, and where it goes.
    pub fn logging(&self) -> &Logging {
        &self.logging
    }

    /// Returns where clients see the statistics.
    pub fn stats(&self) -> Option<&StatsPage> {
        self.stats.as_ref()
    }

    /// Returns the named conditions.
    pub fn acls(&self) -> &[Acl] {
        &self.acls
    }

    /// Returns how exchanges get a name of their own.
    pub fn unique_id(&self) -> &UniqueId {
        &self.unique_id
    }

    /// Returns the rules of its defaults, which hold before its own.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// Returns the rules in order, as written.
    pub fn rules(&self) -> &[Located<String>] {
        &self.rules
    }

    /// Returns how the kernel tier serves this frontend; none leaves it to user space.
    ///
    /// Such a frontend has mode tcp, a default backend, no rules and no wildcard address, and its servers are of its family.
    pub fn xdp(&self) -> Option<&XdpFrontend> {
        self.xdp.as_ref()
    }

    /// Returns what would keep the kernel tier from serving it, if it asked for that; empty where it does.
    pub fn kernel_obstacles(&self) -> &[Diagnostic] {
        &self.kernel_obstacles
    }
}

/// The backend of the clients that ask for a name.
#[derive(Clone, Debug)]
pub struct SniRoute {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) backend: BackendId,
}

impl SniRoute {
    /// Returns the name in lower case; one that begins with `*.` is for every name below it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the backend.
    pub fn backend(&self) -> BackendId {
        self.backend
    }
}

/// Slots of a hash ring unless a frontend says otherwise.
pub const DEFAULT_RING: u32 = 65_537;

/// How the kernel tier serves a frontend.
#[derive(Clone, Debug)]
pub struct XdpFrontend {
    pub(in crate::config) location: Location,
    /// The default backend, which such a frontend always has.
    pub(in crate::config) backend: BackendId,
    pub(in crate::config) forward: Forward,
    pub(in crate::config) balance: XdpBalance,
    pub(in crate::config) track: bool,
    pub(in crate::config) ring: u32,
    pub(in crate::config) tunnel_port: u16,
    pub(in crate::config) tunnel_mtu: Option<u16>,
    pub(in crate::config) mss: Option<u16>,
    pub(in crate::config) dead_server: DeadServer,
    pub(in crate::config) no_server: NoServer,
}

impl XdpFrontend {
    /// Returns where it was written.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the backend that takes all traffic.
    pub fn backend(&self) -> BackendId {
        self.backend
    }

    /// Returns how packets reach a server.
    pub fn forward(&self) -> Forward {
        self.forward
    }

    /// Returns how a server is chosen: the frontend's own `hash`, else what the backend's balance means in the kernel.
    pub fn balance(&self) -> XdpBalance {
        self.balance
    }

    /// Returns how many slots its hash ring has.
    pub fn ring(&self) -> u32 {
        self.ring
    }

    /// Returns the UDP port at which servers end tunnels of [`Forward::Gue`].
    pub fn tunnel_port(&self) -> u16 {
        self.tunnel_port
    }

    /// Returns the longest packet, tunnel headers included, that fits the way to every server; none: whatever the link takes.
    pub fn tunnel_mtu(&self) -> Option<u16> {
        self.tunnel_mtu
    }

    /// Returns the longest segment that either side may ask the other for; none: what it does ask for.
    pub fn mss(&self) -> Option<u16> {
        self.mss
    }

    /// Returns what becomes of the connections of a server that died.
    pub fn dead_server(&self) -> DeadServer {
        self.dead_server
    }

    /// Returns what clients are told when no server, backups included, can be used.
    pub fn no_server(&self) -> NoServer {
        self.no_server
    }

    /// Tells whether UDP flows are tracked, so that they stay with their server through changes.
    pub fn track(&self) -> bool {
        self.track
    }
}

/// How the kernel tier hands packets to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Full NAT: both addresses and ports are rewritten, replies come back this way.
    Nat,
    /// Direct server return: only the hardware address is rewritten, replies go straight to the client.
    Dsr,
    /// Packets are put whole into another IP header, replies go straight to the client.
    Ipip,
    /// Packets are put whole into UDP, replies go straight to the client.
    Gue,
    /// The destination is rewritten, the client's address stays; replies come back this way because servers send them here.
    Dnat,
}

/// What becomes of the connections of a server that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadServer {
    /// They go on to another server, which resets what it does not know.
    Move,
    /// They are reset at once.
    Reset,
}

/// What becomes of packets that no server can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// They are dropped.
    Drop,
    /// Those of TCP are answered by a reset.
    Reset,
}

/// How the kernel tier chooses a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpBalance {
    /// By the client's address.
    Source,
    /// By both addresses, both ports and the protocol.
    Tuple,
    /// In turn, by weight.
    RoundRobin,
    /// Of two random ones the one with fewer open flows for its weight.
    LeastConn,
}
