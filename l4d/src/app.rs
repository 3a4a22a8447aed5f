//! The daemon: start in order, then one loop that answers whatever changes by planning anew.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use control::{
    config::{Config, OnStop, Xdp},
    descriptors, exposition,
    fleet::Fleet,
    health,
    shutdown::Trigger,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{error, info, warn};
use xdp_common::{limits::FLOW_IDLE, server::Hop};

use crate::{
    advice,
    datapath::{Datapath, Pins, Setup},
    flows, metrics,
    neighbor::{Neighbors, NextHop, Outcome, Outcomes, interface::interface_link},
    plan::{self, ServiceKey, Wanted, Way},
    reach::Obstacles,
    setup,
    sync::{self, Synced},
    tables::{Full, Tables},
};

/// How often flows are looked through for servers and slots that nothing belongs to any more.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How long the start may wait for the next hops of servers.
const RESOLUTION: Duration = Duration::from_secs(1);

/// The data plane with the daemon's copy of its tables.
pub(crate) struct Kernel {
    pub(crate) datapath: Datapath,
    pub(crate) tables: Tables,
    pub(crate) wanted: Wanted,
    /// When the ring of a service last changed; flows may be silent since before.
    changed: BTreeMap<ServiceKey, Instant>,
    /// What found no room last time, so that it is said once.
    refused: Vec<Full>,
    /// Interfaces whose packets the program sees, and the longest packet each takes.
    interfaces: BTreeMap<u32, u16>,
    /// What tunnels come from where the routing table does not say: the first source address of each family.
    sources: Vec<IpAddr>,
    /// Servers that cannot be reached, said once as well.
    obstacles: Obstacles,
}

/// Runs until told to stop.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn run(file: &Path) -> anyhow::Result<()> {
    descriptors::raise_limit();
    // From here on a signal is answered in its turn rather than by death: whoever reads "ready" may send one.
    let signals = Signals::take()?;
    let config = Arc::new(load(file)?);
    let setup = setup::gather(&config).await?;
    let fleet = Fleet::new(Arc::clone(&config));
    let neighbors = Neighbors::spawn();
    neighbors.watch(plan::server_addresses(&config));
    // Before anything else that two daemons could quarrel about, so that the second is told what is the matter.
    let pins = Pins::open(&setup.pin)?;
    let metrics_listener = bind_metrics(&config).await?;
    resolve_first(&neighbors, &config).await;

    let mut kernel = Kernel::load(pins, &setup)?;
    kernel.reconcile(&fleet, &neighbors.snapshot());
    for (name, attached) in kernel.datapath.attach(&setup)? {
        info!("attached to {name} (index {}, {} mode)", attached.index, attached.mode);
    }
    let kernel = Arc::new(Mutex::new(kernel));
    let trigger = Trigger::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(health::run(fleet.clone(), trigger.shutdown()));
    if let Some(listener) = metrics_listener {
        let (kernel, fleet) = (Arc::clone(&kernel), fleet.clone());
        let write = move |metrics: &mut exposition::Metrics| metrics::write(metrics, &lock(&kernel), &fleet);
        tasks.spawn(exposition::serve(listener, write, |_| None, trigger.shutdown()));
    }
    info!("ready: {}", summary(&config));

    let mut daemon = Daemon { file: file.to_owned(), config, fleet, neighbors, kernel };
    daemon.serve(signals).await?;

    trigger.begin();
    while tasks.join_next().await.is_some() {}
    daemon.stop().await
}

/// Reads the configuration; warnings are logged, errors returned whole.
fn load(file: &Path) -> anyhow::Result<Config> {
    let config = Config::load(file).map_err(|report| anyhow::anyhow!("{}", report.to_string().trim_end()))?;
    for warning in config.warnings().diagnostics().iter().chain(advice::unenforced(&config).diagnostics()) {
        let place = warning.location().map_or_else(|| warning.file().to_owned(), ToString::to_string);
        warn!("{place}: {}", warning.message());
    }
    Ok(config)
}

/// Waits, though not for ever, until it is known of every server whether it can be reached: the first packets shall find the way.
async fn resolve_first(neighbors: &Neighbors, config: &Config) {
    let servers = plan::server_addresses(config);
    let known = |outcomes: &Outcomes| servers.iter().all(|ip| outcomes.get(ip).is_some_and(|outcome| *outcome != Outcome::Resolving));
    let mut hops = neighbors.subscribe();
    // Whatever is still unknown then is looked up packet by packet, as on any day.
    let _in_time = timeout(RESOLUTION, hops.wait_for(known)).await;
}

