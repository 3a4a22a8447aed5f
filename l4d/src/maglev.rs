//! The hash ring of a service: a pure function from weighted servers and a size to a table of servers.
//!
//! `plan` turns the table into the slots of the kernel's ring map; a packet's hash picks one of them. The table depends on
//! nothing but the names and weights, neither on their order nor on a key, so that every node of a cluster computes the same one.
//!
//! Like Maglev (Eisenbud et al., NSDI 2016) each server walks its own permutation of the slots. Unlike Maglev a slot is not kept by
//! whoever comes first in a turn-taking loop: it goes to the server that reaches it earliest on a clock that runs faster the
//! heavier the server, and a server whose slot is taken over walks on. That is a stable matching, hence unique, whatever the order
//! of evaluation; one server's leaving disturbs few slots of the others (about 0.3 % of the table with 100 to 1,000 servers, where
//! turn-taking disturbs 0.5 to 0.9 %). Shares are exact: the counts are apportioned beforehand. A ring of 65,537 slots takes a few
//! milliseconds with 1,000 servers, because the walks together take about `size · ln(size)` steps at most.
//!
//! It does not know what is up, draining or full: callers leave such servers out, or give them weight zero.

use std::cmp::Reverse;

use crate::ring::gcd;

/// A server as the ring sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighted<'a> {
    /// What identifies the server on all nodes, such as `10.0.0.11:8080`; equal names walk the same slots.
    pub(crate) name: &'a str,
    /// The share of the slots relative to the other weights; zero takes none.
    pub(crate) weight: u32,
}

