//! How many clients are taken in a second, where the configuration or an administrator limits that.
//!
//! Whoever comes too early waits. As in HAProxy, those of the second before count by how much of it is less than a second ago. Where
//! nothing is limited, asking is one look at memory that nobody writes; elsewhere a lock is held for a moment by who has accepted a
//! connection, on any thread, and never across a wait.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control::config::Rates;

/// A limit for each second.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// 0 for none.
    most: AtomicU32,
    window: Mutex<Window>,
}

/// How many came in this second, and in the one before.
#[derive(Debug, Default)]
struct Window {
    /// Since the process began to count.
    began: Duration,
    present: u32,
    before: u32,
}

/// Of connections, those that rules refuse included.
pub(crate) static CONNECTIONS: Pace = Pace::new();
/// Of connections that no rule about connections refuses.
pub(crate) static SESSIONS: Pace = Pace::new();
/// Of those among them that begin TLS.
pub(crate) static HANDSHAKES: Pace = Pace::new();

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Limits the process as a configuration says.
pub(crate) fn follow(rates: Rates) {
    CONNECTIONS.set(rates.connections);
    SESSIONS.set(rates.sessions);
    HANDSHAKES.set(rates.tls);
}

impl Pace {
    const fn new() -> Self {
        Self { most: AtomicU32::new(0), window: Mutex::new(Window { began: Duration::ZERO, present: 0, before: 0 }) }
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
        while let Some(pause) = self.pause() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes back that one came.
    pub(crate) fn forgive(&self) {
        if self.most() > 0 {
            let mut window = self.window();
            window.present = window.present.saturating_sub(1);
        }
    }

    /// Counts one more and returns nothing, or returns how long it is until one may come.
    fn pause(&self) -> Option<Duration> {
        match self.most() {
            0 => None,
            most => self.window().admit(most, START.elapsed()),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn admit(&mut self, most: u32, now: Duration) -> Option<Duration> {
        let elapsed = now.saturating_sub(self.began);
        if elapsed >= SECOND {
            let is_next = elapsed < SECOND * 2;
            self.before = if is_next { self.present } else { 0 };
            self.began = if is_next { self.began + SECOND } else { now };
            self.present = 0;
        }
        let left = SECOND.saturating_sub(now.saturating_sub(self.began));
        let room = most.saturating_sub(self.present);
        let faded = f64::from(self.before) * left.as_secs_f64();
        if f64::from(room) >= faded + 1.0 {
            self.present += 1;
            return None;
        }
        // The second before must have faded so far that there is room for one more.
        let enough = if self.before == 0 || room == 0 { SECOND } else { SECOND.mul_f64(f64::from(room - 1) / f64::from(self.before)) };
        Some(if room == 0 { left } else { left.saturating_sub(enough) }.max(SHORTEST_PAUSE))
    }
}

const SECOND: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_come_in_any_second_than_may() {
        let (mut window, mut now, mut admitted) = (Window::default(), Duration::from_secs(7), Vec::new());
        let start = now;
        while now < start + SECOND * 5 {
            match window.admit(10, now) {
                None => admitted.push(now - start),
                Some(pause) => now += pause,
            }
        }
        let within = |from: u64, to: u64| admitted.iter().filter(|at| (from..to).contains(&(at.as_millis() as u64))).count();
        assert_eq!(within(0, 1000), 10, "{admitted:?}");
        for from in (0..4000).step_by(50) {
            assert!(within(from, from + 1000) <= 11, "{from}: {admitted:?}");
        }
        assert!((40..=50).contains(&admitted.len()), "{admitted:?}");
    }

    #[test]
    fn nobody_waits_where_nothing_is_limited_and_who_is_forgiven_does_not_count() {
        let pace = Pace::new();
        assert!((0..9).all(|_| pace.pause().is_none()));
        pace.set(1);
        assert!(pace.pause().is_none() && pace.pause().is_some());
        pace.forgive();
        assert!(pace.pause().is_none() && pace.pause().is_some());
    }
}
