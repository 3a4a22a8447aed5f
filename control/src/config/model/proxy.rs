//! What frontends and backends have in common: mode, timeouts, options, named conditions.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::location::Located;

/// What a proxy understands of the traffic it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes.
    Tcp,
    /// HTTP messages; the default.
    Http,
}

/// What a timeout waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// A connection to a server to be established.
    Connect,
    /// The client to send or take data.
    Client,
    /// The server to send or take data.
    Server,
    /// The client to close, once half closed.
    ClientFin,
    /// The server to close, once half closed.
    ServerFin,
    /// The head of a request to be complete.
    HttpRequest,
    /// The next request on an idle connection.
    HttpKeepAlive,
    /// A free slot on a server.
    Queue,
    /// Data in either direction of a tunnel.
    Tunnel,
    /// The answer to a request held up on purpose.
    Tarpit,
    /// The answer to a health check, once connected.
    Check,
}

impl Timeout {
    pub(in crate::config) const ALL: [Self; 11] = [
        Self::Connect,
        Self::Client,
        Self::Server,
        Self::ClientFin,
        Self::ServerFin,
        Self::HttpRequest,
        Self::HttpKeepAlive,
        Self::Queue,
        Self::Tunnel,
        Self::Tarpit,
        Self::Check,
    ];

    /// Tells whether it means something where clients arrive, and where servers are.
    pub(in crate::config) fn sides(self) -> (bool, bool) {
        match self {
            Self::Client | Self::ClientFin => (true, false),
            Self::Connect | Self::Server | Self::ServerFin | Self::Queue | Self::Tunnel | Self::Check => (false, true),
            Self::HttpRequest | Self::HttpKeepAlive | Self::Tarpit => (true, true),
        }
    }

    /// Returns the name used in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Client => "client",
            Self::Server => "server",
            Self::ClientFin => "client-fin",
            Self::ServerFin => "server-fin",
            Self::HttpRequest => "http-request",
            Self::HttpKeepAlive => "http-keep-alive",
            Self::Queue => "queue",
            Self::Tunnel => "tunnel",
            Self::Tarpit => "tarpit",
            Self::Check => "check",
        }
    }
}

/// The timeouts of a proxy; one that is not set never expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts([Option<Duration>; Timeout::ALL.len()]);

impl Timeouts {
    /// Returns one timeout; none never expires.
    pub fn of(&self, timeout: Timeout) -> Option<Duration> {
        self.0[timeout as usize]
    }

    /// Returns the same with another time-out in place of one.
    #[must_use]
    pub fn with(mut self, timeout: Timeout, value: Duration) -> Self {
        self.set(timeout, Some(value));
        self
    }

    pub(in crate::config) fn set(&mut self, timeout: Timeout, value: Option<Duration>) {
        self.0[timeout as usize] = value;
    }
}

/// When the kernel asks a silent peer whether it is still there, where that is not left to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    pub(in crate::config) count: Option<u8>,
    pub(in crate::config) idle: Option<Duration>,
    pub(in crate::config) interval: Option<Duration>,
}

impl Probes {
    /// Numbers of questions that the kernel takes.
    pub(in crate::config) const COUNTS: RangeInclusive<u8> = 1..=127;
    /// The longest time between them that the kernel takes.
    pub(in crate::config) const LONGEST: Duration = Duration::from_secs(32_767);

    /// Returns after how many questions without an answer the connection is given up.
    pub fn count(self) -> Option<u8> {
        self.count
    }

    /// Returns how long nothing comes before the first question.
    pub fn idle(self) -> Option<Duration> {
        self.idle
    }

    /// Returns the time between questions.
    pub fn interval(self) -> Option<Duration> {
        self.interval
    }

    /// Fills in what is not said from others.
    pub(in crate::config) fn over(self, others: Self) -> Self {
        Self { count: self.count.or(others.count), idle: self.idle.or(others.idle), interval: self.interval.or(others.interval) }
    }
}

