//! A part of a cache: what is kept of the targets whose hashes fall on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::terms::Variant;
use crate::message::head::{RequestHead, ResponseHead};

/// An answer that is kept.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<[u8]>,
    pub(super) head: ResponseHead,
    pub(super) body: Bytes,
    pub(super) tag: Option<Box<[u8]>>,
    pub(super) modified: SystemTime,
    /// How old it was when it came, in seconds.
    pub(super) age: u64,
    pub(super) variant: Variant,
    pub(super) stored: Instant,
    pub(super) left: Duration,
    /// Its place in the order in which entries go; changed under the lock of the shelf only.
    pub(super) turn: AtomicU64,
    /// Whether it was given since it last had a chance to go.
    pub(super) used: AtomicBool,
}

impl Entry {
    /// Returns how many bytes it takes.
    pub(super) fn size(&self) -> u64 {
        (self.body.len() + self.head.headers.size() + self.key.len() + OVERHEAD) as u64
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stored) < self.left
    }
}

/// What is kept of some targets.
#[derive(Debug)]
pub(super) struct Shelf {
    entries: HashMap<Arc<[u8]>, Vec<Arc<Entry>>>,
    /// Those that came or were spared first go first.
    order: BTreeMap<u64, Arc<Entry>>,
    next: u64,
    used: u64,
    room: u64,
}

impl Shelf {
    /// Returns one that takes so many bytes.
    pub(super) fn new(room: u64) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), next: 0, used: 0, room }
    }

    /// Finds what may be given to a request.
    pub(super) fn find(&self, key: &[u8], request: &RequestHead, now: Instant) -> Option<&Arc<Entry>> {
        let found = self.entries.get(key)?.iter().find(|entry| entry.is_fresh(now) && entry.variant.suits(request))?;
        found.used.store(true, Ordering::Relaxed);
        Some(found)
    }

    /// Keeps an answer in place of the one there is for the same, unless there are too many that differ by who asks.
    pub(super) fn put(&mut self, entry: Entry, most: usize, now: Instant) {
        let same: Vec<_> = self.entries.get(&entry.key).into_iter().flatten().map(Arc::clone).collect();
        for other in &same {
            if !other.is_fresh(now) || other.variant == entry.variant || !other.variant.differs_like(&entry.variant) {
                self.remove(other);
            }
        }
        let size = entry.size();
        if size > self.room || self.entries.get(&entry.key).is_some_and(|others| others.len() >= most) {
            return;
        }
        self.make_room(size, now);
        let turn = self.take_turn();
        entry.turn.store(turn, Ordering::Relaxed);
        let entry = Arc::new(entry);
        self.used += size;
        self.order.insert(turn, Arc::clone(&entry));
        self.entries.entry(Arc::clone(&entry.key)).or_default().push(entry);
    }

    /// Forgets all answers to the same question.
    pub(super) fn forget(&mut self, key: &[u8]) {
        for entry in self.entries.remove(key).into_iter().flatten() {
            self.drop_from_order(&entry);
        }
    }

    /// Returns everything that is kept.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.order.values()
    }

    /// Lets go of what was not asked for lately, until there is room.
    fn make_room(&mut self, size: u64, now: Instant) {
        let mut spared = 0;
        while self.used + size > self.room {
            let Some((_, entry)) = self.order.first_key_value() else { return };
            let entry = Arc::clone(entry);
            if spared < MOST_SPARED && entry.is_fresh(now) && entry.used.swap(false, Ordering::Relaxed) {
                spared += 1;
                self.order.pop_first();
                let turn = self.take_turn();
                entry.turn.store(turn, Ordering::Relaxed);
                self.order.insert(turn, entry);
            } else {
                self.remove(&entry);
            }
        }
    }

    fn remove(&mut self, entry: &Arc<Entry>) {
        if let Some(others) = self.entries.get_mut(&entry.key) {
            others.retain(|other| !Arc::ptr_eq(other, entry));
            if others.is_empty() {
                self.entries.remove(&entry.key);
            }
        }
        self.drop_from_order(entry);
    }

    fn drop_from_order(&mut self, entry: &Entry) {
        if self.order.remove(&entry.turn.load(Ordering::Relaxed)).is_some() {
            self.used -= entry.size();
        }
    }

    fn take_turn(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// What an entry takes beside its bytes, about.
const OVERHEAD: usize = 512;
/// How many entries get another chance while room is made for one, so that the lock is held for a short time only.
const MOST_SPARED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::head::Version;

    fn entry(name: &str, size: usize) -> Entry {
        Entry {
            key: name.as_bytes().into(),
            head: ResponseHead::of(Version::Http11, 200, b"OK"),
            body: vec![0; size].into(),
            tag: None,
            modified: SystemTime::UNIX_EPOCH,
            age: 0,
            variant: Variant::default(),
            stored: Instant::now(),
            left: Duration::from_secs(60),
            turn: AtomicU64::new(0),
            used: AtomicBool::new(false),
        }
    }

    #[test]
    fn what_was_asked_for_stays_longer_and_all_of_it_has_room() {
        let (now, request) = (Instant::now(), RequestHead::of(Version::Http11, b"GET", None, b"/"));
        let mut shelf = Shelf::new(10_000);
        for number in 0..100 {
            shelf.put(entry(&format!("/{number}"), 1000), 10, now);
            shelf.find(b"/0", &request, now);
            assert!(shelf.used <= shelf.room && shelf.used == shelf.all().map(|entry| entry.size()).sum::<u64>());
        }
        assert!(shelf.find(b"/0", &request, now).is_some() && shelf.find(b"/99", &request, now).is_some());
        assert!(shelf.find(b"/50", &request, now).is_none());
        shelf.forget(b"/0");
        assert!(shelf.find(b"/0", &request, now).is_none());
        shelf.put(entry("/large", 10_000), 10, now);
        assert!(shelf.find(b"/large", &request, now).is_none() && shelf.find(b"/99", &request, now).is_some());
        let later = now + Duration::from_secs(61);
        assert!(shelf.find(b"/99", &request, later).is_none());
    }
}
