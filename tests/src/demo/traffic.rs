//! The demo's clients: a steady number of new connections each second, every answer checked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::stage;
use crate::client::Client;

/// How many connections are opened each second.
pub(super) const RATE: u32 = 300;

/// What the clients saw so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
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
    /// Starts the clients.
    pub(super) fn start(client: Client, server: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let start_thread = |number| {
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
                    let outcome = connect(&client, server);
                    shared.tally().count(outcome);
                }
            })
        };
        let threads = (0..THREADS).map(start_thread).collect();
        Self { shared, threads }
    }

    /// Returns what was seen so far.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Has the next answer of a server count as its first.
    pub(super) fn expect_return(&self, server: usize) {
        self.shared.tally().served[server].first = None;
    }

    /// Ends the clients and returns what they saw.
    pub(super) fn stop(mut self) -> Tally {
        self.join();
        self.tally()
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
fn connect(client: &Client, server: SocketAddr) -> Result<usize> {
    let answer = client.who_from_here(server)?;
    match (0..stage::SERVERS).find(|&index| stage::name(index) == answer.server) {
        Some(index) => Ok(index),
        None => bail!("answered by `{}`, which is none of the servers", answer.server),
    }
}

const THREADS: u32 = 3;
const PERIOD: Duration = Duration::from_millis(1000 * THREADS as u64 / RATE as u64);
