//! What HTTP says of answers that are given once more: who may have them, which are kept, and for how long (RFC 9111).
//!
//! The conditions are HAProxy's where it is stricter than the standard. All of it is pure.

use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::message::head::{RequestHead, ResponseHead, Version};

/// What a request lets a cache do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing.
    Nothing,
    /// To answer it.
    Answer,
    /// To answer it, and to keep what the server answers.
    AnswerOrKeep,
    /// To keep what the server answers, which must be asked.
    Keep,
    /// The same, if the server says that the answer is for everybody.
    KeepPublic,
    /// To forget what it knows of the target, if the server carries the request out.
    Forget,
}

impl Asked {
    /// Tells what a request lets a cache do.
    pub(super) fn of(request: &RequestHead) -> Self {
        let method = request.method_text();
        if !matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE") {
            return Self::Forget;
        }
        let has = |name: &str| request.headers.all(name).next().is_some();
        if !matches!(method, b"GET" | b"HEAD") || request.version() == Version::Http10 {
            return Self::Nothing;
        }
        let mut control = request.headers.all("cache-control").flat_map(directives).peekable();
        let says_nothing = control.peek().is_none();
        let (mut stores, mut answers) = (method == b"GET", true);
        for (name, _) in control {
            stores &= !name.eq_ignore_ascii_case(b"no-store");
            answers &= !name.eq_ignore_ascii_case(b"no-cache") && !name.eq_ignore_ascii_case(b"max-age");
        }
        // Who speaks of `Cache-Control` knows better than to mean `Pragma`.
        answers &=
            !says_nothing || !request.headers.all("pragma").flat_map(directives).any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"));
        if has("authorization") {
            return if stores { Self::KeepPublic } else { Self::Nothing };
        }
        match (answers, stores) {
            (true, true) => Self::AnswerOrKeep,
            (true, false) => Self::Answer,
            (false, true) => Self::Keep,
            (false, false) => Self::Nothing,
        }
    }
}

/// How long an answer may be kept, and how old it is already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freshness {
    pub(super) left: Duration,
    /// In seconds.
    pub(super) age: u64,
}

impl Freshness {
    /// Returns that of an answer; none if it may not be kept.
    pub(super) fn of(response: &ResponseHead, longest: Duration, now: SystemTime) -> Option<Self> {
        let headers = &response.headers;
        if response.status() != 200 || headers.all("pragma").flat_map(directives).any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache")) {
            return None;
        }
        let (mut shared, mut own) = (None, None);
        for (name, value) in headers.all("cache-control").flat_map(directives) {
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            if is(b"no-store") || is(b"no-cache") || is(b"private") {
                return None;
            }
            let place = match () {
                () if is(b"s-maxage") => &mut shared,
                () if is(b"max-age") => &mut own,
                () => continue,
            };
            let seconds = number(value)?;
            if seconds == 0 {
                return None;
            }
            *place = Some(seconds);
        }
        let expires = headers.all("expires").next();
        let has_validator = headers.all("etag").next().is_some() || headers.all("last-modified").next().is_some();
        let lifetime = match (shared.or(own), expires) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, Some(expires)) => date(expires)?.duration_since(now).ok().filter(|left| !left.is_zero())?,
            (None, None) if has_validator => longest,
            (None, None) => return None,
        };
        let age = headers.all("age").next().map_or(Some(0), number)?;
        let left = lifetime.checked_sub(Duration::from_secs(age)).filter(|left| !left.is_zero())?;
        Some(Self { left: left.min(longest), age })
    }
}

/// Tells whether an answer is for everybody, whoever it was given to first.
pub(super) fn is_public(response: &ResponseHead) -> bool {
    response.headers.all("cache-control").flat_map(directives).any(|(name, _)| name.eq_ignore_ascii_case(b"public"))
}

/// By what of a request the answers to it differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variant {
    /// What `Referer` said, if it matters.
    referer: Option<Box<[u8]>>,
    /// The codings the answer is in, if it matters; one that is in none is in `identity`.
    codings: Option<Vec<Box<[u8]>>>,
}

