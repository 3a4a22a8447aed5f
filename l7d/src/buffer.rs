//! Per-thread pools of byte buffers.
//!
//! Every stage of a connection borrows its memory here and gives it back by dropping the lease, so a connection that waits holds
//! none. A pool belongs to one thread and needs no lock. What the bytes mean is the business of [`crate::h1`] and its neighbours.

use std::cell::RefCell;
use std::mem;

/// Bytes received and not yet consumed, in memory lent by this thread's pool.
///
/// Invariant: `start <= bytes.len()`, and they are equal only when both are zero.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// Half a word, as a buffer is a part of every connection.
    start: u32,
    /// Whether the memory was full when it was last emptied.
    was_filled: bool,
}

impl Buffer {
    /// Takes a small buffer from this thread's pool, or allocates one when the pool is empty.
    pub fn take() -> Self {
        Self { bytes: lend(Class::Small), start: 0, was_filled: false }
    }

    /// Returns the bytes that wait to be consumed.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start()..]
    }

    /// Returns how many bytes wait to be consumed.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start()
    }

    /// Tells whether no byte waits.
    pub fn is_empty(&self) -> bool {
        self.start() == self.bytes.len()
    }

    /// Tells whether no further byte fits behind the waiting ones.
    pub fn is_full(&self) -> bool {
        self.bytes.len() == self.bytes.capacity()
    }

    /// Tells whether the buffer was full before it was last emptied, so that a larger one would have served better.
    pub fn was_filled(&self) -> bool {
        self.was_filled
    }

    /// Drops the first `count` waiting bytes, or all of them if there are fewer.
    pub fn consume(&mut self, count: usize) {
        let start = self.start().saturating_add(count).min(self.bytes.len());
        self.start = u32::try_from(start).expect("no buffer is longer than its pool's");
        if self.start > 0 && self.is_empty() {
            self.clear();
        }
    }

    /// Drops every waiting byte.
    pub fn clear(&mut self) {
        self.was_filled = self.is_full();
        self.bytes.clear();
        self.start = 0;
    }

    /// Drops the waiting bytes after the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.bytes.truncate(self.start().saturating_add(count));
        if self.is_empty() {
            self.clear();
        }
    }

    /// Makes the free space contiguous behind the waiting bytes and returns its size.
    pub fn make_room(&mut self) -> usize {
        if self.start > 0 {
            self.bytes.drain(..self.start());
            self.start = 0;
        }
        self.bytes.capacity() - self.bytes.len()
    }

    /// Returns the vector behind the buffer, for appending; what is appended becomes the newest waiting bytes.
    ///
    /// A reader that must not exceed the buffer's size calls [`Self::make_room`] first and does not read when that is zero.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Exchanges the memory for a large buffer, keeping the waiting bytes; does nothing to a buffer that is large already.
    pub fn grow(&mut self) {
        if self.bytes.capacity() < LARGE {
            self.move_to(Class::Large);
        }
    }

    /// Exchanges the memory for a small buffer if the waiting bytes fit into one.
    pub fn shrink(&mut self) {
        if self.bytes.capacity() > SMALL && self.len() <= SMALL {
            self.move_to(Class::Small);
        }
    }

    fn start(&self) -> usize {
        usize::try_from(self.start).expect("32 bits")
    }

    fn move_to(&mut self, class: Class) {
        let mut bytes = lend(class);
        bytes.extend_from_slice(self.filled());
        give_back(mem::replace(&mut self.bytes, bytes));
        self.start = 0;
        self.was_filled = false;
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.filled()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(mem::take(&mut self.bytes));
    }
}

#[derive(Debug, Clone, Copy)]
enum Class {
    Small,
    Large,
}

#[derive(Debug, Default)]
struct Pool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

fn lend(class: Class) -> Vec<u8> {
    let (spare, size) = POOL
        .try_with(|pool| {
            let pool = &mut *pool.borrow_mut();
            match class {
                Class::Small => (pool.small.pop(), SMALL),
                Class::Large => (pool.large.pop(), LARGE),
            }
        })
        .unwrap_or((None, SMALL));
    spare.unwrap_or_else(|| Vec::with_capacity(size))
}

fn give_back(mut bytes: Vec<u8>) {
    bytes.clear();
    // A thread that ends may drop buffers after its pool: their memory is simply freed.
    let _ = POOL.try_with(|pool| {
        let pool = &mut *pool.borrow_mut();
        let (spare, keep) = match bytes.capacity() {
            SMALL => (&mut pool.small, KEEP_SMALL),
            LARGE => (&mut pool.large, KEEP_LARGE),
            // An encoder that outgrew its buffer left an odd size behind.
            _ => return,
        };
        if spare.len() < keep {
            spare.push(bytes);
        }
    });
}

/// Size of the buffers that heads are read into, which also bounds the size of a head.
pub const SMALL: usize = 16 * 1024;
/// Size of the buffers that large bodies stream through.
pub const LARGE: usize = 64 * 1024;
/// Idle memory a thread keeps: 4 MiB in small buffers and 2 MiB in large ones; a burst beyond that is freed again.
const KEEP_SMALL: usize = 256;
const KEEP_LARGE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_buffer_is_lent_again_empty() {
        let mut first = Buffer::take();
        first.tail().extend_from_slice(b"left over");
        let memory = first.bytes.as_ptr();
        drop(first);
        let second = Buffer::take();
        assert_eq!(second.bytes.as_ptr(), memory);
        assert!(second.is_empty());
    }

    #[test]
    fn consuming_everything_frees_the_whole_buffer() {
        let mut buffer = Buffer::take();
        buffer.tail().extend_from_slice(&[7; 100]);
        buffer.consume(40);
        assert_eq!(buffer.len(), 60);
        buffer.consume(1000);
        assert!(buffer.is_empty());
        assert_eq!(buffer.make_room(), SMALL);
    }

    #[test]
    fn making_room_keeps_the_waiting_bytes() {
        let mut buffer = Buffer::take();
        buffer.tail().extend_from_slice(b"0123456789");
        buffer.consume(4);
        assert_eq!(buffer.make_room(), SMALL - 6);
        assert_eq!(buffer.filled(), b"456789");
        buffer.truncate(2);
        assert_eq!(buffer.filled(), b"45");
    }

    #[test]
    fn growing_and_shrinking_keep_the_waiting_bytes() {
        let mut buffer = Buffer::take();
        buffer.tail().extend_from_slice(&[1; 500]);
        buffer.consume(499);
        buffer.grow();
        assert_eq!((buffer.filled(), buffer.bytes.capacity()), (&[1][..], LARGE));
        buffer.tail().extend_from_slice(&[2; SMALL]);
        buffer.shrink();
        assert_eq!(buffer.bytes.capacity(), LARGE, "too full for a small buffer");
        buffer.consume(1);
        buffer.shrink();
        assert_eq!((buffer.len(), buffer.bytes.capacity()), (SMALL, SMALL));
    }

    #[test]
    fn outgrown_memory_is_not_pooled() {
        let mut buffer = Buffer::take();
        buffer.tail().extend_from_slice(&vec![0; SMALL + 1]);
        drop(buffer);
        assert_eq!(Buffer::take().bytes.capacity(), SMALL);
    }

    #[test]
    fn pool_keeps_a_bounded_number() {
        let many: Vec<_> = (0..KEEP_SMALL + 10).map(|_| Buffer::take()).collect();
        drop(many);
        assert_eq!(POOL.with(|pool| pool.borrow().small.len()), KEEP_SMALL);
    }
}
