//! A line of words, read from left to right.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location, Source};
use crate::config::suggest;
use crate::config::value::{Mistake, units};

/// A word without its quotes and escapes.
#[derive(Debug)]
pub(super) struct Word {
    text: String,
    /// Where each byte of the text was written, and where the word ends.
    places: Vec<usize>,
    start: usize,
}

impl Word {
    pub(super) fn new(start: usize) -> Self {
        Self { text: String::new(), places: Vec::new(), start }
    }

    /// Adds a character that was written at `place`.
    pub(super) fn push(&mut self, c: char, place: usize) {
        self.text.push(c);
        // A character may stand for a shorter or longer text, which its first byte has to point at.
        self.places.extend((0..c.len_utf8()).map(|_| place));
    }

    /// Notes where the word ends.
    pub(super) fn end(&mut self, place: usize) {
        self.places.push(place);
    }

    fn finish(&self) -> usize {
        self.places.last().copied().unwrap_or(self.start)
    }
}

/// A line being read.
#[derive(Debug)]
pub(super) struct Line {
    source: Arc<Source>,
    /// Invariant: not empty.
    words: Vec<Word>,
    /// The next word.
    at: usize,
    /// The keyword, once it is read.
    keyword: usize,
    is_plain: bool,
    negated: bool,
}

impl Line {
    pub(super) fn new(source: &Arc<Source>, words: Vec<Word>, is_plain: bool) -> Self {
        Self { source: Arc::clone(source), words, at: 0, keyword: 0, is_plain, negated: false }
    }

    /// Returns all words, and where each stands with its quotes.
    pub(super) fn into_words(self) -> Vec<(String, Range<usize>)> {
        let place = |word: &Word| word.start..word.finish();
        self.words.into_iter().map(|word| (place(&word), word)).map(|(place, word)| (word.text, place)).collect()
    }

    /// Reads the keyword, and a `no` before it.
    pub(super) fn read_keyword(&mut self) -> Located<String> {
        self.negated = self.words.len() > 1 && self.accept("no");
        self.keyword = self.at;
        self.next().unwrap_or_else(|| self.word(self.keyword))
    }

    /// Tells whether a `no` stands before the keyword.
    pub(super) fn is_negated(&self) -> bool {
        self.negated
    }

    /// Returns the keyword.
    pub(super) fn keyword(&self) -> Located<String> {
        self.word(self.keyword)
    }

    /// Returns where the keyword stands.
    pub(super) fn location(&self) -> Location {
        self.keyword().location().clone()
    }

