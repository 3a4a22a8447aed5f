//! Changes of a request's target.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::{Message, Passage, replaced};
use crate::message::head::RequestHead;
use crate::message::headers::InvalidField;
use crate::message::target::Target;
use crate::rules::log_format::Format;
use crate::rules::view::View;

/// The part of a target that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Part {
    Path,
    PathAndQuery,
    Query,
    Whole,
}

impl Part {
    /// Returns what stands there; none where a target has no such part.
    fn of(self, head: &RequestHead) -> Option<&[u8]> {
        let target = head.target_parts();
        let text = match self {
            Self::Path => target.path,
            Self::PathAndQuery => target.path_and_query(head.target()),
            Self::Query => target.query.unwrap_or_default(),
            Self::Whole => head.target(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// Returns the target with another text there.
    fn put<'t>(self, target: Target<'_>, value: &'t [u8]) -> Cow<'t, [u8]> {
        let query = match (self, target.query) {
            (Self::Path, Some(query)) => Some(query),
            (Self::Query, _) if !value.is_empty() => Some(value),
            _ => None,
        };
        let path = match self {
            Self::Path | Self::PathAndQuery => value,
            Self::Query => target.path,
            Self::Whole => return Cow::Borrowed(value),
        };
        let mut out = [target.origin, path].concat();
        if let Some(query) = query {
            out.push(b'?');
            out.extend_from_slice(query);
        }
        Cow::Owned(out)
    }
}

/// What to look for in a part of the target, and what to put in its place.
#[derive(Debug)]
pub(in crate::rules) struct Change {
    pub(in crate::rules) part: Part,
    pub(in crate::rules) regex: Regex,
    pub(in crate::rules) replacement: Format,
}

impl Change {
    /// Returns the new text of the part, if the old one matches.
    pub(super) fn apply(&self, view: &View<'_>, replacement: &[u8]) -> Option<Vec<u8>> {
        replaced(&self.regex, self.part.of(view.request?)?, replacement)
    }
}

impl Passage<'_> {
    /// Puts a text in place of a part of the target; a target without a path keeps what it has.
    pub(super) fn set_target(&mut self, part: Part, value: &[u8]) -> Result<(), InvalidField> {
        let Message::Request(head) = &mut self.message else { return Ok(()) };
        let target = head.target_parts();
        let has_path = !target.path.is_empty() || target.authority().is_some();
        if part != Part::Whole && !has_path {
            return Ok(());
        }
        let value = part.put(target, value).into_owned();
        head.set_target(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::target::parts;

    #[test]
    fn the_other_parts_stay() {
        let cases = [
            (Part::Path, "/a?b", "/x", "/x?b"),
            (Part::Path, "http://h/a?b", "/x", "http://h/x?b"),
            (Part::Path, "http://h", "/x", "http://h/x"),
            (Part::PathAndQuery, "/a?b", "/x?y", "/x?y"),
            (Part::PathAndQuery, "/a?b", "/x", "/x"),
            (Part::Query, "/a?b", "y", "/a?y"),
            (Part::Query, "/a", "y", "/a?y"),
            (Part::Query, "/a?b", "", "/a"),
            (Part::Whole, "/a?b", "http://o/", "http://o/"),
        ];
        for (part, target, value, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&part.put(parts(target.as_bytes()), value.as_bytes())), expected, "{part:?} {target}");
        }
    }
}
