//! Finds a server by a hash so that only the share of a server moves when it comes, goes or changes its weight.
//!
//! Weighted rendezvous hashing: each server draws a lot that depends on the key and its own name alone, and the best lot for its weight
//! wins. Shares follow the weights exactly in the mean and nothing is kept between two choices. HAProxy looks a ring up instead, so
//! placement differs from it.

use super::Candidate;
use super::hash::mix;

/// Returns the candidate that a key belongs to.
pub(super) fn owner<'a>(candidates: impl Iterator<Item = &'a Candidate>, key: u32) -> Option<&'a Candidate> {
    let lots = candidates.map(|candidate| (lot(candidate, key), candidate));
    lots.reduce(|best, other| if wins(other, best) { other } else { best }).map(|(_, candidate)| candidate)
}

fn lot(candidate: &Candidate, key: u32) -> u64 {
    mix(candidate.seed ^ u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Compares `-ln(lot) / weight`; between equal weights the lots decide alone, which spares the logarithms.
fn wins(one: (u64, &Candidate), other: (u64, &Candidate)) -> bool {
    if one.1.weight == other.1.weight {
        return one.0 > other.0;
    }
    let cost = |(lot, candidate): (u64, &Candidate)| -unit(lot).ln() / f64::from(candidate.weight);
    cost(one) < cost(other)
}

/// Maps to the open interval from 0 to 1.
fn unit(lot: u64) -> f64 {
    // As many bits as fit without rounding.
    let [a, b, c, d, ..] = lot.to_be_bytes();
    (f64::from(u32::from_be_bytes([a, b, c, d])) + 0.5) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::candidates;
    use super::*;

    const KEYS: u32 = 6000;

    fn owners(servers: &[Candidate]) -> Vec<usize> {
        (0..KEYS).map(|key| owner(servers.iter(), key).unwrap().place).collect()
    }

    fn moved(before: &[usize], after: &[usize]) -> usize {
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(1u32..50, 1..8)) {
            let servers = candidates(&weights);
            let owners = owners(&servers);
            let total: u32 = weights.iter().sum();
            for server in &servers {
                let count = owners.iter().filter(|owner| **owner == server.place).count() as f64;
                let share = f64::from(server.weight) / f64::from(total);
                let fair = share * f64::from(KEYS);
                // Six standard deviations of a fair draw.
                prop_assert!((count - fair).abs() <= 6.0 * (fair * (1.0 - share)).sqrt() + 1.0, "{weights:?}: {count} of {fair}");
            }
        }

        #[test]
        fn only_the_share_of_a_leaving_server_moves(weights in prop::collection::vec(1u32..50, 2..8), leaves in 0usize..8) {
            let servers = candidates(&weights);
            let leaves = leaves % servers.len();
            let (before, left): (_, Vec<Candidate>) = (owners(&servers), servers.iter().filter(|server| server.place != leaves).copied().collect());
            let after = owners(&left);
            let its_own = before.iter().filter(|owner| **owner == leaves).count();
            prop_assert_eq!(moved(&before, &after), its_own);
        }

        #[test]
        fn more_weight_only_attracts(weights in prop::collection::vec(1u32..50, 2..8), grows in 0usize..8, by in 1u32..50) {
            let mut servers = candidates(&weights);
            let grows = grows % servers.len();
            let before = owners(&servers);
            servers[grows].weight += by;
            for (before, after) in before.into_iter().zip(owners(&servers)) {
                prop_assert!(before == after || after == grows, "{before} to {after} when {grows} grew");
            }
        }
    }
}
