//! How many connections the processes on other hosts have open with each client, as they say themselves.
//!
//! What one of them says is kept apart from what another says, and from what is counted here: nobody's number takes the place of another's.
//! Who reads the sum takes one lock after the other, each for one entry.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use control::config::StoredKind;

use super::key::Key;
use super::layout::Layout;
use super::shard::{Origin, Removal, Shard};
use super::{Table, key, lock};

/// What other processes say of one table.
#[derive(Debug, Default)]
pub(super) struct Abroad {
    /// By the names of the processes, which are added and never taken away, so that reading takes no lock.
    nodes: OnceLock<Box<[OnceLock<Node>]>>,
}

#[derive(Debug)]
struct Node {
    name: Box<str>,
    open: Table,
}

impl Table {
    /// Returns how many connections other processes have open with a client.
    pub(crate) fn open_abroad(&self, key: &Key, now: u32) -> u64 {
        let nodes = self.abroad.nodes.get().into_iter().flatten().map_while(OnceLock::get);
        nodes.filter_map(|node| node.open.read(key, now, |record| record.value(StoredKind::ConnCur, 0)).flatten()).sum()
    }

    /// Notes how many connections another process has open with a client.
    pub(crate) fn hear_open(&self, process: &str, key: &Key, count: u64, now: u32) {
        let Some(open) = self.node(process) else { return };
        if count == 0 {
            let _: Removal = open.remove(key);
            return;
        }
        if let Some((_, mut shard, index)) = open.obtain(key, now) {
            // It lasts until it is taken back.
            shard.touch(index, 0, Origin::Peer);
            shard.record(index, &open.layout, now).set(StoredKind::ConnCur, 0, count);
        }
    }

    /// Returns how many connections one other process has open with a client, whose key is given as entries keep it.
    pub(crate) fn open_of(&self, process: &str, key: &[u32], now: u32) -> u64 {
        let mut nodes = self.abroad.nodes.get().into_iter().flatten().map_while(OnceLock::get);
        let node = nodes.find(|node| &*node.name == process);
        let count = node.and_then(|node| node.open.read(&Key::of_entry(key), now, |record| record.value(StoredKind::ConnCur, 0)));
        count.flatten().unwrap_or(0)
    }

    /// Forgets what a process has said: it is gone, or will say it anew. Returns about whom that was.
    pub(crate) fn forget_open(&self, process: &str) -> Vec<Key> {
        let mut forgotten = Vec::new();
        let nodes = self.abroad.nodes.get().into_iter().flatten().map_while(OnceLock::get);
        for node in nodes.filter(|node| &*node.name == process) {
            for shard in &node.open.shards {
                let gone = std::mem::replace(&mut *lock(shard), Shard::new(key::width(self.key), node.open.layout.words()));
                node.open.used.fetch_sub(gone.count().into(), Ordering::Relaxed);
                let entries = (0..gone.places()).filter(|place| gone.is_entry(*place));
                forgotten.extend(entries.map(|place| Key::of_entry(gone.key(place))));
            }
        }
        forgotten
    }

    /// Notes that what others are told of a client's open connections has changed, though nothing has happened here.
    pub(crate) fn restate_open(&self, key: &Key, now: u32) {
        if let Some((_, mut shard, index)) = self.obtain(key, now) {
            let origin = if shard.is_new(index) { Origin::Peer } else { shard.origin(index) };
            let expires = if shard.is_new(index) { self.end_of_life(now) } else { shard.expires(index) };
            shard.touch(index, expires, origin);
        }
    }

    fn node(&self, process: &str) -> Option<&Self> {
        let places = self.abroad.nodes.get_or_init(|| (0..MOST_NODES).map(|_| OnceLock::new()).collect());
        let node = || Node { name: process.into(), open: self.like(Layout::of_open(), self.size()) };
        places.iter().map(|place| place.get_or_init(node)).find(|node| &*node.name == process).map(|node| &node.open)
    }
}

/// As many processes are told apart; more of them never shared a table.
const MOST_NODES: usize = 64;
