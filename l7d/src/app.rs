//! The life of the daemon: start, reload, drain.
//!
//! The main thread checks servers, answers the metrics endpoint and listens for signals; the workers serve clients. SIGHUP or SIGUSR2 reads the
//! file again and swaps the whole site; SIGTERM, SIGINT and SIGUSR1 stop accepting and wait for the connections to end, a second
//! SIGTERM or SIGINT does not wait.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use control::admin::{Language, Listener, Reply, Terms};
use control::config::{Config, Diagnostic, Global, Report, Server, StatsSocket};
use control::dns::{self, Book, Moves};
use control::exposition::{self, Metrics};
use control::file;
use control::fleet::Fleet;
use control::health;
use control::shutdown::Trigger;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::admin::{self, Amendment, Engine, Errand, Hands, OnDisk, Reloaded};
use crate::archive;
use crate::bind::{self, Sharing, Spec};
use crate::explain::{self, Explanation, Question};
use crate::h1;
use crate::h2;
use crate::h3;
use crate::inherit;
use crate::life::{self, Launch, Rights, Terminate};
use crate::log::{self, Forwarding, Logs};
use crate::marked;
use crate::otlp::{self, Exporter};
use crate::pace;
use crate::peers::{self, Peering, Start};
use crate::rules::Rules;
use crate::site::{Gate, Site};
use crate::stats::Stats;
use crate::steward::Steward;
use crate::support;
use crate::tls::{Setup, ocsp};
use crate::upstream;
use crate::worker::{self, Order, Plan};

/// A configuration that can be served, with the files it names.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) config: Config,
    /// What became of its rules.
    pub(crate) rules: Rules,
    /// What it names for TLS.
    pub(crate) tls: Setup,
    /// What is odd about its peers.
    peers: Report,
    /// What this process is called among them.
    local_peer: String,
}

impl Loaded {
    /// Finds the first addresses of servers that have names; `before` is the configuration that this one takes the place of.
    async fn settled(self, before: Option<&Config>) -> anyhow::Result<Self> {
        let config = dns::settle(self.config, before).await.map_err(|report| anyhow::anyhow!("{}", report.to_string().trim_end()))?;
        Ok(Self { config, ..self })
    }

    /// Returns everything that is valid and will surprise.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        let advice = support::advise(&self.config);
        let reports = [self.config.warnings(), self.rules.warnings(), &advice, self.tls.warnings(), &self.peers];
        reports.map(|report| report.diagnostics().to_vec()).into_iter().flatten()
    }
}

/// Reads files and those they name, and checks that all of it can be served; `before` is what it takes the place of.
///
/// # Errors
/// Everything wrong with them.
pub(crate) fn load(files: &[PathBuf], local_peer: Option<&str>, before: Option<&Site>) -> Result<Loaded, Report> {
    let config = Config::draft(files)?;
    let found = Some(config.warnings().clone()).filter(Report::has_errors);
    let rules = Rules::compile(&config, before.map(Site::rules));
    let local_peer = peers::local_name(&config, local_peer);
    let peers = peers::check(&config, &local_peer);
    let peers_fault = Some(peers.clone()).filter(Report::has_errors);
    match (found, peers_fault, support::check(&config), rules, Setup::load(&config, before.map(Site::tls))) {
        (None, None, Ok(()), Ok(rules), Ok(tls)) => Ok(Loaded { config, rules, tls, peers, local_peer }),
        (found, peers, supported, rules, tls) => {
            let reports = [found, peers, supported.err(), rules.err(), tls.err()];
            Err(reports.iter().flatten().flat_map(Report::diagnostics).cloned().collect::<Vec<_>>().into())
        }
    }
}

