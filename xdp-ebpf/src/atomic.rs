//! The two atomic operations the data plane needs. `core` has none for BPF, so there they are compiler intrinsics.

#[cfg(target_arch = "bpf")]
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU64, Ordering};

/// Puts `new` where `old` was, and tells whether it did; a full barrier.
///
/// # Safety
/// `word` points to an aligned word of a map, which the kernel keeps valid while the program runs.
#[inline(always)]
#[must_use]
pub(crate) unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise.
    return unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new) }.1;
    #[cfg(not(target_arch = "bpf"))]
    {
        // SAFETY: the caller's promise.
        let word = unsafe { AtomicU64::from_ptr(word) };
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Adds to a word and returns what it was.
///
/// # Safety
/// As for [`exchange`].
#[inline(always)]
pub(crate) unsafe fn fetch_add(word: *mut u64, more: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // LLVM 22 turns a relaxed addition into one that does not fetch, even where its result is used; a stronger order does.
    // SAFETY: the caller's promise.
    return unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, more) };
    #[cfg(not(target_arch = "bpf"))]
    {
        // SAFETY: the caller's promise.
        let word = unsafe { AtomicU64::from_ptr(word) };
        word.fetch_add(more, Ordering::Relaxed)
    }
}
