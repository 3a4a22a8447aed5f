//! The demo's clients: a steady number of TCP connections and of HTTP requests each second, every answer checked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::stage;
use crate::client::Client;

/// How many connections are opened in each tier each second.
pub(super) const RATE: u32 = 300;

/// What the clients saw so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// TCP connections, which l4d serves.
    pub(super) tcp: TierTally,
    /// HTTP requests, which l7d serves.
    pub(super) http: TierTally,
}

/// One of the two tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// TCP, in the kernel.
    Tcp,
    /// HTTP, in user space.
    Http,
}

/// What the clients of one tier saw so far.
#[derive(Clone, Debug, Default)]
pub(super) struct TierTally {
    /// One for each server.
    pub(super) served: [Served; stage::SERVERS],
    /// Connections that failed, or were answered by nobody we know.
    pub(super) failed: u64,
    /// When the last of them did.
    pub(super) last_failure: Option<Instant>,
    /// Why it did.
    pub(super) error: Option<String>,
}

/// What one server did for the clients.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Served {
    /// Connections it answered.
    pub(super) total: u64,
    /// The first answer since [`Traffic::expect_return`], or at all.
    pub(super) first: Option<Instant>,
}

impl Tally {
    /// Returns how many failed.
    pub(super) fn failed(&self) -> u64 {
        self.tcp.failed + self.http.failed
    }

    /// Returns when the last one failed.
    pub(super) fn last_failure(&self) -> Option<Instant> {
        self.tcp.last_failure.max(self.http.last_failure)
    }

    /// Returns when a server had answered again in both tiers.
    pub(super) fn returned(&self, server: usize) -> Option<Instant> {
        let (tcp, http) = (self.tcp.served[server].first?, self.http.served[server].first?);
        Some(tcp.max(http))
    }

    /// Returns why the last one failed.
    pub(super) fn error(&self) -> Option<&str> {
        let last = if self.tcp.last_failure >= self.http.last_failure { &self.tcp } else { &self.http };
        last.error.as_deref()
    }

    fn of(&mut self, tier: Tier) -> &mut TierTally {
        match tier {
            Tier::Tcp => &mut self.tcp,
            Tier::Http => &mut self.http,
        }
    }
}

impl TierTally {
    /// Returns how many connections were answered.
    pub(super) fn answered(&self) -> u64 {
        self.served.iter().map(|served| served.total).sum()
    }

    fn count(&mut self, outcome: Result<usize>) {
        let now = Instant::now();
        match outcome {
            Ok(server) => {
                let served = &mut self.served[server];
                served.total += 1;
                served.first.get_or_insert(now);
            }
            Err(error) => {
                self.failed += 1;
                self.last_failure = Some(now);
                self.error = Some(format!("{error:#}"));
            }
        }
    }
}

/// Clients at work; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The lock is held only to count or to copy.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    tally: Mutex<Tally>,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic {
    /// Starts the clients of both tiers.
    pub(super) fn start(client: &Client, tcp: SocketAddr, http: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let start_thread = |(tier, server, number)| {
            let (client, shared) = (client.clone(), Arc::clone(&shared));
            thread::spawn(move || {
                client.entrance().enter().expect("a process that made a namespace may enter it");
                let mut next = Instant::now() + PERIOD / THREADS * number;
                while !shared.stop.load(Ordering::Relaxed) {
                    let now = Instant::now();
                    if now < next {
                        thread::park_timeout(next - now);
                        continue;
                    }
                    // Time that was lost on a slow connection is not made up for by a burst.
                    next = (next + PERIOD).max(now);
                    let outcome = connect(&client, tier, server);
                    shared.tally().of(tier).count(outcome);
                }
            })
        };
        let numbers = 0..THREADS;
        let threads = numbers.flat_map(|number| [(Tier::Tcp, tcp, number), (Tier::Http, http, number)]).map(start_thread).collect();
        Self { shared, threads }
    }

    /// Returns what was seen so far.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Has the next answer of a server count as its first.
    pub(super) fn expect_return(&self, server: usize) {
        let mut tally = self.shared.tally();
        tally.tcp.served[server].first = None;
        tally.http.served[server].first = None;
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            thread.join().expect("a client does not panic");
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.join();
    }
}

/// Opens a connection, asks who serves and returns which server it was.
fn connect(client: &Client, tier: Tier, address: SocketAddr) -> Result<usize> {
    let server = match tier {
        Tier::Tcp => client.who_from_here(address)?.server,
        Tier::Http => {
            let response = client.get_from_here(address, "/")?;
            ensure!(response.status == 200, "answered with status {}", response.status);
            response.server().unwrap_or_default().to_owned()
        }
    };
    match (0..stage::SERVERS).find(|&index| stage::name(index) == server) {
        Some(index) => Ok(index),
        None => bail!("answered by `{server}`, which is none of the servers"),
    }
}

const THREADS: u32 = 3;
const PERIOD: Duration = Duration::from_millis(1000 * THREADS as u64 / RATE as u64);
