//! Dates as log lines write them, in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// `21/Nov/2026:07:03:16.042`
pub(crate) struct Common(pub(crate) SystemTime);

/// `Nov 21 07:03:16`, as RFC 3164 wants it.
pub(crate) struct Syslog(pub(crate) SystemTime);

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { year, month, day, hour, minute, second, millisecond } = parts(self.0);
        write!(f, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02}.{millisecond:03}")
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { month, day, hour, minute, second, .. } = parts(self.0);
        write!(f, "{month} {day:2} {hour:02}:{minute:02}:{second:02}")
    }
}

struct Parts {
    year: u64,
    month: &'static str,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u32,
}

/// Splits a moment by the civil calendar, counting days from 1 March so that leap days come last in their year.
fn parts(at: SystemTime) -> Parts {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let days = days + DAYS_BEFORE_EPOCH;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let past_december = u64::from(month_from_march >= 10);
    let month = usize::try_from(month_from_march).unwrap_or_default();
    Parts {
        year: era * 400 + year_of_era + past_december,
        month: MONTHS[month],
        day,
        hour: seconds / 3_600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        millisecond: since.subsec_millis(),
    }
}

/// Days from 1 March of year 0 to 1 January 1970.
const DAYS_BEFORE_EPOCH: u64 = 719_468;
/// Days of 400 years.
const DAYS_OF_ERA: u64 = 146_097;
const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn calendar_is_right_around_leap_days_and_years() {
        let cases = [
            (0, "01/Jan/1970:00:00:00.000"),
            (951_782_399, "28/Feb/2000:23:59:59.000"),
            (951_782_400, "29/Feb/2000:00:00:00.000"),
            (951_868_800, "01/Mar/2000:00:00:00.000"),
            (1_795_244_596, "21/Nov/2026:07:03:16.000"),
            (4_107_542_399, "28/Feb/2100:23:59:59.000"),
            (4_107_542_400, "01/Mar/2100:00:00:00.000"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Common(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), expected);
        }
        let at = UNIX_EPOCH + Duration::from_millis(1_793_600_000_042);
        assert!(Common(at).to_string().ends_with(".042"));
        assert_eq!(Syslog(UNIX_EPOCH).to_string(), "Jan  1 00:00:00");
    }
}
