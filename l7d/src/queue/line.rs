//! Who waits, in the order in which they are served: by class, then by arrival.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Load, LoadId, Slot, Wants};

/// A place in the line: lower ones are served earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    class: i16,
    /// When it came, moved by its offset, in milliseconds.
    came: i64,
    /// Tells those apart that came at the same time.
    number: u64,
}

/// How urgent it is to serve who waits; lower is more urgent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priority {
    class: i16,
    offset: i32,
}

impl Priority {
    /// Sets the class, before which all of lower ones are served; as in HAProxy from -2047 to 2047.
    pub(crate) fn set_class(&mut self, class: i64) {
        self.class = i16::try_from(class.clamp(-MOST_CLASS, MOST_CLASS)).expect("clamped");
    }

    /// Sets by how many milliseconds who waits counts as having come later; as in HAProxy from -524287 to 524287.
    pub(crate) fn set_offset(&mut self, offset: i64) {
        self.offset = i32::try_from(offset.clamp(-MOST_OFFSET, MOST_OFFSET)).expect("clamped");
    }

    /// Returns the class.
    pub(crate) fn class(self) -> i16 {
        self.class
    }

    /// Returns the offset.
    pub(crate) fn offset(self) -> i32 {
        self.offset
    }
}

const MOST_CLASS: i64 = 2047;
const MOST_OFFSET: i64 = 524_287;

/// How the line is entered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry {
    /// For the first time, so many milliseconds after some beginning.
    New(Priority, i64),
    /// At a place had before.
    Again(Stamp),
}

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
    /// Puts a waiter behind those who are as urgent, or at a place it has had before.
    pub(super) fn enter(&mut self, wants: &Wants, entry: Entry, hand_over: oneshot::Sender<Slot>) -> Stamp {
        let stamp = match entry {
            Entry::Again(stamp) => stamp,
            Entry::New(Priority { class, offset }, now) => {
                self.next += 1;
                Stamp { class, came: now.saturating_add(offset.into()), number: self.next }
            }
        };
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

    /// Removes the first waiter whom a slot of this server suits.
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

    /// Returns the first who knows this server; after a reload the first may not.
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
