//! Configuration: one file, read by both daemons, into one typed model.
//!
//! ```text
//! text ─► toml, haproxy ─► written ─► resolve ─► model
//! ```
//! `toml` and `haproxy` read text into as-written structs in which every value keeps its position: which of them, the name of the file
//! tells (`.toml`, `.cfg`), else the first word, which in HAProxy's language is that of a section. `resolve` turns those into the model,
//! and is the only one who can: names become ids, defaults are filled in, what contradicts itself is refused. Nothing stops at the
//! first mistake: a [`Report`] holds all of them. Whether files, interfaces and addresses named here exist is not looked at;
//! who uses them finds out, and points at them by their [`Location`].

mod amend;
mod convert;
mod error;
mod files;
mod haproxy;
mod location;
mod model;
mod resolve;
mod running;
pub mod suggest;
mod toml;
pub(crate) mod value;
mod written;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use amend::{Dynamic, Move};
pub use convert::{Conversion, ConvertedLine, Fate, convert};
pub use error::{Diagnostic, Report, Severity};
pub use location::{Language, Located, Location};
pub use model::*;
pub use running::Text;

use location::Source;
use running::Texts;

/// Reads a time such as `30s`; a number without a unit counts milliseconds.
///
/// # Errors
///
/// Says what a time looks like.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    value::units::duration(text).map_err(|mistake| mistake.message().to_owned())
}

/// Reads where a master takes its commands: `ADDRESS[,WORD…]`, where the words are those of a `stats socket`.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn master_socket(text: &str) -> Result<StatsSocket, String> {
    haproxy::master_socket(text)
}

/// Asks a condition as `.if` does in a file.
///
/// # Errors
///
/// Says why it is no condition.
pub fn condition(text: &str) -> Result<bool, String> {
    haproxy::condition(text)
}

/// Returns the features of HAProxy's builds, and whether what they stand for is here; `feature` asks the same.
pub fn features() -> &'static [(&'static str, bool)] {
    haproxy::FEATURES
}

/// Reads the texts of a configuration, and looks at nothing that they say.
///
/// # Errors
///
/// Names the files that cannot be read.
pub fn texts(paths: &[PathBuf]) -> Result<Vec<Text>, Report> {
    let sources = files::read(paths)?;
    Ok(sources.iter().map(|source| Text { name: source.name().to_owned(), text: source.text().to_owned() }).collect())
}

/// Brings a name of the DNS to the form in which it is asked for; none if it cannot be one.
pub fn canonical_name(text: &str) -> Option<String> {
    value::naming::canonical(text)
}

/// Reads a prefix of addresses, such as `192.0.2.0/24`, as files have it.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    value::address::prefix(text).map_err(|mistake| mistake.message().to_owned())
}

impl Config {
    /// Reads and checks one file, or a directory of them.
    ///
    /// # Errors
    ///
    /// Everything wrong with the file, in the order of its lines; warnings are among it.
    pub fn load(path: &Path) -> Result<Self, Report> {
        Self::load_all(&[path.to_owned()])
    }

    /// Reads and checks files that make one configuration: one in the native format, or any number in HAProxy's language; of a
    /// directory those whose names end with `.cfg`, in the order of the alphabet.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_all(paths: &[PathBuf]) -> Result<Self, Report> {
        Self::draft(paths)?.usable()
    }

    /// Reads files as [`load_all`](Self::load_all) does, and goes as far as it can, so that who uses the configuration can find what
    /// else is wrong with it: a draft whose [`warnings`](Self::warnings) have errors among them cannot be used.
    ///
    /// # Errors
    ///
    /// Everything wrong with the files, where there is no more to be found.
    pub fn draft(paths: &[PathBuf]) -> Result<Self, Report> {
        Self::of(&files::read(paths)?)
    }

    fn usable(self) -> Result<Self, Report> {
        if self.warnings.has_errors() { Err(self.warnings) } else { Ok(self) }
    }

    /// Checks a text, known by `name` in messages.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, Report> {
        Self::of(&[files::source(name, text)])?.usable()
    }

    fn of(sources: &[Arc<Source>]) -> Result<Self, Report> {
        let outcome = match sources {
            [source] if source.language() == Language::Toml => toml::read(source),
            _ => haproxy::read(sources),
        };
        if !outcome.well_formed {
            // Whatever was lost with the broken lines would be reported as missing.
            return Err(outcome.diagnostics.into());
        }
        let mut config = resolve::resolve(outcome.written, outcome.diagnostics);
        config.texts = Texts(sources.to_vec());
        Ok(config)
    }
}
