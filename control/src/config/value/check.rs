//! What a health check expects and sends.

use std::ops::RangeInclusive;

use regex::bytes::{Regex, RegexBuilder};

use super::{Mistake, word};
use crate::config::model::{HttpVersion, StatusSet};

/// Reads status codes: `200`, `200-399`, `200,204,300-399`.
pub(in crate::config) fn statuses(text: &str) -> Result<StatusSet, Mistake> {
    let ranges: Result<Vec<_>, _> = text.split(',').map(|part| status_range(part).map_err(|mistake| mistake.at(text, part))).collect();
    Ok(StatusSet { ranges: ranges? })
}

/// Reads a regular expression over bytes.
pub(in crate::config) fn regex(text: &str) -> Result<Regex, Mistake> {
    let built = RegexBuilder::new(text).size_limit(LARGEST_REGEX).build();
    built.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Mistake::new(format!("`{text}` is not a regular expression: {reason}")).hint("look-around and back-references are not known")
    })
}

/// Checks hexadecimal digits of whole bytes.
pub(in crate::config) fn hex(text: &str) -> Result<String, Mistake> {
    if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not an even number of hexadecimal digits")).hint("for example 50494e470d0a"))
}

/// Reads how many bytes are waited for; -1 for no such number.
pub(in crate::config) fn least(text: &str) -> Result<Option<usize>, Mistake> {
    if text == "-1" {
        return Ok(None);
    }
    let wrong = || Mistake::new(format!("`{text}` is not a number of bytes")).hint(format!("at most {MOST_BYTES}, or -1"));
    text.parse().ok().filter(|number| *number <= MOST_BYTES).map(Some).ok_or_else(wrong)
}

/// Checks the name of a header field, and returns it in small letters.
pub(in crate::config) fn header_name(text: &str) -> Result<String, Mistake> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Mistake::new(format!("`{text}` is not the name of a header field")).hint("for example Host"))
}

/// Checks the name of a user.
pub(in crate::config) fn user(text: &str) -> Result<String, Mistake> {
    if (1..=200).contains(&text.len()) && !text.contains('\0') {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not the name of a user")))
}

/// Checks the name of a service of gRPC.
pub(in crate::config) fn service(text: &str) -> Result<String, Mistake> {
    if (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not the name of a service")).hint("for example shop.Cart"))
}

/// Checks a name of the DNS; `.` is the root.
pub(in crate::config) fn dns_name(text: &str) -> Result<String, Mistake> {
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic());
    let labels = text.strip_suffix('.').unwrap_or(text);
    if text == "." || (labels.len() <= 253 && labels.split('.').all(is_label)) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not a name of the DNS")).hint("for example www.example.com"))
}

/// Reads a type of records, by its name or as TYPE and its number (RFC 3597).
pub(in crate::config) fn dns_type(text: &str) -> Result<u16, Mistake> {
    let named = DNS_TYPES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let numbered = text.strip_prefix("TYPE").and_then(|number| number.parse().ok());
    named.or(numbered).ok_or_else(|| Mistake::new(format!("`{text}` is not a type of records")).hint("for example A, AAAA, NS or SOA"))
}

const DNS_TYPES: [(&str, u16); 10] =
    [("A", 1), ("NS", 2), ("CNAME", 5), ("SOA", 6), ("PTR", 12), ("MX", 15), ("TXT", 16), ("AAAA", 28), ("SRV", 33), ("CAA", 257)];

/// Reads a version of a request.
pub(in crate::config) fn version(text: &str) -> Result<HttpVersion, Mistake> {
    word::HTTP_VERSION.read(text.strip_prefix("HTTP/").unwrap_or(text))
}

/// Returns what is expected where nothing else is said: success or redirection.
pub(in crate::config) fn default_expect() -> StatusSet {
    StatusSet { ranges: vec![200..=399] }
}

/// Checks the method of a request.
pub(in crate::config) fn method(text: &str) -> Result<String, Mistake> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not a method")).hint("in capitals: GET, HEAD, OPTIONS"))
}

/// Checks the target of a request.
pub(in crate::config) fn path(text: &str) -> Result<String, Mistake> {
    // A fragment is never sent, and the others are not allowed in a request target (RFC 3986).
    let allowed =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'`' | b'"' | b'\\' | b'^' | b'{' | b'|' | b'}');
    if (text.starts_with('/') || text == "*") && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not a path")).hint("begins with / and has no spaces: for example /healthz"))
}

/// Checks the value of a host header.
pub(in crate::config) fn host(text: &str) -> Result<String, Mistake> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'%');
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not a host")).hint("a name, if need be with a port: for example app.internal"))
}

/// As much of an answer as checks look at.
pub(in crate::config) const MOST_BYTES: usize = 16 * 1024;
const LARGEST_REGEX: usize = 1 << 20;

fn status_range(text: &str) -> Result<RangeInclusive<u16>, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is not a status code")).hint("100 to 599, or a range such as 200-399");
    let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status)).ok_or_else(wrong);
    let (first, last) = match text.split_once('-') {
        None => (status(text)?, status(text)?),
        Some((first, last)) => (status(first)?, status(last)?),
    };
    if first > last { Err(wrong()) } else { Ok(first..=last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_status_codes_are_a_set() {
        let set = statuses("200,204,300-399").unwrap();
        for (status, healthy) in [(200, true), (201, false), (204, true), (299, false), (300, true), (399, true), (400, false)] {
            assert_eq!(set.contains(status), healthy, "{status}");
        }
        assert!(default_expect().contains(204) && default_expect().contains(302) && !default_expect().contains(404));
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for text in ["", "status", "99", "600", "2xx", "399-200", "200 204", "200,"] {
            assert!(statuses(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_request() {
        for text in ["", "healthz", "/a b", "/a\r\nX: y", "/ä", "/a#b", "/<a>", "/a`b"] {
            assert!(path(text).is_err(), "{text:?}");
        }
        for text in ["", "a b", "a\r\nX: y", "ä.example"] {
            assert!(host(text).is_err(), "{text:?}");
        }
        for text in ["", "get", "GET /", "G\r\n"] {
            assert!(method(text).is_err(), "{text:?}");
        }
        assert!(path("/a?b=c%20d").is_ok() && host("[fd00::1]:8080").is_ok() && method("OPTIONS").is_ok());
    }
}
