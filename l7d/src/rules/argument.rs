//! Calls inside a word: `name(argument,argument)`, one after the other, separated by commas.

use std::ops::Range;

use control::config::Diagnostic;

use super::word::Word;

/// A name with its arguments.
#[derive(Debug)]
pub(super) struct Call<'w, 'r> {
    /// The name.
    pub(super) name: &'w str,
    /// The arguments; none if there are no parentheses or nothing is in them.
    pub(super) arguments: Vec<Argument>,
    word: &'w Word<'r>,
    range: Range<usize>,
}

/// One argument without its quotes and escapes.
#[derive(Debug)]
pub(super) struct Argument {
    /// The text.
    pub(super) text: String,
    range: Range<usize>,
}

impl Call<'_, '_> {
    /// Returns the call as it was written, under the name that it goes by.
    pub(super) fn written(&self) -> String {
        let text = &self.word.text()[self.range.clone()];
        format!("{}{}", self.name, text.find('(').map_or("", |open| &text[open..]))
    }

    /// Makes an error about the name.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        self.word.error_at(self.range.start..self.range.start + self.name.len(), message)
    }

    /// Makes an error about an argument.
    pub(super) fn error_in(&self, argument: &Argument, message: impl Into<String>) -> Diagnostic {
        self.word.error_at(argument.range.clone(), message)
    }

    /// Returns the argument at `index`, if one is written there and not empty.
    pub(super) fn optional(&self, index: usize) -> Option<&Argument> {
        self.arguments.get(index).filter(|argument| !argument.text.is_empty())
    }

    /// Returns the argument at `index`.
    ///
    /// # Errors
    /// Says what is missing.
    pub(super) fn required(&self, index: usize, what: &str) -> Result<&Argument, Diagnostic> {
        self.arguments.get(index).ok_or_else(|| self.error(format!("`{}` wants {what} in parentheses", self.name)))
    }

    /// Returns a number, or what stands for one that is not written.
    ///
    /// # Errors
    /// Refuses what is no number.
    pub(super) fn number(&self, index: usize, default: i64) -> Result<i64, Diagnostic> {
        let Some(argument) = self.optional(index) else { return Ok(default) };
        argument.text.parse().map_err(|_| self.error_in(argument, format!("`{}` is not a whole number", argument.text)))
    }

    /// Refuses more arguments than there are uses for.
    ///
    /// # Errors
    /// Names the first that is too many.
    pub(super) fn at_most(&self, count: usize) -> Result<(), Diagnostic> {
        let Some(surplus) = self.arguments.get(count) else { return Ok(()) };
        let most = if count == 0 { "no argument".to_owned() } else { format!("at most {count} arguments") };
        Err(self.error_in(surplus, format!("`{}` takes {most}", self.name)))
    }
}

/// Reads the calls of a part of a word, up to its end or to the bracket that closes an expression in a format.
///
/// # Errors
/// Names a parenthesis or a quote that is not closed, and what cannot stand where a name should.
pub(super) fn calls<'w, 'r>(word: &'w Word<'r>, from: usize) -> Result<(Vec<Call<'w, 'r>>, usize), Diagnostic> {
    let text = word.text();
    let mut calls = Vec::new();
    let mut at = from;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let end = text[at..].find(['(', ',', ']', ' ', ')']).map_or(text.len(), |length| at + length);
        if end == at {
            return Err(word.error_at(at..at + 1, "a sample fetch or converter should stand here"));
        }
        let mut call = Call { name: &text[at..end], arguments: Vec::new(), word, range: at..end };
        at = end;
        if text[at..].starts_with('(') {
            at = arguments(word, at, &mut call.arguments)?;
            call.range.end = at;
        }
        calls.push(call);
        at += text[at..].len() - text[at..].trim_start_matches(' ').len();
        match text[at..].chars().next() {
            Some(',') => at += 1,
            None | Some(']') => return Ok((calls, at)),
            Some(_) => return Err(word.error_at(at..at + 1, "a comma should separate converters")),
        }
    }
}

