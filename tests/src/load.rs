//! Steady load in the background: new connections all the time, each answered or counted as a failure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::wait::eventually;

/// How much load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many threads, each with one connection at a time.
    pub threads: usize,
    /// How long each waits between two connections.
    pub pause: Duration,
}

impl Default for Pace {
    /// Two threads with a pause short enough to meet every moment and long enough to leave the machine to others.
    fn default() -> Self {
        Self { threads: 2, pause: Duration::from_millis(1) }
    }
}

/// Load that goes on until stopped or dropped, and at most for some minutes.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What happened to the connections of a load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many connections each server answered.
    pub answers: BTreeMap<String, u64>,
    /// How many failed.
    pub failures: u64,
    /// Why the first few failed.
    pub errors: Vec<String>,
}

impl Report {
    /// Returns how many connections were answered, by whomever.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Succeeds if there were connections and none failed.
    ///
    /// # Errors
    /// Returns the report as text.
    pub fn expect_no_failure(&self) -> Result<()> {
        ensure!(self.answered() > 0 && self.failures == 0, "{self}");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connections answered {:?}, {} failed", self.answered(), self.answers, self.failures)?;
        self.errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    report: Mutex<Report>,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Starts the threads, each inside the client's namespace.
    pub(crate) fn start(client: &Client, server: SocketAddr, pace: Pace) -> Self {
        let shared = Arc::new(Shared::default());
        let end = Instant::now() + LONGEST;
        let start_thread = |_| {
            let (client, shared) = (client.clone(), Arc::clone(&shared));
            thread::spawn(move || {
                client.entrance().enter().expect("a process that made a namespace may enter it");
                while !shared.stop.load(Ordering::Relaxed) && Instant::now() < end {
                    let outcome = client.who_from_here(server);
                    count(&mut shared.report(), outcome.map(|answer| answer.server));
                    thread::park_timeout(pace.pause);
                }
            })
        };
        let threads = (0..pace.threads).map(start_thread).collect();
        Self { shared, threads }
    }

    /// Returns what happened so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report().clone()
    }

    /// Forgets what happened so far, so that the next report speaks of the time from now on.
    ///
    /// A connection that is open now is counted when it ends.
    pub fn start_over(&self) -> Report {
        std::mem::take(&mut *self.shared.report())
    }

    /// Waits until so many connections more than now were answered.
    ///
    /// # Errors
    /// Fails with the report if that takes longer than `deadline`.
    pub fn wait_for_answers(&self, more: u64, deadline: Duration) -> Result<()> {
        let before = self.report().answered();
        let enough = || (self.report().answered() >= before + more).then_some(());
        eventually(deadline, "answered connections", enough).map_err(|error| error.context(self.report().to_string()))
    }

    /// Ends the load and returns what happened.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.join();
        self.report()
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            thread.join().expect("a thread under load does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

fn count(report: &mut Report, outcome: Result<String>) {
    match outcome {
        Ok(server) => *report.answers.entry(server).or_default() += 1,
        Err(error) => {
            report.failures += 1;
            if report.errors.len() < MOST_ERRORS {
                report.errors.push(format!("{error:#}"));
            }
        }
    }
}

const MOST_ERRORS: usize = 5;

/// A test that hangs must not load the machine for ever.
const LONGEST: Duration = Duration::from_secs(300);
