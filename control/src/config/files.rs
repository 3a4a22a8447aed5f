//! Which files make a configuration, and what each is written in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Diagnostic, Report};
use super::haproxy;
use super::location::{Language, Location, Source};
use crate::file::{self, Kind};

/// Reads files, and those of directories.
///
/// # Errors
///
/// Names every file that cannot be read, and one in the native format beside others.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Arc<Source>>, Report> {
    let (mut sources, mut found) = (Vec::new(), Vec::new());
    for path in paths {
        match listed(path) {
            Ok(files) => files.iter().for_each(|file| match one(file) {
                Ok(source) => sources.push(source),
                Err(error) => found.push(error),
            }),
            Err(error) => found.push(error),
        }
    }
    if let Some(alone) = sources.iter().find(|source| sources.len() > 1 && source.language() == Language::Toml) {
        let message = "a file in the native format is a whole configuration, and cannot stand beside others";
        found.push(Diagnostic::file_error(alone.name(), message));
    }
    if found.is_empty() { Ok(sources) } else { Err(found.into()) }
}

/// Returns the file itself, or those of a directory.
fn listed(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if file::kind(path) != Kind::Directory {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| Diagnostic::file_error(path.display().to_string(), error.to_string());
    let mut files = file::list(path).map_err(failed)?;
    files.retain(|file| {
        let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !is_hidden && file.extension().is_some_and(|ending| ending == "cfg") && file::kind(file) == Kind::File
    });
    match files.is_empty() {
        true => Err(Diagnostic::file_error(path.display().to_string(), "no file in this directory has a name that ends with .cfg")),
        false => Ok(files),
    }
}

fn one(path: &Path) -> Result<Arc<Source>, Diagnostic> {
    let name = path.display().to_string();
    let bytes = file::read(path, file::LARGEST).map_err(|error| Diagnostic::file_error(&name, error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let source = Source::new(&name, &String::from_utf8_lossy(error.as_bytes()));
        Diagnostic::error(&Location::new(&source, good..good), "the file is not UTF-8")
    })?;
    Ok(source(&name, &text))
}

/// Makes the source of a text that is known by `name`.
pub(super) fn source(name: &str, text: &str) -> Arc<Source> {
    Source::of(language(name, text), name, text)
}

/// Tells what a text is written in: by the name of its file, else by its first word.
fn language(name: &str, text: &str) -> Language {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    match ending {
        Some("toml") => Language::Toml,
        Some("cfg") => Language::Haproxy,
        Some(_) | None if haproxy::begins(text) => Language::Haproxy,
        Some(_) | None => Language::Toml,
    }
}
