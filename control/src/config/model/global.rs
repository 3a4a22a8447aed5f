//! What concerns the whole process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Otlp;
use super::bind::BindAddress;
use super::unix::{Account, SocketFile};
use crate::config::location::Located;

/// Settings of the process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    pub(in crate::config) maxconn: Option<u32>,
    pub(in crate::config) rates: Rates,
    pub(in crate::config) h2: H2Limits,
    pub(in crate::config) quic: QuicLimits,
    pub(in crate::config) cluster_secret: Option<String>,
    pub(in crate::config) ocsp: OcspDelays,
    pub(in crate::config) heads: HeadLimits,
    pub(in crate::config) threads: Option<u16>,
    pub(in crate::config) log: Vec<Located<String>>,
    pub(in crate::config) log_tag: Option<Located<String>>,
    pub(in crate::config) log_host: Option<Option<String>>,
    pub(in crate::config) stats_sockets: Vec<Located<StatsSocket>>,
    pub(in crate::config) stats_timeout: Duration,
    pub(in crate::config) stats_maxconn: u32,
    pub(in crate::config) metrics: Option<Located<SocketAddr>>,
    pub(in crate::config) spread_checks: u8,
    pub(in crate::config) max_spread_checks: Option<Duration>,
    pub(in crate::config) localpeer: Option<Located<String>>,
    pub(in crate::config) tables_file: Option<PathBuf>,
    pub(in crate::config) variables: Vec<StartVariable>,
    pub(in crate::config) otlp: Otlp,
    pub(in crate::config) process: Process,
}

/// A variable that has a value when the process starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartVariable {
    pub(in crate::config) text: Located<String>,
    pub(in crate::config) is_format: bool,
}

impl StartVariable {
    /// Returns its name and what its value is, as written.
    pub fn text(&self) -> &Located<String> {
        &self.text
    }

    /// Tells whether the value is a text with samples in it, not an expression.
    pub fn is_format(&self) -> bool {
        self.is_format
    }
}

/// What the process is to the system around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Process {
    pub(in crate::config) user: Option<Account>,
    pub(in crate::config) group: Option<Account>,
    pub(in crate::config) chroot: Option<PathBuf>,
    pub(in crate::config) pidfile: Option<PathBuf>,
    pub(in crate::config) daemon: bool,
    pub(in crate::config) hard_stop_after: Option<Duration>,
    pub(in crate::config) state_file: Option<PathBuf>,
    pub(in crate::config) state_base: Option<PathBuf>,
    pub(in crate::config) external: External,
    pub(in crate::config) capabilities: Vec<Capability>,
}

/// What is said of programs that check servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct External {
    /// Whether there may be any.
    pub(in crate::config) allowed: bool,
    /// Whether it is known that processes are started for that.
    pub(in crate::config) forks: bool,
    /// Whether they may take the rights of another user.
    pub(in crate::config) setuid: bool,
}

/// A right of root that a process may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// To set up the network, and to mark packets.
    NetAdmin,
    /// To listen on ports below 1024.
    NetBindService,
    /// To bind addresses of others, and interfaces.
    NetRaw,
    /// To enter other namespaces.
    SysAdmin,
}

/// What peers of HTTP/2 may do, where that is not as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct H2Limits {
    /// How many streams a client has open at a time.
    pub streams: Option<u32>,
    /// How many bytes are sent ahead on a stream.
    pub window: Option<u32>,
    /// How many bytes a frame has.
    pub frame: Option<u32>,
}

/// What clients of QUIC may do, where that is not as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicLimits {
    /// How many requests a client has open at a time.
    pub streams: Option<u32>,
    /// How long a connection may be without a sign of life.
    pub idle: Option<Duration>,
    /// How many handshakes may be incomplete before clients must prove their addresses.
    pub retry_threshold: Option<u32>,
}

/// How large the heads of messages of HTTP/1 may be, where that is not as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadLimits {
    /// How many lines a head has, the first one counted.
    pub lines: Option<u32>,
    /// How many bytes a message is read into at first.
    pub buffer: Option<u32>,
    /// How many of them are left for what rules add.
    pub reserve: Option<u32>,
}

