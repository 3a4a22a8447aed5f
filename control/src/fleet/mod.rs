//! The servers at run time: what the balancers read, what checks and administrators write, and who is told of changes.
//!
//! A [`Fleet`] is a cheap handle around one configuration in force and a [`ServerState`] per server. Balancers read statuses and
//! weights through a [`View`]; [`crate::health`] reports what it found; listeners follow [`Changes`]. The fleet decides nothing by
//! itself: the rules are those of [`crate::server_state`].
//!
//! # Locks
//!
//! There is one lock, the mutex around `Core`. Every writer holds it for the whole of its change (states, log, the words the readers
//! see, the swap of the view), and a woken listener takes it to read the log, so it finds the change complete. It is never held across
//! an `.await` or while logging. Readers of a view take no lock: the view is a swapped `Arc`, each server one atomic word.

mod account;
mod bond;
mod event;
mod outcome;
mod snapshot;
#[cfg(test)]
mod tests;
mod transition;
mod view;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

pub use bond::Errors;
pub use event::{Changed, Checked, Event, Moved, Probe};
pub use outcome::{AgentReport, CheckOutcome, CheckResult, Weighting};
pub use snapshot::{LastCheck, ServerSnapshot, Snapshot};
pub use transition::{Batch, Changes, Reason, Transition};
pub use view::View;
pub(crate) use view::same_machine;

use crate::config::{Backend, Check, Config, Move, Origin, Server, ServerId};
use crate::dns::{Asker, Wish};
use crate::server_state::{Admin, Change, Checking, Lead, MAX_WEIGHT, Phase, ServerState, Settings, Status, Thresholds, Verdict};
use transition::Log;
use view::{Cell, Shown};

/// Handle to the servers at run time; clones share them.
#[derive(Debug, Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    view: ArcSwap<View>,
    core: Mutex<Core>,
    /// Where rules ask for names, and where what they ask for arrives, until somebody takes it.
    asker: Asker,
    wishes: Mutex<Option<mpsc::Receiver<Wish>>>,
}

#[derive(Debug)]
struct Core {
    view: Arc<View>,
    /// One per server of the view, by id.
    records: Vec<Record>,
    /// Servers whose weight is on its way up.
    ramping: BTreeSet<ServerId>,
    /// Who tracks whom.
    followers: HashMap<ServerId, Vec<ServerId>>,
    /// Servers that are to be checked soon.
    suspects: Vec<ServerId>,
    log: Log,
    /// Where what happens is told, if anyone wants to know.
    events: Option<mpsc::Sender<Event>>,
    /// Counts changes of anything a view shows; wakes the listeners.
    generation: watch::Sender<u64>,
}

/// What is known of one server beyond its word in the view.
#[derive(Debug)]
struct Record {
    state: ServerState,
    last_check: Option<LastCheck>,
    last_agent: Option<LastCheck>,
    /// Whether the agent is asked.
    asking: Checking,
    /// The most connections, where they were set at run time.
    maxconn: Option<u32>,
    failed_checks: u64,
    /// How often traffic has failed too often in a row.
    error_rows: u64,
    downs: u64,
    /// Time spent down before `down_since`.
    downtime: Duration,
    /// When the server went down, if it is.
    down_since: Option<Instant>,
}

/// A transition to be logged once the lock is released.
struct Notice {
    transition: Transition,
    /// How many servers of the backend are up after it.
    up: usize,
    all: usize,
}

impl Fleet {
    /// Returns the servers of a configuration as they are at start.
    pub fn new(config: Arc<Config>) -> Self {
        let now = now();
        let records: Vec<_> = config.servers().iter().map(|server| Record::new(server, now)).collect();
        let cells = records.iter().map(|record| Arc::new(record.new_cell(now))).collect();
        let view = Arc::new(View::new(config, cells));
        let (ramping, log, generation) = (BTreeSet::new(), Log::default(), watch::Sender::new(0));
        let (followers, suspects) = (bond::followers(view.config()), Vec::new());
        let mut core = Core { view: Arc::clone(&view), records, ramping, followers, suspects, log, events: None, generation };
        drop(core.lead_all(now));
        let (asker, wishes) = Asker::new();
        Self { shared: Arc::new(Shared { view: ArcSwap::new(view), core: Mutex::new(core), asker, wishes: Mutex::new(Some(wishes)) }) }
    }

