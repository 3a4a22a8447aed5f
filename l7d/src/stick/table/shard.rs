//! A part of a table: its entries, in words, with a hash index over them and the order they were used in.
//!
//! Everything lies in chunks that never move, so that a table grows without copying itself. The entry that was used longest ago is
//! also the first to expire, since all live equally long.

use std::hash::{BuildHasher, RandomState};

use super::layout::{Layout, Record};
use super::marks::Marks;

/// Stands for no entry.
pub(super) const NONE: u32 = u32::MAX;

const NEXT: usize = 0;
const OLDER: usize = 1;
const NEWER: usize = 2;
const EXPIRES: usize = 3;
const USES: usize = 4;
/// When it changed last, as a number of changes of this part, and whether a peer made the change.
const CHANGED: usize = 5;
pub(super) const HEADER: usize = 6;

/// How many bits of the number of changes an entry keeps.
const KEPT: u32 = 31;

/// In place of the number of uses: there is no entry.
const FREE: u32 = u32::MAX;
const CHUNK: u32 = 256;
const FIRST_HEADS: usize = 16;
/// How many entries in use are passed over in search of one that may go.
const PATIENCE: usize = 16;

/// A part of a table.
#[derive(Debug)]
pub(super) struct Shard {
    key_words: usize,
    stride: usize,
    /// The first entry of each chain; the length is a power of two.
    heads: Vec<u32>,
    chunks: Vec<Box<[u32]>>,
    free: u32,
    made: u32,
    count: u32,
    oldest: u32,
    newest: u32,
    /// How many changes there were; each entry keeps the lower bits of its last one.
    changes: u64,
    marks: Marks,
}

/// Who changed an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This process.
    Here,
    /// A peer, who tells the others itself.
    Peer,
}

/// What became of an entry that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is gone.
    Removed,
    /// Somebody uses it.
    InUse,
    /// There was none.
    Absent,
}

impl Shard {
    pub(super) fn new(key_words: usize, data_words: usize) -> Self {
        Self {
            key_words,
            stride: HEADER + key_words + data_words,
            heads: Vec::new(),
            chunks: Vec::new(),
            free: NONE,
            made: 0,
            count: 0,
            oldest: NONE,
            newest: NONE,
            changes: 0,
            marks: Marks::default(),
        }
    }

    /// Returns how many places for entries there are; each holds one or none.
    pub(super) fn places(&self) -> u32 {
        self.made
    }

