//! What was seen of the body of a message.

use super::uri::parameters;
use super::{Form, Side, Wanted};
use crate::message::headers::Known;
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::View;

/// Something about a body, as far as that has been seen.
#[derive(Debug)]
pub(in crate::rules) struct Body {
    pub(in crate::rules) side: Side,
    pub(in crate::rules) part: BodyPart,
}

/// What about it.
#[derive(Debug)]
pub(in crate::rules) enum BodyPart {
    /// Its content.
    Content,
    /// How much of it there is.
    Length,
    /// How long it is as its sender says, or else as it was seen.
    Size,
    /// The value of a parameter of this name in its form, or of any.
    Parameter(Option<Box<[u8]>>, Form),
}

impl Body {
    pub(super) fn kind(&self) -> Kind {
        match &self.part {
            BodyPart::Content => Kind::Binary,
            BodyPart::Length | BodyPart::Size => Kind::Int,
            BodyPart::Parameter(_, form) => form.kind(),
        }
    }

    fn seen<'v>(&self, view: &View<'v>) -> Option<&'v [u8]> {
        let seen = match self.side {
            Side::Request => view.request?.seen.as_deref(),
            Side::Response => view.response?.seen.as_deref(),
        };
        Some(seen.unwrap_or_default())
    }

    pub(super) fn visit<'v>(&self, view: &View<'v>, wanted: Wanted, takes: &mut dyn FnMut(Sample<'v>) -> bool) -> bool {
        let Some(seen) = self.seen(view) else { return false };
        let count = |count: usize| i64::try_from(count).ok().map(Sample::Int);
        let sample = match &self.part {
            BodyPart::Content => Some(Sample::Binary(seen.into())),
            BodyPart::Length => count(seen.len()),
            BodyPart::Size => self.declared(view).map(Sample::Int).or_else(|| count(seen.len())),
            BodyPart::Parameter(name, form) => {
                let mut values = parameters(seen, name.as_deref(), |byte| byte == b'&');
                return match wanted {
                    Wanted::One => values.next().and_then(|value| form.read(value)).is_some_and(takes),
                    Wanted::Each => values.any(|value| form.read(value).is_some_and(&mut *takes)),
                };
            }
        };
        sample.is_some_and(takes)
    }

    fn declared(&self, view: &View<'_>) -> Option<i64> {
        let length = self.side.headers(view)?.known(Known::ContentLength).next()?;
        str::from_utf8(length).ok()?.trim().parse().ok()
    }
}