/// Explains what would become of a request if a configuration were in force, all of whose servers are as they are when it begins.
///
/// # Errors
/// Says what of the question makes no sense, or what the system lacks.
pub(crate) fn explain(loaded: Loaded, question: &Question) -> anyhow::Result<Explanation> {
    let certificate =
        question.cert.as_ref().map(|path| file::read(path, LONGEST_CERTIFICATE).with_context(|| path.display().to_string())).transpose()?;
    let logs = Logs::silent(&loaded.config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let Loaded { config, rules, tls, peers: _, local_peer: _ } = runtime.block_on(loaded.settled(None))?;
    let fleet = Fleet::new(Arc::new(config));
    let site = Site::new(&fleet, logs, (rules, tls), 1, None);
    runtime.block_on(explain::explain(&site, question, certificate.as_deref())).map_err(anyhow::Error::msg)
}

/// Looks whether the names of servers lead somewhere, where they have to.
///
/// # Errors
/// Those that do not; fails also if the system lacks what that needs.
pub(crate) fn check_names(config: &Config) -> anyhow::Result<Result<(), Report>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    Ok(runtime.block_on(dns::settle(config.clone(), None)).map(drop))
}

/// Serves the configuration in `files` until told to stop.
///
/// # Errors
/// Fails if an address cannot be bound or the system lacks what the daemon needs.
pub(crate) fn run(files: &[PathBuf], loaded: Loaded, launch: Launch) -> anyhow::Result<()> {
    raise_descriptor_limit();
    launch.limit_memory()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        life::find_manager();
        let silence = launch.silence()?;
        let loaded = loaded.settled(None).await?;
        let mut daemon = Daemon::start(files.to_owned(), loaded, &launch).await?;
        life::notify(&launch.ready());
        life::watchdog().into_iter().for_each(|every| drop(tokio::spawn(daemon.engine.clone().reassure(every))));
        if let Some(silence) = silence {
            life::detach(&silence)?;
        }
        let wish = loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Reload => drop(daemon.reload().await),
                    wish @ (Wish::Drain | Wish::Terminate) => break wish,
                },
                Some(errand) = daemon.wishes.recv() => match errand {
                    Errand::Amend(amendment) => daemon.amend(amendment).await,
                    // Who asked may have left.
                    Errand::Reload(done) => drop(done.send(daemon.reload().await)),
                    Errand::Look(patterns, done) => drop(done.send(daemon.look(&patterns))),
                },
                Some(moves) = daemon.moves.recv() => daemon.relocate(moves).await,
            }
        };
        life::notify("STOPPING=1");
        if wish == Wish::Terminate && launch.terminate == Terminate::Now {
            return daemon.end().await;
        }
        let patience = daemon.fleet.config().global().hard_stop_after();
        tokio::select! {
            () = daemon.drain() => {}
            () = signals.stop_now() => warn!("stopping without waiting for connections"),
            () = wait_for(patience) => warn!("stopping as hard-stop-after says, without waiting for connections"),
        }
        daemon.end().await
    })
}

/// A connection takes two descriptors; how many there may be is the administrator's decision, so all of it is used.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("descriptor limit not raised: {error}");
    }
}

struct Daemon {
    files: Vec<PathBuf>,
    /// What the command line calls this process among its peers.
    local_peer: Option<String>,
    /// How many connections the command line allows, whatever the files say.
    maxconn: Option<u32>,
    fleet: Fleet,
    trigger: Trigger,
    site: watch::Sender<Arc<Site>>,
    stats: Stats,
    workers: Vec<Worker>,
    metrics: Option<Endpoint>,
    engine: Engine,
    language: Arc<Language<Engine>>,
    admin: Vec<Desk>,
    /// Who can still do what this process gave up.
    steward: Option<Steward>,
    /// What commands want of the configuration.
    wishes: mpsc::Receiver<Errand>,
    /// Servers whose names lead elsewhere.
    moves: mpsc::Receiver<Moves>,
    peering: Peering,
    forwarding: Forwarding,
    /// What sends spans of requests.
    spans: Exporter,
    /// What keeps the tables in their file.
    archive: Option<tokio::task::JoinHandle<()>>,
}

