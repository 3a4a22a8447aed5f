//! The one typed model of a configuration, whatever format it was written in.
//!
//! Every name is resolved to an id, every default filled in, every cross check passed: a [`Config`] in hand is a usable one.
//! Fields are private and only [`resolve`](super::resolve) makes a [`Config`]; nothing here reads text.

mod backend;
mod bind;
mod cache;
mod check;
mod compression;
mod connection;
mod cookie;
mod format;
mod frontend;
mod global;
mod hash;
mod log;
mod log_forward;
mod log_profile;
mod mail;
mod observe;
mod otlp;
mod peers;
mod proxy;
mod reply;
mod resolvers;
mod retry;
mod reuse;
mod ring;
mod sequence;
mod server;
mod stats;
mod table;
mod tls;
mod unix;
mod userlist;
mod xdp;

pub use backend::{Backend, Balance, HeaderHash, StateSource, UriHash};
pub use bind::{Bind, BindAddress, Congestion, Inet, PortRange, Quic, Tcp, Transport};
pub use cache::Cache;
pub use check::{Agent, Check, HttpVersion, StatusSet};
pub use compression::{Coding, Compression};
pub use connection::{Guise, NamedAddress, SendProxy, ServerAddress, ServerSource, Target};
pub use cookie::{Cookie, CookieMode};
pub use format::{Converter, Expression, Fetch, Format, Piece};
pub use frontend::{DEFAULT_RING, DeadServer, Forward, Frontend, NoServer, SniRoute, XdpBalance, XdpFrontend};
pub use global::{Capability, Global, H2Limits, HeadLimits, OcspDelays, QuicLimits, Rates, SocketLevel, StartVariable, StatsSocket};
pub(in crate::config) use global::{External, Process};
pub use hash::{HashFunction, HashMethod, HashType};
pub use log::{LineFormat, Logging};
pub use log_forward::LogForward;
pub use log_profile::{LogProfile, LogStep, Occasion, ProfileLine};
pub use mail::{EmailAlert, Mailer, Mailers};
pub use observe::{InitState, Layer, Observe, OnError, Tracked};
pub use otlp::{Otlp, OtlpEndpoint, OtlpSample};
pub use peers::{Peer, PeerAddress, Peers};
pub use proxy::{Acl, ForwardFor, Forwarded, Mode, NamePolicy, Preset, Probes, ProxyOption, Timeout, Timeouts, UniqueId};
pub use reply::{ErrorReply, HttpErrors};
pub use resolvers::{Carrier, Family, Hold, InitAddress, Lack, Nameserver, Naming, NamingOptions, Resolvers};
pub(in crate::config) use retry::RETRIED_STATUSES;
pub use retry::{RetryCause, RetryOn};
pub use reuse::{HttpReuse, ServerPool};
pub use ring::{Framing, Ring, RingServer};
pub use sequence::{
    Action, Bad, Connect, Expect, Good, HeaderPattern, Late, Pattern, Payload, Place, Port, Program, Request, Script, Sequence, Step,
    TextMatch,
};
pub(crate) use sequence::{DNS_CHECK_ID, QUIC_CHECK_NAMES};
pub use server::{Origin, Protocol, Server};
pub use stats::StatsPage;
pub use table::{ServerKey, Stored, StoredKind, Table, TableKey};
pub use tls::{CipherSuite, ClientAuth, Curve, Held, Pardon, ServerAuth, ServerTls, SuiteOrder, Tls, TlsProtocol, TlsVersion, Trust};
pub use unix::{Account, SocketFile, UnixAddress};
pub use userlist::{Password, User, Userlist};
pub use xdp::{AttachMode, CommandSocket, OnStop, Prefix, Xdp};

use std::sync::Arc;

use super::error::Report;
use super::location::Located;
use super::running::Texts;
use super::written;

/// Names a frontend of one [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendId(usize);

/// Names a backend of one [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(usize);

/// Names a server of one [`Config`]: its place among the servers of all backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(usize);

impl FrontendId {
    pub(in crate::config) fn from_index(index: usize) -> Self {
        Self(index)
    }

    /// Returns the place in [`Config::frontends`].
    pub fn index(self) -> usize {
        self.0
    }
}

impl BackendId {
    pub(in crate::config) fn from_index(index: usize) -> Self {
        Self(index)
    }

    /// Returns the place in [`Config::backends`].
    pub fn index(self) -> usize {
        self.0
    }
}

impl ServerId {
    pub(in crate::config) fn from_index(index: usize) -> Self {
        Self(index)
    }

