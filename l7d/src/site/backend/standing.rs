//! Why each server of a pool would be chosen or not, without choosing any.

use std::sync::atomic::Ordering;

use control::server_state::Status;

use super::{Backend, Weights};
use crate::balance::{Candidate, Choice, Inputs, Room, Schedule};

/// How a server of a pool stands when one is to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It takes traffic.
    Candidate(Candidate),
    /// It failed its checks.
    Down,
    /// An administrator has taken it out.
    Maint,
    /// It takes nothing new.
    Drain,
    /// It begins with a share of nothing.
    Weightless,
    /// Others than the backups are there.
    Backup,
    /// Another backup comes before it.
    LaterBackup,
}

/// What a pool would choose, and among whom.
#[derive(Debug)]
pub(crate) struct Outlook {
    /// The choice.
    pub(crate) choice: Choice,
    /// How each server stands, in the order of the pool.
    pub(crate) standings: Vec<Standing>,
}

impl Backend {
    /// Returns what would be chosen now, leaving the turns as they are.
    pub(crate) fn outlook(&self, key: Option<u32>) -> Outlook {
        let mut candidates = Vec::new();
        self.gather(&mut candidates);
        let turn = || self.turn.load(Ordering::Relaxed);
        let inputs = Inputs { key, turn, draw: |below: u32| fastrand::u32(..below.max(1)) };
        let choice = self.balance.choose(&candidates, &mut Schedule::default(), inputs);
        let standings = (0..self.servers.len()).map(|place| self.standing(place, &candidates)).collect();
        Outlook { choice, standings }
    }

    fn standing(&self, place: usize, candidates: &[Candidate]) -> Standing {
        if let Some(candidate) = candidates.iter().find(|candidate| candidate.place == place) {
            return Standing::Candidate(*candidate);
        }
        let server = &self.servers[place];
        match self.view.status(server.id) {
            Status::Down => Standing::Down,
            Status::Maint => Standing::Maint,
            Status::Drain => Standing::Drain,
            Status::Up if self.view.effective_weight(server.id) == 0 => Standing::Weightless,
            Status::Up if self.weights == Weights::Fixed && server.model.weight() == 0 => Standing::Weightless,
            Status::Up if self.usable(false).next().is_some() => Standing::Backup,
            Status::Up => Standing::LaterBackup,
        }
    }

    /// Returns how servers are chosen, as the configuration says it.
    pub(crate) fn balance_name(&self) -> &'static str {
        self.view.config().backend(self.id).balance().name()
    }

    /// Tells whether a server takes one more connection.
    pub(crate) fn room(&self, place: usize) -> Option<Room> {
        self.servers.get(place).map(|server| self.queue.room(&server.load))
    }
}
