//! The persistence cookie: which server a request names by it, and what the client is to bring next time. Pure.
//!
//! Everything here is what HAProxy 2.6 was seen to do, to the letters of its log: which values count, what is left of the fields that
//! hold them, when a response sets one.

mod field;

use std::net::IpAddr;

use control::config::{self, CookieMode};
use twox_hash::XxHash64;

use super::date;
use crate::message::head::{RequestHead, ResponseHead};
use crate::message::headers::{Field, Headers, lists};
use field::{Edit, Pair};

/// A cookie that keeps clients with their servers.
#[derive(Debug)]
pub(crate) struct Cookie {
    name: Box<[u8]>,
    mode: CookieMode,
    indirect: bool,
    nocache: bool,
    postonly: bool,
    preserve: bool,
    /// In seconds.
    maxidle: Option<u64>,
    /// In seconds.
    maxlife: Option<u64>,
    /// What follows the value where it is set.
    attributes: Box<[u8]>,
}

/// What a client's cookie said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Given {
    /// There was none.
    #[default]
    None,
    /// It names no server.
    Invalid,
    /// It names a server that is down.
    Down,
    /// It names a server.
    Valid,
    /// It was not used for too long.
    Expired,
    /// It was given too long ago.
    Old,
    /// Something else decides.
    Unused,
}

/// What became of the cookie in the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    /// There is none.
    None,
    /// The server's was passed on.
    Passed,
    /// The server's was removed.
    Deleted,
    /// One was added.
    Inserted,
    /// The server's has another value.
    Rewritten,
    /// One with a new date was added.
    Updated,
}

/// Whom a value names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// Nobody.
    Nobody,
    /// Only servers that are down.
    Down,
    /// The server at this place.
    Server(usize),
    /// The server at this place, which is down and taken nevertheless.
    DownServer(usize),
}

/// Whether the cookie of a request decides about its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It does.
    Counts,
    /// It does not.
    Ignored,
}

/// What the cookies of a request said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Presented {
    pub(super) given: Given,
    /// The place of the server.
    pub(super) server: Option<usize>,
    /// When it was set last, in seconds since 1970.
    last: Option<u64>,
    /// When it was set first.
    first: Option<u64>,
}

/// Who has answered a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served<'a> {
    /// What the cookie calls the server; nothing where no client is to stay with it.
    pub(super) value: Option<&'a [u8]>,
    /// Whether it is the one that the request named.
    pub(super) as_named: bool,
}

impl Given {
    /// Returns the letter of the log.
    pub(crate) fn letter(self) -> u8 {
        match self {
            Self::None => b'N',
            Self::Invalid => b'I',
            Self::Down => b'D',
            Self::Valid => b'V',
            Self::Expired => b'E',
            Self::Old => b'O',
            Self::Unused => b'U',
        }
    }
}

impl Returned {
    /// Returns the letter of the log.
    pub(crate) fn letter(self) -> u8 {
        match self {
            Self::None => b'N',
            Self::Passed => b'P',
            Self::Deleted => b'D',
            Self::Inserted => b'I',
            Self::Rewritten => b'R',
            Self::Updated => b'U',
        }
    }
}

impl Cookie {
    /// Makes the cookie of a configuration.
    pub(crate) fn new(model: &config::Cookie) -> Self {
        let mut attributes = b"; path=/".to_vec();
        let mut add = |parts: [&str; 2]| attributes.extend(parts.concat().bytes());
        model.domains().iter().for_each(|domain| add(["; domain=", domain]));
        if model.httponly() {
            add(["; HttpOnly", ""]);
        }
        if model.secure() {
            add(["; Secure", ""]);
        }
        model.attributes().iter().for_each(|attribute| add(["; ", attribute]));
        Self {
            name: model.name().as_bytes().into(),
            mode: model.mode(),
            indirect: model.indirect(),
            nocache: model.nocache(),
            postonly: model.postonly(),
            preserve: model.preserve(),
            maxidle: model.maxidle().map(|idle| idle.as_secs()),
            maxlife: model.maxlife().map(|life| life.as_secs()),
            attributes: attributes.into(),
        }
    }

    /// Tells whether the log has letters for it: HAProxy has none for a cookie that it only reads.
    pub(crate) fn is_logged(&self) -> bool {
        self.mode != CookieMode::Passive || self.indirect
    }

    /// Reads the cookies of a request, and takes away what the server is not to see.
    pub(super) fn read(&self, headers: &mut Headers, weight: Weight, now: u64, named: impl Fn(&[u8]) -> Named) -> Presented {
        let mut presented = Presented::default();
        let mut index = 0;
        while let Some(place) = next_field(headers, index, b"cookie") {
            index = place + 1;
            let Some(field) = headers.iter().nth(place) else { break };
            let edit = self.read_field(field.value, &mut presented, weight, now, &named);
            match edit {
                Edit::Nothing => {}
                Edit::Removes => {
                    headers.remove_at(place);
                    index = place;
                }
                // Less of a field that came in is a field that may be sent.
                Edit::Leaves(value) => headers.replace(place, &value).unwrap_or_default(),
            }
        }
        presented
    }