/// For how many servers the page's administrators can have the sessions ended at a time.
const ENDS: usize = 4096;

/// Addresses, each with its sockets.
type Listening = Vec<(Spec, Vec<OwnedFd>)>;

/// A socket of the runtime interface.
struct Desk {
    spec: Spec,
    terms: Terms,
    socket: OwnedFd,
    task: tokio::task::JoinHandle<()>,
}

struct Worker {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

struct Endpoint {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Daemon {
    async fn start(files: Vec<PathBuf>, loaded: Loaded, launch: &Launch) -> anyhow::Result<Self> {
        let warnings: Vec<String> = loaded.warnings().map(|warning| warning.to_string()).collect();
        let Loaded { config, rules, tls, peers: _, local_peer } = loaded;
        let config = launch.limited(config);
        let threads = config.global().threads().map_or_else(available_threads, usize::from);
        support::announce(&config);
        let heritage = launch.heritage()?;
        let (sharing, rights) = (launch.sharing(heritage.as_ref()), Rights::of(config.global())?);
        let sockets = bind::bind_all(&wanted(&config, None), threads, sharing)?;
        let desks = open(bind::bind_all(&wanted_for_commands(&config, &[]), 1, sharing)?);
        let masters: Vec<Spec> = launch.master.iter().flat_map(bind::specs_of_admin).collect();
        let masters = bind::bind_all(&masters, 1, sharing)?;
        let guests = peers::bind(&config, &local_peer, sharing)?;
        let logs = Logs::of(&config, &Logs::default()).context("log targets")?;
        let forwarding = Forwarding::start(&config, &logs, &Forwarding::default()).context("log-forward")?;
        follow_limits(config.global());
        let config = Arc::new(config);
        let fleet = Fleet::new(Arc::clone(&config));
        // Read at the start alone: a reload inside the process loses no state.
        control::admin::restore(&fleet).iter().for_each(|complaint| warn!("{complaint}"));
        let steward = rights.are_less().then(|| Steward::start(&files, threads, launch.local_peer.as_deref())).transpose()?;
        // Whatever takes rights of its own is bound by now.
        launch.take_over(config.global())?;
        rights.take()?;
        check_rights(&config)?;
        let site = watch::Sender::new(Arc::new(Site::new(&fleet, logs, (rules, tls), threads, None)));
        let (trigger, peering) = (Trigger::new(), Peering::default());
        let stats = Stats::new(fleet.clone(), site.subscribe(), (peering.roster(), trigger.shutdown()));
        let (ends, ending) = mpsc::channel(ENDS);
        crate::stats::show(stats.clone(), ends);
        let workers: std::io::Result<Vec<_>> = (0..threads)
            .map(|number| {
                let (orders, inbox) = mpsc::channel(1);
                worker::start(number, inbox, trigger.shutdown()).map(|thread| Worker { orders, thread })
            })
            .collect();
        tokio::spawn(ocsp::follow(site.subscribe()));
        tokio::spawn(log::follow(fleet.events(), site.subscribe()));
        let current = site.subscribe();
        let load = move |backend: &str, server: &str| current.borrow().load(backend, server);
        let daemon = health::Daemon { load: Box::new(load), prepare: inherit::keep_from };
        tokio::spawn(health::run(fleet.clone(), daemon, trigger.shutdown()));
        let (book, (movers, moves)) = (Book::default(), mpsc::channel(1));
        tokio::spawn(dns::run(fleet.clone(), book.clone(), movers, trigger.shutdown()));
        tokio::spawn(Site::follow(Arc::downgrade(&site.borrow()), fleet.subscribe()));
        tokio::spawn(stats.clone().follow_rates());
        tokio::spawn(crate::stats::follow_kernel(fleet.clone()));
        let spans = Exporter::start(fleet.clone());
        let workers = workers.context("no thread")?;
        let (app, wishes) = mpsc::channel(1);
        let hands = Hands { app, workers: workers.iter().map(|worker| worker.orders.downgrade()).collect() };
        let engine = Engine::new(fleet.clone(), site.subscribe(), stats.clone(), (hands, peering.roster(), book));
        engine.note_loaded(config);
        engine.note_warnings(&warnings);
        tokio::spawn(marked::follow(fleet.subscribe(), engine.clone()));
        tokio::spawn(engine.clone().end_as_told(ending));
        let language = Arc::new(admin::language(engine.clone()));
        let (local, admin, maxconn) = (launch.local_peer.clone(), Vec::new(), launch.maxconn);
        let mut daemon = Self {
            files,
            local_peer: local,
            maxconn,
            fleet,
            trigger,
            site,
            stats,
            workers,
            metrics: None,
            engine,
            language,
            admin,
            steward,
            wishes,
            moves,
            peering,
            forwarding,
            spans,
            archive: None,
        };
        daemon.keep_tables();
        let start = if launch.predecessors.is_empty() { Start::Afresh } else { Start::AsSuccessor };
        daemon.follow_peers(&local_peer, guests, start);
        daemon.order(sockets).await;
        daemon.follow_admin(desks)?;
        daemon.serve_master(launch.master.as_ref(), masters)?;
        daemon.follow_metrics().await?;
        info!("serving {} with {threads} threads", shown(&daemon.files));
        Ok(daemon)
    }

