//! Frontends and their doors at run time: where clients come in, and what decides about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Instant;

use control::config::{self, Forwarded, Mode, NamePolicy, Protocol, ProxyOption, Quic, Timeout, Timeouts};
use control::dns::Asker;
use tokio::sync::Semaphore;

use super::backend::{Backend, Backends};
use super::bustle::{Bustle, Neighbours};
use super::forward_for::{ForwardFor, forward_for, original_to};
use super::limit::{Counted, Limit};
use super::name_policy;
use super::names::Names;
use super::upkeep::Upkeep;
use super::{Shared, has};
use crate::bind::Spec;
use crate::captures::Captures;
use crate::compress::Compression;
use crate::log::Log;
use crate::pace::{self, Pace};
use crate::rules::{ProxyRules, View};
use crate::stats::{Entrance, Meter};
use crate::tls::Acceptor;

/// One address clients come in by.
#[derive(Debug)]
pub(crate) struct Door {
    spec: Spec,
    number: u32,
    name: Option<String>,
    frontend: Arc<Frontend>,
    accept_proxy: bool,
    quic: Quic,
    protocol: Option<Protocol>,
    acceptor: Option<Arc<Acceptor>>,
    limits: Arc<[Arc<Semaphore>]>,
    limit: Option<Limit>,
}

/// Whether clients come in by the doors of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// They do.
    Open,
    /// They do not, until an administrator says so.
    Held,
    /// They do not until the next reload.
    Closed,
}

/// What a door is made of.
pub(super) struct Ground<'a> {
    pub(super) bind: &'a config::Bind,
    pub(super) acceptor: Option<Arc<Acceptor>>,
    /// The limit of the process.
    pub(super) process: Option<&'a Limit>,
}

/// What decides about the clients that came in.
#[derive(Debug)]
pub(crate) struct Frontend {
    name: String,
    mode: Mode,
    timeouts: Timeouts,
    rules: Arc<ProxyRules>,
    /// Where its rules ask for names.
    asker: Asker,
    backends: Arc<Backends>,
    backend: Option<Arc<Backend>>,
    names: Option<Names>,
    pace: Arc<Pace>,
    limit: Option<Limit>,
    forward_for: Option<ForwardFor>,
    compression: Option<Compression>,
    entrance: Option<Entrance>,
    pretends: bool,
    original_to: Option<ForwardFor>,
    forwarded: Option<Forwarded>,
    name_policy: Option<NamePolicy>,
    upkeep: Upkeep,
    refuses_upgrade: bool,
    closes: bool,
    buffers: bool,
    ignores_null: bool,
    /// Whether statistics know of bytes while they flow.
    counts_flows: bool,
    /// Whether idle clients are left alone until their next request, although the process is to end.
    keeps_idle: bool,
    ignores_probes: bool,
    monitor_uri: Option<String>,
    log: Arc<Log>,
    gate: Arc<AtomicU8>,
    captures: Arc<Captures>,
    connections: Arc<AtomicU32>,
    meter: Arc<Meter>,
    /// Of the whole process.
    all_connections: Arc<AtomicU32>,
    process: Arc<Meter>,
    neighbours: Arc<Neighbours>,
}

impl Door {
    pub(super) fn new(spec: Spec, number: u32, frontend: &Arc<Frontend>, ground: Ground<'_>, before: Option<&Self>) -> Self {
        let Ground { bind, acceptor, process } = ground;
        let limit = Limit::renew(bind.maxconn(), before.and_then(|door| door.limit.as_ref()));
        let limits =
            [limit.as_ref(), frontend.limit.as_ref(), process].into_iter().flatten().map(|limit| Arc::clone(limit.left())).collect();
        let name = bind.name().map(str::to_owned);
        Self {
            spec,
            number,
            name,
            frontend: Arc::clone(frontend),
            accept_proxy: bind.accept_proxy(),
            quic: bind.quic(),
            protocol: bind.protocol(),
            acceptor,
            limits,
            limit,
        }
    }

    /// Returns the socket this door needs.
    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Returns its place among the doors of its frontend, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns what its bind is called, if anything.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns what decides about clients.
    pub(crate) fn frontend(&self) -> &Arc<Frontend> {
        &self.frontend
    }

    /// Tells whether every connection begins with a PROXY header.
    pub(crate) fn accepts_proxy(&self) -> bool {
        self.accept_proxy
    }

    /// Returns how QUIC is spoken here.
    pub(crate) fn quic(&self) -> Quic {
        self.quic
    }

