//! How many connections the process takes in a second, where an administrator limits that.
//!
//! Whoever comes too early waits for the next second. Where nothing is limited, asking is one look at memory that nobody writes.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A limit of the process, for each second.
#[derive(Debug)]
pub(crate) struct Pace {
    /// 0 for none.
    most: AtomicU32,
    /// The second in the upper half, and how many came in it.
    seen: AtomicU64,
}

/// Of connections.
pub(crate) static CONNECTIONS: Pace = Pace::new();
/// Of sessions.
pub(crate) static SESSIONS: Pace = Pace::new();
/// Of handshakes of TLS.
pub(crate) static HANDSHAKES: Pace = Pace::new();

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Pace {
    const fn new() -> Self {
        Self { most: AtomicU32::new(0), seen: AtomicU64::new(0) }
    }

    /// Sets the limit; 0 is none.
    pub(crate) fn set(&self, most: u32) {
        self.most.store(most, Relaxed);
    }

    /// Returns the limit; 0 is none.
    pub(crate) fn most(&self) -> u32 {
        self.most.load(Relaxed)
    }

    /// Waits until another one may come.
    pub(crate) async fn wait(&self) {
        while let Some(pause) = self.pause(START.elapsed()) {
            tokio::time::sleep(pause).await;
        }
    }

    /// Counts one more and returns nothing, or returns how long it is until one may come.
    fn pause(&self, now: Duration) -> Option<Duration> {
        let most = self.most.load(Relaxed);
        if most == 0 {
            return None;
        }
        let second = now.as_secs();
        let count = |seen: u64| {
            let count = if seen >> 32 == second { seen & u64::from(u32::MAX) } else { 0 };
            (count < u64::from(most)).then_some(second << 32 | (count + 1))
        };
        match self.seen.fetch_update(Relaxed, Relaxed, count) {
            Ok(_) => None,
            Err(_) => Some(Duration::from_secs(second + 1).saturating_sub(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_come_in_a_second_and_the_next_waits_for_its_end() {
        let pace = Pace::new();
        let at = Duration::from_millis;
        assert_eq!(pace.pause(at(5200)), None);
        pace.set(2);
        assert_eq!([at(5200), at(5300), at(5400)].map(|now| pace.pause(now)), [None, None, Some(at(600))]);
        assert_eq!([at(6000), at(6999), at(6999)].map(|now| pace.pause(now)), [None, None, Some(at(1))]);
        pace.set(0);
        assert_eq!(pace.pause(at(6999)), None);
    }
}