/// How many clients are let in per second; 0 for any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of all connections.
    pub connections: u32,
    /// Of those that no rule about connections refuses.
    pub sessions: u32,
    /// Of those that begin TLS.
    pub tls: u32,
}

impl HeadLimits {
    /// How many lines there may be.
    pub(in crate::config) const LINES: std::ops::RangeInclusive<u32> = 1..=32_767;
    /// How large a buffer may be.
    pub(in crate::config) const BUFFER: std::ops::RangeInclusive<u32> = 1024..=0x7fff_ffff;
    /// How much of it may be left.
    pub(in crate::config) const RESERVE: std::ops::RangeInclusive<u32> = 0..=0x7fff_ffff;

    /// Returns how many header fields a head may have; none where nothing is said.
    pub fn fields(self) -> Option<usize> {
        self.lines.and_then(|lines| usize::try_from(lines - 1).ok())
    }

    /// Returns how many bytes a head may have; none where nothing is said.
    pub fn bytes(self) -> Option<usize> {
        if self.buffer.is_none() && self.reserve.is_none() {
            return None;
        }
        let buffer = self.buffer.unwrap_or(16_384);
        // What rules add must not take more than half.
        usize::try_from(buffer - self.reserve.unwrap_or(1024).min(buffer / 2)).ok()
    }
}

/// How often issuers are asked for responses about the revocation of certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OcspDelays {
    pub(in crate::config) least: Option<Duration>,
    pub(in crate::config) most: Option<Duration>,
}

impl OcspDelays {
    /// Returns the least time between two questions.
    pub fn least(self) -> Duration {
        self.least.unwrap_or(Duration::from_secs(300))
    }

    /// Returns the most time between two questions.
    pub fn most(self) -> Duration {
        self.most.unwrap_or(Duration::from_secs(3600)).max(self.least.unwrap_or_default())
    }

    /// Tells whether they contradict each other.
    pub(in crate::config) fn are_crossed(self) -> bool {
        self.least() > self.most.unwrap_or(Duration::from_secs(3600))
    }
}

impl H2Limits {
    /// How many streams there may be.
    pub(in crate::config) const STREAMS: std::ops::RangeInclusive<u32> = 1..=65_535;
    /// How large windows may be (RFC 9113 section 6.9.2).
    pub(in crate::config) const WINDOW: std::ops::RangeInclusive<u32> = 1..=0x7fff_ffff;
    /// How large frames may be (RFC 9113 section 4.2).
    pub(in crate::config) const FRAME: std::ops::RangeInclusive<u32> = 16_384..=0xff_ffff;
}

impl QuicLimits {
    /// How many requests there may be.
    pub(in crate::config) const STREAMS: std::ops::RangeInclusive<u32> = 1..=65_535;
    /// How many handshakes that may be.
    pub(in crate::config) const HANDSHAKES: std::ops::RangeInclusive<u32> = 0..=u32::MAX;
}

impl Global {
    /// Returns how often issuers are asked for responses about the revocation of certificates.
    pub fn ocsp_delays(&self) -> OcspDelays {
        self.ocsp
    }

    /// Returns what all nodes and processes of a service know, from which they make what QUIC must recognise on each of them.
    pub fn cluster_secret(&self) -> Option<&str> {
        self.cluster_secret.as_deref()
    }

    /// Returns what clients of QUIC may do, where that is not as usual.
    pub fn quic(&self) -> QuicLimits {
        self.quic
    }

    /// Returns how large the heads of messages of HTTP/1 may be, where that is not as usual.
    pub fn heads(&self) -> HeadLimits {
        self.heads
    }

    /// Returns what peers of HTTP/2 may do, where that is not as usual.
    pub fn h2(&self) -> H2Limits {
        self.h2
    }

    /// Returns how many clients are let in per second.
    pub fn rates(&self) -> Rates {
        self.rates
    }

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

    /// Returns the name of the program in the headers of log lines, where it is not the daemon's own.
    pub fn log_tag(&self) -> Option<&Located<String>> {
        self.log_tag.as_ref()
    }

