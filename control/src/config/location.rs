//! Where a value was written: every value of the model that a message may later point at carries its [`Location`].
//!
//! A location keeps the text it points into alive, so that a daemon can still show the offending line long after the file was read.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// One text of configuration and the name it is known by in messages.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
    /// Byte offset of the first character of each line.
    lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Arc<Self> {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Arc::new(Self { name: name.to_owned(), text: text.to_owned(), lines })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A stretch of one line of a configuration file.
#[derive(Clone)]
pub struct Location {
    source: Arc<Source>,
    /// Byte offsets into the source; both lie on character boundaries.
    start: usize,
    end: usize,
}

impl Location {
    /// Makes the location of the bytes `start..end`, moved to the nearest character boundaries inside the text.
    pub(super) fn new(source: &Arc<Source>, span: std::ops::Range<usize>) -> Self {
        let text = source.text();
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
        Self { source: Arc::clone(source), start, end }
    }

    /// Returns the name of the file, as it was given.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// Returns the line, counted from 1.
    pub fn line(&self) -> usize {
        self.source.lines.partition_point(|first| *first <= self.start)
    }

    /// Returns the column of the first character, counted in characters from 1.
    pub fn column(&self) -> usize {
        self.source.text[self.line_start()..self.start].chars().count() + 1
    }

    /// Returns the text as it stands in the file.
    pub fn text(&self) -> &str {
        &self.source.text[self.start..self.end]
    }

    /// Returns the whole first line, without its end.
    pub fn line_text(&self) -> &str {
        let rest = &self.source.text[self.line_start()..];
        rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r')
    }

    /// Narrows the location to the part `range` of the value written here, where the value stands in the file as it is.
    #[must_use]
    pub fn part(&self, value: &str, range: std::ops::Range<usize>) -> Self {
        if self.text() == value { Self::new(&self.source, self.start + range.start..self.start + range.end) } else { self.clone() }
    }

    fn line_start(&self) -> usize {
        self.source.lines[self.line() - 1]
    }
}

/// Shows `file:line:column`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value and where it was written.
///
/// Two of them are equal when their values are, wherever they were written: moving a line changes no configuration.
#[derive(Clone, Debug)]
pub struct Located<T> {
    value: T,
    location: Location,
}

impl<T> Located<T> {
    pub(super) fn new(value: T, location: Location) -> Self {
        Self { value, location }
    }

    /// Returns where the value was written.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the value; also reached by dereferencing.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns a value that stands in no file; messages know it by `name` and show `text`.
    pub fn elsewhere(value: T, name: &str, text: &str) -> Self {
        Self { value, location: Location::new(&Source::new(name, text), 0..text.len()) }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), location: self.location }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: fmt::Display> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
