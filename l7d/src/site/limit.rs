//! Limits and counts of connections, which outlive the site that made them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Semaphore;

use crate::stats::{Counter, Meter};

/// A limit and what is left of it.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    most: u32,
    left: Arc<Semaphore>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicU32>);

impl Limit {
    /// Returns the limit before if it was the same, so that those already served keep counting, else a new one.
    pub(super) fn renew(most: Option<u32>, before: Option<&Self>) -> Option<Self> {
        let most = most?;
        let new = || Self {
            most,
            left: Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS))),
        };
        Some(before.filter(|limit| limit.most == most).cloned().unwrap_or_else(new))
    }

    /// Returns the limit.
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// Returns what is left of it.
    pub(super) fn left(&self) -> &Arc<Semaphore> {
        &self.left
    }
}

impl Counted {
    /// Counts one more, and tells the meter.
    pub(super) fn new(counter: &Arc<AtomicU32>, meter: &Meter) -> Self {
        let before = counter.fetch_add(1, Ordering::Relaxed);
        meter.note_level(u64::from(before) + 1);
        meter.add(Counter::Sessions, 1);
        Self(Arc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