    /// Reads the file again; keeps everything as it was if that cannot be served.
    async fn reload(&mut self) -> Reloaded {
        info!("reloading {}", shown(&self.files));
        life::notify(&life::reloading());
        let outcome = match self.try_reload().await {
            Ok(warnings) => Reloaded::Done(warnings),
            Err(error) => {
                error!("configuration unchanged: {error:#}");
                Reloaded::Refused(format!("{error:#}"))
            }
        };
        self.engine.reloads().count(&outcome);
        life::notify("READY=1");
        outcome
    }

    /// Returns the warnings about what is in force then.
    async fn try_reload(&mut self) -> anyhow::Result<Vec<String>> {
        let before = Arc::clone(&self.site.borrow());
        let local = self.local_peer.as_deref();
        let loaded = match &mut self.steward {
            Some(steward) => file::from(steward.read()?, || load(&self.files, local, Some(&before)))?,
            None => load(&self.files, local, Some(&before))?,
        };
        let warnings: Vec<String> = loaded.warnings().map(|warning| warning.to_string()).collect();
        warnings.iter().for_each(|warning| warn!("{warning}"));
        let loaded = loaded.settled(Some(&self.fleet.config())).await?;
        let Loaded { config, rules, tls, peers: _, local_peer } = loaded;
        if config.global().threads().is_some_and(|threads| usize::from(threads) != self.workers.len()) {
            warn!("the number of threads changes at the next start");
        }
        if config.global().external_setuid() && !self.fleet.config().global().external_setuid() {
            warn!("insecure-setuid-wanted acts from the next start on: the process has given up what it would keep");
        }
        // What the system may refuse comes first, while nothing has changed yet.
        let logs = Logs::of(&config, before.logs()).context("log targets")?;
        check_rights(&config)?;
        let forwarding = Forwarding::start(&config, &logs, &self.forwarding).context("log-forward")?;
        let (sockets, desks) = self.bind(&config, &before)?;
        support::announce(&config);
        before.frontends().filter(|frontend| frontend.gate() == Gate::Closed).for_each(|frontend| frontend.turn(Gate::Open));
        before.supersede();
        follow_limits(config.global());
        let config = Arc::new(self.maxconn.map(|most| config.with_maxconn(Some(most))).unwrap_or(config));
        self.forwarding = forwarding;
        self.engine.note_loaded(Arc::clone(&config));
        self.engine.note_warnings(&warnings);
        self.fleet.replace(config);
        self.put_in_force(Site::new(&self.fleet, logs, (rules, tls), self.workers.len(), Some(&before)));
        self.follow_peers(&local_peer, HashMap::new(), Start::Afresh);
        self.order(sockets).await;
        if let Err(error) = self.follow_metrics().await {
            error!("no metrics: {error:#}");
        }
        if let Err(error) = self.follow_admin(desks) {
            error!("no runtime interface: {error:#}");
        }
        info!("configuration replaced");
        Ok(warnings)
    }