    /// Returns where rules ask for names.
    pub fn asker(&self) -> Asker {
        self.shared.asker.clone()
    }

    /// Hands out what rules ask for, to the first who wants it.
    pub(crate) fn take_wishes(&self) -> mpsc::Receiver<Wish> {
        let taken = self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Returns the configuration in force with the states of its servers; ids found in it stay valid with it.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// Returns the configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(self.shared.view.load().config())
    }

    /// Returns the status of a server of the configuration in force, as [`View::status`] does.
    pub fn status(&self, server: ServerId) -> Status {
        self.shared.view.load().status(server)
    }

    /// Returns the weight of a server of the configuration in force, as [`View::effective_weight`] does.
    pub fn effective_weight(&self, server: ServerId) -> u32 {
        self.shared.view.load().effective_weight(server)
    }

    /// Returns a stream of all changes from now on.
    pub fn subscribe(&self) -> Changes {
        Changes::new(Arc::clone(&self.shared))
    }

    /// Takes in the outcome of a check of a server of `view`; returns its phase after that, or `None` if it is no longer in service.
    pub fn report(&self, view: &View, server: ServerId, outcome: CheckOutcome) -> Option<Phase> {
        let now = now();
        let mut core = self.shared.core();
        let server = core.translate(view, server)?;
        let record = core.records.get_mut(server.index())?;
        let before = (record.last_check.as_ref().map(|last| last.outcome.result), record.state.level());
        let starved = record.note_check(&outcome, now);
        let change = record.state.on_check(outcome.result.verdict(), now);
        let phase = record.state.phase();
        if before != (Some(outcome.result), record.state.level()) {
            core.tell_check(server, Probe::Health, &outcome);
        }
        let starved = starved.then(|| (core.view.name_of(server), outcome.clone()));
        let notices = core.settle(server, change, Reason::Check(outcome), now);
        drop(core);
        if let Some((name, outcome)) = starved {
            warn!("check of server {name} says nothing: {outcome}");
        }
        notices.into_iter().for_each(Notice::log);
        Some(phase)
    }

    /// Takes in what the agent of a server of `view` said; does nothing if the server is no longer in service.
    pub fn report_agent(&self, view: &View, server: ServerId, report: AgentReport) {
        let now = now();
        let mut core = self.shared.core();
        let Some(server) = core.translate(view, server) else { return };
        let configured = core.view.server(server).map_or(0, Server::weight);
        let Some(record) = core.records.get_mut(server.index()) else { return };
        let before = record.state.status();
        let known = (record.last_agent.as_ref().map(|last| last.outcome.result), record.state.is_agent_down());
        if let Some(Weighting { percent }) = report.weighting {
            let weight = u64::from(configured) * u64::from(percent) / 100;
            record.state.set_weight(Some(u16::try_from(weight).unwrap_or(MAX_WEIGHT)), now);
        }
        if let Some(admin) = report.admin {
            record.state.set_admin(admin, now);
        }
        record.maxconn = report.maxconn.or(record.maxconn);
        record.state.on_agent(report.verdict(), now);
        record.last_agent = Some(LastCheck { outcome: report.outcome.clone(), at: now });
        let to = record.state.status();
        let is_news =
            report.outcome.result != CheckResult::Unchanged && known != (Some(report.outcome.result), record.state.is_agent_down());
        if is_news {
            core.tell_check(server, Probe::Agent, &report.outcome);
        }
        let reason = report.admin.filter(|_| report.verdict() == Verdict::Unknown).map_or(Reason::Agent(report.outcome), Reason::Admin);
        let change = (before != to).then_some(Change { from: before, to });
        let notices = core.settle(server, change, reason, now);
        drop(core);
        notices.into_iter().for_each(Notice::log);
    }

    /// Lets the agent of a server of `view` rest or go on; does nothing if it is no longer in service.
    pub fn set_asking(&self, view: &View, server: ServerId, asking: Checking) {
        let now = now();
        let mut core = self.shared.core();
        let Some(server) = core.translate(view, server) else { return };
        if let Some(record) = core.records.get_mut(server.index()) {
            record.asking = asking;
        }
        core.publish(server, now);
    }

