//! Peers: the processes that share the entries of stick tables.

use std::net::SocketAddr;

use super::bind::Bind;
use super::tls::ServerTls;
use crate::config::location::{Located, Location};

/// Processes that share the entries of stick tables with each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Peers {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) members: Vec<Peer>,
    pub(in crate::config) binds: Vec<Bind>,
    pub(in crate::config) disabled: bool,
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
}
