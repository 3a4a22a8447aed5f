//! Single values written as text: durations, addresses, algorithms. The same in every format the model can be written in.
//!
//! Each parser takes the text alone and returns the typed value or a [`Mistake`]; who called it knows where the text stands.

pub(super) mod address;
pub(super) mod balance;
pub(super) mod check;
pub(super) mod format;
pub(super) mod hash;
pub(super) mod mail;
pub(crate) mod naming;
pub(super) mod option;
pub(super) mod reply;
pub(super) mod retry;
pub(super) mod ring;
pub(super) mod rule;
pub(super) mod table;
pub(super) mod text;
pub(super) mod units;
pub(super) mod word;

use std::ops::Range;

use super::error::Diagnostic;
use super::location::Location;

/// What is wrong with a text, and with which part of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    message: String,
    hint: Option<String>,
    part: Option<Range<usize>>,
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, part: None }
    }

    /// Returns what is wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Narrows the mistake to `part`, which must be a slice of `whole`.
    #[must_use]
    pub(super) fn at(mut self, whole: &str, part: &str) -> Self {
        let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr());
        self.part = start.filter(|start| start + part.len() <= whole.len()).map(|start| start..start + part.len());
        self
    }

    /// Moves the mistake from `part` to the `whole` it is a slice of.
    #[must_use]
    pub(super) fn within(self, whole: &str, part: &str) -> Self {
        let inner = self.part.clone();
        let mut outer = self.at(whole, part);
        if let (Some(outer), Some(inner)) = (&mut outer.part, inner) {
            *outer = outer.start + inner.start..outer.start + inner.end;
        }
        outer
    }

    /// Makes it an error about the text at `location`, whose value is `text`.
    pub(super) fn into_diagnostic(self, location: &Location, text: &str) -> Diagnostic {
        let place = self.part.map_or_else(|| location.clone(), |part| location.part(text, part));
        let diagnostic = Diagnostic::error(&place, self.message);
        match self.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}

/// What a keyword that is known but has no effect here yet is answered with.
pub(super) fn later(what: &str, name: &str) -> Mistake {
    Mistake::new(format!("{what} `{name}` is not supported yet"))
}
