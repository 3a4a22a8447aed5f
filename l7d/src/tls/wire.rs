//! Per-thread pools of memory for records on their way from and to the wire.
//!
//! What is encrypted or decrypted in place needs memory that is initialised, which the [`buffer`](crate::buffer) pools do not promise.
//! A connection holds such memory only while a record is incomplete or not yet sent.

use std::cell::RefCell;
use std::mem;

/// Bytes of records in memory lent by this thread's pool.
///
/// Invariant: `start <= end <= bytes.len()`.
#[derive(Debug)]
pub(super) struct Wire {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Wire {
    /// Takes memory for at least `size` bytes, if it is not more than four records.
    pub(super) fn take(size: usize) -> Self {
        let class = if size <= ONE_RECORD { Class::One } else { Class::Four };
        Self { bytes: lend(class), start: 0, end: 0 }
    }

    /// Returns the bytes that wait.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Returns the bytes that wait, to be changed in place.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Tells whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `count` waiting bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Returns the free space behind the waiting bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Returns free space for at least `size` bytes, in memory that the pool will not keep if there is no other way.
    pub(super) fn room_for(&mut self, size: usize) -> &mut [u8] {
        if self.room().len() < size {
            let needed = self.end + size;
            let mut larger = if needed <= FOUR_RECORDS { lend(Class::Four) } else { vec![0; needed] };
            larger[..self.end].copy_from_slice(self.filled());
            give_back(mem::replace(&mut self.bytes, larger));
        }
        &mut self.bytes[self.end..]
    }

    /// Counts `count` bytes, which were written to the free space, among those that wait.
    pub(super) fn extend(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        give_back(mem::take(&mut self.bytes));
    }
}

#[derive(Debug, Clone, Copy)]
enum Class {
    One,
    Four,
}

#[derive(Debug, Default)]
struct Pool {
    one: Vec<Vec<u8>>,
    four: Vec<Vec<u8>>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

fn lend(class: Class) -> Vec<u8> {
    let spare = POOL.try_with(|pool| {
        let pool = &mut *pool.borrow_mut();
        match class {
            Class::One => pool.one.pop(),
            Class::Four => pool.four.pop(),
        }
    });
    let size = match class {
        Class::One => ONE_RECORD,
        Class::Four => FOUR_RECORDS,
    };
    spare.ok().flatten().unwrap_or_else(|| vec![0; size])
}

fn give_back(bytes: Vec<u8>) {
    // A thread that ends may drop connections after its pool: their memory is simply freed.
    let _ = POOL.try_with(|pool| {
        let pool = &mut *pool.borrow_mut();
        let (spare, keep) = match bytes.len() {
            ONE_RECORD => (&mut pool.one, KEEP_ONE),
            FOUR_RECORDS => (&mut pool.four, KEEP_FOUR),
            _ => return,
        };
        if spare.len() < keep {
            spare.push(bytes);
        }
    });
}

/// Room for the longest record there may be (RFC 8446 section 5.2, RFC 5246 section 6.2.3) and some that are short.
pub(super) const ONE_RECORD: usize = 18 * 1024 + 512;
/// Room for the content of a large buffer in records.
pub(super) const FOUR_RECORDS: usize = 4 * ONE_RECORD;
const KEEP_ONE: usize = 128;
const KEEP_FOUR: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_while_the_memory_changes() {
        let mut wire = Wire::take(1);
        wire.room()[..4].copy_from_slice(b"abcd");
        wire.extend(4);
        wire.consume(1);
        assert_eq!(wire.room().len(), ONE_RECORD - 3);
        for size in [ONE_RECORD, FOUR_RECORDS, FOUR_RECORDS + 1] {
            assert!(wire.room_for(size).len() >= size);
            assert_eq!(wire.filled(), b"bcd");
        }
    }

    #[test]
    fn memory_is_lent_again_unless_it_has_an_odd_size() {
        let wire = Wire::take(FOUR_RECORDS);
        let memory = wire.bytes.as_ptr();
        drop(wire);
        let mut wire = Wire::take(FOUR_RECORDS);
        assert_eq!(wire.bytes.as_ptr(), memory);
        wire.room_for(FOUR_RECORDS + 1);
        drop(wire);
        assert_eq!(POOL.with(|pool| pool.borrow().four.len()), 1);
    }
}