    fn read_field(&self, text: &[u8], presented: &mut Presented, weight: Weight, now: u64, named: &impl Fn(&[u8]) -> Named) -> Edit {
        let mut cuts = field::Cuts::new(text);
        for pair in field::pairs(text) {
            let value = pair.value(text).filter(|_| pair.name(text) == &*self.name);
            let Some(value) = value else {
                cuts.keep(&pair, text);
                continue;
            };
            let mark = if self.mode == CookieMode::Prefix { PREFIX_END } else { DATE_MARK };
            let end = memchr::memchr(mark, value).unwrap_or(value.len());
            if mark == DATE_MARK {
                presented.read_dates(&value[end..]);
            }
            self.weigh(&value[..end], presented, weight, now, named);
            match self.mode {
                CookieMode::Insert if self.indirect => cuts.cut(&pair),
                CookieMode::Prefix if end < value.len() => cuts.cut_from_value(&pair, end + 1),
                CookieMode::Insert | CookieMode::Prefix | CookieMode::Rewrite | CookieMode::Passive => cuts.keep(&pair, text),
            }
        }
        cuts.edit(text)
    }

    /// Finds out what a value says.
    fn weigh(&self, value: &[u8], presented: &mut Presented, weight: Weight, now: u64, named: &impl Fn(&[u8]) -> Named) {
        if let Some(stale) = self.staleness(presented, now) {
            (presented.given, presented.first, presented.last) = (stale, None, None);
            return;
        }
        if weight == Weight::Ignored {
            presented.given = Given::Unused;
            return;
        }
        if presented.server.is_some() {
            return;
        }
        let found = if value.is_empty() { Named::Nobody } else { named(value) };
        match found {
            Named::Server(place) => (presented.given, presented.server) = (Given::Valid, Some(place)),
            Named::DownServer(place) => (presented.given, presented.server) = (Given::Down, Some(place)),
            Named::Down => presented.given = Given::Down,
            Named::Nobody if matches!(presented.given, Given::Down | Given::Expired | Given::Old) => {}
            Named::Nobody => presented.given = Given::Invalid,
        }
    }

    /// Tells whether a cookie is older than it may be; one from too far in the future is, too.
    fn staleness(&self, presented: &Presented, now: u64) -> Option<Given> {
        let is_stale = |date: Option<u64>, most: Option<u64>| {
            let (Some(date), Some(most)) = (date, most) else { return false };
            now.saturating_sub(date) > most || date.saturating_sub(now) > FARTHEST_FUTURE
        };
        if is_stale(presented.first, self.maxlife) {
            return Some(Given::Old);
        }
        is_stale(presented.last, self.maxidle).then_some(Given::Expired)
    }

    /// Changes, removes and adds what the client gets to see of it.
    pub(super) fn write(
        &self,
        presented: &Presented,
        served: Served<'_>,
        request: &RequestHead,
        response: &mut ResponseHead,
        now: u64,
    ) -> Returned {
        let returned = self.manage(served, &mut response.headers);
        if !self.is_to_be_set(presented, served, request, returned, now) {
            return returned;
        }
        let field = self.field(presented, served, now);
        // What the configuration holds may stand in a field; a head that has no room for it goes without.
        let _ = response.headers.append(b"set-cookie", &field);
        if self.nocache && is_cacheable(request, response) {
            let _ = response.headers.append(b"cache-control", b"private");
        }
        if served.as_named && served.value.is_some() { Returned::Updated } else { Returned::Inserted }
    }

    /// Deals with what the server sets.
    fn manage(&self, served: Served<'_>, headers: &mut Headers) -> Returned {
        let mut returned = Returned::None;
        let mut index = 0;
        while let Some(place) = next_field(headers, index, b"set-cookie") {
            index = place + 1;
            let Some(field) = headers.iter().nth(place) else { break };
            let pair = Pair::of_response(field.value);
            let value = pair.value(field.value).filter(|_| pair.name(field.value) == &*self.name);
            let Some(value) = value else { continue };
            returned = Returned::Passed;
            if self.preserve {
                continue;
            }
            if self.mode == CookieMode::Insert || (served.as_named && self.indirect) {
                headers.remove_at(place);
                index = place;
                returned = Returned::Deleted;
                continue;
            }
            let rest = &field.value[pair.whole().end..];
            let changed = match (self.mode, served.value) {
                (CookieMode::Rewrite, Some(own)) => [&*self.name, b"=", own, rest].concat(),
                (CookieMode::Prefix, Some(own)) => [&*self.name, b"=", own, &[PREFIX_END], value, rest].concat(),
                (CookieMode::Rewrite | CookieMode::Prefix | CookieMode::Insert | CookieMode::Passive, _) => continue,
            };
            if headers.replace(place, &changed).is_ok() {
                returned = Returned::Rewritten;
            }
        }
        returned
    }

