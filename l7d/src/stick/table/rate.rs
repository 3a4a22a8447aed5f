//! How often something happened lately: in the period that runs, and of the one before it as much as has not passed out of sight.
//!
//! Three words: when the running period began, how much it has seen, and how much the one before saw. This is HAProxy's definition: what
//! the last period saw counts in proportion to the part of it that lies less than a period ago. Times are milliseconds that wrap around.

/// How many words a rate takes.
pub(super) const WORDS: usize = 3;

/// Counts something that happens now.
pub(super) fn add(words: &mut [u32], period: u32, count: u32, now: u32) {
    let [began, current, before] = words else { return };
    let since = now.wrapping_sub(*began);
    if since < period {
        *current = current.saturating_add(count);
        return;
    }
    let is_next = since - period < period;
    (*began, *before) = if is_next { (began.wrapping_add(period), *current) } else { (now, 0) };
    *current = count;
}

/// Returns how much happened within a period up to now.
pub(super) fn read(words: &[u32], period: u32, now: u32) -> u32 {
    let [began, current, before] = words else { return 0 };
    let since = u64::from(now.wrapping_sub(*began));
    let period = u64::from(period.max(1));
    let (past, present, left) = match since {
        running if running <= period => (*before, *current, period - running),
        over if over <= 2 * period => (*current, 0, 2 * period - over),
        _ => return 0,
    };
    // A single event would be none as soon as the slightest part of it were out of sight.
    if present == 0 && past <= 1 {
        return past;
    }
    let total = u64::from(past) * left / period + u64::from(present);
    u32::try_from(total).unwrap_or(u32::MAX)
}

/// Puts a rate in place of what was counted.
pub(super) fn set(words: &mut [u32], rate: u32, now: u32) {
    let [began, current, before] = words else { return };
    (*began, *current, *before) = (now, rate, 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts the events of a list as the definition says, with nothing kept but the list.
    fn defined(events: &[(u64, u32)], period: u64, now: u64) -> u64 {
        let mut began = None;
        for (time, _) in events {
            began = Some(match began {
                None => *time,
                Some(began) if *time < began + period => began,
                Some(began) if *time < began + 2 * period => began + period,
                Some(_) => *time,
            });
        }
        let Some(mut began) = began else { return 0 };
        if now > began + period {
            began += period;
        }
        let sum = |from: u64, to: u64| {
            events.iter().filter(|(time, _)| (from..to).contains(time)).map(|(_, count)| u64::from(*count)).sum::<u64>()
        };
        let (past, present) = (sum(began.saturating_sub(period), began), sum(began, u64::MAX));
        let left = (began + period).saturating_sub(now);
        match (past, present) {
            _ if now > began + period => 0,
            (0 | 1, 0) => past,
            _ => past * left / period + present,
        }
    }

    proptest! {
        #[test]
        fn rates_are_as_defined(
            steps in prop::collection::vec((0_u64..700, 0_u32..5), 1..60),
            period in 1_u32..500,
            rest in 0_u64..1500,
            start in prop_oneof![Just(1_u64 << 20), Just((1 << 32) - 900)],
        ) {
            let mut words = [0; WORDS];
            let (mut events, mut now) = (Vec::new(), start);
            let wrapped = |time: u64| u32::try_from(time & 0xffff_ffff).unwrap();
            for (pause, count) in steps {
                now += pause;
                add(&mut words, period, count, wrapped(now));
                events.push((now, count));
                prop_assert_eq!(u64::from(read(&words, period, wrapped(now))), defined(&events, period.into(), now));
            }
            now += rest;
            prop_assert_eq!(u64::from(read(&words, period, wrapped(now))), defined(&events, period.into(), now));
        }
    }

    #[test]
    fn half_of_a_period_later_half_counts() {
        let mut words = [0; WORDS];
        add(&mut words, 1000, 10, 1_000_000);
        assert_eq!(read(&words, 1000, 1_000_999), 10);
        assert_eq!(read(&words, 1000, 1_001_500), 5);
        add(&mut words, 1000, 2, 1_001_500);
        assert_eq!(read(&words, 1000, 1_001_500), 7);
        assert_eq!(read(&words, 1000, 1_004_000), 0);
    }
}
