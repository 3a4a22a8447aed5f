//! A pool of servers and how one of them is chosen.

use std::ops::Range;

use super::compression::Compression;
use super::cookie::Cookie;
use super::log::Logging;
use super::mail::EmailAlert;
use super::proxy::{Acl, Mode, Preset, Probes, ProxyOption, Timeouts};
use super::reply::ErrorReply;
use super::stats::StatsPage;
use super::{BackendId, HashType, HttpReuse, RetryOn, ServerId};
use crate::config::location::{Located, Location};

/// Where the states are that servers begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateSource {
    /// Nowhere.
    #[default]
    None,
    /// In the file of all backends.
    Global,
    /// In a file of the backend's own.
    Local,
}

/// A pool of servers.
#[derive(Clone, Debug)]
pub struct Backend {
    pub(in crate::config) id: BackendId,
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) is_twin: bool,
    pub(in crate::config) mode: Mode,
    pub(in crate::config) balance: Balance,
    pub(in crate::config) hash_type: HashType,
    pub(in crate::config) hash_balance_factor: Option<u32>,
    pub(in crate::config) fullconn: Option<u32>,
    pub(in crate::config) state_source: StateSource,
    pub(in crate::config) state_name: Option<String>,
    /// Places of the servers in [`Config::servers`](super::Config::servers).
    pub(in crate::config) servers: Range<usize>,
    pub(in crate::config) cookie: Option<Cookie>,
    pub(in crate::config) timeouts: Timeouts,
    pub(in crate::config) retries: u32,
    pub(in crate::config) retry_on: RetryOn,
    pub(in crate::config) http_reuse: Option<HttpReuse>,
    pub(in crate::config) rdp_cookie: Option<String>,
    pub(in crate::config) name_header: Option<String>,
    pub(in crate::config) options: Vec<Located<ProxyOption>>,
    pub(in crate::config) probes: Probes,
    pub(in crate::config) compression: Option<Compression>,
    pub(in crate::config) errors: Vec<ErrorReply>,
    pub(in crate::config) logging: Logging,
    pub(in crate::config) alert: Option<EmailAlert>,
    pub(in crate::config) stats: Option<StatsPage>,
    pub(in crate::config) preset: Preset,
    pub(in crate::config) acls: Vec<Acl>,
    pub(in crate::config) rules: Vec<Located<String>>,
}

impl Backend {
    /// Returns where the states are that its servers begin with.
    pub fn state_source(&self) -> StateSource {
        self.state_source
    }

    /// Returns the file of these states, where it is the backend's own and not called by its name.
    pub fn state_name(&self) -> Option<&str> {
        self.state_name.as_deref()
    }

    /// Returns the id.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the backend is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Tells whether it is the other half of the frontend of its name: their rules are the same, and hold once.
    pub fn is_twin(&self) -> bool {
        self.is_twin
    }

    /// Returns what it understands of its traffic.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns how a server is chosen.
    pub fn balance(&self) -> &Balance {
        &self.balance
    }

    /// Returns how a hash finds a server.
    pub fn hash_type(&self) -> HashType {
        self.hash_type
    }

    /// Returns how many percent of the average load a server chosen by a hash or at random may carry; none for no bound.
    pub fn hash_balance_factor(&self) -> Option<u32> {
        self.hash_balance_factor
    }

    /// Returns at how many connections each server takes its `maxconn`; there is one wherever a server has a `minconn`.
    pub fn fullconn(&self) -> Option<u32> {
        self.fullconn
    }

