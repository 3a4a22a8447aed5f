//! The parts of a request's target.

/// A request's target, taken apart; put together again, the parts are the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// What stands before the path: nothing, or scheme and authority of an absolute URI.
    pub origin: &'a [u8],
    /// The path with its first slash; empty where the target has none, as `*` and the authority of a `CONNECT`.
    pub path: &'a [u8],
    /// What stands behind the question mark, if there is one.
    pub query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Returns path and query as they stand in the target; empty where it has no path.
    pub fn path_and_query(&self, target: &'a [u8]) -> &'a [u8] {
        if self.path.is_empty() { &[] } else { &target[self.origin.len()..] }
    }

    /// Returns the authority of an absolute URI.
    pub fn authority(&self) -> Option<&'a [u8]> {
        let colon = memchr::memmem::find(self.origin, b"://")?;
        Some(&self.origin[colon + 3..])
    }
}

/// Takes a target apart.
pub fn parts(target: &[u8]) -> Target<'_> {
    let start = match target.first() {
        Some(b'/') => 0,
        // An absolute URI; without a path it ends with the authority.
        _ => memchr::memmem::find(target, b"://")
            .map(|colon| colon + 3)
            .and_then(|authority| target[authority..].iter().position(|byte| matches!(byte, b'/' | b'?')).map(|end| authority + end))
            .unwrap_or(target.len()),
    };
    let (origin, rest) = target.split_at(start);
    match memchr::memchr(b'?', rest) {
        Some(mark) => Target { origin, path: &rest[..mark], query: Some(&rest[mark + 1..]) },
        None => Target { origin, path: rest, query: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_its_parts() {
        let cases: [(&str, &str, &str, Option<&str>); 9] = [
            ("/", "", "/", None),
            ("/a/b?c=d?e", "", "/a/b", Some("c=d?e")),
            ("/a?", "", "/a", Some("")),
            ("//h/a", "", "//h/a", None),
            ("http://h:80/a?b", "http://h:80", "/a", Some("b")),
            ("http://h", "http://h", "", None),
            ("http://h?q", "http://h", "", Some("q")),
            ("*", "*", "", None),
            ("h:443", "h:443", "", None),
        ];
        for (target, origin, path, query) in cases {
            let expected = Target { origin: origin.as_bytes(), path: path.as_bytes(), query: query.map(str::as_bytes) };
            assert_eq!(parts(target.as_bytes()), expected, "{target}");
        }
        assert_eq!(parts(b"http://h:80/a").authority(), Some(&b"h:80"[..]));
        assert_eq!(parts(b"/a?b").path_and_query(b"/a?b"), b"/a?b");
        assert_eq!(parts(b"*").path_and_query(b"*"), b"");
    }
}
