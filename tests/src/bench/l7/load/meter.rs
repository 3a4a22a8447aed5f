//! Counts what was answered and how long that took, and keeps the first thing that was wrong.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::super::measure::{Sample, percentile};

/// The counters of a process, shared by its connections.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: Cell<u64>,
    bytes: Cell<u64>,
    /// Nanoseconds of each answer, while that counts.
    latencies: RefCell<Vec<u32>>,
    since: Cell<Option<Instant>>,
    fault: RefCell<Option<Error>>,
    failed: Notify,
}

impl Meter {
    /// Counts bytes that came and were right.
    pub(super) fn add_bytes(&self, count: usize) {
        self.bytes.set(self.bytes.get() + count as u64);
    }

    /// Counts an answer that is complete.
    pub(super) fn add_answer(&self, asked: Instant) {
        if self.since.get().is_some() {
            self.requests.set(self.requests.get() + 1);
            self.latencies.borrow_mut().push(u32::try_from(asked.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
    }

    /// Tells whether anything was counted.
    pub(super) fn has_heard(&self) -> bool {
        self.bytes.get() > 0
    }

    /// Forgets what was counted, and counts from now on.
    pub(super) fn begin(&self) {
        self.requests.set(0);
        self.bytes.set(0);
        self.latencies.borrow_mut().clear();
        self.since.set(Some(Instant::now()));
    }

    /// Returns what was counted; the CPU time is the caller's to find out.
    pub(super) fn end(&self) -> Sample {
        let wall = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        let mut latencies = self.latencies.take();
        let mut share = |share| Duration::from_nanos(percentile(&mut latencies, share).unwrap_or(0).into());
        let (p50, p99) = (share(0.5), share(0.99));
        Sample { requests: self.requests.get(), bytes: self.bytes.get(), wall, p50, p99, ..Sample::default() }
    }

    /// Starts work that goes on to the end of the process, and tells if it goes wrong.
    pub(super) fn start(self: &Rc<Self>, work: impl Future<Output = Result<()>> + 'static) {
        let meter = Rc::clone(self);
        drop(spawn_local(async move {
            if let Err(error) = work.await {
                meter.fault.borrow_mut().get_or_insert(error);
                meter.failed.notify_one();
            }
        }));
    }

    /// Waits until something has gone wrong.
    pub(super) async fn failed(&self) -> Error {
        loop {
            self.failed.notified().await;
            if let Some(error) = self.fault.borrow_mut().take() {
                return error;
            }
        }
    }
}
