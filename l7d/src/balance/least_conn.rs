//! The server with the fewest connections for its weight.

use super::Candidate;

/// Returns the least loaded candidate, the first of those equally loaded.
pub(super) fn least<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Option<&'a Candidate> {
    candidates.reduce(|best, other| if load_less(other, best) { other } else { best })
}

/// Compares `(busy + 1) / weight`, what each would carry with one more, so that among idle servers the heaviest is first.
fn load_less(one: &Candidate, other: &Candidate) -> bool {
    let carried = |candidate: &Candidate, by: &Candidate| (u64::from(candidate.busy) + 1) * u64::from(by.weight);
    carried(one, other) < carried(other, one)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::candidates;
    use super::*;

    #[test]
    fn weight_counts_against_connections() {
        let mut servers = candidates(&[1, 4]);
        servers[0].busy = 1;
        servers[1].busy = 3;
        assert_eq!(least(servers.iter()).map(|server| server.place), Some(1));
        servers[1].busy = 8;
        assert_eq!(least(servers.iter()).map(|server| server.place), Some(0));
    }

    proptest! {
        #[test]
        fn long_connections_spread_by_weight(weights in prop::collection::vec(1u32..20, 1..6)) {
            let mut servers = candidates(&weights);
            let rounds = 50;
            for _ in 0..rounds * weights.iter().sum::<u32>() {
                let place = least(servers.iter()).unwrap().place;
                servers[place].busy += 1;
            }
            for server in &servers {
                prop_assert!(server.busy.abs_diff(rounds * server.weight) <= server.weight + 1, "{:?}", servers);
            }
        }
    }
}