    /// Returns the place in [`Config::servers`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(in crate::config) global: Global,
    pub(in crate::config) xdp: Option<Xdp>,
    pub(in crate::config) frontends: Vec<Frontend>,
    pub(in crate::config) backends: Vec<Backend>,
    /// Invariant: the servers of one backend stand together, in the order of the backends.
    pub(in crate::config) servers: Vec<Server>,
    pub(in crate::config) tables: Vec<Table>,
    pub(in crate::config) peers: Vec<Peers>,
    pub(in crate::config) resolvers: Vec<Resolvers>,
    pub(in crate::config) rings: Vec<Ring>,
    pub(in crate::config) log_profiles: Vec<LogProfile>,
    pub(in crate::config) mailers: Vec<Mailers>,
    pub(in crate::config) log_forwards: Vec<LogForward>,
    pub(in crate::config) http_errors: Vec<HttpErrors>,
    pub(in crate::config) userlists: Vec<Userlist>,
    pub(in crate::config) caches: Vec<Cache>,
    pub(in crate::config) idle: Vec<Located<String>>,
    pub(in crate::config) warnings: Report,
    /// What servers that are added at run time begin from; one per backend.
    pub(in crate::config) ground: Arc<[written::Backend]>,
    /// What it was read from.
    pub(in crate::config) texts: Texts,
    pub(in crate::config) held: Held,
}

impl Config {
    /// Returns what commands have put in the place of files of authorities and of what they have revoked.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Returns whom servers must be trusted by, for traffic and for checks.
    pub fn trusts_of_servers(&self) -> impl Iterator<Item = &Trust> {
        let all = self.servers.iter().flat_map(|server| [server.tls(), server.check().and_then(Check::tls)]);
        all.flatten().filter_map(|tls| tls.verify().trust())
    }

    /// Returns whom clients must be trusted by.
    pub fn trusts_of_binds(&self) -> impl Iterator<Item = &Trust> {
        self.frontends.iter().flat_map(Frontend::binds).filter_map(|bind| bind.tls()?.client().trust())
    }

    /// Returns what concerns the whole process.
    pub fn global(&self) -> &Global {
        &self.global
    }

    /// Returns the settings of the kernel tier; none where the file has no such section.
    pub fn xdp(&self) -> Option<&Xdp> {
        self.xdp.as_ref()
    }

    /// Returns all frontends in the order of the file.
    pub fn frontends(&self) -> &[Frontend] {
        &self.frontends
    }

    /// Returns all backends in the order of the file.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Returns the servers of all backends, in the order of the file; a [`ServerId`] is an index into it.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Returns all stick tables in the order of the file.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Returns the sections of peers, in the order of the file.
    pub fn peers(&self) -> &[Peers] {
        &self.peers
    }

    /// Returns the sections of servers that are asked for names, in the order of the file.
    pub fn resolvers(&self) -> &[Resolvers] {
        &self.resolvers
    }

    /// Returns where log lines of others come in, in the order of the file.
    pub fn log_forwards(&self) -> &[LogForward] {
        &self.log_forwards
    }

    /// Returns the profiles of lines, in the order of the file.
    pub fn log_profiles(&self) -> &[LogProfile] {
        &self.log_profiles
    }

    /// Returns the rings, in the order of the file.
    pub fn rings(&self) -> &[Ring] {
        &self.rings
    }

    /// Returns the sections of servers of mail, in the order of the file.
    pub fn mailers(&self) -> &[Mailers] {
        &self.mailers
    }

    /// Returns the sections of files for statuses, in the order of the file.
    pub fn http_errors(&self) -> &[HttpErrors] {
        &self.http_errors
    }

    /// Returns the lists of users, each of another name.
    pub fn userlists(&self) -> &[Userlist] {
        &self.userlists
    }

    /// Returns where answers are kept, in the order of the file.
    pub fn caches(&self) -> &[Cache] {
        &self.caches
    }

    /// Returns the words that were accepted and mean nothing here.
    pub fn idle(&self) -> &[Located<String>] {
        &self.idle
    }

    /// Returns what is valid but most likely not meant.
    pub fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// Returns one frontend.
    ///
    /// # Panics
    ///
    /// If the id belongs to another, longer configuration.
    pub fn frontend(&self, id: FrontendId) -> &Frontend {
        &self.frontends[id.index()]
    }

    /// Returns one backend.
    ///
    /// # Panics
    ///
    /// If the id belongs to another, longer configuration.
    pub fn backend(&self, id: BackendId) -> &Backend {
        &self.backends[id.index()]
    }

    /// Returns one server.
    ///
    /// # Panics
    ///
    /// If the id belongs to another, longer configuration.
    pub fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.index()]
    }

    /// Returns the servers of one backend in the order of the file.
    ///
    /// # Panics
    ///
    /// If the id belongs to another, longer configuration.
    pub fn servers_of(&self, id: BackendId) -> &[Server] {
        &self.servers[self.backend(id).servers.clone()]
    }

    /// Returns the frontend of a name.
    pub fn frontend_named(&self, name: &str) -> Option<&Frontend> {
        self.frontends.iter().find(|frontend| frontend.name() == name)
    }

    /// Returns the backend of a name.
    pub fn backend_named(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name() == name)
    }

    /// Returns the server of a name in the backend of a name.
    pub fn server_named(&self, backend: &str, server: &str) -> Option<&Server> {
        let backend = self.backend_named(backend)?;
        self.servers_of(backend.id()).iter().find(|candidate| candidate.name() == server)
    }

    /// Returns the stick table of a name.
    pub fn table_named(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name() == name)
    }
}
