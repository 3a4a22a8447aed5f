//! The pairs of `Cookie` and `Set-Cookie` fields, and fields with some of them cut out.

use std::ops::Range;

/// Where one pair lies in its field.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// Up to the delimiter.
    whole: Range<usize>,
    name: Range<usize>,
    /// None where there is no equals sign.
    value: Option<Range<usize>>,
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// It stays.
    Nothing,
    /// It goes.
    Removes,
    /// This is left of it.
    Leaves(Vec<u8>),
}

impl Pair {
    /// Returns the pair that a `Set-Cookie` field begins with.
    pub(super) fn of_response(text: &[u8]) -> Self {
        Self::at(text, 0, b";")
    }

    fn at(text: &[u8], start: usize, delimiters: &[u8]) -> Self {
        let equals = text[start..].iter().position(|byte| *byte == b'=' || delimiters.contains(byte)).map(|place| start + place);
        let equals = equals.filter(|place| text[*place] == b'=');
        let end = end(text, equals.map_or(start, |equals| equals + 1), delimiters);
        let name = trimmed(text, start..equals.unwrap_or(end));
        Self { whole: start..end, name, value: equals.map(|equals| trimmed(text, equals + 1..end)) }
    }

    /// Returns where it lies.
    pub(super) fn whole(&self) -> &Range<usize> {
        &self.whole
    }

    /// Returns the name.
    pub(super) fn name<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        &text[self.name.clone()]
    }

    /// Returns the value.
    pub(super) fn value<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        self.value.clone().map(|value| &text[value])
    }
}

/// Returns the pairs of a `Cookie` field; HAProxy takes a comma for a delimiter, too.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = Pair> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let pair = Pair::at(text, next?, b";,");
        next = Some(pair.whole.end + 1).filter(|start| *start <= text.len());
        Some(pair)
    })
}

/// Returns where a value ends; a delimiter in quotes ends nothing.
fn end(text: &[u8], start: usize, delimiters: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let place = text[start..].iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ => return !quoted && delimiters.contains(byte),
        }
        false
    });
    place.map_or(text.len(), |place| start + place)
}

fn trimmed(text: &[u8], range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_ascii_start().len());
    start..start + part.trim_ascii().len()
}

/// Collects what is cut out of a field.
#[derive(Debug)]
pub(super) struct Cuts {
    cuts: Vec<Range<usize>>,
    /// Whether a pair before the next one stays.
    follows: bool,
    /// Whether a pair stays that is more than an attribute of another.
    is_needed: bool,
    /// Where the last pair ended.
    last: usize,
    length: usize,
}

impl Cuts {
    pub(super) fn new(text: &[u8]) -> Self {
        Self { cuts: Vec::new(), follows: false, is_needed: false, last: 0, length: text.len() }
    }

    /// Leaves a pair as it is.
    pub(super) fn keep(&mut self, pair: &Pair, text: &[u8]) {
        self.follows = true;
        self.is_needed |= !pair.name(text).starts_with(b"$") && !pair.name(text).is_empty();
        self.last = pair.whole.end;
    }

    /// Cuts out a pair with one of the delimiters around it.
    pub(super) fn cut(&mut self, pair: &Pair) {
        let cut = if self.follows { self.last..pair.whole.end } else { pair.whole.start..(pair.whole.end + 1).min(self.length) };
        self.cuts.push(cut);
        self.last = pair.whole.end;
    }

    /// Cuts out the beginning of a value.
    pub(super) fn cut_from_value(&mut self, pair: &Pair, length: usize) {
        if let Some(value) = &pair.value {
            self.cuts.push(value.start..value.start + length);
        }
        (self.follows, self.is_needed, self.last) = (true, true, pair.whole.end);
    }

    /// Returns what becomes of the field.
    pub(super) fn edit(self, text: &[u8]) -> Edit {
        if self.cuts.is_empty() {
            return Edit::Nothing;
        }
        if !self.is_needed {
            return Edit::Removes;
        }
        let mut out = Vec::with_capacity(text.len());
        let mut from = 0;
        for cut in self.cuts {
            out.extend_from_slice(&text[from..cut.start]);
            from = cut.end;
        }
        out.extend_from_slice(&text[from..]);
        Edit::Leaves(out.trim_ascii().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without(text: &str, name: &str) -> Edit {
        let text = text.as_bytes();
        let mut cuts = Cuts::new(text);
        for pair in pairs(text) {
            if pair.name(text) == name.as_bytes() && pair.value(text).is_some() { cuts.cut(&pair) } else { cuts.keep(&pair, text) }
        }
        cuts.edit(text)
    }

    #[test]
    fn a_pair_goes_with_one_delimiter() {
        for (text, left) in [
            ("a=1; S=2; b=3", "a=1; b=3"),
            ("S=2; b=3", "b=3"),
            ("a=1;S=2", "a=1"),
            ("a=1, S=2, b=3", "a=1, b=3"),
            ("S=1; S=2; c=3", "c=3"),
            ("a=1; S=1; S=2; c=3", "a=1; c=3"),
            ("a=1; S =\"x;y\"; c=3", "a=1; c=3"),
            ("a=1; S=2;", "a=1;"),
        ] {
            assert_eq!(without(text, "S"), Edit::Leaves(left.as_bytes().to_vec()), "{text}");
        }
        for text in ["S=2", "$Version=1; S=2; $Path=/", "S=1; S=2", "S=2;"] {
            assert_eq!(without(text, "S"), Edit::Removes, "{text}");
        }
        for text in ["", "s=2", "S", "a=S=2; b", ";;", "a=\"S=1;"] {
            assert_eq!(without(text, "S"), Edit::Nothing, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[ -~]{0,60}") {
            if let Edit::Leaves(left) = without(&text, "S") {
                prop_assert!(left.len() < text.len());
            }
        }
    }
}
