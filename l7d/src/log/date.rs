//! Dates as log lines write them, in the time zone of the system (`TZ`, else `/etc/localtime`), as HAProxy does.

use std::cell::RefCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// `21/Nov/2026:07:03:16.042`
pub(crate) struct Common(pub(crate) SystemTime);

/// `Nov 21 07:03:16`, as RFC 3164 wants it.
pub(crate) struct Syslog(pub(crate) SystemTime);

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, millisecond) = here(self.0);
        let (day, month, year) = (date.day(), month(date), date.year());
        let (hour, minute, second) = (date.hour(), date.minute(), date.second());
        write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02}.{millisecond:03}")
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, _) = here(self.0);
        write!(f, "{} {:2} {:02}:{:02}:{:02}", month(date), date.day(), date.hour(), date.minute(), date.second())
    }
}

fn month(date: DateTime) -> &'static str {
    usize::try_from(date.month() - 1).ok().and_then(|month| MONTHS.get(month).copied()).unwrap_or_default()
}

/// Returns what clocks on the wall show, and the milliseconds.
fn here(at: SystemTime) -> (DateTime, u32) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (LAST.with_borrow_mut(|last| last.of(seconds)), since.subsec_millis())
}

/// The last second asked for: most lines of a busy proxy share theirs with the one before.
struct Last {
    second: i64,
    date: DateTime,
}

impl Last {
    fn of(&mut self, second: i64) -> DateTime {
        if self.second != second {
            self.second = second;
            self.date = in_zone(second, TimeZone::system());
        }
        self.date
    }
}

fn in_zone(second: i64, zone: TimeZone) -> DateTime {
    Timestamp::from_second(second).unwrap_or_default().to_zoned(zone).datetime()
}

thread_local! {
    static LAST: RefCell<Last> = const { RefCell::new(Last { second: i64::MIN, date: DateTime::ZERO }) };
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn date_is_that_of_the_zone() {
        let summer = 1_784_000_000;
        let text = |zone: &str| in_zone(summer, TimeZone::posix(zone).unwrap()).to_string();
        assert_eq!(text("UTC0"), "2026-07-14T03:33:20");
        assert_eq!(text("EST5EDT,M3.2.0,M11.1.0"), "2026-07-13T23:33:20");
    }

    #[test]
    fn formats_are_those_of_the_trade() {
        let at = UNIX_EPOCH + Duration::from_millis(1_793_600_000_042);
        let date = in_zone(1_793_600_000, TimeZone::system());
        let (day, year) = (date.day(), date.year());
        let (common, syslog) = (Common(at).to_string(), Syslog(at).to_string());
        assert!(common.starts_with(&format!("{day:02}/")) && common.contains(&format!("/{year}:")) && common.ends_with(".042"), "{common}");
        assert_eq!(common.len(), "21/Nov/2026:07:03:16.042".len());
        assert_eq!(syslog.len(), "Nov 21 07:03:16".len());
        assert_eq!(Common(UNIX_EPOCH).to_string().len(), common.len());
    }
}