/// A switch of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyOption {
    /// A client that closes its sending side while waiting gives up its request.
    AbortOnClose,
    /// All backup servers take traffic when no other can, not just the first.
    AllBackups,
    /// Clients in clear text speak HTTP/1 alone.
    DisableH2Upgrade,
    /// Exchanges without a failure are not logged.
    DontLogNormal,
    /// The kernel probes whether silent clients are still there.
    ClientKeepAlive,
    /// Statistics know of bytes while they flow.
    ContStats,
    /// Connections closed before any data are not logged.
    DontLogNull,
    /// Who the client is, and how it came, is added to requests as RFC 7239 has it.
    Forwarded(Forwarded),
    /// The client's address is added to requests.
    ForwardFor(ForwardFor),
    /// Idle clients hear of the end of the process with their next response.
    IdleCloseOnResponse,
    /// The head of a request waits for its body.
    HttpBufferRequest,
    /// Both connections are closed after a response.
    HttpClose,
    /// Both connections are kept after a response.
    HttpKeepAlive,
    /// Connections on which nothing was said are neither answered, nor logged, nor counted.
    HttpIgnoreProbes,
    /// Requests are logged in the HTTP format.
    HttpLog,
    /// Requests are logged in the common log format of web servers.
    HttpLogClf,
    /// Requests are logged in the HTTP format, with what is known of their TLS.
    HttpsLog,
    /// What is there to send is sent at once.
    HttpNoDelay,
    /// Servers are not told that their connection closes.
    HttpPretendKeepAlive,
    /// What becomes of request fields whose names hold other than letters, digits and hyphens.
    HttpRestrictNames(NamePolicy),
    /// The connection to the server is closed after a response.
    HttpServerClose,
    /// Changes of a server's health are logged.
    LogHealthChecks,
    /// Failures are logged at level err.
    LogSeparateErrors,
    /// Connections close at once, whatever has not been taken yet.
    NoLinger,
    /// The address the client connected to is added to requests.
    OriginalTo(ForwardFor),
    /// A persistence cookie is followed even to a server that is down.
    Persist,
    /// A request goes to the server to which its client still has a connection of its own, where the balance would leave that to chance.
    PreferLastServer,
    /// A failed connection is tried on another server: after every so many tries, or only at the last where none is given.
    Redispatch(Option<u32>),
    /// The kernel probes whether silent servers are still there.
    ServerKeepAlive,
    /// The kernel probes whether silent peers are still there: clients in a frontend, servers in a backend.
    TcpKeepAlive,
    /// Connections are logged in the TCP format.
    TcpLog,
}

/// What becomes of request fields with unusual names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamePolicy {
    /// They stay.
    Preserve,
    /// They go.
    Delete,
    /// Their request is refused.
    Reject,
}

/// What is said of a client in a field `Forwarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Whether the connection is encrypted.
    pub proto: bool,
    /// The host it asked for.
    pub host: bool,
    /// The address it connected to.
    pub by: bool,
    /// The port it connected to.
    pub by_port: bool,
    /// Its address.
    pub from: bool,
    /// Its port.
    pub from_port: bool,
}

