//! Stick tables: what is remembered about clients, in bounded memory and for a bounded time.
//!
//! The runtime interface uses [`Table::page`], [`Table::find`], [`Table::set`] and [`Table::remove`]: none of them holds a lock for
//! longer than a bounded number of entries. Rules use [`Table::track`], [`Table::read`] and [`Table::update`].
//!
//! # Locks
//!
//! A table is cut into parts by the hash of the key, each with a mutex that is held for one entry at a time and never across an
//! `.await`; nobody holds two. Small tables have a single part, so that the entry that goes when one is full is the one that was used
//! longest ago of all. Times are milliseconds since the process began, and handed in.

mod abroad;
mod key;
mod layout;
mod marks;
mod names;
mod rate;
mod shard;
mod share;
#[cfg(test)]
mod tests;
mod top;

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use control::config::{self, Config, ServerKey, StoredKind, TableKey};

use abroad::Abroad;
pub(crate) use key::Key;
pub use layout::ORDER;
pub(crate) use layout::{Event, Record};
use layout::{Layout, Learns};
use names::Names;
pub(crate) use shard::Removal;
use shard::{Origin, Shard, hash, is_over};
pub use share::Raw;
pub(crate) use share::{By, Changes, Content, Learnt, Weight};

/// The tables of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Tables(Vec<Arc<Table>>);

/// A table of what is remembered about clients.
pub(crate) struct Table {
    name: String,
    key: TableKey,
    layout: Layout,
    size: AtomicU64,
    /// In milliseconds; 0 where entries live for ever.
    lifetime: AtomicU32,
    nopurge: AtomicBool,
    /// Whether servers are told apart by their addresses.
    by_address: AtomicBool,
    /// Whether peers are told nothing of it.
    recv_only: AtomicBool,
    /// Which table also learns what peers say of servers and tags; locked by who hears them, for a moment.
    copies_to: Mutex<Weak<Self>>,
    /// Whether connections that other processes have open count, too.
    sums: AtomicBool,
    /// What other processes say of theirs.
    abroad: Abroad,
    /// What the servers are called that entries are tied to.
    names: Arc<Names>,
    used: AtomicU64,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// An entry that somebody uses, which therefore stays.
#[derive(Debug)]
pub(crate) struct Tracked {
    table: Arc<Table>,
    shard: usize,
    index: u32,
}

/// Where the next page of a table begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    shard: usize,
    place: u32,
}

/// An entry as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it is kept, the same as long as it is there.
    pub(crate) place: u64,
    /// The key, as text.
    pub(crate) key: String,
    /// In milliseconds; none where it lives for ever.
    pub(crate) left: Option<u32>,
    /// How many use it.
    pub(crate) uses: u32,
    /// What it holds: the kind, the number of the element in arrays, the value.
    pub(crate) values: Vec<(StoredKind, u8, u64)>,
}

/// Returns the time in milliseconds, which wraps around.
pub(crate) fn now() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = START.elapsed().as_millis() & u128::from(u32::MAX);
    u32::try_from(since).unwrap_or_default().wrapping_add(FIRST_MOMENT)
}

impl Tables {
    /// Makes the tables of a configuration, of which those named in `learning` hold servers; one that was there before and holds the same
    /// goes on.
    pub(crate) fn new(config: &Config, learning: &[String], before: Option<&Self>) -> Self {
        let make = |model: &config::Table| {
            let learns = if learning.iter().any(|name| name == model.name()) { Learns::Servers } else { Learns::Nothing };
            let layout = Layout::new(model.store(), learns);
            let old = before.and_then(|tables| tables.named(model.name())).filter(|table| table.is_compatible(model, &layout));
            old.map_or_else(|| Arc::new(Table::new(model, layout)), Arc::clone)
        };
        Self(config.tables().iter().map(make).collect())
    }

