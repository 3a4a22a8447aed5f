//! What entries are found by, in words of fixed length.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use control::config::TableKey;

/// A key in the form of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// Up to 32 bytes.
    Short([u32; SHORT], u8),
    /// More.
    Long(Box<[u32]>),
}

const SHORT: usize = 8;

impl Key {
    /// Makes a key of an address; none where the table holds no such addresses.
    pub(crate) fn of_address(kind: TableKey, address: IpAddr) -> Option<Self> {
        match (kind, address.to_canonical()) {
            (TableKey::Ip, IpAddr::V4(v4)) => Some(Self::of_words(&[u32::from(v4)])),
            (TableKey::Ipv6, IpAddr::V4(v4)) => Some(Self::of_bytes(&v4.to_ipv6_mapped().octets(), 16)),
            (TableKey::Ipv6, IpAddr::V6(v6)) => Some(Self::of_bytes(&v6.octets(), 16)),
            (TableKey::Ip | TableKey::Integer | TableKey::String(_) | TableKey::Binary(_), _) => None,
        }
    }

    /// Makes a key of a number.
    pub(crate) fn of_number(number: u32) -> Self {
        Self::of_words(&[number])
    }

    /// Makes a key of so many bytes at most: others are cut, and zeros fill what is missing. A text ends at its first zero.
    pub(crate) fn of_bytes(bytes: &[u8], most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(most)];
        let count = most.div_ceil(4);
        let word = |part: &[u8]| {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            u32::from_be_bytes(word)
        };
        if count <= SHORT {
            let mut words = [0; SHORT];
            words.iter_mut().zip(bytes.chunks(4)).for_each(|(to, part)| *to = word(part));
            return Self::Short(words, u8::try_from(count).expect("at most eight"));
        }
        let mut words = vec![0; count];
        words.iter_mut().zip(bytes.chunks(4)).for_each(|(to, part)| *to = word(part));
        Self::Long(words.into())
    }

    /// Reads a key as it is shown.
    pub(crate) fn parse(kind: TableKey, text: &str) -> Option<Self> {
        match kind {
            TableKey::Ip | TableKey::Ipv6 => Self::of_address(kind, text.parse().ok()?),
            TableKey::Integer => text.parse().ok().map(Self::of_number),
            TableKey::String(most) => Some(Self::of_bytes(text.as_bytes(), most)),
            TableKey::Binary(most) => {
                let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
                let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
                let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
                bytes.map(|bytes| Self::of_bytes(&bytes, most))
            }
        }
    }

    pub(super) fn of_entry(from: &[u32]) -> Self {
        let mut words = [0; SHORT];
        match (words.get_mut(..from.len()), u8::try_from(from.len())) {
            (Some(part), Ok(count)) => {
                part.copy_from_slice(from);
                Self::Short(words, count)
            }
            _ => Self::Long(from.into()),
        }
    }

    fn of_words(from: &[u32; 1]) -> Self {
        let mut words = [0; SHORT];
        words[..1].copy_from_slice(from);
        Self::Short(words, 1)
    }

    pub(super) fn words(&self) -> &[u32] {
        match self {
            Self::Short(words, count) => &words[..usize::from(*count)],
            Self::Long(words) => words,
        }
    }
}

/// Returns how many words the keys of a table take.
pub(super) fn width(kind: TableKey) -> usize {
    match kind {
        TableKey::Ip | TableKey::Integer => 1,
        TableKey::Ipv6 => 4,
        TableKey::String(most) | TableKey::Binary(most) => usize::try_from(most).unwrap_or(usize::MAX).div_ceil(4),
    }
}

/// Prints a key.
pub(super) fn show(kind: TableKey, words: &[u32]) -> String {
    let bytes = || words.iter().flat_map(|word| word.to_be_bytes());
    match kind {
        TableKey::Ip => Ipv4Addr::from(words.first().copied().unwrap_or_default()).to_string(),
        TableKey::Integer => words.first().copied().unwrap_or_default().to_string(),
        TableKey::Ipv6 => {
            let mut octets = [0; 16];
            octets.iter_mut().zip(bytes()).for_each(|(to, byte)| *to = byte);
            Ipv6Addr::from(octets).to_string()
        }
        TableKey::String(_) => {
            let text: Vec<u8> = bytes().take_while(|byte| *byte != 0).collect();
            let mut out = String::new();
            text.iter().for_each(|byte| show_byte(*byte, &mut out));
            out
        }
        TableKey::Binary(most) => {
            let mut out = String::new();
            for byte in bytes().take(usize::try_from(most).unwrap_or(usize::MAX)) {
                write!(out, "{byte:02X}").expect("a string takes everything");
            }
            out
        }
    }
}

/// Writes a byte of a text so that the text is one word, as HAProxy does.
fn show_byte(byte: u8, out: &mut String) {
    let letter = match byte {
        b'\t' => 't',
        b'\n' => 'n',
        b'\r' => 'r',
        0x1b => 'e',
        b'\\' | b' ' | b'=' => char::from(byte),
        b'!'..=b'~' => return out.push(char::from(byte)),
        _ => return write!(out, "\\x{byte:02X}").expect("a string takes everything"),
    };
    out.extend(['\\', letter]);
}
