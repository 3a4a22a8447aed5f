//! The configuration as the engine runs it.
//!
//! A [`Site`] is built from one model, never changed, and swapped whole at a reload; a connection keeps the one it began with. What
//! must survive the swap (how many connections a server carries, who waits for one, the limits' counts) is shared with the site
//! before. The states of the servers are the fleet's, read through its view.

mod backend;
mod bustle;
mod forward_for;
mod frontend;
mod limit;
mod names;
mod upkeep;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use control::config::{self, Located, NamePolicy, ProxyOption};
use control::dns::Asker;
use control::fleet::{Changes, Fleet};

pub(crate) use backend::{Backend, Outlook, Reuse, Server, Standing};
pub(crate) use bustle::Bustle;
use bustle::Neighbours;
pub(crate) use control::config::Protocol;
pub(crate) use forward_for::ForwardFor;
pub(crate) use frontend::{Door, Frontend, Gate};
pub(crate) use limit::Counted;
pub(crate) use names::Names;
pub(crate) use watch::Sign;

use crate::bind;
use crate::log::{Log, Logs};
use crate::rules::{Patterns, Rules};
use crate::stats::Meter;
use crate::stick::Tables;
use crate::tls::Setup;
use backend::Backends;
use frontend::Ground;
use limit::Limit;

/// Everything the engine serves.
#[derive(Debug)]
pub(crate) struct Site {
    doors: Vec<Arc<Door>>,
    backends: Arc<Backends>,
    tls: Setup,
    limit: Option<Limit>,
    shared: Shared,
    superseded: Arc<AtomicBool>,
}

/// What all frontends have in common.
#[derive(Debug, Clone)]
struct Shared {
    logs: Logs,
    rules: Arc<Rules>,
    asker: Asker,
    connections: Arc<AtomicU32>,
    /// The numbers of the process.
    meter: Arc<Meter>,
    /// How many threads count.
    threads: usize,
    neighbours: Arc<Neighbours>,
}

impl Site {
    /// Builds the site of the configuration in force, taking over from the site before it what outlives a reload.
    pub(crate) fn new(fleet: &Fleet, logs: Logs, (rules, tls): (Rules, Setup), threads: usize, before: Option<&Self>) -> Self {
        Self::build(fleet, logs, (Arc::new(rules), tls), threads, before)
    }

    /// Returns the log of a section of peers, by its place among them.
    pub(crate) fn log_of_peers(&self, place: usize) -> Arc<Log> {
        self.shared.logs.of_peers(place)
    }

    /// Builds the site of a configuration that a command has made of the one before: rules and logs are the same.
    pub(crate) fn amended(&self, fleet: &Fleet, tls: Setup) -> Self {
        let Shared { logs, rules, threads, .. } = &self.shared;
        Self::build(fleet, logs.clone(), (Arc::clone(rules), tls), *threads, Some(self))
    }

    fn build(fleet: &Fleet, logs: Logs, (rules, tls): (Arc<Rules>, Setup), threads: usize, before: Option<&Self>) -> Self {
        let view = fleet.view();
        let config = view.config();
        let connections = before.map_or_else(Arc::default, |site| Arc::clone(&site.shared.connections));
        let meter = before.map_or_else(|| Arc::new(Meter::new(threads)), |site| Arc::clone(&site.shared.meter));
        let shared = Shared { logs, rules, asker: fleet.asker(), connections, meter, threads, neighbours: Arc::default() };
        shared.rules.tables().settle(config);
        let superseded = Arc::new(AtomicBool::new(false));
        let old_backend = |name: &str| before.and_then(|site| site.backend(name));
        let new_backend = |model: &config::Backend| {
            let log = shared.logs.of_backend(model.id());
            Arc::new(Backend::new(&superseded, (fleet, &view), (model, &shared.rules, &tls, log), threads, old_backend(model.name())))
        };
        let backends = Arc::new(Backends::new(config.backends().iter().map(new_backend).collect()));
        let limit = Limit::renew(config.global().maxconn(), before.and_then(|site| site.limit.as_ref()));
        let (mut doors, mut neighbours) = (Vec::new(), Vec::new());
        for model in config.frontends() {
            let old = before.and_then(|site| site.frontend(model.name()));
            let frontend = Arc::new(Frontend::new(model, &backends, &shared, old));
            neighbours.push(frontend.bustle());
            for (number, (spec, bind)) in (1..).zip(bind::specs(model)) {
                let old = before.and_then(|site| site.doors.iter().find(|door| *door.spec() == spec));
                let ground = Ground { bind, acceptor: tls.acceptor(model, bind).map(Arc::clone), process: limit.as_ref() };
                doors.push(Arc::new(Door::new(spec, number, &frontend, ground, old.map(|door| &**door))));
            }
        }
        shared.neighbours.settle(neighbours);
        Self { doors, backends, tls, limit, shared, superseded }
    }