    /// Puts the settings in force that a table can change while it goes on.
    pub(crate) fn settle(&self, config: &Config) {
        for model in config.tables() {
            if let Some(table) = self.named(model.name()) {
                table.settle(model);
                let other = model.write_to().and_then(|name| self.named(name));
                *table.copies_to.lock().unwrap_or_else(PoisonError::into_inner) = other.map(Arc::downgrade).unwrap_or_default();
            }
        }
    }

    /// Returns the table of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Table>> {
        self.0.iter().find(|table| table.name == name)
    }

    /// Returns all of them, in the order of the configuration.
    pub(crate) fn all(&self) -> &[Arc<Table>] {
        &self.0
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.name).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Table {
    fn new(model: &config::Table, layout: Layout) -> Self {
        let parts = usize::try_from(model.size() / ENTRIES_OF_A_PART).unwrap_or(MOST_PARTS).clamp(1, MOST_PARTS).next_power_of_two();
        let shard = || Mutex::new(Shard::new(key::width(model.key()), layout.words()));
        let table = Self {
            name: model.name().to_owned(),
            key: model.key(),
            size: AtomicU64::new(0),
            lifetime: AtomicU32::new(0),
            nopurge: AtomicBool::new(false),
            by_address: AtomicBool::new(false),
            recv_only: AtomicBool::new(false),
            sums: AtomicBool::new(false),
            copies_to: Mutex::default(),
            abroad: Abroad::default(),
            names: Arc::default(),
            used: AtomicU64::new(0),
            hasher: RandomState::new(),
            shards: (0..parts).map(|_| shard()).collect(),
            layout,
        };
        table.settle(model);
        table
    }

    /// Returns a small table of the same kind without entries.
    pub(crate) fn blank(&self) -> Self {
        self.like(self.layout.clone(), ENTRIES_OF_A_PART)
    }

    /// Returns a table with the same keys without entries, which no peer is told of.
    fn like(&self, layout: Layout, size: u64) -> Self {
        Self {
            name: self.name.clone(),
            key: self.key,
            size: AtomicU64::new(size),
            lifetime: AtomicU32::new(self.lifetime()),
            nopurge: AtomicBool::new(false),
            by_address: AtomicBool::new(self.srvkey() == ServerKey::Address),
            recv_only: AtomicBool::new(true),
            sums: AtomicBool::new(false),
            copies_to: Mutex::default(),
            abroad: Abroad::default(),
            names: Arc::clone(&self.names),
            used: AtomicU64::new(0),
            hasher: RandomState::new(),
            shards: [Mutex::new(Shard::new(key::width(self.key), layout.words()))].into(),
            layout,
        }
    }

    /// Shows a key of this table.
    pub(crate) fn show_key(&self, key: &Key) -> String {
        key::show(self.key, key.words())
    }

    /// Tells whether entries of this table are entries of another definition, too.
    fn is_compatible(&self, model: &config::Table, layout: &Layout) -> bool {
        self.key == model.key() && self.layout == *layout
    }

    fn settle(&self, model: &config::Table) {
        let lifetime = model.expire().map_or(0, |expire| u32::try_from(expire.as_millis()).unwrap_or(LONGEST_LIFE).clamp(1, LONGEST_LIFE));
        self.size.store(model.size(), Ordering::Relaxed);
        self.lifetime.store(lifetime, Ordering::Relaxed);
        self.nopurge.store(model.nopurge(), Ordering::Relaxed);
        self.by_address.store(model.srvkey() == ServerKey::Address, Ordering::Relaxed);
        self.recv_only.store(model.recv_only(), Ordering::Relaxed);
        self.sums.store(model.sum_conn_cur(), Ordering::Relaxed);
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what entries are found by.
    pub(crate) fn key(&self) -> TableKey {
        self.key
    }

    /// Returns what messages call the type of the keys.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.key {
            TableKey::Ip => "ip",
            TableKey::Ipv6 => "ipv6",
            TableKey::Integer => "integer",
            TableKey::String(_) => "string",
            TableKey::Binary(_) => "binary",
        }
    }

    /// Returns what entries hold, each element of an array by itself.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (StoredKind, u8)> {
        self.layout.items().iter().flat_map(|item| (0..item.count).map(|index| (item.kind, index)))
    }

    /// Returns the period of a rate, in milliseconds.
    pub(crate) fn period(&self, kind: StoredKind) -> Option<u32> {
        self.layout.items().iter().find(|item| item.kind == kind).and_then(layout::Item::period)
    }

    /// Returns what tells servers apart.
    pub(crate) fn srvkey(&self) -> ServerKey {
        if self.by_address.load(Ordering::Relaxed) { ServerKey::Address } else { ServerKey::Name }
    }

    /// Tells whether it learns from peers and tells them nothing.
    pub(crate) fn recv_only(&self) -> bool {
        self.recv_only.load(Ordering::Relaxed)
    }

    /// Tells whether connections that other processes have open count, too.
    pub(crate) fn sums(&self) -> bool {
        self.sums.load(Ordering::Relaxed)
    }

    /// Returns the number that stands for the name of a server in entries; 0 for none.
    pub(crate) fn number_of_server(&self, name: &str) -> u64 {
        self.names.number(name).into()
    }

    /// Returns the name of a server by the number that stands for it.
    pub(crate) fn server_name(&self, number: u64) -> Option<&str> {
        self.names.name(u32::try_from(number).ok()?)
    }

    /// Returns how long entries live unused, in milliseconds; 0 for ever.
    pub(crate) fn lifetime(&self) -> u32 {
        self.lifetime.load(Ordering::Relaxed)
    }

    /// Returns how many entries it may have.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Returns how many entries it has; some of them may be about to go.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Removes what has expired, a few entries at a time.
    pub(crate) fn sweep(&self, now: u32) {
        for shard in &self.shards {
            // The lock is given up in between.
            while self.expire(&mut lock(shard), now, SWEEP) == SWEEP {}
        }
    }

    /// Finds an entry or makes one, and keeps it for as long as the returned value is kept; none where the table is full and keeps what it has.
    pub(crate) fn track(table: &Arc<Self>, key: &Key, now: u32) -> Option<Tracked> {
        let (shard, index) = table.enter(key, now, |shard, index, _| {
            shard.hold(index);
            index
        })?;
        Some(Tracked { table: Arc::clone(table), shard, index })
    }

    /// Looks at an entry, which stays as old as it is.
    pub(crate) fn read<T>(&self, key: &Key, now: u32, look: impl FnOnce(&mut Record<'_>) -> T) -> Option<T> {
        let hash = hash(&self.hasher, key.words());
        let mut shard = self.lock(self.part(hash));
        let index = shard.find(hash, key.words()).filter(|index| is_alive(&shard, *index, now))?;
        Some(look(&mut shard.record(index, &self.layout, now)))
    }

    /// Returns how long an entry lives unless it is used, in milliseconds, 0 for ever; none where there is no such entry.
    pub(crate) fn left(&self, key: &Key, now: u32) -> Option<u32> {
        let hash = hash(&self.hasher, key.words());
        let shard = self.lock(self.part(hash));
        let index = shard.find(hash, key.words()).filter(|index| is_alive(&shard, *index, now))?;
        let expires = shard.expires(index);
        Some(if is_over(expires, now) { 0 } else { expires.saturating_sub(now) })
    }

    /// Looks at an entry, which is thereby used.
    pub(crate) fn renew<T>(&self, key: &Key, now: u32, look: impl FnOnce(&mut Record<'_>) -> T) -> Option<T> {
        let hash = hash(&self.hasher, key.words());
        let mut shard = self.lock(self.part(hash));
        let index = shard.find(hash, key.words()).filter(|index| is_alive(&shard, *index, now))?;
        shard.touch(index, self.end_of_life(now), Origin::Here);
        Some(look(&mut shard.record(index, &self.layout, now)))
    }

    /// Changes an entry, which is made if there is none; none where the table is full and keeps what it has.
    pub(crate) fn update<T>(&self, key: &Key, now: u32, change: impl FnOnce(&mut Record<'_>) -> T) -> Option<T> {
        let done = self.enter(key, now, |shard, index, layout| change(&mut shard.record(index, layout, now)));
        done.map(|(_, outcome)| outcome)
    }

    /// Returns an entry as it is shown.
    pub(crate) fn find(&self, key: &Key, now: u32) -> Option<Entry> {
        let hash = hash(&self.hasher, key.words());
        let mut shard = self.lock(self.part(hash));
        let index = shard.find(hash, key.words()).filter(|index| is_alive(&shard, *index, now))?;
        Some(self.show(&mut shard, (self.part(hash), index), now))
    }

    /// Hands out up to so many entries from `cursor` on, which is moved behind them; tells whether there may be more. Entries that come or go
    /// meanwhile may be left out.
    pub(crate) fn page(&self, cursor: &mut Cursor, most: usize, now: u32, mut take: impl FnMut(Entry)) -> bool {
        let mut left = most;
        while let Some(shard) = self.shards.get(cursor.shard) {
            let mut shard = lock(shard);
            self.expire(&mut shard, now, SWEEP);
            while cursor.place < shard.places() {
                if left == 0 {
                    return true;
                }
                if shard.is_entry(cursor.place) && is_alive(&shard, cursor.place, now) {
                    take(self.show(&mut shard, (cursor.shard, cursor.place), now));
                }
                left -= 1;
                cursor.place += 1;
            }
            *cursor = Cursor { shard: cursor.shard + 1, place: 0 };
        }
        false
    }

    /// Sets values of an entry, which is made if there is none; tells whether all of them could be set.
    pub(crate) fn set(&self, key: &Key, values: &[(StoredKind, u8, u64)], now: u32) -> bool {
        let set = |record: &mut Record<'_>| values.iter().all(|(kind, index, value)| record.set(*kind, *index, *value));
        self.update(key, now, set).unwrap_or(false)
    }

    /// Removes an entry unless somebody uses it.
    pub(crate) fn remove(&self, key: &Key) -> Removal {
        let hash = hash(&self.hasher, key.words());
        let mut shard = self.lock(self.part(hash));
        let Some(index) = shard.find(hash, key.words()) else { return Removal::Absent };
        let removal = shard.remove(index, hash);
        if removal == Removal::Removed {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        removal
    }

    /// Finds an entry or makes one, which is thereby used, and does something with it under the lock of its part.
    fn enter<T>(&self, key: &Key, now: u32, act: impl FnOnce(&mut Shard, u32, &Layout) -> T) -> Option<(usize, T)> {
        let (part, mut shard, index) = self.obtain(key, now)?;
        shard.touch(index, self.end_of_life(now), Origin::Here);
        Some((part, act(&mut shard, index, &self.layout)))
    }

    /// Finds an entry or makes one; none where the table is full and keeps what it has.
    fn obtain(&self, key: &Key, now: u32) -> Option<(usize, MutexGuard<'_, Shard>, u32)> {
        let hash = hash(&self.hasher, key.words());
        let part = self.part(hash);
        let mut shard = self.lock(part);
        let index = match shard.find(hash, key.words()) {
            Some(index) => {
                if !is_alive(&shard, index, now) {
                    shard.clear_data(index);
                }
                index
            }
            None => {
                self.expire(&mut shard, now, FEW);
                if self.used() >= self.size() && !self.make_room(&mut shard) {
                    drop(shard);
                    self.make_room_elsewhere(part, now)?;
                    shard = self.lock(part);
                }
                match shard.find(hash, key.words()) {
                    Some(index) => index,
                    None => {
                        self.used.fetch_add(1, Ordering::Relaxed);
                        shard.insert(&self.hasher, hash, key.words())
                    }
                }
            }
        };
        Some((part, shard, index))
    }

    fn make_room(&self, shard: &mut Shard) -> bool {
        let made = !self.nopurge.load(Ordering::Relaxed) && shard.evict(&self.hasher);
        if made {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        made
    }

    fn make_room_elsewhere(&self, part: usize, now: u32) -> Option<()> {
        let others = (1..self.shards.len()).map(|step| (part + step) % self.shards.len());
        let made = |other: usize| {
            let mut shard = self.lock(other);
            self.expire(&mut shard, now, FEW) > 0 || self.make_room(&mut shard)
        };
        others.map(made).find(|made| *made).map(|_| ())
    }

    fn expire(&self, shard: &mut Shard, now: u32, most: u32) -> u32 {
        let gone = shard.expire(&self.hasher, now, most);
        self.used.fetch_sub(gone.into(), Ordering::Relaxed);
        gone
    }

    fn end_of_life(&self, now: u32) -> u32 {
        match self.lifetime() {
            0 => 0,
            lifetime => now.wrapping_add(lifetime).max(1),
        }
    }

    fn show(&self, shard: &mut Shard, (part, index): (usize, u32), now: u32) -> Entry {
        let key = key::show(self.key, shard.key(index));
        let left = Some(shard.expires(index)).filter(|expires| *expires != 0).map(|expires| expires.wrapping_sub(now));
        let uses = shard.uses(index);
        let record = shard.record(index, &self.layout, now);
        let values = self.kinds().map(|(kind, index)| (kind, index, record.value(kind, index).unwrap_or_default())).collect();
        // One whose end has come while it is in use has none.
        let place = u64::try_from(part).unwrap_or_default() << 32 | u64::from(index);
        Entry { place, key, left: left.map(|left| if left > LONGEST_LIFE { 0 } else { left }), uses, values }
    }

    fn part(&self, hash: u64) -> usize {
        usize::try_from(hash >> 32).expect("32 bits") & (self.shards.len() - 1)
    }

    fn lock(&self, part: usize) -> MutexGuard<'_, Shard> {
        lock(&self.shards[part])
    }
}

/// Tells whether an entry is not only still there.
fn is_alive(shard: &Shard, index: u32, now: u32) -> bool {
    shard.uses(index) > 0 || !is_over(shard.expires(index), now)
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tracked {
    /// Returns the table.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Returns the key of the entry.
    pub(crate) fn key(&self) -> Key {
        Key::of_entry(self.table.lock(self.shard).key(self.index))
    }

    /// Counts a connection that is open as long as the entry is tracked.
    pub(crate) fn open(&self, now: u32) {
        self.update(now, |record| {
            record.add(StoredKind::ConnCur, 0, 1);
            record.count(Event::Connection);
        });
    }

    /// Looks at the entry.
    pub(crate) fn read<T>(&self, now: u32, look: impl FnOnce(&mut Record<'_>) -> T) -> T {
        let mut shard = self.table.lock(self.shard);
        look(&mut shard.record(self.index, &self.table.layout, now))
    }

    /// Changes the entry, which is thereby used.
    pub(crate) fn update<T>(&self, now: u32, change: impl FnOnce(&mut Record<'_>) -> T) -> T {
        let mut shard = self.table.lock(self.shard);
        shard.touch(self.index, self.table.end_of_life(now), Origin::Here);
        change(&mut shard.record(self.index, &self.table.layout, now))
    }

    /// Returns how many use the entry.
    pub(crate) fn uses(&self) -> u32 {
        self.table.lock(self.shard).uses(self.index)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.update(now(), |record| record.end_connection());
        self.table.lock(self.shard).release(self.index);
    }
}

/// The first moment, so that no rate of a new entry seems to have begun just before it.
const FIRST_MOMENT: u32 = 1 << 30;
/// HAProxy's longest time, some 24 days.
const LONGEST_LIFE: u32 = (1 << 31) - 1;
const ENTRIES_OF_A_PART: u64 = 4096;
const MOST_PARTS: usize = 64;
/// How many entries are looked at before others may have the part.
const PAGE: u32 = 256;
/// How many expired entries go when a new one comes, and when someone looks.
const FEW: u32 = 4;
const SWEEP: u32 = 64;
