//! The words of a rule: quotes and escapes as in HAProxy's configuration, and where each byte of a word was written.

use std::ops::Range;

use control::config::{Diagnostic, Located, Location, suggest};

/// A word of a rule.
#[derive(Debug, Clone)]
pub(super) struct Word<'r> {
    text: String,
    /// Where each byte of the text begins in the rule, and where the last one ends.
    places: Vec<usize>,
    rule: &'r Located<String>,
}

impl<'r> Word<'r> {
    /// Returns a text that is one word as it stands, quotes and spaces included.
    pub(super) fn whole(rule: &'r Located<String>) -> Self {
        Self { text: rule.value().clone(), places: (0..=rule.len()).collect(), rule }
    }
}

impl Word<'_> {
    /// Returns the word without its quotes and escapes.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns where the word was written.
    pub(super) fn location(&self) -> Location {
        self.part(0..self.text.len())
    }

    /// Returns where a part of the text was written.
    pub(super) fn part(&self, range: Range<usize>) -> Location {
        let start = self.places.get(range.start).copied().unwrap_or_default();
        let end = self.places.get(range.end).copied().unwrap_or(start).max(start);
        self.rule.location().part(self.rule, start..end)
    }

    /// Returns another text in place of the word, every part of which was written where the word was.
    pub(super) fn with_text(&self, text: String) -> Self {
        let (start, end) = (self.places.first().copied().unwrap_or_default(), self.places.last().copied().unwrap_or_default());
        let mut places = vec![start; text.len()];
        places.push(end);
        Self { text, places, rule: self.rule }
    }

    /// Makes an error about the word.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.location(), message)
    }

    /// Makes an error about a part of the word.
    pub(super) fn error_at(&self, range: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.part(range), message)
    }

    /// Makes a warning about the word.
    pub(super) fn warning(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(&self.location(), message)
    }
}

/// Splits a rule into words.
///
/// # Errors
/// Names a quote that is not closed, or an escape that says nothing.
pub(super) fn split(rule: &Located<String>) -> Result<Vec<Word<'_>>, Diagnostic> {
    Lexer { rule, text: rule.value(), at: 0 }.words()
}

struct Lexer<'r> {
    rule: &'r Located<String>,
    text: &'r str,
    at: usize,
}

/// How the characters up to the next quote are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Weak,
    Strong,
}

impl<'r> Lexer<'r> {
    fn words(mut self) -> Result<Vec<Word<'r>>, Diagnostic> {
        let mut words = Vec::new();
        loop {
            let blank = self.text[self.at..].find(|c: char| !c.is_ascii_whitespace());
            let Some(blank) = blank else { return Ok(words) };
            self.at += blank;
            if self.text[self.at..].starts_with('#') {
                return Ok(words);
            }
            words.push(self.word()?);
        }
    }

    fn word(&mut self) -> Result<Word<'r>, Diagnostic> {
        let mut word = Word { text: String::new(), places: Vec::new(), rule: self.rule };
        let mut quote = (Quote::None, self.at);
        while let Some(c) = self.text[self.at..].chars().next() {
            let start = self.at;
            match (c, quote.0) {
                (_, Quote::None) if c.is_ascii_whitespace() || c == '#' => break,
                ('"', Quote::None) => quote = (Quote::Weak, start),
                ('\'', Quote::None) => quote = (Quote::Strong, start),
                ('"', Quote::Weak) | ('\'', Quote::Strong) => quote.0 = Quote::None,
                ('\\', Quote::None | Quote::Weak) => {
                    let (character, length) = self.escape()?;
                    push(&mut word, character, start);
                    self.at += length;
                    continue;
                }
                ('$', Quote::Weak) => {
                    let length = self.variable(&mut word)?;
                    self.at += length;
                    continue;
                }
                _ => push(&mut word, c, start),
            }
            self.at += c.len_utf8();
        }
        if quote.0 != Quote::None {
            return Err(self.mistake(quote.1..quote.1 + 1, "this quote is not closed"));
        }
        word.places.push(self.at);
        Ok(word)
    }

    /// Returns what the escape here means and how long it is; a backslash before anything without a meaning of its own stands for itself.
    fn escape(&self) -> Result<(char, usize), Diagnostic> {
        let rest = &self.text[self.at + 1..];
        Ok(match rest.chars().next() {
            None => return Err(self.mistake(self.at..self.at + 1, "a rule cannot end with a single backslash")),
            Some('n') => ('\n', 2),
            Some('r') => ('\r', 2),
            Some('t') => ('\t', 2),
            Some(c @ (' ' | '\\' | '"' | '\'' | '#')) => (c, 2),
            Some('x') => {
                let code = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii);
                let wrong = || self.mistake(self.at..self.at + 2, "`\\x` wants two hexadecimal digits of an ASCII character");
                (char::from(code.ok_or_else(wrong)?), 4)
            }
            Some(_) => ('\\', 1),
        })
    }

    /// Appends the value of the environment variable named here and returns how long its name is.
    fn variable(&self, word: &mut Word<'r>) -> Result<usize, Diagnostic> {
        let rest = &self.text[self.at + 1..];
        let braced = rest.starts_with('{');
        let name = rest.trim_start_matches('{').split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let length = if braced { name.len() + 3 } else { name.len() + 1 };
        if name.is_empty() && !braced {
            push(word, '$', self.at);
            return Ok(1);
        }
        if braced && !rest[name.len() + 1..].starts_with('}') {
            return Err(self.mistake(self.at..self.at + 2, "`${` wants the name of an environment variable and `}`"));
        }
        for c in std::env::var(name).unwrap_or_default().chars() {
            push(word, c, self.at);
        }
        Ok(length)
    }

    fn mistake(&self, range: Range<usize>, message: &str) -> Diagnostic {
        Diagnostic::error(&self.rule.location().part(self.rule, range), message)
    }
}