/// Returns for each of `size` slots the index in `servers` of the one that owns it; empty if no server has a weight.
///
/// Any size works; a prime one spreads best.
///
/// # Panics
///
/// If more than 65,536 servers have a weight: indices and the kernel's server ids have 16 bits.
pub(crate) fn populate(servers: &[Weighted<'_>], size: usize) -> Vec<u16> {
    let mut active: Vec<usize> = (0..servers.len()).filter(|&index| servers[index].weight > 0).collect();
    if active.is_empty() || size == 0 {
        return Vec::new();
    }
    // By name, so that the rank, which settles ties, is the same for every order of the list.
    active.sort_by_key(|&index| servers[index].name);
    let ranked: Vec<Weighted<'_>> = active.iter().map(|&index| servers[index]).collect();
    let indices: Vec<u16> = active.iter().map(|&index| u16::try_from(index).expect("a service has at most 65,536 servers")).collect();
    match_slots(&ranked, size).into_iter().map(|claim| indices[claim.rank()]).collect()
}

/// When a server reaches a slot, and which; smaller wins the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim(u64);

impl Claim {
    /// Loses against every real claim.
    const NONE: Self = Self(u64::MAX);
    const RANK: u64 = 0xffff;

    /// Packs a time, which must not be negative, and a rank: positive floats order like their bits.
    fn new(time: f64, rank: u16) -> Self {
        Self(time.to_bits() & !Self::RANK | u64::from(rank))
    }

    fn rank(self) -> usize {
        usize::from((self.0 & Self::RANK) as u16)
    }
}

/// A server on its way through the slots.
struct Walk {
    rank: u16,
    /// The next slot to claim.
    slot: usize,
    skip: usize,
    /// Slots claimed so far.
    steps: usize,
    /// Slots still to win.
    wanted: usize,
    /// Start on the clock, less than one step: keeps servers of one weight from meeting at equal times.
    phase: f64,
    pace: f64,
}

impl Walk {
    fn new(server: &Weighted<'_>, rank: usize, wanted: usize, size: usize) -> Self {
        let name = server.name.as_bytes();
        let wide = size as u64;
        let mut skip = 1 + (hash(name, 1) % (wide - 1).max(1)) as usize;
        // Only a skip that shares no divisor with the size visits every slot; with a prime size the first one does.
        while gcd(skip as u64, wide) != 1 {
            skip = skip % size + 1;
        }
        Self {
            rank: u16::try_from(rank).expect("a service has at most 65,536 servers"),
            slot: (hash(name, 0) % wide) as usize,
            skip: skip % size,
            steps: 0,
            wanted,
            phase: (hash(name, 2) >> 11) as f64 / (1u64 << 53) as f64 / size as f64,
            pace: 1.0 / f64::from(server.weight),
        }
    }

    fn step(&mut self, clock: &[f64]) -> (usize, Claim) {
        let slot = self.slot;
        let claim = Claim::new((clock[self.steps] + self.phase) * self.pace, self.rank);
        self.steps += 1;
        self.slot += self.skip;
        if self.slot >= clock.len() {
            self.slot -= clock.len();
        }
        (slot, claim)
    }
}

/// Lets the servers claim slots until each holds its count, a later claim giving way to an earlier one.
///
/// No walk passes its last step: the counts add up to the slots, so a server in want means a slot nobody holds, and a slot that was
/// claimed once is held ever after.
fn match_slots(servers: &[Weighted<'_>], size: usize) -> Vec<Claim> {
    let clock = clock(size);
    let counts = apportion(servers, size);
    let mut walks: Vec<Walk> =
        servers.iter().zip(counts).enumerate().map(|(rank, (server, count))| Walk::new(server, rank, count, size)).collect();
    let mut slots = vec![Claim::NONE; size];
    let mut wanting: Vec<usize> = (0..servers.len()).collect();
    while let Some(rank) = wanting.pop() {
        while walks[rank].wanted > 0 {
            let (slot, claim) = walks[rank].step(&clock);
            let holder = slots[slot];
            if claim >= holder {
                continue;
            }
            slots[slot] = claim;
            walks[rank].wanted -= 1;
            if holder != Claim::NONE {
                let loser = &mut walks[holder.rank()];
                loser.wanted += 1;
                if loser.wanted == 1 {
                    wanting.push(holder.rank());
                }
            }
        }
    }
    slots
}

/// Returns the time of each step of a server of weight one: the mean arrival times of a Poisson process over the slots.
///
/// With these a slot's first claim is a server's in proportion to its weight, so that the counts bind few slots. Sums and quotients
/// only: they are exactly rounded, hence the same on every machine, which a logarithm is not.
fn clock(size: usize) -> Vec<f64> {
    (0..size)
        .scan(0.0, |time, step| {
            let now = *time;
            *time += 1.0 / (size - step) as f64;
            Some(now)
        })
        .collect()
}

/// Divides the slots in proportion to the weights, the remainder going to the largest fractions.
fn apportion(servers: &[Weighted<'_>], size: usize) -> Vec<usize> {
    let total: u128 = servers.iter().map(|server| u128::from(server.weight)).sum();
    let exact = |server: &Weighted<'_>| u128::from(server.weight) * size as u128;
    let mut counts: Vec<usize> = servers.iter().map(|server| (exact(server) / total) as usize).collect();
    let left = size - counts.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..servers.len()).collect();
    order.sort_by_cached_key(|&rank| (Reverse(exact(&servers[rank]) % total), hash(servers[rank].name.as_bytes(), 3), rank));
    for &rank in order.iter().take(left) {
        counts[rank] += 1;
    }
    counts
}

/// Hashes a name under one of several purposes; part of the agreement between nodes, never to be changed.
fn hash(name: &[u8], purpose: u64) -> u64 {
    let seed = mix(purpose << 32 ^ name.len() as u64 ^ 0x9e37_79b9_7f4a_7c15);
    let folded = name.chunks(8).fold(seed, |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(state ^ u64::from_le_bytes(word)).wrapping_add(0x9e37_79b9_7f4a_7c15)
    });
    mix(folded)
}

/// The SplitMix64 finaliser.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 65_537;

    type Pool = Vec<(String, u32)>;

    fn pool(seed: u8, weights: &[u32]) -> Pool {
        weights.iter().enumerate().map(|(i, &weight)| (format!("10.{seed}.{}.{}:8080", i / 256, i % 256), weight)).collect()
    }

    fn ring(pool: &Pool, size: usize) -> Vec<&str> {
        let servers: Vec<_> = pool.iter().map(|(name, weight)| Weighted { name, weight: *weight }).collect();
        populate(&servers, size).into_iter().map(|index| servers[usize::from(index)].name).collect()
    }

    fn share(pool: &Pool, index: usize) -> f64 {
        f64::from(pool[index].1) / pool.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>()
    }

    /// The part of the slots that changed owner between the rings of two pools.
    fn moved(before: &Pool, after: &Pool) -> f64 {
        let (a, b) = (ring(before, SIZE), ring(after, SIZE));
        a.iter().zip(&b).filter(|(a, b)| a != b).count() as f64 / SIZE as f64
    }

    /// The part that has to change owner, by the shares alone.
    fn least_moved(before: &Pool, after: &Pool) -> f64 {
        let share_of = |pool: &Pool, name: &str| pool.iter().position(|(other, _)| other == name).map_or(0.0, |i| share(pool, i));
        before.iter().map(|(name, _)| (share_of(before, name) - share_of(after, name)).max(0.0)).sum()
    }

    fn pools(weights: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Pool> {
        (any::<u8>(), prop::collection::vec(weights, 2..=200)).prop_map(|(seed, weights)| pool(seed, &weights))
    }

    #[test]
    fn no_servers_make_an_empty_ring() {
        assert!(populate(&[], SIZE).is_empty());
        assert!(populate(&[Weighted { name: "a", weight: 0 }], SIZE).is_empty());
        assert!(populate(&[Weighted { name: "a", weight: 1 }], 0).is_empty());
    }

    #[test]
    fn weightless_server_takes_no_slot() {
        let pool = pool(0, &[3, 0, 1]);
        assert!(!ring(&pool, SIZE).contains(&pool[1].0.as_str()));
    }

    #[test]
    fn single_server_takes_every_slot() {
        assert_eq!(populate(&[Weighted { name: "a", weight: 7 }], 11), [0; 11]);
        assert_eq!(populate(&[Weighted { name: "a", weight: u32::MAX }], 1), [0]);
    }

    #[test]
    fn more_servers_than_slots_still_fill_the_ring() {
        let pool = pool(0, &[1; 300]);
        let ring = ring(&pool, 7);
        assert_eq!(ring.iter().collect::<std::collections::HashSet<_>>().len(), 7);
    }

    #[test]
    fn twins_share_their_slots_evenly() {
        let twins = [Weighted { name: "a", weight: 1 }, Weighted { name: "a", weight: 1 }];
        assert!([50, 51].contains(&populate(&twins, 101).into_iter().filter(|&index| index == 0).count()));
    }

    /// Nodes of different versions serve side by side during an upgrade: the ring is part of the protocol between them.
    #[test]
    fn the_ring_never_changes_between_versions() {
        let servers = [
            Weighted { name: "10.0.0.11:8080", weight: 1 },
            Weighted { name: "10.0.0.12:8080", weight: 2 },
            Weighted { name: "[fd00::13]:8080", weight: 1 },
        ];
        assert_eq!(populate(&servers, 23), [2, 1, 1, 0, 1, 1, 1, 2, 1, 1, 0, 1, 2, 2, 1, 2, 0, 0, 2, 1, 0, 1, 0]);
    }

    #[test]
    fn a_thousand_servers_share_exactly_and_lose_one_gently() {
        let before = pool(7, &[1; 1000]);
        let mut after = before.clone();
        after.remove(500);
        assert!(moved(&before, &after) < 0.001 + 0.01);
        let ring = ring(&before, SIZE);
        let mut counts = std::collections::HashMap::new();
        ring.into_iter().for_each(|name| *counts.entry(name).or_insert(0) += 1);
        assert!(counts.values().all(|count| [65, 66].contains(count)));
    }

    /// Where one server comes to take most of a small pool, its walk disturbs more of the others' than usual: 2.1 % of the ring.
    #[test]
    fn a_server_that_becomes_most_of_a_pool_moves_little_more_than_it_must() {
        let before = pool(212, &[45, 1, 20, 1, 1, 1, 1]);
        for index in 0..before.len() {
            let mut after = before.clone();
            after[index].1 = 200;
            let (moved, least) = (moved(&before, &after), least_moved(&before, &after));
            assert!(moved < least + 0.025, "moved {moved}, must {least}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_are_exact_to_a_slot(pool in pools(0..=256)) {
            let ring = ring(&pool, SIZE);
            prop_assume!(!ring.is_empty());
            for (index, (name, _)) in pool.iter().enumerate() {
                let count = ring.iter().filter(|&owner| owner == name).count() as f64;
                prop_assert!((count - share(&pool, index) * SIZE as f64).abs() < 1.0);
            }
        }

        #[test]
        fn order_of_the_list_does_not_matter(pool in pools(0..=256), turn in any::<prop::sample::Index>()) {
            let mut other = pool.clone();
            other.rotate_left(turn.index(pool.len()));
            other.swap(0, turn.index(pool.len()));
            prop_assert_eq!(ring(&pool, SIZE), ring(&other, SIZE));
        }

        #[test]
        fn a_server_leaving_or_joining_moves_little_more_than_its_share(
            pool in pools(1..=256),
            index in any::<prop::sample::Index>(),
        ) {
            let index = index.index(pool.len());
            let mut without = pool.clone();
            without.remove(index);
            let moved = moved(&pool, &without);
            prop_assert!(moved < share(&pool, index) + 0.01, "moved {}, its share is {}", moved, share(&pool, index));
        }

        #[test]
        fn a_weight_change_moves_little_more_than_it_must(
            pool in pools(1..=256),
            index in any::<prop::sample::Index>(),
            weight in 1u32..=256,
        ) {
            let mut after = pool.clone();
            after[index.index(pool.len())].1 = weight;
            let (moved, least) = (moved(&pool, &after), least_moved(&pool, &after));
            prop_assert!(moved < least + 0.03, "moved {}, must {}", moved, least);
        }

        #[test]
        fn any_size_is_filled(pool in pools(1..=9), size in 1usize..600) {
            prop_assert_eq!(ring(&pool, size).len(), size);
        }
    }
}
