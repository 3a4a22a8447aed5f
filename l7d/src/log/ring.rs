//! Rings: lines kept in memory, the oldest of which make room for new ones.
//!
//! Whoever writes a line copies it and goes on. Behind it stand those who read: clients of the runtime interface, and a thread for
//! each server that lines are sent on to. A reader that is too slow misses the oldest lines, which is counted; it slows down nobody.
//! The lock is held for copying: one line in, or at most [`BATCH`] bytes out.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use control::config::{self, Config, Framing, RingServer};
use tokio::sync::{Notify, mpsc};

use super::connection::{Connection, RETRY};
use super::target::{Header, Target};

/// The rings of a configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rings(Vec<Arc<Ring>>);

/// Lines kept in memory; the threads that send them on end when it is dropped.
#[derive(Debug)]
pub(crate) struct Ring(Arc<Store>);

#[derive(Debug)]
struct Store {
    model: config::Ring,
    state: Mutex<State>,
    /// Told when there are lines, when servers have some, and when nothing more will come.
    changed: Condvar,
    /// Told when there are lines, and when nothing more will come.
    watched: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Of the lines in them.
    lengths: VecDeque<usize>,
    /// Where the oldest line stands among all bytes and lines there were.
    oldest: Cursor,
    /// How far each server has got.
    sent: Vec<u64>,
    /// Lines that left before somebody had read them.
    missed: u64,
    closed: bool,
}

/// A place among all lines there were.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    line: u64,
    byte: u64,
}

/// From where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// The oldest line that is still there.
    Oldest,
    /// The next one.
    Next,
}

impl Rings {
    /// Begins the rings of a configuration; one that was there before and is the same goes on with what it has.
    ///
    /// # Errors
    /// Fails if the system has no thread for a server.
    pub(super) fn of(config: &Config, before: &Self) -> io::Result<Self> {
        let ring = |model: &config::Ring| match before.get(model.name()).filter(|ring| is_same(&ring.0.model, model)) {
            Some(ring) => Ok(ring),
            None => Ring::start(model).map(Arc::new),
        };
        config.rings().iter().map(ring).collect::<io::Result<_>>().map(Self)
    }

    /// Returns the ring of a name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Ring>> {
        self.0.iter().find(|ring| ring.0.model.name() == name).map(Arc::clone)
    }

    /// Returns all of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Ring> {
        self.0.iter().map(|ring| &**ring)
    }
}

/// Tells whether two are the same wherever they are written.
fn is_same(one: &config::Ring, other: &config::Ring) -> bool {
    let header = |ring: &config::Ring| ring.format().map(|format| format.value().clone());
    let servers = |ring: &config::Ring| -> Vec<_> {
        ring.servers().iter().map(|server| (server.name().to_owned(), server.address(), server.framing())).collect()
    };
    let sizes = |ring: &config::Ring| (ring.size(), ring.longest(), ring.connect(), ring.write());
    header(one) == header(other) && servers(one) == servers(other) && sizes(one) == sizes(other) && one.description() == other.description()
}

impl Ring {
    fn start(model: &config::Ring) -> io::Result<Self> {
        let state = State { sent: vec![0; model.servers().len()], ..State::default() };
        let store = Arc::new(Store { model: model.clone(), state: Mutex::new(state), changed: Condvar::new(), watched: Notify::new() });
        // From here on whatever was started is ended when this goes.
        let ring = Self(Arc::clone(&store));
        for number in 0..model.servers().len() {
            let store = Arc::clone(&store);
            thread::Builder::new().name("l7d-ring".to_owned()).spawn(move || store.send_on(number))?;
        }
        Ok(ring)
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        self.0.model.name()
    }

    /// Returns what it is for.
    pub(crate) fn description(&self) -> &str {
        self.0.model.description()
    }

    /// Returns how many lines left before a reader had them.
    pub(crate) fn missed(&self) -> u64 {
        self.0.state().missed
    }

    /// Fits a target to what the ring keeps.
    pub(super) fn suit(&self, target: &mut Target) {
        let own = self.0.model.format().and_then(|format| Header::named(format));
        if let (Header::Usual, Some(own)) = (target.header, own) {
            target.header = own;
        }
        target.longest = target.longest.min(self.0.model.longest());
    }

    /// Adds a line, for which the oldest ones make room.
    pub(super) fn push(&self, line: &[u8]) {
        let (store, mut state) = (&self.0, self.0.state());
        if line.len() > store.model.size() {
            state.missed += 1;
            return;
        }
        while state.bytes.len() + line.len() > store.model.size() {
            state.forget_oldest();
        }
        state.bytes.extend(line);
        state.lengths.push_back(line.len());
        drop(state);
        store.changed.notify_all();
        store.watched.notify_waiters();
    }

    /// Returns the lines it has, each with its end.
    pub(crate) fn lines(&self) -> String {
        let (state, mut all) = (self.0.state(), Vec::new());
        let mut cursor = state.oldest;
        state.take(&mut cursor, (Framing::Lines, usize::MAX), &mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Tells whoever listens of every line until nobody does.
    pub(crate) fn watch(&self, since: Since) -> mpsc::Receiver<String> {
        let (listener, feed) = mpsc::channel(1);
        let store = Arc::clone(&self.0);
        let cursor = match since {
            Since::Oldest => store.state().oldest,
            Since::Next => store.state().newest(),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = store.tell(cursor, &listener) => {}
                () = listener.closed() => {}
            }
        });
        feed
    }

