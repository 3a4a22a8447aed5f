//! How long exchanges take: counts by length, of which the percentiles of the last minute are made.
//!
//! The lengths a bucket is for grow with it, ten buckets to each power of ten, so that what is told is at most a fifth too much or too
//! little, whether an exchange takes a millisecond or a minute. Each thread counts in buckets of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What one thread has counted.
#[derive(Debug)]
pub(super) struct Latency {
    buckets: [AtomicU64; COUNT],
    /// Of all lengths, in microseconds.
    sum: AtomicU64,
}

/// What was counted up to a moment, or since one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lengths {
    buckets: [u64; COUNT],
    sum: u64,
}

/// What was counted up to two moments, so that what came since is known for at least half a minute.
#[derive(Debug, Default)]
pub(super) struct Recent {
    newer: Option<(Instant, Box<Lengths>)>,
    older: Option<Box<Lengths>>,
}

impl Latency {
    pub(super) const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; COUNT], sum: AtomicU64::new(0) }
    }

    /// Counts an exchange of this length in microseconds; only one thread may.
    pub(super) fn note(&self, length: u64) {
        let add = |counter: &AtomicU64, count: u64| counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
        add(&self.buckets[BOUNDS.partition_point(|bound| *bound < length)], 1);
        add(&self.sum, length);
    }

    /// Puts what is known in place of what was counted.
    pub(super) fn set(&self, lengths: &Lengths) {
        self.buckets.iter().zip(&lengths.buckets).for_each(|(counter, count)| counter.store(*count, Relaxed));
        self.sum.store(lengths.sum, Relaxed);
    }

    /// Adds what was counted.
    pub(super) fn add_to(&self, lengths: &mut Lengths) {
        lengths.buckets.iter_mut().zip(&self.buckets).for_each(|(count, counter)| *count = count.wrapping_add(counter.load(Relaxed)));
        lengths.sum = lengths.sum.wrapping_add(self.sum.load(Relaxed));
    }
}

impl Lengths {
    pub(super) const fn none() -> Self {
        Self { buckets: [0; COUNT], sum: 0 }
    }

    /// Returns what came after `earlier`.
    pub(super) fn since(mut self, earlier: &Self) -> Self {
        self.buckets.iter_mut().zip(&earlier.buckets).for_each(|(count, before)| *count = count.wrapping_sub(*before));
        self.sum = self.sum.wrapping_sub(earlier.sum);
        self
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of their lengths, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        Duration::from_micros(self.sum).as_secs_f64()
    }

    /// Returns the length in microseconds that so many of a hundred do not exceed; none if there are none.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (u128::from(count) * u128::from(percent)).div_ceil(100);
        let mut before = 0;
        for (place, counted) in self.buckets.iter().enumerate() {
            let behind = before + u128::from(*counted);
            if behind >= rank {
                let low = place.checked_sub(1).map_or(0, |place| BOUNDS[place]);
                let high = *BOUNDS.get(place).unwrap_or(&low);
                // As if those of one bucket were spread evenly.
                let part = u128::from(high - low) * (rank - before) / u128::from(*counted).max(1);
                return Some(low + u64::try_from(part).unwrap_or(0));
            }
            before = behind;
        }
        None
    }

    /// Returns how many do not exceed each of a few lengths in seconds, as written.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STEPS.iter().map(|(text, most)| {
            let end = BOUNDS.partition_point(|bound| bound <= most);
            (*text, self.buckets[..end].iter().sum())
        })
    }
}

impl Recent {
    /// Takes note of a moment.
    pub(super) fn tick(&mut self, now: Instant, all: impl FnOnce() -> Lengths) {
        if self.newer.as_ref().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= HALF) {
            self.older = self.newer.take().map(|(_, lengths)| lengths);
            self.newer = Some((now, Box::new(all())));
        }
    }

    /// Returns what came in the last minute, or half of it.
    pub(super) fn of(&self, all: Lengths) -> Lengths {
        match &self.older {
            Some(older) => all.since(older),
            None => all,
        }
    }
}

/// The longest lengths of the buckets, in microseconds; in the last one is what is longer.
const BOUNDS: [u64; COUNT - 1] = bounds();
const COUNT: usize = 62;
const HALF: Duration = Duration::from_secs(30);

const fn bounds() -> [u64; COUNT - 1] {
    let parts = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];
    let mut bounds = [0; COUNT - 1];
    let (mut place, mut unit) = (0, 10);
    while place < bounds.len() {
        bounds[place] = parts[place % 10] * unit;
        place += 1;
        if place % 10 == 0 {
            unit *= 10;
        }
    }
    bounds
}

/// What a scrape tells of: lengths as text in seconds, and in microseconds, each of which is a bound.
const STEPS: [(&str, u64); 14] = [
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(noted: impl IntoIterator<Item = u64>) -> Lengths {
        let (latency, mut lengths) = (Latency::new(), Lengths::none());
        noted.into_iter().for_each(|length| latency.note(length));
        latency.add_to(&mut lengths);
        lengths
    }

    #[test]
    fn every_step_is_a_bound() {
        assert!(
            BOUNDS.is_sorted()
                && STEPS.iter().all(|(text, most)| {
                    BOUNDS.contains(most)
                        && text
                            .parse::<f64>()
                            .is_ok_and(|seconds| (seconds * 1e6 - Duration::from_micros(*most).as_secs_f64() * 1e6).abs() < 0.1)
                })
        );
        assert_eq!((BOUNDS[0], BOUNDS[COUNT - 2]), (100, 100_000_000));
    }

    #[test]
    fn percentiles_are_near_what_was_noted() {
        assert_eq!(lengths([]).percentile(50), None);
        let thousand = lengths((1..=1000).map(|number| number * 1000));
        for percent in [1, 10, 50, 95, 99, 100] {
            let (told, true_one) = (thousand.percentile(percent).unwrap(), percent * 10_000);
            assert!(told.abs_diff(true_one) * 5 <= true_one, "{percent}: {told}");
        }
        assert_eq!(lengths([u64::MAX / 2]).percentile(50), Some(100_000_000), "the longest there is a bucket for");
        assert_eq!(thousand.steps().last(), Some(("10", 1000)));
        assert_eq!(thousand.steps().find(|(text, _)| *text == "0.1"), Some(("0.1", 100)));
        assert!((thousand.seconds() - 500.5).abs() < 1e-6 && thousand.count() == 1000);
    }

    #[test]
    fn only_the_last_minute_counts() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        let all = lengths([1000; 10]);
        assert_eq!(recent.of(all.clone()), all);
        for seconds in [0, 1, 29] {
            recent.tick(now + Duration::from_secs(seconds), || all.clone());
        }
        assert_eq!(recent.of(all.clone()), all, "not yet half a minute");
        recent.tick(now + HALF, || all.clone());
        assert_eq!(recent.of(all.clone()).count(), 0);
    }
}
