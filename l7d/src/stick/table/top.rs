//! Who stands out in a table: the entries with the highest of one of its values.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use control::config::StoredKind;

use super::layout::is_counted;
use super::{Entry, PAGE, Table, is_alive, lock};

impl Table {
    /// Returns what entries are best told apart by, for who names nothing: the first rate, else the first counter.
    pub(crate) fn loudest(&self) -> Option<(StoredKind, u8)> {
        self.kinds().find(|(kind, _)| kind.is_rate()).or_else(|| self.kinds().find(|(kind, _)| is_counted(*kind)))
    }

    /// Returns so many entries at most, those with the highest of a value first, and none where that is zero. No lock is held for longer than
    /// a bounded number of entries; who comes or goes meanwhile may be left out.
    pub(crate) fn top(&self, (kind, index): (StoredKind, u8), most: usize, now: u32) -> Vec<Entry> {
        let mut best = BinaryHeap::with_capacity(most.saturating_add(1));
        for (part, shard) in self.shards.iter().enumerate() {
            let mut place = 0;
            loop {
                let mut shard = lock(shard);
                let end = shard.places().min(place + PAGE);
                for index_of_entry in place..end {
                    if !shard.is_entry(index_of_entry) || !is_alive(&shard, index_of_entry, now) {
                        continue;
                    }
                    let record = shard.record(index_of_entry, &self.layout, now);
                    let value = record.value(kind, index).filter(|value| *value > 0);
                    best.extend(value.map(|value| Reverse((value, part, index_of_entry))));
                    if best.len() > most {
                        best.pop();
                    }
                }
                if end == place {
                    break;
                }
                place = end;
            }
        }
        let show = |Reverse((_, part, index)): Reverse<(u64, usize, u32)>| {
            let mut shard = self.lock(part);
            shard.is_entry(index).then(|| self.show(&mut shard, (part, index), now))
        };
        best.into_sorted_vec().into_iter().filter_map(show).collect()
    }
}
