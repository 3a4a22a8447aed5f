//! Mails about servers: who takes them, and what a backend has told by them.

use std::time::Duration;

use super::ServerAddress;
use crate::config::location::{Located, Location};

/// Servers of mail, each of which gets every mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Mailers {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) timeout: Duration,
    pub(in crate::config) list: Vec<Mailer>,
}

/// A server of mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Mailer {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) host: String,
    pub(in crate::config) port: u16,
}

/// What a backend has told by mail.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailAlert {
    pub(in crate::config) mailers: Mailers,
    pub(in crate::config) from: String,
    pub(in crate::config) to: String,
    pub(in crate::config) host: Option<String>,
    pub(in crate::config) level: u8,
}

impl Mailers {
    /// Begins a section of which nothing is known but its name.
    pub(in crate::config) fn new(name: Located<String>) -> Self {
        Self { name, timeout: Duration::from_secs(10), list: Vec::new() }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns how long a mail may take from the first packet to the last word of its server.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the servers.
    pub fn list(&self) -> &[Mailer] {
        &self.list
    }
}

impl Mailer {
    /// Makes one of an address that has a host and a port.
    pub(in crate::config) fn new(name: Located<String>, address: &ServerAddress) -> Option<Self> {
        let (host, port) = match address {
            ServerAddress::Inet(ip, port) => (ip.to_string(), *port),
            ServerAddress::Named(named) => (named.host()?.to_owned(), named.port()),
            ServerAddress::Unix(_) => return None,
        };
        Some(Self { name, host, port: port? })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its IP address, or a name that the system is asked for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl EmailAlert {
    /// Returns who takes the mails.
    pub fn mailers(&self) -> &Mailers {
        &self.mailers
    }

    /// Returns whom they are from, in the envelope and in their head.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Returns whom they are to, in the envelope and in their head.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Returns the name by which servers are greeted; none for the host's own.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the last level of which mails are sent, as syslog counts them.
    pub fn level(&self) -> u8 {
        self.level
    }
}
