//! Replies of protocols that have a form of their own; pure, and nothing is believed of what they say of themselves.

use crate::config::{DNS_CHECK_ID, Pattern, QUIC_CHECK_NAMES};
use crate::fleet::CheckResult;

/// What is made of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// There is more to come.
    Wait,
    Good,
    Bad {
        result: CheckResult,
        code: Option<u16>,
        text: String,
    },
}

/// Judges a reply; none where the pattern is not about one.
pub(super) fn judge(pattern: &Pattern, bytes: &[u8]) -> Option<Reply> {
    match pattern {
        Pattern::MySql { packet } => Some(mysql(bytes, *packet).unwrap_or(Reply::Wait)),
        Pattern::Ldap if bytes.len() < LEAST_OF_LDAP => Some(Reply::Wait),
        Pattern::Ldap => Some(ldap(bytes)),
        Pattern::Dns | Pattern::Quic if bytes.is_empty() => Some(Reply::Wait),
        Pattern::Dns => Some(dns(bytes)),
        Pattern::Quic => Some(quic(bytes)),
        Pattern::Status(_)
        | Pattern::StatusMatch(_)
        | Pattern::Header(_)
        | Pattern::Text(_)
        | Pattern::Match(_)
        | Pattern::HexMatch(_)
        | Pattern::Grpc => None,
    }
}

/// Looks at a packet of MySQL, after so many others; none if it is not all there.
fn mysql(bytes: &[u8], packet: usize) -> Option<Reply> {
    let mut rest = bytes;
    let mut body: &[u8] = &[];
    for _ in 0..=packet {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes([head[0], head[1], head[2], 0])).ok()?;
        (body, rest) = after.split_at_checked(length)?;
    }
    // An error begins with this byte, and has its number and its text.
    let Some([low, high, text @ ..]) = body.strip_prefix(&[0xff]) else { return Some(Reply::Good) };
    let (code, text) = (Some(u16::from_le_bytes([*low, *high])), String::from_utf8_lossy(text).into_owned());
    Some(Reply::Bad { result: CheckResult::WrongStatus, code, text })
}

/// Looks at the answer to a bind: a message with our number, in it a response to a bind, in that a result.
fn ldap(bytes: &[u8]) -> Reply {
    let foreign = || Reply::Bad { result: CheckResult::BadResponse, code: None, text: "Not LDAPv3 protocol".to_owned() };
    let Some(message) = bytes.get(1..).and_then(behind_length) else { return foreign() };
    let Some(response) = message.strip_prefix(&[2, 1, 1, 0x61]) else { return foreign() };
    match response.split_first().and_then(|_| behind_length(response)) {
        Some([0x0a, 1, 0, ..]) => Reply::Good,
        Some([0x0a, 1, code, ..]) => {
            let text = "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9".to_owned();
            Reply::Bad { result: CheckResult::WrongStatus, code: Some((*code).into()), text }
        }
        Some(_) | None => foreign(),
    }
}

/// Looks at the answer of a server of the DNS (RFC 1035 section 4.1.1): it has our number, no error and at least one record.
fn dns(bytes: &[u8]) -> Reply {
    let Some((&[high, low, flags, more, _, _, answers, records, ..], _)) = bytes.split_first_chunk::<12>() else { return foreign("DNS") };
    if u16::from_be_bytes([high, low]) != DNS_CHECK_ID || flags & 0x80 == 0 {
        return foreign("DNS");
    }
    let code = u16::from(more & 0x0f);
    let error = ["", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"].get(usize::from(code)).copied().unwrap_or("an error");
    let text = match code {
        // What does not fit into a datagram is an answer all the same.
        0 if flags & 0x02 != 0 || u16::from_be_bytes([answers, records]) > 0 => return Reply::Good,
        0 => "The answer has no record".to_owned(),
        _ => format!("The answer is {error}"),
    };
    Reply::Bad { result: CheckResult::WrongStatus, code: Some(code), text }
}

/// Looks for the versions of a QUIC server (RFC 9000 section 17.2.1), between the names that our packet gave the two sides.
fn quic(bytes: &[u8]) -> Reply {
    let head = bytes.split_first().filter(|(first, _)| **first & 0x80 != 0).map(|(_, rest)| rest);
    let names = head.and_then(|rest| rest.strip_prefix(&[0, 0, 0, 0, 8])).and_then(|rest| rest.strip_prefix(QUIC_CHECK_NAMES[1]));
    let versions = names.and_then(|rest| rest.strip_prefix(&[8])).and_then(|rest| rest.strip_prefix(QUIC_CHECK_NAMES[0]));
    match versions {
        Some(versions) if versions.len() >= 4 => Reply::Good,
        Some(_) | None => foreign("QUIC"),
    }
}

fn foreign(protocol: &str) -> Reply {
    Reply::Bad { result: CheckResult::BadResponse, code: None, text: format!("Not {protocol}") }
}

/// Returns what follows a length, in its short or its long form.
fn behind_length(bytes: &[u8]) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 { Some(rest) } else { rest.get(usize::from(first & 0x7f)..) }
}

/// How long an answer to a bind is at least.
const LEAST_OF_LDAP: usize = 14;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_reply_makes_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for pattern in [Pattern::MySql { packet: 0 }, Pattern::MySql { packet: 1 }, Pattern::Ldap, Pattern::Dns, Pattern::Quic] {
                prop_assert!(judge(&pattern, &bytes).is_some());
            }
        }
    }
}
