//! What a choice sticks to: the client, or a part of its request.
//!
//! Where the request has nothing of it there is no key, and servers are taken in turn. What of a request counts is what HAProxy 2.6
//! was seen to hash.

use control::config::{self, UriHash};

use super::hash::Hasher;
use crate::message::head::RequestHead;
use crate::peer::Peer;
use crate::rdp::{self, Peek};

/// What is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The address of the client.
    Client,
    /// The target of the request, or a part of it.
    Uri(UriHash),
    /// The value of a query parameter.
    UrlParam(String),
    /// The first value of a header field.
    Header(config::HeaderHash),
    /// The cookie of this name that a client of RDP sends.
    RdpCookie(String),
    /// The value of an expression.
    Expression(Expression),
}

/// An expression of the rule language that can be hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// `src`
    Client,
    /// `method`
    Method,
    /// `path`
    Path,
    /// `query`
    Query,
    /// `url`
    Url,
    /// `url_param(name)`
    UrlParam(String),
    /// `req.hdr(name)`
    Header(String),
}

/// What is known when a server is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The client.
    pub(crate) client: Peer,
    /// The request; none in mode `tcp`.
    pub(crate) request: Option<&'a RequestHead>,
    /// The first bytes of a connection of mode `tcp`.
    pub(crate) bytes: &'a [u8],
}

impl Subject {
    /// Returns the key of a connection or request, if it has any.
    pub(crate) fn key(&self, seen: Seen<'_>, hasher: Hasher) -> Option<u32> {
        let text = match self {
            Self::Client => return seen.client.ip().map(|address| hasher.client(address)),
            Self::Expression(Expression::Client) => return seen.client.ip().map(|address| hasher.address(address)),
            Self::Uri(of) => counted(seen.request?.target(), *of),
            Self::UrlParam(name) | Self::Expression(Expression::UrlParam(name)) => url_param(seen.request?.target(), name)?,
            Self::RdpCookie(name) => match rdp::peek(seen.bytes, Some(name.as_bytes())) {
                Peek::Value(value) => value,
                Peek::Partial | Peek::Nothing => return None,
            },
            Self::Header(of) => header(seen.request?, of)?,
            Self::Expression(Expression::Method) => seen.request?.method_text(),
            Self::Expression(Expression::Path) => path(seen.request?.target()),
            Self::Expression(Expression::Query) => query(seen.request?.target())?,
            Self::Expression(Expression::Url) => seen.request?.target(),
            Self::Expression(Expression::Header(name)) => last_value(seen.request?, name)?,
        };
        Some(hasher.text(text))
    }
}

impl Expression {
    /// What can be read, for messages.
    pub(crate) const KNOWN: &str = "src, method, path, query, url, url_param(name), req.hdr(name)";

    /// Reads an expression; none if it is not one of those that can be hashed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, argument) = match text.split_once('(') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(')')?)),
            None => (text, None),
        };
        let is_plain =
            |argument: &&str| !argument.is_empty() && argument.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        match (name, argument) {
            ("src", None) => Some(Self::Client),
            ("method", None) => Some(Self::Method),
            ("path", None) => Some(Self::Path),
            ("query", None) => Some(Self::Query),
            ("url", None) => Some(Self::Url),
            ("url_param", Some(argument)) => Some(argument).filter(is_plain).map(|name| Self::UrlParam(name.to_owned())),
            ("hdr" | "req.hdr", Some(argument)) => Some(argument).filter(is_plain).map(|name| Self::Header(name.to_owned())),
            _ => None,
        }
    }

    /// Tells whether it needs a request.
    pub(crate) fn is_http(&self) -> bool {
        *self != Self::Client
    }
}

/// Returns the part of a target that counts: up to the query unless all of it does, up to a length, up to a number of slashes.
fn counted(target: &[u8], of: UriHash) -> &[u8] {
    let target = if of.path_only() { from_path(target) } else { target };
    let longest = of.length().map_or(target.len(), |length| target.len().min(length as usize));
    let mut slashes = 0;
    let ends = |byte: &u8| {
        slashes += u32::from(*byte == b'/');
        (*byte == b'?' && !of.whole()) || of.depth().is_some_and(|depth| slashes > depth)
    };
    let end = target[..longest].iter().position(ends);
    &target[..end.unwrap_or(longest)]
}

/// Returns a target without a scheme and an authority.
fn from_path(target: &[u8]) -> &[u8] {
    if target.starts_with(b"/") {
        return target;
    }
    let Some(scheme) = memchr::memmem::find(target, b"://") else { return target };
    let authority = &target[scheme + 3..];
    memchr::memchr(b'/', authority).map_or(b"/", |slash| &authority[slash..])
}

fn path(target: &[u8]) -> &[u8] {
    let target = from_path(target);
    memchr::memchr(b'?', target).map_or(target, |mark| &target[..mark])
}

fn query(target: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'?', target).map(|mark| &target[mark + 1..])
}

fn url_param<'a>(target: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = |pair: &'a [u8]| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    query(target)?.split(|byte| *byte == b'&').find_map(value)
}

