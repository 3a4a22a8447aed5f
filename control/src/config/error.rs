//! What is wrong with a configuration: all of it in one [`Report`], each finding with the line it is about.

use std::error::Error;
use std::fmt;

use super::location::Location;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Valid, but most likely not what was meant.
    Warning,
    /// The configuration cannot be used.
    Error,
}

/// What a finding is about.
#[derive(Clone, Debug)]
enum Place {
    /// A file that could not be read.
    File(String),
    Text(Location),
}

/// One finding: where, what, and what to do about it.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    severity: Severity,
    place: Place,
    message: String,
    hint: Option<String>,
}

impl Diagnostic {
    /// Makes an error about the text at a location.
    pub fn error(location: &Location, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Place::Text(location.clone()), message)
    }

    /// Makes a warning about the text at a location.
    pub fn warning(location: &Location, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Place::Text(location.clone()), message)
    }

    /// Makes an error about a file as a whole.
    pub(super) fn file_error(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Place::File(file.into()), message)
    }

    fn new(severity: Severity, place: Place, message: impl Into<String>) -> Self {
        Self { severity, place, message: printable(message.into()), hint: None }
    }

    /// Adds what to do about it; shown under the offending text.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(printable(hint.into()));
        self
    }

    /// Returns how bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the name of the file it is about.
    pub fn file(&self) -> &str {
        match &self.place {
            Place::File(file) => file,
            Place::Text(location) => location.file(),
        }
    }

    /// Returns the text it is about; none where the file could not be read.
    pub fn location(&self) -> Option<&Location> {
        match &self.place {
            Place::File(_) => None,
            Place::Text(location) => Some(location),
        }
    }

    /// Returns what is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the sort key: findings are shown in the order of the file.
    fn position(&self) -> (String, usize, usize) {
        let (line, column) = self.location().map_or((0, 0), |location| (location.line(), location.column()));
        (self.file().to_owned(), line, column)
    }
}

/// Shows the finding, the line it is about, and a mark under the offending text.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning: ",
            Severity::Error => "",
        };
        let location = match &self.place {
            Place::File(file) => return write!(f, "{file}: {severity}{}", self.message),
            Place::Text(location) => location,
        };
        writeln!(f, "{location}: {severity}{}", self.message)?;
        let (line, before) = excerpt(location);
        writeln!(f, "{:>GUTTER$} | {line}", location.line())?;
        let first = location.written().split(['\n', '\r']).next().unwrap_or_default();
        let mark = "^".repeat(first.chars().take(WIDEST).count().max(1));
        write!(f, "{:GUTTER$} | {:before$}{mark}", "", "")?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " {hint}"))
    }
}

/// Returns the line of a location, or what surrounds it of a very long one, and how many characters of that stand before it.
fn excerpt(location: &Location) -> (String, usize) {
    let before = location.column() - 1;
    // A tab takes one column in the position, so it must take one in the line above the mark as well.
    let line = location.line_text().replace(char::is_control, " ");
    if line.chars().nth(WIDEST).is_none() {
        return (line, before);
    }
    let skipped = before.saturating_sub(WIDEST / 2);
    let cut: String = line.chars().skip(skipped).take(WIDEST).collect();
    if skipped == 0 { (format!("{cut}…"), before) } else { (format!("…{cut}…"), before - skipped + 1) }
}

/// Keeps a message in its line, and what it quotes from giving orders to a terminal.
fn printable(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Width of the line number before a quoted line.
const GUTTER: usize = 5;
/// How many characters of a line are quoted.
const WIDEST: usize = 200;

/// Everything found in a configuration, in the order of its lines.
#[derive(Clone, Debug, Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Returns the findings in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Tells whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Tells whether any finding makes the configuration unusable.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl From<Vec<Diagnostic>> for Report {
    fn from(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_cached_key(Diagnostic::position);
        // What two have found is told once.
        diagnostics.dedup_by(|one, other| one.position() == other.position() && one.message == other.message);
        Self { diagnostics }
    }
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic] }
    }
}

/// Shows every finding, one below the other, without a line end after the last.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for Report {}