    /// Returns the only version of HTTP that clients speak here; none where they choose.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        let is_h1 = self.frontend.refuses_upgrade && self.acceptor.is_none();
        self.protocol.or(is_h1.then_some(Protocol::H1))
    }

    /// Returns what ends TLS here; none for clear text.
    pub(crate) fn acceptor(&self) -> Option<&Acceptor> {
        self.acceptor.as_deref()
    }

    /// Waits until clients have come slowly enough for one more.
    pub(crate) async fn pace(&self) {
        self.frontend.pace.wait().await;
        pace::SESSIONS.wait().await;
        pace::CONNECTIONS.wait().await;
        if self.acceptor.is_some() {
            pace::HANDSHAKES.wait().await;
        }
    }

    /// Takes back that a client counts as more than a connection.
    pub(crate) fn forgive(&self) {
        self.frontend.pace.forgive();
        pace::SESSIONS.forgive();
        if self.acceptor.is_some() {
            pace::HANDSHAKES.forgive();
        }
    }

    /// Returns the limits that a connection counts against, the narrowest first.
    pub(crate) fn limits(&self) -> &Arc<[Arc<Semaphore>]> {
        &self.limits
    }
}

impl Frontend {
    pub(super) fn new(model: &config::Frontend, backends: &Arc<Backends>, shared: &Shared, before: Option<&Self>) -> Self {
        let pace = before.map_or_else(Arc::default, |frontend| Arc::clone(&frontend.pace));
        pace.set(model.rate_limit());
        Self {
            name: model.name().to_owned(),
            mode: model.mode(),
            timeouts: *model.timeouts(),
            rules: shared.rules.of_frontend(model),
            asker: shared.asker.clone(),
            backend: model.default_backend().and_then(|id| backends.of(id)).map(Arc::clone),
            names: Names::new(model, backends.all()),
            backends: Arc::clone(backends),
            pace,
            limit: Limit::renew(model.maxconn(), before.and_then(|frontend| frontend.limit.as_ref())),
            forward_for: forward_for(model.options()),
            compression: model.compression().map(Compression::new),
            entrance: model.stats().map(|page| Entrance::new(page, model.name())),
            pretends: has(model.options(), &ProxyOption::HttpPretendKeepAlive),
            original_to: original_to(model.options()),
            forwarded: model
                .options()
                .iter()
                .find_map(|option| if let ProxyOption::Forwarded(forwarded) = option.value() { Some(*forwarded) } else { None }),
            name_policy: name_policy(model.options()),
            upkeep: Upkeep::of(model.options(), &ProxyOption::ClientKeepAlive, model.probes()),
            refuses_upgrade: has(model.options(), &ProxyOption::DisableH2Upgrade),
            keeps_idle: has(model.options(), &ProxyOption::IdleCloseOnResponse),
            counts_flows: has(model.options(), &ProxyOption::ContStats),
            ignores_null: has(model.options(), &ProxyOption::DontLogNull),
            ignores_probes: has(model.options(), &ProxyOption::HttpIgnoreProbes),
            monitor_uri: model.monitor_uri().map(str::to_owned),
            closes: has(model.options(), &ProxyOption::HttpClose),
            buffers: has(model.options(), &ProxyOption::HttpBufferRequest),
            log: shared.logs.of_frontend(model.id()),
            captures: before.map_or_else(Arc::default, |frontend| Arc::clone(&frontend.captures)),
            gate: before.map_or_else(Arc::default, |frontend| Arc::clone(&frontend.gate)),
            connections: before.map_or_else(Arc::default, |frontend| Arc::clone(&frontend.connections)),
            meter: before.map_or_else(|| Arc::new(Meter::new(shared.threads)), |frontend| Arc::clone(&frontend.meter)),
            all_connections: Arc::clone(&shared.connections),
            process: Arc::clone(&shared.meter),
            neighbours: Arc::clone(&shared.neighbours),
        }
    }

    /// Returns its last invalid request.
    pub(crate) fn captures(&self) -> &Captures {
        &self.captures
    }

