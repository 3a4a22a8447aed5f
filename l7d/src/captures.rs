//! The last invalid request of each frontend, as it came, for who asks what clients do wrong.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::h1::SyntaxError;
use crate::peer::Peer;

/// The last invalid request of a frontend; locked only when there is one, or somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Captures(Mutex<Option<Capture>>);

/// An invalid request.
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    /// How many there were in the process before it.
    pub(crate) number: u64,
    /// When it came.
    pub(crate) at: SystemTime,
    /// Who sent it.
    pub(crate) client: Peer,
    /// What came of it, or its beginning.
    pub(crate) bytes: Box<[u8]>,
    /// How much came of it.
    pub(crate) length: usize,
    /// Where it is wrong, and how.
    pub(crate) fault: SyntaxError,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl Captures {
    /// Keeps a request in the place of the one before it.
    pub(crate) fn note(&self, client: Peer, bytes: &[u8], fault: SyntaxError) {
        let (number, at, length) = (COUNT.fetch_add(1, Relaxed), SystemTime::now(), bytes.len());
        let bytes = bytes[..length.min(LARGEST)].into();
        let capture = Capture { number, at, client, bytes, length, fault };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(capture);
    }

    /// Returns the last one.
    pub(crate) fn last(&self) -> Option<Capture> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns how many there were in the process.
pub(crate) fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// How much is kept of one.
const LARGEST: usize = 16 << 10;