fn header<'a>(request: &'a RequestHead, of: &config::HeaderHash) -> Option<&'a [u8]> {
    let first = request.headers.all(of.name()).next()?;
    let value = memchr::memchr(b',', first).map_or(first, |comma| &first[..comma]).trim_ascii();
    Some(if of.domain_only() { main_part(value) } else { value }).filter(|value| !value.is_empty())
}

fn last_value<'a>(request: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let last = request.headers.all(name).last()?;
    Some(memchr::memrchr(b',', last).map_or(last, |comma| &last[comma + 1..]).trim_ascii())
}

/// Returns the label before the last dot of a domain name; all of a name without one.
fn main_part(domain: &[u8]) -> &[u8] {
    let Some(last) = memchr::memrchr(b'.', domain) else { return domain };
    let before = &domain[..last];
    memchr::memrchr(b'.', before).map_or(before, |dot| &before[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::parse::{self, Parsed};

    fn head(text: &str) -> RequestHead {
        let Ok(Parsed::Complete { head, .. }) = parse::request(text.as_bytes()) else { panic!("{text}") };
        head
    }

    fn uri(settings: &str) -> UriHash {
        let text = format!(
            "[frontend.f]\nbind = \"*:80\"\ndefault-backend = \"b\"\n[backend.b]\nbalance = \"uri {settings}\"\nserver.s = \"10.0.0.1:80\""
        );
        let config = config::Config::parse("site.toml", &text).unwrap();
        let config::Balance::Uri(uri) = config.backends()[0].balance() else { panic!("{settings}") };
        *uri
    }

    #[test]
    fn so_much_of_a_target_counts() {
        let target = b"/abc/def/ghi?x=/1/2";
        for (settings, counts) in [
            ("", "/abc/def/ghi"),
            ("whole", "/abc/def/ghi?x=/1/2"),
            ("len 4", "/abc"),
            ("len 400", "/abc/def/ghi"),
            ("depth 1", "/abc"),
            ("depth 2", "/abc/def"),
            ("whole depth 3", "/abc/def/ghi?x="),
            ("path-only depth 2 len 6", "/abc/d"),
        ] {
            assert_eq!(counted(target, uri(settings)), counts.as_bytes(), "{settings}");
        }
        assert_eq!(counted(b"//a//b", uri("depth 1")), b"/");
        assert_eq!(counted(b"*", uri("depth 1")), b"*");
        assert_eq!(counted(b"http://host/a?b", uri("")), b"http://host/a");
        assert_eq!(counted(b"http://host/a?b", uri("path-only")), b"/a");
        assert_eq!(counted(b"http://host", uri("path-only")), b"/");
    }

    #[test]
    fn parameters_are_found_in_the_query_alone() {
        for (target, value) in [
            ("/?u=abc", Some("abc")),
            ("/?v=1&u=abc&u=d", Some("abc")),
            ("/?u=", Some("")),
            ("/?u", None),
            ("/?uu=7&xu=9&U=3", None),
            ("/?v=2;u=x", None),
            ("/u=1", None),
        ] {
            assert_eq!(url_param(target.as_bytes(), "u"), value.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn main_part_of_a_domain_is_before_its_last_dot() {
        for (domain, part) in [
            ("haproxy.1wt.eu", "1wt"),
            ("1wt.eu", "1wt"),
            ("localhost", "localhost"),
            ("a.b.c.example.com", "example"),
            ("www.example.co.uk", "co"),
            ("www.example.com:8080", "example"),
            ("x.", "x"),
            ("", ""),
        ] {
            assert_eq!(main_part(domain.as_bytes()), part.as_bytes(), "{domain}");
        }
    }

    #[test]
    fn what_a_request_lacks_is_no_key() {
        let expression = |text| Subject::Expression(Expression::parse(text).unwrap());
        let hasher = Hasher::new(config::HashType::default());
        let full = head("GET /p?q=1 HTTP/1.1\r\nHost: h\r\nX-Id: a, b\r\n\r\n");
        let bare = head("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let client = Peer::Inet("10.0.0.1:1000".parse().unwrap());
        let key = |subject: &Subject, request| subject.key(Seen { client, request, bytes: b"" }, hasher);
        for (text, value) in
            [("path", "/p"), ("url", "/p?q=1"), ("query", "q=1"), ("url_param(q)", "1"), ("req.hdr(x-id)", "b"), ("method", "GET")]
        {
            let subject = expression(text);
            assert_eq!(key(&subject, Some(&full)), Some(hasher.text(value.as_bytes())), "{text}");
            assert_eq!(key(&subject, Some(&bare)).is_some(), matches!(text, "path" | "url" | "method"), "{text}");
            assert_eq!(key(&subject, None), None, "{text}");
        }
        assert!(key(&expression("src"), None).is_some() && key(&Subject::Client, None).is_some());
    }

    #[test]
    fn other_expressions_are_not_read() {
        for text in ["", "src,ipmask(24)", "req.hdr", "req.hdr()", "req.hdr(a,1)", "path(1)", "var(txn.x)", "req.cook(id)", "hdr(a"] {
            assert_eq!(Expression::parse(text), None, "{text}");
        }
    }
}
