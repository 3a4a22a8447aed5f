//! Transitions of servers: what they say, the bounded log they go through, and the stream a listener reads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::Shared;
use super::outcome::CheckOutcome;
use crate::config::Lack;
use crate::server_state::{Admin, Status};

/// A server's change of status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Name of the backend.
    pub backend: String,
    /// Name of the server.
    pub server: String,
    /// The status before.
    pub from: Status,
    /// The status now.
    pub to: Status,
    /// What caused it.
    pub reason: Reason,
    /// When it happened.
    pub at: Instant,
}

/// Why a server changed its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A check was the last one needed.
    Check(CheckOutcome),
    /// An agent said so.
    Agent(CheckOutcome),
    /// An administrator set the administrative state.
    Admin(Admin),
    /// An administrator set the weight.
    Weight,
    /// An administrator set the health.
    Health,
    /// The server that it tracks has changed.
    Tracked {
        /// That one's backend and name.
        server: String,
        /// Whether it is what an administrator wants of that one.
        by_admin: bool,
    },
    /// Its name leads somewhere again, or for this reason nowhere.
    Resolution(Option<Lack>),
    /// A new configuration asks for it.
    Configuration,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(outcome) => outcome.fmt(f),
            Self::Agent(outcome) => write!(f, "{outcome} by its agent"),
            Self::Admin(Admin::Ready) => f.write_str("set ready by an administrator"),
            Self::Admin(Admin::Drain) => f.write_str("drained by an administrator"),
            Self::Admin(Admin::Maint) => f.write_str("put in maintenance by an administrator"),
            Self::Weight => f.write_str("weight set by an administrator"),
            Self::Health => f.write_str("health set by an administrator"),
            Self::Tracked { server, .. } => write!(f, "tracks {server}"),
            Self::Resolution(None) => f.write_str("resolves again"),
            Self::Resolution(Some(lack)) => f.write_str(lack.as_str().trim_end()),
            Self::Configuration => f.write_str("new configuration"),
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}/{} is {}: {}", self.backend, self.server, self.to, self.reason)
    }
}

/// The last transitions, numbered from 0 since the start.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Transition>,
    /// Number of the entry after the last.
    end: u64,
}

impl Log {
    pub(super) fn push(&mut self, transition: Transition) {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(transition);
        self.end += 1;
    }

    /// Returns all from number `next` on that are still here, and how many are not.
    fn read_from(&self, next: u64) -> (Vec<Transition>, u64) {
        let begin = self.end - self.entries.len() as u64;
        let skip = usize::try_from(next.saturating_sub(begin)).unwrap_or(usize::MAX);
        (self.entries.iter().skip(skip).cloned().collect(), begin.saturating_sub(next))
    }
}

/// What changed since a listener last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The transitions, in order; none where only weights or the configuration changed.
    pub transitions: Vec<Transition>,
    /// How many transitions came before these and are lost, because the listener was late; their effect shows in the fleet.
    pub missed: u64,
}

/// The changes of a fleet since the subscription.
#[derive(Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    generation: watch::Receiver<u64>,
    /// Number of the first transition not read.
    next: u64,
}

impl Changes {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        // Holding the core, no change can fall between the two positions.
        let core = shared.core();
        let (generation, next) = (core.generation.subscribe(), core.log.end);
        drop(core);
        Self { shared, generation, next }
    }

    /// Waits for a change of any status, effective weight or of the configuration, and returns what is known of all since the last call.
    ///
    /// May be cancelled: what was not returned comes with the next call.
    pub async fn next(&mut self) -> Batch {
        // The sender lives in `shared`, so the wait cannot fail.
        let _ = self.generation.changed().await;
        let core = self.shared.core();
        let (transitions, missed) = core.log.read_from(self.next);
        self.next = core.log.end;
        Batch { transitions, missed }
    }
}

const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(server: u64) -> Transition {
        Transition {
            backend: "app".to_owned(),
            server: server.to_string(),
            from: Status::Up,
            to: Status::Down,
            reason: Reason::Configuration,
            at: Instant::now(),
        }
    }

    #[test]
    fn log_returns_what_is_new_and_counts_what_is_lost() {
        let mut log = Log::default();
        assert_eq!(log.read_from(0), (Vec::new(), 0));
        let capacity = CAPACITY as u64;
        (0..capacity + 10).for_each(|server| log.push(transition(server)));
        let servers = |next| {
            let (transitions, missed) = log.read_from(next);
            (transitions.first().map(|t| t.server.clone()), transitions.len(), missed)
        };
        assert_eq!(servers(0), (Some("10".to_owned()), CAPACITY, 10));
        assert_eq!(servers(7), (Some("10".to_owned()), CAPACITY, 3));
        assert_eq!(servers(capacity), (Some("1024".to_owned()), 10, 0));
        assert_eq!(servers(capacity + 10), (None, 0, 0));
    }
}
