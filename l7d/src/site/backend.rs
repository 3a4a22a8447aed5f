//! A pool of servers at run time: who may be chosen, and the choice.

mod standing;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use control::config::{
    self, BackendId, EmailAlert, Forwarded, HashMethod, HttpReuse, Mode, NamePolicy, Protocol, ProxyOption, RetryOn, SendProxy,
    ServerAddress, ServerId, Timeouts,
};
use control::dns::Asker;
use control::fleet::{Fleet, View};
use control::server_state::Status;
use control::tls::Host;
use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::forward_for::{ForwardFor, forward_for, original_to};
use super::frontend::Frontend;
use super::has;
use super::name_policy;
use super::upkeep::Upkeep;
use super::watch::{Sign, Watch};
use crate::balance::{self, Balance, Bound, Candidate, Choice, Expression, Hasher, Inputs, Schedule, Seen, Subject};
use crate::brand::Brand;
use crate::compress::Compression;
use crate::downstream::Close;
use crate::log::Log;
use crate::peer::Peer;
use crate::queue::{Limits, Load, LoadId, Queue, Wants};
use crate::rdp::{self, Peek};
use crate::rules::{ProxyRules, Rules, ServerHost, View as Scenery};
use crate::stats::{Entrance, Meter};
use crate::stick::{Cookie, Hold, Named, dynamic_value};
use crate::tls::{Connector, Setup};
use crate::upstream::{Redispatch, Source, pool};
pub(crate) use standing::{Outlook, Standing};

/// A pool of servers.
#[derive(Debug)]
pub(crate) struct Backend {
    id: BackendId,
    name: String,
    mode: Mode,
    superseded: Arc<AtomicBool>,
    view: Arc<View>,
    servers: Vec<Server>,
    /// The loads of the servers, for who waits for any of them.
    loads: Arc<[Arc<Load>]>,
    balance: Balance,
    weights: Weights,
    /// What choices stick to, and how it is hashed.
    sticky: Option<(Subject, Hasher)>,
    all_backups: bool,
    timeouts: Timeouts,
    retries: u32,
    redispatch: Redispatch,
    retry_on: RetryOn,
    cookie: Option<Cookie>,
    /// The places of the servers by their values in the cookie.
    by_cookie: HashMap<Box<[u8]>, Vec<usize>>,
    persists: bool,
    /// The name of the cookie by which clients of RDP come back to their servers.
    rdp_cookie: Option<String>,
    prefers_last: bool,
    name_header: Option<String>,
    rules: Arc<ProxyRules>,
    /// Where its rules ask for names.
    asker: Asker,
    is_twin: bool,
    forward_for: Option<ForwardFor>,
    compression: Option<Compression>,
    entrance: Option<Entrance>,
    pretends: bool,
    original_to: Option<ForwardFor>,
    forwarded: Option<Forwarded>,
    name_policy: Option<NamePolicy>,
    upkeep: Upkeep,
    closes: bool,
    buffers: bool,
    close: Close,
    reuse: Reuse,
    queue: Arc<Queue>,
    meter: Arc<Meter>,
    /// Counts choices, so that every thread goes on where another left off.
    turn: AtomicU32,
    /// Where lines about its servers go.
    log: Arc<Log>,
}

/// Every pool of a site, by id and by name.
#[derive(Debug)]
pub(crate) struct Backends {
    list: Vec<Arc<Backend>>,
    by_name: HashMap<String, BackendId>,
}

impl Backends {
    /// Makes the list of all pools, in the order of their ids.
    pub(super) fn new(list: Vec<Arc<Backend>>) -> Self {
        let by_name = list.iter().map(|backend| (backend.name.clone(), backend.id)).collect();
        Self { list, by_name }
    }

    /// Returns every pool, in the order of their ids.
    pub(super) fn all(&self) -> &[Arc<Backend>] {
        &self.list
    }

    /// Returns the pool of an id.
    pub(super) fn of(&self, id: BackendId) -> Option<&Arc<Backend>> {
        self.list.get(id.index())
    }

