//! Which server takes a connection or request.
//!
//! Pure: who may be chosen, how loaded they are, whose turn it is and what is drawn at random are handed in. Whether a server is
//! usable is the fleet's knowledge; waiting for a full one is left to [`crate::queue`].

mod bound;
mod consistent;
mod hash;
mod key;
mod least_conn;
mod random;
mod schedule;

pub(crate) use bound::Bound;
pub(crate) use hash::{Hasher, spread};
pub(crate) use key::{Expression, Seen, Subject};
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
    /// By the remainder of a key; in turn where there is none.
    Map,
    /// By a key, so that only the share of a server moves when it comes or goes; in turn where there is none.
    Consistent(Option<Bound>),
    /// The least loaded of so many drawn at random.
    Random(u32, Option<Bound>),
}

/// A server that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its place in the backend.
    pub(crate) place: usize,
    /// Its share of the traffic; never 0.
    pub(crate) weight: u32,
    /// Connections it serves now, and those that wait for it alone.
    pub(crate) busy: u32,
    /// Whether it takes one more.
    pub(crate) room: Room,
    /// What tells it from the others when keys find their servers.
    pub(crate) seed: u64,
}

/// Whether a server takes one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It does.
    Free,
    /// It is at its limit; whoever needs it waits for it.
    Full,
    /// It is at its limit, and there is room in the short queue it has.
    Queueing,
    /// It is at its limit, and so is its queue.
    Shut,
}

/// What a choice may depend on beside the candidates.
#[derive(Debug)]
pub(crate) struct Inputs<T, R> {
    /// What the choice sticks to, hashed; none where the request has nothing of it.
    pub(crate) key: Option<u32>,
    /// Counts the choices made for this backend; asked only where that matters.
    pub(crate) turn: T,
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
    pub(crate) fn choose(
        self,
        candidates: &[Candidate],
        schedule: &mut Schedule,
        inputs: Inputs<impl FnOnce() -> u32, impl FnMut(u32) -> u32>,
    ) -> Choice {
        if candidates.is_empty() {
            return Choice::None;
        }
        let free = |candidate: &&Candidate| candidate.room == Room::Free;
        let open = |candidate: &&Candidate| candidate.room != Room::Shut;
        let chosen = match (self, inputs.key) {
            (Self::LeastConn, _) => {
                // A queue that is kept short is as good as a slot.
                let will_do = |candidate: &&Candidate| matches!(candidate.room, Room::Free | Room::Queueing);
                least_conn::least(rotated(candidates, (inputs.turn)()).filter(will_do))
            }
            (Self::First, _) => candidates.iter().find(free),
            (Self::Random(draws, bound), _) => {
                let ceiling = bound.map(|bound| bound.ceiling(candidates));
                let within = |candidate: &&Candidate| free(candidate) && ceiling.is_none_or(|ceiling| ceiling.admits(candidate));
                random::best_of(candidates, draws, within, inputs.draw).or_else(|| least_conn::least(candidates.iter().filter(free)))
            }
            (Self::Map, Some(key)) => schedule.of(candidates).from(key).map(|at| &candidates[at]).find(open),
            (Self::Consistent(bound), Some(key)) => {
                let ceiling = bound.map(|bound| bound.ceiling(candidates));
                let within = |candidate: &&Candidate| ceiling.is_none_or(|ceiling| ceiling.admits(candidate));
                consistent::owner(candidates.iter().filter(open).filter(within), key)
                    .or_else(|| consistent::owner(candidates.iter().filter(open), key))
            }
            (Self::RoundRobin, _) | (Self::Map | Self::Consistent(_), None) => {
                schedule.of(candidates).from((inputs.turn)()).map(|at| &candidates[at]).find(free)
            }
        };
        chosen.map_or(Choice::WaitForAny, Candidate::choice)
    }
}

impl Candidate {
    fn choice(&self) -> Choice {
        if self.room == Room::Free { Choice::Place(self.place) } else { Choice::Wait(self.place) }
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
        let candidate = |(place, weight): (usize, &u32)| {
            let seed = spread(format!("s{place}").as_bytes());
            Candidate { place, weight: *weight, busy: 0, room: Room::Free, seed }
        };
        weights.iter().enumerate().map(candidate).collect()
    }

    const ALL: [Balance; 8] = [
        Balance::RoundRobin,
        Balance::LeastConn,
        Balance::First,
        Balance::Map,
        Balance::Consistent(None),
        Balance::Consistent(Some(Bound::new(150))),
        Balance::Random(2, None),
        Balance::Random(2, Some(Bound::new(150))),
    ];

