//! A section of the text: a header, keys, and the comments that stood above them.

use super::value::{Table, Value, key};
use crate::config::location::{Located, Location};

/// A section, which is written where its place among the others is.
#[derive(Debug)]
pub(super) struct Section {
    /// Where it begins in HAProxy's language, if it does.
    location: Option<Location>,
    comments: Vec<String>,
    /// Its names, the outermost first.
    header: Vec<String>,
    text: String,
}

impl Section {
    /// Makes a section; `names` are those between the brackets.
    pub(super) fn filled(names: &[&str], location: Option<&Location>, fill: impl FnOnce(&mut Self)) -> Self {
        let comments = location.map(Location::comments_above_section).unwrap_or_default();
        let header = names.iter().map(|name| key(name)).collect();
        let mut section = Self { location: location.cloned(), comments, header, text: String::new() };
        fill(&mut section);
        section
    }

    /// Returns it without comments.
    pub(super) fn bare(self) -> Self {
        Self { comments: Vec::new(), ..self }
    }

    /// Returns the name of its file.
    pub(super) fn file(&self) -> Option<&str> {
        self.location.as_ref().map(Location::file)
    }

    pub(super) fn line(&self) -> usize {
        self.location.as_ref().map_or(0, Location::line)
    }

    pub(super) fn keys(&mut self, table: &Table) {
        table.write_lines(&mut self.text);
    }

    /// Writes a key below the comments that stood above it.
    pub(super) fn entry(&mut self, name: &str, location: &Location, value: &Value) {
        self.comments(location);
        self.text.push_str(name);
        self.text.push_str(" = ");
        value.write(&mut self.text);
        self.text.push('\n');
    }

    /// Writes a list with a line for each text, below the comments that stood above it.
    pub(super) fn lines(&mut self, key: &str, texts: &[&Located<String>]) {
        if texts.is_empty() {
            return;
        }
        let lines = texts.iter().map(|text| (text.location().comments_above(), text.value().clone()));
        let mut table = Table::default();
        table.put(key, Value::Lines(lines.collect()));
        self.keys(&table);
    }

    /// Begins a table of its own within the section.
    pub(super) fn inner(&mut self, name: &str) {
        let header = self.header.join(".");
        self.text.push_str(&format!("\n[{header}.{name}]\n"));
    }

    fn comments(&mut self, location: &Location) {
        for comment in location.comments_above() {
            self.text.push_str(&format!("{comment}\n"));
        }
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.text.is_empty()
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(if out.is_empty() { "" } else { "\n" });
        for comment in &self.comments {
            out.push_str(comment);
            out.push('\n');
        }
        out.push_str(&format!("[{}]\n{}", self.header.join("."), self.text));
    }
}