    /// Returns the id of the pool of that name.
    pub(super) fn named(&self, name: &[u8]) -> Option<BackendId> {
        self.by_name.get(str::from_utf8(name).ok()?).copied()
    }
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Server {
    id: ServerId,
    name: String,
    model: config::Server,
    /// None if it depends on the port the client connected to.
    address: Option<SocketAddrAny>,
    address_text: Box<str>,
    source: Option<Source>,
    /// What begins TLS with it, and the host it is asked for.
    tls: Option<(Arc<Connector>, Option<Arc<ServerHost>>)>,
    /// What the persistence cookie calls it.
    cookie: Option<Box<[u8]>>,
    /// What looks at the traffic with it.
    watch: Option<Watch>,
    load: Arc<Load>,
    meter: Arc<Meter>,
    /// Made of the name, so that no other server's coming or going changes it.
    seed: u64,
}

/// Which weights choices go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weights {
    /// Those in force, with slow start and what was set at run time.
    Live,
    /// Those of the configuration.
    Fixed,
}

/// Which requests a connection to a server may serve after its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// None.
    Nothing,
    /// Those of the same client.
    Own,
    /// All but the first of another client; while it carries several at a time, those of one client.
    Safe,
    /// Also the first of another client, once it has served again.
    Aggressive,
    /// All.
    Always,
    /// All but the first of another client if that must not be repeated: who may be repeated does not see that a connection was dead.
    Repeatable,
}

impl Backend {
    pub(super) fn new(
        superseded: &Arc<AtomicBool>,
        (fleet, view): (&Fleet, &Arc<View>),
        (model, rules, tls, log): (&config::Backend, &Rules, &Setup, Arc<Log>),
        threads: usize,
        before: Option<&Self>,
    ) -> Self {
        let key = model.cookie().and_then(config::Cookie::dynamic_key);
        let server = |server: &config::Server| {
            let tls = tls.connector(model, server).map(|connector| (Arc::clone(connector), rules.host_of(server)));
            Server {
                cookie: cookie_value(server, key),
                watch: Watch::new(fleet, view, server),
                ..Server::new(server, tls, threads, before)
            }
        };
        let servers: Vec<_> = view.config().servers_of(model.id()).iter().map(server).collect();
        let mut by_cookie: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
        for (place, server) in servers.iter().enumerate().filter(|_| model.cookie().is_some()) {
            if let Some(value) = &server.cookie {
                by_cookie.entry(value.clone()).or_default().push(place);
            }
        }
        let loads = servers.iter().map(|server| Arc::clone(&server.load)).collect();
        let redispatch = model.options().iter().find_map(|option| {
            let ProxyOption::Redispatch(every) = option.value() else { return None };
            Some(every.map_or(Redispatch::Last, Redispatch::Every))
        });
        let queue = before.map_or_else(Arc::default, |backend| Arc::clone(&backend.queue));
        queue.set_fullconn(model.fullconn().filter(|_| servers.iter().any(|server| server.model.minconn().is_some())));
        let balance = balance(model);
        let backend = Self {
            id: model.id(),
            name: model.name().to_owned(),
            mode: model.mode(),
            superseded: Arc::clone(superseded),
            view: Arc::clone(view),
            servers,
            loads,
            balance,
            weights: weights(model.balance(), balance),
            sticky: subject(model.balance()).map(|subject| (subject, Hasher::new(model.hash_type()))),
            all_backups: has(model.options(), &ProxyOption::AllBackups),
            rules: rules.of_backend(model),
            asker: fleet.asker(),
            is_twin: model.is_twin(),
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
            upkeep: Upkeep::of(model.options(), &ProxyOption::ServerKeepAlive, model.probes()),
            closes: has(model.options(), &ProxyOption::HttpClose),
            buffers: has(model.options(), &ProxyOption::HttpBufferRequest),
            close: if has(model.options(), &ProxyOption::AbortOnClose) { Close::TakesBack } else { Close::Nothing },
            reuse: reuse(model),
            timeouts: *model.timeouts(),
            retries: model.retries(),
            redispatch: redispatch.unwrap_or(Redispatch::Never),
            retry_on: model.retry_on(),
            cookie: model.cookie().map(Cookie::new),
            by_cookie,
            persists: has(model.options(), &ProxyOption::Persist),
            rdp_cookie: model.rdp_cookie().map(str::to_owned),
            prefers_last: has(model.options(), &ProxyOption::PreferLastServer),
            name_header: model.name_header().map(str::to_owned),
            queue,
            meter: before.map_or_else(|| Arc::new(Meter::new(threads)), |backend| Arc::clone(&backend.meter)),
            turn: AtomicU32::new(0),
            log,
        };
        backend.follow();
        backend
    }

