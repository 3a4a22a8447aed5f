//! Whom services are guarded against: prefixes that are denied or trusted, and how fast a single source may be.
//!
//! A rate is kept as one time per source (the generic cell rate algorithm): when the source would be back at its even pace. Every packet moves it on by
//! one interval; a source whose time lies more than a second ahead is too fast. A time that has passed says nothing and may be forgotten.

use crate::{
    addr::Addr,
    flow::{HashKey, mix, scale},
    limits::PACE_LINES,
};

/// What is done with packets from a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ruling {
    /// They are dropped.
    Deny,
    /// They are neither dropped nor counted against a rate.
    Allow,
}

impl Ruling {
    /// Reads a word of the map; the program needs no more of it.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        if word as u8 == 1 { Self::Deny } else { Self::Allow }
    }
}

/// Who made a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The configuration: it goes when that says so.
    File,
    /// A command: it outlives reloads and restarts.
    Command {
        /// When it ends, in seconds since 1970; 0 is never.
        until: u64,
    },
}

/// What is done with packets from a prefix, and who says so: a word in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What is done.
    pub ruling: Ruling,
    /// Who says so.
    pub origin: Origin,
}

/// The bit of a rule's word that tells commands from the file.
const BY_COMMAND: u64 = 1 << 8;
/// Where the end of a rule begins in its word.
const UNTIL_SHIFT: u32 = 16;

impl Rule {
    /// Returns the word in the map.
    pub const fn word(self) -> u64 {
        let ruling = match self.ruling {
            Ruling::Deny => 1,
            Ruling::Allow => 2,
        };
        match self.origin {
            Origin::File => ruling,
            Origin::Command { until } => ruling | BY_COMMAND | until << UNTIL_SHIFT,
        }
    }

    /// Reads a word of the map.
    pub const fn from_word(word: u64) -> Self {
        let origin = if word & BY_COMMAND == 0 { Origin::File } else { Origin::Command { until: word >> UNTIL_SHIFT } };
        Self { ruling: Ruling::from_word(word), origin }
    }
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// TCP connections that open.
    Connections,
    /// Packets.
    Packets,
    /// Connections that open with a listener of the host, whoever opens them.
    Openings,
}

/// What is guarded, and by which rates; all zero is nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// New connections each source may open in a second; 0 is any number.
    pub connections: u32,
    /// Packets each source may send in a second; 0 is any number.
    pub packets: u32,
    /// How many prefixes there are.
    pub prefixes: u32,
    /// Always 0, which the verifier does not know: see [`Settings::blur`](crate::settings::Settings::blur).
    pub zero: u32,
}

impl Guard {
    /// Tells whether any packet needs a look.
    #[inline(always)]
    pub const fn is_idle(&self) -> bool {
        self.connections | self.packets | self.prefixes == 0
    }

    /// Returns the two words of it.
    pub const fn words(&self) -> [u64; 2] {
        [self.connections as u64 | (self.packets as u64) << 32, self.prefixes as u64]
    }

    /// Reads it from its words.
    pub const fn from_words([rates, prefixes]: [u64; 2]) -> Self {
        Self { connections: rates as u32, packets: (rates >> 32) as u32, prefixes: prefixes as u32, zero: 0 }
    }
}

/// Bits of a pace that hold the time, in units of 1,024 ns; they wrap after twelve days.
const TIME_BITS: u32 = 40;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// A second in that unit, nearly: how far ahead a source may be.
const AHEAD: u64 = 1_000_000_000 >> 10;

/// How far ahead one source is: a part of its hash, and its time.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace(pub u64);

/// Eight of them, a cache line.
pub type PaceLine = [u64; 8];

/// Where the pace of a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacePlace {
    /// The line.
    pub line: u32,
    /// What tells it apart there.
    tag: u64,
}

impl PacePlace {
    /// Returns the place for a source and what is counted; IPv6 sources of one /64 are one, since each host has all of it.
    #[inline(always)]
    pub const fn of(source: &Addr, counted: Counted, key: &HashKey) -> Self {
        let [high, low] = source.words();
        let low = if source.is_v4() { low } else { 0 };
        let hash = mix(mix(mix(key.0[1], high), low), 0x5eed + counted as u64);
        Self { line: scale(hash as u32, PACE_LINES), tag: (hash >> TIME_BITS) | 1 }
    }
}

impl Pace {
    /// Returns now in the unit of paces.
    #[inline(always)]
    pub const fn time(nanoseconds: u64) -> u64 {
        nanoseconds >> 10 & TIME
    }

