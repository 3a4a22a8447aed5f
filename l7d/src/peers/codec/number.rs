//! Numbers written as short as they are: one byte below 240, up to ten for the longest.

use super::Malformed;

/// Writes a number.
pub fn put(number: u64, out: &mut Vec<u8>) {
    let low = |number: u64, mask: u64| u8::try_from(number & mask).expect("masked");
    if number < 0xf0 {
        out.push(low(number, 0xff));
        return;
    }
    out.push(low(number, 0xff) | 0xf0);
    let mut rest = (number - 0xf0) >> 4;
    while rest >= 0x80 {
        out.push(low(rest, 0xff) | 0x80);
        rest = (rest - 0x80) >> 7;
    }
    out.push(low(rest, 0xff));
}

/// Takes a number from the beginning of some bytes.
///
/// # Errors
/// Fails if the bytes end before it does, or if it does not fit into 64 bits.
pub fn take(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let (first, mut rest) = bytes.split_first().ok_or(Malformed::CutOff)?;
    let mut number = u64::from(*first);
    let mut shift = 4;
    let mut goes_on = *first >= 0xf0;
    while goes_on {
        let (next, after) = rest.split_first().ok_or(Malformed::CutOff)?;
        let part = u64::from(*next).checked_shl(shift).filter(|part| part >> shift == u64::from(*next)).ok_or(Malformed::TooLong)?;
        number = number.checked_add(part).ok_or(Malformed::TooLong)?;
        (rest, shift, goes_on) = (after, shift + 7, *next >= 0x80);
    }
    *bytes = rest;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_as_in_the_description() {
        for (number, bytes) in [(0_u64, &[0][..]), (239, &[239]), (240, &[0xf0, 0]), (2287, &[0xff, 0x7f]), (0x1234, &[0xf4, 0x94, 0x01])] {
            let mut out = Vec::new();
            put(number, &mut out);
            assert_eq!((out.as_slice(), take(&mut out.as_slice())), (bytes, Ok(number)), "{number}");
        }
        assert_eq!(take(&mut &[0xf0, 0x80][..]), Err(Malformed::CutOff));
        assert_eq!(take(&mut &[0xff; 12][..]), Err(Malformed::TooLong));
    }

    proptest! {
        #[test]
        fn every_number_comes_back(number: u64, bits in 0_u32..64) {
            let (number, mut out) = (number >> bits, Vec::new());
            put(number, &mut out);
            prop_assert!(out.len() <= 10);
            prop_assert_eq!(take(&mut out.as_slice()), Ok(number));
        }
    }
}
