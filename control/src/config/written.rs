//! A configuration as it was written: what a parser hands to [`resolve`](super::resolve), whatever the format.
//!
//! Values are typed already and keep their positions; names are still text, nothing is filled in, nothing compared with anything else.
//! A required value that is missing here was reported by the parser.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::Diagnostic;
use super::location::{Located, Location};
use super::model::{
    Acl, AttachMode, Balance, Bind, Cache, CipherSuite, Coding, CommandSocket, Cookie, Curve, DeadServer, ErrorReply, Family, Forward,
    HashType, HttpErrors, HttpReuse, InitAddress, InitState, Layer, LogForward, LogProfile, LogStep, Mailers, Mode, NamingOptions,
    NoServer, OnError, OnStop, Password, PortRange, Prefix, Preset, Probes, Protocol, Rates, Request, Resolvers, RetryOn, Ring, SendProxy,
    Sequence, ServerAddress, ServerKey, ServerSource, StateSource, StatsPage, StatsSocket, Step, Stored, TableKey, Timeout, TlsVersion,
    Tracked, UniqueId, XdpBalance,
};
use super::value::option::Switch;
use super::value::word::Ask;

/// What became of a text.
pub(super) struct Outcome {
    pub(super) written: Written,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Whether the text has the form of its language at all; if not, parts of `written` may be missing for no fault of their own.
    pub(super) well_formed: bool,
}

/// All sections of a configuration.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) global: Global,
    pub(super) xdp: Option<Xdp>,
    /// Those that proxies begin from, and any others there are.
    pub(super) defaults: Vec<Arc<Defaults>>,
    pub(super) frontends: Vec<Frontend>,
    pub(super) backends: Vec<Backend>,
    pub(super) tables: Vec<Table>,
    pub(super) peers: Vec<Peers>,
    pub(super) resolvers: Vec<Resolvers>,
    pub(super) rings: Vec<Ring>,
    pub(super) log_profiles: Vec<LogProfile>,
    pub(super) mailers: Vec<Mailers>,
    pub(super) log_forwards: Vec<LogForward>,
    pub(super) http_errors: Vec<HttpErrors>,
    pub(super) userlists: Vec<Userlist>,
    pub(super) caches: Vec<Cache>,
    /// Words that are accepted and mean nothing here.
    pub(super) idle: Vec<Located<String>>,
    /// The lines of files in HAProxy's language, in order.
    pub(super) lines: Vec<Line>,
}

/// A line of a file in HAProxy's language.
#[derive(Debug)]
pub(super) struct Line {
    /// Where its keyword stands.
    pub(super) location: Location,
    pub(super) state: LineState,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineState {
    Read,
    /// It was put together: of variables, or of lines that go on.
    Composed,
    /// The condition before it does not hold.
    Skipped,
    /// It is such a condition.
    Condition,
}

/// Settings of the process.
#[derive(Debug, Default)]
pub(super) struct Global {
    pub(super) maxconn: Option<u32>,
    pub(super) rates: Rates,
    pub(super) h2: super::model::H2Limits,
    pub(super) quic: super::model::QuicLimits,
    pub(super) cluster_secret: Option<String>,
    pub(super) ocsp: super::model::OcspDelays,
    pub(super) heads: super::model::HeadLimits,
    pub(super) threads: Option<u16>,
    pub(super) log: Vec<Located<String>>,
    pub(super) log_tag: Option<Located<String>>,
    /// Whether headers of lines name this host, and which name that is if not its own.
    pub(super) log_host: Option<Option<String>>,
    pub(super) stats_sockets: Vec<Located<StatsSocket>>,
    pub(super) stats_timeout: Option<Duration>,
    pub(super) stats_maxconn: Option<u32>,
    pub(super) metrics: Option<Located<SocketAddr>>,
    pub(super) spread_checks: Option<u8>,
    pub(super) max_spread_checks: Option<Duration>,
    pub(super) localpeer: Option<Located<String>>,
    pub(super) tables_file: Option<PathBuf>,
    pub(super) variables: Vec<super::model::StartVariable>,
    pub(super) otlp: super::model::Otlp,
    pub(super) process: super::model::Process,
}

/// Settings of the kernel tier.
#[derive(Debug)]
pub(super) struct Xdp {
    pub(super) location: Location,
    pub(super) interfaces: Vec<Located<String>>,
    pub(super) source_addresses: Vec<Located<IpAddr>>,
    pub(super) source_ports: Option<Located<PortRange>>,
    pub(super) mode: Option<AttachMode>,
    pub(super) flows: Option<u32>,
    pub(super) rings: Option<u32>,
    pub(super) hash_key: Option<[u8; 16]>,
    pub(super) pin: Option<Located<PathBuf>>,
    pub(super) on_stop: Option<OnStop>,
    pub(super) metrics: Option<Located<SocketAddr>>,
    pub(super) deny: Vec<Located<Prefix>>,
    pub(super) allow: Vec<Located<Prefix>>,
    pub(super) source_connections: Option<u32>,
    pub(super) source_packets: Option<u32>,
    pub(super) packet_log: Option<u32>,
    pub(super) syn_cookies: Option<u32>,
    pub(super) stats_socket: Option<CommandSocket>,
}

/// What frontends, backends and their defaults have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxy {
    /// Whether it serves nobody.
    pub(super) disabled: Option<bool>,
    pub(super) mode: Option<Located<Mode>>,
    pub(super) timeouts: Vec<Located<(Timeout, Duration)>>,
    pub(super) options: Vec<Located<Switch>>,
    pub(super) client_probes: Probes,
    pub(super) server_probes: Probes,
    pub(super) compression: Option<Compression>,
    pub(super) errors: Vec<ErrorReply>,
    pub(super) log: Logging,
    pub(super) stats: Option<StatsPage>,
    pub(super) alert: Alert,
    pub(super) unique_id: UniqueId,
}

