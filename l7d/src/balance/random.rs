//! The least loaded of a few servers drawn at random, which comes close to the least loaded of all at far less cost.

use super::{Candidate, least_conn};

/// Draws `draws` times by weight and returns the least loaded that will do; looks at all of them if none of the drawn does.
pub(super) fn best_of(
    candidates: &[Candidate],
    draws: u32,
    will_do: impl Fn(&&Candidate) -> bool,
    mut draw: impl FnMut(u32) -> u32,
) -> Option<&Candidate> {
    let total = candidates.iter().fold(0u32, |total, candidate| total.saturating_add(candidate.weight));
    let drawn = (0..draws.max(1)).filter_map(|_| by_weight(candidates, draw(total))).filter(&will_do);
    least_conn::least(drawn).or_else(|| least_conn::least(candidates.iter().filter(&will_do)))
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
        servers[0].busy = 5;
        let mut points = [0, 2].into_iter();
        assert_eq!(best_of(&servers, 2, |_| true, |_| points.next().unwrap()).unwrap().place, 2);
    }

    #[test]
    fn one_that_will_do_is_found_though_none_is_drawn() {
        let servers = candidates(&[1, 1, 1]);
        assert_eq!(best_of(&servers, 2, |server| server.place == 1, |_| 0).unwrap().place, 1);
        assert_eq!(best_of(&servers, 2, |_| false, |_| 0), None);
    }
}
