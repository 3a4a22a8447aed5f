//! The Huffman code of header compression (RFC 7541 appendix B), which HTTP/3 shares.
//!
//! The code is canonical: the lengths of its words say it all, and decoding walks one word length after the other.

/// How long the word of each byte is in bits; the last one marks the end, and never stands in a text.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10,
    10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6,
    7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23,
    21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22,
    22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27,
    26, 30,
];

/// Longest word in bits.
const LONGEST: usize = 30;

/// What decoding goes by.
struct Code {
    /// By length: the first word, how many there are, and where their bytes begin in `bytes`.
    words: [(u32, u32, u32); LONGEST + 1],
    /// The bytes in the order of their words.
    bytes: [u16; 257],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self { words: [(0, 0, 0); LONGEST + 1], bytes: [0; 257] };
        let (mut word, mut next, mut length) = (0, 0, 1);
        while length <= LONGEST {
            word <<= 1;
            let (first, begin) = (word, next);
            let mut byte: u16 = 0;
            while byte < 257 {
                if LENGTHS[byte as usize] as usize == length {
                    code.bytes[next as usize] = byte;
                    next += 1;
                    word += 1;
                }
                byte += 1;
            }
            code.words[length] = (first, next - begin, begin);
            length += 1;
        }
        code
    }
}

/// Decodes a text, which must not become longer than `most`; none if it is no text of this code.
pub(super) fn decode(coded: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(most.min(coded.len() * 2));
    let (mut word, mut length) = (0u32, 0usize);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        (word, length) = (word << 1 | bit, length + 1);
        let (first, count, begin) = *CODE.words.get(length)?;
        let place = word.wrapping_sub(first);
        if place < count {
            let byte = CODE.bytes[usize::try_from(begin + place).ok()?];
            // The end never stands in a text.
            text.push(u8::try_from(byte).ok()?);
            if text.len() > most {
                return None;
            }
            (word, length) = (0, 0);
        }
    }
    // What is left is the beginning of the end, and less than a byte.
    let is_padding = length < 8 && word == (1 << length) - 1;
    is_padding.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_rfc_are_read() {
        let www = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&www, 100).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], 100).unwrap(), b"no-cache");
        assert_eq!(decode(&[0xae, 0xc3, 0x77, 0x1a, 0x4b], 100).unwrap(), b"private");
        assert_eq!(decode(&[], 0).unwrap(), b"");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff], 100), None, "the end");
        assert_eq!(decode(&[0xff], 100), None, "a byte of padding");
        assert_eq!(decode(&[0x00, 0x00], 100), None, "padding with zeros");
        assert_eq!(decode(&[0xae, 0xc3, 0x77, 0x1a, 0x4b], 6), None, "too long");
    }
}