    /// Reads what the files say now, and changes nothing.
    fn look(&mut self, patterns: &[String]) -> Result<OnDisk, String> {
        let look = || OnDisk::read(&self.files, patterns);
        Ok(match &mut self.steward {
            Some(steward) => file::from(steward.read().map_err(|error| format!("{error:#}"))?, look),
            None => look(),
        })
    }

    /// Carries out what a command wants of the configuration.
    async fn amend(&mut self, amendment: Amendment) {
        let Amendment { make, done } = amendment;
        let before = Arc::clone(&self.site.borrow());
        let made = make(&self.fleet.config()).and_then(|(config, reply)| {
            let tls = before.tls().amended(&config).map_err(Reply::error)?;
            Ok((config, tls, reply))
        });
        let reply = match made {
            Ok((config, tls, reply)) => {
                before.supersede();
                self.fleet.amend(Arc::new(config));
                self.put_in_force(before.amended(&self.fleet, tls));
                self.order(Vec::new()).await;
                reply
            }
            Err(reply) => reply,
        };
        // Who asked may have left.
        let _ = done.send(reply);
    }

    /// Brings servers to where their names lead.
    async fn relocate(&mut self, Moves { moves, done }: Moves) {
        let (before, config) = (Arc::clone(&self.site.borrow()), self.fleet.config().with_moves(&moves));
        match before.tls().amended(&config) {
            Err(error) => error!("servers stay where they are: {error}"),
            Ok(tls) => {
                before.supersede();
                self.fleet.relocate(Arc::new(config), &moves);
                self.put_in_force(before.amended(&self.fleet, tls));
                self.order(Vec::new()).await;
            }
        }
        // Nobody waits any more at the end.
        let _ = done.send(());
    }

    fn put_in_force(&self, site: Site) {
        let site = Arc::new(site);
        tokio::spawn(Site::follow(Arc::downgrade(&site), self.fleet.subscribe()));
        self.site.send_replace(site);
    }

    /// Binds what a new configuration listens on and the present one does not: for clients, and for commands.
    fn bind(&mut self, config: &Config, before: &Site) -> anyhow::Result<(Listening, HashMap<Spec, OwnedFd>)> {
        let (specs, desks) = (wanted(config, Some(before)), wanted_for_commands(config, &self.admin));
        let threads = self.workers.len();
        let Some(steward) = &mut self.steward else {
            return Ok((bind::bind_all(&specs, threads, Sharing::Replacing)?, open(bind::bind_all(&desks, 1, Sharing::Replacing)?)));
        };
        let mut bound = steward.bind(config, &[&*specs, &*desks].concat())?;
        let desks = open(bound.split_off(specs.len()));
        Ok((bound, desks))
    }

    /// Hands the site to every worker, with one socket of each new address, and waits until they serve it.
    async fn order(&self, mut sockets: Listening) {
        let mut followed = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let sockets = sockets.iter_mut().filter_map(|(spec, sockets)| Some((spec.clone(), sockets.pop()?))).collect();
            let (done, follows) = oneshot::channel();
            let plan = Plan { site: Arc::clone(&self.site.borrow()), sockets, done };
            if worker.orders.send(Order::Serve(plan)).await.is_err() {
                error!("a worker is gone");
            }
            followed.push(follows);
        }
        for follows in followed {
            // A worker that drains follows no order any more.
            let _ = follows.await;
        }
    }