    fn choose(balance: Balance, servers: &[Candidate], key: Option<u32>, turn: u32) -> Choice {
        let inputs = Inputs { key, turn: || turn, draw: |below| turn % below };
        balance.choose(servers, &mut Schedule::default(), inputs)
    }

    #[test]
    fn nothing_to_choose_from_is_no_choice() {
        for balance in ALL {
            assert_eq!(choose(balance, &[], Some(0), 0), Choice::None);
        }
    }

    #[test]
    fn full_servers_are_stepped_over_where_nothing_sticks() {
        let mut servers = candidates(&[1, 1, 1]);
        servers[0].room = Room::Full;
        for balance in ALL {
            for turn in 0..9 {
                let choice = choose(balance, &servers, None, turn);
                assert!(matches!(choice, Choice::Place(1 | 2)), "{balance:?} {turn} {choice:?}");
            }
        }
        servers.iter_mut().for_each(|server| server.room = Room::Full);
        for balance in ALL {
            assert_eq!(choose(balance, &servers, None, 1), Choice::WaitForAny, "{balance:?}");
        }
    }

    #[test]
    fn key_waits_for_its_own_server() {
        for balance in [Balance::Map, Balance::Consistent(None)] {
            let mut servers = candidates(&[1, 1]);
            for key in 0..20 {
                let Choice::Place(place) = choose(balance, &servers, Some(key), 0) else { panic!("{balance:?} {key}") };
                servers[place].room = Room::Full;
                assert_eq!(choose(balance, &servers, Some(key), 1), Choice::Wait(place));
                servers[place].room = Room::Queueing;
                assert_eq!(choose(balance, &servers, Some(key), 1), Choice::Wait(place));
                servers[place].room = Room::Shut;
                assert_eq!(choose(balance, &servers, Some(key), 1), Choice::Place(1 - place), "{balance:?}: too many wait for it");
                servers[place].room = Room::Free;
            }
            servers.iter_mut().for_each(|server| server.room = Room::Shut);
            assert_eq!(choose(balance, &servers, Some(1), 1), Choice::WaitForAny);
        }
    }

    #[test]
    fn remainder_of_the_key_is_the_place_in_the_map() {
        let servers = candidates(&[7, 7, 7]);
        for key in [0, 1, 2, 3, 4_294_967_295] {
            assert_eq!(choose(Balance::Map, &servers, Some(key), 0), Choice::Place(key as usize % 3));
        }
    }

    #[test]
    fn server_above_the_average_sends_keys_on() {
        let mut servers = candidates(&[1, 1, 1]);
        let balance = Balance::Consistent(Some(Bound::new(150)));
        let Choice::Place(place) = choose(balance, &servers, Some(7), 0) else { panic!("all are free") };
        servers[place].busy = 1;
        assert_ne!(choose(balance, &servers, Some(7), 0), Choice::Place(place), "one of two is more than half as much again");
        servers.iter_mut().for_each(|server| server.busy = 10);
        assert_eq!(choose(balance, &servers, Some(7), 0), Choice::Place(place));
    }

    #[test]
    fn least_connections_fill_short_queues_too() {
        let mut servers = candidates(&[1, 1]);
        (servers[0].busy, servers[0].room) = (3, Room::Queueing);
        (servers[1].busy, servers[1].room) = (4, Room::Full);
        assert_eq!(choose(Balance::LeastConn, &servers, None, 0), Choice::Wait(0));
        servers[0].room = Room::Shut;
        assert_eq!(choose(Balance::LeastConn, &servers, None, 0), Choice::WaitForAny);
    }

    #[test]
    fn first_fills_servers_in_order() {
        let mut servers = candidates(&[1, 100]);
        assert_eq!(choose(Balance::First, &servers, None, 7), Choice::Place(0));
        servers[0].room = Room::Full;
        assert_eq!(choose(Balance::First, &servers, None, 7), Choice::Place(1));
    }

    #[test]
    fn ties_of_least_conn_go_round() {
        let servers = candidates(&[1, 1, 1]);
        let chosen: Vec<Choice> = (0..3).map(|turn| choose(Balance::LeastConn, &servers, None, turn)).collect();
        assert_eq!(chosen, [Choice::Place(0), Choice::Place(1), Choice::Place(2)]);
    }
}
