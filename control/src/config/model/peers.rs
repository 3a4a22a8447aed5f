//! Peers: the processes that share the entries of stick tables.

use std::fmt;
use std::net::SocketAddr;

use super::bind::Bind;
use super::connection::{SendProxy, ServerSource};
use super::log::Logging;
use super::tls::ServerTls;
use super::unix::UnixAddress;
use crate::config::location::{Located, Location};

/// Processes that share the entries of stick tables with each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Peers {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) members: Vec<Peer>,
    pub(in crate::config) binds: Vec<Bind>,
    pub(in crate::config) disabled: bool,
    pub(in crate::config) shards: u32,
    pub(in crate::config) logging: Logging,
}

impl Peers {
    /// Returns the name of the section.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the section is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns all of them, this process included, in the order of the file.
    pub fn members(&self) -> &[Peer] {
        &self.members
    }

    /// Returns the peer of a name.
    pub fn member(&self, name: &str) -> Option<&Peer> {
        self.members.iter().find(|peer| peer.name() == name)
    }

    /// Returns where the process of that name listens: its address, and whatever is bound beside it.
    pub fn binds(&self, local: &str) -> impl Iterator<Item = &Bind> {
        self.member(local).and_then(|peer| peer.bind.as_ref()).into_iter().chain(&self.binds)
    }

    /// Returns into how many parts the keys of tables are dealt out; 0 for none.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// Returns where lines about its peers go.
    pub fn logging(&self) -> &Logging {
        &self.logging
    }

    /// Tells whether nothing is shared for now.
    pub fn disabled(&self) -> bool {
        self.disabled
    }
}

/// One process of several that share entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) address: Option<Located<PeerAddress>>,
    /// How the process of this name listens on its address.
    pub(in crate::config) bind: Option<Bind>,
    pub(in crate::config) tls: Option<ServerTls>,
    pub(in crate::config) source: Option<ServerSource>,
    pub(in crate::config) send_proxy: Option<SendProxy>,
    /// Which part of the keys it is told of, from 1; 0 for all.
    pub(in crate::config) shard: u32,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// An IP address and its port.
    Inet(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixAddress),
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

impl Peer {
    /// Returns the name, which peers tell each other.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns where others connect to; none for one that this process can only be itself.
    pub fn address(&self) -> Option<&PeerAddress> {
        self.address.as_deref()
    }

    /// Returns the PROXY header that connections to it begin with.
    pub fn send_proxy(&self) -> Option<SendProxy> {
        self.send_proxy
    }

    /// Returns how TLS is spoken with it; none means not at all.
    pub fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Returns where connections to it come from; none leaves it to the system.
    pub fn source(&self) -> Option<&ServerSource> {
        self.source.as_ref()
    }

    /// Returns which part of the keys it is told of, from 1; 0 for all.
    pub fn shard(&self) -> u32 {
        self.shard
    }
}
