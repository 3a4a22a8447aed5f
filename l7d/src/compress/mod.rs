//! Compression of responses: which are compressed, how, and what their heads then say.
//!
//! The request decides whether its sender takes any of the configured codings; the response, once its head is what the rules have made
//! of it, whether compressing it is allowed and worth it. Both follow HAProxy's conditions. The bytes are [`coder`]'s business.

mod coder;

use control::config;
pub(crate) use control::config::Coding;

use crate::message::head::{RequestHead, ResponseHead, Version};
use crate::message::headers::{Known, lists};
pub(crate) use coder::{Coder, Pressed};

/// What a proxy compresses, and how.
#[derive(Debug)]
pub(crate) struct Compression {
    /// In the order in which `*` chooses among them.
    codings: Box<[Coding]>,
    types: Box<[Box<[u8]>]>,
    offload: bool,
    /// Shortest body, in bytes.
    least: u64,
}

impl Compression {
    /// Makes it of the model.
    pub(crate) fn new(model: &config::Compression) -> Self {
        Self {
            // The one named last is preferred where the client does not care, as in HAProxy.
            codings: model.codings().iter().rev().copied().collect(),
            types: model.types().iter().map(|name| name.as_bytes().into()).collect(),
            offload: model.offload(),
            least: model.least(),
        }
    }
}

/// The settings that concern one exchange, those of the backend before those of the frontend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    backend: Option<&'a Compression>,
    frontend: Option<&'a Compression>,
}

/// A coding that the client takes, and whatever says which responses it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer<'a> {
    settings: Settings<'a>,
    coding: Coding,
}

impl<'a> Settings<'a> {
    /// Returns the settings of two proxies, if either has any.
    pub(crate) fn of(frontend: Option<&'a Compression>, backend: Option<&'a Compression>) -> Option<Self> {
        (frontend.is_some() || backend.is_some()).then_some(Self { backend, frontend })
    }

    fn both(&self) -> impl Iterator<Item = &'a Compression> {
        [self.backend, self.frontend].into_iter().flatten()
    }

    /// Chooses the coding the client likes best, and takes from its request what would make the server compress, if it is to be spared.
    pub(crate) fn offer(self, request: &mut RequestHead) -> Option<Offer<'a>> {
        let codings = &self.both().find(|settings| !settings.codings.is_empty())?.codings;
        if request.headers.all("user-agent").next().is_some_and(miscounts) {
            return None;
        }
        if let Some(coding) = preferred(request, codings) {
            if self.both().any(|settings| settings.offload) {
                request.headers.remove("accept-encoding");
            }
            return Some(Offer { settings: self, coding });
        }
        codings.contains(&Coding::Identity).then_some(Offer { settings: self, coding: Coding::Identity })
    }
}

impl Offer<'_> {
    /// Returns the coding that is offered.
    pub(crate) fn coding(&self) -> Coding {
        self.coding
    }

    /// Takes a response on if it may be compressed, and changes its head to that; `length` is that of its body, if it is known.
    pub(crate) fn accept(&self, head: &mut ResponseHead, length: Option<u64>) -> Option<Coder> {
        if !self.suits(head, length) {
            return None;
        }
        let tag = head.headers.all("etag").next().map(<[u8]>::to_vec);
        head.headers.remove_if(|field| matches!(field.known, Known::ContentLength | Known::TransferEncoding));
        if let Some(tag) = tag.filter(|tag| !tag.starts_with(b"W/")) {
            // What was the same byte for byte is now only worth the same (RFC 9110 section 8.8.1).
            let index = head.headers.iter().position(|field| field.name.eq_ignore_ascii_case(b"etag"));
            let weak = [b"W/", &tag[..]].concat();
            index.map(|index| head.headers.replace(index, &weak)).transpose().ok()?;
        }
        let name: &[u8] = match self.coding {
            Coding::Identity => b"",
            Coding::Gzip => b"gzip",
            Coding::Deflate | Coding::RawDeflate => b"deflate",
        };
        head.headers.append(b"Vary", b"Accept-Encoding").ok()?;
        if !name.is_empty() {
            head.headers.append(b"Content-Encoding", name).ok()?;
        }
        Some(Coder::new(self.coding))
    }

    fn suits(&self, head: &ResponseHead, length: Option<u64>) -> bool {
        let is_short = |length: u64| length == 0 || length < self.settings.both().map(|settings| settings.least).max().unwrap_or(0);
        if !matches!(head.status(), 200..=203) || head.version() == Version::Http10 || length.is_some_and(is_short) {
            return false;
        }
        let headers = &head.headers;
        if headers.all("content-encoding").next().is_some() || headers.all("cache-control").any(|value| lists(value, "no-transform")) {
            return false;
        }
        let mut tags = headers.all("etag");
        if tags.next().is_some_and(|tag| !is_tag(tag)) || tags.next().is_some() {
            return false;
        }
        let types = self.settings.both().map(|settings| &settings.types).find(|types| !types.is_empty());
        let begins = |text: &[u8], start: &[u8]| text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start));
        match (headers.all("content-type").next(), types) {
            (Some(found), _) if begins(found, b"multipart") => false,
            (Some(found), Some(types)) => types.iter().any(|wanted| begins(found, wanted)),
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }
}

