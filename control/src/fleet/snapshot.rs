//! A copy of everything known about the servers at one moment, for status reports and metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcome::CheckOutcome;
use crate::config::{BackendId, Config, ServerId};
use crate::server_state::{Admin, Checking, Lead, Phase, Status};

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The configuration in force; ids here are its ids.
    pub config: Arc<Config>,
    /// When the snapshot was taken.
    pub at: Instant,
    /// All servers, by id.
    pub servers: Vec<ServerSnapshot>,
}

/// A server at one moment.
#[derive(Debug, Clone)]
pub struct ServerSnapshot {
    /// Which server.
    pub id: ServerId,
    /// What it is to the balancer.
    pub status: Status,
    /// Whether its checks ask that it be given nothing new.
    pub stopping: bool,
    /// When the status last changed; the start of the daemon if it never did.
    pub since: Instant,
    /// What the administrator wants.
    pub admin: Admin,
    /// Whether checks are made.
    pub checking: Checking,
    /// Whether the last checks agree with the status.
    pub phase: Phase,
    /// How far it is from changing between up and down: below `rise` it is down; 0 without checks.
    pub health: u32,
    /// Weight in force before any ramp.
    pub weight: u16,
    /// Share of new traffic in units of 1/[`WEIGHT_SCALE`](crate::server_state::WEIGHT_SCALE).
    pub effective_weight: u32,
    /// What the agent said last; `None` before it first did and without one.
    pub last_agent: Option<LastCheck>,
    /// Whether the agent says that the server is down.
    pub agent_down: bool,
    /// Whether the agent is asked.
    pub asking: Checking,
    /// The most connections, where the agent or an administrator has set them.
    pub maxconn: Option<u32>,
    /// The last check; `None` before the first and without checks.
    pub last_check: Option<LastCheck>,
    /// Checks that failed while the server was up.
    pub failed_checks: u64,
    /// How often traffic with the server has failed too often in a row.
    pub error_rows: u64,
    /// What it has taken over from the server it tracks.
    pub lead: Lead,
    /// Transitions to down.
    pub downs: u64,
    /// All time spent down.
    pub downtime: Duration,
}

impl ServerSnapshot {
    /// All names of states, in the order reports list them.
    pub const STATES: [&str; 5] = ["DOWN", "UP", "MAINT", "DRAIN", "NOLB"];

    /// Returns what metrics call its state; one of [`STATES`](Self::STATES).
    pub fn state_name(&self) -> &'static str {
        match self.status {
            Status::Up | Status::Drain if self.stopping || self.lead.stopping => "NOLB",
            // Its weight is 0, for which HAProxy's exporter has no state.
            Status::Drain if self.admin != Admin::Drain && !self.lead.drain => "UP",
            Status::Up | Status::Down | Status::Drain | Status::Maint => self.status.as_str(),
        }
    }
}

/// A check in the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCheck {
    /// What came of it.
    pub outcome: CheckOutcome,
    /// When it ended.
    pub at: Instant,
}

impl Snapshot {
    /// Returns the servers of one backend of [`config`](Self::config), in the order of the file.
    pub fn servers_of(&self, backend: BackendId) -> impl Iterator<Item = &ServerSnapshot> {
        self.config.backend(backend).servers().filter_map(|id| self.servers.get(id.index()))
    }
}