    /// Opens or moves the metrics endpoint as the configuration says.
    async fn follow_metrics(&mut self) -> anyhow::Result<()> {
        let config = self.fleet.config();
        let wanted = config.global().metrics().map(|address| *address.value());
        if self.metrics.as_ref().map(|endpoint| endpoint.address) == wanted {
            return Ok(());
        }
        if let Some(endpoint) = self.metrics.take() {
            endpoint.task.abort();
        }
        let Some(address) = wanted else { return Ok(()) };
        let listener = TcpListener::bind(address).await.with_context(|| format!("bind {address} for metrics"))?;
        info!("listening on {} for metrics", listener.local_addr()?);
        let (stats, pages) = (self.stats.clone(), self.stats.clone());
        let write = move |metrics: &mut Metrics| stats.write(metrics);
        let task = tokio::spawn(exposition::serve(listener, write, move |path| pages.page(path), self.trigger.shutdown()));
        self.metrics = Some(Endpoint { address, task });
        Ok(())
    }

    /// Opens and closes sockets of the runtime interface as the configuration says; those that stay, stay with their clients.
    fn follow_admin(&mut self, mut bound: HashMap<Spec, OwnedFd>) -> anyhow::Result<()> {
        let config = self.fleet.config();
        let global = config.global();
        let mut before = std::mem::take(&mut self.admin);
        let mut listed = Vec::new();
        for socket in global.stats_sockets() {
            let (patience, clients) = (global.stats_timeout(), global.stats_maxconn() as usize);
            let terms = Terms { level: socket.level(), patience, clients, hands_over: socket.exposes() };
            for spec in bind::specs_of_admin(socket) {
                listed.push((spec.address(), socket.level()));
                let known = before.iter().position(|desk| desk.spec == spec).map(|place| before.swap_remove(place));
                self.admin.push(match known {
                    Some(desk) if desk.terms == terms => desk,
                    Some(desk) => {
                        desk.task.abort();
                        self.open_desk(spec, terms, desk.socket.try_clone()?)?
                    }
                    None => {
                        let socket = bound.remove(&spec).context("no socket")?;
                        self.open_desk(spec, terms, socket)?
                    }
                });
            }
        }
        before.iter().for_each(|desk| desk.task.abort());
        self.engine.note_sockets(listed);
        Ok(())
    }

    fn follow_peers(&mut self, local: &str, bound: HashMap<Spec, OwnedFd>, start: Start) {
        let (config, site) = (self.fleet.config(), Arc::clone(&self.site.borrow()));
        self.peering.follow((&config, local), &site, bound, start);
    }

    fn open_desk(&self, spec: Spec, terms: Terms, socket: OwnedFd) -> anyhow::Result<Desk> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let listener = Listener::new(socket.try_clone()?)?;
        let task = tokio::spawn(control::admin::serve(listener, terms, Arc::clone(&self.language)));
        Ok(Desk { spec, terms, socket, task })
    }

    /// Serves the master's socket, which no reload changes.
    fn serve_master(&self, socket: Option<&StatsSocket>, bound: Listening) -> anyhow::Result<()> {
        let Some(socket) = socket else { return Ok(()) };
        let config = self.fleet.config();
        let (patience, clients) = (config.global().stats_timeout(), config.global().stats_maxconn() as usize);
        let terms = Terms { level: socket.level(), patience, clients, hands_over: false };
        let language = Arc::new(admin::master_language(self.engine.clone()));
        for socket in bound.into_iter().flat_map(|(_, sockets)| sockets) {
            rustix::io::ioctl_fionbio(&socket, true)?;
            tokio::spawn(control::admin::serve(Listener::new(socket)?, terms, Arc::clone(&language)));
        }
        Ok(())
    }

