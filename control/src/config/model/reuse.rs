//! Which requests may go over connections to servers that served others, and how many such connections wait for one.

use std::time::Duration;

/// Which requests may go over a connection that served another client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpReuse {
    /// None.
    Never,
    /// All but the first of each client.
    Safe,
    /// The first of a client, too, over one that has served more than once.
    Aggressive,
    /// All.
    Always,
}

/// How long connections to one server are kept for further requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerPool {
    pub(in crate::config) most_idle: Option<u32>,
    pub(in crate::config) purge_delay: Duration,
    pub(in crate::config) most_reuses: Option<u32>,
}

impl ServerPool {
    /// Returns how many wait for a request at most; none does not limit them.
    pub fn most_idle(&self) -> Option<u32> {
        self.most_idle
    }

    /// Returns how often half of those that are not needed are closed; where it is zero, none waits.
    pub fn purge_delay(&self) -> Duration {
        self.purge_delay
    }

    /// Returns how often one serves again; none does not limit that.
    pub fn most_reuses(&self) -> Option<u32> {
        self.most_reuses
    }
}
