//! Sets of numbers, as ranges.

/// How the numbers that follow in a list of patterns are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Comparison {
    Equal,
    GreaterOrEqual,
    Greater,
    LessOrEqual,
    Less,
}

impl Comparison {
    /// Returns the comparison of that name.
    pub(in crate::rules) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Equal,
            "ge" => Self::GreaterOrEqual,
            "gt" => Self::Greater,
            "le" => Self::LessOrEqual,
            "lt" => Self::Less,
            _ => return None,
        })
    }
}

/// A set of numbers.
#[derive(Debug)]
pub(in crate::rules) struct Numbers {
    /// Both ends belong to it. Invariant: sorted, and none touches the next.
    ranges: Vec<(i64, i64)>,
}

impl Numbers {
    /// Makes the set of everything in these ranges.
    pub(in crate::rules) fn new(mut ranges: Vec<(i64, i64)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }

    /// Tells whether a number belongs to the set.
    pub(in crate::rules) fn contain(&self, value: i64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= value);
        after > 0 && value <= self.ranges[after - 1].1
    }

    /// Reads a number or a range `low:high` and how it is compared.
    pub(in crate::rules) fn parse(text: &str, comparison: Comparison) -> Option<(i64, i64)> {
        let number = |text: &str| text.parse::<i64>().ok();
        let (low, high) = match text.split_once(':') {
            Some((low, high)) => {
                let low = if low.is_empty() { Some(i64::MIN) } else { number(low) };
                let high = if high.is_empty() { Some(i64::MAX) } else { number(high) };
                (low?, high?)
            }
            None => (number(text)?, number(text)?),
        };
        Some(match comparison {
            Comparison::Equal => (low, high),
            Comparison::GreaterOrEqual => (low, i64::MAX),
            Comparison::Greater => (low.saturating_add(1), i64::MAX),
            Comparison::LessOrEqual => (i64::MIN, high),
            Comparison::Less => (i64::MIN, high.saturating_sub(1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_and_comparisons_are_read() {
        let cases = [
            ("5", Comparison::Equal, (5, 5)),
            ("5:7", Comparison::Equal, (5, 7)),
            (":7", Comparison::Equal, (i64::MIN, 7)),
            ("5:", Comparison::Equal, (5, i64::MAX)),
            ("-1", Comparison::Equal, (-1, -1)),
            ("5", Comparison::Greater, (6, i64::MAX)),
            ("5", Comparison::GreaterOrEqual, (5, i64::MAX)),
            ("5", Comparison::Less, (i64::MIN, 4)),
            ("5", Comparison::LessOrEqual, (i64::MIN, 5)),
        ];
        for (text, comparison, range) in cases {
            assert_eq!(Numbers::parse(text, comparison), Some(range), "{comparison:?} {text}");
        }
        for text in ["", "a", "1.5", "1:b", "0x10", "99999999999999999999"] {
            assert_eq!(Numbers::parse(text, Comparison::Equal), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_set_contains_what_one_of_its_ranges_does(ranges in prop::collection::vec((-20_i64..20, -20_i64..20), 0..8), value in -25_i64..25) {
            let expected = ranges.iter().any(|(first, last)| (*first..=*last).contains(&value));
            prop_assert_eq!(Numbers::new(ranges).contain(value), expected);
        }
    }
}
