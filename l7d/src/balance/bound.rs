//! How far a server may be above the average, where what it is chosen by would take it further.

use super::Candidate;

/// A bound on the load of a server, in percent of the average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound(u32);

/// What a server may carry just now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    percent: u128,
    /// Connections of all candidates, the one to be placed included.
    busy: u128,
    weight: u128,
}

impl Bound {
    /// Bounds loads to so many percent of the average, which must be above 100.
    pub(crate) const fn new(percent: u32) -> Self {
        Self(percent)
    }

    /// Returns what each of these candidates may carry.
    pub(super) fn ceiling(self, candidates: &[Candidate]) -> Ceiling {
        let (busy, weight) = candidates
            .iter()
            .fold((1, 0), |(busy, weight), candidate| (busy + u128::from(candidate.busy), weight + u128::from(candidate.weight)));
        Ceiling { percent: u128::from(self.0), busy, weight }
    }
}

impl Ceiling {
    /// Tells whether a candidate with one more stays within the bound.
    pub(super) fn admits(self, candidate: &Candidate) -> bool {
        u128::from(candidate.busy) * 100 * self.weight < self.percent * self.busy * u128::from(candidate.weight)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::candidates;
    use super::*;

    proptest! {
        #[test]
        fn someone_is_always_admitted_and_nobody_far_above_the_average(
            servers in prop::collection::vec((1u32..300, 0u32..1000), 1..9),
            percent in 101u32..400,
        ) {
            let weights: Vec<u32> = servers.iter().map(|(weight, _)| *weight).collect();
            let mut servers_ = candidates(&weights);
            servers_.iter_mut().zip(&servers).for_each(|(candidate, (_, busy))| candidate.busy = *busy);
            let ceiling = Bound::new(percent).ceiling(&servers_);
            prop_assert!(servers_.iter().any(|candidate| ceiling.admits(candidate)));
            let total: f64 = servers_.iter().map(|candidate| f64::from(candidate.busy)).sum::<f64>() + 1.0;
            let weight: f64 = servers_.iter().map(|candidate| f64::from(candidate.weight)).sum();
            for candidate in servers_.iter().filter(|candidate| ceiling.admits(candidate)) {
                let average = total * f64::from(candidate.weight) / weight;
                prop_assert!(f64::from(candidate.busy) <= average * f64::from(percent) / 100.0 + 1.0);
            }
        }
    }
}