    /// Returns the next word and leaves it unread.
    pub(super) fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(|word| word.text.as_str())
    }

    /// Reads the next word.
    pub(super) fn next(&mut self) -> Option<Located<String>> {
        self.words.get(self.at)?;
        self.at += 1;
        Some(self.word(self.at - 1))
    }

    /// Reads the next word if it is this one.
    pub(super) fn accept(&mut self, text: &str) -> bool {
        let found = self.peek() == Some(text);
        self.at += usize::from(found);
        found
    }

    /// Reads a word that must be there.
    ///
    /// # Errors
    /// Says what is missing at the end of the line.
    pub(super) fn expect(&mut self, what: &str) -> Result<Located<String>, Diagnostic> {
        let lacking = format!("`{}` lacks {what}", self.keyword().value());
        self.next().ok_or_else(|| self.error(lacking))
    }

    /// Reads a word by a parser of its text.
    ///
    /// # Errors
    /// Says what is missing, or what is wrong with it.
    pub(super) fn parse<T>(&mut self, what: &str, parse: impl FnOnce(&str) -> Result<T, Mistake>) -> Result<Located<T>, Diagnostic> {
        let word = self.expect(what)?;
        parse_word(&word, parse)
    }

    /// Reads a whole number within a range.
    ///
    /// # Errors
    /// Says what is missing, or that it is no such number.
    pub(super) fn integer<T>(&mut self, range: RangeInclusive<T>) -> Result<Located<T>, Diagnostic>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let word = self.expect("a number")?;
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let number = word.parse().ok().filter(|number| digits && range.contains(number));
        let wrong = || format!("`{}` is not a number from {} to {}", *word, range.start(), range.end());
        let location = word.location().clone();
        number.map(|number| Located::new(number, location)).ok_or_else(|| Diagnostic::error(word.location(), wrong()))
    }

    /// Reads a duration that may be zero.
    ///
    /// # Errors
    /// Says what is missing, or that it is no duration.
    pub(super) fn duration(&mut self) -> Result<Located<Duration>, Diagnostic> {
        self.parse("a time", units::duration)
    }

    /// Reads a duration longer than zero.
    ///
    /// # Errors
    /// Says what is missing, or that it is no such duration.
    pub(super) fn period(&mut self) -> Result<Located<Duration>, Diagnostic> {
        let duration = self.duration()?;
        match *duration {
            Duration::ZERO => Err(Diagnostic::error(duration.location(), "must be longer than zero")),
            _ => Ok(duration),
        }
    }

    /// Reads all that is left as one text of words with single spaces between them; none if nothing is.
    pub(super) fn joined(&mut self) -> Option<Located<String>> {
        let words = self.words.get(self.at..).filter(|words| !words.is_empty())?;
        let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        let location = Location::new(&self.source, words[0].start..words[words.len() - 1].finish());
        self.at = self.words.len();
        Some(Located::new(text, location))
    }

    /// Returns all that is left, as [`joined`](Self::joined) reads it, and leaves it unread.
    pub(super) fn unread(&mut self) -> Located<String> {
        let at = self.at;
        let text = self.joined();
        self.at = at;
        text.unwrap_or_else(|| self.keyword())
    }

    /// Returns all that is left, as [`rest`](Self::rest) reads it, and leaves it unread.
    pub(super) fn remainder(&mut self) -> Option<Located<String>> {
        let at = self.at;
        let text = self.rest();
        self.at = at;
        text
    }

    /// Tells whether the words stand in the file as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Reads all that is left as it can be read by whoever cuts it into words again: the rules; none if nothing is.
    pub(super) fn rest(&mut self) -> Option<Located<String>> {
        let from = self.at;
        self.at = self.words.len();
        let words = self.words.get(from..).filter(|words| !words.is_empty())?;
        if self.is_plain {
            let range = words[0].start..words[words.len() - 1].finish();
            let text = self.source.text()[range.clone()].to_owned();
            return Some(Located::new(text, Location::new(&self.source, range)));
        }
        Some(rewritten(&self.source, words))
    }

    /// Reads the whole line, its keyword included, as [`rest`](Self::rest) does.
    pub(super) fn whole(&mut self) -> Located<String> {
        self.at = self.keyword;
        self.rest().unwrap_or_else(|| self.keyword())
    }

    /// Returns where the word that was read last stands.
    pub(super) fn last_location(&self) -> Location {
        self.word(self.at.saturating_sub(1)).location().clone()
    }

    /// Makes an error about the next word.
    pub(super) fn error_at_next(&self, message: impl Into<String>) -> Diagnostic {
        let next = self.at.min(self.words.len() - 1);
        Diagnostic::error(self.word(next).location(), message)
    }

    /// Makes an error about the keyword.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.location(), message)
    }

    /// Refuses words that nothing has read.
    ///
    /// # Errors
    /// Names the first of them.
    pub(super) fn finish(&mut self) -> Result<(), Diagnostic> {
        let Some(word) = self.next() else { return Ok(()) };
        Err(Diagnostic::error(word.location(), format!("`{}` does not know `{}`", self.keyword().value(), *word)))
    }

    fn word(&self, index: usize) -> Located<String> {
        let word = &self.words[index];
        Located::new(word.text.clone(), Location::new(&self.source, word.start..word.finish()))
    }
}

/// Reads a word that is already at hand.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn parse_word<T>(word: &Located<String>, parse: impl FnOnce(&str) -> Result<T, Mistake>) -> Result<Located<T>, Diagnostic> {
    match parse(word) {
        Ok(value) => Ok(Located::new(value, word.location().clone())),
        Err(mistake) => Err(mistake.into_diagnostic(word.location(), word)),
    }
}

/// Refuses a word: one that HAProxy knows, with the reason, or a misspelling.
pub(super) fn unknown(word: &Located<String>, title: &str, known: &[&str], refused: &[(&'static str, &str)]) -> Diagnostic {
    if let Some((_, reason)) = refused.iter().find(|(name, _)| *name == word.as_str()) {
        return Diagnostic::error(word.location(), format!("`{}` in {title} is not supported: {reason}", **word));
    }
    let all: Vec<&str> = known.iter().copied().chain(refused.iter().map(|(name, _)| *name)).collect();
    let error = Diagnostic::error(word.location(), format!("unknown keyword `{}` in {title}", **word));
    match suggest::nearest(word, all) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error,
    }
}

/// Writes words so that they are cut the same way again, each byte pointing at where it came from.
fn rewritten(source: &Arc<Source>, words: &[Word]) -> Located<String> {
    let (mut text, mut places) = (String::new(), Vec::new());
    for (index, word) in words.iter().enumerate() {
        let mut push = |piece: &str, place: usize| {
            text.push_str(piece);
            places.extend((0..piece.len()).map(|_| place));
        };
        if index > 0 {
            push(" ", words[index - 1].finish());
        }
        if word.text.is_empty() {
            push("''", word.start);
        }
        for (at, c) in word.text.char_indices() {
            let place = word.places.get(at).copied().unwrap_or(word.start);
            match c {
                ' ' | '\\' | '"' | '\'' | '#' => push(&format!("\\{c}"), place),
                '\n' => push("\\n", place),
                '\r' => push("\\r", place),
                '\t' => push("\\t", place),
                c if c.is_ascii_whitespace() => push(&format!("\\x{:02x}", u32::from(c)), place),
                c => push(c.encode_utf8(&mut [0; 4]), place),
            }
        }
    }
    places.push(words.last().map_or(0, Word::finish));
    let derived = source.derived(text.clone(), places);
    let length = text.len();
    Located::new(text, Location::new(&derived, 0..length))
}