    /// Tells whether this is the pace of a source.
    #[inline(always)]
    pub const fn is(self, place: &PacePlace) -> bool {
        self.0 >> TIME_BITS == place.tag
    }

    /// Returns how far ahead it is; 0 when its time has passed.
    #[inline(always)]
    pub const fn ahead(self, now: u64) -> u64 {
        let ahead = self.0.wrapping_sub(now) & TIME;
        // More than that no pace can be: its time has passed.
        if ahead > 2 * AHEAD { 0 } else { ahead }
    }

    /// Returns the pace after one more of a source, `rate` of which are allowed in a second; none: that is too many.
    ///
    /// `self` is the source's own pace, or one that makes room.
    #[inline(always)]
    pub const fn after(self, place: &PacePlace, now: u64, rate: u32) -> Option<Self> {
        let ahead = if self.is(place) { self.ahead(now) } else { 0 };
        let interval = AHEAD / rate as u64 + 1;
        // Even the slowest rate admits one.
        if ahead > 0 && ahead + interval > AHEAD + interval / 2 {
            return None;
        }
        Some(Self(place.tag << TIME_BITS | now.wrapping_add(ahead).wrapping_add(interval) & TIME))
    }
}

const _: () = assert!(size_of::<Guard>() == 16);

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    fn place(last: u8, counted: Counted) -> PacePlace {
        PacePlace::of(&Addr::from(IpAddr::from([192, 0, 2, last])), counted, &HashKey([1, 2]))
    }

    /// Returns how many of a source are admitted that come every `step` units for a while.
    fn admitted(rate: u32, step: u64, count: u64) -> u64 {
        let place = place(1, Counted::Packets);
        let mut pace = Pace::default();
        let mut admitted = 0;
        for n in 0..count {
            if let Some(next) = pace.after(&place, Pace::time((n * step + 5) << 10), rate) {
                (pace, admitted) = (next, admitted + 1);
            }
        }
        admitted
    }

    #[test]
    fn a_second_of_burst_and_then_the_rate() {
        for rate in [1, 7, 100, 10_000] {
            let burst = admitted(rate, 0, 100_000);
            assert!(burst.abs_diff(u64::from(rate)) <= 1 + u64::from(rate) / 50, "{rate}: {burst}");
            // Some ten seconds at ten times the rate.
            let (step, count) = (AHEAD / u64::from(rate) / 10, u64::from(rate) * 100);
            let expected = u64::from(rate) + u64::from(rate) * step * count / AHEAD;
            let flood = admitted(rate, step, count);
            assert!(flood.abs_diff(expected) <= 2 + u64::from(rate) / 5, "{rate}: {flood}, not {expected}");
            // Somewhat under the rate nobody is refused.
            let count = u64::from(rate) * 10;
            assert_eq!(admitted(rate, AHEAD / u64::from(rate) * 11 / 10 + 2, count), count, "{rate}");
        }
    }

    #[test]
    fn sources_and_what_is_counted_are_told_apart() {
        assert_ne!(place(1, Counted::Packets), place(2, Counted::Packets));
        assert_ne!(place(1, Counted::Packets), place(1, Counted::Connections));
        let v6 = |text: &str| PacePlace::of(&Addr::from(text.parse::<IpAddr>().unwrap()), Counted::Packets, &HashKey([1, 2]));
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:2"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
    }

    #[test]
    fn a_passed_time_makes_room_before_any_other() {
        let now = Pace::time(77 << 40);
        let busy = Pace::default().after(&place(1, Counted::Packets), now, 1).unwrap();
        assert!(busy.ahead(now) > 0);
        assert_eq!(busy.ahead(now + 3 * AHEAD), 0);
        assert_eq!(Pace::default().ahead(now), 0);
    }

    #[test]
    fn rules_keep_their_parts() {
        for ruling in [Ruling::Deny, Ruling::Allow] {
            for origin in [Origin::File, Origin::Command { until: 0 }, Origin::Command { until: 1 << 33 }] {
                let rule = Rule { ruling, origin };
                assert_eq!((Rule::from_word(rule.word()), Ruling::from_word(rule.word())), (rule, ruling));
            }
        }
    }

    #[test]
    fn words_are_the_guard() {
        let guard = Guard { connections: 5, packets: 7, prefixes: 9, zero: 0 };
        assert_eq!(Guard::from_words(guard.words()), guard);
        assert!(!guard.is_idle() && Guard::default().is_idle());
    }
}
