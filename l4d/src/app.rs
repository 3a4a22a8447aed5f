//! The daemon: start in order, then one loop that answers whatever changes by planning anew.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use control::{
    admin::Listener,
    config::{Config, OnStop, Xdp},
    descriptors,
    dns::{self, Book, Moves},
    exposition,
    fleet::Fleet,
    health,
    shutdown::Trigger,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{error, info, warn};

use crate::{
    admin::{self, Desk},
    advice,
    datapath::Pins,
    doctor,
    kernel::Kernel,
    manager::Manager,
    metrics,
    neighbor::{
        Neighbors, Outcome, Outcomes,
        interface::{interface_link, vlan_devices},
    },
    plan, setup,
};

/// How often flows are looked through for servers and slots that nothing belongs to any more.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How long the start may wait for the next hops of servers.
const RESOLUTION: Duration = Duration::from_secs(1);

/// Runs until told to stop.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn run(file: &Path) -> anyhow::Result<()> {
    descriptors::raise_limit();
    // From here on a signal is answered in its turn rather than by death: whoever reads "ready" may send one.
    let signals = Signals::take()?;
    let config = Arc::new(settled(load(file)?, None).await?);
    let setup = setup::gather(&config).await?;
    let fleet = Fleet::new(Arc::clone(&config));
    let neighbors = Neighbors::spawn();
    neighbors.watch(plan::server_addresses(&config));
    // Before anything else that two daemons could quarrel about, so that the second is told what is the matter.
    let pins = Pins::open(&setup.pin)?;
    let metrics_listener = bind_metrics(&config).await?;
    let desk_listener = bind_desk(&config)?;
    resolve_first(&neighbors, &config).await;

    let mut kernel = Kernel::load(pins, &setup)?;
    kernel.require_cookies(&config)?;
    kernel.recall(&fleet);
    kernel.expire(seconds_now());
    let interfaces: Vec<u32> = kernel.interfaces.keys().copied().collect();
    kernel.note_vlans(vlan_devices(&interfaces).await?);
    for interface in setup.interfaces.iter().filter(|interface| kernel.has_vlans(interface.index) && doctor::hides_tags(&interface.name)) {
        let name = &interface.name;
        warn!(
            "{name}: the device takes VLAN tags off before the program sees them, so that packets of VLANs look untagged: `ethtool -K {name} rxvlan off`"
        );
    }
    kernel.reconcile(&fleet, &neighbors.snapshot());
    for (name, attached) in kernel.datapath.attach(&setup)? {
        info!("attached to {name} (index {}, {} mode)", attached.index, attached.mode);
    }
    let lines = kernel.datapath.take_lines();
    let kernel = Arc::new(Mutex::new(kernel));
    let trigger = Trigger::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(health::run(fleet.clone(), health::Daemon { load: Box::new(|_, _| None), prepare: |_| {} }, trigger.shutdown()));
    if let Some(lines) = lines {
        tasks.spawn(lines.run(trigger.shutdown()));
    }
    let (book, (movers, moves)) = (Book::default(), mpsc::channel(1));
    tasks.spawn(dns::run(fleet.clone(), book.clone(), movers, trigger.shutdown()));
    if let Some(listener) = metrics_listener {
        let (kernel, fleet) = (Arc::clone(&kernel), fleet.clone());
        let write = move |metrics: &mut exposition::Metrics| metrics::write(metrics, &lock(&kernel), &fleet);
        tasks.spawn(exposition::serve(listener, write, |_| None, trigger.shutdown()));
    }
    if let (Some(listener), Some(socket)) = (desk_listener, config.xdp().and_then(Xdp::stats_socket).cloned()) {
        let desk = Desk::new(fleet.clone(), &kernel, neighbors.subscribe(), book);
        let (config, shutdown) = (Arc::clone(&config), trigger.shutdown());
        tasks.spawn(async move { admin::run(listener, &config, &socket, desk, shutdown).await });
    }
    info!("ready: {}", summary(&config));
    let manager = Manager::find();
    manager.ready();

    let mut daemon = Daemon { file: file.to_owned(), config, fleet, neighbors, kernel, manager, moves };
    daemon.serve(signals).await?;
    daemon.manager.stopping();

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