/// What a proxy has told by mail; what is not set is taken from the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Alert {
    pub(super) mailers: Option<Located<String>>,
    pub(super) from: Option<Located<String>>,
    pub(super) to: Option<Located<String>>,
    /// What servers of mail are greeted with.
    pub(super) host: Option<Located<String>>,
    /// As syslog counts them.
    pub(super) level: Option<Located<u8>>,
}

/// What a proxy writes about its traffic; what is not set is taken from the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Logging {
    /// Where lines go; `global` stands for the targets of the process.
    pub(super) targets: Option<Vec<Located<String>>>,
    pub(super) format: Option<Located<String>>,
    pub(super) error_format: Option<Located<String>>,
    pub(super) structured: Option<Located<String>>,
    pub(super) tag: Option<Located<String>>,
    pub(super) steps: Option<Vec<LogStep>>,
}

/// What is compressed, and how.
#[derive(Clone, Debug)]
pub(super) struct Compression {
    pub(super) location: Location,
    pub(super) codings: Vec<Coding>,
    pub(super) types: Vec<String>,
    pub(super) offload: Option<bool>,
    /// In bytes.
    pub(super) least: Option<u64>,
}

/// What HAProxy's language may say in defaults, and what each proxy takes as its own where it begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Heritage {
    pub(super) monitor_uri: Option<Located<String>>,
    pub(super) cookie: Option<Located<PersistenceCookie>>,
    pub(super) dynamic_cookie_key: Option<Located<String>>,
    pub(super) source: Option<ServerSource>,
}

/// Settings of the frontends and backends that begin from them and have not their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    /// What proxies ask for them by; none for those of everyone.
    pub(super) name: Option<Located<String>>,
    /// Where they begin in HAProxy's language.
    pub(super) place: Option<Location>,
    pub(super) proxy: Proxy,
    pub(super) maxconn: Option<u32>,
    pub(super) backlog: Option<u32>,
    pub(super) rate_limit: Option<u32>,
    pub(super) default_backend: Option<Located<String>>,
    pub(super) pool: Pool,
    pub(super) check: Option<CheckSwitch>,
    /// What HAProxy's language says of it in lines of their own; resolved with the proxy.
    pub(super) checks: Checks,
    pub(super) retries: Option<u32>,
    pub(super) retry_on: Option<Located<RetryOn>>,
    pub(super) default_server: ServerSettings,
    pub(super) heritage: Heritage,
    pub(super) preset: Preset,
}

