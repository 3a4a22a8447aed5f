//! The answer of gRPC's health service (`grpc.health.v1.Health/Check`); pure, and nothing is believed of what it says of itself.

use http::HeaderMap;

use crate::fleet::CheckResult;

/// Judges a whole answer by its head, what follows its body, and its body.
pub(super) fn judge(head: &HeaderMap, trailers: Option<&HeaderMap>, body: &[u8]) -> (CheckResult, String) {
    // Where there is no message, the head is all there is.
    let field = |name| trailers.and_then(|trailers| trailers.get(name)).or_else(|| head.get(name));
    let status = field("grpc-status").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    match status {
        None => (CheckResult::BadResponse, "Not gRPC".to_owned()),
        Some(0) => match serving(body) {
            None => (CheckResult::BadResponse, "Not an answer of gRPC's health service".to_owned()),
            Some(1) => (CheckResult::Passed, "gRPC service is serving".to_owned()),
            Some(2) => (CheckResult::WrongStatus, "gRPC service is not serving".to_owned()),
            Some(3) => (CheckResult::WrongStatus, "gRPC service is not known".to_owned()),
            Some(_) => (CheckResult::WrongStatus, "gRPC service does not know whether it is serving".to_owned()),
        },
        Some(code) => {
            let said = field("grpc-message").map(|message| decoded(message.as_bytes())).unwrap_or_default();
            let name = CODES.get(usize::try_from(code).unwrap_or(usize::MAX)).copied().unwrap_or("unknown");
            let colon = if said.is_empty() { "" } else { ": " };
            (CheckResult::WrongStatus, format!("gRPC status {code} ({name}){colon}{said}"))
        }
    }
}

/// Returns the status in a message, which is 0 where it says none; none where it is no such message.
fn serving(body: &[u8]) -> Option<u64> {
    let (&[compressed, a, b, c, d], mut message) = body.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    if compressed != 0 || message.len() != length {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 if key == 8 => status = varint(&mut message)?,
            0 => drop(varint(&mut message)?),
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Reads a number of up to 64 bits.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Undoes the percent signs of a message, of which no more is shown than fits a line.
fn decoded(message: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = message;
    while let Some((first, behind)) = rest.split_first().filter(|_| bytes.len() < LONGEST_MESSAGE) {
        let digits = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const LONGEST_MESSAGE: usize = 200;

/// The names of gRPC's status codes.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_whether_all_is_well() {
        let cases: [(&[u8], Option<u64>); 9] = [
            (b"\0\0\0\0\x02\x08\x01", Some(1)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            (b"\0\0\0\0\x06\x12\x02ab\x08\x01", Some(1)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x80", None),
            (b"\0\0\0\0\x02\x12\x09", None),
            (b"\0\0", None),
        ];
        for (body, status) in cases {
            assert_eq!(serving(body), status, "{body:?}");
        }
    }

    #[test]
    fn no_answer_makes_it_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut body: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            if body.len() >= 5 {
                let length = u32::try_from(body.len() - 5).unwrap();
                body[0] = 0;
                body[1..5].copy_from_slice(&length.to_be_bytes());
            }
            let _ = serving(&body);
            assert!(decoded(&body).len() <= 3 * LONGEST_MESSAGE);
        }
    }

    #[test]
    fn failures_have_their_names_and_words() {
        let fields = |status: &str, message: &str| {
            let mut map = HeaderMap::new();
            map.insert("grpc-status", status.parse().unwrap());
            map.insert("grpc-message", message.parse().unwrap());
            map
        };
        let (result, text) = judge(&fields("12", "no%20%C3%A4 100%"), None, b"");
        assert_eq!((result, text.as_str()), (CheckResult::WrongStatus, "gRPC status 12 (UNIMPLEMENTED): no \u{e4} 100%"));
        assert_eq!(judge(&HeaderMap::new(), None, b"").0, CheckResult::BadResponse);
        assert_eq!(judge(&HeaderMap::new(), Some(&fields("0", "")), b"\0\0\0\0\x02\x08\x01").0, CheckResult::Passed);
    }
}