/// Tells whether an entity tag is well formed.
fn is_tag(text: &[u8]) -> bool {
    let opaque = text.strip_prefix(b"W/").unwrap_or(text);
    opaque.len() >= 2 && opaque.starts_with(b"\"") && opaque.ends_with(b"\"") && !opaque[1..opaque.len() - 1].contains(&b'"')
}

/// Tells whether a client is one of those that said `Mozilla/4` and took compressed content without being able to read it.
fn miscounts(agent: &[u8]) -> bool {
    let Some(rest) = agent.strip_prefix(b"Mozilla/4") else { return false };
    let Some(version) = rest.get(16..).and_then(|rest| rest.strip_prefix(b"MSIE ")) else { return true };
    match version.first() {
        Some(b'6') => !version.windows(4).any(|part| part == b" SV1"),
        Some(digit) => *digit < b'6' || version.len() < 2,
        None => true,
    }
}

/// Returns the coding with the greatest quality among those that both sides know.
fn preferred(request: &RequestHead, codings: &[Coding]) -> Option<Coding> {
    let mut best = (0, None);
    for element in request.headers.all("accept-encoding").flat_map(|value| value.split(|byte| *byte == b',')) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))).map_or(1000, quality);
        if quality > best.0
            && let Some(coding) = codings.iter().find(|coding| name == b"*" || name.eq_ignore_ascii_case(name_of(**coding)))
        {
            best = (quality, Some(*coding));
        }
    }
    best.1
}

/// Returns what HTTP calls a coding.
pub(crate) fn name_of(coding: Coding) -> &'static [u8] {
    match coding {
        Coding::Identity => b"identity",
        Coding::Gzip => b"gzip",
        Coding::Deflate | Coding::RawDeflate => b"deflate",
    }
}

/// Reads a quality in thousandths (RFC 9110 section 12.4.2); what is none counts as 0.
fn quality(text: &[u8]) -> u32 {
    let (whole, fraction) = match text {
        [b'0', rest @ ..] => (0, rest),
        [b'1', rest @ ..] => (1000, rest),
        _ => return 0,
    };
    let digits = fraction.strip_prefix(b".").unwrap_or_default();
    let value = digits.iter().take(3).zip([100, 10, 1]).map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0').min(9)) * weight);
    (whole + value.sum::<u32>()).min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualities_are_thousandths() {
        for (text, expected) in [("1", 1000), ("0", 0), ("0.5", 500), ("0.05", 50), ("0.123", 123), ("1.9", 1000), ("x", 0), ("", 0)] {
            assert_eq!(quality(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn old_browsers_are_spared() {
        for (agent, expected) in [
            ("Mozilla/5.0", false),
            ("Mozilla/4.0", true),
            ("Mozilla/4.0 (compatible; MSIE 5.5; Windows)", true),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", true),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", false),
            ("Mozilla/4.0 (compatible; MSIE 7.0; Windows)", false),
        ] {
            assert_eq!(miscounts(agent.as_bytes()), expected, "{agent}");
        }
    }
}