    /// Brings back what the tables held before a crash, and keeps it from now on.
    fn keep_tables(&mut self) {
        let config = self.fleet.config();
        if let Some(path) = config.global().tables_file() {
            archive::restore(path, self.site.borrow().tables());
            self.archive = Some(tokio::spawn(archive::keep(path.to_owned(), self.site.subscribe())));
        }
    }

    /// Keeps the tables for the last time; from here on the file may be another process's.
    fn close_tables(&mut self) {
        if let Some(task) = self.archive.take() {
            task.abort();
            self.fleet.config().global().tables_file().iter().for_each(|path| archive::close(path, self.site.borrow().tables()));
        }
    }

    /// Stops accepting, teaches the process that comes after this one, and waits for the last connection.
    async fn drain(&mut self) {
        self.trigger.begin();
        info!("draining {} connections", self.trigger.guards());
        self.close_tables();
        self.peering.hand_over().await;
        self.trigger.drained().await;
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.close_tables();
        for worker in self.workers {
            drop(worker.orders);
            if worker.thread.join().is_err() {
                bail!("a worker has failed");
            }
        }
        self.spans.close().await;
        log::flush(self.site.borrow().logs());
        info!("stopped");
        Ok(())
    }
}

/// Waits for as long as that says; for ever if it says nothing.
async fn wait_for(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Lets new connections be as many, and allow as much, as the configuration says, and requests have spans.
fn follow_limits(global: &Global) {
    pace::follow(global.rates());
    h2::follow(global.h2());
    h1::parse::follow(global.heads());
    h3::follow(global);
    ocsp::follow_delays(global.ocsp_delays());
    otlp::follow(global.otlp());
}

/// Checks that what takes rights of its own for every connection will not fail for each of them.
fn check_rights(config: &Config) -> anyhow::Result<()> {
    let is_disguised = |server: &&Server| server.source().is_some_and(|source| source.guise().is_some());
    if let Some(server) = config.servers().iter().find(is_disguised) {
        let name = || format!("server {}: `usesrc` needs CAP_NET_ADMIN", server.name());
        upstream::may_disguise().with_context(name)?;
    }
    Ok(())
}

/// Returns what `config` listens on and `before` does not.
fn wanted(config: &Config, before: Option<&Site>) -> Vec<Spec> {
    let doors = before.iter().flat_map(|site| site.doors()).filter(|door| door.frontend().gate() != Gate::Closed);
    let known: HashSet<&Spec> = doors.map(|door| door.spec()).collect();
    let wanted = config.frontends().iter().flat_map(bind::specs).map(|(spec, _)| spec);
    wanted.filter(|spec| !known.contains(spec)).collect()
}

/// Returns where commands are to be taken and are not yet.
fn wanted_for_commands(config: &Config, before: &[Desk]) -> Vec<Spec> {
    let specs = config.global().stats_sockets().iter().flat_map(|socket| bind::specs_of_admin(socket));
    specs.filter(|spec| before.iter().all(|desk| desk.spec != *spec)).collect()
}

/// Returns the one socket of each address for commands.
fn open(bound: Listening) -> HashMap<Spec, OwnedFd> {
    bound.into_iter().filter_map(|(spec, sockets)| Some((spec, sockets.into_iter().next()?))).collect()
}

/// Shows the names of files.
pub(crate) fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// How long a file with a client's certificates may be.
const LONGEST_CERTIFICATE: usize = 1 << 20;

fn available_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What the administrator asks for by a signal.
#[derive(PartialEq, Eq)]
enum Wish {
    Reload,
    Drain,
    Terminate,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("no signal handler");
        Ok(Self {
            hangup: of(SignalKind::hangup())?,
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            user1: of(SignalKind::user_defined1())?,
            user2: of(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.user2.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::Terminate,
            _ = self.interrupt.recv() => Wish::Terminate,
            _ = self.user1.recv() => Wish::Drain,
        }
    }

    async fn stop_now(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
