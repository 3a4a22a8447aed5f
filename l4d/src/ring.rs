//! The cycle of a weighted round robin service: a pure function from weights to the order in which servers take their turns.
//!
//! The kernel walks the cycle with a counter, one entry per new flow. The order is smooth: a heavy server's turns are spread among
//! those of the others instead of following each other. It is Tijdeman's answer to the chairman assignment problem (1980): a server
//! may take a turn once it is due by more than a sliver, and of those who may, the one that would be overdue first does. No prefix
//! of the cycle then gives any of `n` servers `1 − 1/(2n − 2)` turns more or less than its exact share, which no order can better.
//! Small cases come out as nginx's smooth round robin has them; unlike there the work per turn grows with the logarithm of `n`.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Returns the indices of `weights` in turn order, each as often as its weight says after division by the common divisor.
///
/// A cycle longer than `limit` is shortened by scaling the weights down, each nonzero one keeping a turn at least: only with more
/// servers than `limit` does the cycle exceed it, at one turn for each.
pub(crate) fn sequence(weights: &[u32], limit: usize) -> Vec<usize> {
    let active: Vec<usize> = (0..weights.len()).filter(|&index| weights[index] > 0).collect();
    let turns = reduce(active.iter().map(|&index| u64::from(weights[index])).collect());
    let turns = reduce(shorten(turns, limit as u64));
    if active.len() < 2 {
        return active;
    }
    spread(&turns).into_iter().map(|rank| active[rank]).collect()
}

fn reduce(mut turns: Vec<u64>) -> Vec<u64> {
    let divisor = turns.iter().copied().fold(0, gcd).max(1);
    turns.iter_mut().for_each(|count| *count /= divisor);
    turns
}

/// Scales the turns above the first of each server so that all fit the limit.
fn shorten(mut turns: Vec<u64>, limit: u64) -> Vec<u64> {
    let servers = turns.len() as u64;
    let total: u64 = turns.iter().sum();
    if total > limit {
        let (room, excess) = (limit.saturating_sub(servers), (total - servers).max(1));
        let scale = |further: u64| u128::from(further) * u128::from(room) / u128::from(excess);
        turns.iter_mut().for_each(|count| *count = 1 + u64::try_from(scale(*count - 1)).expect("no more than the limit"));
    }
    turns
}

/// What decides when a server's next turn falls: between the first and the last of the steps, counted from one, that keep the bound.
struct Turns {
    count: u64,
    /// Turns of all servers.
    total: u64,
    /// `2n − 2`, the denominator of the bound.
    grain: u64,
}

impl Turns {
    fn first_step(&self, taken: u64) -> u64 {
        ((taken * self.grain + 1) * self.total).div_ceil(self.count * self.grain)
    }

    fn last_step(&self, taken: u64) -> u64 {
        (((taken + 1) * self.grain - 1) * self.total).div_ceil(self.count * self.grain)
    }
}

/// Orders the turns of two or more servers.
fn spread(counts: &[u64]) -> Vec<usize> {
    let total: u64 = counts.iter().sum();
    let grain = 2 * counts.len() as u64 - 2;
    let turns: Vec<Turns> = counts.iter().map(|&count| Turns { count, total, grain }).collect();
    let mut taken = vec![0; counts.len()];
    let mut waiting: BinaryHeap<_> = turns.iter().enumerate().map(|(rank, turns)| Reverse((turns.first_step(0), rank))).collect();
    // By the last step, the longer wait deciding ties.
    let mut ready = BinaryHeap::new();
    let mut order = Vec::new();
    for step in 1..=total {
        while let Some(&Reverse((first, rank))) = waiting.peek()
            && first <= step
        {
            waiting.pop();
            ready.push(Reverse((turns[rank].last_step(taken[rank]), first, rank)));
        }
        let Reverse((_, _, rank)) = ready.pop().expect("the shares due at a step add up to one, so some server is due");
        order.push(rank);
        taken[rank] += 1;
        waiting.push(Reverse((turns[rank].first_step(taken[rank]), rank)));
    }
    order
}

