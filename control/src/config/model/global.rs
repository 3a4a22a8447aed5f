//! What concerns the whole process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::location::Located;

/// Settings of the process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    pub(in crate::config) maxconn: Option<u32>,
    pub(in crate::config) threads: Option<u16>,
    pub(in crate::config) log: Vec<Located<String>>,
    pub(in crate::config) stats_sockets: Vec<Located<StatsSocket>>,
    pub(in crate::config) metrics: Option<Located<SocketAddr>>,
    pub(in crate::config) spread_checks: u8,
}

impl Global {
    /// Returns the most connections the process serves at a time; none where the file sets no limit.
    pub fn maxconn(&self) -> Option<u32> {
        self.maxconn
    }

    /// Returns the number of threads; none leaves it to the daemon.
    pub fn threads(&self) -> Option<u16> {
        self.threads
    }

    /// Returns where log lines go, as written.
    pub fn log(&self) -> &[Located<String>] {
        &self.log
    }

    /// Returns the sockets of the runtime interface.
    pub fn stats_sockets(&self) -> &[Located<StatsSocket>] {
        &self.stats_sockets
    }

    /// Returns where l7d answers Prometheus.
    pub fn metrics(&self) -> Option<&Located<SocketAddr>> {
        self.metrics.as_ref()
    }

    /// Returns by how many percent a check's interval may vary, 0 to 50.
    pub fn spread_checks(&self) -> u8 {
        self.spread_checks
    }
}

/// A socket on which the runtime interface listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSocket {
    pub(in crate::config) path: PathBuf,
    pub(in crate::config) mode: Option<u32>,
    pub(in crate::config) level: SocketLevel,
}

impl StatsSocket {
    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the permission bits; none leaves them to the umask.
    pub fn mode(&self) -> Option<u32> {
        self.mode
    }

    /// Returns what a client of the socket may do.
    pub fn level(&self) -> SocketLevel {
        self.level
    }
}

/// What a client of the runtime interface may do; a greater level includes the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketLevel {
    /// Read what is not sensitive.
    User,
    /// Read everything, clear counters.
    Operator,
    /// Change everything.
    Admin,
}
