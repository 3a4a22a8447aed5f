//! Changes of text.

use std::borrow::Cow;
use std::ops::Range;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::Selection;
use crate::base64;
use crate::rules::sample::Sample;

/// Changes text that needs it and leaves the rest where it is.
pub(super) fn changed<'v>(sample: Sample<'v>, needs: fn(&u8) -> bool, change: fn(&mut [u8])) -> Sample<'v> {
    let mut bytes = sample.into_bytes();
    if bytes.iter().any(needs) {
        change(bytes.to_mut());
    }
    Sample::Text(bytes)
}

/// Keeps a part of the bytes.
pub(super) fn cut<'v>(sample: Sample<'v>, part: impl FnOnce(&[u8]) -> Range<usize>) -> Sample<'v> {
    let is_binary = matches!(sample, Sample::Binary(_));
    let kept = match sample.into_bytes() {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[part(bytes)]),
        Cow::Owned(mut bytes) => {
            let range = part(&bytes);
            bytes.truncate(range.end);
            bytes.drain(..range.start);
            Cow::Owned(bytes)
        }
    };
    if is_binary { Sample::Binary(kept) } else { Sample::Text(kept) }
}

/// Finds fields between single delimiters; nothing where there are not so many.
pub(super) fn field(bytes: &[u8], selection: &Selection) -> Range<usize> {
    let mut start = 0;
    let mut fields = Vec::new();
    for part in bytes.split(|byte| selection.delimiters.contains(byte)) {
        fields.push(start..start + part.len());
        start += part.len() + 1;
    }
    chosen(&fields, selection)
}

/// Finds words, between which there may be any number of delimiters.
pub(super) fn word(bytes: &[u8], selection: &Selection) -> Range<usize> {
    let mut start = 0;
    let mut words = Vec::new();
    for part in bytes.split(|byte| selection.delimiters.contains(byte)) {
        if !part.is_empty() {
            words.push(start..start + part.len());
        }
        start += part.len() + 1;
    }
    chosen(&words, selection)
}

fn chosen(parts: &[Range<usize>], selection: &Selection) -> Range<usize> {
    let distance = usize::try_from(selection.index.unsigned_abs()).unwrap_or(usize::MAX);
    // Counted backwards, the parts that follow are those before it.
    let (first, last) = if selection.index > 0 {
        let first = distance - 1;
        (Some(first), selection.count.map_or(parts.len(), |count| first.saturating_add(count)).min(parts.len()))
    } else {
        let end = (parts.len() + 1).saturating_sub(distance);
        let first = if distance > parts.len() { None } else { Some(selection.count.map_or(0, |count| end.saturating_sub(count))) };
        (first, end)
    };
    match first.and_then(|first| parts.get(first..last)) {
        Some([first, .., last]) => first.start..last.end,
        Some([only]) => only.clone(),
        Some([]) | None => 0..0,
    }
}

/// Prints bytes as pairs of hexadecimal digits.
pub(in crate::rules) fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 0xf)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Returns the place of the language that a list of them likes best among those that are known (RFC 9110 section 12.5.4).
pub(super) fn preferred(list: &[u8], known: &[Box<[u8]>]) -> Option<usize> {
    let mut best: Option<(u32, usize)> = None;
    for item in list.split(|byte| *byte == b',') {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let quality = parts.next().and_then(|part| part.strip_prefix(b"q=")).map_or(1000, quality);
        let base = name.split(|byte| *byte == b'-').next().unwrap_or_default();
        let place = |wanted: &[u8]| known.iter().position(|known| **known == *wanted);
        if let Some(place) = place(name).or_else(|| place(base))
            && quality > best.map_or(0, |(quality, _)| quality)
        {
            best = Some((quality, place));
        }
    }
    best.map(|(_, place)| place)
}

/// Reads a weight in thousandths.
fn quality(text: &[u8]) -> u32 {
    let text = str::from_utf8(text).unwrap_or_default();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<3}");
    let thousandths = whole.parse::<u32>().unwrap_or_default().saturating_mul(1000) + part[..3].parse::<u32>().unwrap_or_default();
    thousandths.min(1000)
}

/// Reads base64 in the alphabet of URLs, without padding (RFC 4648 section 5).
pub(super) fn decoded_url_base64(text: &[u8]) -> Option<Vec<u8>> {
    let usual = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let mut coded: Vec<u8> = text.iter().map(usual).collect();
    let end = coded.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    coded.truncate(end);
    coded.resize(end.next_multiple_of(4), b'=');
    base64::decode(&coded)
}

