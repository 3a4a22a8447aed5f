//! Patterns with their values, found by pattern.
//!
//! A list of them and a table of places in it: a million lines cost no allocation each, and slices of the file's text are all that they hold.

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use hashbrown::HashTable;

use super::Entry;

/// Patterns with their values; those of one pattern in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Chains {
    links: Vec<Link>,
    /// For each pattern its first and its last link.
    ends: HashTable<(u32, u32)>,
    /// The first of the links that are taken out; one leads to the next.
    spare: Option<u32>,
    hasher: RandomState,
}

#[derive(Debug, Clone)]
struct Link {
    key: Bytes,
    /// None once it is taken out.
    entry: Option<Entry>,
    /// The next of the same pattern; of the last one, itself.
    next: u32,
}

impl Chains {
    /// Makes room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { links: Vec::with_capacity(count), ends: HashTable::with_capacity(count), ..Self::default() }
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.links.iter().filter(|link| link.entry.is_some()).count()
    }

    /// Adds a pattern behind those that are the same.
    pub(super) fn insert(&mut self, key: Bytes, entry: Entry) {
        let hash = self.hasher.hash_one(&*key);
        let place = self.place(key, entry);
        let (links, hasher) = (&mut self.links, &self.hasher);
        let key = &links[place as usize].key;
        match self.ends.find_mut(hash, |(first, _)| links[*first as usize].key == *key) {
            Some((_, last)) => {
                links[*last as usize].next = place;
                *last = place;
            }
            None => {
                self.ends.insert_unique(hash, (place, place), |(first, _)| hasher.hash_one(&*links[*first as usize].key));
            }
        }
    }

    /// Puts a link where there is room for one and returns where that is.
    fn place(&mut self, key: Bytes, entry: Entry) -> u32 {
        let place = self.spare.unwrap_or_else(|| u32::try_from(self.links.len()).expect("so many patterns fit no memory"));
        let link = Link { key, entry: Some(entry), next: place };
        match self.links.get_mut(place as usize) {
            Some(spare) => {
                self.spare = Some(spare.next).filter(|next| *next != place);
                *spare = link;
            }
            None => self.links.push(link),
        }
        place
    }

    /// Returns the first entry of a pattern.
    pub(super) fn first(&self, key: &[u8]) -> Option<&Entry> {
        let (first, _) = self.ends.find(self.hasher.hash_one(key), |(first, _)| self.links[*first as usize].key == key)?;
        self.links[*first as usize].entry.as_ref()
    }

    /// Shows `keep` every entry of a pattern, takes out those it does not want to keep, and returns how many there were and are.
    pub(super) fn each(&mut self, key: &[u8], mut keep: impl FnMut(&mut Entry) -> bool) -> (usize, usize) {
        let links = &mut self.links;
        let Ok(mut found) = self.ends.find_entry(self.hasher.hash_one(key), |(first, _)| links[*first as usize].key == key) else {
            return (0, 0);
        };
        let (mut at, end) = *found.get();
        let (mut kept, mut counts) = (None, (0, 0));
        loop {
            let next = links[at as usize].next;
            counts.0 += 1;
            if links[at as usize].entry.as_mut().is_some_and(&mut keep) {
                counts.1 += 1;
                links[at as usize].next = at;
                let first = kept.map_or(at, |(first, last): (u32, u32)| {
                    links[last as usize].next = at;
                    first
                });
                kept = Some((first, at));
            } else {
                links[at as usize] = Link { key: Bytes::new(), entry: None, next: self.spare.unwrap_or(at) };
                self.spare = Some(at);
            }
            if at == end {
                break;
            }
            at = next;
        }
        match kept {
            Some(ends) => *found.get_mut() = ends,
            None => drop(found.remove()),
        }
        counts
    }

    /// Returns every pattern with its entry, in the order of the file.
    pub(super) fn in_order(&self) -> Vec<(&Bytes, &Entry)> {
        let mut all: Vec<_> = self.links.iter().filter_map(|link| Some((&link.key, link.entry.as_ref()?))).collect();
        // Only where something was taken out are they not in order already.
        all.sort_by_key(|(_, entry)| entry.order);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn entry(order: u64) -> Entry {
        Entry { order, line: None, value: Bytes::new() }
    }

    proptest! {
        /// Beside a plain map: whatever is added and taken out, both know the same.
        #[test]
        fn chains_are_a_map_of_lists(steps in prop::collection::vec((0_u8..6, 0_u8..4), 1..200)) {
            let (mut chains, mut plain) = (Chains::default(), HashMap::<u8, Vec<u64>>::new());
            for (order, (key, step)) in (0..).zip(steps) {
                if step > 0 {
                    chains.insert(Bytes::copy_from_slice(&[key]), entry(order));
                    plain.entry(key).or_default().push(order);
                } else {
                    let known = plain.remove(&key).unwrap_or_default();
                    let kept: Vec<u64> = known.iter().copied().filter(|order| order % 3 == 0).collect();
                    let counts = chains.each(&[key], |entry| entry.order % 3 == 0);
                    prop_assert_eq!(counts, (known.len(), kept.len()));
                    if !kept.is_empty() {
                        plain.insert(key, kept);
                    }
                }
                for key in 0..6 {
                    let mut seen = Vec::new();
                    chains.each(&[key], |entry| { seen.push(entry.order); true });
                    prop_assert_eq!(&seen[..], plain.get(&key).map_or(&[][..], Vec::as_slice));
                    prop_assert_eq!(chains.first(&[key]).map(|entry| entry.order), seen.first().copied());
                }
                let mut all: Vec<u64> = plain.values().flatten().copied().collect();
                all.sort_unstable();
                let orders: Vec<u64> = chains.in_order().into_iter().map(|(_, entry)| entry.order).collect();
                prop_assert_eq!((chains.len(), &orders), (all.len(), &all));
            }
        }
    }
}
