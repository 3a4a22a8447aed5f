//! How many connections with TLS there are and were, on both sides.
//!
//! A handshake costs thousands of times what counting it does, so all threads count in one place.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustls::HandshakeKind;

use super::rate::Rate;

/// Whose connections are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Those of clients.
    Client,
    /// Those with servers.
    Server,
}

/// A connection with TLS, counted as open until this is dropped.
#[derive(Debug)]
pub(crate) struct Channel(());

impl Channel {
    /// Counts one that begins.
    pub(crate) fn take(side: Side) -> Self {
        BEGUN.fetch_add(1, Relaxed);
        OPEN.fetch_add(1, Relaxed);
        if side == Side::Client {
            CLIENTS.fetch_add(1, Relaxed);
        }
        Self(())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

/// Counts a handshake that is complete; one that goes on with an earlier session makes no new keys.
pub(crate) fn note_handshake(side: Side, kind: Option<HandshakeKind>) {
    if kind != Some(HandshakeKind::Resumed) {
        let keys = if side == Side::Client { &CLIENT_KEYS } else { &SERVER_KEYS };
        keys.fetch_add(1, Relaxed);
    }
}

/// What is known of a number that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How much it has grown in the last second.
    pub(crate) now: u64,
    /// The most it has grown in a second.
    pub(crate) most: u64,
}

/// What is known of all connections with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// Those that are open.
    pub(crate) open: u64,
    /// Those that were ever begun.
    pub(crate) begun: u64,
    /// Those of clients.
    pub(crate) clients: Pace,
    /// Those of clients that made new keys.
    pub(crate) client_keys: Pace,
    /// Those with servers that did.
    pub(crate) server_keys: Pace,
}

impl Report {
    /// Returns how many in a hundred clients of the last second have gone on with an earlier session.
    pub(crate) fn reuse(&self) -> u64 {
        let reused = self.clients.now.saturating_sub(self.client_keys.now);
        (reused * 100).checked_div(self.clients.now).unwrap_or(0)
    }
}

/// Takes note of a moment from which rates are reckoned; to be called about once a second.
pub(crate) fn tick(now: Instant) {
    let mut rates = RATES.lock().unwrap_or_else(PoisonError::into_inner);
    for (rate, count) in rates.iter_mut().zip(counts()) {
        rate.tick(count, now);
    }
}

/// Tells what is known.
pub(crate) fn report(now: Instant) -> Report {
    let rates = RATES.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = counts();
    let pace = |place: usize| Pace { now: rates[place].last_second(counts[place], now), most: rates[place].most(counts[place], now) };
    let [clients, client_keys, server_keys] = [0, 1, 2].map(pace);
    Report { open: OPEN.load(Relaxed), begun: BEGUN.load(Relaxed), clients, client_keys, server_keys }
}

fn counts() -> [u64; 3] {
    [&CLIENTS, &CLIENT_KEYS, &SERVER_KEYS].map(|count| count.load(Relaxed))
}

static OPEN: AtomicU64 = AtomicU64::new(0);
static BEGUN: AtomicU64 = AtomicU64::new(0);
static CLIENTS: AtomicU64 = AtomicU64::new(0);
static CLIENT_KEYS: AtomicU64 = AtomicU64::new(0);
static SERVER_KEYS: AtomicU64 = AtomicU64::new(0);
/// How fast the last three grow; locked by the main thread, once a second and when somebody asks.
static RATES: Mutex<[Rate; 3]> = Mutex::new([Rate::new(), Rate::new(), Rate::new()]);
