//! Cuts a text into lines of words: quotes, escapes, comments, environment variables, and lines that go on on the next one.
//!
//! Each byte of a word knows where it was written. Lines are cut one after the other, because what a variable means may be said in an
//! earlier one.

use std::ops::Range;
use std::sync::Arc;

use super::line::{Line, Word};
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location, Source};

/// Reads the lines of one text.
pub(super) struct Lexer {
    source: Arc<Source>,
    /// Where the next line begins.
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    /// `"`: escapes and variables are still read.
    Weak,
    /// `'`: nothing is.
    Strong,
}

impl Lexer {
    pub(super) fn new(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), at: 0 }
    }

    /// Returns the next line that has words, and reports those that cannot be cut.
    pub(super) fn next(&mut self, reader: &mut Reader) -> Option<Line> {
        while self.at < self.source.text().len() {
            let mut cut = Cut::new(&self.source, self.at);
            let outcome = cut.run(reader);
            self.at = cut.at;
            match outcome {
                Ok(()) if cut.words.is_empty() => {}
                Ok(()) => return Some(Line::new(&self.source, cut.words, cut.is_plain)),
                Err(error) => {
                    reader.push_of_form(error);
                    let rest = &self.source.text()[self.at..];
                    self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
                }
            }
        }
        None
    }
}

/// The words of each line of a text, and where they stand in it, whatever they mean; of the environment nothing is known.
pub(in crate::config) struct Cuts {
    lexer: Lexer,
    reader: Reader,
}

impl Cuts {
    pub(in crate::config) fn new(source: &Arc<Source>) -> Self {
        Self { lexer: Lexer::new(source), reader: Reader::default() }
    }
}

impl Iterator for Cuts {
    type Item = Vec<(String, Range<usize>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lexer.next(&mut self.reader).map(Line::into_words)
    }
}

/// Cuts a text that stands in another format into words.
///
/// # Errors
/// Says what keeps it from being cut, or that it is not one line.
pub(super) fn words(text: &Located<String>) -> Result<Line, Diagnostic> {
    let source = text.location().text_of(text);
    let mut cut = Cut::new(&source, 0);
    cut.run(&mut Reader::default())?;
    if cut.words.is_empty() || cut.at < source.text().len() {
        return Err(Diagnostic::error(text.location(), "this is not one line of words"));
    }
    Ok(Line::new(&source, cut.words, cut.is_plain))
}

/// A line being cut.
struct Cut<'s> {
    source: &'s Arc<Source>,
    text: &'s str,
    at: usize,
    words: Vec<Word>,
    word: Option<Word>,
    quote: Quote,
    opened: usize,
    /// Whether the words stand in the text as whoever reads rules can read them.
    is_plain: bool,
    /// How many bytes the variables have brought in.
    brought: usize,
}

impl<'s> Cut<'s> {
    fn new(source: &'s Arc<Source>, at: usize) -> Self {
        let (words, quote) = (Vec::new(), Quote::None);
        Self { source, text: source.text(), at, words, word: None, quote, opened: at, is_plain: true, brought: 0 }
    }

    /// Reads up to the end of the line.
    fn run(&mut self, reader: &mut Reader) -> Result<(), Diagnostic> {
        while let Some(c) = self.text[self.at..].chars().next() {
            if c == '\n' {
                self.end()?;
                self.at += 1;
                return Ok(());
            }
            match (c, self.quote) {
                ('\r', _) if self.text[self.at + 1..].starts_with('\n') => {}
                ('#', Quote::None) => {
                    self.end()?;
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
                    return Ok(());
                }
                (_, Quote::None) if c.is_ascii_whitespace() => self.close(),
                ('"', Quote::None) => self.open(Quote::Weak),
                ('\'', Quote::None) => self.open(Quote::Strong),
                ('"', Quote::Weak) | ('\'', Quote::Strong) => self.quote = Quote::None,
                ('\\', Quote::None | Quote::Weak) => {
                    self.escape(reader)?;
                    continue;
                }
                ('$', Quote::Weak) => {
                    self.variable(reader)?;
                    continue;
                }
                _ => self.push(c),
            }
            self.at += c.len_utf8();
        }
        self.end()
    }

    fn open(&mut self, quote: Quote) {
        self.quote = quote;
        self.opened = self.at;
        self.word();
    }

    /// Returns the word at hand, and begins one if there is none.
    fn word(&mut self) -> &mut Word {
        let at = self.at;
        self.word.get_or_insert_with(|| Word::new(at))
    }

    fn push(&mut self, c: char) {
        let at = self.at;
        self.word().push(c, at);
    }

    /// Ends the word at hand.
    fn close(&mut self) {
        if let Some(mut word) = self.word.take() {
            word.end(self.at);
            self.words.push(word);
        }
    }