    /// Returns the name of the host in the headers of log lines: none if they show none, an inner none for the host's own.
    pub fn log_host(&self) -> Option<Option<&str>> {
        self.log_host.as_ref().map(Option::as_deref)
    }

    /// Returns the sockets of the runtime interface.
    pub fn stats_sockets(&self) -> &[Located<StatsSocket>] {
        &self.stats_sockets
    }

    /// Returns how long a client of the runtime interface may be silent.
    pub fn stats_timeout(&self) -> Duration {
        self.stats_timeout
    }

    /// Returns how many clients a socket of the runtime interface serves at a time, at least 1.
    pub fn stats_maxconn(&self) -> u32 {
        self.stats_maxconn
    }

    /// Returns where l7d answers Prometheus.
    pub fn metrics(&self) -> Option<&Located<SocketAddr>> {
        self.metrics.as_ref()
    }

    /// Returns the variables that have a value when the process starts, in the order in which they get it.
    pub fn variables(&self) -> &[StartVariable] {
        &self.variables
    }

    /// Returns what this process is called among its peers, where that is not the name of the host.
    pub fn localpeer(&self) -> Option<&Located<String>> {
        self.localpeer.as_ref()
    }

    /// Tells whether programs that check servers may take the rights of another user.
    pub fn external_setuid(&self) -> bool {
        self.process.external.setuid
    }

    /// Returns the file that keeps stick tables through a crash.
    pub fn tables_file(&self) -> Option<&Path> {
        self.tables_file.as_deref()
    }

    /// Returns where spans of requests go.
    pub fn otlp(&self) -> &Otlp {
        &self.otlp
    }

    /// Returns the user the process becomes once it has bound its addresses.
    pub fn user(&self) -> Option<&Account> {
        self.process.user.as_ref()
    }

    /// Returns the group the process becomes then.
    pub fn group(&self) -> Option<&Account> {
        self.process.group.as_ref()
    }

    /// Returns the directory that is the root of all files from then on.
    pub fn chroot(&self) -> Option<&Path> {
        self.process.chroot.as_deref()
    }

    /// Returns the rights of root that stay with another user.
    pub fn capabilities(&self) -> &[Capability] {
        &self.process.capabilities
    }

    /// Returns where the number of the process is written.
    pub fn pidfile(&self) -> Option<&Path> {
        self.process.pidfile.as_deref()
    }

    /// Tells whether the process goes to the background where its command line does not say otherwise.
    pub fn daemon(&self) -> bool {
        self.process.daemon
    }

    /// Returns how long connections may take to end when the process stops; none lets them take their time.
    pub fn hard_stop_after(&self) -> Option<Duration> {
        self.process.hard_stop_after
    }

    /// Returns the file in which the states of servers were written down.
    pub fn state_file(&self) -> Option<&Path> {
        self.process.state_file.as_deref()
    }

    /// Returns the directory of files in which states of servers were written down, where these are not named by their whole path.
    pub fn state_base(&self) -> Option<&Path> {
        self.process.state_base.as_deref()
    }

    /// Returns by how many percent a check's interval may vary, 0 to 50.
    pub fn spread_checks(&self) -> u8 {
        self.spread_checks
    }

    /// Returns the most time between the first checks of the first server and of the last; none leaves that to the checker.
    pub fn max_spread_checks(&self) -> Option<Duration> {
        self.max_spread_checks
    }
}

/// A socket on which the runtime interface listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSocket {
    pub(in crate::config) address: BindAddress,
    pub(in crate::config) file: SocketFile,
    pub(in crate::config) level: SocketLevel,
    pub(in crate::config) exposes: bool,
}

impl StatsSocket {
    /// Returns where it listens.
    pub fn address(&self) -> &BindAddress {
        &self.address
    }

    /// Returns who may connect to the file of a Unix socket.
    pub fn file(&self) -> &SocketFile {
        &self.file
    }

    /// Returns what a client of the socket may do.
    pub fn level(&self) -> SocketLevel {
        self.level
    }

    /// Tells whether its clients may take over what the process listens on.
    pub fn exposes(&self) -> bool {
        self.exposes
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
