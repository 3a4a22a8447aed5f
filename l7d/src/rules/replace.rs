//! What is put in the place of a match: text in which `\1` stands for what the first group matched.

use regex::bytes::Captures;

/// A text with places for what groups matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replacement(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    Group(usize),
}

/// Longest outcome of a replacement: far more than fits into a head.
pub(super) const LONGEST: usize = 256 * 1024;

impl Replacement {
    /// Reads `\0` to `\9` as groups; a backslash before anything else is taken away, and one at the end stands for itself.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text.iter();
        while let Some(byte) = rest.next() {
            match (byte, rest.as_slice().first()) {
                (b'\\', Some(digit @ b'0'..=b'9')) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                    }
                    pieces.push(Piece::Group(usize::from(digit - b'0')));
                    rest.next();
                }
                (b'\\', Some(b'x')) => plain.push(hexadecimal(&mut rest).unwrap_or(b'\\')),
                (b'\\', Some(other)) => {
                    plain.push(*other);
                    rest.next();
                }
                (other, _) => plain.push(*other),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Self(pieces.into())
    }

    /// Appends the text with what the groups matched.
    pub(super) fn write(&self, groups: &Captures<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Group(number) => out.extend_from_slice(groups.get(*number).map_or(&[][..], |group| group.as_bytes())),
            }
        }
    }
}

/// Reads the two digits behind `\x`, and leaves everything unread if there are none.
fn hexadecimal(rest: &mut std::slice::Iter<'_, u8>) -> Option<u8> {
    let digits = rest.as_slice().get(1..3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    let value = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    *rest = rest.as_slice()[3..].iter();
    Some(value)
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;

    #[test]
    fn groups_stand_where_they_are_asked_for() {
        let regex = Regex::new("(b)(x)?").unwrap();
        let groups = regex.captures(b"abc").unwrap();
        for (text, expected) in
            [("", ""), (r"<\1>", "<b>"), (r"\0\0", "bb"), (r"\2|\7", "|"), (r"\\1", r"\1"), (r"\a\", r"a\"), (r"\x41\xzz", r"A\xzz")]
        {
            let mut out = Vec::new();
            Replacement::parse(text.as_bytes()).write(&groups, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        }
    }
}
