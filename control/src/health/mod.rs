//! Health checks: one task that probes all servers of a fleet and reports what it finds.
//!
//! [`run`] starts a probe when `schedule` says so, hands its outcome to the [`Fleet`], and follows the fleet's changes: a new
//! configuration, a server back from maintenance, a weight on its way up. What an outcome means is the fleet's business. A probe is
//! a future, not a thread, and their number at a time is bounded; when more are due, the longest due go first.

mod agent;
mod connect;
mod connection;
mod expect;
mod format;
mod grpc;
mod http;
mod http1;
mod http2;
mod program;
mod reply;
mod schedule;
mod sequence;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub(crate) use format::hostname;

use crate::config::{Action, Check, ServerId};
use crate::fleet::{AgentReport, CheckOutcome, Fleet, View, same_machine};
use crate::server_state::{Phase, Status};
use crate::shutdown::Shutdown;
use program::Briefing;
use schedule::{Schedule, Target};
use sequence::Subject;

/// Checks the servers of a fleet, and keeps their ramping weights up to date, until the drain begins.
///
/// `daemon` is what the daemon has to say where programs check.
pub async fn run(fleet: Fleet, daemon: Daemon, mut shutdown: Shutdown) {
    let mut changes = fleet.subscribe();
    let mut checker = Checker::new(fleet, daemon);
    loop {
        checker.start_probes();
        let wake = checker.next_wake();
        tokio::select! {
            () = shutdown.begun() => return,
            Some(done) = checker.probes.join_next() => {
                checker.finish(done.expect("probes do not panic, and are aborted only with the set"));
            }
            _ = changes.next() => checker.follow(),
            () = sleep_until(wake) => checker.tick(),
        }
    }
}

/// Tells of a backend and a server how many connections that has, where it is known.
pub type Load = Box<dyn Fn(&str, &str) -> Option<u32> + Send + Sync>;

/// What a daemon has to say where programs check its servers.
pub struct Daemon {
    /// Returns how many connections a server of a backend has, where that is known.
    pub load: Load,
    /// Sees that a program gets nothing of the daemon's that is not meant for it.
    pub prepare: fn(&mut Command),
}

struct Checker {
    fleet: Fleet,
    daemon: Daemon,
    view: Arc<View>,
    schedule: Schedule,
    /// What is probed, by its name in the schedule.
    targets: HashMap<Target, Probed>,
    /// Targets in maintenance, or whose checks or agents rest, which are not probed.
    parked: Vec<Target>,
    probes: JoinSet<Done>,
    /// Number of the next target.
    next_target: u64,
    /// When a ramping weight changes next.
    next_tick: Option<Instant>,
}

struct Probed {
    /// Id in the checker's view.
    server: ServerId,
    check: Arc<Check>,
    /// What is said to the agent, where it is one that is asked.
    question: Option<Arc<[u8]>>,
    /// What begins its TLS; read anew with every configuration, as its files may have changed.
    secured: Arc<tls::All>,
}

struct Done {
    target: Target,
    started: Instant,
    found: Found,
}

/// What came of a probe.
enum Found {
    Health(CheckOutcome),
    Agent(AgentReport),
}

impl Checker {
    fn new(fleet: Fleet, daemon: Daemon) -> Self {
        let view = fleet.view();
        let schedule = Schedule::new(view.config().global().spread_checks(), fastrand::Rng::new());
        let mut checker = Self {
            view: Arc::clone(&view),
            schedule,
            targets: HashMap::new(),
            parked: Vec::new(),
            probes: JoinSet::new(),
            next_target: 0,
            next_tick: None,
            fleet,
            daemon,
        };
        checker.adopt(view);
        checker.tick();
        checker
    }

    /// Starts what is due, as far as there is room.
    fn start_probes(&mut self) {
        let now = Instant::now();
        while self.probes.len() < MAX_PROBES {
            let Some(target) = self.schedule.pop(now.into_std()) else { return };
            let Some(probed) = self.targets.get(&target) else { continue };
            if !self.is_active(probed) {
                self.parked.push(target);
                continue;
            }
            let started = Instant::now();
            if let Some(question) = probed.question.clone() {
                let check = Arc::clone(&probed.check);
                self.probes.spawn(async move { Done { target, started, found: Found::Agent(agent::ask(&check, &question).await) } });
                continue;
            }
            let subject = self.subject(probed);
            self.probes.spawn(async move { Done { target, started, found: Found::Health(sequence::probe(&subject).await) } });
        }
    }

    fn is_active(&self, probed: &Probed) -> bool {
        if probed.question.is_some() { self.view.is_asked(probed.server) } else { self.view.is_probed(probed.server) }
    }

