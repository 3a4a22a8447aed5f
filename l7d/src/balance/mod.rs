//! Which server takes a connection or request.
//!
//! Pure: who may be chosen, how loaded they are, whose turn it is and what is drawn at random are handed in. Whether a server is
//! usable is the fleet's knowledge; waiting for a full one is left to [`crate::queue`].

mod hash;
mod least_conn;
mod random;
mod schedule;

pub(crate) use hash::of_address;
pub(crate) use schedule::Schedule;

/// How a server is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Balance {
    /// In turn, by weight, spread smoothly.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConn,
    /// The first in the order of the file with a free slot.
    First,
    /// By a hash, so that the same client comes to the same server.
    Hash,
    /// The least loaded of so many drawn at random.
    Random(u32),
}

/// A server that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its place in the backend.
    pub(crate) place: usize,
    /// Its share of the traffic; never 0.
    pub(crate) weight: u32,
    /// Connections it serves now.
    pub(crate) active: u32,
    /// Whether it takes one more.
    pub(crate) room: Room,
}

/// Whether a server takes one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It does.
    Free,
    /// It is at its limit.
    Full,
}

/// What a choice may depend on beside the candidates.
#[derive(Debug)]
pub(crate) struct Inputs<R> {
    /// Counts the choices made for this backend.
    pub(crate) turn: u32,
    /// The hash of what the choice sticks to.
    pub(crate) hash: u64,
    /// Draws a number below its argument.
    pub(crate) draw: R,
}

/// The outcome of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This place has room.
    Place(usize),
    /// Only this place will do, and it is full.
    Wait(usize),
    /// Any place will do, and all are full.
    WaitForAny,
    /// There is no server.
    None,
}

impl Balance {
    /// Chooses among `candidates`; `schedule` remembers their order from one choice to the next.
    pub(crate) fn choose(self, candidates: &[Candidate], schedule: &mut Schedule, inputs: Inputs<impl FnMut(u32) -> u32>) -> Choice {
        if candidates.is_empty() {
            return Choice::None;
        }
        let chosen = match self {
            Self::RoundRobin => schedule.of(candidates).from(inputs.turn).map(|at| &candidates[at]).find(|candidate| candidate.is_free()),
            Self::LeastConn => least_conn::least(rotated(candidates, inputs.turn).filter(|candidate| candidate.is_free())),
            Self::First => candidates.iter().find(|candidate| candidate.is_free()),
            Self::Random(draws) => random::best_of(candidates, draws, inputs.draw),
            Self::Hash => return schedule.of(candidates).at(inputs.hash).map_or(Choice::None, |at| candidates[at].choice()),
        };
        chosen.map_or(Choice::WaitForAny, |candidate| Choice::Place(candidate.place))
    }
}

impl Candidate {
    fn is_free(&self) -> bool {
        self.room == Room::Free
    }

    fn choice(&self) -> Choice {
        if self.is_free() { Choice::Place(self.place) } else { Choice::Wait(self.place) }
    }
}

/// Returns the candidates beginning with another one each turn, so that ties do not always fall to the same.
fn rotated(candidates: &[Candidate], turn: u32) -> impl Iterator<Item = &Candidate> {
    let (before, from) = candidates.split_at(turn as usize % candidates.len());
    from.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn candidates(weights: &[u32]) -> Vec<Candidate> {
        weights.iter().enumerate().map(|(place, weight)| Candidate { place, weight: *weight, active: 0, room: Room::Free }).collect()
    }

    fn inputs(turn: u32) -> Inputs<impl FnMut(u32) -> u32> {
        Inputs { turn, hash: u64::from(turn), draw: move |below| turn % below }
    }

    #[test]
    fn nothing_to_choose_from_is_no_choice() {
        for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::First, Balance::Hash, Balance::Random(2)] {
            assert_eq!(balance.choose(&[], &mut Schedule::default(), inputs(0)), Choice::None);
        }
    }

    #[test]
    fn full_servers_are_stepped_over() {
        let mut servers = candidates(&[1, 1, 1]);
        servers[0].room = Room::Full;
        for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::First, Balance::Random(2)] {
            for turn in 0..9 {
                let choice = balance.choose(&servers, &mut Schedule::default(), inputs(turn));
                assert!(matches!(choice, Choice::Place(1 | 2)), "{balance:?} {turn} {choice:?}");
            }
        }
        servers.iter_mut().for_each(|server| server.room = Room::Full);
        for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::First, Balance::Random(2)] {
            assert_eq!(balance.choose(&servers, &mut Schedule::default(), inputs(1)), Choice::WaitForAny, "{balance:?}");
        }
    }

    #[test]
    fn hashed_client_waits_for_its_own_server() {
        let mut servers = candidates(&[1, 1]);
        servers[1].room = Room::Full;
        assert_eq!(Balance::Hash.choose(&servers, &mut Schedule::default(), inputs(2)), Choice::Place(0));
        assert_eq!(Balance::Hash.choose(&servers, &mut Schedule::default(), inputs(3)), Choice::Wait(1));
    }

    #[test]
    fn first_fills_servers_in_order() {
        let mut servers = candidates(&[1, 100]);
        assert_eq!(Balance::First.choose(&servers, &mut Schedule::default(), inputs(7)), Choice::Place(0));
        servers[0].room = Room::Full;
        assert_eq!(Balance::First.choose(&servers, &mut Schedule::default(), inputs(7)), Choice::Place(1));
    }

    #[test]
    fn ties_of_least_conn_go_round() {
        let servers = candidates(&[1, 1, 1]);
        let chosen: Vec<Choice> = (0..3).map(|turn| Balance::LeastConn.choose(&servers, &mut Schedule::default(), inputs(turn))).collect();
        assert_eq!(chosen, [Choice::Place(0), Choice::Place(1), Choice::Place(2)]);
    }
}