/// Finds the first addresses of servers that have names.
async fn settled(config: Config, before: Option<&Config>) -> anyhow::Result<Config> {
    dns::settle(config, before).await.map_err(|report| anyhow::anyhow!("{}", report.to_string().trim_end()))
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

fn bind_desk(config: &Config) -> anyhow::Result<Option<Listener>> {
    let Some(socket) = config.xdp().and_then(Xdp::stats_socket) else { return Ok(None) };
    let path = socket.path();
    let listener = admin::bind(socket).with_context(|| format!("{}: stats-socket {}", path.location(), path.display()))?;
    info!("listening on {} for commands", path.display());
    Ok(Some(listener))
}

/// Returns the seconds since 1970.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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
    manager: Manager,
    /// Servers whose names lead elsewhere.
    moves: mpsc::Receiver<Moves>,
}

impl Daemon {
    /// Answers changes until told to stop.
    async fn serve(&mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut transitions = self.fleet.subscribe();
        let mut hops = self.neighbors.subscribe();
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.reconcile();
        loop {
            tokio::select! {
                _ = transitions.next() => self.reconcile(),
                Some(moves) = self.moves.recv() => self.relocate(moves),
                Ok(()) = hops.changed() => self.reconcile(),
                _ = housekeeping.tick() => self.keep_house().await,
                _ = second.tick() => self.keep_time(),
                _ = signals.hangup.recv() => {
                    self.manager.reloading();
                    self.reload().await;
                    self.manager.ready();
                }
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
            }
        }
    }

    /// Tidies the flow tables, and follows the MTUs, the VLANs and the addresses of the interfaces.
    async fn keep_house(&self) {
        lock(&self.kernel).tidy();
        let interfaces: Vec<u32> = lock(&self.kernel).interfaces.keys().copied().collect();
        let mut changed = false;
        for interface in &interfaces {
            // One that is gone says so elsewhere.
            let Ok((_, mtu)) = interface_link(*interface).await else { continue };
            changed |= lock(&self.kernel).note_mtu(*interface, mtu);
        }
        if let Ok(vlans) = vlan_devices(&interfaces).await {
            if let Ok(host) = setup::addresses_of(&interfaces, &vlans).await {
                changed |= lock(&self.kernel).note_host(host);
            }
            changed |= lock(&self.kernel).note_vlans(vlans);
        }
        if changed {
            self.reconcile();
        }
    }

    /// Does what is a matter of time.
    fn keep_time(&self) {
        self.manager.alive();
        if lock(&self.kernel).expire(seconds_now()) {
            self.reconcile();
        } else {
            lock(&self.kernel).publish_loads();
        }
    }

    /// Brings servers to where their names lead.
    fn relocate(&self, Moves { moves, done }: Moves) {
        let config = Arc::new(self.fleet.config().with_moves(&moves));
        self.neighbors.watch(plan::server_addresses(&config));
        self.fleet.relocate(config, &moves);
        self.reconcile();
        // Nobody waits any more at the end.
        let _ = done.send(());
    }

    fn reconcile(&self) {
        lock(&self.kernel).reconcile(&self.fleet, &self.neighbors.snapshot());
    }

    /// Puts the file in force as it is now; one that cannot be changes nothing.
    async fn reload(&mut self) {
        let read = match load(&self.file) {
            Ok(config) => settled(config, Some(&self.fleet.config())).await,
            Err(error) => Err(error),
        };
        let config = match read {
            Ok(config) => Arc::new(config),
            Err(error) => return error!("reload refused, the old configuration stays in force:\n{error}"),
        };
        let cookies = setup::require_cookies(&config).map_err(anyhow::Error::from);
        if let Err(error) = cookies.and_then(|()| lock(&self.kernel).require_cookies(&config)) {
            return error!("reload refused, the old configuration stays in force:\n{error}");
        }
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
    let socket = |xdp: &Xdp| xdp.stats_socket().map(|socket| (socket.path().value().clone(), socket.mode(), socket.level()));
    let differences = [
        ("interfaces", names(old) != names(new)),
        ("source-addresses", sources(old) != sources(new)),
        ("source-ports", ports(old) != ports(new)),
        ("mode", old.mode() != new.mode()),
        ("flows", old.flows() != new.flows()),
        ("hash-key", old.hash_key() != new.hash_key()),
        ("pin", **old.pin() != **new.pin()),
        ("stats-socket", socket(old) != socket(new)),
        ("metrics", old.metrics().map(|address| **address) != new.metrics().map(|address| **address)),
    ];
    differences.into_iter().find(|(_, differs)| *differs).map(|(name, _)| name)
}
