//! Header compression (RFC 9204) without its dynamic table: both sides may do without, and a table would be memory that clients fill.
//!
//! We say in our settings that there is no table, so a head that refers to one is an error of its sender, and what we send refers to the
//! static table at most.

mod fields;
mod huffman;

use bytes::{BufMut, Bytes};
use fields::FIELDS;

/// Why a head cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It is cut short, or refers to what is not there.
    #[error("a head that cannot be decompressed")]
    Broken,
    /// It is larger than it may be.
    #[error("a head that is too large")]
    TooLarge,
}

/// A name and a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Bytes,
    pub(super) value: Bytes,
}

/// Reads the fields of a head, of which names, values and 32 bytes for each must not exceed `most` (RFC 9114 section 4.2.2).
pub(super) fn decode(block: &[u8], most: usize) -> Result<Vec<Field>, Fault> {
    let mut input = Input { bytes: block };
    // Both parts of the prefix are about the dynamic table.
    let (required, _) = input.integer(8)?;
    let (base, _) = input.integer(7)?;
    if required != 0 || base != 0 {
        return Err(Fault::Broken);
    }
    let (mut fields, mut left) = (Vec::new(), most);
    while let Some(first) = input.bytes.first().copied() {
        let field = match first {
            0b1100_0000.. => {
                let (name, value) = entry(input.integer(6)?.0)?;
                Field { name: Bytes::from_static(name.as_bytes()), value: Bytes::from_static(value.as_bytes()) }
            }
            0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
                let (name, _) = entry(input.integer(4)?.0)?;
                Field { name: Bytes::from_static(name.as_bytes()), value: input.text(7, left)? }
            }
            0b0010_0000..=0b0011_1111 => {
                let name = input.text(3, left)?;
                Field { name, value: input.text(7, left)? }
            }
            // What is left refers to the dynamic table.
            _ => return Err(Fault::Broken),
        };
        left = left.checked_sub(field.name.len() + field.value.len() + OVERHEAD).ok_or(Fault::TooLarge)?;
        fields.push(field);
    }
    Ok(fields)
}

fn entry(index: usize) -> Result<(&'static str, &'static str), Fault> {
    FIELDS.get(index).copied().ok_or(Fault::Broken)
}

struct Input<'a> {
    bytes: &'a [u8],
}

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.bytes.split_first().ok_or(Fault::Broken)?;
        self.bytes = rest;
        Ok(*first)
    }

    /// Reads an integer whose first byte has this many bits for it (RFC 7541 section 5.1), and returns what else is in that byte.
    fn integer(&mut self, bits: u32) -> Result<(usize, u8), Fault> {
        let (first, mask) = (self.byte()?, u8::MAX >> (8 - bits));
        let mut value = usize::from(first & mask);
        if value == usize::from(mask) {
            let mut shift = 0;
            loop {
                let byte = self.byte()?;
                value += usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > MOST_SHIFT {
                    return Err(Fault::Broken);
                }
            }
        }
        Ok((value, first & !mask))
    }

    /// Reads a text whose first byte has this many bits for its length, and one more that says whether it is compressed.
    fn text(&mut self, bits: u32, most: usize) -> Result<Bytes, Fault> {
        let (length, flags) = self.integer(bits)?;
        if length > self.bytes.len() {
            return Err(Fault::Broken);
        }
        let (text, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        if flags & 1 << bits == 0 {
            return if length > most { Err(Fault::TooLarge) } else { Ok(Bytes::copy_from_slice(text)) };
        }
        // No word is shorter than five bits.
        let longest = length.saturating_mul(8) / 5;
        let text = huffman::decode(text, longest).ok_or(Fault::Broken)?;
        if text.len() > most { Err(Fault::TooLarge) } else { Ok(text.into()) }
    }
}

/// Begins a head.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.put_slice(&[0, 0]);
}

/// Adds a field to a head.
pub(super) fn encode(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let known = |wanted: &dyn Fn(&str) -> bool| FIELDS.iter().position(|(known, own)| known.as_bytes() == name && wanted(own));
    if let Some(index) = known(&|own| own.as_bytes() == value) {
        return put_integer(index, 6, 0b1100_0000, out);
    }
    match known(&|_| true) {
        Some(index) => put_integer(index, 4, 0b0101_0000, out),
        None => {
            put_integer(name.len(), 3, 0b0010_0000, out);
            out.put_slice(name);
        }
    }
    put_integer(value.len(), 7, 0, out);
    out.put_slice(value);
}

fn put_integer(value: usize, bits: u32, flags: u8, out: &mut Vec<u8>) {
    let mask = u8::MAX >> (8 - bits);
    if let Some(short) = u8::try_from(value).ok().filter(|value| *value < mask) {
        return out.push(flags | short);
    }
    out.push(flags | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// What a field counts for beside its bytes.
const OVERHEAD: usize = 32;
/// Longer integers than a head has room for are not worth reading.
const MOST_SHIFT: u32 = 28;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(fields: &[Field]) -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        fields.iter().map(|field| (text(&field.name), text(&field.value))).collect()
    }

    #[test]
    fn example_of_the_rfc_is_read() {
        let block = [&[0, 0, 0x51, 0x0b][..], b"/index.html"].concat();
        assert_eq!(shown(&decode(&block, 1000).unwrap()), [(":path".to_owned(), "/index.html".to_owned())]);
    }

    #[test]
    fn what_refers_to_the_dynamic_table_or_beyond_is_refused() {
        for block in [
            &[][..],
            &[0],
            &[1, 0],
            &[0, 1],
            &[0, 0, 0x80],
            &[0, 0, 0x10],
            &[0, 0, 0x40, 1, b'x'],
            &[0, 0, 0xff, 36],
            &[0, 0, 0x51, 5, b'/'],
            &[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert_eq!(decode(block, 1000), Err(Fault::Broken), "{block:?}");
        }
        assert_eq!(decode(&[0, 0, 0xd1, 0xd1], 60), Err(Fault::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(fields) = decode(&block, 500) {
                prop_assert!(fields.iter().map(|field| field.name.len() + field.value.len()).sum::<usize>() <= 500);
            }
        }

        #[test]
        fn what_is_written_is_read(fields in proptest::collection::vec((":status|x-[a-z]{0,20}|age|content-type", "[ -~]{0,200}"), 0..20)) {
            let mut block = Vec::new();
            begin(&mut block);
            fields.iter().for_each(|(name, value)| encode(name.as_bytes(), value.as_bytes(), &mut block));
            prop_assert_eq!(shown(&decode(&block, 100_000).unwrap()), fields);
        }
    }
}