/// Returns the greatest common divisor; zero is divided by everything.
pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 65_536;

    fn counts(sequence: &[usize], servers: usize) -> Vec<u64> {
        let mut counts = vec![0; servers];
        sequence.iter().for_each(|&index| counts[index] += 1);
        counts
    }

    #[test]
    fn small_cycles_are_as_nginx_has_them() {
        let cases: [(&str, &[u32], &[usize]); 7] = [
            ("nobody", &[], &[]),
            ("only weightless", &[0, 0], &[]),
            ("one server, any weight", &[0, 9], &[1]),
            ("equals take turns", &[4, 4, 4], &[0, 1, 2]),
            ("weightless is left out", &[2, 0, 2], &[0, 2]),
            ("the heavy one is spread", &[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            ("weights are reduced", &[20, 10], &[0, 1, 0]),
        ];
        for (what, weights, expected) in cases {
            assert_eq!(sequence(weights, LIMIT), expected, "{what}");
        }
    }

    #[test]
    fn long_cycle_is_scaled_and_nobody_is_lost() {
        let mut weights = vec![1];
        weights.extend([1_000_003; 3]);
        let sequence = sequence(&weights, 1000);
        let counts = counts(&sequence, 4);
        assert!(sequence.len() <= 1000, "{}", sequence.len());
        assert!(counts[0] == 1 && counts[1..].iter().all(|&count| count == counts[1] && count > 300), "{counts:?}");
    }

    #[test]
    fn more_servers_than_the_limit_get_one_turn_each() {
        assert_eq!(counts(&sequence(&[u32::MAX, 1, 7], 2), 3), [1, 1, 1]);
    }

    fn pools() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(prop_oneof![Just(0), 1u32..=256], 0..60)
    }

    proptest! {
        #[test]
        fn counts_are_exact_over_a_cycle(weights in pools()) {
            let counts = counts(&sequence(&weights, LIMIT), weights.len());
            for (a, x) in weights.iter().zip(&counts) {
                for (b, y) in weights.iter().zip(&counts) {
                    prop_assert_eq!(u64::from(*a) * y, u64::from(*b) * x);
                }
            }
            prop_assert_eq!(counts.iter().copied().fold(0, gcd), u64::from(weights.iter().any(|&weight| weight > 0)));
        }

        #[test]
        fn no_prefix_strays_from_the_exact_shares(weights in pools()) {
            let sequence = sequence(&weights, LIMIT);
            let cycle = counts(&sequence, weights.len());
            let servers = cycle.iter().filter(|&&count| count > 0).count() as i64;
            prop_assume!(servers > 1);
            let total = sequence.len() as i64;
            let mut taken = vec![0i64; weights.len()];
            for (step, &index) in sequence.iter().enumerate() {
                taken[index] += 1;
                for (&turns, &count) in taken.iter().zip(&cycle) {
                    // |turns − step · count / total| ≤ 1 − 1/(2n − 2), in integers.
                    let strayed = (turns * total - (step as i64 + 1) * count as i64).abs();
                    prop_assert!(strayed * (2 * servers - 2) <= total * (2 * servers - 3));
                }
            }
        }

        #[test]
        fn limit_is_kept_and_heavier_never_gets_less(weights in prop::collection::vec(1u32.., 1..80), limit in 80usize..5000) {
            let sequence = sequence(&weights, limit);
            prop_assert!(sequence.len() <= limit);
            let mut pairs: Vec<_> = weights.iter().copied().zip(counts(&sequence, weights.len())).collect();
            prop_assert!(pairs.iter().all(|&(_, turns)| turns > 0));
            pairs.sort_unstable();
            prop_assert!(pairs.is_sorted_by_key(|&(_, turns)| turns));
        }
    }
}
