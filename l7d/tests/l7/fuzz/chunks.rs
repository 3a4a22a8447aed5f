//! Chunked bodies: the decoder against a second one, written for nothing but being plain.

use l7d::h1::SyntaxError;
use l7d::h1::chunked::{Decoder, Piece};

use super::{WORDS, cuts, fuzz};

const BODIES: &[&[u8]] = &[
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\nGET /",
    b"5;name=\"a;b\"\r\nhello\r\n00A \r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nY:\r\n\r\n",
    b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\nff\r\n",
    b"10000000000000000\r\n",
];

/// What a decoder makes of a body that comes in these pieces.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    content: Vec<u8>,
    /// How many bytes belong to the body, if its end was reached.
    length: Option<usize>,
    error: Option<SyntaxError>,
}

fn decode(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let (mut decoder, mut content, mut used) = (Decoder::new(), Vec::new(), 0);
    let mut steps = 0;
    for pair in cuts.windows(2) {
        let mut input = &bytes[pair[0]..pair[1]];
        while !input.is_empty() {
            steps += 1;
            assert!(steps <= 2 * bytes.len() + cuts.len(), "work without progress");
            let count = match decoder.next(input) {
                Ok(Piece::Framing(count)) => count,
                Ok(Piece::Data(count)) => {
                    content.extend_from_slice(&input[..count]);
                    count
                }
                Ok(Piece::End) => return Outcome { content, length: Some(used), error: None },
                Err(error) => return Outcome { content, length: None, error: Some(error) },
            };
            assert!(count > 0 && count <= input.len());
            used += count;
            input = &input[count..];
        }
    }
    let length = decoder.is_finished().then_some(used);
    Outcome { content, length, error: None }
}

/// Takes a body apart line by line; `None` if it is not valid or not complete.
fn plain(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    let line = |at: usize| {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let line = bytes[at..end].strip_suffix(b"\r")?;
        line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)).then_some((line, end + 1))
    };
    loop {
        let (size, next) = line(at)?;
        let size = size.split(|byte| *byte == b';').next()?.trim_ascii_end();
        if size.is_empty() || size.len() > 16 || !size.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = u64::from_str_radix(str::from_utf8(size).ok()?, 16).ok()?;
        at = next;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        content.extend_from_slice(bytes.get(at..end)?);
        at = end + 2;
        if bytes.get(end..at)? != b"\r\n" {
            return None;
        }
    }
    loop {
        let (field, next) = line(at)?;
        at = next;
        if field.is_empty() {
            return Some((content, at));
        }
        let name = &field[..field.iter().position(|byte| *byte == b':')?];
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let refused: [&[u8]; 9] = [
            b"connection",
            b"content-length",
            b"expect",
            b"host",
            b"keep-alive",
            b"proxy-connection",
            b"te",
            b"transfer-encoding",
            b"upgrade",
        ];
        if name.is_empty() || !name.iter().all(is_token) || refused.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            return None;
        }
    }
}

#[test]
fn chunked_bodies() {
    fuzz(200_000, BODIES, WORDS, |bytes, seed| {
        let whole = decode(bytes, &[0, bytes.len()]);
        assert_eq!(decode(bytes, &cuts(seed, bytes.len())), whole, "it depends on how the bytes arrive");
        if let Some(error) = whole.error {
            assert_eq!(error.found, bytes.get(error.offset).copied());
        }
        match plain(bytes) {
            Some((content, length)) => assert_eq!((&whole.content, whole.length), (&content, Some(length))),
            None => assert_eq!(whole.length, None, "only one of two readers takes it"),
        }
        let mut passing = Decoder::new();
        match passing.pass(bytes) {
            Ok(count) => assert_eq!(whole.length.unwrap_or(bytes.len()), count),
            Err(error) => assert_eq!(Some(error), whole.error),
        }
    });
}