    /// Says in the name of the agent of a server of `view` whether it is up; does nothing if it is no longer in service.
    pub fn set_agent(&self, view: &View, server: ServerId, verdict: Verdict) {
        self.change(view, server, Reason::Health, |state, now| state.on_agent(verdict, now));
    }

    /// Sets the administrative state of a server of `view`; does nothing if it is no longer in service.
    pub fn set_admin(&self, view: &View, server: ServerId, admin: Admin) {
        self.change(view, server, Reason::Admin(admin), |state, now| state.set_admin(admin, now));
    }

    /// Sets the weight of a server of `view`, or returns to the configured one; does nothing if it is no longer in service.
    pub fn set_weight(&self, view: &View, server: ServerId, weight: Option<u16>) {
        self.change(view, server, Reason::Weight, |state, now| state.set_weight(weight, now));
    }

    /// Sets the health of a server of `view` as if enough checks had agreed; does nothing if it is no longer in service.
    pub fn set_health(&self, view: &View, server: ServerId, verdict: Verdict) {
        self.change(view, server, Reason::Health, |state, now| state.set_health(verdict, now));
    }

    /// Lets the checks of a server of `view` rest or go on; does nothing if it is no longer in service.
    pub fn set_checking(&self, view: &View, server: ServerId, checking: Checking) {
        self.change(view, server, Reason::Health, |state, _| {
            state.set_checking(checking);
            None
        });
    }

    /// Brings ramping weights up to date and returns when to do so next; [`crate::health::run`] takes care of it.
    pub fn tick(&self) -> Option<Instant> {
        let now = now();
        let mut core = self.shared.core();
        for server in std::mem::take(&mut core.ramping) {
            core.publish(server, now);
        }
        core.ramping.iter().filter_map(|server| core.records.get(server.index())?.state.next_change_at(now)).min()
    }

    /// Puts a new configuration in force.
    ///
    /// A server with the same backend, name, address and port keeps its health, counts and what was set at run time, unless the new
    /// file says something new about it; all others start fresh.
    pub fn replace(&self, config: Arc<Config>) {
        self.adopt(config, same_machine, |_| Reason::Configuration);
    }

    /// Puts a configuration in force that a command has made of the present one: servers are what they were, wherever they are now.
    pub fn amend(&self, config: Arc<Config>) {
        self.adopt(config, |_, _| true, |_| Reason::Configuration);
    }

    /// Puts a configuration in force in which servers are where these moves have brought them.
    pub fn relocate(&self, config: Arc<Config>, moves: &[Move]) {
        self.tell_moves(moves);
        self.adopt(config, |_, _| true, |server| Reason::Resolution(server.lack()));
        let view = self.view();
        for (movement, weight) in moves.iter().filter_map(|movement| Some((movement, movement.weight?))) {
            if let Some(server) = view.config().server_named(&movement.backend, &movement.server) {
                self.set_weight(&view, server.id(), Some(weight));
            }
        }
    }

    fn adopt(&self, config: Arc<Config>, same: fn(&Server, &Server) -> bool, reason: fn(&Server) -> Reason) {
        let now = now();
        let mut core = self.shared.core();
        let changes = core.adopt(config, same, now);
        let mut notices: Vec<Notice> = Vec::new();
        for (id, change) in changes {
            let reason = core.view.server(id).map_or(Reason::Configuration, reason);
            notices.extend(core.note(id, change, reason, now));
        }
        notices.extend(core.lead_all(now));
        let view = Arc::clone(&core.view);
        for server in view.config().servers() {
            core.publish(server.id(), now);
        }
        self.shared.view.store(view);
        core.wake();
        drop(core);
        notices.into_iter().for_each(Notice::log);
    }

    /// Returns what the administrator wants of a server of `view`, and its weight before any ramp.
    pub fn settings(&self, view: &View, server: ServerId) -> Option<(Admin, u16)> {
        let core = self.shared.core();
        let record = core.translate(view, server).and_then(|server| core.records.get(server.index()))?;
        Some((record.state.admin(), record.state.weight()))
    }

    /// Returns a copy of everything known about the servers.
    pub fn snapshot(&self) -> Snapshot {
        let now = now();
        let core = self.shared.core();
        let config = Arc::clone(core.view.config());
        let servers = config.servers().iter().zip(&core.records).map(|(server, record)| record.snapshot(server.id(), now)).collect();
        Snapshot { config, at: now, servers }
    }

