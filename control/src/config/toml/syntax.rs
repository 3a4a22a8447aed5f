//! What makes a text no TOML, told like every other mistake.

use std::sync::Arc;

use ::toml::de::{DeTable, DeValue, Error};

use crate::config::error::Diagnostic;
use crate::config::location::{Location, Source};

/// Errors of the text as TOML.
pub(super) struct Syntax {
    pub(super) diagnostics: Vec<Diagnostic>,
    /// A key given twice leaves the rest of the tree intact; anything else may have moved or lost parts of it.
    pub(super) well_formed: bool,
}

/// Turns the parser's errors into ours.
pub(super) fn diagnostics(source: &Arc<Source>, tree: &DeTable<'_>, errors: &[Error]) -> Syntax {
    let mut syntax = Syntax { diagnostics: Vec::new(), well_formed: true };
    let mut reported = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let location = Location::new(source, span.clone());
        if error.message() == DUPLICATE {
            syntax.diagnostics.push(duplicate(source, tree, &location, span.start));
            continue;
        }
        syntax.well_formed = false;
        // One slip often makes several errors on its line; the first says what it was.
        if !reported.contains(&location.line()) {
            reported.push(location.line());
            syntax.diagnostics.push(
                unquoted(source, &location, span.start)
                    .unwrap_or_else(|| Diagnostic::error(&location, format!("not TOML: {}", error.message()))),
            );
        }
    }
    syntax
}

/// Recognises the most common slip: a text without its quotes.
fn unquoted(source: &Arc<Source>, location: &Location, at: usize) -> Option<Diagnostic> {
    let word = location.text();
    let bare = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_.:*/@".contains(c));
    let is_value = source.text().get(..at)?.trim_end_matches(' ').ends_with(['=', '[', ',']);
    let on_its_own_line = location.line_text().trim_start().starts_with(word);
    (bare && is_value && !on_its_own_line)
        .then(|| Diagnostic::error(location, format!("`{word}` needs quotes")).hint(format!("write \"{word}\"")))
}

const DUPLICATE: &str = "duplicate key";

fn duplicate(source: &Arc<Source>, tree: &DeTable<'_>, location: &Location, at: usize) -> Diagnostic {
    let diagnostic = Diagnostic::error(location, format!("`{}` is given twice", location.text()));
    if let Some(line) = same_header(source.text(), location, at) {
        return diagnostic.hint(format!("first in line {line}"));
    }
    let mut earlier = Vec::new();
    collect(tree, location.text(), at, &mut earlier);
    match earlier.as_slice() {
        [first] => {
            let first = Location::new(source, *first..*first);
            diagnostic.hint(format!("first in line {}", first.line()))
        }
        _ => diagnostic,
    }
}

/// Returns the line of an earlier header that is written alike; the tree remembers the later one.
fn same_header(text: &str, location: &Location, at: usize) -> Option<usize> {
    let header = |line: &str| line.trim_start().strip_prefix('[')?.split_once(']').map(|(name, _)| name.trim().to_owned());
    let wanted = header(location.line_text())?;
    let before = text.get(..at)?.lines().take(location.line() - 1);
    before.enumerate().find(|(_, line)| header(line).as_ref() == Some(&wanted)).map(|(index, _)| index + 1)
}

/// Collects where a key of this name stands before `at`.
fn collect(table: &DeTable<'_>, name: &str, at: usize, found: &mut Vec<usize>) {
    for (key, value) in table {
        if key.get_ref() == name && key.span().start < at {
            found.push(key.span().start);
        }
        if let DeValue::Table(inner) = value.get_ref() {
            collect(inner, name, at, found);
        }
    }
}