/// How a backend chooses among its servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) balance: Option<Located<Balance>>,
    pub(super) hash_type: Option<Located<HashType>>,
    /// In percent; 0 for none.
    pub(super) hash_balance_factor: Option<Located<u32>>,
    pub(super) fullconn: Option<u32>,
    pub(super) http_reuse: Option<HttpReuse>,
    /// The name of the cookie by which clients of RDP come back to their servers.
    pub(super) persist: Option<Located<String>>,
    /// The header field that tells a server its name.
    pub(super) name_header: Option<Located<String>>,
    pub(super) state_source: Option<StateSource>,
    pub(super) state_name: Option<String>,
}

/// A frontend.
#[derive(Debug)]
pub(super) struct Frontend {
    pub(super) name: Located<String>,
    pub(super) defaults: Arc<Defaults>,
    pub(super) proxy: Proxy,
    pub(super) binds: Vec<Bind>,
    pub(super) default_backend: Option<Located<String>>,
    /// Names in lower case, each with the backend of its clients.
    pub(super) sni: Vec<(Located<String>, Located<String>)>,
    pub(super) inspect_delay: Option<Located<Duration>>,
    pub(super) monitor_uri: Option<Located<String>>,
    pub(super) maxconn: Option<u32>,
    /// The length of the listen queue of binds that have not their own.
    pub(super) backlog: Option<u32>,
    pub(super) rate_limit: Option<u32>,
    pub(super) acls: Vec<Acl>,
    pub(super) rules: Vec<Located<String>>,
    pub(super) xdp: Option<XdpFrontend>,
}

/// How the kernel tier is to serve a frontend.
#[derive(Debug)]
pub(super) struct XdpFrontend {
    pub(super) location: Location,
    pub(super) forward: Option<Forward>,
    pub(super) hash: Option<XdpBalance>,
    pub(super) track: Option<bool>,
    pub(super) ring: Option<Located<u32>>,
    pub(super) tunnel_port: Option<Located<u16>>,
    pub(super) tunnel_mtu: Option<Located<u16>>,
    pub(super) mss: Option<Located<u16>>,
    pub(super) dead_server: Option<DeadServer>,
    pub(super) no_server: Option<NoServer>,
}

impl XdpFrontend {
    /// Asks for nothing but the kernel tier.
    pub(super) fn plain(location: Location) -> Self {
        Self {
            location,
            forward: None,
            hash: None,
            track: None,
            ring: None,
            tunnel_port: None,
            tunnel_mtu: None,
            mss: None,
            dead_server: None,
            no_server: None,
        }
    }
}

/// A backend.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) name: Located<String>,
    pub(super) defaults: Arc<Defaults>,
    /// Whether it is the other half of the frontend of its name.
    pub(super) is_twin: bool,
    pub(super) proxy: Proxy,
    pub(super) pool: Pool,
    pub(super) check: Option<CheckSwitch>,
    pub(super) cookie: Option<Located<PersistenceCookie>>,
    pub(super) dynamic_cookie_key: Option<Located<String>>,
    pub(super) retries: Option<u32>,
    pub(super) retry_on: Option<Located<RetryOn>>,
    pub(super) acls: Vec<Acl>,
    pub(super) rules: Vec<Located<String>>,
    pub(super) source: Option<ServerSource>,
    pub(super) default_server: ServerSettings,
    pub(super) servers: Vec<Server>,
}

/// A persistence cookie.
#[derive(Clone, Debug)]
pub(super) struct PersistenceCookie {
    pub(super) cookie: Cookie,
    /// Whether servers without a value of their own get one made of their address.
    pub(super) dynamic: bool,
    /// What stands for the value of a server that has none.
    pub(super) unnamed: Unnamed,
}

/// What stands for the value of a server that has none in the persistence cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// Its name.
    Name,
    /// Nothing: no client stays with it.
    Nothing,
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: Located<String>,
    pub(super) address: Option<Located<ServerAddress>>,
    pub(super) settings: ServerSettings,
}

