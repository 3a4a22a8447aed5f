//! A configuration and the present state of its servers, readable without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{Config, Server, ServerId};
use crate::server_state::Status;

/// A configuration with the state of each of its servers.
///
/// The states stay current for as long as the server is in service, also after a newer configuration came into force; the ids are
/// those of [`config`](Self::config).
#[derive(Debug)]
pub struct View {
    config: Arc<Config>,
    /// One per server, by id.
    cells: Vec<Arc<Cell>>,
}

/// Status and effective weight of a server in one word, so that a change of both is one change to all readers.
#[derive(Debug)]
pub(super) struct Cell(AtomicU64);

impl View {
    /// Invariant: `cells` has one element for each server of `config`.
    pub(super) fn new(config: Arc<Config>, cells: Vec<Arc<Cell>>) -> Self {
        debug_assert_eq!(config.servers().len(), cells.len());
        Self { config, cells }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns a server's status; down for an id of another configuration that this one does not have.
    pub fn status(&self, server: ServerId) -> Status {
        self.cell(server).map_or(Status::Down, |cell| cell.load().0)
    }

    /// Returns a server's share of new traffic in units of 1/[`WEIGHT_SCALE`](crate::server_state::WEIGHT_SCALE); 0 unless it is up.
    pub fn effective_weight(&self, server: ServerId) -> u32 {
        self.cell(server).map_or(0, |cell| cell.load().1)
    }

    pub(super) fn cell(&self, server: ServerId) -> Option<&Arc<Cell>> {
        self.cells.get(server.index())
    }

    pub(super) fn cells(&self) -> &[Arc<Cell>] {
        &self.cells
    }

    pub(super) fn server(&self, server: ServerId) -> Option<&Server> {
        self.config.servers().get(server.index())
    }

    /// Returns a server's name as logs write it: `backend/server`.
    pub(super) fn name_of(&self, server: ServerId) -> String {
        let Some(server) = self.server(server) else { return String::new() };
        format!("{}/{}", self.config.backend(server.backend()).name(), server.name())
    }

    /// Finds the server of `other` in this view: same backend, name, address and port.
    pub(super) fn find(&self, other: &Self, server: ServerId) -> Option<ServerId> {
        let wanted = other.server(server)?;
        let backend = other.config.backend(wanted.backend());
        let found = self.config.server_named(backend.name(), wanted.name())?;
        same_machine(wanted, found).then(|| found.id())
    }
}

/// Tells whether two servers of one name in one backend are the same machine: same address and port.
pub(crate) fn same_machine(one: &Server, other: &Server) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

impl Cell {
    pub(super) fn new(status: Status, weight: u32) -> Self {
        Self(AtomicU64::new(pack(status, weight)))
    }

    /// Stores both and returns whether something is new.
    pub(super) fn store(&self, status: Status, weight: u32) -> bool {
        let new = pack(status, weight);
        self.0.swap(new, Ordering::AcqRel) != new
    }

    /// Takes the server out for those who still hold a view of an older configuration.
    pub(super) fn retire(&self) {
        self.store(Status::Maint, 0);
    }

    fn load(&self) -> (Status, u32) {
        unpack(self.0.load(Ordering::Acquire))
    }
}

/// The weight is the low half, the place of the status in [`Status::ALL`] the high half.
fn pack(status: Status, weight: u32) -> u64 {
    let place = match status {
        Status::Up => 0,
        Status::Down => 1,
        Status::Drain => 2,
        Status::Maint => 3,
    };
    place << 32 | u64::from(weight)
}

fn unpack(word: u64) -> (Status, u32) {
    let [.., place, a, b, c, d] = word.to_be_bytes();
    let status = Status::ALL.get(usize::from(place)).expect("only `pack` makes words, from places in the list");
    (*status, u32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_holds_every_status_and_weight() {
        for status in Status::ALL {
            for weight in [0, 1, 4096, u32::MAX] {
                assert_eq!(unpack(pack(status, weight)), (status, weight));
            }
        }
    }

    #[test]
    fn storing_the_same_is_no_news() {
        let cell = Cell::new(Status::Up, 16);
        assert!(!cell.store(Status::Up, 16));
        assert!(cell.store(Status::Down, 0));
        assert_eq!(cell.load(), (Status::Down, 0));
    }
}
