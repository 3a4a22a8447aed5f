//! What bodies and messages consist of: bytes that repeat after a prime number of them, so that what is lost, doubled or swapped shows.

/// The bytes, long enough for a slice of [`LONGEST`] from anywhere.
#[derive(Debug)]
pub(super) struct Pattern(Vec<u8>);

/// Longest slice.
pub(super) const LONGEST: usize = 256 * 1024;

impl Pattern {
    /// Makes the bytes, the same in every process.
    pub(super) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        Self(period.iter().copied().cycle().take(PERIOD + LONGEST).collect())
    }

    /// Returns bytes from an offset, no more than [`LONGEST`].
    pub(super) fn slice(&self, offset: u64, length: usize) -> &[u8] {
        let start = usize::try_from(offset % PERIOD as u64).expect("less than the period");
        &self.0[start..start + length.min(LONGEST)]
    }

    /// Tells whether these are the bytes from an offset.
    pub(super) fn matches(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut offset = offset;
        bytes.chunks(LONGEST).all(|chunk| {
            let same = self.slice(offset, chunk.len()) == chunk;
            offset += chunk.len() as u64;
            same
        })
    }
}

const PERIOD: usize = 65_521;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_matches_only_where_it_belongs() {
        let pattern = Pattern::new();
        let body: Vec<u8> = (0..3).flat_map(|part| pattern.slice(7 + part * LONGEST as u64, LONGEST).to_vec()).collect();
        assert!(pattern.matches(7, &body));
        assert!(pattern.matches(7 + 100, &body[100..]));
        assert!(!pattern.matches(8, &body));
        assert!(!pattern.matches(7, &[&body[..1000], &body[1001..]].concat()), "a byte is lost");
        assert!(!pattern.matches(7, &[&body[..1000], &body[999..]].concat()), "a byte is doubled");
    }
}