/// Prints base64 in the alphabet of URLs, without padding.
pub(super) fn url_base64(bytes: &[u8]) -> Vec<u8> {
    let coded = base64::encode(bytes).into_bytes().into_iter().filter(|byte| *byte != b'=');
    coded
        .map(|byte| {
            if byte == b'+' {
                b'-'
            } else if byte == b'/' {
                b'_'
            } else {
                byte
            }
        })
        .collect()
}

/// Reads percent signs with two digits as the byte they stand for, and in a query a plus as a space.
///
/// There is no outcome for a percent sign with anything else behind it.
pub(super) fn decode_url(sample: Sample<'_>, form: bool) -> Option<Sample<'_>> {
    let bytes = sample.into_bytes();
    let first = bytes.iter().position(|byte| matches!(byte, b'%' | b'+' | b'?'));
    if first.is_none() {
        return Some(Sample::Text(bytes));
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut in_query = form;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
                let value = digit(rest.next())? * 16 + digit(rest.next())?;
                out.push(u8::try_from(value).ok()?);
            }
            b'+' if in_query => out.push(b' '),
            b'?' => {
                in_query = true;
                out.push(b'?');
            }
            other => out.push(*other),
        }
    }
    Some(Sample::own(out))
}

/// Prints everything but the unreserved characters as percent signs with two digits (RFC 3986 section 2.3).
pub(super) fn encode_url(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            out.push(b'%');
            out.extend(hex(&[*byte]));
        }
    }
    out
}

/// Prints seconds since 1970 as HTTP does (RFC 9110 section 5.6.7).
pub(super) fn http_date(seconds: i64) -> Option<String> {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::from_second(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn select(index: i64, delimiters: &str, count: Option<usize>) -> Selection {
        Selection { index, delimiters: delimiters.as_bytes().into(), count }
    }

    #[test]
    fn examples_of_the_manual_hold() {
        let text = b"f1_f2_f3__f5";
        let cases = [
            (5, Some(1), "f5"),
            (2, None, "f2_f3__f5"),
            (2, Some(2), "f2_f3"),
            (-2, None, "f1_f2_f3_"),
            (-3, Some(2), "f2_f3"),
            (6, Some(1), ""),
        ];
        for (index, count, expected) in cases {
            assert_eq!(&text[field(text, &select(index, "_", count))], expected.as_bytes(), "field {index} {count:?}");
        }
        let text = b"w1_w2_w3__w4";
        let cases = [
            (4, Some(1), "w4"),
            (2, None, "w2_w3__w4"),
            (3, Some(2), "w3__w4"),
            (-2, None, "w1_w2_w3"),
            (-3, Some(2), "w1_w2"),
            (5, Some(1), ""),
        ];
        for (index, count, expected) in cases {
            assert_eq!(&text[word(text, &select(index, "_", count))], expected.as_bytes(), "word {index} {count:?}");
        }
    }

    #[test]
    fn base64_pads_and_refuses() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64::encode(plain.as_bytes()).as_bytes(), coded.as_bytes());
            assert_eq!(base64::decode(coded.as_bytes()).unwrap(), plain.as_bytes());
        }
        for text in ["Z", "Zg=", "Z===", "Zg=a", "Zm9v\n", "Z-9v"] {
            assert_eq!(base64::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn urls_are_decoded_where_they_are_encoded() {
        let decode = |text: &'static str, form| decode_url(Sample::text(text.as_bytes()), form);
        assert_eq!(decode("/a%20b+c?d+e%3d", false), Some(Sample::own(b"/a b+c?d e=".to_vec())));
        assert_eq!(decode("a+b", true), Some(Sample::own(b"a b".to_vec())));
        for text in ["%", "%1", "%zz"] {
            assert_eq!(decode(text, false), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn encodings_are_inverse(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(base64::decode(base64::encode(&bytes).as_bytes()), Some(bytes.clone()));
            let encoded = encode_url(&bytes);
            prop_assert_eq!(decode_url(Sample::text(&encoded), true).map(|sample| sample.to_bytes().into_owned()), Some(bytes));
        }

        #[test]
        fn no_selection_leaves_the_text(text in "[a_]{0,12}", index in prop::sample::select(vec![-9_i64, -2, -1, 1, 2, 9]), count in prop::option::of(1_usize..4)) {
            let selection = select(index, "_", count);
            let _ = (&text.as_bytes()[field(text.as_bytes(), &selection)], &text.as_bytes()[word(text.as_bytes(), &selection)]);
        }
    }
}
