//! What a health check expects and sends.

use std::ops::RangeInclusive;

use super::Mistake;
use crate::config::model::StatusSet;

/// Reads what a healthy answer looks like: `status 200`, `status 200-399`, `status 200,204,300-399`.
pub(in crate::config) fn expect(text: &str) -> Result<StatusSet, Mistake> {
    let mut words = text.split_ascii_whitespace();
    match words.next() {
        Some("status") => {}
        Some(word @ ("rstatus" | "string" | "rstring" | "hdr" | "fhdr" | "!")) => {
            return Err(Mistake::new(format!("expect `{word}` is not supported yet")).at(text, word).hint(FORM));
        }
        _ => return Err(Mistake::new(format!("`{text}` is not an expectation")).hint(FORM)),
    }
    let (Some(list), None) = (words.next(), words.next()) else {
        return Err(Mistake::new(format!("`{text}` is not an expectation")).hint(FORM));
    };
    let ranges: Result<Vec<_>, _> = list.split(',').map(|part| status_range(part).map_err(|mistake| mistake.at(text, part))).collect();
    Ok(StatusSet { ranges: ranges? })
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

const FORM: &str = "for example status 200 or status 200-399";

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
        let set = expect("status 200,204,300-399").unwrap();
        for (status, healthy) in [(200, true), (201, false), (204, true), (299, false), (300, true), (399, true), (400, false)] {
            assert_eq!(set.contains(status), healthy, "{status}");
        }
        assert!(default_expect().contains(204) && default_expect().contains(302) && !default_expect().contains(404));
    }

    #[test]
    fn what_is_no_expectation_is_refused() {
        for text in
            ["", "200", "status", "status 99", "status 600", "status 2xx", "status 399-200", "status 200 204", "status 200,", "string ok"]
        {
            assert!(expect(text).is_err(), "{text}");
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
