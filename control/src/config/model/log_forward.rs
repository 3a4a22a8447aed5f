//! Log lines of others: where they come in, and where they go.

use std::net::SocketAddr;
use std::time::Duration;

use super::log::Logging;
use crate::config::location::{Located, Location};

/// Log lines of others: where they come in, and where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct LogForward {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) binds: Vec<Located<SocketAddr>>,
    pub(in crate::config) datagrams: Vec<Located<SocketAddr>>,
    pub(in crate::config) logging: Logging,
    pub(in crate::config) maxconn: u32,
    pub(in crate::config) backlog: Option<u16>,
    pub(in crate::config) patience: Option<Duration>,
}

impl LogForward {
    /// Begins a section of which nothing is known but its name.
    pub(in crate::config) fn new(name: Located<String>) -> Self {
        let (binds, datagrams, logging) = (Vec::new(), Vec::new(), Logging::default());
        Self { name, binds, datagrams, logging, maxconn: 10, backlog: None, patience: None }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns where lines come in over connections.
    pub fn binds(&self) -> &[Located<SocketAddr>] {
        &self.binds
    }

    /// Returns where lines come in as datagrams.
    pub fn datagrams(&self) -> &[Located<SocketAddr>] {
        &self.datagrams
    }

    /// Returns where lines go.
    pub fn logging(&self) -> &Logging {
        &self.logging
    }

    /// Returns how many connections there may be at a time.
    pub fn maxconn(&self) -> u32 {
        self.maxconn
    }

    /// Returns how many connections may wait to be accepted, where that is said.
    pub fn backlog(&self) -> Option<u16> {
        self.backlog
    }

    /// Returns how long a connection may be silent; any time where nothing is said.
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }
}
