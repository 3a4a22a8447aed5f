//! What became of each line.

use std::collections::HashMap;
use std::fmt;

use crate::config::error::{Diagnostic, Severity};
use crate::config::location::Location;
use crate::config::written::{LineState, Written};

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It means the same; perhaps there is something to be said about it all the same.
    Exact(Option<String>),
    /// It means the same here and now.
    Approximated(String),
    /// It could not be read, and is missing.
    Refused(String),
}

/// A line, and what became of it.
#[derive(Clone, Debug)]
pub struct ConvertedLine {
    location: Location,
    fate: Fate,
}

impl ConvertedLine {
    /// Returns where its keyword stands.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns what became of it.
    pub fn fate(&self) -> &Fate {
        &self.fate
    }
}

/// Shows `file:line: exact`, or what became of it instead, and why.
impl fmt::Display for ConvertedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.location.file(), self.location.line())?;
        match &self.fate {
            Fate::Exact(None) => f.write_str("exact"),
            Fate::Exact(Some(note)) => write!(f, "exact ({note})"),
            Fate::Approximated(why) => write!(f, "approximated ({why})"),
            Fate::Refused(why) => write!(f, "refused ({why})"),
        }
    }
}

/// Tells what became of the lines, given what was found to be wrong with them.
pub(super) fn lines(written: &Written, found: &[Diagnostic]) -> Vec<ConvertedLine> {
    let mut findings = Findings::of(found);
    let mut idle = HashMap::new();
    for word in &written.idle {
        idle.entry(place(word.location())).or_insert_with(|| format!("`{}` means nothing here and is left out", **word));
    }
    let mut lines = Vec::new();
    for line in &written.lines {
        let place = place(&line.location);
        let [errors, warnings] = findings.take(&place);
        let fate = match (errors, line.state, idle.remove(&place)) {
            (Some(why), _, _) => Fate::Refused(why),
            (None, LineState::Condition, _) => Fate::Approximated("what it decides is decided now".to_owned()),
            (None, LineState::Skipped, _) => Fate::Approximated("left out: the condition before it does not hold".to_owned()),
            (None, _, Some(why)) => Fate::Approximated(why),
            (None, LineState::Composed, None) => Fate::Approximated("the environment is that of now".to_owned()),
            (None, LineState::Read, None) if is_about_environment(&line.location) => {
                Fate::Approximated("variables stand where they are used".to_owned())
            }
            (None, LineState::Read, None) => Fate::Exact(warnings),
        };
        lines.push(ConvertedLine { location: line.location.clone(), fate });
    }
    lines.extend(findings.rest());
    lines
}

/// Where a line stands: its file and its number.
type Place = (String, usize);

/// What was found to be wrong, by place.
struct Findings<'d> {
    left: HashMap<Place, Vec<&'d Diagnostic>>,
}

impl<'d> Findings<'d> {
    fn of(found: &'d [Diagnostic]) -> Self {
        let mut left: HashMap<_, Vec<_>> = HashMap::new();
        for one in found {
            if let Some(location) = one.location() {
                left.entry(place(location)).or_default().push(one);
            }
        }
        Self { left }
    }

    /// Takes what was found about a line: the errors, and the warnings.
    fn take(&mut self, place: &Place) -> [Option<String>; 2] {
        let all = self.left.remove(place).unwrap_or_default();
        [Severity::Error, Severity::Warning].map(|severity| {
            let mut messages: Vec<_> = all.iter().filter(|found| found.severity() == severity).map(|found| found.message()).collect();
            messages.dedup();
            Some(messages.join("; ")).filter(|text| !text.is_empty())
        })
    }

    /// Returns the errors on none of the lines that were read, such as those of lines that cannot be cut into words.
    fn rest(self) -> Vec<ConvertedLine> {
        let errors = self.left.into_values().flatten().filter(|found| found.severity() == Severity::Error);
        let mut lines: Vec<_> = errors
            .filter_map(|found| {
                Some(ConvertedLine { location: found.location()?.clone(), fate: Fate::Refused(found.message().to_owned()) })
            })
            .collect();
        lines.sort_by_cached_key(|line| place(&line.location));
        lines
    }
}

fn place(location: &Location) -> Place {
    (location.file().to_owned(), location.line())
}

fn is_about_environment(location: &Location) -> bool {
    matches!(location.text(), "setenv" | "presetenv" | "unsetenv" | "resetenv")
}
