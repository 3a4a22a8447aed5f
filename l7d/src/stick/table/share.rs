//! What peers share of a table: who asks gets what has changed, and who tells is believed.
//!
//! A change costs a worker no more than a number in the entry: each part counts its changes, and keeps its entries in the order of their last
//! one. Who follows a table remembers, for each part, how many changes it has seen, and looks for more whenever it likes.

use std::sync::PoisonError;

use control::config::StoredKind;

use super::key::Key;
use super::layout::{Layout, is_counted};
use super::shard::{Origin, Removal, Shard, hash, is_over};
use super::{Cursor, LONGEST_LIFE, Table, is_alive, lock};

/// A value as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw {
    /// A number.
    Number(u64),
    /// How often something happened.
    Rate {
        /// How long ago the running period began, in milliseconds.
        since: u32,
        /// How much it has seen.
        current: u32,
        /// How much the one before has seen.
        before: u32,
    },
}

impl Raw {
    /// Lets so many milliseconds pass.
    pub(crate) fn grow_older(&mut self, age: u32) {
        if let Self::Rate { since, .. } = self {
            *since = since.saturating_add(age);
        }
    }
}

/// An entry as it is kept.
pub(crate) struct Content<'a> {
    layout: &'a Layout,
    key: &'a [u32],
    words: &'a [u32],
    now: u32,
    /// How long it lives, in milliseconds; none for ever.
    pub(crate) left: Option<u32>,
}

/// What is learnt of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Learnt {
    /// The key.
    pub(crate) key: Key,
    pub(crate) weight: Weight,
    /// How long it lives, in milliseconds; none for as long as all do.
    pub(crate) left: Option<u32>,
    /// What it holds: the kind, the number of the element in arrays, the value.
    pub(crate) values: Vec<(StoredKind, u8, Raw)>,
}

/// What weight has what is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It has just come about, and takes the place of what was there.
    News,
    /// It comes while this process is yet to be taught, and may be older than what has come about here: that stays.
    Early,
    /// It has been so for a while: whatever has come about meanwhile stays, here or elsewhere.
    Memory,
}

/// Which changes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Those of this process; peers tell of theirs themselves.
    Us,
    /// All: what a peer has changed last may have been changed here just before.
    Anybody,
}

impl By {
    fn has(self, origin: Origin) -> bool {
        self == Self::Anybody || origin == Origin::Here
    }
}

/// What became of a part's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// All were handed out, and this is how many changes there were so far.
    All(u64),
    /// There are so many that the part has to be scanned; so many changes there were when this was found.
    Many(u64),
}

impl Content<'_> {
    /// Returns the key, in words of four bytes, the first one highest.
    pub(crate) fn key(&self) -> &[u32] {
        self.key
    }

    /// Returns everything it holds, in the order of HAProxy's list of kinds.
    pub(crate) fn values(&self) -> impl Iterator<Item = (StoredKind, u8, Raw)> {
        let now = self.now;
        self.layout
            .items()
            .iter()
            .flat_map(move |item| (0..item.count).map(move |index| (item.kind, index, item.raw(self.words, index, now))))
    }
}

impl Table {
    /// Returns how many parts there are, each with changes of its own.
    pub(crate) fn parts(&self) -> usize {
        self.shards.len()
    }

    /// Returns how many changes there were in a part.
    pub(crate) fn changes(&self, part: usize) -> u64 {
        self.shards.get(part).map_or(0, |shard| lock(shard).changes())
    }

