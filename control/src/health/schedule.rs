//! When each target is probed next; pure, over a clock that is handed in.
//!
//! Targets join in groups: at start all of them, after a reload the new ones. A group's first probes are spread evenly over at most
//! a second, so that a new daemon soon knows its servers; its second probes are placed evenly over the whole interval, which keeps
//! the load flat from then on. After that the time from the start of one probe to the start of the next is the interval, give or
//! take the configured spread, however long the probe took.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Names something to be probed, for as long as it is in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Target(pub(super) u64);

/// The next probe of every target.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Waiting targets by time, then by name, so that equal runs are equal.
    queue: BTreeSet<(Instant, Target)>,
    slots: HashMap<Target, Slot>,
    /// By how many percent an interval varies, either way.
    spread: u8,
    /// All first probes of a group begin within this time, and within the target's interval.
    first_window: Duration,
    random: fastrand::Rng,
}

#[derive(Debug, Default)]
struct Slot {
    /// When the target is due; `None` while it is being probed.
    due: Option<Instant>,
    /// Where in its interval the target belongs; used up by the second probe.
    place: Option<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    joined: Instant,
    /// Part of the interval, from 0 to 1.
    part: f64,
}

impl Schedule {
    /// Returns an empty schedule whose intervals vary by `spread` percent.
    pub(super) fn new(spread: u8, random: fastrand::Rng) -> Self {
        Self { queue: BTreeSet::new(), slots: HashMap::new(), spread, first_window: FIRST_WINDOW, random }
    }

    /// Bounds the time between the first probes of a group.
    pub(super) fn set_first_window(&mut self, most: Option<Duration>) {
        self.first_window = most.map_or(FIRST_WINDOW, |most| most.min(FIRST_WINDOW));
    }

    /// Changes by how many percent the intervals vary.
    pub(super) fn set_spread(&mut self, spread: u8) {
        self.spread = spread;
    }

    /// Adds targets with their usual intervals.
    pub(super) fn join(&mut self, group: &[(Target, Duration)], now: Instant) {
        let size = u32::try_from(group.len()).unwrap_or(u32::MAX);
        for (rank, (target, interval)) in (0..size).zip(group) {
            let window = self.first_window.min(*interval).min(FIRST_STEP.saturating_mul(size));
            let first = now + window.mul_f64(f64::from(rank) / f64::from(size));
            let place = Place { joined: now, part: (f64::from(rank) + self.random.f64()) / f64::from(size) };
            self.slots.insert(*target, Slot { due: None, place: Some(place) });
            self.put(*target, first);
        }
    }

    /// Removes a target, whether it is waiting or being probed.
    pub(super) fn leave(&mut self, target: Target) {
        if let Some(Slot { due: Some(due), .. }) = self.slots.remove(&target) {
            self.queue.remove(&(due, target));
        }
    }

    /// Returns when the next target is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Takes out the target that has been due longest, to be probed now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Target> {
        let (_, target) = *self.queue.first().filter(|(due, _)| *due <= now)?;
        self.queue.pop_first();
        self.slots.get_mut(&target).expect("whatever waits has a slot").due = None;
        Some(target)
    }

    /// Puts a target back whose last probe began at `started`; does nothing for one that left.
    pub(super) fn again(&mut self, target: Target, started: Instant, interval: Duration) {
        let Some(slot) = self.slots.get_mut(&target) else { return };
        let interval = interval.clamp(SHORTEST, LONGEST);
        let due = match slot.place.take() {
            Some(place) => place.first_after(started, interval),
            None => {
                let spread = f64::from(self.spread) / 100.0;
                started + interval.mul_f64(1.0 + spread * (2.0 * self.random.f64() - 1.0))
            }
        };
        self.put(target, due);
    }

    /// Makes a target due at `now`; does nothing for one that left.
    pub(super) fn hasten(&mut self, target: Target, now: Instant) {
        if self.slots.contains_key(&target) {
            self.put(target, now);
        }
    }

    /// Makes a target due at `due` if it waits for later; one that is being probed is not touched.
    pub(super) fn advance(&mut self, target: Target, due: Instant) {
        if self.slots.get(&target).and_then(|slot| slot.due).is_some_and(|later| later > due) {
            self.put(target, due);
        }
    }

    fn put(&mut self, target: Target, due: Instant) {
        let slot = self.slots.entry(target).or_default();
        if let Some(old) = slot.due.replace(due) {
            self.queue.remove(&(old, target));
        }
        self.queue.insert((due, target));
    }
}

