//! A configuration and the present state of its servers, readable without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::config::{BackendId, Config, Server, ServerId};
use crate::server_state::{Checking, Status, WEIGHT_SCALE};

/// A configuration with the state of each of its servers.
///
/// The states stay current for as long as the server is in service, also after a newer configuration came into force; the ids are
/// those of [`config`](Self::config).
#[derive(Debug)]
pub struct View {
    config: Arc<Config>,
    /// One per server, by id.
    cells: Vec<Arc<Cell>>,
    /// How often anything changed about the servers of each backend, by id.
    changes: Vec<AtomicU64>,
}

/// What is shown of a server, in one word, so that a change of all of it is one change to all readers.
#[derive(Debug)]
pub(super) struct Cell {
    word: AtomicU64,
    /// The most connections, where they were set at run time; [`UNSET`] where not.
    maxconn: AtomicU32,
}

/// What is shown of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) status: Status,
    pub(super) checking: Checking,
    /// Whether the agent is asked.
    pub(super) asking: Checking,
    /// How much of its full load it bears, 1 to [`WEIGHT_SCALE`].
    pub(super) ramp: u32,
    /// The effective weight.
    pub(super) weight: u32,
}

impl View {
    /// Invariant: `cells` has one element for each server of `config`.
    pub(super) fn new(config: Arc<Config>, cells: Vec<Arc<Cell>>) -> Self {
        debug_assert_eq!(config.servers().len(), cells.len());
        let changes = config.backends().iter().map(|_| AtomicU64::new(0)).collect();
        Self { config, cells, changes }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns how often anything changed about the servers of a backend: read before them, it tells later whether they are still as they were.
    pub fn changes(&self, backend: BackendId) -> u64 {
        self.changes.get(backend.index()).map_or(0, |changes| changes.load(Ordering::Acquire))
    }

    /// Counts a change of a server, once it can be seen.
    pub(super) fn count_change(&self, server: ServerId) {
        let backend = self.server(server).map(|server| server.backend().index());
        if let Some(changes) = backend.and_then(|backend| self.changes.get(backend)) {
            changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns a server's status; down for an id of another configuration that this one does not have.
    pub fn status(&self, server: ServerId) -> Status {
        self.cell(server).map_or(Status::Down, |cell| cell.load().status)
    }

    /// Tells whether a server is to be probed: not in maintenance, nor while its checks rest.
    pub fn is_probed(&self, server: ServerId) -> bool {
        self.cell(server).map(|cell| cell.load()).is_some_and(|shown| shown.status != Status::Maint && shown.checking == Checking::On)
    }

    /// Tells whether the agent of a server is to be asked; also in maintenance, which only the agent may end that began it.
    pub fn is_asked(&self, server: ServerId) -> bool {
        self.cell(server).is_some_and(|cell| cell.load().asking == Checking::On)
    }

    /// Returns the most connections of a server, where they were set at run time.
    pub fn maxconn(&self, server: ServerId) -> Option<u32> {
        self.cell(server).map(|cell| cell.maxconn.load(Ordering::Acquire)).filter(|maxconn| *maxconn != UNSET)
    }

    /// Returns a server's share of new traffic in units of 1/[`WEIGHT_SCALE`]; 0 unless it is up.
    pub fn effective_weight(&self, server: ServerId) -> u32 {
        self.cell(server).map_or(0, |cell| cell.load().weight)
    }

    /// Returns how much of its full load a server bears already, 1 to [`WEIGHT_SCALE`]: less than all only during a slow start.
    pub fn ramp(&self, server: ServerId) -> u32 {
        self.cell(server).map_or(WEIGHT_SCALE, |cell| cell.load().ramp)
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

/// Tells whether two servers of one name in one backend are the same machine: same address.
pub(crate) fn same_machine(one: &Server, other: &Server) -> bool {
    one.address().is_same_place(other.address())
}

impl Cell {
    pub(super) fn new(shown: Shown) -> Self {
        Self { word: AtomicU64::new(pack(shown)), maxconn: AtomicU32::new(UNSET) }
    }

    /// Stores all of it and returns whether something is new.
    pub(super) fn store(&self, shown: Shown) -> bool {
        let new = pack(shown);
        self.word.swap(new, Ordering::AcqRel) != new
    }

    /// Takes the server out for those who still hold a view of an older configuration.
    pub(super) fn retire(&self) {
        self.store(Shown { status: Status::Maint, checking: Checking::On, asking: Checking::Resting, ramp: WEIGHT_SCALE, weight: 0 });
    }

    /// Stores the most connections and returns whether that is news.
    pub(super) fn store_maxconn(&self, maxconn: Option<u32>) -> bool {
        let new = maxconn.unwrap_or(UNSET);
        self.maxconn.swap(new, Ordering::AcqRel) != new
    }

    fn load(&self) -> Shown {
        unpack(self.word.load(Ordering::Acquire))
    }
}

const UNSET: u32 = u32::MAX;

/// The weight is the low half; in the high half stand the ramp, the place of the status in [`Status::ALL`], and whether checks rest.
fn pack(shown: Shown) -> u64 {
    let place = match shown.status {
        Status::Up => 0,
        Status::Down => 1,
        Status::Drain => 2,
        Status::Maint => 3,
    };
    let resting = u64::from(shown.checking == Checking::Resting) | u64::from(shown.asking == Checking::Resting) << 1;
    resting << 48 | place << 40 | u64::from(shown.ramp) << 32 | u64::from(shown.weight)
}

fn unpack(word: u64) -> Shown {
    let [_, resting, place, ramp, a, b, c, d] = word.to_be_bytes();
    let status = *Status::ALL.get(usize::from(place)).expect("only `pack` makes words, from places in the list");
    let rests = |bit: u8| if resting & bit == 0 { Checking::On } else { Checking::Resting };
    let (checking, asking) = (rests(1), rests(2));
    Shown { status, checking, asking, ramp: u32::from(ramp), weight: u32::from_be_bytes([a, b, c, d]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_holds_every_status_ramp_and_weight() {
        for status in Status::ALL {
            for (ramp, weight) in [(1, 0), (7, 1), (WEIGHT_SCALE, 4096), (2, u32::MAX)] {
                for (checking, asking) in [(Checking::On, Checking::Resting), (Checking::Resting, Checking::On)] {
                    let shown = Shown { status, checking, asking, ramp, weight };
                    assert_eq!(unpack(pack(shown)), shown);
                }
            }
        }
    }

    #[test]
    fn storing_the_same_is_no_news() {
        let up = Shown { status: Status::Up, checking: Checking::On, asking: Checking::On, ramp: WEIGHT_SCALE, weight: 16 };
        let down = Shown { status: Status::Down, checking: Checking::On, asking: Checking::On, ramp: WEIGHT_SCALE, weight: 0 };
        let cell = Cell::new(up);
        assert!(!cell.store(up));
        assert!(cell.store(down));
        assert_eq!(cell.load(), down);
    }
}
