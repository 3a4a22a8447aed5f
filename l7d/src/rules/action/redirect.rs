//! Answers that send the client elsewhere.

use crate::message::head::RequestHead;
use crate::message::headers::{InvalidField, Known};
use crate::reply::Reply;
use crate::rules::log_format::Format;
use crate::rules::view::View;

/// An answer that sends the client elsewhere.
#[derive(Debug)]
pub(in crate::rules) struct Redirect {
    pub(in crate::rules) to: Destination,
    pub(in crate::rules) status: u16,
    /// What becomes of the query where the path is kept.
    pub(in crate::rules) query: Query,
    /// Whether the path ends with a slash.
    pub(in crate::rules) appends_slash: bool,
    /// Whether the rule does not apply where there is nothing to go to.
    pub(in crate::rules) ignores_empty: bool,
    /// The value of a `Set-Cookie` field.
    pub(in crate::rules) cookie: Option<Box<[u8]>>,
}

/// Where the client is sent.
#[derive(Debug)]
pub(in crate::rules) enum Destination {
    /// There.
    Location(Format),
    /// To the same path behind something else.
    Prefix(Format),
    /// To the same place by another protocol.
    Scheme(Format),
}

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Query {
    Kept,
    Dropped,
}

impl Redirect {
    /// Returns the answer; none where there is nothing to go to and that does not matter.
    pub(super) fn reply(&self, view: &View<'_>) -> Result<Option<Reply>, InvalidField> {
        let mut location = Vec::new();
        match &self.to {
            Destination::Location(format) => format.write(view, &mut location),
            Destination::Prefix(format) => {
                format.write(view, &mut location);
                // A slash alone stands for no prefix.
                if location == b"/" {
                    location.clear();
                }
                self.append_path(view.request, &mut location);
            }
            Destination::Scheme(format) => {
                format.write(view, &mut location);
                location.extend_from_slice(b"://");
                let host = view.request.and_then(|head| head.headers.known(Known::Host).next());
                location.extend_from_slice(host.unwrap_or_default());
                self.append_path(view.request, &mut location);
            }
        }
        if location.is_empty() && self.ignores_empty {
            return Ok(None);
        }
        let mut reply = Reply::new(self.status);
        reply.add(b"Location", &location)?;
        if !matches!(self.status, 301 | 308) {
            reply.add(b"Cache-Control", b"no-cache")?;
        }
        if let Some(cookie) = &self.cookie {
            reply.add(b"Set-Cookie", cookie)?;
        }
        Ok(Some(reply))
    }

    fn append_path(&self, request: Option<&RequestHead>, location: &mut Vec<u8>) {
        let path = request.map_or(&b"/"[..], |head| {
            let target = head.target_parts();
            let path = if self.query == Query::Dropped { target.path } else { target.path_and_query(head.target()) };
            if path.is_empty() { b"/" } else { path }
        });
        location.extend_from_slice(path);
        if self.appends_slash && !location.ends_with(b"/") {
            location.push(b'/');
        }
    }
}
