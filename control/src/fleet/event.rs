//! What happens to servers, in order, for the one who writes it to the log.

use tokio::sync::mpsc;

use super::outcome::CheckOutcome;
use super::transition::Transition;
use super::{Core, Fleet};
use crate::config::{Move, NamedAddress, ProxyOption, Server, ServerId};
use crate::server_state::Status;

/// Something that happened to a server.
#[derive(Debug, Clone)]
pub enum Event {
    /// A check ended otherwise than the one before, in a backend that wants to know.
    Checked(Checked),
    /// The status changed.
    Changed(Box<Changed>),
    /// The name of a server leads elsewhere.
    Moved(Box<Moved>),
}

/// A server whose name leads elsewhere.
#[derive(Debug, Clone)]
pub struct Moved {
    /// Where it is now, and who said so.
    pub to: Move,
    /// Where it was.
    pub from: NamedAddress,
}

/// A check that ended otherwise than the one before.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Name of the backend.
    pub backend: String,
    /// Name of the server.
    pub server: String,
    /// Whether it takes traffic only when no other can.
    pub is_backup: bool,
    /// Who found out.
    pub probe: Probe,
    /// What came of it.
    pub outcome: CheckOutcome,
    /// How far the server is on its way up or down, and how far it has to go.
    pub progress: (u32, u32),
    /// Whether enough checks agree that it is up.
    pub is_up: bool,
}

/// Who finds out how a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A health check.
    Health,
    /// An agent.
    Agent,
}

/// A change of status, and what is left after it.
#[derive(Debug, Clone)]
pub struct Changed {
    /// What changed, and why.
    pub transition: Transition,
    /// Whether the server takes traffic only when no other can.
    pub is_backup: bool,
    /// What it is called in the DNS, if it has such a name.
    pub host: Option<String>,
    /// Whether it is given nothing new because its checks ask for it.
    pub is_stopping: bool,
    /// Whether the check that caused it is told in a line of its own.
    pub is_explained: bool,
    /// How many servers of the backend are up that are no spares.
    pub active: usize,
    /// How many of its spares are up.
    pub backup: usize,
}

impl Fleet {
    /// Returns what happens to servers from now on, for the one who asked last; what is not taken away in time is lost.
    pub fn events(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(MOST_EVENTS);
        self.shared.core().events = Some(sender);
        receiver
    }
}

impl Fleet {
    /// Tells of servers that are about to move.
    pub(super) fn tell_moves(&self, moves: &[Move]) {
        let core = self.shared.core();
        let Some(events) = &core.events else { return };
        for to in moves {
            let server = core.view.config().server_named(&to.backend, &to.server);
            let Some(from) = server.and_then(|server| server.address().named()).cloned() else { continue };
            let _ = events.try_send(Event::Moved(Box::new(Moved { to: to.clone(), from })));
        }
    }
}

impl Core {
    /// Tells of a check, if its backend wants to know and it is news.
    pub(super) fn tell_check(&self, id: ServerId, probe: Probe, outcome: &CheckOutcome) {
        let (Some(events), Some(server), Some(record)) = (&self.events, self.view.server(id), self.records.get(id.index())) else { return };
        if !self.is_explained(server) {
            return;
        }
        let (progress, is_up) = match (probe, server.check()) {
            (Probe::Agent, _) | (Probe::Health, None) => ((u32::from(!record.state.is_agent_down()), 1), !record.state.is_agent_down()),
            (Probe::Health, Some(check)) => match record.state.level() {
                level if level >= check.rise() => ((level + 1 - check.rise(), check.fall()), true),
                level => ((level, check.rise()), false),
            },
        };
        let backend = self.view.config().backend(server.backend());
        let _ = events.try_send(Event::Checked(Checked {
            backend: backend.name().to_owned(),
            server: server.name().to_owned(),
            is_backup: server.backup(),
            probe,
            outcome: outcome.clone(),
            progress,
            is_up,
        }));
    }

    /// Tells of a change of status.
    pub(super) fn tell_change(&self, id: ServerId, transition: &Transition) {
        let (Some(events), Some(server), Some(record)) = (&self.events, self.view.server(id), self.records.get(id.index())) else { return };
        let backend = self.view.config().backend(server.backend());
        let up = |is_backup: bool| {
            let servers = backend.servers().filter_map(|id| self.view.server(id).zip(self.records.get(id.index())));
            servers.filter(|(server, record)| server.backup() == is_backup && record.state.status() == Status::Up).count()
        };
        let _ = events.try_send(Event::Changed(Box::new(Changed {
            transition: transition.clone(),
            is_backup: server.backup(),
            host: server.address().named().and_then(NamedAddress::host).map(str::to_owned),
            is_stopping: record.state.is_stopping(),
            is_explained: self.is_explained(server),
            active: up(false),
            backup: up(true),
        })));
    }

    /// Tells whether checks of a server are told in lines of their own.
    fn is_explained(&self, server: &Server) -> bool {
        let options = self.view.config().backend(server.backend()).options();
        options.iter().any(|option| *option.value() == ProxyOption::LogHealthChecks)
    }
}

/// How many events wait to be taken away.
const MOST_EVENTS: usize = 1024;