    /// Hands out the entries of a part that have changed since there were `since` changes, unless there are many.
    pub(crate) fn take_changes(&self, part: usize, (since, by): (u64, By), now: u32, mut take: impl FnMut(Content<'_>)) -> Changes {
        let Some(shard) = self.shards.get(part) else { return Changes::All(0) };
        let shard = lock(shard);
        let changes = shard.changes();
        if changes == since {
            return Changes::All(changes);
        }
        let Some(found) = shard.changed_since(since, PAGE) else { return Changes::Many(changes) };
        for index in found.into_iter().rev() {
            if by.has(shard.origin(index)) {
                self.hand_out(&shard, index, now, &mut take);
            }
        }
        Changes::All(changes)
    }

    /// Hands out what lies in the next places of a part: what has changed since there were `since` changes, or everything.
    /// Tells whether there may be more.
    pub(crate) fn scan(&self, part: usize, place: &mut u32, since: Option<(u64, By)>, now: u32, mut take: impl FnMut(Content<'_>)) -> bool {
        let Some(shard) = self.shards.get(part) else { return false };
        let shard = lock(shard);
        for _ in 0..PAGE {
            if *place >= shard.places() {
                return false;
            }
            let index = *place;
            *place += 1;
            if shard.is_entry(index) && since.is_none_or(|(since, by)| shard.has_changed(index, since) && by.has(shard.origin(index))) {
                self.hand_out(&shard, index, now, &mut take);
            }
        }
        true
    }

    /// Notes from now on what is set here: it is newer than what this process is yet to be taught.
    pub(crate) fn begin_lessons(&self) {
        self.shards.iter().for_each(|shard| lock(shard).marks().begin());
    }

    /// Notes no more what is set here: there is nothing left to be taught.
    pub(crate) fn end_lessons(&self) {
        self.shards.iter().for_each(|shard| lock(shard).marks().end());
    }

    /// Believes what a peer says of an entry; tells whether there was room for it.
    pub(crate) fn learn(&self, learnt: &Learnt, now: u32) -> bool {
        let Some((_, mut shard, index)) = self.obtain(&learnt.key, now) else { return false };
        let expires = match (self.end_of_life(now), learnt.left) {
            (0, _) => 0,
            (expires, None) => expires,
            (_, Some(left)) => now.wrapping_add(left.min(LONGEST_LIFE)).max(1),
        };
        // How many connections are open here is known here.
        let values = learnt.values.iter().filter(|(kind, ..)| *kind != StoredKind::ConnCur);
        let (known, origin) = (shard.expires(index), shard.origin(index));
        let may_stay = match learnt.weight {
            Weight::News => false,
            Weight::Early => origin == Origin::Here,
            Weight::Memory => true,
        };
        if may_stay && !shard.is_new(index) && !is_over(known, now) {
            // What was early has crossed on its way what peers are told of this. Else, if it has come about here, they are yet to be told.
            if learnt.weight == Weight::Memory {
                shard.touch(index, known, origin);
            }
            let mut record = shard.record(index, &self.layout, now);
            values.for_each(|(kind, index, raw)| record.join(*kind, *index, *raw));
        } else {
            shard.touch(index, expires, Origin::Peer);
            let mut record = shard.record(index, &self.layout, now);
            for (kind, index, raw) in values {
                record.put(*kind, *index, *raw);
                // Who teaches may not know of it yet.
                if learnt.weight != Weight::Memory && !is_counted(*kind) {
                    record.mark(*kind, *index);
                }
            }
        }
        drop(shard);
        let other = self.copies_to.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(other) = other {
            self.copy(&other, learnt, now);
        }
        true
    }

    /// Lets another table learn what is nobody's arithmetic: servers and tags.
    fn copy(&self, other: &Self, learnt: &Learnt, now: u32) {
        let lasting = |(kind, index, raw): &(StoredKind, u8, Raw)| match (kind, raw) {
            (StoredKind::ServerId | StoredKind::Gpt0 | StoredKind::Gpt, _) => Some((*kind, *index, *raw)),
            (StoredKind::ServerKey, Raw::Number(number)) => {
                let number = other.number_of_server(self.server_name(*number)?);
                Some((*kind, *index, Raw::Number(number)))
            }
            _ => None,
        };
        let Some((_, mut shard, index)) = other.obtain(&learnt.key, now) else { return };
        shard.touch(index, other.end_of_life(now), Origin::Peer);
        let mut record = shard.record(index, &other.layout, now);
        learnt.values.iter().filter_map(lasting).for_each(|(kind, index, raw)| record.put(kind, index, raw));
    }

    /// Removes, among the next places, entries whose time is over: what peers tell may end before what was used longer ago.
    pub(crate) fn comb(&self, cursor: &mut Cursor, now: u32) {
        let Some(shard) = self.shards.get(cursor.shard) else {
            *cursor = Cursor::default();
            return;
        };
        let mut shard = lock(shard);
        let end = shard.places().min(cursor.place.saturating_add(COMBED));
        for index in cursor.place..end {
            if shard.is_entry(index) && !is_alive(&shard, index, now) {
                let hash = hash(&self.hasher, shard.key(index));
                if shard.remove(index, hash) == Removal::Removed {
                    self.used.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
        *cursor = if end == shard.places() { Cursor { shard: cursor.shard + 1, place: 0 } } else { Cursor { place: end, ..*cursor } };
    }

    fn hand_out(&self, shard: &Shard, index: u32, now: u32, take: &mut impl FnMut(Content<'_>)) {
        let expires = shard.expires(index);
        let left = (expires != 0).then(|| if is_over(expires, now) { 0 } else { expires.wrapping_sub(now) });
        if !is_alive(shard, index, now) {
            return;
        }
        let (key, words) = shard.parts(index);
        take(Content { layout: &self.layout, key, words, now, left });
    }
}

/// How many entries are handed out, or looked at, before others may have the part.
const PAGE: usize = 256;
const COMBED: u32 = 256;