    /// Lets the queue know which servers may be chosen and how much of their load they bear; to be called whenever that changes.
    pub(super) fn follow(&self) {
        self.meter.stand(self.servers.is_empty() || self.servers.iter().any(|server| self.view.status(server.id) == Status::Up));
        let mut candidates = Vec::new();
        self.gather(&mut candidates);
        for (place, server) in self.servers.iter().enumerate() {
            server.load.set_limits(limits(&server.model, self.view.maxconn(server.id)));
            let is_candidate = candidates.iter().any(|candidate| candidate.place == place);
            Queue::admit(&self.queue, &server.load, if is_candidate { self.view.ramp(server.id) } else { 0 });
        }
    }

    /// Returns the id.
    pub(crate) fn id(&self) -> BackendId {
        self.id
    }

    /// Returns where lines about its servers go.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Returns what is told of its servers by mail.
    pub(crate) fn alert(&self) -> Option<&EmailAlert> {
        self.view.config().backend(self.id).alert()
    }

    /// Returns its numbers.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it understands of its traffic.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the servers in the order of the file; a server's place is its index here.
    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Returns what a waiter for any server, or for the one at a place, wants.
    pub(crate) fn wants(&self, place: Option<usize>) -> Wants {
        match place.and_then(|place| self.loads.get(place)) {
            Some(load) => Wants::One(Arc::clone(load)),
            None => Wants::Any(Arc::clone(&self.loads)),
        }
    }

    /// Returns the timeouts of the servers' side.
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Returns who waits for a slot.
    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Returns how many servers take traffic.
    pub(crate) fn usable_servers(&self) -> usize {
        let mut candidates = Vec::new();
        self.gather(&mut candidates);
        candidates.len()
    }

    /// Returns the weight of the server at a place, with slow start and what was set at run time.
    pub(crate) fn weight(&self, place: usize) -> u32 {
        let in_force = |server: &Server| self.view.effective_weight(server.id).div_ceil(control::server_state::WEIGHT_SCALE);
        // One that is down keeps its weight for later.
        self.servers.get(place).map_or(0, |server| if self.is_up(place) { in_force(server) } else { server.model.weight().into() })
    }

