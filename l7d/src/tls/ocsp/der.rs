//! As much of DER as OCSP takes: values one after the other, each with a tag and a length; pure.

/// Values that have not been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Der<'d>(pub(super) &'d [u8]);

/// A value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'d> {
    pub(super) tag: u8,
    pub(super) content: Der<'d>,
    /// The content with what stands before it.
    pub(super) whole: &'d [u8],
}

impl<'d> Der<'d> {
    /// Takes the next value; none at the end, and where there is no such thing.
    pub(super) fn next(&mut self) -> Option<Value<'d>> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - behind.len()];
        self.0 = behind;
        Some(Value { tag, content: Self(content), whole })
    }

    /// Takes the next value, which has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|value| value.tag == tag).map(|value| value.content)
    }

    /// Takes the next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Self> {
        let mut rest = *self;
        let content = rest.expect(tag)?;
        *self = rest;
        Some(content)
    }

    /// Takes a string of bits that ends with a whole byte.
    pub(super) fn bits(&mut self) -> Option<&'d [u8]> {
        self.expect(BITS)?.0.strip_prefix(&[0])
    }
}

/// Writes a value.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().position(|digit| *digit > 0).unwrap_or(length.len() - 1)..];
    let mut bytes = vec![tag];
    if let [short @ 0..=0x7f] = digits {
        bytes.push(*short);
    } else {
        bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
        bytes.extend_from_slice(digits);
    }
    bytes.extend_from_slice(&content);
    bytes
}

pub(super) const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
pub(super) const BYTES: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// Returns the tag of a value in a place of its own.
pub(super) const fn place(number: u8) -> u8 {
    0xa0 | number
}