impl Variant {
    /// Returns that of an answer to a request with this `Referer`; none if its differences are not understood.
    pub(super) fn of(response: &ResponseHead, referer: &[u8]) -> Option<Self> {
        let mut variant = Self::default();
        for name in response.headers.all("vary").flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
            if name.eq_ignore_ascii_case(b"referer") {
                variant.referer = Some(referer.into());
            } else if name.eq_ignore_ascii_case(b"accept-encoding") {
                variant.codings = Some(codings(response)?);
            } else {
                return None;
            }
        }
        Some(variant)
    }

    /// Tells whether it differs by the same as another.
    pub(super) fn differs_like(&self, other: &Self) -> bool {
        self.referer.is_some() == other.referer.is_some() && self.codings.is_some() == other.codings.is_some()
    }

    /// Tells whether an answer is for a request.
    pub(super) fn suits(&self, request: &RequestHead) -> bool {
        let is_referer = |wanted: &[u8]| referer(request) == wanted;
        let takes = |codings: &Vec<Box<[u8]>>| match codings.as_slice() {
            [] => accepts(request, b"identity"),
            codings => codings.iter().all(|coding| accepts(request, coding)),
        };
        self.referer.as_deref().is_none_or(is_referer) && self.codings.as_ref().is_none_or(takes)
    }

    /// Returns a number that tells variants apart where people look.
    pub(super) fn number(&self) -> u64 {
        let parts = self.referer.iter().chain(self.codings.iter().flatten());
        parts.fold(0, |sum, part| part.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte) + 1)))
    }
}

/// Returns what a request says of where its target was found.
pub(super) fn referer(request: &RequestHead) -> &[u8] {
    request.headers.all("referer").next().unwrap_or_default()
}

/// Returns the codings of an answer; none if one is not known.
fn codings(response: &ResponseHead) -> Option<Vec<Box<[u8]>>> {
    let names = response.headers.all("content-encoding").flat_map(|value| value.split(|byte| *byte == b','));
    names.map(|name| name.trim_ascii().to_ascii_lowercase()).map(|name| is_coding(&name).then(|| name.into())).collect()
}

fn is_coding(name: &[u8]) -> bool {
    CODINGS.iter().any(|known| known.as_bytes() == name)
}

/// Content codings there are.
const CODINGS: [&str; 11] =
    ["aes128gcm", "br", "compress", "deflate", "exi", "gzip", "identity", "pack200-gzip", "x-compress", "x-gzip", "zstd"];

/// Tells whether a client takes a coding (RFC 9110 section 12.5.3).
fn accepts(request: &RequestHead, coding: &[u8]) -> bool {
    let mut values = request.headers.all("accept-encoding").peekable();
    if values.peek().is_none() {
        return true;
    }
    let plain = |name: &[u8]| name.strip_prefix(b"x-").unwrap_or(name).to_ascii_lowercase();
    let mut any = None;
    for element in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let is_taken = quality.is_none_or(|quality| quality.iter().any(|byte| matches!(byte, b'1'..=b'9')));
        if plain(name) == plain(coding) {
            return is_taken;
        }
        if name == b"*" {
            any = Some(is_taken);
        }
    }
    any.unwrap_or(coding == b"identity")
}

/// Tells whether a client that has the answer already has this one (RFC 9110 section 13.2.2).
pub(super) fn has_already(request: &RequestHead, tag: Option<&[u8]>, modified: SystemTime) -> bool {
    let mut tags = request.headers.all("if-none-match").peekable();
    if tags.peek().is_some() {
        let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let tag = tag.map(opaque);
        return tags.flat_map(elements).any(|other| other == b"*" || tag.as_ref().is_some_and(|tag| opaque(other) == *tag));
    }
    let since = request.headers.all("if-modified-since").next().and_then(date);
    since.is_some_and(|since| modified <= since)
}

/// Reads a date in any of the forms of HTTP (RFC 9110 section 5.6.7), whatever day of the week it says.
pub(super) fn date(text: &[u8]) -> Option<SystemTime> {
    let (_, rest) = str::from_utf8(text).ok()?.split_once(' ')?;
    let read = |form| DateTime::strptime(form, rest).ok()?.to_zoned(TimeZone::UTC).ok();
    ["%d %b %Y %H:%M:%S GMT", "%d-%b-%y %H:%M:%S GMT", "%b %e %H:%M:%S %Y"].into_iter().find_map(read).map(SystemTime::from)
}

/// Reads a number of seconds; one that is too large is as large as can be.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(value.min(FOREVER))
}

