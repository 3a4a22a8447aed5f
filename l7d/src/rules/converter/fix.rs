//! Messages of FIX, the Financial Information eXchange: whether one is valid, and what its tags say.

/// Reads a number, or one of the names that stand for numbers.
pub(super) fn tag(text: &str) -> Option<u32> {
    let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    named.or_else(|| text.parse().ok()).filter(|number| *number > 0)
}

const NAMES: [(&str, u32); 6] =
    [("BeginString", 8), ("BodyLength", 9), ("MsgType", 35), ("SenderCompID", 49), ("TargetCompID", 56), ("CheckSum", 10)];

/// Returns the first value of a tag.
pub(super) fn value(message: &[u8], wanted: u32) -> Option<&[u8]> {
    fields(message).find_map(|field| field.filter(|(tag, _)| *tag == wanted)).map(|(_, value)| value)
}

/// Tells whether bytes begin with a valid message; none where more bytes must come first.
pub(super) fn is_valid(message: &[u8]) -> Option<bool> {
    // The body is what stands between its length and the sum.
    let start = end_of(message, 2)?;
    let Some(end) = body_end(message, start) else { return Some(false) };
    let rest = message.get(end..)?;
    if !rest.iter().zip(b"10=").all(|(byte, wanted)| byte == wanted) {
        return Some(false);
    }
    let whole = message.get(..end.checked_add(SUM)?)?;
    let Some(digits) = whole[end..].strip_prefix(b"10=").and_then(|rest| rest.strip_suffix(&[END])) else { return Some(false) };
    let sum = whole[..end].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let is_sum = digits.iter().all(u8::is_ascii_digit) && str::from_utf8(digits).is_ok_and(|digits| digits.parse() == Ok(sum));
    Some(is_sum && fields(whole).all(|field| field.is_some()))
}

/// Returns where the body ends; none if the message does not begin as it must.
fn body_end(message: &[u8], start: usize) -> Option<usize> {
    let mut all = fields(message);
    let mut next = |wanted: u32| all.next().flatten().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value);
    let (version, length) = (next(8)?, next(9)?);
    let has_type = message[start..].starts_with(b"35=") || message.len() < start + 3;
    let length: usize = str::from_utf8(length).ok()?.parse().ok()?;
    start.checked_add(length).filter(|_| has_type && VERSIONS.contains(&version))
}

/// Length of the last field, which is a sum.
const SUM: usize = 7;

const VERSIONS: [&[u8]; 6] = [b"FIX.4.0", b"FIX.4.1", b"FIX.4.2", b"FIX.4.3", b"FIX.4.4", b"FIXT.1.1"];

/// Returns where so many fields end.
fn end_of(message: &[u8], count: usize) -> Option<usize> {
    message.iter().enumerate().filter(|(_, byte)| **byte == END).nth(count - 1).map(|(at, _)| at + 1)
}

/// Reads tags and their values, up to the last whole one; none stands for what is neither.
fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u32, &[u8])>> {
    let whole = message.iter().rposition(|byte| *byte == END).unwrap_or(0);
    message[..whole].split(|byte| *byte == END).map(|field| {
        let at = field.iter().position(|byte| *byte == b'=')?;
        let tag = str::from_utf8(&field[..at]).ok()?;
        let value = Some(&field[at + 1..]).filter(|value| !value.is_empty())?;
        Some((tag.parse().ok().filter(|_| tag.bytes().all(|byte| byte.is_ascii_digit()))?, value))
    })
}

/// What ends a field.
const END: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_checked_and_read() {
        let text = b"8=FIX.4.4\x019=23\x0135=A\x0149=me\x0156=you\x0198=0\x0110=";
        let sum = text[..text.len() - 3].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let message = [&text[..], format!("{sum:03}\x01").as_bytes()].concat();
        assert_eq!(is_valid(&message), Some(true), "{}", String::from_utf8_lossy(&message));
        assert_eq!(value(&message, tag("msgtype").unwrap()), Some(&b"A"[..]));
        assert_eq!(value(&message, 56), Some(&b"you"[..]));
        assert_eq!(value(&message, 57), None);
        assert_eq!(is_valid(&message[..message.len() - 1]), None);
        for (from, to) in [("4.4", "9.9"), ("=23", "=21"), ("35=A", "36=A"), ("me", "ma"), ("49=", "4x=")] {
            let other = String::from_utf8_lossy(&message).replacen(from, to, 1);
            assert_eq!(is_valid(other.as_bytes()), Some(false), "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            is_valid(&bytes);
            value(&bytes, 1);
        }
    }
}