    /// Returns how many wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting(&self.loads)
    }

    /// Returns how often a failed connection is tried again.
    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    /// Returns when it is tried on another server.
    pub(crate) fn redispatch(&self) -> Redispatch {
        self.redispatch
    }

    /// Tells whether it is the other half of this frontend, whose rules are also its own and hold once.
    pub(crate) fn is_twin_of(&self, frontend: &Frontend) -> bool {
        self.is_twin && self.name == frontend.name()
    }

    /// Returns the cookie that keeps clients with their servers.
    pub(crate) fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// Tells whether clients stay with a server that is down until it cannot be connected to.
    pub(crate) fn persists(&self) -> bool {
        self.persists
    }

    /// Tells whether clients of RDP come back to the servers they were told of.
    pub(crate) fn heeds_rdp(&self) -> bool {
        self.rdp_cookie.is_some()
    }

    /// Returns the server that a client of RDP was told to come back to, as its first bytes say.
    pub(crate) fn named_by_rdp(&self, bytes: &[u8]) -> Option<usize> {
        let Peek::Value(value) = rdp::peek(bytes, Some(self.rdp_cookie.as_ref()?.as_bytes())) else { return None };
        let address = rdp::address(value)?;
        let is_it = |server: &Server| server.model().ip() == Some(address.ip()) && server.model().port() == Some(address.port());
        let mut places = (0..self.servers.len()).filter(|place| is_it(&self.servers[*place]));
        places.find(|place| self.persists || self.is_up(*place))
    }

    /// Returns whom a value of the cookie names: the first server of that value that is up, or down and held nevertheless.
    pub(crate) fn named_by_cookie(&self, value: &[u8], hold: Hold) -> Named {
        let Some(places) = self.by_cookie.get(value) else { return Named::Nobody };
        for place in places {
            if self.is_up(*place) {
                return Named::Server(*place);
            }
            if hold != Hold::WhileUp {
                return Named::DownServer(*place);
            }
        }
        Named::Down
    }

    /// Tells whether a server serves the clients that belong to it, also if it takes no others.
    pub(crate) fn is_up(&self, place: usize) -> bool {
        let is_up = |server: &Server| match self.view.status(server.id) {
            Status::Up | Status::Drain => true,
            // A newer configuration may have taken it away; who came in before it is still served.
            Status::Down | Status::Maint => self.superseded.load(Ordering::Acquire),
        };
        self.servers.get(place).filter(|server| server.model.lack().is_none()).is_some_and(is_up)
    }

    /// Tells whether a request goes where its client still has a connection of its own.
    pub(crate) fn prefers_last(&self) -> bool {
        self.prefers_last
    }

    /// Returns the place of the server of a load, if it takes traffic.
    pub(crate) fn place_of(&self, load: LoadId) -> Option<usize> {
        let place = self.servers.iter().position(|server| server.load.id() == load)?;
        (self.view.effective_weight(self.servers[place].id) > 0).then_some(place)
    }

    /// Returns the header field that tells a server its name.
    pub(crate) fn name_header(&self) -> Option<&str> {
        self.name_header.as_deref()
    }

    /// Returns what makes a failed request go to a server again.
    pub(crate) fn retry_on(&self) -> RetryOn {
        self.retry_on
    }

    /// Returns where its rules ask for names.
    pub(crate) fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Returns the rules.
    pub(crate) fn rules(&self) -> &ProxyRules {
        &self.rules
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

    /// Returns what is asked of servers' sockets.
    pub(crate) fn upkeep(&self) -> Upkeep {
        self.upkeep
    }

    /// Returns what it compresses, if anything.
    pub(crate) fn compression(&self) -> Option<&Compression> {
        self.compression.as_ref()
    }

    /// Returns what it means that a client closes before it has its answer.
    pub(crate) fn close(&self) -> Close {
        self.close
    }

    /// Tells whether rules wait for the bodies of requests.
    pub(crate) fn buffers(&self) -> bool {
        self.buffers
    }

    /// Tells whether both connections close after each response.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Returns what a connection to one of its servers may serve after its first request.
    pub(crate) fn reuse(&self) -> Reuse {
        self.reuse
    }

    /// Returns the key by which servers are chosen for a connection or request; none where they are not chosen by a key, or it has none.
    pub(crate) fn key(&self, seen: Seen<'_>) -> Option<u32> {
        let (subject, hasher) = self.sticky.as_ref()?;
        subject.key(seen, *hasher)
    }

    /// Chooses a server for a key; `avoid` only if there is no other.
    pub(crate) fn choose(&self, key: Option<u32>, avoid: Option<usize>) -> Choice {
        SCRATCH.with_borrow_mut(|scratch| {
            self.gather(&mut scratch.candidates);
            if scratch.candidates.len() > 1 {
                scratch.candidates.retain(|candidate| Some(candidate.place) != avoid);
            }
            if scratch.schedules.len() <= self.id.index() {
                scratch.schedules.resize_with(self.id.index() + 1, Schedule::default);
            }
            let turn = || self.turn.fetch_add(1, Ordering::Relaxed);
            let inputs = Inputs { key, turn, draw: |below: u32| fastrand::u32(..below.max(1)) };
            self.balance.choose(&scratch.candidates, &mut scratch.schedules[self.id.index()], inputs)
        })
    }

    /// Collects the servers that take traffic: the ordinary ones, or if there is none the first backup or all of them.
    fn gather(&self, candidates: &mut Vec<Candidate>) {
        candidates.clear();
        candidates.extend(self.usable(false));
        if candidates.is_empty() {
            let backups = if self.all_backups { usize::MAX } else { 1 };
            candidates.extend(self.usable(true).take(backups));
        }
        if candidates.is_empty() && self.superseded.load(Ordering::Acquire) {
            // A newer configuration may have taken all these servers away; who came in before it is still served.
            candidates.extend(self.candidates(|server| u32::from(server.model.weight())));
        }
    }

    fn usable(&self, backup: bool) -> impl Iterator<Item = Candidate> {
        self.candidates(move |server| match (self.view.effective_weight(server.id), self.weights) {
            (0, _) => 0,
            _ if server.model.backup() != backup => 0,
            (weight, Weights::Live) => weight,
            (_, Weights::Fixed) => u32::from(server.model.weight()),
        })
    }

    /// Returns the servers to which `weight` gives any.
    fn candidates(&self, weight: impl Fn(&Server) -> u32) -> impl Iterator<Item = Candidate> {
        self.servers.iter().enumerate().filter_map(move |(place, server)| {
            // One that has just been found is up before this site's successor knows where it is.
            let weight = if server.model.lack().is_none() { weight(server) } else { 0 };
            (weight > 0).then(|| {
                let busy = server.load.active().saturating_add(server.load.waiting());
                Candidate { place, weight, busy, room: self.queue.room(&server.load), seed: server.seed }
            })
        })
    }
}

