//! Servers of the DNS, and how the names of servers become addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::xdp::Prefix;
use crate::config::location::{Located, Location};

/// A section of servers that are asked for names, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolvers {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) nameservers: Vec<Nameserver>,
    pub(in crate::config) payload: u16,
    pub(in crate::config) retries: u32,
    pub(in crate::config) resolve: Duration,
    pub(in crate::config) retry: Duration,
    pub(in crate::config) hold: Hold,
}

/// A server of the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    pub(in crate::config) name: String,
    pub(in crate::config) address: SocketAddr,
    pub(in crate::config) carrier: Carrier,
}

/// What questions are sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// UDP, and TCP where an answer does not fit.
    Udp,
    /// TCP alone.
    Tcp,
}

/// How long the last good answer counts, by what came since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// For rules that resolve a name: how long an answer is not asked for again.
    pub valid: Duration,
    /// There is no such name.
    pub nx: Duration,
    /// The server refuses.
    pub refused: Duration,
    /// Nothing came.
    pub timeout: Duration,
    /// Anything else went wrong.
    pub other: Duration,
    /// How long a record counts that answers have no more.
    pub obsolete: Duration,
}

impl Resolvers {
    /// Begins a section of which nothing is known but its name.
    pub(in crate::config) fn new(name: Located<String>) -> Self {
        let (long, second) = (Duration::from_secs(30), Duration::from_secs(1));
        let hold = Hold { valid: Duration::from_secs(10), nx: long, refused: long, timeout: long, other: long, obsolete: Duration::ZERO };
        Self { name, nameservers: Vec::new(), payload: 512, retries: 3, resolve: second, retry: second, hold }
    }

    /// Returns the name of the section.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the section is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns the servers that are asked, all at once.
    pub fn nameservers(&self) -> &[Nameserver] {
        &self.nameservers
    }

    /// Returns how many bytes an answer may have in a datagram.
    pub fn payload(&self) -> u16 {
        self.payload
    }

    /// Returns how often a question is asked again that brought no answer.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Returns the time from one resolution of a name to the next.
    pub fn resolve(&self) -> Duration {
        self.resolve
    }

    /// Returns how long an answer is waited for.
    pub fn retry(&self) -> Duration {
        self.retry
    }

    /// Returns how long the last good answer counts.
    pub fn hold(&self) -> Hold {
        self.hold
    }
}

impl Nameserver {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what questions are sent over.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }
}

/// How the name of a server becomes an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    pub(in crate::config) resolvers: Option<Located<String>>,
    pub(in crate::config) init: Vec<InitAddress>,
    pub(in crate::config) prefer: Family,
    pub(in crate::config) networks: Vec<Prefix>,
    pub(in crate::config) options: NamingOptions,
}

/// What of an answer a server takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamingOptions {
    /// Whether it may have the address of another server of its backend and name.
    pub allow_duplicates: bool,
    /// Whether it keeps its own weight, whatever a service's record says.
    pub ignore_weight: bool,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where the first address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitAddress {
    /// The state file.
    Last,
    /// The system.
    Libc,
    /// Nowhere: it is in maintenance until an answer brings one.
    None,
    /// This one.
    Ip(IpAddr),
}

impl Naming {
    /// Returns the section that is asked while the daemon runs; none where the name is resolved at the start alone.
    pub fn resolvers(&self) -> Option<&str> {
        self.resolvers.as_ref().map(|name| name.value().as_str())
    }

    /// Returns where the first address comes from, the best place first.
    pub fn init(&self) -> &[InitAddress] {
        &self.init
    }

    /// Returns the family it has an address of, if there is one.
    pub fn prefer(&self) -> Family {
        self.prefer
    }

    /// Returns the networks it has an address of, if there is one.
    pub fn networks(&self) -> &[Prefix] {
        &self.networks
    }

    /// Returns what of an answer it takes.
    pub fn options(&self) -> NamingOptions {
        self.options
    }
}

/// Why a server that has a name has no address, or none that still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// No answer has one for it.
    NoAddress,
    /// There is no such name.
    NoName,
    /// The servers of the DNS refuse to answer.
    Refused,
    /// They do not answer.
    Timeout,
    /// They answer otherwise.
    Failed,
}

impl Lack {
    /// Says it in the words of HAProxy's log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "No IP for server ",
            Self::NoName => "DNS NX status",
            Self::Refused => "DNS refused status",
            Self::Timeout => "DNS timeout status",
            Self::Failed => "unspecified DNS error",
        }
    }
}
