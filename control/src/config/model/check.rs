//! How the health of one server is found out.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{SendProxy, ServerSource, Target};
use super::observe::{InitState, Observe};
use super::sequence::Sequence;
use super::server::Protocol;
use super::tls::ServerTls;

/// How the health of one server is found out: the backend's check with the server's own settings applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub(in crate::config) sequence: Arc<Sequence>,
    pub(in crate::config) target: Target,
    pub(in crate::config) source: Option<ServerSource>,
    pub(in crate::config) send_proxy: Option<SendProxy>,
    pub(in crate::config) tls: Option<ServerTls>,
    pub(in crate::config) secure: bool,
    pub(in crate::config) version: Option<Protocol>,
    pub(in crate::config) sni: Option<String>,
    pub(in crate::config) interval: Duration,
    pub(in crate::config) fast_interval: Duration,
    pub(in crate::config) down_interval: Duration,
    pub(in crate::config) connect_timeout: Duration,
    pub(in crate::config) timeout: Duration,
    pub(in crate::config) rise: u32,
    pub(in crate::config) fall: u32,
    pub(in crate::config) init_state: InitState,
    pub(in crate::config) observe: Option<Observe>,
}

impl Check {
    /// Returns what is done, step by step.
    pub fn sequence(&self) -> &Arc<Sequence> {
        &self.sequence
    }

    /// Returns the address that is probed.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns where probes come from; none leaves it to the system.
    pub fn source(&self) -> Option<&ServerSource> {
        self.source.as_ref()
    }

    /// Returns the PROXY header that begins each probe, in which we speak for ourselves.
    pub fn send_proxy(&self) -> Option<SendProxy> {
        self.send_proxy
    }

    /// Returns the version of HTTP that is spoken; none leaves it to what TLS agrees on, or else HTTP/1.
    pub fn version(&self) -> Option<Protocol> {
        self.version
    }

    /// Tells whether TLS is spoken where no step says so.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns how TLS is spoken in probes; none means not at all.
    pub fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Returns the host that probes of TLS ask for; none means that they ask for none.
    pub fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// Returns the time between two probes of a server that is up for good.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns the time between two probes while the server is between up and down.
    pub fn fast_interval(&self) -> Duration {
        self.fast_interval
    }

    /// Returns the time between two probes of a server that is down for good.
    pub fn down_interval(&self) -> Duration {
        self.down_interval
    }

    /// Returns how long connecting may take; not longer than [`timeout`](Self::timeout).
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Returns how long the whole probe may take, connecting included.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns how many good probes in a row bring a server up, at least 1.
    pub fn rise(&self) -> u32 {
        self.rise
    }

    /// Returns how many bad probes in a row take a server down, at least 1.
    pub fn fall(&self) -> u32 {
        self.fall
    }

    /// Returns how the server's health is at the start and after maintenance.
    pub fn init_state(&self) -> InitState {
        self.init_state
    }

    /// Returns how traffic tells of the server's health, too.
    pub fn observe(&self) -> Option<Observe> {
        self.observe
    }
}

/// An agent on a server that says how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub(in crate::config) check: Check,
    pub(in crate::config) question: Vec<u8>,
}

impl Agent {
    /// Returns where it is and how often it is asked; its sequence has nothing but a connection.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// Returns what is sent to it first.
    pub fn question(&self) -> &[u8] {
        &self.question
    }
}

/// A version of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, the default.
    Http11,
}

/// A set of status codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    pub(in crate::config) ranges: Vec<RangeInclusive<u16>>,
}

impl StatusSet {
    /// Tells whether a status code belongs to the set.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&status))
    }

    /// Returns the set as ranges, in the order they were written.
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.ranges
    }
}
