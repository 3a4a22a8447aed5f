//! When to probe which neighbour; pure, time is handed in.
//!
//! A known neighbour is confirmed every 15 to 25 seconds, each at its own pace so that thousands do not fall together. One that is
//! lost is asked for at once, then less and less often while nobody answers.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use super::table::{Standing, Target};

/// What to do about a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// Ask the known MAC whether it still is.
    Confirm,
    /// Ask everybody on the link.
    Resolve,
}

/// The turns of all targets.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    turns: HashMap<Target, Turn>,
}

#[derive(Debug)]
struct Turn {
    due: Instant,
    standing: Standing,
    /// Probes since the neighbour was last known.
    unanswered: u32,
}

impl Schedule {
    /// Replaces the targets; those whose standing says so are due at once.
    pub(super) fn update(&mut self, targets: impl Iterator<Item = (Target, Standing)>, now: Instant) {
        let mut before = std::mem::take(&mut self.turns);
        self.turns = targets.map(|(target, standing)| (target, Turn::follow(before.remove(&target), target, standing, now))).collect();
    }

    /// Returns the probes that are due, and plans the next of each.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Target, Probe)> {
        let due = self.turns.iter_mut().filter(|(_, turn)| turn.due <= now);
        due.filter_map(|(&target, turn)| Some((target, turn.take(target, now)?))).collect()
    }

    /// Returns when the next probe is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.turns.values().map(|turn| turn.due).min()
    }
}

impl Turn {
    fn follow(before: Option<Self>, target: Target, standing: Standing, now: Instant) -> Self {
        let fresh = |due| Self { due, standing, unanswered: 0 };
        match (before, standing) {
            (Some(turn), Standing::Unresolved | Standing::Failed) if turn.is_lost() => Self { standing, ..turn },
            (Some(turn), Standing::Fixed | Standing::Fresh | Standing::Probing | Standing::Stale) if !turn.is_lost() => {
                Self { standing, ..turn }
            }
            (_, Standing::Fixed | Standing::Fresh | Standing::Probing) => fresh(now + pace(target)),
            (_, Standing::Stale | Standing::Unresolved | Standing::Failed) => fresh(now),
        }
    }

    fn is_lost(&self) -> bool {
        matches!(self.standing, Standing::Unresolved | Standing::Failed)
    }

    fn take(&mut self, target: Target, now: Instant) -> Option<Probe> {
        if self.is_lost() {
            self.due = now + FIRST_RETRY.saturating_mul(1 << self.unanswered.min(MAX_DOUBLINGS));
            self.unanswered += 1;
            return Some(Probe::Resolve);
        }
        self.due = now + pace(target);
        (self.standing != Standing::Fixed).then_some(Probe::Confirm)
    }
}

/// Returns the time between two confirmations of a target, which is its own.
fn pace(target: Target) -> Duration {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    SHORTEST_PACE + Duration::from_millis(hasher.finish() % 10_000)
}

const SHORTEST_PACE: Duration = Duration::from_secs(15);
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Leads to 16 seconds between attempts, each of which is three requests of the kernel.
const MAX_DOUBLINGS: u32 = 4;

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::Ipv4Addr};

    use super::*;

    fn target(host: u32) -> Target {
        Target { ifindex: 2, address: Ipv4Addr::from_bits(0x0a00_0000 + host).into() }
    }

    fn one(schedule: &mut Schedule, standing: Standing, now: Instant) {
        schedule.update([(target(1), standing)].into_iter(), now);
    }

    #[test]
    fn known_neighbor_is_confirmed_at_its_pace() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        one(&mut schedule, Standing::Fresh, start);
        let mut now = start;
        for _ in 0..3 {
            let next = schedule.next().unwrap();
            let wait = next - now;
            assert!((Duration::from_secs(15)..Duration::from_secs(25)).contains(&wait), "{wait:?}");
            assert_eq!(schedule.due(next - Duration::from_millis(1)), []);
            assert_eq!(schedule.due(next), [(target(1), Probe::Confirm)]);
            now = next;
        }
    }

    #[test]
    fn stale_neighbor_is_confirmed_at_once_and_once() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        one(&mut schedule, Standing::Stale, start);
        assert_eq!(schedule.due(start), [(target(1), Probe::Confirm)]);
        one(&mut schedule, Standing::Stale, start);
        assert_eq!(schedule.due(start), []);
    }

    #[test]
    fn fixed_neighbor_is_left_alone() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        one(&mut schedule, Standing::Fixed, start);
        assert_eq!(schedule.due(start + Duration::from_secs(100)), []);
    }

    #[test]
    fn lost_neighbor_is_asked_for_at_once_and_then_ever_more_rarely() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        one(&mut schedule, Standing::Fresh, start);
        one(&mut schedule, Standing::Failed, start);
        let mut waits = Vec::new();
        let mut now = start;
        for standing in [Standing::Unresolved, Standing::Failed].repeat(4) {
            assert_eq!(schedule.due(now), [(target(1), Probe::Resolve)]);
            one(&mut schedule, standing, now);
            let next = schedule.next().unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16, 16]);
        one(&mut schedule, Standing::Fresh, now);
        assert_eq!(schedule.due(now), [], "it was found");
        one(&mut schedule, Standing::Unresolved, now);
        assert_eq!(schedule.due(now), [(target(1), Probe::Resolve)], "lost again, it starts over");
    }

    #[test]
    fn forgotten_neighbor_is_not_probed() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        one(&mut schedule, Standing::Stale, start);
        schedule.update(std::iter::empty(), start);
        assert_eq!((schedule.due(start), schedule.next()), (vec![], None));
    }

    #[test]
    fn paces_are_spread() {
        let paces: HashSet<u64> = (0..1000).map(|host| pace(target(host)).as_secs()).collect();
        assert_eq!(paces.len(), 10);
    }
}
