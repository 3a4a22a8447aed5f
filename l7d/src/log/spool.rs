//! Lines on their way to whoever may be slow to take them: a bounded buffer, and a thread that empties it.
//!
//! Whoever has a line to write adds it to the buffer and never waits for the other end; what does not fit is dropped, counted, and
//! told in the log of the daemon itself. The lock is held for copying one line, or for taking all of them at once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, warn};

/// Lines that wait for a thread to write them.
#[derive(Debug, Default)]
pub(super) struct Spool {
    state: Mutex<State>,
    /// Told when there is something to write, when everything is written, and when nothing more will come.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    lines: u64,
    /// Whether lines that were taken are not yet written.
    busy: bool,
    closed: bool,
}

/// The end of a spool that lines go in by; the thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Intake(Arc<Spool>);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines could not be written, wherever they were meant to go.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Counts lines that could not be written.
pub(super) fn drop_lines(count: u64) {
    DROPPED.fetch_add(count, Relaxed);
}

impl Intake {
    /// Starts the thread that hands everything to `write`, which may take its time.
    ///
    /// # Errors
    /// Fails if the system has no thread for it.
    pub(super) fn start(write: impl FnMut(&[u8], &Ending) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let spool = Arc::new(Spool::default());
        let ending = Ending(Arc::clone(&spool));
        thread::Builder::new().name("l7d-log".to_owned()).spawn(move || ending.run(write)).inspect_err(|error| {
            error!("no thread for log lines: {error}");
        })?;
        Ok(Self(spool))
    }

    /// Adds a line made of these pieces, if there is room.
    pub(super) fn push(&self, pieces: [&[u8]; 3]) {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut state = self.0.state();
        if state.bytes.len() + length > ROOM {
            drop(state);
            return drop_lines(1);
        }
        let was_empty = state.bytes.is_empty();
        pieces.iter().for_each(|piece| state.bytes.extend_from_slice(piece));
        state.lines += 1;
        drop(state);
        if was_empty {
            self.0.changed.notify_all();
        }
    }

    /// Waits until everything is written, or until `end`.
    pub(super) fn flush(&self, end: Instant) {
        let mut state = self.0.state();
        while state.busy || !state.bytes.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_all();
    }
}

/// The end of a spool that lines come out by.
#[derive(Debug)]
pub(super) struct Ending(Arc<Spool>);

impl Ending {
    /// Tells whether nothing more will come, so that nothing is worth waiting for.
    pub(super) fn is_closed(&self) -> bool {
        self.0.state().closed
    }

    /// Sleeps, but not beyond the moment when nothing more will come.
    pub(super) fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut state = self.0.state();
        while !state.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run(self, mut write: impl FnMut(&[u8], &Self) -> io::Result<()>) {
        let (mut bytes, mut reported) = (Vec::new(), dropped());
        loop {
            let mut state = self.0.state();
            state.busy = false;
            self.0.changed.notify_all();
            while state.bytes.is_empty() && !state.closed {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.bytes.is_empty() {
                return;
            }
            std::mem::swap(&mut state.bytes, &mut bytes);
            let lines = std::mem::take(&mut state.lines);
            state.busy = true;
            drop(state);
            if write(&bytes, &self).is_err() {
                drop_lines(lines);
            }
            bytes.clear();
            let lost = dropped();
            if lost > reported {
                warn!("{} log lines were dropped", lost - reported);
                reported = lost;
            }
        }
    }
}

impl Spool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of lines that wait for a slow reader.
const ROOM: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn lines_come_out_in_order_and_what_is_too_much_is_dropped() {
        let (hand_over, written) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let intake = Intake::start(move |bytes, _| {
            wait.recv().unwrap();
            hand_over.send(bytes.to_vec()).unwrap();
            Ok(())
        })
        .unwrap();
        intake.push([b"a", b"b", b"\n"]);
        let before = dropped();
        let long = vec![b'x'; ROOM];
        intake.push([&long, b"", b""]);
        intake.push([&long, b"", b""]);
        assert!(dropped() > before, "one of them finds no room");
        go_on.send(()).unwrap();
        assert_eq!(written.recv().unwrap()[..3], *b"ab\n");
        drop(go_on);
    }
}
