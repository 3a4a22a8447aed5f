//! The state of one server: health, the administrator's wish, weight and slow start, as a pure machine.
//!
//! [`ServerState`] is told what happened (a check passed, an administrator drains) and when, and answers what that makes of the
//! server. It neither probes nor logs nor locks: [`crate::health`] finds the facts, [`crate::fleet`] owns one machine per server.
//!
//! The rules are those HAProxy users know. A server starts up and on trial: its first failure takes it down. From then on it
//! takes `fall` failures in a row to go down and `rise` successes in a row to come back. A server that comes back from being
//! down, or from maintenance, ramps its weight over `slowstart`; one that was never away does not.

use std::time::{Duration, Instant};

use crate::config::{InitState, OnError};

#[cfg(test)]
mod tests;

/// Units of effective weight per unit of configured weight, so that a ramp has steps even at the usual weight of 1.
pub const WEIGHT_SCALE: u32 = 16;

/// The largest configured or runtime weight.
pub const MAX_WEIGHT: u16 = 256;

/// What a server is to the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Takes new traffic.
    Up,
    /// Fails its checks and takes no traffic.
    Down,
    /// Healthy, keeps what it has, takes nothing new: drained by an administrator or of weight 0.
    Drain,
    /// Taken out by an administrator; not checked.
    Maint,
}

impl Status {
    /// Every status, in the order reports list them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Drain, Self::Maint];

    /// Returns the word logs, metrics and the admin socket use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Drain => "DRAIN",
            Self::Maint => "MAINT",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the administrator, or the configuration's `disabled`, wants of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admin {
    /// Serve as health and weight allow.
    Ready,
    /// Take no new traffic.
    Drain,
    /// Take no traffic and run no checks.
    Maint,
}

/// Whether checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checking {
    /// As configured.
    On,
    /// Not until an administrator says so.
    Resting,
}

/// What a single check says about a server's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The server works.
    Pass,
    /// The server works, and asks to be given nothing new.
    PassConditionally,
    /// The server does not work.
    Fail,
    /// The check could not be carried out for a reason of ours, so it says nothing.
    Unknown,
}

/// How many checks in a row move a server; both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes that bring a server up.
    pub rise: u32,
    /// Failures that take a server down.
    pub fall: u32,
}

/// The part of a server's configuration the machine runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Configured weight, 0 to [`MAX_WEIGHT`].
    pub weight: u16,
    /// Length of the ramp after a return; zero for none.
    pub slowstart: Duration,
    /// `None` for a server without checks, which is always healthy.
    pub thresholds: Option<Thresholds>,
    /// The administrative state the file asks for.
    pub admin: Admin,
    /// Whether its address is known; one that is nowhere is in maintenance.
    pub is_resolved: bool,
    /// The health to begin with, at the start and after maintenance.
    pub init: InitState,
}

/// What a server takes over from the one it tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lead {
    /// Whether that is down.
    pub down: bool,
    /// Whether it asks to be given nothing new.
    pub stopping: bool,
    /// Whether it is in maintenance.
    pub maint: bool,
    /// Whether it is drained.
    pub drain: bool,
    /// How far the one that is checked is on its way up or down, and how far it has to go.
    pub progress: Option<(u32, u32)>,
}

/// Which of the three check intervals applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Up, and the last check agreed.
    Up,
    /// Not yet checked, or on the way up or down.
    Transition,
    /// Down, and the last check agreed.
    Down,
}

/// A change of [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The status before.
    pub from: Status,
    /// The status now.
    pub to: Status,
}

/// The machine of one server.
#[derive(Debug, Clone)]
pub struct ServerState {
    settings: Settings,
    admin: Admin,
    /// A runtime weight, in place of the configured one.
    weight_override: Option<u16>,
    checking: Checking,
    health: Health,
    /// Whether its checks ask that it be given nothing new.
    stopping: bool,
    /// Whether its agent says that it is down.
    agent_down: bool,
    /// What the server it tracks says; nothing for one that tracks none.
    lead: Lead,
    /// When the status last changed.
    since: Instant,
    /// Start of the ramp; `None` once it is over or where there is none.
    ramp: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Up without having been checked: one failure suffices.
    Trial,
    /// Invariant: `failures < fall`.
    Up { failures: u32 },
    /// Invariant: `successes < rise`.
    Down { successes: u32 },
}