    /// Tells whether clients come in.
    pub(crate) fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Relaxed) {
            0 => Gate::Open,
            1 => Gate::Held,
            _ => Gate::Closed,
        }
    }

    /// Notes whether clients come in.
    pub(crate) fn turn(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Relaxed);
    }

    /// Returns how the client's address is added to requests.
    pub(crate) fn forward_for(&self) -> Option<&ForwardFor> {
        self.forward_for.as_ref()
    }

    /// Returns where clients see the statistics.
    pub(crate) fn entrance(&self) -> Option<&Entrance> {
        self.entrance.as_ref()
    }

    /// Tells whether servers are not told that their connection closes.
    pub(crate) fn pretends(&self) -> bool {
        self.pretends
    }

    /// Returns how the address the client connected to is added to requests.
    pub(crate) fn original_to(&self) -> Option<&ForwardFor> {
        self.original_to.as_ref()
    }

    /// Returns what is said of clients in a field `Forwarded`.
    pub(crate) fn forwarded(&self) -> Option<Forwarded> {
        self.forwarded
    }

    /// Returns what becomes of request fields with unusual names; none if they stay.
    pub(crate) fn name_policy(&self) -> Option<NamePolicy> {
        self.name_policy
    }

    /// Returns what is asked of clients' sockets.
    pub(crate) fn upkeep(&self) -> Upkeep {
        self.upkeep
    }

    /// Returns what it compresses, if anything.
    pub(crate) fn compression(&self) -> Option<&Compression> {
        self.compression.as_ref()
    }

    /// Tells whether rules wait for the bodies of requests.
    pub(crate) fn buffers(&self) -> bool {
        self.buffers
    }

    /// Tells whether both connections close after each response.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Tells whether idle clients hear of the end of the process with their next response.
    pub(crate) fn keeps_idle(&self) -> bool {
        self.keeps_idle
    }

    /// Tells whether statistics know of bytes while they flow.
    pub(crate) fn counts_flows(&self) -> bool {
        self.counts_flows
    }

    /// Tells whether connections on which the client said nothing go unlogged.
    pub(crate) fn ignores_null(&self) -> bool {
        self.ignores_null
    }

    /// Tells whether connections on which the client said nothing are passed over.
    pub(crate) fn ignores_probes(&self) -> bool {
        self.ignores_probes
    }

    /// Tells whether a request for this target only asks whether we are there.
    pub(crate) fn is_monitor(&self, target: &[u8]) -> bool {
        self.monitor_uri.as_ref().is_some_and(|uri| uri.as_bytes() == target)
    }

    /// Returns where lines about its traffic go.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Counts a connection for as long as both are held.
    pub(crate) fn count(&self) -> [Counted; 2] {
        [Counted::new(&self.all_connections, &self.process), Counted::new(&self.connections, &self.meter)]
    }

    /// Returns how many connections the process and this frontend serve.
    pub(crate) fn connections(&self) -> (u32, u32) {
        (self.all_connections.load(Ordering::Relaxed), self.connections.load(Ordering::Relaxed))
    }

    /// Returns how busy it is, for others to know.
    pub(super) fn bustle(&self) -> Bustle {
        Bustle { name: self.name.clone(), connections: Arc::clone(&self.connections), meter: Arc::clone(&self.meter) }
    }

    /// Returns how busy the frontend of that name is.
    pub(crate) fn bustle_of(&self, name: &str) -> Option<&Bustle> {
        self.neighbours.of(name)
    }

    /// Returns its numbers.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Returns the numbers of the process.
    pub(crate) fn process(&self) -> &Arc<Meter> {
        &self.process
    }

    /// Returns how many new clients it takes in a second; 0 for any number.
    pub(crate) fn rate_limit(&self) -> u32 {
        self.pace.most()
    }

    /// Returns how many connections it may serve at a time.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.limit.as_ref().map(Limit::most)
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it understands of its traffic.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the timeouts of the client's side.
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Returns by when a request must be there that was waited for since `began`.
    pub(crate) fn head_end(&self, began: Instant) -> Option<tokio::time::Instant> {
        let limit = self.timeouts().of(Timeout::HttpRequest).or(self.timeouts().of(Timeout::Client));
        limit.map(|limit| tokio::time::Instant::from_std(began) + limit)
    }

    /// Returns the backends of TLS clients by the name they ask for.
    pub(crate) fn names(&self) -> Option<&Names> {
        self.names.as_ref()
    }

    /// Returns the pool of that name.
    pub(crate) fn pool(&self, name: &[u8]) -> Option<&Backend> {
        self.backends.named(name).and_then(|id| self.backends.of(id)).map(|backend| &**backend)
    }

    /// Returns the backend of whatever no rule sends elsewhere.
    pub(crate) fn default_backend(&self) -> Option<&Backend> {
        self.backend.as_deref()
    }

    /// Returns where its rules ask for names.
    pub(crate) fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Returns the rules.
    pub(crate) fn rules(&self) -> &ProxyRules {
        &self.rules
    }

    /// Returns the backend that a rule names, or the one of all other traffic.
    pub(crate) fn route(&self, view: &View<'_>) -> Option<&Arc<Backend>> {
        let named = self.rules.route(view, |name| self.backends.named(name));
        named.and_then(|id| self.backends.of(id)).or(self.backend.as_ref())
    }
}