impl Server {
    fn new(
        model: &config::Server,
        tls: Option<(Arc<Connector>, Option<Arc<ServerHost>>)>,
        threads: usize,
        before: Option<&Backend>,
    ) -> Self {
        let same = |old: &&Self| old.name == model.name() && old.model.address().is_same_place(model.address());
        let old = before.and_then(|backend| backend.servers.iter().find(same));
        let limits = limits(model, None);
        let load = match old {
            Some(old) => {
                old.load.set_limits(limits);
                Arc::clone(&old.load)
            }
            None => Arc::new(Load::new(limits)),
        };
        // A server that moved is the same to who reads the numbers.
        let namesake = before.and_then(|backend| backend.servers.iter().find(|old| old.name == model.name()));
        let meter = namesake.map_or_else(|| Arc::new(Meter::new(threads)), |old| Arc::clone(&old.meter));
        let seed = balance::spread(model.name().as_bytes());
        Self {
            id: model.id(),
            name: model.name().to_owned(),
            model: model.clone(),
            address: address(model.address()),
            address_text: address_text(model.address()),
            source: model.source().map(Source::new),
            tls,
            cookie: None,
            watch: None,
            load,
            meter,
            seed,
        }
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns where clients are sent; none if that depends on where they wanted to go.
    pub(crate) fn address(&self) -> Option<&SocketAddrAny> {
        self.address.as_ref()
    }

    /// Returns its address as tables know it; nothing where it has none.
    pub(crate) fn address_text(&self) -> &str {
        &self.address_text
    }

    /// Returns where a client is sent that wanted to go to `destination`.
    pub(crate) fn address_for(&self, destination: SocketAddr) -> Option<SocketAddrAny> {
        let own = self.model.address_for(destination.port())?;
        let ip = if own.ip().is_unspecified() { destination.ip() } else { own.ip() };
        // Nobody is there, and connecting would lead back to this host.
        (!ip.is_unspecified()).then(|| SocketAddr::new(ip, own.port()).into())
    }

    /// Returns where connections to it come from; none leaves it to the system.
    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// Returns what the persistence cookie calls it; nothing where no client is to stay with it.
    pub(crate) fn cookie(&self) -> Option<&[u8]> {
        self.cookie.as_deref()
    }

    /// Returns how long what was sent to it may go unacknowledged.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.model.patience()
    }

    /// Tells whether a connection to it can begin with its first bytes: there are such at once, whoever speaks first else.
    pub(crate) fn opens_fast(&self, mode: Mode) -> bool {
        self.model.fast_open() && (mode == Mode::Http || self.model.send_proxy().is_some() || self.tls.is_some())
    }

    /// Returns the PROXY header that begins each connection to it.
    pub(crate) fn send_proxy(&self) -> Option<SendProxy> {
        self.model.send_proxy()
    }

    /// Tells whether a connection to it may serve one client after another: not if it began by naming one.
    pub(crate) fn shares_connections(&self) -> bool {
        self.model.send_proxy().is_none()
    }

    /// Returns its numbers.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Returns its numbers for whoever counts there after a reload, too.
    pub(crate) fn shared_meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Returns what the configuration says about it.
    pub(crate) fn model(&self) -> &config::Server {
        &self.model
    }

    /// Returns what it speaks; none leaves it to what TLS agrees on.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.model.protocol()
    }

    /// Returns what begins TLS with it.
    pub(crate) fn connector(&self) -> Option<&Connector> {
        self.tls.as_ref().map(|(connector, _)| &**connector)
    }

    /// Returns the host that it is asked for, where there is TLS and something to ask for.
    pub(crate) fn host(&self, view: &Scenery<'_>) -> Option<Cow<'_, [u8]>> {
        let (_, host) = self.tls.as_ref()?;
        host.as_ref()?.value(view)
    }

    /// Tells whether it is asked for a host.
    pub(crate) fn wants_host(&self) -> bool {
        self.tls.as_ref().is_some_and(|(_, host)| host.is_some())
    }

    /// Returns which idle connections to it will do for a client who asks it for a host, and wants packets to carry something.
    pub(crate) fn kind(&self, host: Host<'_>, (brand, client): (Brand, Peer)) -> pool::Key {
        let kinship = self.connector().map_or(0, |connector| connector.kinship(host));
        let guise = self.source.as_ref().and_then(|source| source.guise(client));
        pool::Key { server: self.load.id(), kind: pool::Kind { kinship, brand, guise } }
    }

    /// Takes in what was seen of it.
    pub(crate) fn note(&self, sign: Sign) {
        if let Some(watch) = &self.watch {
            watch.note(sign);
        }
    }

    /// Returns what it carries.
    pub(crate) fn load(&self) -> &Arc<Load> {
        &self.load
    }
}