impl Place {
    /// Returns the first time after `started` that lies at this place of its interval.
    fn first_after(self, started: Instant, interval: Duration) -> Instant {
        let place = interval.mul_f64(self.part);
        let passed = started.saturating_duration_since(self.joined + place);
        let behind = if started < self.joined + place { 0 } else { passed.as_nanos() / interval.as_nanos() + 1 };
        self.joined + place + interval.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX))
    }
}

/// All first probes of a group begin within this time.
const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// First probes of a small group follow each other this closely.
const FIRST_STEP: Duration = Duration::from_millis(2);

/// Bounds of the interval, whatever the configuration says: no busy loop, no overflow of the clock.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::InitState;
    use crate::server_state::{Admin, Phase, ServerState, Settings, Status, Thresholds, Verdict};

    const SERVERS: u64 = 5000;
    const INTERVAL: Duration = Duration::from_secs(2);

    fn schedule(spread: u8) -> Schedule {
        Schedule::new(spread, fastrand::Rng::with_seed(7))
    }

    fn group(size: u64, interval: Duration) -> Vec<(Target, Duration)> {
        (0..size).map(|name| (Target(name), interval)).collect()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Runs probes that take no time, until `length` has passed, and returns when each began.
    fn run(schedule: &mut Schedule, start: Instant, length: Duration) -> Vec<(Duration, Target)> {
        let mut starts = Vec::new();
        while let Some(now) = schedule.next_due().filter(|due| *due < start + length) {
            let target = schedule.pop(now).expect("the announced target is there");
            starts.push((now - start, target));
            schedule.again(target, now, INTERVAL);
        }
        starts
    }

    /// Returns the most starts in any tenth of a second between two times.
    fn busiest(starts: &[(Duration, Target)], from: Duration, to: Duration) -> usize {
        let mut tenths = HashMap::new();
        for (at, _) in starts.iter().filter(|(at, _)| (from..to).contains(at)) {
            *tenths.entry(at.as_millis() / 100).or_insert(0) += 1;
        }
        tenths.into_values().max().unwrap_or_default()
    }

    #[test]
    fn five_thousand_servers_make_no_bursts() {
        let average = usize::try_from(SERVERS).unwrap() / 20;
        for (spread, most) in [(0, average * 11 / 10), (5, average * 13 / 10), (50, average * 13 / 10)] {
            let (mut schedule, start) = (schedule(spread), Instant::now());
            schedule.join(&group(SERVERS, INTERVAL), start);
            let starts = run(&mut schedule, start, ms(60_000));
            assert!(busiest(&starts, ms(0), ms(1000)) <= 4 * average, "first probes and the second probes of those that were early");
            let later = busiest(&starts, ms(3000), ms(60_000));
            assert!(later <= most, "spread {spread}: {later} starts in a tenth of a second");
            assert!(starts.is_sorted_by_key(|(at, _)| *at));
        }
    }

    #[test]
    fn every_server_is_probed_within_the_first_second_and_then_in_its_interval() {
        let (mut schedule, start) = (schedule(10), Instant::now());
        schedule.join(&group(SERVERS, INTERVAL), start);
        let mut last = HashMap::new();
        for (at, target) in run(&mut schedule, start, ms(20_000)) {
            let probes: &mut Vec<Duration> = last.entry(target).or_default();
            probes.push(at);
        }
        for name in 0..SERVERS {
            let probes = &last[&Target(name)];
            assert!(probes[0] < ms(1000));
            assert!(probes[1] - probes[0] <= INTERVAL);
            for pair in probes[1..].windows(2) {
                assert!((ms(1800)..=ms(2200)).contains(&(pair[1] - pair[0])), "{pair:?}");
            }
        }
    }

    #[test]
    fn first_probes_of_few_or_fast_servers_come_at_once() {
        let start = Instant::now();
        for (size, interval, window) in [(1, INTERVAL, ms(1)), (3, INTERVAL, ms(6)), (1000, ms(20), ms(20))] {
            let mut schedule = schedule(0);
            schedule.join(&group(size, interval), start);
            let due: Vec<_> = std::iter::from_fn(|| schedule.pop(start + window)).collect();
            assert_eq!(due.len(), usize::try_from(size).unwrap());
            assert_eq!(schedule.next_due(), None);
        }
    }

    #[test]
    fn first_probes_come_within_the_bound_that_is_set() {
        let (mut schedule, start) = (schedule(0), Instant::now());
        schedule.set_first_window(Some(ms(50)));
        schedule.join(&group(1000, INTERVAL), start);
        let due = std::iter::from_fn(|| schedule.pop(start + ms(50))).count();
        assert_eq!((due, schedule.next_due()), (1000, None));
    }

    #[test]
    fn who_is_suspected_is_probed_sooner_but_not_twice_at_a_time() {
        let (mut schedule, start) = (schedule(0), Instant::now());
        schedule.join(&group(1, INTERVAL), start);
        let target = schedule.pop(start).unwrap();
        schedule.advance(target, start);
        assert_eq!(schedule.next_due(), None, "it is being probed");
        schedule.again(target, start, INTERVAL);
        schedule.advance(target, start + ms(10));
        assert_eq!(schedule.next_due(), Some(start + ms(10)));
        schedule.advance(target, start + ms(20));
        assert_eq!(schedule.next_due(), Some(start + ms(10)), "never later");
    }

    #[test]
    fn longest_due_goes_first_and_only_once_due() {
        let (mut schedule, start) = (schedule(0), Instant::now());
        schedule.join(&group(3, INTERVAL), start);
        (0..3).for_each(|name| schedule.hasten(Target(name), start + ms(30 - 10 * name)));
        assert_eq!(schedule.pop(start + ms(9)), None);
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop(start + ms(100))).collect();
        assert_eq!(order, [Target(2), Target(1), Target(0)]);
    }

    #[test]
    fn target_that_left_never_returns() {
        let (mut schedule, start) = (schedule(0), Instant::now());
        schedule.join(&group(2, INTERVAL), start);
        let probed = schedule.pop(start).unwrap();
        schedule.leave(probed);
        schedule.again(probed, start, INTERVAL);
        schedule.hasten(probed, start);
        let waiting = schedule.pop(start + INTERVAL).unwrap();
        assert_ne!(waiting, probed);
        schedule.again(waiting, start, INTERVAL);
        schedule.leave(waiting);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn slow_probe_does_not_stretch_the_interval() {
        let (mut schedule, start) = (schedule(0), Instant::now());
        schedule.join(&group(1, INTERVAL), start);
        let target = schedule.pop(start).unwrap();
        schedule.again(target, start, INTERVAL);
        let second = schedule.next_due().unwrap();
        schedule.pop(second).unwrap();
        // The probe ends after one and a half seconds; the next is counted from its start.
        schedule.again(target, second, INTERVAL);
        assert_eq!(schedule.next_due(), Some(second + INTERVAL));
    }

    /// Returns how long a server that dies after `alive` stays up, when every probe of it then takes `timeout` to fail.
    fn time_to_detect(settings: Settings, intervals: [Duration; 3], timeout: Duration, alive: Duration) -> Duration {
        let (mut schedule, start) = (schedule(0), Instant::now());
        let mut state = ServerState::new(settings, start);
        schedule.join(&[(Target(0), intervals[0])], start);
        loop {
            let due = schedule.next_due().expect("the target waits");
            let target = schedule.pop(due).expect("the target is due");
            let dead = due >= start + alive;
            let now = if dead { due + timeout } else { due };
            state.on_check(if dead { Verdict::Fail } else { Verdict::Pass }, now);
            if state.status() == Status::Down {
                return now - (start + alive);
            }
            let interval = match state.phase() {
                Phase::Up => intervals[0],
                Phase::Transition => intervals[1],
                Phase::Down => intervals[2],
            };
            schedule.again(target, due.max(now - interval), interval);
        }
    }

    proptest! {
        #[test]
        fn death_is_noticed_within_fall_intervals_and_a_timeout(
            fall in 1_u32..6, interval in 100_u64..5000, fast in 1_u64..=100, timeout in 1_u64..=100, alive in 0_u64..30_000,
        ) {
            let (interval, alive) = (ms(interval), ms(alive));
            let (fast, timeout) = (interval * u32::try_from(fast).unwrap() / 100, interval * u32::try_from(timeout).unwrap() / 100);
            let thresholds = Some(Thresholds { rise: 2, fall });
            let settings = Settings { weight: 1, slowstart: Duration::ZERO, thresholds, admin: Admin::Ready, is_resolved: true, init: InitState::Up };
            let took = time_to_detect(settings, [interval, fast, interval], timeout, alive);
            // While probes time out one after the other, the interval cannot be shorter than the timeout.
            prop_assert!(took <= interval + fast.max(timeout) * (fall - 1) + timeout, "{took:?}");
        }
    }
}
