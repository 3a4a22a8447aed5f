//! The host that a server is asked for in the handshake of TLS.

use std::borrow::Cow;

use control::config::{Diagnostic, Located, Mode};

use super::expr::Expression;
use super::fetch::Needs;
use super::names::Names;
use super::view::View;
use super::word::{self, Words};

/// The host that a server is asked for: always the same, or what a connection or request says.
#[derive(Debug)]
pub(crate) struct ServerHost(Expression);

impl ServerHost {
    /// Reads the expression of a server's host.
    ///
    /// # Errors
    /// Names what is not known, or not yet at hand when a server is connected to.
    pub(super) fn compile(text: &Located<String>, mode: Mode, names: &mut Names) -> Result<Self, Diagnostic> {
        let words = word::split(text)?;
        let mut words = Words::new(&words, text);
        let Some(word) = words.next() else { return Err(Diagnostic::error(text.location(), "nothing is written here")) };
        let expression = Expression::of_word(word, names)?;
        if let Some(rest) = words.next() {
            return Err(rest.error("nothing can stand behind an expression"));
        }
        match (expression.needs(), mode) {
            (Needs::Connection, _) | (Needs::Content, Mode::Tcp) | (Needs::Request, Mode::Http) => Ok(Self(expression)),
            (Needs::Content, Mode::Http) => Err(word.error("first bytes are looked at in mode tcp only")),
            (Needs::Request, Mode::Tcp) => Err(word.error("a server is asked for what a request says, and its backend has mode tcp")),
            (Needs::Response, _) => Err(word.error("there is no response yet when a server is connected to")),
        }
    }

    /// Returns the host; none if what it depends on has none.
    pub(crate) fn value<'a>(&'a self, view: &View<'_>) -> Option<Cow<'a, [u8]>> {
        if let Some(always) = self.0.constant() {
            return Some(always.borrowed().into_bytes());
        }
        self.0.value(view).map(|host| Cow::Owned(host.into_bytes().into_owned()))
    }
}
