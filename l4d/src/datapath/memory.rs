//! Maps in our own memory: arrays that the kernel made mappable, as slices of atomic words.

use std::{
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An array map in memory.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<AtomicU64>,
    /// Bytes mapped.
    length: usize,
    /// Bytes of values.
    used: usize,
}

// SAFETY: the mapping belongs to this value alone and is only ever reached through atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Whether the words may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Memory {
    /// Maps an array of `entries` values of `size` bytes each, a multiple of 8.
    pub(super) fn map(map: impl AsFd, entries: u32, size: u32, access: Access) -> std::io::Result<Self> {
        let used = entries as usize * size as usize;
        let length = used.next_multiple_of(rustix::param::page_size());
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::Write => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice; it aliases nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, map, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(Self { start, length, used })
    }

    /// Returns the values as words of 64 bits.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned and `used` bytes of it are mapped until `self` drops; the kernel writes them as whole words too.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.used / 8) }
    }

    /// Returns the values as words of 32 bits.
    pub(super) fn halves(&self) -> &[AtomicU32] {
        // SAFETY: as in `words`; where a map is viewed in both ways, no word is written in one and read whole in the other but at its making.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.used / 4) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; no slice of it outlives `self`.
        let _unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
