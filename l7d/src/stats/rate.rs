//! How fast something is counted: over the last second, and at most.

use std::time::{Duration, Instant};

/// How fast a counter grows, reckoned from looking at it about once a second.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// When the counter was last looked at, and what it was.
    seen: Option<(Instant, u64)>,
    /// Growth in the second before that.
    before: u64,
    most: u64,
}

impl Rate {
    pub(super) const fn new() -> Self {
        Self { seen: None, before: 0, most: 0 }
    }

    /// Looks at the counter.
    pub(super) fn tick(&mut self, count: u64, now: Instant) {
        let (since, from) = *self.seen.get_or_insert((now, count));
        let elapsed = now.saturating_duration_since(since);
        if elapsed < SECOND {
            return;
        }
        let growth = (u128::from(count.saturating_sub(from)) * SECOND.as_nanos() + elapsed.as_nanos() / 2) / elapsed.as_nanos();
        self.before = u64::try_from(growth).unwrap_or(u64::MAX);
        self.most = self.most.max(self.before);
        self.seen = Some((now, count));
    }

    /// Returns the growth over the last second: what came since the last look, and the rest from the second before it.
    pub(super) fn last_second(&self, count: u64, now: Instant) -> u64 {
        let Some((since, from)) = self.seen else { return count };
        let left = SECOND.saturating_sub(now.saturating_duration_since(since));
        let rest = u128::from(self.before) * left.as_nanos() / SECOND.as_nanos();
        count.saturating_sub(from) + u64::try_from(rest).unwrap_or(u64::MAX)
    }

    /// Returns the fastest growth, the present included.
    pub(super) fn most(&self, count: u64, now: Instant) -> u64 {
        self.most.max(self.last_second(count, now))
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_reckoned_by_the_second() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut rate = Rate::default();
        rate.tick(0, at(0));
        assert_eq!(rate.last_second(40, at(500)), 40);
        rate.tick(100, at(1000));
        assert_eq!((rate.last_second(100, at(1000)), rate.last_second(100, at(1250)), rate.last_second(110, at(1500))), (100, 75, 60));
        rate.tick(100, at(3000));
        assert_eq!((rate.last_second(100, at(3000)), rate.most(100, at(3000))), (0, 100));
        rate.tick(500, at(5000));
        assert_eq!(rate.most(500, at(5000)), 200, "a late look counts for the time that passed");
    }
}