impl Health {
    /// Returns the health of a server of which nothing is known yet.
    fn initial(settings: &Settings) -> Self {
        match (settings.init, settings.thresholds) {
            (InitState::FullyUp, _) => Self::Up { failures: 0 },
            (InitState::Up, _) | (_, None) => Self::Trial,
            (InitState::Down, Some(thresholds)) => Self::Down { successes: thresholds.rise - 1 },
            (InitState::FullyDown, Some(_)) => Self::Down { successes: 0 },
        }
    }

    fn is_up(self) -> bool {
        match self {
            Self::Trial | Self::Up { .. } => true,
            Self::Down { .. } => false,
        }
    }

    /// Returns the health after a check.
    fn after(self, verdict: Verdict, thresholds: Thresholds) -> Self {
        match (self, verdict) {
            (_, Verdict::Unknown) => self,
            (Self::Trial | Self::Up { .. }, Verdict::Pass | Verdict::PassConditionally) => Self::Up { failures: 0 },
            (Self::Trial, Verdict::Fail) => Self::Down { successes: 0 },
            (Self::Up { failures }, Verdict::Fail) if thresholds.fall <= failures + 1 => Self::Down { successes: 0 },
            (Self::Up { failures }, Verdict::Fail) => Self::Up { failures: failures + 1 },
            (Self::Down { .. }, Verdict::Fail) => Self::Down { successes: 0 },
            (Self::Down { successes }, _) if thresholds.rise <= successes + 1 => Self::Up { failures: 0 },
            (Self::Down { successes }, _) => Self::Down { successes: successes + 1 },
        }
    }

    /// Keeps the counters below thresholds that a reload may have lowered.
    fn within(self, thresholds: Thresholds) -> Self {
        match self {
            Self::Trial => self,
            Self::Up { failures } => Self::Up { failures: failures.min(thresholds.fall.saturating_sub(1)) },
            Self::Down { successes } => Self::Down { successes: successes.min(thresholds.rise.saturating_sub(1)) },
        }
    }
}

