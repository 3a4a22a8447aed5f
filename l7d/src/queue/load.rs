//! How much one server carries, and may.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use control::server_state::WEIGHT_SCALE;

/// Tells the load of one server from all others the process ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LoadId(u64);

/// How much one server carries.
#[derive(Debug)]
pub(crate) struct Load {
    id: LoadId,
    active: AtomicU32,
    /// How many wait for this server alone; written under the lock of their line.
    waiting: AtomicU32,
    /// How many did at most.
    longest: AtomicU32,
    /// Most connections at a time; `u32::MAX` for no limit.
    most: AtomicU32,
    /// Most connections while the backend is idle; `most` unless that depends on the backend's load.
    least: AtomicU32,
    /// Most waiters; `u32::MAX` for no limit.
    most_waiting: AtomicU32,
    /// How much of its full load it takes, in units of 1/`WEIGHT_SCALE`; 0 while it is not to be chosen.
    share: AtomicU32,
}

/// What one server may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// Most connections at a time.
    pub(crate) most: Option<u32>,
    /// Most connections while the backend is idle, if fewer.
    pub(crate) least: Option<u32>,
    /// Most that wait for it alone.
    pub(crate) waiting: Option<u32>,
}

impl Load {
    /// Returns an idle server with these limits.
    pub(crate) fn new(limits: Limits) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let load = Self {
            id: LoadId(NEXT.fetch_add(1, SeqCst)),
            active: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            longest: AtomicU32::new(0),
            most: AtomicU32::new(NONE),
            least: AtomicU32::new(NONE),
            most_waiting: AtomicU32::new(NONE),
            share: AtomicU32::new(WEIGHT_SCALE),
        };
        load.set_limits(limits);
        load
    }

    /// Returns the id, under which other things of the same server are kept.
    pub(crate) fn id(&self) -> LoadId {
        self.id
    }

    /// Changes the limits; who is already served or waits stays.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let most = limits.most.unwrap_or(NONE);
        self.most.store(most, SeqCst);
        self.least.store(limits.least.unwrap_or(most), SeqCst);
        self.most_waiting.store(limits.waiting.unwrap_or(NONE), SeqCst);
    }

    /// Returns how many connections the server serves.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(SeqCst)
    }

    /// Returns how many wait for this server alone.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Returns how many more connections it takes; none for any number.
    pub(crate) fn free(&self) -> Option<u32> {
        let most = self.most.load(SeqCst);
        (most != NONE).then(|| most.saturating_sub(self.active()))
    }

    /// Returns how many more may wait for it; none for any number.
    pub(crate) fn free_to_wait(&self) -> Option<u32> {
        self.most_waiting().map(|most| most.saturating_sub(self.waiting()))
    }

    /// Returns how many waited at most.
    pub(crate) fn longest(&self) -> u32 {
        self.longest.load(SeqCst)
    }

    /// Returns how many may.
    pub(super) fn most_waiting(&self) -> Option<u32> {
        Some(self.most_waiting.load(SeqCst)).filter(|most| *most != NONE)
    }

    pub(super) fn set_waiting(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(NONE);
        self.waiting.store(count, SeqCst);
        self.longest.fetch_max(count, SeqCst);
    }

    /// Returns the share before.
    pub(super) fn set_share(&self, share: u32) -> u32 {
        self.share.swap(share, SeqCst)
    }

    /// Tells whether the server may be chosen.
    pub(super) fn is_admitted(&self) -> bool {
        self.share.load(SeqCst) > 0
    }

    /// Returns how many connections it may have: between its two limits as the backend's connections are to their full number, and of
    /// that no more than a slow start allows, but always one.
    pub(super) fn limit(&self, part: Option<(u32, u32)>) -> u32 {
        let most = self.most.load(SeqCst);
        if most == NONE {
            return NONE;
        }
        let of = |whole: u32, (part, all): (u32, u32)| u32::try_from(u64::from(whole) * u64::from(part) / u64::from(all)).unwrap_or(whole);
        let limit = match part {
            Some((members, full)) if members < full => of(most, (members, full)).max(self.least.load(SeqCst)).min(most),
            Some(_) | None => most,
        };
        match self.share.load(SeqCst) {
            share @ 1..WEIGHT_SCALE => of(limit, (share, WEIGHT_SCALE)).max(1),
            _ => limit,
        }
    }

    pub(super) fn try_take(&self, limit: u32) -> bool {
        if limit == NONE {
            self.active.fetch_add(1, SeqCst);
            return true;
        }
        self.active.fetch_update(SeqCst, SeqCst, |active| (active < limit).then_some(active + 1)).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.active.fetch_sub(1, SeqCst);
    }
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_rises_with_the_load_of_the_backend() {
        let load = Load::new(Limits { most: Some(100), least: Some(10), waiting: None });
        let limit = |members| load.limit(Some((members, 1000)));
        assert_eq!([0, 50, 100, 500, 999, 1000, 5000].map(limit), [10, 10, 10, 50, 99, 100, 100]);
        assert_eq!(load.limit(None), 100);
        let fixed = Load::new(Limits { most: Some(100), ..Limits::default() });
        assert_eq!(fixed.limit(Some((0, 1000))), 100);
        assert_eq!(Load::new(Limits::default()).limit(Some((0, 1000))), NONE);
    }

    #[test]
    fn slow_start_lets_a_part_in_and_at_least_one() {
        let load = Load::new(Limits { most: Some(100), least: Some(10), waiting: None });
        let limit = |share, part| {
            load.set_share(share);
            load.limit(part)
        };
        assert_eq!((limit(1, None), limit(8, None), limit(15, None), limit(WEIGHT_SCALE, None)), (6, 50, 93, 100));
        assert_eq!((limit(1, Some((0, 1000))), limit(8, Some((0, 1000)))), (1, 5));
    }
}