async fn bind_metrics(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.xdp().and_then(Xdp::metrics) else { return Ok(None) };
    let listener = TcpListener::bind(**address).await.with_context(|| format!("{}: metrics on {}", address.location(), **address))?;
    info!("metrics on http://{}/metrics", listener.local_addr()?);
    Ok(Some(listener))
}

fn summary(config: &Config) -> String {
    let services = config.frontends().iter().filter(|frontend| frontend.xdp().is_some()).flat_map(plan::service_keys).count();
    let servers = plan::server_addresses(config).len();
    let plural = |count| if count == 1 { "" } else { "s" };
    format!("{services} service{} on {servers} server address{}", plural(services), if servers == 1 { "" } else { "es" })
}

/// Locks the data plane; no guard is held across an await.
fn lock(kernel: &Mutex<Kernel>) -> MutexGuard<'_, Kernel> {
    // Whoever panicked left tables and maps alike up to one operation; the next reconciliation mends that.
    kernel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals l4d answers.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        let [hangup, terminate, interrupt] = [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok(Self { hangup: hangup?, terminate: terminate?, interrupt: interrupt? })
    }
}

struct Daemon {
    file: PathBuf,
    config: Arc<Config>,
    fleet: Fleet,
    neighbors: Neighbors,
    kernel: Arc<Mutex<Kernel>>,
}

impl Daemon {
    /// Answers changes until told to stop.
    async fn serve(&mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut transitions = self.fleet.subscribe();
        let mut hops = self.neighbors.subscribe();
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.reconcile();
        loop {
            tokio::select! {
                _ = transitions.next() => self.reconcile(),
                Ok(()) = hops.changed() => self.reconcile(),
                _ = housekeeping.tick() => self.keep_house().await,
                _ = signals.hangup.recv() => self.reload(),
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
            }
        }
    }

    /// Tidies the flow tables, and follows the MTUs of the interfaces.
    async fn keep_house(&self) {
        lock(&self.kernel).tidy();
        let interfaces: Vec<u32> = lock(&self.kernel).interfaces.keys().copied().collect();
        let mut changed = false;
        for interface in interfaces {
            // One that is gone says so elsewhere.
            let Ok((_, mtu)) = interface_link(interface).await else { continue };
            changed |= lock(&self.kernel).note_mtu(interface, mtu);
        }
        if changed {
            self.reconcile();
        }
    }

    fn reconcile(&self) {
        lock(&self.kernel).reconcile(&self.fleet, &self.neighbors.snapshot());
    }

    /// Puts the file in force as it is now; one that cannot be changes nothing.
    fn reload(&mut self) {
        let config = match load(&self.file) {
            Ok(config) => Arc::new(config),
            Err(error) => return error!("reload refused, the old configuration stays in force:\n{error}"),
        };
        if let Some(what) = fixed_difference(&self.config, &config) {
            return error!(
                "reload refused, the old configuration stays in force: `{what}` of [xdp] takes effect only with a restart of l4d"
            );
        }
        self.config = Arc::clone(&config);
        self.neighbors.watch(plan::server_addresses(&config));
        self.fleet.replace(Arc::clone(&config));
        self.reconcile();
        info!("reloaded: {}", summary(&config));
    }

    /// Ends: takes the program off the interfaces, or leaves it forwarding, as the configuration says.
    async fn stop(self) -> anyhow::Result<()> {
        self.neighbors.stop().await;
        let kernel =
            Arc::into_inner(self.kernel).context("the data plane is still in use")?.into_inner().unwrap_or_else(PoisonError::into_inner);
        match self.config.xdp().map_or(OnStop::Detach, Xdp::on_stop) {
            OnStop::Detach => {
                kernel.datapath.remove()?;
                info!("stopped: detached from all interfaces");
            }
            OnStop::Keep => info!("stopped: the program keeps forwarding; `l4d detach` takes it off"),
        }
        Ok(())
    }
}

/// Returns a setting that differs and cannot change while the program runs.
fn fixed_difference(old: &Config, new: &Config) -> Option<&'static str> {
    let (old, new) = (old.xdp()?, new.xdp());
    let Some(new) = new else { return Some("interfaces") };
    let names = |xdp: &Xdp| xdp.interfaces().iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let sources = |xdp: &Xdp| xdp.source_addresses().iter().map(|address| **address).collect::<Vec<_>>();
    let ports = |xdp: &Xdp| xdp.source_ports().map(|ports| **ports);
    let differences = [
        ("interfaces", names(old) != names(new)),
        ("source-addresses", sources(old) != sources(new)),
        ("source-ports", ports(old) != ports(new)),
        ("mode", old.mode() != new.mode()),
        ("flows", old.flows() != new.flows()),
        ("hash-key", old.hash_key() != new.hash_key()),
        ("pin", **old.pin() != **new.pin()),
        ("metrics", old.metrics().map(|address| **address) != new.metrics().map(|address| **address)),
    ];
    differences.into_iter().find(|(_, differs)| *differs).map(|(name, _)| name)
}

