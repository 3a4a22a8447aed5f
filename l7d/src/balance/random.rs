//! The least loaded of a few servers drawn at random, which comes close to the least loaded of all at far less cost.

use super::{Candidate, least_conn};

/// Draws `draws` times by weight and returns the least loaded with room; looks at all of them if none of the drawn has any.
pub(super) fn best_of(candidates: &[Candidate], draws: u32, mut draw: impl FnMut(u32) -> u32) -> Option<&Candidate> {
    let total = candidates.iter().fold(0u32, |total, candidate| total.saturating_add(candidate.weight));
    let drawn = (0..draws.max(1)).filter_map(|_| by_weight(candidates, draw(total))).filter(|candidate| candidate.is_free());
    least_conn::least(drawn).or_else(|| least_conn::least(candidates.iter().filter(|candidate| candidate.is_free())))
}

fn by_weight(candidates: &[Candidate], mut point: u32) -> Option<&Candidate> {
    candidates.iter().find(|candidate| match point.checked_sub(candidate.weight) {
        Some(rest) => {
            point = rest;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::candidates;
    use super::*;

    #[test]
    fn every_point_falls_on_a_server_by_weight() {
        let servers = candidates(&[1, 3, 2]);
        let places: Vec<usize> = (0..6).map(|point| by_weight(&servers, point).unwrap().place).collect();
        assert_eq!(places, [0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn less_loaded_of_the_drawn_wins() {
        let mut servers = candidates(&[1, 1, 1]);
        servers[0].active = 5;
        let mut points = [0, 2].into_iter();
        assert_eq!(best_of(&servers, 2, |_| points.next().unwrap()).unwrap().place, 2);
    }
}