    /// Returns how many entries there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_entry(&self, index: u32) -> bool {
        index < self.made && self.entry(index)[USES] != FREE
    }

    pub(super) fn uses(&self, index: u32) -> u32 {
        self.entry(index)[USES]
    }

    pub(super) fn expires(&self, index: u32) -> u32 {
        self.entry(index)[EXPIRES]
    }

    pub(super) fn key(&self, index: u32) -> &[u32] {
        &self.entry(index)[HEADER..HEADER + self.key_words]
    }

    /// Returns what an entry holds, to be read and changed.
    pub(super) fn record<'a>(&'a mut self, index: u32, layout: &'a Layout, now: u32) -> Record<'a> {
        let (chunk, range) = self.place(index);
        let words = &mut self.chunks[chunk][range][HEADER + self.key_words..];
        Record { layout, words, now, entry: index, marks: &mut self.marks }
    }

    pub(super) fn marks(&mut self) -> &mut Marks {
        &mut self.marks
    }

    /// Returns the key of an entry and what it holds.
    pub(super) fn parts(&self, index: u32) -> (&[u32], &[u32]) {
        self.entry(index)[HEADER..].split_at(self.key_words)
    }

    pub(super) fn find(&self, hash: u64, key: &[u32]) -> Option<u32> {
        let mut index = *self.heads.get(self.slot(hash))?;
        while index != NONE {
            if self.key(index) == key {
                return Some(index);
            }
            index = self.entry(index)[NEXT];
        }
        None
    }

    /// Adds an entry; there must be none of that key.
    pub(super) fn insert(&mut self, hasher: &RandomState, hash: u64, key: &[u32]) -> u32 {
        if usize::try_from(self.count).is_ok_and(|count| count >= self.heads.len()) {
            self.grow(hasher);
        }
        let index = self.take_place();
        self.marks.forget(index);
        let slot = self.slot(hash);
        let first = std::mem::replace(&mut self.heads[slot], index);
        let entry = self.entry_mut(index);
        entry.fill(0);
        (entry[NEXT], entry[OLDER], entry[NEWER]) = (first, NONE, NONE);
        entry[HEADER..HEADER + key.len()].copy_from_slice(key);
        self.link_newest(index);
        self.count += 1;
        index
    }

    /// Notes that an entry is used now, by whom, and until when it lives.
    pub(super) fn touch(&mut self, index: u32, expires: u32, origin: Origin) {
        self.entry_mut(index)[EXPIRES] = expires;
        self.renew(index, origin);
    }

    /// Makes an entry the newest one, in the order of use and in that of changes, which are the same.
    fn renew(&mut self, index: u32, origin: Origin) {
        self.changes += 1;
        let stamp = u32::try_from(self.changes & ((1 << KEPT) - 1)).expect("31 bits") << 1;
        self.entry_mut(index)[CHANGED] = stamp | u32::from(origin == Origin::Peer);
        if self.newest != index {
            self.unlink(index);
            self.link_newest(index);
        }
    }

    /// Returns how many changes there were so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns who changed an entry last.
    pub(super) fn origin(&self, index: u32) -> Origin {
        if self.entry(index)[CHANGED] & 1 == 0 { Origin::Here } else { Origin::Peer }
    }

    /// Tells whether an entry was only just made, and nobody has changed it.
    pub(super) fn is_new(&self, index: u32) -> bool {
        self.entry(index)[CHANGED] == 0
    }

    /// Tells whether an entry has changed since there were so many changes.
    pub(super) fn has_changed(&self, index: u32, since: u64) -> bool {
        let mask = (1 << KEPT) - 1;
        let age = self.changes.wrapping_sub(u64::from(self.entry(index)[CHANGED] >> 1)) & mask;
        age < self.changes.saturating_sub(since)
    }

    /// Returns the entries that have changed since there were so many changes, the last one first; none if there are more than `most`.
    pub(super) fn changed_since(&self, since: u64, most: usize) -> Option<Vec<u32>> {
        let mut found = Vec::new();
        let mut index = self.newest;
        while index != NONE && self.has_changed(index, since) {
            if found.len() == most {
                return None;
            }
            found.push(index);
            index = self.entry(index)[OLDER];
        }
        Some(found)
    }

    /// Counts a user of an entry, which then stays.
    pub(super) fn hold(&mut self, index: u32) {
        self.entry_mut(index)[USES] += 1;
    }

    /// Counts one user less.
    pub(super) fn release(&mut self, index: u32) {
        let uses = &mut self.entry_mut(index)[USES];
        *uses = uses.saturating_sub(1);
    }

    pub(super) fn clear_data(&mut self, index: u32) {
        let start = HEADER + self.key_words;
        self.entry_mut(index)[start..].fill(0);
        self.marks.forget(index);
    }

    /// Removes an entry unless somebody uses it.
    pub(super) fn remove(&mut self, index: u32, hash: u64) -> Removal {
        if self.uses(index) > 0 {
            return Removal::InUse;
        }
        let slot = self.slot(hash);
        let next = self.entry(index)[NEXT];
        let mut before = self.heads[slot];
        if before == index {
            self.heads[slot] = next;
        } else {
            while self.entry(before)[NEXT] != index {
                before = self.entry(before)[NEXT];
            }
            self.entry_mut(before)[NEXT] = next;
        }
        self.unlink(index);
        let free = std::mem::replace(&mut self.free, index);
        let entry = self.entry_mut(index);
        (entry[NEXT], entry[USES]) = (free, FREE);
        self.count -= 1;
        Removal::Removed
    }

    /// Removes the entry that was used longest ago of those nobody uses; tells whether there was one.
    pub(super) fn evict(&mut self, hasher: &RandomState) -> bool {
        for _ in 0..PATIENCE {
            let oldest = self.oldest;
            if oldest == NONE {
                return false;
            }
            let hash = hash(hasher, self.key(oldest));
            if self.remove(oldest, hash) == Removal::Removed {
                return true;
            }
            self.renew(oldest, self.origin(oldest));
        }
        false
    }

    /// Removes up to so many entries whose time is over, and returns how many went.
    pub(super) fn expire(&mut self, hasher: &RandomState, now: u32, most: u32) -> u32 {
        let mut gone = 0;
        for _ in 0..most {
            let oldest = self.oldest;
            if oldest == NONE || !is_over(self.expires(oldest), now) {
                break;
            }
            if self.uses(oldest) > 0 {
                self.renew(oldest, self.origin(oldest));
                continue;
            }
            let hash = hash(hasher, self.key(oldest));
            self.remove(oldest, hash);
            gone += 1;
        }
        gone
    }

    /// Returns how many words of memory it takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.heads.len() + self.chunks.iter().map(|chunk| chunk.len()).sum::<usize>()
    }

    fn slot(&self, hash: u64) -> usize {
        usize::try_from(hash & 0xffff_ffff).expect("32 bits") & self.heads.len().wrapping_sub(1)
    }

    fn grow(&mut self, hasher: &RandomState) {
        let length = (self.heads.len() * 2).max(FIRST_HEADS);
        self.heads = vec![NONE; length];
        let mut index = self.oldest;
        while index != NONE {
            let slot = self.slot(hash(hasher, self.key(index)));
            let first = std::mem::replace(&mut self.heads[slot], index);
            let entry = self.entry_mut(index);
            entry[NEXT] = first;
            index = entry[NEWER];
        }
    }

    fn take_place(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.entry(index)[NEXT];
            return index;
        }
        if self.made.is_multiple_of(CHUNK) {
            let length = self.stride * usize::try_from(CHUNK).expect("small");
            self.chunks.push(vec![0; length].into());
        }
        self.made += 1;
        self.made - 1
    }

    fn place(&self, index: u32) -> (usize, std::ops::Range<usize>) {
        let part = |number: u32| usize::try_from(number).expect("32 bits");
        let start = part(index % CHUNK) * self.stride;
        (part(index / CHUNK), start..start + self.stride)
    }

    fn entry(&self, index: u32) -> &[u32] {
        let (chunk, range) = self.place(index);
        &self.chunks[chunk][range]
    }

    fn entry_mut(&mut self, index: u32) -> &mut [u32] {
        let (chunk, range) = self.place(index);
        &mut self.chunks[chunk][range]
    }

    fn link_newest(&mut self, index: u32) {
        let before = std::mem::replace(&mut self.newest, index);
        let entry = self.entry_mut(index);
        (entry[OLDER], entry[NEWER]) = (before, NONE);
        if before == NONE {
            self.oldest = index;
        } else {
            self.entry_mut(before)[NEWER] = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let (older, newer) = (self.entry(index)[OLDER], self.entry(index)[NEWER]);
        if older == NONE {
            self.oldest = newer;
        } else {
            self.entry_mut(older)[NEWER] = newer;
        }
        if newer == NONE {
            self.newest = older;
        } else {
            self.entry_mut(newer)[OLDER] = older;
        }
    }
}

/// Hashes a key.
pub(super) fn hash(hasher: &RandomState, key: &[u32]) -> u64 {
    hasher.hash_one(key)
}

/// Tells whether a time that is not zero lies in the past; zero is never.
pub(super) fn is_over(expires: u32, now: u32) -> bool {
    expires != 0 && now.wrapping_sub(expires) < u32::MAX / 2
}