/// What a server can take from its backend's and the file's defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerSettings {
    pub(super) weight: Option<u16>,
    pub(super) backup: Option<bool>,
    pub(super) disabled: Option<bool>,
    pub(super) minconn: Option<Located<u32>>,
    pub(super) maxconn: Option<u32>,
    pub(super) maxqueue: Option<Located<u32>>,
    pub(super) slowstart: Option<Duration>,
    pub(super) ends_own: Option<bool>,
    pub(super) ends_spares: Option<bool>,
    pub(super) check: Option<CheckSwitch>,
    pub(super) agent: AgentSettings,
    pub(super) track: Option<Located<Tracked>>,
    pub(super) cookie: Option<Located<String>>,
    pub(super) protocol: Option<Protocol>,
    pub(super) source: Option<Located<ServerSource>>,
    pub(super) send_proxy: Option<ProxySwitch>,
    pub(super) fast_open: Option<bool>,
    pub(super) non_stick: Option<bool>,
    pub(super) patience: Option<Duration>,
    pub(super) tls: ServerTlsSettings,
    pub(super) pool: ServerPoolSettings,
    pub(super) naming: NamingSettings,
}

/// How the name of a server becomes an address.
#[derive(Clone, Debug, Default)]
pub(super) struct NamingSettings {
    pub(super) resolvers: Option<Located<String>>,
    pub(super) init: Option<Vec<InitAddress>>,
    pub(super) prefer: Option<Family>,
    pub(super) networks: Option<Vec<Prefix>>,
    pub(super) options: Option<NamingOptions>,
}

/// How long connections to a server are kept for further requests.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerPoolSettings {
    /// None if not set; within, none for any number.
    pub(super) most_idle: Option<Option<u32>>,
    pub(super) purge_delay: Option<Duration>,
    /// None if not set; within, none for any number.
    pub(super) most_reuses: Option<Option<u32>>,
}

/// Whether TLS is spoken with a server, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerTlsSettings {
    pub(super) on: Option<bool>,
    pub(super) verify: Option<Located<Ask>>,
    pub(super) ca: Option<Vec<Located<PathBuf>>>,
    pub(super) crl: Option<Vec<Located<PathBuf>>>,
    pub(super) sni: Option<Located<String>>,
    pub(super) verify_host: Option<Located<String>>,
    pub(super) certificate: Option<Located<PathBuf>>,
    pub(super) alpn: Option<Vec<String>>,
    pub(super) resumption: Option<bool>,
    pub(super) tickets: Option<bool>,
    pub(super) protocol: TlsProtocolSettings,
}

/// What of TLS is spoken.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsProtocolSettings {
    pub(super) min: Option<Located<TlsVersion>>,
    pub(super) max: Option<Located<TlsVersion>>,
    pub(super) ciphers: Option<Vec<CipherSuite>>,
    pub(super) ciphersuites: Option<Vec<CipherSuite>>,
    pub(super) curves: Option<Vec<Curve>>,
}

impl TlsProtocolSettings {
    /// Leaves one version to be spoken.
    pub(super) fn only(&mut self, version: TlsVersion, location: &Location) {
        let only = Located::new(version, location.clone());
        (self.min, self.max) = (Some(only.clone()), Some(only));
    }
}

/// Whether connections begin with a PROXY header, and with which.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProxySwitch {
    Off,
    On(SendProxy),
}

/// Whether to check, and how.
#[derive(Clone, Debug)]
pub(super) enum CheckSwitch {
    Off,
    /// How, if something narrower says that it is to be checked.
    Ready(Located<CheckSettings>),
    On(Located<CheckSettings>),
}

/// What lines about checks say.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// What is spoken; of several options the last one counts.
    pub(super) option: Option<CheckOption>,
    pub(super) http: Steps,
    pub(super) tcp: Steps,
    pub(super) external: External,
}

/// What a check speaks.
#[derive(Clone, Debug)]
pub(super) enum CheckOption {
    /// HTTP, with this request where no step has one.
    Http(Request),
    /// What the steps say.
    Tcp,
    /// What the steps say, in datagrams.
    Udp(Location),
    /// The steps of a protocol.
    Protocol(Arc<Sequence>, Located<String>),
    /// The exit status of a program; what lines of their own say of it is put in last.
    External(Location, External),
}

/// What lines say of the program that checks.
#[derive(Clone, Debug, Default)]
pub(super) struct External {
    pub(super) command: Option<Located<PathBuf>>,
    pub(super) path: Option<Located<String>>,
}

