//! One machine of a backend.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::check::{Agent, Check};
use super::connection::{NamedAddress, SendProxy, ServerAddress, ServerSource};
use super::observe::Tracked;
use super::resolvers::{Lack, Naming};
use super::{BackendId, ServerId, ServerPool, ServerTls};
use crate::config::location::{Located, Location};

/// One machine of a backend.
#[derive(Clone, Debug)]
pub struct Server {
    pub(in crate::config) id: ServerId,
    pub(in crate::config) backend: BackendId,
    pub(in crate::config) number: usize,
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) address: Located<ServerAddress>,
    pub(in crate::config) weight: u16,
    pub(in crate::config) backup: bool,
    pub(in crate::config) disabled: bool,
    pub(in crate::config) minconn: Option<u32>,
    pub(in crate::config) maxconn: Option<u32>,
    pub(in crate::config) maxqueue: Option<u32>,
    pub(in crate::config) slowstart: Option<Duration>,
    pub(in crate::config) ends_own: bool,
    pub(in crate::config) ends_spares: bool,
    pub(in crate::config) check: Option<Check>,
    pub(in crate::config) agent: Option<Agent>,
    pub(in crate::config) track: Option<Located<Tracked>>,
    pub(in crate::config) cookie: Option<String>,
    pub(in crate::config) protocol: Option<Protocol>,
    pub(in crate::config) tls: Option<ServerTls>,
    pub(in crate::config) source: Option<ServerSource>,
    pub(in crate::config) send_proxy: Option<SendProxy>,
    pub(in crate::config) fast_open: bool,
    pub(in crate::config) non_stick: bool,
    pub(in crate::config) patience: Option<Duration>,
    pub(in crate::config) pool: ServerPool,
    pub(in crate::config) naming: Naming,
    pub(in crate::config) origin: Origin,
}

/// Where a server comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File,
    /// A command: it begins in maintenance, and its checks rest until somebody lets them go on.
    Command,
}

/// What is spoken to a server in mode http.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2, without asking first where there is no TLS to ask by.
    H2,
}

impl Server {
    /// Returns the id.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Returns the backend it belongs to.
    pub fn backend(&self) -> BackendId {
        self.backend
    }

    /// Returns its number within its backend, from 1; it stays when others come and go.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the name, unique within its backend.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns where the server is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns the address.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Returns the IP address; none for a Unix socket, and for a name that has none.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.ip()
    }

    /// Returns the port; none keeps the port the client connected to.
    pub fn port(&self) -> Option<u16> {
        self.address.port()
    }

    /// Returns how its name becomes an address, where it has one or is given one.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Returns why its name leads nowhere; none where it does, and for a server without a name.
    pub fn lack(&self) -> Option<Lack> {
        self.address.named().and_then(NamedAddress::lack)
    }

    /// Returns where a client that connected to `client_port` is sent; none for a Unix socket, and for a name that has no address.
    ///
    /// One that is at no address of its own is wherever clients wanted to go, which is not known here.
    pub fn address_for(&self, client_port: u16) -> Option<SocketAddr> {
        self.ip().map(|ip| SocketAddr::new(ip, self.port().unwrap_or(client_port)))
    }

    /// Returns where the address was written.
    pub fn address_location(&self) -> &Location {
        self.address.location()
    }

    /// Returns the weight, 0 to 256; 0 takes no new traffic.
    pub fn weight(&self) -> u16 {
        self.weight
    }

    /// Tells whether it takes traffic only when no other can.
    pub fn backup(&self) -> bool {
        self.backup
    }

    /// Tells whether it starts in maintenance.
    pub fn disabled(&self) -> bool {
        self.disabled
    }

    /// Returns the most connections it takes at a time.
    pub fn maxconn(&self) -> Option<u32> {
        self.maxconn
    }

    /// Returns how many of these it takes while its backend has little to do, always fewer than `maxconn`; none where that is its limit at any time.
    pub fn minconn(&self) -> Option<u32> {
        self.minconn
    }

    /// Returns how many may wait for it alone.
    pub fn maxqueue(&self) -> Option<u32> {
        self.maxqueue
    }

    /// Returns how long it takes to reach its full weight after coming up.
    pub fn slowstart(&self) -> Option<Duration> {
        self.slowstart
    }

    /// Tells whether sessions with it end when it goes down or into maintenance.
    pub fn ends_own(&self) -> bool {
        self.ends_own
    }

    /// Tells whether sessions with the spares of its backend end when it comes up, being none itself.
    pub fn ends_spares(&self) -> bool {
        self.ends_spares
    }

    /// Returns how its health is found out; none means it is always taken to be up.
    pub fn check(&self) -> Option<&Check> {
        self.check.as_ref()
    }

    /// Returns the agent that says how it is.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// Returns the server whose state it has, too; such a server has no check of its own.
    pub fn track(&self) -> Option<&Tracked> {
        self.track.as_ref().map(Located::value)
    }

    /// Returns what is spoken to it in mode http; none leaves it to what TLS agrees on, or else HTTP/1.1.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Returns how TLS is spoken with it; none means not at all.
    pub fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Returns its value in the persistence cookie.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Returns where connections to it come from; none leaves it to the system.
    pub fn source(&self) -> Option<&ServerSource> {
        self.source.as_ref()
    }

    /// Returns the PROXY header that begins each connection to it.
    pub fn send_proxy(&self) -> Option<SendProxy> {
        self.send_proxy
    }

    /// Tells whether its first bytes go with the first packet of a connection, where the kernel knows that it takes them.
    pub fn fast_open(&self) -> bool {
        self.fast_open
    }

    /// Tells whether no table learns that it has served.
    pub fn non_stick(&self) -> bool {
        self.non_stick
    }

    /// Returns how long what was sent to it may go unacknowledged.
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// Returns how long connections to it are kept for further requests.
    pub fn pool(&self) -> ServerPool {
        self.pool
    }
}
