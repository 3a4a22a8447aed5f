//! Rings: log lines kept in memory, and the servers they are sent on to.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::location::{Located, Location};

/// Log lines kept in memory, and the servers they are sent on to.
#[derive(Clone, Debug, PartialEq)]
pub struct Ring {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) description: Option<String>,
    pub(in crate::config) format: Option<Located<String>>,
    pub(in crate::config) longest: usize,
    pub(in crate::config) size: usize,
    pub(in crate::config) connect: Duration,
    pub(in crate::config) write: Duration,
    pub(in crate::config) servers: Vec<RingServer>,
}

/// A server of syslog that gets the lines of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingServer {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) address: SocketAddr,
    pub(in crate::config) framing: Framing,
}

/// How a stream tells where a line ends, in the words of RFC 6587.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length before it: octet counting.
    Counted,
    /// By the end of a line behind it: non-transparent framing.
    Lines,
}

impl Ring {
    /// Begins a ring of which nothing is known but its name.
    pub(in crate::config) fn new(name: Located<String>) -> Self {
        let (connect, write) = (Duration::from_secs(5), Duration::from_secs(10));
        Self { name, description: None, format: None, longest: 1024, size: 16_384, connect, write, servers: Vec::new() }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns what it is for, as people say it; its name if nobody has said anything.
    pub fn description(&self) -> &str {
        self.description.as_deref().unwrap_or(&self.name)
    }

    /// Returns what stands before a line, as written.
    pub fn format(&self) -> Option<&Located<String>> {
        self.format.as_ref()
    }

    /// Returns how many bytes of a line are kept.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Returns how many bytes of lines are kept.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns how long a server may take to accept a connection.
    pub fn connect(&self) -> Duration {
        self.connect
    }

    /// Returns how long a server may take to accept lines.
    pub fn write(&self) -> Duration {
        self.write
    }

    /// Returns the servers that get the lines, each all of them.
    pub fn servers(&self) -> &[RingServer] {
        &self.servers
    }
}

impl RingServer {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how it is told where lines end.
    pub fn framing(&self) -> Framing {
        self.framing
    }
}

impl Framing {
    /// Both, by the words that name them.
    pub(in crate::config) const NAMES: [(&str, Self); 2] = [("legacy", Self::Lines), ("octet-count", Self::Counted)];
}
