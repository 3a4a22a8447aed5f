//! Internet checksums: incremental updates (RFC 1624) for rewritten headers.
//!
//! Sums are taken over words as they lie in memory; the ones' complement sum does not depend on byte order as long as both sides keep it.

/// The change a rewrite makes to a checksum, as an unfolded ones' complement sum of old words left out and new words put in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change(u64);

impl Change {
    /// Starts with no change.
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Notes that a 32-bit word became another.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        // Fewer than 2^31 words of 33 bits are ever added to one sum, so it cannot overflow.
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Notes that 128 bits became others.
    #[inline(always)]
    #[must_use]
    pub const fn words(self, old: [u64; 2], new: [u64; 2]) -> Self {
        self.word(old[0] as u32, new[0] as u32)
            .word((old[0] >> 32) as u32, (new[0] >> 32) as u32)
            .word(old[1] as u32, new[1] as u32)
            .word((old[1] >> 32) as u32, (new[1] >> 32) as u32)
    }

    /// Joins two changes of one sum.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Returns the checksum field after the change, both as they lie in memory (RFC 1624, equation 3).
    #[inline(always)]
    pub const fn apply(self, field: u16) -> u16 {
        !fold(self.0 + (!field) as u64)
    }
}

/// A checksum made from nothing: the sum of all words but the field itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Starts with nothing.
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Adds a 32-bit word as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds 128 bits.
    #[inline(always)]
    #[must_use]
    pub const fn words(self, [high, low]: [u64; 2]) -> Self {
        self.word(high as u32).word((high >> 32) as u32).word(low as u32).word((low >> 32) as u32)
    }

    /// Returns the checksum field as it lies in memory.
    #[inline(always)]
    pub const fn field(self) -> u16 {
        !fold(self.0)
    }
}

/// Folds a sum of 16-bit or wider words into 16 bits with end-around carry.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// The definition, word by word: the checksum of `words` as it lies in memory.
    fn full(words: &[u16]) -> u16 {
        let mut sum = 0u32;
        for word in words {
            sum += u32::from(*word);
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        !(sum as u16)
    }

    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed;
        std::iter::from_fn(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some(state ^ state >> 29)
        })
    }

    #[test]
    fn incremental_equals_full() {
        let mut random = numbers(1);
        for _ in 0..10_000 {
            let old: Vec<u32> = random.by_ref().take(9).map(|n| n as u32).collect();
            let new: Vec<u32> = random.by_ref().take(9).map(|n| n as u32).collect();
            let halves = |words: &[u32]| words.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).collect::<Vec<_>>();
            let change = old.iter().zip(&new).fold(Change::none(), |change, (old, new)| change.word(*old, *new));
            let (got, want) = (change.apply(full(&halves(&old))), full(&halves(&new)));
            // 0x0000 and 0xffff are the same number in ones' complement.
            assert!(got == want || (got ^ want) == 0xffff && (got == 0 || want == 0), "{got:#x} {want:#x}");
        }
    }

    #[test]
    fn sum_is_the_definition() {
        let mut random = numbers(2);
        for _ in 0..1000 {
            let words: Vec<u32> = random.by_ref().take(9).map(|n| n as u32).collect();
            let halves: Vec<u16> = words.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).collect();
            assert_eq!(words.iter().fold(Sum::none(), |sum, word| sum.word(*word)).field(), full(&halves));
        }
    }

    #[test]
    fn no_change_leaves_the_field() {
        for field in [0x0000, 0x0001, 0x1234, 0xfffe, 0xffff] {
            assert_eq!(Change::none().apply(field), field);
        }
    }
}
