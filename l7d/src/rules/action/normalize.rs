//! Ways to write the target of a request that mean the same, of which a rule wants one (RFC 3986 section 6.2.2).

use crate::message::head::RequestHead;

/// What is made of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Normalizer {
    /// `#` becomes `%23`.
    FragmentEncode,
    /// What stands behind `#` goes.
    FragmentStrip,
    /// Of several slashes in a row one stays.
    MergeSlashes,
    /// Segments `.` go.
    StripDot,
    /// Segments `..` go with the one before them.
    StripDotDot(Excess),
    /// What need not be encoded is not.
    DecodeUnreserved(Invalid),
    /// Digits of encoded bytes are upper case.
    Uppercase(Invalid),
    /// Parameters are sorted by their names.
    SortQuery,
}

/// What becomes of `..` that have no segment before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Excess {
    Kept,
    Dropped,
}

/// What becomes of percent signs that encode nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Invalid {
    Kept,
    Refused,
}

impl Normalizer {
    /// Every name, and the word behind it where that makes a difference.
    pub(super) const NAMED: [(&'static str, Option<&'static str>, Self); 11] = [
        ("fragment-encode", None, Self::FragmentEncode),
        ("fragment-strip", None, Self::FragmentStrip),
        ("path-merge-slashes", None, Self::MergeSlashes),
        ("path-strip-dot", None, Self::StripDot),
        ("path-strip-dotdot", Some("full"), Self::StripDotDot(Excess::Dropped)),
        ("path-strip-dotdot", None, Self::StripDotDot(Excess::Kept)),
        ("percent-decode-unreserved", Some("strict"), Self::DecodeUnreserved(Invalid::Refused)),
        ("percent-decode-unreserved", None, Self::DecodeUnreserved(Invalid::Kept)),
        ("percent-to-uppercase", Some("strict"), Self::Uppercase(Invalid::Refused)),
        ("percent-to-uppercase", None, Self::Uppercase(Invalid::Kept)),
        ("query-sort-by-name", None, Self::SortQuery),
    ];

    /// Returns the path and the query as they are to be; none where a percent sign must not be there.
    pub(super) fn apply(self, head: &RequestHead) -> Option<Vec<u8>> {
        let target = head.target_parts();
        let text = target.path_and_query(head.target());
        let (path, query) = text.split_at(text.iter().position(|byte| *byte == b'?').unwrap_or(text.len()));
        Some(match self {
            Self::FragmentEncode => text.split(|byte| *byte == b'#').collect::<Vec<_>>().join(&b"%23"[..]),
            Self::FragmentStrip => text.split(|byte| *byte == b'#').next().unwrap_or_default().to_vec(),
            Self::MergeSlashes => [&merged(path), query].concat(),
            Self::StripDot => [&without_dots(path), query].concat(),
            Self::StripDotDot(excess) => [&without_parents(path, excess), query].concat(),
            Self::DecodeUnreserved(invalid) => decoded(text, invalid)?,
            Self::Uppercase(invalid) => upper(text, invalid)?,
            Self::SortQuery => [path, &sorted(query)].concat(),
        })
    }
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    out
}

fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let ends = segments.last() == Some(&&b"."[..]);
    segments.retain(|segment| *segment != b".");
    if ends {
        segments.push(b"");
    }
    segments.join(&b'/')
}

fn without_parents(path: &[u8], excess: Excess) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    // What stands before the first slash is no segment.
    let start = segments.next().unwrap_or_default();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment != b".." {
            kept.push(segment);
            continue;
        }
        match kept.last() {
            Some(before) if *before != b".." => {
                kept.pop();
            }
            _ if excess == Excess::Kept => kept.push(b".."),
            _ => {}
        }
        if is_last {
            kept.push(b"");
        }
    }
    kept.iter().fold(start.to_vec(), |mut out, segment| {
        out.push(b'/');
        out.extend_from_slice(segment);
        out
    })
}

