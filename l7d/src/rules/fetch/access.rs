//! Who the sender of a request says and proves to be.

use std::sync::Arc;

use crate::rules::auth::{Userlist, authorization, credentials};
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::View;

/// What a request says about its sender.
#[derive(Debug)]
pub(in crate::rules) enum Access {
    /// How it says who that is.
    Scheme,
    Name,
    Password,
    /// The token in this field.
    Token(Box<str>),
    /// Whether a list of users admits it.
    Admitted(Arc<Userlist>),
    /// The name that a list of users admits, whose groups can be asked for.
    Member(Arc<Userlist>),
}

impl Access {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Admitted(_) => Kind::Bool,
            Self::Scheme | Self::Name | Self::Password | Self::Token(_) | Self::Member(_) => Kind::Text,
        }
    }

    pub(super) fn find<'v>(&self, view: &View<'v>) -> Option<Sample<'v>> {
        let head = view.request?;
        Some(match self {
            Self::Scheme => {
                let authorization = authorization(head, "authorization")?;
                // A sender whose name cannot be read has said nothing.
                let is_whole = authorization.scheme != "Basic" || credentials(head).is_some();
                Sample::text(is_whole.then_some(authorization.scheme.as_bytes())?)
            }
            Self::Name => Sample::own(credentials(head)?.0),
            Self::Password => Sample::own(credentials(head)?.1),
            Self::Token(field) => Sample::text(authorization(head, field).filter(|found| found.scheme == "Bearer")?.token),
            Self::Admitted(list) => {
                credentials(head)?;
                Sample::Bool(list.admitted(view).is_some())
            }
            Self::Member(list) => Sample::own(list.admitted(view)?),
        })
    }
}
