//! Durations and sizes.

use std::time::Duration;

use super::Mistake;
use crate::config::model::Probes;

/// Reads a duration such as `30s`; a number without a unit counts milliseconds.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, Mistake> {
    let wrong =
        || Mistake::new(format!("`{text}` is not a duration")).hint("a whole number and one of us, ms, s, m, h, d: for example 30s");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let micros = match unit {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60 * 1_000_000,
        "h" => 3_600 * 1_000_000,
        "d" => 86_400 * 1_000_000,
        _ => return Err(wrong()),
    };
    let too_long = || Mistake::new(format!("`{text}` is too long")).hint("at most 365d");
    let length = number.checked_mul(micros).map(Duration::from_micros).ok_or_else(too_long)?;
    if length <= LONGEST { Ok(length) } else { Err(too_long()) }
}

/// Reads how long the kernel waits before it asks a silent peer; a number without a unit counts seconds.
pub(in crate::config) fn probe(text: &str) -> Result<Duration, Mistake> {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit());
    let time = duration(&if bare { format!("{text}s") } else { text.to_owned() })?;
    match time <= Probes::LONGEST {
        true => Ok(time),
        false => Err(Mistake::new(format!("`{text}` is longer than the kernel waits")).hint("at most 32767s")),
    }
}

/// Reads a number such as `100k`; k, m and g are powers of 1024.
pub(in crate::config) fn size(text: &str) -> Result<u64, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is not a size")).hint("a whole number, if need be with k, m or g: for example 100k");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(|| Mistake::new(format!("`{text}` is too large")))
}

/// Longer than any timer needs, and far from where adding two of them overflows.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_time_is_read() {
        let cases =
            [("100us", 100), ("500ms", 500_000), ("5s", 5_000_000), ("1m", 60_000_000), ("1h", 3_600_000_000), ("1d", 86_400_000_000)];
        for (text, micros) in cases {
            assert_eq!(duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(duration("250"), Ok(Duration::from_millis(250)), "a bare number counts milliseconds");
        assert_eq!(duration("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "5 s", "1.5s", "-1s", "5S", "5sec", "999999999999999999999s", "366d", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, number) in [("7", 7), ("100k", 102_400), ("1m", 1_048_576), ("2M", 2_097_152), ("1g", 1_073_741_824)] {
            assert_eq!(size(text), Ok(number), "{text}");
        }
        for text in ["", "k", "1kb", "1 k", "-1", "99999999999999g"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