    /// Returns the ids of the servers; [`Config::servers_of`](super::Config::servers_of) returns the servers themselves.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = ServerId> + use<> {
        self.servers.clone().map(ServerId::from_index)
    }

    /// Returns what is told of its servers by mail.
    pub fn alert(&self) -> Option<&EmailAlert> {
        self.alert.as_ref()
    }

    /// Returns the persistence cookie.
    pub fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// Returns the timeouts.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Returns how often a failed connection to a server is tried again.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Returns what makes a failed request go to a server again.
    pub fn retry_on(&self) -> RetryOn {
        self.retry_on
    }

    /// Returns which requests may go over a connection that served another client's; none leaves that to the program.
    pub fn http_reuse(&self) -> Option<HttpReuse> {
        self.http_reuse
    }

    /// Returns the name of the cookie by which clients of RDP come back to their servers.
    pub fn rdp_cookie(&self) -> Option<&str> {
        self.rdp_cookie.as_deref()
    }

    /// Returns the header field that tells a server its name.
    pub fn name_header(&self) -> Option<&str> {
        self.name_header.as_deref()
    }

    /// Returns when the kernel asks silent servers, if it is to ask at all.
    pub fn probes(&self) -> Probes {
        self.probes
    }

    /// Returns the switches that are on.
    pub fn options(&self) -> &[Located<ProxyOption>] {
        &self.options
    }

    /// Returns what it compresses, if anything.
    pub fn compression(&self) -> Option<&Compression> {
        self.compression.as_ref()
    }

    /// Returns its answers in place of its own pages; of two for the same status the later one counts.
    pub fn errors(&self) -> &[ErrorReply] {
        &self.errors
    }

    /// Returns where lines about its servers go.
    pub fn logging(&self) -> &Logging {
        &self.logging
    }

    /// Returns where clients see the statistics.
    pub fn stats(&self) -> Option<&StatsPage> {
        self.stats.as_ref()
    }

    /// Returns the named conditions.
    pub fn acls(&self) -> &[Acl] {
        &self.acls
    }

    /// Returns the rules of its defaults, which hold before its own.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// Returns the rules in order, as written.
    pub fn rules(&self) -> &[Located<String>] {
        &self.rules
    }
}

/// How a server is chosen for a connection or request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn by weight, spread smoothly.
    RoundRobin,
    /// In turn by weight, unable to follow changes of weight.
    StaticRoundRobin,
    /// The server with the fewest connections for its weight.
    LeastConn,
    /// The first server with a free slot.
    First,
    /// By a hash of the client's address.
    Source,
    /// By a hash of the request's path.
    Uri(UriHash),
    /// By the value of a query parameter.
    UrlParam(String),
    /// By the value of a request header.
    Header(HeaderHash),
    /// The best of so many servers drawn at random.
    Random(u32),
    /// By a cookie of the remote desktop protocol.
    RdpCookie(String),
    /// By the value of a sample expression, as written.
    Hash(String),
}

impl Balance {
    /// Returns the name of the algorithm, without its argument.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::StaticRoundRobin => "static-rr",
            Self::LeastConn => "leastconn",
            Self::First => "first",
            Self::Source => "source",
            Self::Uri(_) => "uri",
            Self::UrlParam(_) => "url_param",
            Self::Header(_) => "hdr",
            Self::Random(_) => "random",
            Self::RdpCookie(_) => "rdp-cookie",
            Self::Hash(_) => "hash",
        }
    }
}

/// Which header field is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderHash {
    pub(in crate::config) name: String,
    pub(in crate::config) domain_only: bool,
}

impl HeaderHash {
    /// Returns the name of the field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether the main part of a domain name stands for the whole of it.
    pub fn domain_only(&self) -> bool {
        self.domain_only
    }
}

/// Which part of the request's path is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UriHash {
    pub(in crate::config) whole: bool,
    pub(in crate::config) path_only: bool,
    pub(in crate::config) length: Option<u32>,
    pub(in crate::config) depth: Option<u32>,
}

impl UriHash {
    /// Tells whether the query string is hashed too.
    pub fn whole(&self) -> bool {
        self.whole
    }

    /// Tells whether scheme and authority are left out even where the request names them.
    pub fn path_only(&self) -> bool {
        self.path_only
    }

    /// Returns how many bytes are hashed at most.
    pub fn length(&self) -> Option<u32> {
        self.length
    }

    /// Returns how many directories are hashed at most.
    pub fn depth(&self) -> Option<u32> {
        self.depth
    }
}
