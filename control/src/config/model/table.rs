//! Stick tables: what is remembered about clients.

use std::time::Duration;

use crate::config::location::{Located, Location};

/// A table of what is remembered about clients.
#[derive(Clone, Debug)]
pub struct Table {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) key: TableKey,
    pub(in crate::config) size: u64,
    pub(in crate::config) expire: Option<Duration>,
    pub(in crate::config) nopurge: bool,
    pub(in crate::config) store: Vec<Located<Stored>>,
    pub(in crate::config) peers: Option<Located<String>>,
    pub(in crate::config) shared_as: Option<String>,
    pub(in crate::config) srvkey: ServerKey,
    pub(in crate::config) write_to: Option<Located<String>>,
    pub(in crate::config) recv_only: bool,
    pub(in crate::config) sum_conn_cur: bool,
}

impl Table {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the table is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns what its entries are found by.
    pub fn key(&self) -> TableKey {
        self.key
    }

    /// Returns the most entries it holds, at least 1.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how long an entry lives unused; none keeps it.
    pub fn expire(&self) -> Option<Duration> {
        self.expire
    }

    /// Tells whether a full table refuses new entries instead of dropping the oldest.
    pub fn nopurge(&self) -> bool {
        self.nopurge
    }

    /// Returns what each entry holds, each kind at most once.
    pub fn store(&self) -> &[Located<Stored>] {
        &self.store
    }

    /// Returns the name of the section of the peers it is shared with.
    pub fn peers(&self) -> Option<&str> {
        self.peers.as_ref().map(|name| name.as_str())
    }

    /// Returns what tells servers apart.
    pub fn srvkey(&self) -> ServerKey {
        self.srvkey
    }

    /// Returns the name of the table that also learns what peers say of servers and tags.
    pub fn write_to(&self) -> Option<&str> {
        self.write_to.as_ref().map(|name| name.as_str())
    }

    /// Tells whether it learns from peers and tells them nothing.
    pub fn recv_only(&self) -> bool {
        self.recv_only
    }

    /// Tells whether `conn_cur` is the sum of what all living peers have open.
    pub fn sum_conn_cur(&self) -> bool {
        self.sum_conn_cur
    }

    /// Returns what peers call it.
    pub fn shared_as(&self) -> &str {
        self.shared_as.as_deref().unwrap_or(&self.name)
    }
}

/// What tells the servers that entries are tied to apart, beside their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerKey {
    /// Their names.
    #[default]
    Name,
    /// Their addresses.
    Address,
}

/// What the entries of a table are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKey {
    /// An IPv4 address.
    Ip,
    /// An IPv6 address, or an IPv4 address mapped into one.
    Ipv6,
    /// A 32-bit number.
    Integer,
    /// A string of so many bytes at most.
    String(u32),
    /// So many bytes.
    Binary(u32),
}

/// One thing an entry of a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub(in crate::config) kind: StoredKind,
    pub(in crate::config) count: u8,
    pub(in crate::config) period: Option<Duration>,
}

impl Stored {
    /// Returns what is held.
    pub fn kind(self) -> StoredKind {
        self.kind
    }

    /// Returns how many of it; 1 for all but the arrays `gpc`, `gpc_rate` and `gpt`.
    pub fn count(self) -> u8 {
        self.count
    }

    /// Returns the period of a rate; none for what is no rate.
    pub fn period(self) -> Option<Duration> {
        self.period
    }
}

/// What an entry of a table can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredKind {
    /// The server the client was sent to.
    ServerId,
    /// The name or address of that server.
    ServerKey,
    /// Connections so far.
    ConnCnt,
    /// Connections now open.
    ConnCur,
    /// Connections per period.
    ConnRate,
    /// Sessions so far.
    SessCnt,
    /// Sessions per period.
    SessRate,
    /// Requests so far.
    HttpReqCnt,
    /// Requests per period.
    HttpReqRate,
    /// Requests that were the client's mistake, so far.
    HttpErrCnt,
    /// Requests that were the client's mistake, per period.
    HttpErrRate,
    /// Requests the server failed, so far.
    HttpFailCnt,
    /// Requests the server failed, per period.
    HttpFailRate,
    /// Bytes from the client so far.
    BytesInCnt,
    /// Bytes from the client per period.
    BytesInRate,
    /// Bytes to the client so far.
    BytesOutCnt,
    /// Bytes to the client per period.
    BytesOutRate,
    /// Counters the rules use as they like.
    Gpc,
    /// How fast those counters grow.
    GpcRate,
    /// The first counter the rules use as they like.
    Gpc0,
    /// How fast the first counter grows.
    Gpc0Rate,
    /// The second counter the rules use as they like.
    Gpc1,
    /// How fast the second counter grows.
    Gpc1Rate,
    /// Tags the rules use as they like.
    Gpt,
    /// The first tag the rules use as they like.
    Gpt0,
    /// Protocol oddities so far.
    GlitchCnt,
    /// Protocol oddities per period.
    GlitchRate,
}

impl StoredKind {
    /// Every kind.
    pub const ALL: [Self; 27] = [
        Self::ServerId,
        Self::ServerKey,
        Self::ConnCnt,
        Self::ConnCur,
        Self::ConnRate,
        Self::SessCnt,
        Self::SessRate,
        Self::HttpReqCnt,
        Self::HttpReqRate,
        Self::HttpErrCnt,
        Self::HttpErrRate,
        Self::HttpFailCnt,
        Self::HttpFailRate,
        Self::BytesInCnt,
        Self::BytesInRate,
        Self::BytesOutCnt,
        Self::BytesOutRate,
        Self::Gpc,
        Self::GpcRate,
        Self::Gpc0,
        Self::Gpc0Rate,
        Self::Gpc1,
        Self::Gpc1Rate,
        Self::Gpt,
        Self::Gpt0,
        Self::GlitchCnt,
        Self::GlitchRate,
    ];

    /// Returns the name used in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerId => "server_id",
            Self::ServerKey => "server_key",
            Self::ConnCnt => "conn_cnt",
            Self::ConnCur => "conn_cur",
            Self::ConnRate => "conn_rate",
            Self::SessCnt => "sess_cnt",
            Self::SessRate => "sess_rate",
            Self::HttpReqCnt => "http_req_cnt",
            Self::HttpReqRate => "http_req_rate",
            Self::HttpErrCnt => "http_err_cnt",
            Self::HttpErrRate => "http_err_rate",
            Self::HttpFailCnt => "http_fail_cnt",
            Self::HttpFailRate => "http_fail_rate",
            Self::BytesInCnt => "bytes_in_cnt",
            Self::BytesInRate => "bytes_in_rate",
            Self::BytesOutCnt => "bytes_out_cnt",
            Self::BytesOutRate => "bytes_out_rate",
            Self::Gpc => "gpc",
            Self::GpcRate => "gpc_rate",
            Self::Gpc0 => "gpc0",
            Self::Gpc0Rate => "gpc0_rate",
            Self::Gpc1 => "gpc1",
            Self::Gpc1Rate => "gpc1_rate",
            Self::Gpt => "gpt",
            Self::Gpt0 => "gpt0",
            Self::GlitchCnt => "glitch_cnt",
            Self::GlitchRate => "glitch_rate",
        }
    }

    /// Tells whether it counts within a period.
    pub fn is_rate(self) -> bool {
        self.name().ends_with("_rate")
    }

    /// Tells whether it is an array of a given length.
    pub fn is_array(self) -> bool {
        matches!(self, Self::Gpc | Self::GpcRate | Self::Gpt)
    }
}
