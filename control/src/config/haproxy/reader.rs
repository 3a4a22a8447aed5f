//! What is known while lines are read: what was wrong with them, and the environment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::bind::TlsDefaults;
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location, Source};
use crate::config::model::SocketFile;
use crate::config::written::ServerTlsSettings;

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
    /// Whether lines are skipped.
    skips: bool,
    /// Words that are accepted and mean nothing here.
    idle: Vec<Located<String>>,
    /// What every bind with TLS begins from.
    bind_tls: TlsDefaults,
    /// What every server with TLS begins from.
    pub(super) server_tls: ServerTlsSettings,
    /// Directories of files that are not named by their whole path.
    pub(super) bases: Bases,
    /// What binds of Unix sockets begin from.
    pub(super) unix: UnixBinds,
}

/// Directories of files that are not named by their whole path.
#[derive(Default)]
pub(super) struct Bases {
    /// Of authorities and what they have revoked.
    pub(super) ca: Option<PathBuf>,
    /// Of certificates.
    pub(super) crt: Option<PathBuf>,
}

/// What binds of Unix sockets begin from.
#[derive(Default)]
pub(super) struct UnixBinds {
    /// What their paths begin with.
    pub(super) prefix: String,
    pub(super) file: SocketFile,
}

impl Reader {
    /// Returns what was wrong, and the words that mean nothing here.
    pub(super) fn finish(self) -> (Vec<Diagnostic>, Vec<Located<String>>) {
        (self.diagnostics, self.idle)
    }

    /// Notes a word that is accepted and means nothing here.
    pub(super) fn idle(&mut self, word: Located<String>) {
        self.idle.push(word);
    }

    /// Returns what every bind with TLS begins from.
    pub(super) fn bind_tls(&self) -> &TlsDefaults {
        &self.bind_tls
    }

    pub(super) fn set_bind_tls(&mut self, defaults: TlsDefaults) {
        self.bind_tls = defaults;
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Notes what is wrong with the form of a line, unless it is not read anyway.
    pub(super) fn push_of_form(&mut self, diagnostic: Diagnostic) {
        if !self.skips {
            self.push(diagnostic);
        }
    }

    /// Notes whether the lines that follow are skipped.
    pub(super) fn set_skips(&mut self, skips: bool) {
        self.skips = skips;
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