/// Returns the byte that is encoded where a percent sign stands.
fn encoded(text: &[u8], at: usize) -> Option<u8> {
    let digits = text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn decoded(text: &[u8], invalid: Invalid) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let found = if *byte == b'%' { encoded(text, at) } else { None };
        match found {
            None if *byte == b'%' && invalid == Invalid::Refused => return None,
            None => out.push(*byte),
            Some(meant) => {
                match meant.is_ascii_alphanumeric() || matches!(meant, b'-' | b'.' | b'_' | b'~') {
                    true => out.push(meant),
                    false => out.extend_from_slice(&text[at..at + 3]),
                }
                at += 2;
            }
        }
        at += 1;
    }
    Some(out)
}

fn upper(text: &[u8], invalid: Invalid) -> Option<Vec<u8>> {
    let mut out = text.to_vec();
    for at in (0..text.len()).filter(|at| text[*at] == b'%') {
        match encoded(text, at) {
            Some(_) => out[at + 1..at + 3].make_ascii_uppercase(),
            None if invalid == Invalid::Refused => return None,
            None => {}
        }
    }
    Some(out)
}

fn sorted(query: &[u8]) -> Vec<u8> {
    let Some(parameters) = query.strip_prefix(b"?") else { return query.to_vec() };
    let mut all: Vec<&[u8]> = parameters.split(|byte| *byte == b'&').collect();
    all.sort_by_key(|parameter| parameter.split(|byte| *byte == b'=').next().unwrap_or_default());
    [b"?", all.join(&b'&').as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::head::Version;

    #[test]
    fn targets_become_what_the_manual_says() {
        use Normalizer::{DecodeUnreserved, FragmentEncode, FragmentStrip, MergeSlashes, SortQuery, StripDot, StripDotDot, Uppercase};
        let cases = [
            (FragmentEncode, "/#foo#b?a#c", Some("/%23foo%23b?a%23c")),
            (FragmentStrip, "/a#foo?x", Some("/a")),
            (MergeSlashes, "//a///b//?c//d", Some("/a/b/?c//d")),
            (StripDot, "/./a/./.?b/./c", Some("/a/?b/./c")),
            (StripDot, "/.", Some("/")),
            (StripDot, "/.well-known/..", Some("/.well-known/..")),
            (StripDotDot(Excess::Kept), "/foo/../bar/", Some("/bar/")),
            (StripDotDot(Excess::Kept), "/foo/bar/..", Some("/foo/")),
            (StripDotDot(Excess::Kept), "/../bar/", Some("/../bar/")),
            (StripDotDot(Excess::Kept), "/..", Some("/../")),
            (StripDotDot(Excess::Kept), "/bar/../../", Some("/../")),
            (StripDotDot(Excess::Kept), "/foo//../", Some("/foo/")),
            (StripDotDot(Excess::Kept), "/foo/%2E%2E/", Some("/foo/%2E%2E/")),
            (StripDotDot(Excess::Dropped), "/bar/../../x?/../", Some("/x?/../")),
            (StripDotDot(Excess::Dropped), "/..", Some("/")),
            (DecodeUnreserved(Invalid::Kept), "/%61%7e%2f%zz%%36%36?%41=%20%", Some("/a~%2f%zz%66?A=%20%")),
            (DecodeUnreserved(Invalid::Refused), "/%61?%41", Some("/a?A")),
            (DecodeUnreserved(Invalid::Refused), "/%%36%36", None),
            (DecodeUnreserved(Invalid::Refused), "/a?%4", None),
            (Uppercase(Invalid::Kept), "/%6f%zz%aF?%3a%", Some("/%6F%zz%AF?%3A%")),
            (Uppercase(Invalid::Refused), "/%zz", None),
            (SortQuery, "/?aaa=3&a=1&aa=2", Some("/?a=1&aa=2&aaa=3")),
            (SortQuery, "/?a=3&b=4&a=1&b=5&a=2&&=x&a", Some("/?&=x&a=3&a=1&a=2&a&b=4&b=5")),
            (SortQuery, "/a", Some("/a")),
        ];
        for (normalizer, text, expected) in cases {
            let head = RequestHead::of(Version::Http11, b"GET", None, text.as_bytes());
            let found = normalizer.apply(&head).map(|found| String::from_utf8(found).unwrap());
            assert_eq!(found.as_deref(), expected, "{normalizer:?} {text}");
        }
    }
}
