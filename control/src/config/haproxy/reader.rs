//! What is known while lines are read: what was wrong with them, and the environment.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::error::Diagnostic;
use crate::config::location::{Location, Source};

/// Collects what is wrong while lines are read.
#[derive(Default)]
pub(super) struct Reader {
    diagnostics: Vec<Diagnostic>,
    /// What the file says of the environment; none for a variable it takes away.
    environment: HashMap<String, Option<String>>,
    /// The only variables of the process that are still to be seen; none for all.
    kept: Option<Vec<String>>,
    /// The name of the section at hand, or its kind where it has none.
    section: String,
}

impl Reader {
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Warns of something valid that will surprise.
    pub(super) fn warn(&mut self, location: &Location, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Diagnostic::warning(location, message).hint(hint));
    }

    /// Notes which section is read.
    pub(super) fn enter(&mut self, section: &str) {
        section.clone_into(&mut self.section);
    }

    /// Returns a variable of the environment, as it is at this place of a file.
    pub(super) fn variable(&self, name: &str, source: &Arc<Source>, at: usize) -> Option<String> {
        let location = || Location::new(source, at..at);
        match name {
            ".FILE" => Some(location().file().to_owned()),
            ".LINE" => Some(location().line().to_string()),
            ".SECTION" => Some(self.section.clone()),
            _ => self.environment(name),
        }
    }

    /// Returns a variable of the environment.
    pub(super) fn environment(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned().unwrap_or_else(|| self.inherited(name))
    }

    fn inherited(&self, name: &str) -> Option<String> {
        let is_hidden = self.kept.as_ref().is_some_and(|kept| !kept.iter().any(|kept| kept == name));
        if is_hidden { None } else { std::env::var(name).ok() }
    }

    /// Takes away all variables but the named ones.
    pub(super) fn reset_environment(&mut self, kept: &[String]) {
        self.environment.retain(|name, _| kept.contains(name));
        let still = |name: &&String| self.inherited(name).is_some();
        self.kept = Some(kept.iter().filter(still).cloned().collect());
    }

    /// Sets a variable of the environment, or takes it away.
    pub(super) fn set_environment(&mut self, name: &str, value: Option<String>) {
        self.environment.insert(name.to_owned(), value);
    }
}
