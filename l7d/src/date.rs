//! Dates as log lines write them, in the time zone of the system (`TZ`, else `/etc/localtime`), as HAProxy does.

use std::cell::RefCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// `21/Nov/2026:07:03:16.042`
pub(crate) struct Common(pub(crate) SystemTime);

/// `21/Nov/2026:07:03:16 +0100`, as web servers have it.
pub(crate) struct Web(pub(crate) SystemTime, pub(crate) Zone);

/// `Nov 21 07:03:16`, as RFC 3164 wants it.
pub(crate) struct Syslog(pub(crate) SystemTime);

/// `2026-11-21T07:03:16.042117+01:00`, as RFC 5424 wants it.
pub(crate) struct Iso(pub(crate) SystemTime);

/// `Sat, 21 Nov 2026 07:03:16 +0100 (CET)`, as mails have it.
pub(crate) struct Mail(pub(crate) SystemTime);

/// Whose clock is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// That of the system's time zone.
    Local,
    /// Universal time.
    Utc,
}

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (here, since) = here(self.0);
        day_and_time(here.date, f)?;
        write!(f, ".{:03}", since.subsec_millis())
    }
}

impl Common {
    /// Appends the date; within a second only its end changes, and all before it is copied from the line before.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        COMMON.with_borrow_mut(|(last, text)| {
            if *last != second || text.is_empty() {
                use std::io::Write as _;
                *last = second;
                text.clear();
                write!(text, "{self}").expect("a vector takes everything");
                text.truncate(text.len() - 3);
            }
            out.extend_from_slice(text);
        });
        let milliseconds = since.subsec_millis();
        out.extend([milliseconds / 100, milliseconds / 10 % 10, milliseconds % 10].map(|digit| b"0123456789"[digit as usize]));
    }
}

impl fmt::Display for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Zone::Local => {
                let (here, _) = here(self.0);
                day_and_time(here.date, f)?;
                let (sign, hours, minutes) = here.offset();
                write!(f, " {sign}{hours:02}{minutes:02}")
            }
            Zone::Utc => {
                let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                day_and_time(in_zone(seconds, TimeZone::UTC).date, f)?;
                f.write_str(" +0000")
            }
        }
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Here { date, .. }, _) = here(self.0);
        write!(f, "{} {:2} {:02}:{:02}:{:02}", month(date), date.day(), date.hour(), date.minute(), date.second())
    }
}

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (here, since) = here(self.0);
        let (date, (sign, hours, minutes)) = (here.date, here.offset());
        let (year, month, day) = (date.year(), date.month(), date.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", date.hour(), date.minute(), date.second())?;
        write!(f, ".{:06}{sign}{hours:02}:{minutes:02}", since.subsec_micros())
    }
}

impl fmt::Display for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Timestamp::try_from(self.0).unwrap_or_default().to_zoned(TimeZone::system());
        write!(f, "{}", at.strftime("%a, %d %b %Y %H:%M:%S %z (%Z)"))
    }
}

fn day_and_time(date: DateTime, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (day, month, year) = (date.day(), month(date), date.year());
    write!(f, "{day:02}/{month}/{year:04}:{:02}:{:02}:{:02}", date.hour(), date.minute(), date.second())
}

fn month(date: DateTime) -> &'static str {
    usize::try_from(date.month() - 1).ok().and_then(|month| MONTHS.get(month).copied()).unwrap_or_default()
}

/// What clocks on the wall show, and how far they are ahead of universal time.
#[derive(Clone, Copy)]
struct Here {
    date: DateTime,
    ahead: i32,
}

impl Here {
    /// Returns the sign, the hours and the minutes of how far the zone is ahead.
    fn offset(self) -> (char, i32, i32) {
        let minutes = self.ahead.abs() / 60;
        (if self.ahead < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }
}

/// Returns what clocks on the wall show, and the time since the epoch.
fn here(at: SystemTime) -> (Here, std::time::Duration) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (LAST.with_borrow_mut(|last| last.of(seconds)), since)
}

/// The last second asked for: most lines of a busy proxy share theirs with the one before.
struct Last {
    second: i64,
    here: Here,
}

impl Last {
    fn of(&mut self, second: i64) -> Here {
        if self.second != second {
            self.second = second;
            self.here = in_zone(second, TimeZone::system());
        }
        self.here
    }
}

fn in_zone(second: i64, zone: TimeZone) -> Here {
    let zoned = Timestamp::from_second(second).unwrap_or_default().to_zoned(zone);
    Here { date: zoned.datetime(), ahead: zoned.offset().seconds() }
}

thread_local! {
    /// A second, and [`Common`] of it up to the milliseconds.
    static COMMON: RefCell<(i64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
    static LAST: RefCell<Last> = const { RefCell::new(Last { second: i64::MIN, here: Here { date: DateTime::ZERO, ahead: 0 } }) };
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn date_is_that_of_the_zone() {
        let summer = 1_784_000_000;
        let text = |zone: &str| in_zone(summer, TimeZone::posix(zone).unwrap()).date.to_string();
        assert_eq!(text("UTC0"), "2026-07-14T03:33:20");
        assert_eq!(text("EST5EDT,M3.2.0,M11.1.0"), "2026-07-13T23:33:20");
    }

    #[test]
    fn formats_are_those_of_the_trade() {
        let at = UNIX_EPOCH + Duration::from_millis(1_793_600_000_042);
        let date = in_zone(1_793_600_000, TimeZone::system()).date;
        let (day, year) = (date.day(), date.year());
        let (common, syslog) = (Common(at).to_string(), Syslog(at).to_string());
        assert!(common.starts_with(&format!("{day:02}/")) && common.contains(&format!("/{year}:")) && common.ends_with(".042"), "{common}");
        assert_eq!(common.len(), "21/Nov/2026:07:03:16.042".len());
        assert_eq!(syslog.len(), "Nov 21 07:03:16".len());
        assert_eq!(Web(at, Zone::Utc).to_string(), "02/Nov/2026:06:13:20 +0000");
        assert_eq!(Iso(at).to_string().len(), "2026-11-21T07:03:16.042117+01:00".len());
        assert_eq!(Common(UNIX_EPOCH).to_string().len(), common.len());
        for at in [at, at + Duration::from_millis(957), at + Duration::from_millis(958), UNIX_EPOCH, at] {
            let mut appended = b"[".to_vec();
            Common(at).append(&mut appended);
            assert_eq!(String::from_utf8(appended).unwrap(), format!("[{}", Common(at)));
        }
    }
}