fn push(word: &mut Word<'_>, c: char, place: usize) {
    word.text.push(c);
    word.places.extend((0..c.len_utf8()).map(|offset| place + offset));
}

/// The words of a rule that were not read yet.
#[derive(Debug)]
pub(super) struct Words<'w, 'r> {
    words: &'w [Word<'r>],
    rule: &'r Located<String>,
}

impl<'w, 'r> Words<'w, 'r> {
    pub(super) fn new(words: &'w [Word<'r>], rule: &'r Located<String>) -> Self {
        Self { words, rule }
    }

    /// Returns the next word and leaves it unread.
    pub(super) fn peek(&self) -> Option<&'w Word<'r>> {
        self.words.first()
    }

    /// Returns the words up to one that ends them, which all stay unread.
    pub(super) fn text_until(&self, end: &str) -> String {
        self.words.iter().map(Word::text).take_while(|text| *text != end).collect::<Vec<_>>().join(" ")
    }

    /// Reads the next word.
    pub(super) fn next(&mut self) -> Option<&'w Word<'r>> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// Reads the next word if it is this one.
    pub(super) fn accept(&mut self, text: &str) -> bool {
        let found = self.peek().is_some_and(|word| word.text() == text);
        if found {
            self.next();
        }
        found
    }

    /// Reads a word that must be there.
    ///
    /// # Errors
    /// Says what is missing at the end of the rule.
    pub(super) fn expect(&mut self, what: &str) -> Result<&'w Word<'r>, Diagnostic> {
        let rule = self.rule;
        self.next().ok_or_else(|| Diagnostic::error(rule.location(), format!("the rule ends where {what} should follow")))
    }

    /// Makes an error about the rule as a whole.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.rule.location(), message)
    }
}

/// Describes a name that is not carried out: one that HAProxy knows, with the reason, or a misspelling.
pub(super) fn unknown(what: &str, name: &str, known: &[&str], refused: &[(&'static str, &str)]) -> (String, String) {
    if let Some((_, reason)) = refused.iter().find(|(refused, _)| *refused == name) {
        return (format!("{what} `{name}` is not supported: {reason}"), format!("supported: {}", shortened(known)));
    }
    let all: Vec<&str> = known.iter().copied().chain(refused.iter().map(|(name, _)| *name)).collect();
    let hint = match suggest::nearest(name, all.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known: {}", shortened(known)),
    };
    (format!("there is no {what} `{name}`"), hint)
}

fn shortened(names: &[&str]) -> String {
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

/// How many names a hint lists.
const SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::rule;

    fn words(text: &str) -> Vec<String> {
        split(&rule(text)).unwrap().iter().map(|word| word.text().to_owned()).collect()
    }

    #[test]
    fn quotes_and_escapes_are_taken_away() {
        let cases = [
            ("plain", "deny  if\tx", vec!["deny", "if", "x"]),
            ("weak quotes", r#"a "b c" d"#, vec!["a", "b c", "d"]),
            ("strong quotes", r"a 'b \n c'", vec!["a", r"b \n c"]),
            ("within a word", r#"set"-he"ader"#, vec!["set-header"]),
            ("empty", r#"a "" b"#, vec!["a", "", "b"]),
            ("escapes", r"a\ b\\c\#\x41\t", vec!["a b\\c#A\t"]),
            ("a group of a regex", r"x=\1", vec![r"x=\1"]),
            ("a comment", "a b # c", vec!["a", "b"]),
            ("quotes within quotes", r#"'"' "'""#, vec!["\"", "'"]),
            ("an unknown variable", r#""a${L7D_NO_SUCH_NAME}b""#, vec!["ab"]),
            ("a dollar alone", r#""a$" $x"#, vec!["a$", "$x"]),
        ];
        for (description, text, expected) in cases {
            assert_eq!(words(text), expected, "{description}");
        }
    }

    #[test]
    fn every_part_of_a_word_has_its_place() {
        let rule = rule(r"deny if { path_beg '/a b' }");
        let words = split(&rule).unwrap();
        assert_eq!(words[3].location().text(), "path_beg");
        assert_eq!(words[4].part(0..3).text(), "/a ");
        assert_eq!(words[4].location().column(), words[3].location().column() + 10);
    }

    #[test]
    fn what_is_left_open_is_named() {
        for text in ["a 'b", "a \"b", "a \\", "a \\xzz", "\"${a\""] {
            assert!(split(&rule(text)).is_err(), "{text}");
        }
    }
}