    /// Waits until all servers have all lines, or until `end`.
    pub(super) fn flush(&self, end: Instant) {
        let mut state = self.0.state();
        while state.sent.iter().any(|sent| *sent < state.newest().line) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_all();
        self.0.watched.notify_waiters();
    }
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends every line to a server, until nothing more will come.
    fn send_on(&self, number: usize) {
        let server: &RingServer = &self.model.servers()[number];
        let mut connection = Connection::new(server.address(), [self.model.connect(), self.model.write()]);
        let (mut cursor, mut batch) = (Cursor::default(), Vec::new());
        loop {
            let mut state = self.state();
            while cursor.line >= state.newest().line && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            batch.clear();
            state.missed += state.take(&mut cursor, (server.framing(), BATCH), &mut batch);
            drop(state);
            if batch.is_empty() {
                return;
            }
            while connection.write(&batch).is_err() {
                if self.pause(RETRY) {
                    return;
                }
            }
            self.state().sent[number] = cursor.line;
            self.changed.notify_all();
        }
    }

    /// Sleeps, and tells whether nothing more will come.
    fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.state();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return state.closed;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells a listener of every line behind a place, until nothing more will come.
    async fn tell(&self, mut cursor: Cursor, listener: &mpsc::Sender<String>) {
        let mut batch = Vec::new();
        loop {
            let mut told = std::pin::pin!(self.watched.notified());
            // What comes from here on wakes it, also before it waits.
            told.as_mut().enable();
            batch.clear();
            let closed = {
                let mut state = self.state();
                state.missed += state.take(&mut cursor, (Framing::Lines, BATCH), &mut batch);
                state.closed
            };
            if !batch.is_empty() {
                if listener.send(String::from_utf8_lossy(&batch).into_owned()).await.is_err() {
                    return;
                }
            } else if closed {
                return;
            } else {
                told.await;
            }
        }
    }
}

impl State {
    fn newest(&self) -> Cursor {
        Cursor { line: self.oldest.line + self.lengths.len() as u64, byte: self.oldest.byte + self.bytes.len() as u64 }
    }

    fn forget_oldest(&mut self) {
        let Some(length) = self.lengths.pop_front() else { return };
        self.bytes.drain(..length);
        self.oldest.line += 1;
        self.oldest.byte += length as u64;
    }

    /// Appends whole lines from a place on, about as many bytes as said; returns how many have left in the meantime.
    fn take(&self, cursor: &mut Cursor, (framing, most): (Framing, usize), out: &mut Vec<u8>) -> u64 {
        let missed = self.oldest.line.saturating_sub(cursor.line);
        if missed > 0 {
            *cursor = self.oldest;
        }
        let index = |number: u64| usize::try_from(number).expect("what is in memory can be counted");
        let (first, mut at) = (index(cursor.line - self.oldest.line), index(cursor.byte - self.oldest.byte));
        for length in self.lengths.range(first..) {
            if out.len() >= most {
                break;
            }
            if framing == Framing::Counted {
                write!(out, "{length} ").expect("a vector takes everything");
            }
            out.extend(self.bytes.range(at..at + length));
            if framing == Framing::Lines {
                out.push(b'\n');
            }
            at += length;
            cursor.line += 1;
            cursor.byte += *length as u64;
        }
        missed
    }
}

/// How many bytes of lines a reader takes at a time.
const BATCH: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(size: usize) -> Ring {
        let text = format!("[ring.r]\nsize = {size}\n");
        let config = Config::parse("site.toml", &text).unwrap();
        Ring::start(&config.rings()[0]).unwrap()
    }

    #[test]
    fn the_oldest_lines_make_room_and_whoever_is_late_misses_them() {
        let ring = ring(1024);
        let text = |number: usize| format!("{number:0>100}");
        (0..10).for_each(|number| ring.push(text(number).as_bytes()));
        let mut cursor = Cursor::default();
        let mut out = Vec::new();
        assert_eq!(ring.0.state().take(&mut cursor, (Framing::Counted, 1), &mut out), 0);
        assert_eq!(String::from_utf8(out).unwrap(), format!("100 {}", text(0)), "whole lines, at least one");
        (10..15).for_each(|number| ring.push(text(number).as_bytes()));
        let mut out = Vec::new();
        assert_eq!(ring.0.state().take(&mut cursor, (Framing::Lines, BATCH), &mut out), 4, "1 to 4 have left");
        let left: String = (5..15).flat_map(|number| [text(number), "\n".to_owned()]).collect();
        assert_eq!(String::from_utf8(out).unwrap(), left);
        assert_eq!(ring.lines(), left);
        ring.push(&[b'x'; 2000]);
        assert_eq!((ring.lines(), ring.missed()), (left, 1), "what finds no room is counted");
    }
}