    fn end(&mut self) -> Result<(), Diagnostic> {
        if self.quote != Quote::None {
            return Err(self.mistake(self.opened..self.opened + 1, "this quote is not closed in its line"));
        }
        self.close();
        Ok(())
    }

    /// Reads an escape; a backslash before anything without a meaning of its own stands for itself.
    fn escape(&mut self, reader: &mut Reader) -> Result<(), Diagnostic> {
        let rest = &self.text[self.at + 1..];
        let (character, length) = match rest.chars().next() {
            Some('\n') => {
                self.continue_line(reader, 2);
                return Ok(());
            }
            Some('\r') if rest.starts_with("\r\n") => {
                self.continue_line(reader, 3);
                return Ok(());
            }
            None => return Err(self.mistake(self.at..self.at + 1, "the file ends with a single backslash")),
            Some('n') => ('\n', 2),
            Some('r') => ('\r', 2),
            Some('t') => ('\t', 2),
            Some('$') if self.quote == Quote::Weak => {
                // Whoever reads rules takes it for a variable.
                self.is_plain = false;
                ('$', 2)
            }
            Some(c @ (' ' | '\\' | '"' | '\'' | '#')) => (c, 2),
            Some('x') => {
                let code = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|code| (1..128).contains(code));
                let wrong = || self.mistake(self.at..self.at + 2, "`\\x` wants two hexadecimal digits of an ASCII character");
                (char::from(code.ok_or_else(wrong)?), 4)
            }
            Some(_) => ('\\', 1),
        };
        self.push(character);
        self.at += length;
        Ok(())
    }

    /// Goes on with the next line, which HAProxy would not.
    fn continue_line(&mut self, reader: &mut Reader, length: usize) {
        let location = Location::new(self.source, self.at..self.at + 1);
        reader.push_of_form(Diagnostic::warning(&location, "haproxy does not continue lines").hint("here the line goes on below"));
        self.is_plain = false;
        self.at += length;
    }

    /// Puts the value of an environment variable in its place.
    fn variable(&mut self, reader: &Reader) -> Result<(), Diagnostic> {
        let reference = Reference::find(&self.text[self.at + 1..]);
        let Some(reference) = reference.map_err(|message| self.mistake(self.at..self.at + 2, message))? else {
            self.push('$');
            self.at += 1;
            return Ok(());
        };
        self.is_plain = false;
        let value = reader.variable(reference.name, self.source, self.at).or_else(|| reference.default.map(str::to_owned));
        let value = value.unwrap_or_default();
        self.brought += value.len();
        if self.brought > MOST_BROUGHT {
            let length = reference.length + 1;
            return Err(self.mistake(self.at..self.at + length, format!("variables make this line longer than {MOST_BROUGHT} bytes")));
        }
        self.word();
        for c in value.chars() {
            if reference.is_list && c == ' ' {
                self.close();
                self.word();
            } else {
                self.push(c);
            }
        }
        self.at += reference.length + 1;
        Ok(())
    }

    fn mistake(&self, range: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&Location::new(self.source, range), message)
    }
}

/// A variable as it is written behind the dollar sign.
struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
    /// Whether each word of the value is one of its own.
    is_list: bool,
    length: usize,
}

impl<'t> Reference<'t> {
    /// Finds the variable named at the beginning of a text; none if the dollar sign stands for itself.
    fn find(text: &'t str) -> Result<Option<Self>, &'static str> {
        let (braces, inner) = text.strip_prefix('{').map_or((0, text), |inner| (2, inner));
        let dot = usize::from(inner.starts_with('.'));
        let end = inner[dot..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(inner.len(), |end| end + dot);
        let (name, after) = inner.split_at(end);
        if braces == 0 {
            return Ok((end > dot).then_some(Self { name, default: None, is_list: false, length: end }));
        }
        let unclosed = "`${` wants the name of an environment variable and `}`";
        let close = after.find(['}', '\n']).filter(|close| after[*close..].starts_with('}')).ok_or(unclosed)?;
        let modifier = &after[..close];
        let length = braces + end + close;
        let (is_list, modifier) = modifier.strip_prefix("[*]").map_or((false, modifier), |rest| (true, rest));
        match modifier.strip_prefix('-') {
            _ if name.len() <= dot => Err(unclosed),
            Some(default) => Ok(Some(Self { name, default: Some(default), is_list, length })),
            None if modifier.is_empty() => Ok(Some(Self { name, default: None, is_list, length })),
            None => Err(unclosed),
        }
    }
}

/// A line longer than this is surely a mistake.
const MOST_BROUGHT: usize = 1 << 20;
