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
    language: Language,
    /// Where the text was written, if it was put together from another one.
    origin: Option<Origin>,
}

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The native format.
    Toml,
    /// HAProxy's.
    Haproxy,
}

/// The text that another one was put together from.
#[derive(Debug)]
struct Origin {
    source: Arc<Source>,
    /// Where each byte stands there, and where the last one ends.
    places: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Arc<Self> {
        Self::of(Language::Toml, name, text)
    }

    /// Makes the source of a text in a given language.
    pub(super) fn of(language: Language, name: &str, text: &str) -> Arc<Self> {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Arc::new(Self { name: name.to_owned(), text: text.to_owned(), lines, language, origin: None })
    }

    /// Makes a text out of parts of this one: `places` has for each of its bytes where it was written, and where the last one ends.
    pub(super) fn derived(self: &Arc<Self>, text: String, places: Vec<usize>) -> Arc<Self> {
        let origin = Some(Origin { source: Arc::clone(self), places });
        Arc::new(Self { name: self.name.clone(), text, lines: vec![0], language: self.language, origin })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// Returns where the line of a byte begins.
    fn line_start(&self, at: usize) -> usize {
        self.lines[self.lines.partition_point(|first| *first <= at) - 1]
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
        let (source, start, _) = self.place();
        source.lines.partition_point(|first| *first <= start)
    }

    /// Returns the column of the first character, counted in characters from 1.
    pub fn column(&self) -> usize {
        let (source, start, _) = self.place();
        source.text[source.line_start(start)..start].chars().count() + 1
    }

    /// Returns the text; as it stands in the file, but for what was put together from parts of one.
    pub fn text(&self) -> &str {
        &self.source.text[self.start..self.end]
    }

    /// Returns between which bytes of a text it stands; none if it stands in another one.
    pub(super) fn place_in(&self, source: &Source) -> Option<std::ops::Range<usize>> {
        let (own, start, end) = self.place();
        std::ptr::eq(own, source).then_some(start..end)
    }

    /// Returns the text as it stands in the file.
    pub(super) fn written(&self) -> &str {
        let (source, start, end) = self.place();
        &source.text[start..end]
    }

    /// Returns the whole first line, without its end.
    pub fn line_text(&self) -> &str {
        let (source, start, _) = self.place();
        let rest = &source.text[source.line_start(start)..];
        rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r')
    }

    /// Returns the lines of comments right above.
    pub(super) fn comments_above(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.lines_above().take_while(|line| line.starts_with('#')).map(comment).collect();
        lines.reverse();
        lines
    }

    /// Returns the lines of comments above, blank lines between them, but not those right behind another line.
    pub(super) fn comments_above_section(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.lines_above().take_while(|line| line.is_empty() || line.starts_with('#')).map(comment).collect();
        lines.reverse();
        let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
        lines.drain(..first);
        lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
        lines
    }

    /// Returns the lines above, the nearest first, without the space around them.
    fn lines_above(&self) -> impl Iterator<Item = &str> {
        let (source, start, _) = self.place();
        source.text[..source.line_start(start)].lines().rev().map(str::trim)
    }

    /// Returns what the file is written in.
    pub fn language(&self) -> Language {
        self.source.language
    }

    /// Returns the text of the file, and between which bytes of it this is.
    fn place(&self) -> (&Source, usize, usize) {
        let Some(Origin { source, places }) = &self.source.origin else { return (&self.source, self.start, self.end) };
        let place = |at: usize| source.text.floor_char_boundary(places.get(at).or(places.last()).copied().unwrap_or_default());
        let start = place(self.start);
        // What follows the last byte may stand far from it.
        let end = if self.end > self.start { source.text.ceil_char_boundary(place(self.end - 1) + 1) } else { start };
        (source, start, end.clamp(start, source.text.len()))
    }

    /// Makes a text of its own out of the value written here; its places are those of the file where the value stands as it is.
    pub(super) fn text_of(&self, value: &str) -> Arc<Source> {
        let stands = self.text() == value;
        let places = (0..=value.len()).map(|at| if stands { self.start + at } else { self.start }).collect();
        let (source, places): (_, Vec<usize>) = match &self.source.origin {
            None => (&self.source, places),
            Some(origin) => {
                let place = |at: usize| origin.places.get(at).or(origin.places.last()).copied().unwrap_or_default();
                (&origin.source, places.into_iter().map(place).collect())
            }
        };
        source.derived(value.to_owned(), places)
    }

    /// Narrows the location to the part `range` of the value written here, where the value stands in the file as it is.
    #[must_use]
    pub fn part(&self, value: &str, range: std::ops::Range<usize>) -> Self {
        if self.text() == value { Self::new(&self.source, self.start + range.start..self.start + range.end) } else { self.clone() }
    }
}

/// Writes a comment so that it can stand in any file.
fn comment(line: &str) -> String {
    line.replace(|c: char| c.is_control() && c != '\t', " ")
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
