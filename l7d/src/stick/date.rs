//! Dates in persistence cookies: units of four seconds since 1970, in five digits of base 64, as HAProxy writes them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Appends a date, rounded up.
pub(super) fn write(seconds: u64, out: &mut Vec<u8>) {
    let units = seconds.div_ceil(UNIT);
    let digit = |place: u32| DIGITS[usize::try_from(units >> (6 * place) & 63).expect("six bits")];
    out.extend((0..LENGTH).rev().map(digit));
}

/// Reads the date that a text begins with, in seconds; none where there is none.
pub(super) fn read(text: &[u8]) -> Option<u64> {
    let value = |digit: &u8| DIGITS.iter().position(|known| known == digit).and_then(|place| u64::try_from(place).ok());
    let digits = text.get(..LENGTH as usize)?;
    let units = digits.iter().try_fold(0, |units, digit| Some(units << 6 | value(digit)?))?;
    Some(units * UNIT).filter(|seconds| *seconds > 0)
}

const UNIT: u64 = 4;
const LENGTH: u32 = 5;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_survive_to_four_seconds() {
        for seconds in [4, 1_795_900_000, 1_795_900_001, 1_795_900_003, 4_294_967_290] {
            let mut text = Vec::new();
            write(seconds, &mut text);
            let read = read(&text).unwrap();
            assert!((seconds..seconds + UNIT).contains(&read), "{seconds} {read}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "abcd", "AAAAA", "ab!de", "     "] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
