//! Changes of header fields.

use regex::bytes::Regex;

use super::replaced;
use crate::message::headers::{Headers, InvalidField, Known};
use crate::rules::log_format::Format;

/// Which names are meant.
#[derive(Debug)]
pub(in crate::rules) enum NameTest {
    Is(Box<[u8]>),
    Begins(Box<[u8]>),
    Ends(Box<[u8]>),
    Contains(Box<[u8]>),
    Matches(Box<Regex>),
}

impl NameTest {
    /// Tells whether this name is meant, whatever its letter case.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let same = |part: Option<&[u8]>, wanted: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(wanted));
        match self {
            Self::Is(wanted) => name.eq_ignore_ascii_case(wanted),
            Self::Begins(wanted) => same(name.get(..wanted.len()), wanted),
            Self::Ends(wanted) => same(name.len().checked_sub(wanted.len()).map(|start| &name[start..]), wanted),
            Self::Contains(wanted) => wanted.is_empty() || name.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted)),
            Self::Matches(regex) => regex.is_match(name),
        }
    }
}

/// Tells whether a field says where a message ends or what becomes of its connection, which is not for rules to say.
pub(super) fn is_framing(known: Known) -> bool {
    match known {
        Known::Connection | Known::ContentLength | Known::KeepAlive | Known::ProxyConnection | Known::TransferEncoding => true,
        Known::Expect | Known::Host | Known::Te | Known::Upgrade | Known::Other => false,
    }
}

/// What to look for in the fields of one name, and what to put in its place.
#[derive(Debug)]
pub(in crate::rules) struct HeaderChange {
    pub(in crate::rules) name: Box<[u8]>,
    pub(in crate::rules) regex: Regex,
    pub(in crate::rules) replacement: Format,
    /// Whether each value between commas is looked at, rather than the field as a whole.
    pub(in crate::rules) by_value: bool,
}

impl HeaderChange {
    /// Changes every field that matches.
    pub(super) fn apply(&self, headers: &mut Headers, replacement: &[u8]) -> Result<(), InvalidField> {
        let change = |value: &[u8]| replaced(&self.regex, value, replacement);
        let mut changes = Vec::new();
        for (index, field) in headers.iter().enumerate().filter(|(_, field)| field.name.eq_ignore_ascii_case(&self.name)) {
            let value = if self.by_value { changed_values(field.value, change) } else { change(field.value) };
            changes.extend(value.map(|value| (index, value)));
        }
        changes.iter().try_for_each(|(index, value)| headers.replace(*index, value))
    }
}

/// Changes those of several values that match, and keeps what stands between them.
fn changed_values(field: &[u8], change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut any = false;
    for (number, part) in crate::rules::fetch::values(field).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let value = part.trim_ascii();
        match change(value) {
            Some(new) => {
                any = true;
                // What stood before the value goes with it, what stood behind stays.
                let start = part.len() - part.trim_ascii_start().len();
                out.extend_from_slice(&new);
                out.extend_from_slice(&part[(start + value.len()).min(part.len())..]);
            }
            None => out.extend_from_slice(part),
        }
    }
    any.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> Headers {
        let mut headers = Headers::over(b"");
        for value in values {
            headers.append(b"X", value.as_bytes()).unwrap();
        }
        headers
    }

    fn after(by_value: bool, regex: &str, replacement: &str, values: &[&str]) -> Vec<String> {
        let change = HeaderChange { name: b"x"[..].into(), regex: Regex::new(regex).unwrap(), replacement: Format::text(b""), by_value };
        let mut headers = headers(values);
        change.apply(&mut headers, replacement.as_bytes()).unwrap();
        headers.iter().map(|field| String::from_utf8_lossy(field.value).into_owned()).collect()
    }

    #[test]
    fn a_match_replaces_the_whole_field_or_the_whole_value() {
        assert_eq!(after(false, "b(.)", r"<\1>", &["abc, abd", "x"]), ["<c>", "x"]);
        assert_eq!(after(true, "b(.)", r"<\1>", &["abc, abd ,q", "x"]), ["<c>,<d> ,q", "x"]);
    }

    #[test]
    fn names_are_meant_in_any_case() {
        let test = NameTest::Begins(b"x-a"[..].into());
        assert!(test.matches(b"X-Abc") && !test.matches(b"x-") && !test.matches(b"y-x-a"));
        let test = NameTest::Ends(b"-id"[..].into());
        assert!(test.matches(b"Request-ID") && !test.matches(b"id"));
        let test = NameTest::Contains(b"amz"[..].into());
        assert!(test.matches(b"X-AMZ-Id") && !test.matches(b"am"));
    }
}