    fn is_to_be_set(&self, presented: &Presented, served: Served<'_>, request: &RequestHead, returned: Returned, now: u64) -> bool {
        let is_known = served.as_named;
        let dated = self.maxidle.is_some() || presented.last.is_some();
        let is_late = dated && presented.last.is_none_or(|last| last < now);
        let first_is_off = self.maxlife.is_some() == presented.first.is_none();
        self.mode == CookieMode::Insert
            && !(self.preserve && returned == Returned::Passed)
            && (!is_known || is_late || first_is_off)
            && (!self.postonly || request.method_text() == b"POST")
    }

    /// Prints the field that sets it.
    fn field(&self, presented: &Presented, served: Served<'_>, now: u64) -> Vec<u8> {
        let mut out = [&*self.name, b"="].concat();
        match served.value {
            // A client that leaves for a server without a value is not to come back to the one before.
            None => out.extend_from_slice(b"; Expires=Thu, 01-Jan-1970 00:00:01 GMT"),
            Some(value) => {
                out.extend_from_slice(value);
                if self.maxidle.is_some() || self.maxlife.is_some() {
                    out.push(DATE_MARK);
                    date::write(now, &mut out);
                }
                if self.maxlife.is_some() {
                    out.push(DATE_MARK);
                    date::write(presented.first.unwrap_or(now), &mut out);
                }
            }
        }
        out.extend_from_slice(&self.attributes);
        out
    }
}

impl Presented {
    /// Reads the dates behind a value, each with its mark.
    fn read_dates(&mut self, text: &[u8]) {
        let mut dates = text.split(|byte| *byte == DATE_MARK).skip(1);
        self.last = dates.next().and_then(date::read);
        self.first = dates.next().and_then(date::read);
    }
}

/// Returns what a server is called that has no value of its own: a hash of its address and a secret, so that every proxy calls it so.
pub(crate) fn dynamic_value(ip: IpAddr, port: u16, key: &str) -> String {
    let mut text = key.as_bytes().to_vec();
    match ip {
        IpAddr::V4(ip) => text.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => text.extend_from_slice(&ip.octets()),
    }
    text.extend_from_slice(&u32::from(port).to_be_bytes());
    format!("{:016x}", XxHash64::oneshot(0, &text))
}

/// Returns the place of the next field of that name.
fn next_field(headers: &Headers, from: usize, name: &[u8]) -> Option<usize> {
    headers.iter().skip(from).position(|field| field.name.eq_ignore_ascii_case(name)).map(|place| from + place)
}

/// Tells whether a shared cache may keep a response, as HAProxy judges it.
fn is_cacheable(request: &RequestHead, response: &ResponseHead) -> bool {
    let by_default = matches!(response.status(), 200 | 203 | 204 | 206 | 300 | 301 | 404 | 405 | 410 | 414 | 501);
    let is_safe = matches!(request.method_text(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE");
    if !is_safe || !by_default {
        return false;
    }
    let mut is_worth_it = false;
    for Field { name, value, .. } in response.headers.iter() {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("pragma") && lists(value, "no-cache") {
            return false;
        }
        if is("cache-control") {
            if ["no-cache", "no-store", "private", "max-age=0", "s-maxage=0"].iter().any(|token| lists(value, token)) {
                return false;
            }
            let has = |start: &str| value.split(|byte| *byte == b',').any(|item| begins(item.trim_ascii(), start));
            is_worth_it |= has("max-age=") || has("s-maxage=");
        }
        is_worth_it |= is("expires") || is("etag") || is("last-modified");
    }
    is_worth_it
}

fn begins(text: &[u8], start: &str) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start.as_bytes()))
}

/// Ends the server's part of a value in mode prefix.
const PREFIX_END: u8 = b'~';
/// Stands before each date.
const DATE_MARK: u8 = b'|';
/// In seconds; a clock may be off by a time zone.
const FARTHEST_FUTURE: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_values_are_haproxys() {
        // Seen with HAProxy 2.6.12, `dynamic-cookie-key kay`.
        assert_eq!(dynamic_value("127.0.0.1".parse().unwrap(), 40945, "kay"), "35ad8aa8653c8d8c");
    }

    #[test]
    fn a_date_from_the_future_is_stale_by_a_day() {
        let text =
            "[backend.b]\nserver.s = \"10.0.0.1:80\"\ncookie = { name = \"C\", mode = \"insert\", maxidle = \"20s\", maxlife = \"60s\" }\n";
        let config = config::Config::parse("site.toml", text).unwrap();
        let cookie = Cookie::new(config.backends()[0].cookie().unwrap());
        let now = 1_000_000;
        for (last, first, expected) in [
            (Some(now), Some(now), None),
            (Some(now - 20), Some(now - 60), None),
            (Some(now - 21), Some(now), Some(Given::Expired)),
            (Some(now - 21), Some(now - 61), Some(Given::Old)),
            (Some(now + 86_400), None, None),
            (Some(now + 86_401), None, Some(Given::Expired)),
            (None, Some(now + 86_401), Some(Given::Old)),
            (None, None, None),
        ] {
            assert_eq!(cookie.staleness(&Presented { last, first, ..Presented::default() }, now), expected, "{last:?} {first:?}");
        }
    }
}
