//! Header fields, their comma-separated values, and the cookies in them.

use std::net::IpAddr;

use super::{Needs, Wanted};
use crate::message::headers::{Headers, Known};
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::View;

/// Which message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Side {
    Request,
    Response,
}

impl Side {
    pub(super) fn headers<'v>(self, view: &View<'v>) -> Option<&'v Headers> {
        match self {
            Self::Request => view.request.map(|head| &head.headers),
            Self::Response => view.response.map(|head| &head.headers),
        }
    }

    pub(super) fn needs(self) -> Needs {
        match self {
            Self::Request => Needs::Request,
            Self::Response => Needs::Response,
        }
    }
}

/// What is made of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Form {
    Text,
    Number,
    Address,
}

impl Form {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Text => Kind::Text,
            Self::Number => Kind::Int,
            Self::Address => Kind::Address,
        }
    }

    pub(super) fn read<'v>(self, value: &'v [u8]) -> Option<Sample<'v>> {
        match self {
            Self::Text => Some(Sample::text(value)),
            Self::Number => str::from_utf8(value).ok()?.parse().ok().map(Sample::Int),
            Self::Address => address(str::from_utf8(value).ok()?).map(Sample::Address),
        }
    }
}

/// Reads an address, with or without a port behind it.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    port.parse::<u16>().ok().and_then(|_| address.parse().ok())
}

/// Header fields of one name.
#[derive(Debug)]
pub(in crate::rules) struct HeaderField {
    pub(in crate::rules) side: Side,
    /// Empty for any field.
    name: Box<[u8]>,
    known: Known,
    /// Whether commas belong to a value rather than separate values.
    whole: bool,
    /// Which of several, counted from 1, or from -1 backwards.
    occurrence: Option<i64>,
    pub(in crate::rules) form: Form,
}

impl HeaderField {
    pub(in crate::rules) fn new(side: Side, name: &str, whole: bool, form: Form, occurrence: Option<i64>) -> Self {
        Self { side, name: name.as_bytes().into(), known: Known::recognise(name.as_bytes()), whole, occurrence, form }
    }

    fn values<'v>(&self, headers: &'v Headers) -> impl Iterator<Item = &'v [u8]> {
        headers
            .iter()
            .filter(|field| {
                let is_named = field.known == self.known && (self.known != Known::Other || field.name.eq_ignore_ascii_case(&self.name));
                is_named || self.name.is_empty()
            })
            .flat_map(|field| Values { rest: Some(field.value), separator: Some(b',').filter(|_| !self.whole) })
            .map(<[u8]>::trim_ascii)
    }

    pub(super) fn visit<'v>(&self, view: &View<'v>, wanted: Wanted, takes: &mut dyn FnMut(Sample<'v>) -> bool) -> bool {
        let Some(headers) = self.side.headers(view) else { return false };
        let occurrence = match (self.occurrence, wanted) {
            (Some(occurrence), _) => occurrence,
            (None, Wanted::One) => -1,
            (None, Wanted::Each) => return self.values(headers).any(|value| self.form.read(value).is_some_and(&mut *takes)),
        };
        let value = match usize::try_from(occurrence) {
            Ok(position) => self.values(headers).nth(position.saturating_sub(1)),
            Err(_) => {
                let back = usize::try_from(occurrence.unsigned_abs()).unwrap_or(usize::MAX);
                let count = self.values(headers).count();
                count.checked_sub(back).and_then(|position| self.values(headers).nth(position))
            }
        };
        value.and_then(|value| self.form.read(value)).is_some_and(takes)
    }

    pub(super) fn count(&self, view: &View<'_>) -> Option<i64> {
        i64::try_from(self.values(self.side.headers(view)?).count()).ok()
    }
}

/// The values of one field: all of it, or what stands between its commas or another separator; one in quotes separates nothing.
#[derive(Debug)]
struct Values<'v> {
    rest: Option<&'v [u8]>,
    separator: Option<u8>,
}

