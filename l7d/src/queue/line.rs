//! Who waits, in the order of arrival.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Load, LoadId, Slot, Wants};

/// A place in the line: lower ones came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u64);

/// The waiters of one backend.
#[derive(Debug, Default)]
pub(super) struct Line {
    next: u64,
    /// Those for whom several servers will do.
    unattached: BTreeMap<Stamp, Waiter>,
    /// Those who wait for one server; no entry is empty.
    attached: HashMap<LoadId, BTreeMap<Stamp, Waiter>>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    /// The servers that will do; none where the place in the line says it.
    known: Option<Arc<[Arc<Load>]>>,
    hand_over: oneshot::Sender<Slot>,
}

impl Line {
    /// Puts a waiter at the end, or at a place it has had before.
    pub(super) fn enter(&mut self, wants: &Wants, again: Option<Stamp>, hand_over: oneshot::Sender<Slot>) -> Stamp {
        let stamp = again.unwrap_or_else(|| {
            self.next += 1;
            Stamp(self.next)
        });
        match wants {
            Wants::One(load) => self.attached.entry(load.id()).or_default().insert(stamp, Waiter { known: None, hand_over }),
            Wants::Any(known) => self.unattached.insert(stamp, Waiter { known: Some(Arc::clone(known)), hand_over }),
        };
        stamp
    }

    /// Removes a waiter, if it is still there.
    pub(super) fn leave(&mut self, wants: &Wants, stamp: Stamp) -> Option<Waiter> {
        match wants {
            Wants::One(load) => self.leave_attached(load, stamp),
            Wants::Any(_) => self.unattached.remove(&stamp),
        }
    }

    /// Removes all who wait for one server alone.
    pub(super) fn evict(&mut self, load: &Load) -> Option<BTreeMap<Stamp, Waiter>> {
        self.attached.remove(&load.id())
    }

    /// Tells whether someone waits whom a slot of this server suits.
    pub(super) fn has_any_for(&self, load: &Arc<Load>, is_admitted: bool) -> bool {
        self.attached.contains_key(&load.id()) || is_admitted && self.first_unattached(load).is_some()
    }

    /// Removes the oldest waiter whom a slot of this server suits.
    pub(super) fn next_for(&mut self, load: &Arc<Load>, is_admitted: bool) -> Option<Waiter> {
        let attached = self.attached.get(&load.id()).and_then(|waiters| waiters.keys().next()).copied();
        let unattached = self.first_unattached(load).filter(|_| is_admitted);
        match (attached, unattached) {
            (Some(one), Some(other)) if other < one => self.unattached.remove(&other),
            (Some(one), _) => self.leave_attached(load, one),
            (None, Some(other)) => self.unattached.remove(&other),
            (None, None) => None,
        }
    }

    pub(super) fn count_for(&self, load: &Load) -> usize {
        self.attached.get(&load.id()).map_or(0, BTreeMap::len)
    }

    pub(super) fn count_unattached(&self) -> usize {
        self.unattached.len()
    }

    /// Returns the oldest who knows this server; after a reload the first may not.
    fn first_unattached(&self, load: &Arc<Load>) -> Option<Stamp> {
        let knows = |waiter: &Waiter| waiter.known.iter().flat_map(|known| known.iter()).any(|known| Arc::ptr_eq(known, load));
        self.unattached.iter().find(|(_, waiter)| knows(waiter)).map(|(stamp, _)| *stamp)
    }

    fn leave_attached(&mut self, load: &Load, stamp: Stamp) -> Option<Waiter> {
        let waiters = self.attached.get_mut(&load.id())?;
        let waiter = waiters.remove(&stamp);
        if waiters.is_empty() {
            self.attached.remove(&load.id());
        }
        waiter
    }
}

impl Waiter {
    /// Gives the slot to the waiter; one who has just given up lets it drop, which passes it on.
    pub(super) fn hand_over(self, slot: Slot) {
        drop(self.hand_over.send(slot));
    }
}