    /// Returns what a probe has to know.
    fn subject(&self, probed: &Probed) -> Subject {
        let (config, id) = (self.view.config(), probed.server);
        let server = config.server(id);
        let check = Arc::clone(&probed.check);
        let runs = check.sequence().steps().iter().any(|step| matches!(step.action(), Action::Run(_)));
        let load = || (self.daemon.load)(config.backend(server.backend()).name(), server.name());
        Subject {
            secured: Arc::clone(&probed.secured),
            backend: config.backend(server.backend()).name().to_owned(),
            server: server.name().to_owned(),
            state: check.sequence().send_state().then(|| self.fleet.account(&self.view, id)),
            is_running: self.view.status(id) != Status::Down,
            briefing: runs.then(|| Briefing::new(config, server, load(), self.daemon.prepare)),
            check,
        }
    }

    fn next_wake(&self) -> Instant {
        let room = self.probes.len() < MAX_PROBES;
        let due = self.schedule.next_due().filter(|_| room).map(Instant::from_std);
        due.into_iter().chain(self.next_tick).min().unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Reports an outcome and schedules the next probe.
    fn finish(&mut self, Done { target, started, found }: Done) {
        let Some(probed) = self.targets.get(&target) else { return };
        let outcome = match found {
            Found::Health(outcome) => outcome,
            Found::Agent(report) => {
                self.fleet.report_agent(&self.view, probed.server, report);
                self.schedule.again(target, started.into_std(), probed.check.interval());
                return;
            }
        };
        // A server the fleet no longer has may be back by the time this task follows the change, so its target stays until then.
        let interval = match self.fleet.report(&self.view, probed.server, outcome) {
            Some(Phase::Up) | None => probed.check.interval(),
            Some(Phase::Transition) => probed.check.fast_interval(),
            Some(Phase::Down) => probed.check.down_interval(),
        };
        self.schedule.again(target, started.into_std(), interval);
    }

    /// Takes in a change of the fleet.
    fn follow(&mut self) {
        let view = self.fleet.view();
        if !Arc::ptr_eq(&view, &self.view) {
            self.adopt(view);
        }
        let now = Instant::now().into_std();
        let suspects = self.fleet.take_suspects(&self.view);
        for (target, probed) in self.targets.iter().filter(|(_, probed)| probed.question.is_none() && suspects.contains(&probed.server)) {
            self.schedule.advance(*target, now + probed.check.fast_interval());
        }
        let parked = std::mem::take(&mut self.parked);
        for target in parked {
            let Some(probed) = self.targets.get(&target) else { continue };
            if !self.is_active(probed) {
                self.parked.push(target);
            } else {
                self.schedule.hasten(target, now);
            }
        }
        self.tick();
    }

    fn tick(&mut self) {
        self.next_tick = self.fleet.tick().map(Instant::from_std);
    }

    /// Moves to another configuration; a server whose address and check are the same keeps its place in the schedule.
    fn adopt(&mut self, view: Arc<View>) {
        self.schedule.set_spread(view.config().global().spread_checks());
        self.schedule.set_first_window(view.config().global().max_spread_checks());
        let old_view = std::mem::replace(&mut self.view, view);
        let mut old = HashMap::new();
        for (target, probed) in self.targets.drain() {
            let server = old_view.config().server(probed.server);
            let backend = old_view.config().backend(server.backend());
            let asks = probed.question.is_some();
            old.insert((backend.name(), server.name(), asks), (target, server, probed.check));
        }
        let mut joining = Vec::new();
        let config = Arc::clone(self.view.config());
        let checks = config.servers().iter().filter_map(|server| Some((server, server.check()?, None)));
        let agents = config.servers().iter().filter_map(|server| {
            let agent = server.agent()?;
            Some((server, agent.check(), Some(Arc::from(agent.question()))))
        });
        for (server, check, question) in checks.chain(agents) {
            let backend = self.view.config().backend(server.backend());
            let kept = old.remove(&(backend.name(), server.name(), question.is_some()));
            let (target, check) = match kept {
                Some((target, known, kept)) if same_machine(known, server) && *kept == *check => (target, kept),
                changed => {
                    changed.into_iter().for_each(|(target, ..)| self.schedule.leave(target));
                    let target = Target(self.next_target);
                    self.next_target += 1;
                    joining.push((target, check.interval()));
                    (target, Arc::new(check.clone()))
                }
            };
            let secured = Arc::new(tls::All::load(&check, server.location()));
            self.targets.insert(target, Probed { server: server.id(), check, question, secured });
        }
        old.into_values().for_each(|(target, ..)| self.schedule.leave(target));
        self.schedule.join(&joining, Instant::now().into_std());
    }
}

/// The most probes under way at a time.
const MAX_PROBES: usize = 1024;

/// How long to sleep when nothing is planned; any change wakes the task before.
const IDLE: Duration = Duration::from_secs(3600);