    fn change(&self, view: &View, server: ServerId, reason: Reason, change: impl FnOnce(&mut ServerState, Instant) -> Option<Change>) {
        let now = now();
        let mut core = self.shared.core();
        let Some(server) = core.translate(view, server) else { return };
        let Some(record) = core.records.get_mut(server.index()) else { return };
        let change = change(&mut record.state, now);
        let notices = core.settle(server, change, reason, now);
        core.view.count_change(server);
        drop(core);
        notices.into_iter().for_each(Notice::log);
    }
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        // A writer that panicked left at worst one server's numbers behind; that is no reason for all others to stop.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Returns the present id of a server of `view`.
    fn translate(&self, view: &View, server: ServerId) -> Option<ServerId> {
        if std::ptr::eq(view, &*self.view) { Some(server) } else { self.view.find(view, server) }
    }

    /// Shows a server's state to the readers and to those that track it, and keeps the books if its status changed.
    fn settle(&mut self, server: ServerId, change: Option<Change>, reason: Reason, now: Instant) -> Vec<Notice> {
        let mut notices: Vec<Notice> = change.and_then(|change| self.note(server, change, reason, now)).into_iter().collect();
        self.publish(server, now);
        notices.extend(self.lead(server, now));
        notices
    }

    fn note(&mut self, server: ServerId, change: Change, reason: Reason, now: Instant) -> Option<Notice> {
        self.records.get_mut(server.index())?.note_change(change, now);
        let config = Arc::clone(self.view.config());
        let written = self.view.server(server)?;
        let backend = config.backend(written.backend());
        let transition = Transition {
            backend: backend.name().to_owned(),
            server: written.name().to_owned(),
            from: change.from,
            to: change.to,
            reason,
            at: now,
        };
        self.tell_change(server, &transition);
        self.log.push(transition.clone());
        Some(Notice { transition, up: self.count_up(backend), all: backend.servers().len() })
    }

    fn count_up(&self, backend: &Backend) -> usize {
        let records = backend.servers().filter_map(|server| self.records.get(server.index()));
        records.filter(|record| record.state.status() == Status::Up).count()
    }

    /// Shows a server's state to the readers, and wakes the listeners if that is news.
    fn publish(&mut self, server: ServerId, now: Instant) {
        let (Some(record), Some(cell)) = (self.records.get(server.index()), self.view.cell(server)) else { return };
        if record.state.next_change_at(now).is_some() {
            self.ramping.insert(server);
        } else {
            self.ramping.remove(&server);
        }
        let (is_news, is_limited) = (cell.store(record.shown(now)), cell.store_maxconn(record.maxconn));
        if is_news || is_limited {
            self.view.count_change(server);
            self.wake();
        }
    }

    fn wake(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Moves to a new configuration; returns what it changes for servers that stay.
    fn adopt(&mut self, config: Arc<Config>, same: fn(&Server, &Server) -> bool, now: Instant) -> Vec<(ServerId, Change)> {
        let old_view = Arc::clone(&self.view);
        let mut old = HashMap::new();
        for ((server, record), cell) in old_view.config().servers().iter().zip(self.records.drain(..)).zip(old_view.cells()) {
            let backend = old_view.config().backend(server.backend());
            old.insert((backend.name(), server.name()), (server, record, cell));
        }
        let (mut cells, mut changes) = (Vec::new(), Vec::new());
        for server in config.servers() {
            let key = (config.backend(server.backend()).name(), server.name());
            let (record, cell) = match old.remove(&key) {
                Some((known, mut record, cell)) if same(known, server) => {
                    changes.extend(record.reconfigure(server, now).map(|change| (server.id(), change)));
                    (record, Arc::clone(cell))
                }
                moved => {
                    moved.into_iter().for_each(|(_, _, cell)| cell.retire());
                    let record = Record::new(server, now);
                    let cell = Arc::new(record.new_cell(now));
                    (record, cell)
                }
            };
            self.records.push(record);
            cells.push(cell);
        }
        old.into_values().for_each(|(_, _, cell)| cell.retire());
        self.ramping.clear();
        self.suspects.clear();
        self.followers = bond::followers(&config);
        self.view = Arc::new(View::new(config, cells));
        changes
    }
}

impl Notice {
    fn log(self) {
        match self.transition.to {
            Status::Down => warn!("{self}"),
            Status::Up | Status::Drain | Status::Maint => info!("{self}"),
        }
        if self.transition.from == Status::Up && self.up == 0 {
            error!("backend {} has no server up", self.transition.backend);
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transition, up, all } = self;
        let left = if transition.from == Status::Up { " left" } else { "" };
        write!(f, "{transition}, {up} of {all} up{left} in backend {}", transition.backend)
    }
}

/// Returns the part of a server's configuration its state runs on.
fn settings(server: &Server) -> Settings {
    Settings {
        weight: server.weight(),
        slowstart: server.slowstart().unwrap_or_default(),
        thresholds: server.check().map(|check| Thresholds { rise: check.rise(), fall: check.fall() }),
        admin: if server.disabled() || server.origin() == Origin::Command { Admin::Maint } else { Admin::Ready },
        is_resolved: server.lack().is_none(),
        init: server.check().map(Check::init_state).unwrap_or_default(),
    }
}

/// Returns the time on tokio's clock, which is the system's unless a test paused it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Record {
    fn new(server: &Server, now: Instant) -> Self {
        let mut state = ServerState::new(settings(server), now);
        if server.origin() == Origin::Command {
            state.set_checking(Checking::Resting);
        }
        let (last_check, last_agent, maxconn) = (None, None, None);
        Self {
            state,
            last_check,
            last_agent,
            asking: Checking::On,
            maxconn,
            failed_checks: 0,
            error_rows: 0,
            downs: 0,
            downtime: Duration::ZERO,
            down_since: None,
        }
    }

