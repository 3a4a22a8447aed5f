//! What is in the target of a request.

use super::{Form, Wanted};
use crate::message::head::RequestHead;
use crate::message::headers::Known;
use crate::rules::sample::Sample;
use crate::rules::view::View;

/// Parameters of one name, or of any, in the query.
#[derive(Debug)]
pub(in crate::rules) struct Parameter {
    pub(in crate::rules) name: Option<Box<[u8]>>,
    /// The byte that begins the parameters.
    pub(in crate::rules) delimiter: u8,
    pub(in crate::rules) form: Form,
}

impl Parameter {
    fn values<'v>(&self, view: &View<'v>) -> impl Iterator<Item = &'v [u8]> {
        let target = view.request.map_or(&[][..], RequestHead::target);
        let start = target.iter().position(|byte| *byte == self.delimiter).map_or(target.len(), |at| at + 1);
        parameters(&target[start..], self.name.as_deref(), |byte| matches!(byte, b'&' | b';'))
    }

    pub(super) fn visit<'v>(&self, view: &View<'v>, wanted: Wanted, takes: &mut dyn FnMut(Sample<'v>) -> bool) -> bool {
        match wanted {
            Wanted::One => self.values(view).next().and_then(|value| self.form.read(value)).is_some_and(takes),
            Wanted::Each => self.values(view).any(|value| self.form.read(value).is_some_and(&mut *takes)),
        }
    }
}

/// Returns the values of parameters of one name, or of any.
pub(super) fn parameters<'v>(text: &'v [u8], name: Option<&[u8]>, separates: fn(u8) -> bool) -> impl Iterator<Item = &'v [u8]> {
    text.split(move |byte| separates(*byte)).filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let matches = name.is_none_or(|wanted| *wanted == pair[..equals]);
        matches.then(|| &pair[equals + 1..])
    })
}

/// Returns the host with the path behind it; without a host the path alone.
pub(super) fn base<'v>(head: &'v RequestHead, path: &'v [u8]) -> Sample<'v> {
    let host = head.headers.known(Known::Host).next().unwrap_or_default();
    if host.is_empty() {
        return Sample::text(path);
    }
    Sample::own([host, path].concat())
}
