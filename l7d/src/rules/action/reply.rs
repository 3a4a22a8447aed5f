//! Answers of `deny` and `return`.

use crate::message::headers::InvalidField;
use crate::reply::Reply;
use crate::rules::log_format::Format;
use crate::rules::view::View;

/// An answer as a rule describes it.
#[derive(Debug)]
pub(in crate::rules) struct Answer {
    pub(in crate::rules) status: u16,
    pub(in crate::rules) fields: Box<[(Box<[u8]>, Format)]>,
    pub(in crate::rules) body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub(in crate::rules) enum Body {
    /// There is none.
    None,
    /// The page that tells what the status means.
    Page,
    /// This text, of this type.
    Text { content_type: Box<[u8]>, text: Format },
}

impl Answer {
    /// Returns the answer to the message at hand.
    pub(super) fn reply(&self, view: &View<'_>) -> Result<Reply, InvalidField> {
        let mut reply = match self.body {
            Body::Page => Reply::page(self.status),
            Body::None | Body::Text { .. } => Reply::new(self.status),
        };
        let mut value = Vec::new();
        for (name, format) in &self.fields {
            value.clear();
            format.write(view, &mut value);
            reply.add(name, &value)?;
        }
        if let Body::Text { content_type, text } = &self.body {
            let mut body = Vec::new();
            text.write(view, &mut body);
            reply.set_body(content_type, body);
        }
        Ok(reply)
    }
}
