//! The checksum of a header of version 2: CRC-32C over all of it, with zeros in its own place.

/// Returns the CRC-32C of some bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    !fold(!0, bytes)
}

/// Tells whether `value`, which begins at `place` of the header, is the checksum of that header.
pub(super) fn is_right(header: &[u8], place: usize, value: &[u8]) -> bool {
    let Some((before, after)) = header.split_at_checked(place).zip(header.get(place + value.len()..)) else { return false };
    let sum = !fold(fold(fold(!0, before.0), &[0; 4]), after);
    value == sum.to_be_bytes()
}

fn fold(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)])
}

/// The remainder of each byte by Castagnoli's polynomial, in reflected form.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    let mut byte = 0u32;
    while index < table.len() {
        let (mut rest, mut bit) = (byte, 0);
        while bit < 8 {
            rest = if rest & 1 == 1 { rest >> 1 ^ 0x82f6_3b78 } else { rest >> 1 };
            bit += 1;
        }
        table[index] = rest;
        index += 1;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_is_the_published_one() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