impl<'v> Iterator for Values<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let rest = self.rest.take()?;
        let Some(separator) = self.separator else { return Some(rest) };
        let (mut quoted, mut escaped) = (false, false);
        let comma = rest.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                byte => return *byte == separator && !quoted,
            }
            false
        });
        let end = comma.unwrap_or(rest.len());
        self.rest = comma.map(|comma| &rest[comma + 1..]);
        Some(&rest[..end])
    }
}

/// Returns what stands between the commas of a field, white space included.
pub(in crate::rules) fn values(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    Values { rest: Some(field), separator: Some(b',') }
}

/// Prints the names of all fields in the order they come; what is said of the connection is for nobody else.
pub(super) fn names(headers: &Headers, delimiter: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for field in headers.iter().filter(|field| field.known != Known::Connection) {
        if !out.is_empty() {
            out.extend_from_slice(delimiter.as_bytes());
        }
        out.extend(field.name.to_ascii_lowercase());
    }
    out
}

/// Cookies of one name, or of any.
#[derive(Debug)]
pub(in crate::rules) struct Cookie {
    pub(in crate::rules) side: Side,
    pub(in crate::rules) name: Option<Box<[u8]>>,
    pub(in crate::rules) form: Form,
}

impl Cookie {
    fn means(&self, name: &[u8]) -> bool {
        self.name.as_ref().is_none_or(|wanted| **wanted == *name.trim_ascii())
    }

    fn values<'v>(&self, headers: &'v Headers) -> impl Iterator<Item = &'v [u8]> {
        let field = match self.side {
            Side::Request => &b"cookie"[..],
            Side::Response => &b"set-cookie"[..],
        };
        headers
            .iter()
            .filter(move |found| found.name.eq_ignore_ascii_case(field))
            // A comma begins another list, as if it stood in a field of its own.
            .flat_map(|found| values(found.value))
            .flat_map(|list| {
                let parts = Values { rest: Some(list), separator: Some(b';') };
                let pairs = parts.filter_map(|part| Some(part.split_at(part.iter().position(|byte| *byte == b'=')?)));
                // What follows the cookie in a Set-Cookie are its attributes.
                pairs.take_while(|(name, _)| self.side == Side::Request || self.means(name))
            })
            .filter(|(name, _)| self.means(name))
            .map(|(_, value)| value[1..].trim_ascii())
    }

    pub(super) fn visit<'v>(&self, view: &View<'v>, wanted: Wanted, takes: &mut dyn FnMut(Sample<'v>) -> bool) -> bool {
        let Some(headers) = self.side.headers(view) else { return false };
        match wanted {
            Wanted::One => self.values(headers).last().and_then(|value| self.form.read(value)).is_some_and(takes),
            Wanted::Each => self.values(headers).any(|value| self.form.read(value).is_some_and(&mut *takes)),
        }
    }

    pub(super) fn count(&self, view: &View<'_>) -> Option<i64> {
        i64::try_from(self.values(self.side.headers(view)?).count()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_values_unless_quoted() {
        let values = |text: &'static str, whole: bool| {
            Values { rest: Some(text.as_bytes()), separator: Some(b',').filter(|_| !whole) }
                .map(|v| str::from_utf8(v.trim_ascii()).unwrap())
                .collect()
        };
        let cases: [(&str, &[&str]); 5] = [
            ("a, b ,c", &["a", "b", "c"]),
            ("", &[""]),
            ("a,,b,", &["a", "", "b", ""]),
            (r#""a,b", "c\",d""#, &[r#""a,b""#, r#""c\",d""#]),
            (r#"\,a"#, &["\\", "a"]),
        ];
        for (text, expected) in cases {
            let found: Vec<&str> = values(text, false);
            assert_eq!(found, expected, "{text}");
            let whole: Vec<&str> = values(text, true);
            assert_eq!(whole, [text]);
        }
    }

    #[test]
    fn addresses_may_have_ports() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("[::1]:80", Some("::1")),
            ("10.0.0.1:x", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(address(text), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }
}