/// The largest number of seconds that means anything (RFC 9111 section 1.2.2).
const FOREVER: u64 = 1 << 31;

/// Splits a list of directives into names and values, which may be quoted.
fn directives(list: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    elements(list).map(|element| match element.iter().position(|byte| *byte == b'=') {
        Some(at) => (element[..at].trim_ascii(), element[at + 1..].trim_ascii()),
        None => (element, &b""[..]),
    })
}

/// Splits a list at its commas, but for quoted ones; empty elements are none.
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let parts = list.split(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    });
    parts.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::of(Version::Http11, b"GET", None, b"/");
        for (name, value) in fields {
            head.headers.append(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    fn response(fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::of(Version::Http11, 200, b"OK");
        for (name, value) in fields {
            head.headers.append(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_says() {
        let now = date(b"Mon, 01 Jan 2024 00:00:00 GMT").unwrap();
        for (fields, expected) in [
            (&[("Cache-Control", "max-age=100")][..], Some((100, 0))),
            (&[("Cache-Control", "max-age=900")], Some((240, 0))),
            (&[("Cache-Control", "max-age=9, s-maxage=\"20\"")], Some((20, 0))),
            (&[("Cache-Control", "max-age=100"), ("Age", "30")], Some((70, 30))),
            (&[("Cache-Control", "max-age=1000"), ("Age", "500")], Some((240, 500))),
            (&[("Cache-Control", "max-age=100"), ("Age", "100")], None),
            (&[("Cache-Control", "max-age=100"), ("Age", "-1")], None),
            (&[("Cache-Control", "max-age=0"), ("ETag", "\"x\"")], None),
            (&[("Cache-Control", "max-age=99999999999999999999")], Some((240, 0))),
            (&[("Cache-Control", "max-age=many"), ("ETag", "\"x\"")], None),
            (&[("Cache-Control", "Private, max-age=1")], None),
            (&[("Cache-Control", "no-cache=\"a, b\", max-age=1")], None),
            (&[("Cache-Control", "x=\"no-store, y\", max-age=1")], Some((1, 0))),
            (&[("ETag", "\"x\"")], Some((240, 0))),
            (&[("Expires", "Mon, 01 Jan 2024 00:00:10 GMT")], Some((10, 0))),
            (&[("Expires", "Mon, 01 Jan 2024 00:00:00 GMT"), ("ETag", "\"x\"")], None),
            (&[("Expires", "0"), ("ETag", "\"x\"")], None),
            (&[("Date", "Mon, 01 Jan 2024 00:00:00 GMT")], None),
        ] {
            let found = Freshness::of(&response(fields), Duration::from_secs(240), now);
            assert_eq!(found.map(|found| (found.left.as_secs(), found.age)), expected, "{fields:?}");
        }
    }

    #[test]
    fn dates_are_read_in_each_of_their_forms() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(date(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["0", "", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn codings_are_taken_as_clients_say() {
        for (said, coding, expected) in [
            (None, "br", true),
            (Some("gzip"), "gzip", true),
            (Some("x-gzip"), "gzip", true),
            (Some("gzip"), "br", false),
            (Some("gzip"), "identity", true),
            (Some("gzip;q=0, *"), "gzip", false),
            (Some("gzip, *;q=0.0"), "identity", false),
            (Some("identity;q=0"), "identity", false),
            (Some(""), "identity", true),
            (Some("*"), "br", true),
        ] {
            let fields: Vec<_> = said.map(|said| ("Accept-Encoding", said)).into_iter().collect();
            assert_eq!(accepts(&request(&fields), coding.as_bytes()), expected, "{said:?} {coding}");
        }
    }

    #[test]
    fn tags_are_compared_weakly_and_go_before_dates() {
        let modified = date(b"Mon, 01 Jan 2024 00:00:00 GMT").unwrap();
        for (fields, expected) in [
            (&[("If-None-Match", "\"a,b\", W/\"x\"")][..], true),
            (&[("If-None-Match", "\"y\""), ("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")], false),
            (&[("If-None-Match", "*")], true),
            (&[("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")], true),
            (&[("If-Modified-Since", "Sun, 31 Dec 2023 23:59:59 GMT")], false),
            (&[("If-Modified-Since", "soon")], false),
            (&[], false),
        ] {
            assert_eq!(has_already(&request(fields), Some(b"\"x\""), modified), expected, "{fields:?}");
        }
    }
}