    fn shown(&self, now: Instant) -> Shown {
        let state = &self.state;
        let (status, checking) = (state.status(), state.checking());
        // There is nobody to ask at no address.
        let asking = if state.is_resolved() { self.asking } else { Checking::Resting };
        Shown { status, checking, asking, ramp: state.ramp(now), weight: state.effective_weight(now) }
    }

    fn new_cell(&self, now: Instant) -> Cell {
        Cell::new(self.shown(now))
    }

    fn reconfigure(&mut self, server: &Server, now: Instant) -> Option<Change> {
        if server.check().is_none() {
            self.last_check = None;
        }
        if server.agent().is_none() {
            (self.last_agent, self.maxconn) = (None, None);
            self.state.on_agent(Verdict::Pass, now);
        }
        let change = self.state.reconfigure(settings(server), now);
        if server.track().is_some() {
            return change;
        }
        let freed = self.state.follow(Lead::default(), now);
        change.map_or(freed, |change| Some(Change { to: self.state.status(), ..change }))
    }

    /// Keeps an outcome; returns whether it is the first of a row of checks that could not be carried out.
    fn note_check(&mut self, outcome: &CheckOutcome, now: Instant) -> bool {
        if outcome.result.verdict() == Verdict::Fail && matches!(self.state.status(), Status::Up | Status::Drain) {
            self.failed_checks += 1;
        }
        let last = self.last_check.replace(LastCheck { outcome: outcome.clone(), at: now });
        let starves = |outcome: &CheckOutcome| outcome.result == CheckResult::NotProbed;
        starves(outcome) && !last.is_some_and(|last| starves(&last.outcome))
    }

    fn note_change(&mut self, change: Change, now: Instant) {
        if let Some(since) = self.down_since.take() {
            self.downtime += now.saturating_duration_since(since);
        }
        if change.to == Status::Down {
            self.downs += 1;
            self.down_since = Some(now);
        }
    }

    fn snapshot(&self, id: ServerId, now: Instant) -> ServerSnapshot {
        ServerSnapshot {
            id,
            status: self.state.status(),
            stopping: self.state.is_stopping(),
            since: self.state.since(),
            admin: self.state.admin(),
            checking: self.state.checking(),
            phase: self.state.phase(),
            health: self.state.level(),
            weight: self.state.weight(),
            effective_weight: self.state.effective_weight(now),
            last_check: self.last_check.clone(),
            last_agent: self.last_agent.clone(),
            agent_down: self.state.is_agent_down(),
            asking: self.asking,
            maxconn: self.maxconn,
            failed_checks: self.failed_checks,
            error_rows: self.error_rows,
            lead: self.state.followed(),
            downs: self.downs,
            downtime: self.downtime + self.down_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        }
    }
}
