//! The order in which servers take turns: each as often as its weight says, spread as evenly as can be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Candidate;

/// One round of turns; computed anew only when the weights change.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// The weights that the order was computed for.
    weights: Vec<u32>,
    /// Which candidate has each turn of the round.
    order: Vec<u32>,
}

impl Schedule {
    /// Returns the schedule for these candidates.
    pub(super) fn of(&mut self, candidates: &[Candidate]) -> &Self {
        let weights = candidates.iter().map(|candidate| candidate.weight);
        if !weights.clone().eq(self.weights.iter().copied()) {
            self.weights = weights.collect();
            self.order = order(&reduced(&self.weights));
        }
        self
    }

    /// Returns all candidates of one round, beginning with the one whose turn it is.
    pub(super) fn from(&self, turn: u32) -> impl Iterator<Item = usize> {
        let (before, from) = self.order.split_at(turn as usize % self.order.len().max(1));
        from.iter().chain(before).map(|candidate| *candidate as usize)
    }
}

/// Brings weights to the smallest numbers of the same proportion, or nearly so where a round would become very long.
fn reduced(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, u64::from(*weight))).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(*weight) / divisor).sum();
    let longest = LONGEST_ROUND.max(weights.len() as u64);
    weights
        .iter()
        .map(|weight| u64::from(*weight) / divisor)
        .map(|weight| if total > longest { (weight * longest / total).max(1) } else { weight })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Serves earliest deadline first: turn `k` of a server of weight `w` is due at `(k + 1/2) / w` of the round.
fn order(weights: &[u64]) -> Vec<u32> {
    let total = usize::try_from(weights.iter().sum::<u64>()).expect("a round is bounded");
    // Deadlines are whole numbers in a unit fine enough to tell any two weights apart.
    let due = |turn: u64, weight: u64| (2 * turn + 1) * UNIT / weight;
    let candidates = 0..u32::try_from(weights.len()).expect("a backend is bounded");
    let mut queue: BinaryHeap<_> = candidates.zip(weights).map(|(candidate, weight)| Reverse((due(0, *weight), candidate, 0))).collect();
    let mut order = Vec::with_capacity(total);
    while order.len() < total {
        let Some(Reverse((_, candidate, turn))) = queue.pop() else { break };
        order.push(candidate);
        let weight = weights[candidate as usize];
        if turn + 1 < weight {
            queue.push(Reverse((due(turn + 1, weight), candidate, turn + 1)));
        }
    }
    order
}

const UNIT: u64 = 1 << 40;
/// Longest round; proportions finer than that are rounded.
const LONGEST_ROUND: u64 = 8192;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::candidates;
    use super::*;

    fn round(weights: &[u32]) -> Vec<u32> {
        let mut schedule = Schedule::default();
        schedule.of(&candidates(weights));
        schedule.order
    }

    #[test]
    fn equal_servers_take_turns_in_order() {
        assert_eq!(round(&[16, 16, 16]), [0, 1, 2]);
    }

    #[test]
    fn heavy_server_does_not_take_its_turns_in_a_row() {
        assert_eq!(round(&[2, 1, 1]), [0, 1, 2, 0]);
        assert_eq!(round(&[3, 1]), [0, 0, 1, 0]);
    }

    #[test]
    fn changed_weights_change_the_order() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.of(&candidates(&[1, 1])).order, [0, 1]);
        assert_eq!(schedule.of(&candidates(&[1, 1, 1])).order, [0, 1, 2]);
        assert_eq!(schedule.of(&candidates(&[])).order, [] as [u32; 0]);
    }

    #[test]
    fn every_round_begins_where_the_last_ended() {
        let mut schedule = Schedule::default();
        let schedule = schedule.of(&candidates(&[1, 1, 1]));
        assert_eq!(schedule.from(4).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn very_long_rounds_are_rounded_and_leave_no_one_out() {
        let mut weights = vec![4096; 200];
        weights.push(1);
        let order = round(&weights);
        assert!(order.len() as u64 <= LONGEST_ROUND + weights.len() as u64, "{}", order.len());
        assert!(order.contains(&200));
    }

    proptest! {
        #[test]
        fn any_window_of_a_round_has_nearly_the_share_of_each(weights in prop::collection::vec(1u32..60, 1..8)) {
            let order = round(&weights);
            let unit = weights.iter().fold(0, |unit, weight| gcd(unit, u64::from(*weight)));
            let total: u64 = weights.iter().map(|weight| u64::from(*weight) / unit).sum();
            prop_assert_eq!(order.len() as u64, total);
            for (candidate, weight) in (0u32..).zip(&weights) {
                let share = f64::from(*weight) / unit as f64 / total as f64;
                let mut seen = 0.0;
                for (turn, served) in order.iter().enumerate() {
                    seen += f64::from(u8::from(*served == candidate));
                    let fair = share * (turn + 1) as f64;
                    prop_assert!((seen - fair).abs() <= weights.len() as f64, "{:?}: {} of {}", weights, seen, fair);
                }
                prop_assert!((seen - share * total as f64).abs() < 1e-6);
            }
        }
    }
}