/// Returns what a server may carry; `maxconn` is what its agent asks for.
fn limits(model: &config::Server, maxconn: Option<u32>) -> Limits {
    Limits { most: maxconn.or(model.maxconn()), least: model.minconn(), waiting: model.maxqueue() }
}

/// Returns a server's own value in the persistence cookie, or the one that a key makes of its address.
fn cookie_value(model: &config::Server, key: Option<&str>) -> Option<Box<[u8]>> {
    let dynamic = || Some(dynamic_value(model.ip()?, model.port().unwrap_or(0), key?));
    model.cookie().map(str::to_owned).or_else(dynamic).map(|value| value.into_bytes().into())
}

/// Returns an address in the form HAProxy's tables have.
fn address_text(model: &ServerAddress) -> Box<str> {
    let text = match model {
        ServerAddress::Inet(..) | ServerAddress::Named(_) => {
            model.ip().zip(model.port()).map(|(ip, port)| format!("{ip}:{port}")).unwrap_or_default()
        }
        ServerAddress::Unix(unix) => unix.to_string(),
    };
    text.into()
}

/// Returns an address in the system's form.
fn address(model: &ServerAddress) -> Option<SocketAddrAny> {
    match model {
        ServerAddress::Inet(..) | ServerAddress::Named(_) => {
            Some(SocketAddr::new(model.ip().filter(|ip| !ip.is_unspecified())?, model.port()?).into())
        }
        ServerAddress::Unix(unix) => {
            let address = match unix.path() {
                Some(path) => SocketAddrUnix::new(path),
                None => SocketAddrUnix::new_abstract_name(&unix.abstract_name().unwrap_or_default()),
            };
            Some(address.expect("the configuration bounds the length of names").into())
        }
    }
}

fn reuse(model: &config::Backend) -> Reuse {
    match model.http_reuse() {
        _ if has(model.options(), &ProxyOption::HttpServerClose) => Reuse::Nothing,
        None => Reuse::Repeatable,
        Some(HttpReuse::Never) => Reuse::Own,
        Some(HttpReuse::Safe) => Reuse::Safe,
        Some(HttpReuse::Aggressive) => Reuse::Aggressive,
        Some(HttpReuse::Always) => Reuse::Always,
    }
}

fn balance(model: &config::Backend) -> Balance {
    let bound = model.hash_balance_factor().map(Bound::new);
    match (model.balance(), model.hash_type().method()) {
        (config::Balance::RoundRobin | config::Balance::StaticRoundRobin, _) => Balance::RoundRobin,
        (config::Balance::LeastConn, _) => Balance::LeastConn,
        (config::Balance::First, _) => Balance::First,
        (config::Balance::Random(draws), _) => Balance::Random(*draws, bound),
        (_, HashMethod::MapBased) => Balance::Map,
        (_, HashMethod::Consistent) => Balance::Consistent(bound),
    }
}

/// As in HAProxy, weights that change count only where nothing has to be computed anew for them.
fn weights(model: &config::Balance, balance: Balance) -> Weights {
    if *model == config::Balance::StaticRoundRobin || balance == Balance::Map { Weights::Fixed } else { Weights::Live }
}

fn subject(model: &config::Balance) -> Option<Subject> {
    match model {
        config::Balance::Source => Some(Subject::Client),
        config::Balance::Uri(of) => Some(Subject::Uri(*of)),
        config::Balance::UrlParam(name) => Some(Subject::UrlParam(name.clone())),
        config::Balance::Header(of) => Some(Subject::Header(of.clone())),
        config::Balance::RdpCookie(name) => Some(Subject::RdpCookie(name.clone())),
        config::Balance::Hash(expression) => Expression::parse(expression).map(Subject::Expression),
        config::Balance::RoundRobin
        | config::Balance::StaticRoundRobin
        | config::Balance::LeastConn
        | config::Balance::First
        | config::Balance::Random(_) => None,
    }
}

/// What choosing needs and every thread keeps for itself.
#[derive(Debug, Default)]
struct Scratch {
    candidates: Vec<Candidate>,
    /// By backend; each is checked against the weights it is asked for, so another site's does no harm.
    schedules: Vec<Schedule>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}