    /// Returns every address clients come in by.
    pub(crate) fn doors(&self) -> &[Arc<Door>] {
        &self.doors
    }

    /// Returns what is written, and where it goes.
    pub(crate) fn logs(&self) -> &Logs {
        &self.shared.logs
    }

    /// Returns the stick tables.
    pub(crate) fn tables(&self) -> &Tables {
        self.shared.rules.tables()
    }

    /// Returns what the rules became.
    pub(crate) fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    /// Returns the files of patterns that rules look things up in.
    pub(crate) fn patterns(&self) -> &[Patterns] {
        self.shared.rules.patterns()
    }

    /// Returns what was read for TLS.
    pub(crate) fn tls(&self) -> &Setup {
        &self.tls
    }

    /// Announces that a newer site is about to take over; to be called before the fleet changes.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    /// Lets every queue know what the fleet knows, until a newer site takes over or this one is gone.
    pub(crate) async fn follow(site: Weak<Self>, mut changes: Changes) {
        while let Some(site) = site.upgrade().filter(|site| !site.superseded.load(Ordering::Acquire)) {
            site.backends.all().iter().for_each(|backend| backend.follow());
            drop(site);
            changes.next().await;
        }
    }

    /// Returns every pool of servers.
    pub(crate) fn backends(&self) -> &[Arc<Backend>] {
        self.backends.all()
    }

    /// Returns how many connections a server of a backend has; none where there is no such server.
    pub(crate) fn load(&self, backend: &str, server: &str) -> Option<u32> {
        let backend = self.backends().iter().find(|known| known.name() == backend)?;
        let server = backend.servers().iter().find(|known| known.name() == server)?;
        Some(server.load().active())
    }

    /// Returns every frontend that clients can come in by, once.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = &Frontend> {
        let all = self.doors.iter().map(|door| &**door.frontend());
        all.scan(None, |before: &mut Option<&Frontend>, frontend| {
            let is_new = before.is_none_or(|before| !std::ptr::eq(before, frontend));
            *before = Some(frontend);
            Some(is_new.then_some(frontend))
        })
        .flatten()
    }

    /// Returns how soon some server wants half of its idle connections closed that it does not need.
    pub(crate) fn purge_delay(&self) -> Duration {
        let delays = self.backends().iter().flat_map(|backend| backend.servers()).map(|server| server.model().pool().purge_delay());
        delays.filter(|delay| !delay.is_zero()).min().unwrap_or(Duration::MAX)
    }

    /// Returns the numbers of the process.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.shared.meter
    }

    /// Returns how many connections the process serves, and how many it may.
    pub(crate) fn connections(&self) -> (u32, Option<u32>) {
        (self.shared.connections.load(Ordering::Relaxed), self.limit.as_ref().map(Limit::most))
    }

    /// Returns how many threads serve.
    pub(crate) fn threads(&self) -> usize {
        self.shared.threads
    }

    fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.named(name.as_bytes()).and_then(|id| self.backends.of(id)).map(|backend| &**backend)
    }

    fn frontend(&self, name: &str) -> Option<&Frontend> {
        self.doors.iter().map(|door| &**door.frontend()).find(|frontend| frontend.name() == name)
    }
}

/// Finds what becomes of request fields with unusual names; none if they stay.
fn name_policy(options: &[Located<ProxyOption>]) -> Option<NamePolicy> {
    options.iter().find_map(|option| {
        let ProxyOption::HttpRestrictNames(policy) = option.value() else { return None };
        Some(*policy).filter(|policy| *policy != NamePolicy::Preserve)
    })
}

fn has(options: &[Located<ProxyOption>], wanted: &ProxyOption) -> bool {
    options.iter().any(|option| option.value() == wanted)
}
