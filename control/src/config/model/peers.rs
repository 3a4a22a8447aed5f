//! Peers: the processes that share the entries of stick tables.

use std::net::SocketAddr;

use super::bind::Bind;
use super::connection::ServerSource;
use super::log::Logging;
use super::tls::ServerTls;
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
    pub(in crate::config) address: Option<Located<SocketAddr>>,
    /// How the process of this name listens on its address.
    pub(in crate::config) bind: Option<Bind>,
    pub(in crate::config) tls: Option<ServerTls>,
    pub(in crate::config) source: Option<ServerSource>,
    /// Which part of the keys it is told of, from 1; 0 for all.
    pub(in crate::config) shard: u32,
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
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.as_deref().copied()
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