impl Kernel {
    fn load(pins: Pins, setup: &Setup) -> anyhow::Result<Self> {
        let datapath = Datapath::load_locked(pins, setup)?;
        let tables = datapath.maps().tables();
        let changed = tables.services().map(|(key, _)| (*key, Instant::now())).collect();
        let interfaces = setup.interfaces.iter().map(|interface| (interface.index, interface.mtu)).collect();
        let sources = setup.pool.addresses().collect();
        let (wanted, obstacles) = (Wanted::default(), Obstacles::default());
        Ok(Self { datapath, tables, wanted, changed, refused: Vec::new(), interfaces, sources, obstacles })
    }

    /// Says what newly stands in the way of forwarding to a server.
    fn note_obstacles(&mut self, hops: &Outcomes) {
        let obstacles = Obstacles::of(hops, &self.interfaces.keys().copied().collect::<Vec<_>>());
        obstacles.news(&self.obstacles).for_each(|(address, text)| warn!("server address {address}: {text}"));
        self.obstacles = obstacles;
    }

    /// Brings the maps to what configuration, states and next hops ask for.
    fn reconcile(&mut self, fleet: &Fleet, hops: &Outcomes) {
        self.note_obstacles(hops);
        let way = |ip| self.way(ip, hops.get(&ip).and_then(|outcome| outcome.next_hop()));
        self.wanted = plan::plan(&fleet.view(), way);
        let Synced { ops, changed, refused } = sync::sync(&mut self.tables, &self.wanted);
        self.datapath.apply(&ops);
        let now = Instant::now();
        self.changed.extend(changed.into_iter().map(|key| (key, now)));
        if refused != self.refused {
            refused.iter().for_each(|full| error!("{full}"));
            self.refused = refused;
        }
    }

    /// Returns the way to a server.
    fn way(&self, server: IpAddr, hop: Option<&NextHop>) -> Way {
        let own = self.sources.iter().copied().find(|source| source.is_ipv4() == server.is_ipv4());
        let source = hop.and_then(|hop| hop.prefsrc).or(own);
        let mtu = hop.and_then(|hop| self.interfaces.get(&hop.ifindex)).copied();
        Way {
            hop: hop.map_or_else(Hop::default, to_hop),
            source: source.unwrap_or(Way::default().source),
            mtu: mtu.unwrap_or_default(),
            ..Way::default()
        }
    }

    /// Notes what interfaces take now; tells whether anything changed.
    fn note_mtu(&mut self, interface: u32, mtu: u16) -> bool {
        self.interfaces.insert(interface, mtu) != Some(mtu)
    }

    /// Frees servers that left and closes tracked slots, once no flow needs them.
    fn tidy(&mut self) {
        let maps = self.datapath.maps();
        let now = flows::now();
        let leaving = sync::has_leaving(&self.tables, &self.wanted);
        let settled: Vec<ServiceKey> = self.tables.services().map(|(key, _)| *key).filter(|key| self.may_settle(key)).collect();
        let mut ops = Vec::new();
        for key in settled {
            let Some(held) = self.tables.services.get(&key) else { continue };
            let servers = held.servers.values().copied().collect();
            let open = flows::open_slots(&held.slots, held.head.choice, &servers, maps.flow_words(), now);
            ops.extend(sync::settle(&mut self.tables, &key, &open));
        }
        if leaving {
            let busy = flows::busy(maps.flow_words(), maps.nat_entries(), now);
            ops.extend(sync::retire(&mut self.tables, &self.wanted, &busy));
        }
        self.datapath.apply(&ops);
    }

    /// Tells whether a service tracks slots whose older flows have all been silent too long to count.
    fn may_settle(&self, key: &ServiceKey) -> bool {
        let quiet = self.changed.get(key).is_none_or(|at| at.elapsed() > Duration::from_secs(u64::from(FLOW_IDLE)));
        quiet && sync::is_tracking(&self.tables, key)
    }
}

fn to_hop(hop: &NextHop) -> Hop {
    Hop::new(hop.mac, hop.source_mac, hop.ifindex)
}