impl ProxyOption {
    /// Returns the name used in configuration files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AbortOnClose => "abortonclose",
            Self::AllBackups => "allbackups",
            Self::DisableH2Upgrade => "disable-h2-upgrade",
            Self::DontLogNormal => "dontlog-normal",
            Self::ClientKeepAlive => "clitcpka",
            Self::ContStats => "contstats",
            Self::DontLogNull => "dontlognull",
            Self::Forwarded(_) => "forwarded",
            Self::ForwardFor(_) => "forwardfor",
            Self::HttpBufferRequest => "http-buffer-request",
            Self::IdleCloseOnResponse => "idle-close-on-response",
            Self::HttpClose => "httpclose",
            Self::HttpKeepAlive => "http-keep-alive",
            Self::HttpIgnoreProbes => "http-ignore-probes",
            Self::HttpLog => "httplog",
            Self::HttpLogClf => "httplog clf",
            Self::HttpsLog => "httpslog",
            Self::LogSeparateErrors => "log-separate-errors",
            Self::HttpNoDelay => "http-no-delay",
            Self::HttpPretendKeepAlive => "http-pretend-keepalive",
            Self::HttpRestrictNames(_) => "http-restrict-req-hdr-names",
            Self::HttpServerClose => "http-server-close",
            Self::LogHealthChecks => "log-health-checks",
            Self::NoLinger => "nolinger",
            Self::OriginalTo(_) => "originalto",
            Self::Persist => "persist",
            Self::PreferLastServer => "prefer-last-server",
            Self::Redispatch(_) => "redispatch",
            Self::ServerKeepAlive => "srvtcpka",
            Self::TcpKeepAlive => "tcpka",
            Self::TcpLog => "tcplog",
        }
    }

    /// Tells whether it means nothing where bytes are forwarded unread.
    pub(in crate::config) fn is_http(&self) -> bool {
        match self {
            Self::ForwardFor(_) | Self::HttpBufferRequest | Self::HttpClose | Self::HttpKeepAlive | Self::HttpLog => true,
            Self::IdleCloseOnResponse | Self::HttpLogClf | Self::HttpServerClose | Self::HttpsLog | Self::Persist => true,
            Self::DisableH2Upgrade | Self::Forwarded(_) | Self::HttpIgnoreProbes | Self::HttpNoDelay => true,
            Self::HttpPretendKeepAlive | Self::HttpRestrictNames(_) | Self::OriginalTo(_) | Self::PreferLastServer => true,
            Self::ClientKeepAlive | Self::NoLinger | Self::ServerKeepAlive | Self::TcpKeepAlive => false,
            Self::AbortOnClose | Self::AllBackups | Self::ContStats | Self::DontLogNormal => false,
            Self::DontLogNull | Self::LogHealthChecks => false,
            Self::LogSeparateErrors | Self::Redispatch(_) | Self::TcpLog => false,
        }
    }

    /// Tells whether it replaces another that is on: the same one, or another answer to the same question.
    pub(in crate::config) fn replaces(&self, other: &Self) -> bool {
        let both = |test: fn(&Self) -> bool| test(self) && test(other);
        self.name() == other.name() || both(Self::is_connection_mode) || both(Self::is_log_format)
    }

    fn is_connection_mode(&self) -> bool {
        matches!(self, Self::HttpClose | Self::HttpKeepAlive | Self::HttpServerClose)
    }

    /// Tells whether it says what lines about traffic look like.
    pub(in crate::config) fn is_log_format(&self) -> bool {
        matches!(self, Self::HttpLog | Self::HttpLogClf | Self::HttpsLog | Self::TcpLog)
    }
}

/// How the client's address is added to requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardFor {
    pub(in crate::config) header: Option<String>,
    pub(in crate::config) except: Option<String>,
    pub(in crate::config) if_none: bool,
}

impl ForwardFor {
    /// Returns the name of the header.
    pub fn header(&self) -> &str {
        self.header.as_deref().unwrap_or("X-Forwarded-For")
    }

    /// Returns the network whose clients are trusted to have added it, as `address/length`.
    pub fn except(&self) -> Option<&str> {
        self.except.as_deref()
    }

    /// Tells whether a request that has the header is left alone.
    pub fn if_none(&self) -> bool {
        self.if_none
    }
}

/// How exchanges get a name of their own.
#[derive(Clone, Debug, Default)]
pub struct UniqueId {
    pub(in crate::config) format: Option<Located<String>>,
    pub(in crate::config) header: Option<Located<String>>,
}

impl UniqueId {
    /// Returns what the names look like; none where there are none.
    pub fn format(&self) -> Option<&Located<String>> {
        self.format.as_ref()
    }

    /// Returns the header field that tells servers.
    pub fn header(&self) -> Option<&Located<String>> {
        self.header.as_ref()
    }
}

/// Rules of a section of defaults, which hold before those of the proxies that begin from it; only they see its named conditions.
#[derive(Clone, Debug, Default)]
pub struct Preset {
    pub(in crate::config) acls: Vec<Acl>,
    pub(in crate::config) rules: Vec<Located<String>>,
}

impl Preset {
    /// Tells whether nothing is to be done by it; how long is waited for first bytes is no rule.
    pub(in crate::config) fn is_empty(&self) -> bool {
        self.rules.iter().all(|rule| rule.contains("inspect-delay"))
    }

    /// Returns the named conditions.
    pub fn acls(&self) -> &[Acl] {
        &self.acls
    }

    /// Returns the rules in order, as written.
    pub fn rules(&self) -> &[Located<String>] {
        &self.rules
    }
}

/// A named condition: true when any of its expressions is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) expressions: Vec<Located<String>>,
}

impl Acl {
    /// Returns the name.
    pub fn name(&self) -> &Located<String> {
        &self.name
    }

    /// Returns the expressions as written, at least one.
    pub fn expressions(&self) -> &[Located<String>] {
        &self.expressions
    }
}