/// What a sequence was made of, where that is lines in HAProxy's language.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) option: CheckOption,
    /// Steps without their keyword.
    pub(super) steps: Vec<Located<String>>,
    pub(super) disable_on_404: bool,
    pub(super) send_state: bool,
}

/// Steps as they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    /// The lines they were read from, without their keyword.
    pub(super) texts: Vec<Located<String>>,
    /// What belongs to the next step.
    pub(super) comment: Option<String>,
    /// How many lines there are; comments count.
    pub(super) lines: usize,
    pub(super) disable_on_404: bool,
    pub(super) send_state: bool,
    /// Where the first stands.
    pub(super) location: Option<Location>,
    /// Whether all of it is of wider defaults, and the first own line takes its place.
    pub(super) inherited: bool,
}

/// How to check; what is not set is taken from the next wider place.
#[derive(Clone, Debug, Default)]
pub(super) struct CheckSettings {
    pub(super) sequence: Option<Arc<Sequence>>,
    pub(super) recipe: Option<Arc<Recipe>>,
    pub(super) inter: Option<Duration>,
    pub(super) fastinter: Option<Duration>,
    pub(super) downinter: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) rise: Option<u32>,
    pub(super) fall: Option<u32>,
    pub(super) port: Option<u16>,
    pub(super) address: Option<IpAddr>,
    pub(super) send_proxy: Option<bool>,
    pub(super) tls: Option<bool>,
    pub(super) sni: Option<String>,
    pub(super) alpn: Option<Vec<String>>,
    pub(super) version: Option<Protocol>,
    pub(super) init_state: Option<InitState>,
    pub(super) observe: Option<Located<Layer>>,
    pub(super) error_limit: Option<u32>,
    pub(super) on_error: Option<OnError>,
}

/// A list of users.
#[derive(Debug)]
pub(super) struct Userlist {
    pub(super) name: Located<String>,
    pub(super) users: Vec<User>,
    pub(super) groups: Vec<Group>,
}

/// A user with what may prove that it is that one.
#[derive(Debug)]
pub(super) struct User {
    pub(super) name: Located<String>,
    pub(super) password: Option<Password>,
    pub(super) groups: Vec<Located<String>>,
}

/// A group of users.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Located<String>,
    pub(super) users: Vec<Located<String>>,
}

/// Whether an agent is asked, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct AgentSettings {
    pub(super) on: Option<Located<bool>>,
    pub(super) inter: Option<Duration>,
    pub(super) question: Option<String>,
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

/// A stick table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: Located<String>,
    pub(super) key: Option<TableKey>,
    pub(super) size: Option<u64>,
    pub(super) expire: Option<Duration>,
    pub(super) nopurge: bool,
    pub(super) store: Vec<Located<Stored>>,
    /// The section of the peers it is shared with.
    pub(super) peers: Option<Located<String>>,
    /// What peers call it, where that is not its name.
    pub(super) shared_as: Option<String>,
    /// What tells servers apart.
    pub(super) srvkey: ServerKey,
    /// The table that also learns what peers say of servers and tags.
    pub(super) write_to: Option<Located<String>>,
    pub(super) recv_only: bool,
    /// Whether `conn_cur` is the sum of what all living peers have open.
    pub(super) sum_conn_cur: bool,
}

impl Table {
    /// Begins a table of which nothing is known but its name.
    pub(super) fn new(name: Located<String>) -> Self {
        Self {
            name,
            key: None,
            size: None,
            expire: None,
            nopurge: false,
            store: Vec::new(),
            peers: None,
            shared_as: None,
            srvkey: ServerKey::Name,
            write_to: None,
            recv_only: false,
            sum_conn_cur: false,
        }
    }
}

/// Processes that share tables.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) name: Located<String>,
    pub(super) default_server: ServerSettings,
    pub(super) members: Vec<Peer>,
    pub(super) binds: Vec<Bind>,
    pub(super) disabled: bool,
    pub(super) shards: u32,
    /// Where lines about its peers go.
    pub(super) log: Vec<Located<String>>,
}

/// One of the processes that share tables.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) server: Server,
    /// How the process of this name listens on its address.
    pub(super) bind: Option<Bind>,
    /// Which part of the keys it is told of.
    pub(super) shard: Option<Located<u32>>,
}