impl ServerState {
    /// Returns the state of a server at start: as the file says, healthy until its first check fails, at full weight.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            admin: settings.admin,
            weight_override: None,
            checking: Checking::On,
            health: Health::initial(&settings),
            stopping: false,
            agent_down: false,
            lead: Lead::default(),
            since: now,
            ramp: None,
        }
    }

    /// Returns what the server is to the balancer.
    pub fn status(&self) -> Status {
        match self.admin {
            Admin::Maint => Status::Maint,
            Admin::Ready | Admin::Drain if !self.settings.is_resolved => Status::Maint,
            Admin::Ready | Admin::Drain if self.lead.maint => Status::Maint,
            Admin::Ready | Admin::Drain if !self.is_alive() => Status::Down,
            Admin::Ready if self.weight() > 0 && !self.stopping && !self.lead.stopping && !self.lead.drain => Status::Up,
            Admin::Ready | Admin::Drain => Status::Drain,
        }
    }

    /// Returns what servers that track this one take over from it.
    pub fn lead(&self) -> Lead {
        Lead {
            down: !self.is_alive(),
            stopping: self.stopping || self.lead.stopping,
            maint: self.admin == Admin::Maint || self.lead.maint || !self.settings.is_resolved,
            drain: self.admin == Admin::Drain || self.lead.drain,
            progress: self.progress().or(self.lead.progress),
        }
    }

    /// Takes over the state of the server that this one tracks.
    pub fn follow(&mut self, lead: Lead, now: Instant) -> Option<Change> {
        self.update(now, |state| state.lead = lead)
    }

    /// Returns what it has taken over from the server it tracks.
    pub fn followed(&self) -> Lead {
        self.lead
    }

    /// Tells whether a server that is up is given nothing new because its checks ask for it.
    pub fn is_stopping(&self) -> bool {
        (self.stopping || self.lead.stopping) && self.admin == Admin::Ready && self.health.is_up() && !self.lead.maint && !self.lead.down
    }

    fn is_alive(&self) -> bool {
        self.health.is_up() && !self.agent_down && !self.lead.down
    }

    /// Tells whether its address is known.
    pub fn is_resolved(&self) -> bool {
        self.settings.is_resolved
    }

    /// Tells whether its agent says that it is down.
    pub fn is_agent_down(&self) -> bool {
        self.agent_down
    }

    /// Takes in what the agent says of the server; only the agent takes it back.
    pub fn on_agent(&mut self, verdict: Verdict, now: Instant) -> Option<Change> {
        self.update(now, |state| match verdict {
            Verdict::Pass | Verdict::PassConditionally => state.agent_down = false,
            Verdict::Fail => state.agent_down = true,
            Verdict::Unknown => {}
        })
    }

    /// Returns when the status last changed.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Returns the administrative state in force.
    pub fn admin(&self) -> Admin {
        self.admin
    }

    /// Returns the weight in force before any ramp: the runtime one, else the configured one.
    pub fn weight(&self) -> u16 {
        self.weight_override.unwrap_or(self.settings.weight)
    }

    /// Returns the health as HAProxy counts it: successes while down, from `rise` up to `rise + fall - 1` while up; 0 without checks.
    pub fn level(&self) -> u32 {
        let Some(Thresholds { rise, fall }) = self.settings.thresholds else { return 0 };
        match self.health {
            Health::Trial => rise,
            Health::Up { failures } => (rise + fall).saturating_sub(1 + failures),
            Health::Down { successes } => successes,
        }
    }

    /// Returns how far the server is on its way up or down, and how far it has to go; none where its checks agree with its status.
    pub fn progress(&self) -> Option<(u32, u32)> {
        let Thresholds { rise, fall } = self.settings.thresholds?;
        match self.health {
            Health::Trial => Some((1, fall)).filter(|_| fall > 1),
            Health::Up { failures: 0 } | Health::Down { successes: 0 } => None,
            Health::Up { failures } => Some((fall.saturating_sub(failures), fall)),
            Health::Down { successes } => Some((successes, rise)),
        }
    }

    /// Returns which check interval applies.
    pub fn phase(&self) -> Phase {
        match self.health {
            Health::Trial => Phase::Transition,
            Health::Up { failures: 0 } => Phase::Up,
            Health::Down { successes: 0 } => Phase::Down,
            Health::Up { .. } | Health::Down { .. } => Phase::Transition,
        }
    }

    /// Returns the server's share of new traffic in units of 1/[`WEIGHT_SCALE`]; 0 unless the server is up.
    pub fn effective_weight(&self, now: Instant) -> u32 {
        if self.status() != Status::Up {
            return 0;
        }
        u32::from(self.weight()) * self.ramp(now)
    }

    /// Returns how much of its full load the server bears already, 1 to [`WEIGHT_SCALE`]; less than all only during a slow start.
    pub fn ramp(&self, now: Instant) -> u32 {
        self.ramp_step(now).unwrap_or(WEIGHT_SCALE)
    }

    /// Returns when the effective weight next changes by itself.
    pub fn next_change_at(&self, now: Instant) -> Option<Instant> {
        let start = self.ramp?;
        let step = self.ramp_step(now).filter(|_| self.status() == Status::Up)?;
        // Rounded up by a nanosecond, because the ramp's own division rounds down and would still see the old step.
        start.checked_add(self.settings.slowstart.saturating_mul(step) / WEIGHT_SCALE + Duration::from_nanos(1))
    }

    /// Tells whether checks are made.
    pub fn checking(&self) -> Checking {
        self.checking
    }

    /// Lets checks rest or go on.
    pub fn set_checking(&mut self, checking: Checking) {
        self.checking = checking;
    }

    /// Sets the health as if enough checks had agreed; checks go on from there.
    pub fn set_health(&mut self, verdict: Verdict, now: Instant) -> Option<Change> {
        self.update(now, |state| match verdict {
            Verdict::Pass => (state.health, state.stopping) = (Health::Up { failures: 0 }, false),
            Verdict::PassConditionally => (state.health, state.stopping) = (Health::Up { failures: 0 }, true),
            Verdict::Fail => (state.health, state.stopping) = (Health::Down { successes: 0 }, false),
            Verdict::Unknown => {}
        })
    }

    /// Takes in the result of a check.
    pub fn on_check(&mut self, verdict: Verdict, now: Instant) -> Option<Change> {
        let thresholds = self.settings.thresholds.filter(|_| self.checking == Checking::On)?;
        self.update(now, |state| {
            state.health = state.health.after(verdict, thresholds);
            state.stopping = match verdict {
                Verdict::PassConditionally => state.health.is_up(),
                Verdict::Pass => false,
                Verdict::Fail | Verdict::Unknown => state.stopping && state.health.is_up(),
            };
        })
    }

    /// Takes in that traffic has failed too often in a row.
    pub fn on_errors(&mut self, action: OnError, now: Instant) -> Option<Change> {
        let thresholds = self.settings.thresholds.filter(|_| self.checking == Checking::On && action != OnError::FastInter)?;
        self.update(now, |state| {
            state.health = match (state.health, action) {
                (_, OnError::MarkDown) => Health::Down { successes: 0 },
                (Health::Up { .. }, OnError::SuddenDeath) if thresholds.fall > 1 => Health::Up { failures: thresholds.fall - 1 },
                (health, OnError::SuddenDeath | OnError::FailCheck | OnError::FastInter) => health.after(Verdict::Fail, thresholds),
            };
            state.stopping &= state.health.is_up();
        })
    }

    /// Sets the administrative state; a server that leaves maintenance is on trial again.
    pub fn set_admin(&mut self, admin: Admin, now: Instant) -> Option<Change> {
        self.update(now, |state| state.adopt_admin(admin))
    }

    /// Sets a runtime weight, capped at [`MAX_WEIGHT`], or returns to the configured one with `None`.
    pub fn set_weight(&mut self, weight: Option<u16>, now: Instant) -> Option<Change> {
        self.update(now, |state| state.weight_override = weight.map(|weight| weight.min(MAX_WEIGHT)))
    }

    /// Takes over the settings of a new configuration: health stays, and of what was set at runtime all that the file did not touch.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant) -> Option<Change> {
        self.update(now, |state| {
            let old = std::mem::replace(&mut state.settings, settings);
            if settings.admin != old.admin {
                state.adopt_admin(settings.admin);
            }
            if settings.is_resolved && !old.is_resolved {
                state.begin_anew();
            }
            if settings.weight != old.weight {
                state.weight_override = None;
            }
            state.stopping &= settings.thresholds.is_some();
            state.health = match (settings.thresholds, old.thresholds) {
                (Some(thresholds), Some(_)) => state.health.within(thresholds),
                (None, None) => state.health,
                (Some(_), None) => Health::initial(&state.settings),
                (None, Some(_)) => Health::Trial,
            };
        })
    }

    fn adopt_admin(&mut self, admin: Admin) {
        if self.admin == Admin::Maint && admin != Admin::Maint {
            self.begin_anew();
        }
        self.admin = admin;
    }

    /// Forgets what was known of its health.
    fn begin_anew(&mut self) {
        self.health = Health::initial(&self.settings);
        self.stopping = false;
    }

    /// Applies `change`, then settles what follows from it: the time of the status and the ramp.
    fn update(&mut self, now: Instant, change: impl FnOnce(&mut Self)) -> Option<Change> {
        let (from, was_away) = (self.status(), self.is_away());
        change(self);
        if was_away && !self.is_away() && !self.settings.slowstart.is_zero() {
            self.ramp = Some(now);
        } else if self.is_away() || self.ramp_step(now).is_none() {
            self.ramp = None;
        }
        let to = self.status();
        if from == to {
            return None;
        }
        self.since = now;
        Some(Change { from, to })
    }

    /// Returns whether the server serves nobody, not even what it had.
    fn is_away(&self) -> bool {
        matches!(self.status(), Status::Down | Status::Maint)
    }

    /// Returns the share of the weight during a ramp, 1 to `WEIGHT_SCALE - 1`; `None` at full weight.
    fn ramp_step(&self, now: Instant) -> Option<u32> {
        let elapsed = now.saturating_duration_since(self.ramp?);
        let slowstart = self.settings.slowstart.as_nanos().max(1);
        let step = elapsed.as_nanos().saturating_mul(u128::from(WEIGHT_SCALE)) / slowstart + 1;
        u32::try_from(step).ok().filter(|step| *step < WEIGHT_SCALE)
    }
}