/// Reads arguments from an opening parenthesis, and returns where the text goes on behind the closing one.
fn arguments(word: &Word<'_>, open: usize, found: &mut Vec<Argument>) -> Result<usize, Diagnostic> {
    let text = word.text();
    let mut argument = Argument { text: String::new(), range: open + 1..open + 1 };
    let mut quote: Option<char> = None;
    let mut at = open + 1;
    while let Some(c) = text[at..].chars().next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                at += 1;
                let escaped = text[at..].chars().next().ok_or_else(|| word.error_at(at - 1..at, "nothing follows this backslash"))?;
                argument.text.extend(unescaped(escaped, quote));
                at += escaped.len_utf8();
                continue;
            }
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            (',' | ')', None) => {
                argument.range.end = at;
                let next = Argument { text: String::new(), range: at + 1..at + 1 };
                let done = std::mem::replace(&mut argument, next);
                let empty_list = c == ')' && found.is_empty() && done.range.is_empty();
                if !empty_list {
                    found.push(done);
                }
                if c == ')' {
                    return Ok(at + 1);
                }
            }
            _ => argument.text.push(c),
        }
        at += c.len_utf8();
    }
    Err(word.error_at(open..open + 1, "this parenthesis is not closed"))
}

/// What an escaped character stands for; a backslash that means nothing here is kept for whoever reads the argument, as in a regex.
fn unescaped(c: char, quote: Option<char>) -> impl Iterator<Item = char> {
    let plain = match c {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '\\' | '"' | '\'' | ' ' | '#' => Some(c),
        ',' | '(' | ')' if quote.is_none() => Some(c),
        _ => None,
    };
    let kept = if plain.is_none() { Some('\\') } else { None };
    kept.into_iter().chain(Some(plain.unwrap_or(c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::rule;
    use crate::rules::word;

    type Shown = Vec<(String, Vec<String>)>;
    type Case = (&'static str, &'static [(&'static str, &'static [&'static str])]);

    fn read(text: &str) -> Result<(Shown, usize), String> {
        let quoted = rule(&format!("'{}'", text.replace('\'', "'\\''")));
        let words = word::split(&quoted).unwrap();
        let (calls, end) = calls(&words[0], 0).map_err(|error| error.message().to_owned())?;
        let shown = calls.iter().map(|call| (call.name.to_owned(), call.arguments.iter().map(|a| a.text.clone()).collect())).collect();
        Ok((shown, end))
    }

    #[test]
    fn names_and_arguments_are_told_apart() {
        let cases: [Case; 8] = [
            ("src", &[("src", &[])]),
            ("hdr(host),lower", &[("hdr", &["host"]), ("lower", &[])]),
            ("hdr()", &[("hdr", &[])]),
            ("url_param(a,)", &[("url_param", &["a", ""])]),
            (r#"path,regsub("^/(a|b),(.*)",/\2,g)"#, &[("path", &[]), ("regsub", &["^/(a|b),(.*)", r"/\2", "g"])]),
            (r"str(a\,b\)c)", &[("str", &["a,b)c"])]),
            ("field(2,' ')", &[("field", &["2", " "])]),
            ("a , b", &[("a", &[]), ("b", &[])]),
        ];
        for (text, expected) in cases {
            let (calls, end) = read(text).unwrap();
            let expected: Vec<_> = expected.iter().map(|(n, a)| ((*n).to_owned(), a.iter().map(|a| (*a).to_owned()).collect())).collect();
            assert_eq!((calls, end), (expected, text.len()), "{text}");
        }
        assert_eq!(read("src]rest").unwrap().1, 3);
    }

    #[test]
    fn what_is_left_open_is_named() {
        for text in ["", "hdr(a", "hdr(a)b", ",lower", "src,", "hdr(\"a)", "str(a\\"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
