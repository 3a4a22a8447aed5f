//! Log-format strings: text with expressions `%[...]` and variables like `%ci` in it.
//!
//! Rules print them while an exchange goes on, log lines when it has ended; each knows what the other does not.

mod encode;
mod facts;
mod json;
mod variable;

use control::config::{Diagnostic, Language, LineFormat, Located, Mode};

pub(crate) use facts::{Counts, Ends, Facts, Steps};

use super::argument::calls;
use super::expr::Expression;
use super::fetch::Needs;
use super::names::Names;
use super::view::View;
use super::word::{Word, unknown};
use variable::{Flags, VARIABLES, Variable};

/// A text with places for samples.
#[derive(Debug)]
pub(crate) struct Format {
    pieces: Box<[Piece]>,
    asks_ends: bool,
    asks_numbers: bool,
    encoding: Encoding,
}

/// What a whole text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// Its pieces one behind the other.
    Plain,
    /// An object of JSON with those pieces that have names.
    Json,
}

#[derive(Debug)]
struct Piece {
    content: Content,
    flags: Flags,
    /// What it is called where names count.
    name: Option<json::Name>,
}

#[derive(Debug)]
enum Content {
    Text(Box<[u8]>),
    Sample(Box<Expression>),
    Variable(Variable),
}

/// Where a format is printed.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// In a rule that has seen so much.
    Rule(Needs),
    /// In a line about an exchange that has ended.
    Line(Mode),
}

impl Format {
    /// Reads a format that is a whole word.
    ///
    /// # Errors
    /// Names what is not known or does not fit, and what needs more than `stage` has.
    pub(super) fn parse(word: &Word<'_>, names: &mut Names, stage: Needs) -> Result<Self, Diagnostic> {
        Reader::read(word, names, Purpose::Rule(stage))
    }

    /// Reads the format of lines about exchanges that have ended.
    ///
    /// # Errors
    /// Names what is not known or does not fit, and what is not known any more.
    pub(super) fn of_line(text: &Located<String>, names: &mut Names, mode: Mode) -> Result<Self, Diagnostic> {
        Reader::read(&Word::whole(text), names, Purpose::Line(mode))
    }

    /// Returns the format of lines that an option or a text of one's own stands for.
    ///
    /// # Errors
    /// As [`of_line`](Self::of_line).
    pub(super) fn of_lines(line: &LineFormat, names: &mut Names, mode: Mode) -> Result<Self, Diagnostic> {
        let named = |text: &str| Located::elsewhere(text.to_owned(), "predefined", text);
        match line {
            LineFormat::Http => Self::of_line(&named(HTTP), names, mode),
            LineFormat::HttpClf => Self::of_line(&named(CLF), names, mode),
            LineFormat::Tcp => Self::of_line(&named(TCP), names, mode),
            LineFormat::Text(text) if *text.value() == "json" && text.location().language() == Language::Toml => {
                Self::of_line(&named(if mode == Mode::Http { json::HTTP } else { json::TCP }), names, mode)
            }
            LineFormat::Text(text) => Self::of_line(text, names, mode),
            LineFormat::Https => Self::of_line(&named(&format!("{HTTP} {HTTPS}")), names, mode),
        }
    }

    fn of_pieces(pieces: Vec<Piece>) -> Self {
        let any = |test: fn(Variable) -> bool| {
            pieces.iter().any(|piece| if let Content::Variable(variable) = piece.content { test(variable) } else { false })
        };
        Self {
            asks_ends: any(Variable::asks_ends),
            asks_numbers: any(Variable::asks_numbers),
            pieces: pieces.into(),
            encoding: Encoding::Plain,
        }
    }

    /// Returns a format that prints a text as it is.
    pub(super) fn text(text: &[u8]) -> Self {
        let piece = Piece { content: Content::Text(text.into()), flags: Flags::default(), name: None };
        Self::of_pieces(if text.is_empty() { Vec::new() } else { vec![piece] })
    }

    /// Returns what it prints, if that is always the same.
    pub(super) fn constant(&self) -> Option<&[u8]> {
        match &*self.pieces {
            _ if self.encoding == Encoding::Json => None,
            [] => Some(&[]),
            [Piece { content: Content::Text(text), .. }] => Some(text),
            _ => None,
        }
    }

    /// Tells whether it shows the addresses of connections beside the client's.
    pub(crate) fn asks_ends(&self) -> bool {
        self.asks_ends
    }

    /// Tells whether it numbers exchanges or lines.
    pub(crate) fn asks_numbers(&self) -> bool {
        self.asks_numbers
    }

    /// Appends the text with the samples of this view.
    pub(super) fn write(&self, view: &View<'_>, out: &mut Vec<u8>) {
        if self.encoding == Encoding::Json {
            return json::write(&self.pieces, view, None, out);
        }
        for piece in &self.pieces {
            let start = out.len();
            let is_text = match &piece.content {
                Content::Text(text) => {
                    out.extend_from_slice(text);
                    continue;
                }
                Content::Sample(expression) => {
                    if let Some(sample) = expression.value(view) {
                        sample.write(out);
                    }
                    true
                }
                Content::Variable(variable) => {
                    variable.write_now(view, piece.flags, out);
                    variable.is_text()
                }
            };
            if is_text {
                piece.flags.dress(out, start);
            }
        }
    }

    /// Appends the line about an exchange that has ended; of several spaces in a row only one stays.
    pub(crate) fn write_line(&self, view: &View<'_>, facts: &Facts<'_>, out: &mut Vec<u8>) {
        if self.encoding == Encoding::Json {
            return json::write(&self.pieces, view, Some(facts), out);
        }
        let mut is_spaced = true;
        for piece in &self.pieces {
            let start = out.len();
            let (is_text, shows_absence) = match &piece.content {
                Content::Text(text) => {
                    let text = if is_spaced { text.strip_prefix(b" ").unwrap_or(text) } else { text };
                    out.extend_from_slice(text);
                    is_spaced = if text.is_empty() { is_spaced } else { text.ends_with(b" ") };
                    continue;
                }
                Content::Sample(expression) => {
                    if let Some(sample) = expression.value(view) {
                        encode::sample(&sample.to_bytes(), out);
                    }
                    (true, true)
                }
                Content::Variable(variable) => {
                    variable.write_end(view, facts, piece.flags, out);
                    (variable.is_text(), !matches!(variable, Variable::Captures(..) | Variable::Line(_)))
                }
            };
            if is_text {
                piece.flags.dress(out, start);
            }
            if out.len() == start && shows_absence {
                out.push(b'-');
            }
            is_spaced &= out.len() == start;
        }
    }
}

impl Flags {
    /// Escapes what stands behind `start`, and puts quotes around it.
    fn dress(self, out: &mut Vec<u8>, start: usize) {
        if self.escape {
            encode::escape(out, start);
        }
        if self.quote {
            out.insert(start, b'"');
            out.push(b'"');
        }
    }
}

struct Reader<'w, 'r> {
    word: &'w Word<'r>,
    purpose: Purpose,
    at: usize,
    /// In force for everything that follows.
    flags: Flags,
    pieces: Vec<Piece>,
    plain: Vec<u8>,
    encoding: Encoding,
}

impl Reader<'_, '_> {
    fn read(word: &Word<'_>, names: &mut Names, purpose: Purpose) -> Result<Format, Diagnostic> {
        let mut reader =
            Reader { word, purpose, at: 0, flags: Flags::default(), pieces: Vec::new(), plain: Vec::new(), encoding: Encoding::Plain };
        reader.pieces(names)?;
        Ok(Format { encoding: reader.encoding, ..Format::of_pieces(reader.pieces) })
    }

    fn pieces(&mut self, names: &mut Names) -> Result<(), Diagnostic> {
        let text = self.word.text();
        while let Some(c) = text[self.at..].chars().next() {
            if c != '%' {
                if c != ' ' || !self.drops_space() {
                    self.plain.extend_from_slice(&text.as_bytes()[self.at..self.at + c.len_utf8()]);
                }
                self.at += c.len_utf8();
                continue;
            }
            self.percent(names)?;
        }
        self.end_plain();
        Ok(())
    }

    /// Tells whether a space here would follow another.
    fn drops_space(&self) -> bool {
        matches!(self.purpose, Purpose::Line(_)) && self.plain.ends_with(b" ")
    }

    /// Reads what begins with a percent sign.
    fn percent(&mut self, names: &mut Names) -> Result<(), Diagnostic> {
        let text = self.word.text();
        let start = self.at;
        self.at += 1;
        let mut flags = self.flags;
        if text[self.at..].starts_with('%') {
            self.plain.push(b'%');
            self.at += 1;
            return Ok(());
        }
        let mut name = None;
        loop {
            match text[self.at..].chars().next() {
                Some('{') => flags = self.read_flags(flags)?,
                Some('(') if name.is_none() => name = Some(self.name()?),
                _ => break,
            }
        }
        if text[self.at..].starts_with('[') {
            return self.expression(start, (flags, name), names);
        }
        let label = name;
        let length = text[self.at..].bytes().take_while(u8::is_ascii_alphanumeric).count();
        let name = &text[self.at..self.at + length];
        self.at += length;
        if name == "o" {
            // Only sets flags, for all that follows.
            self.flags = flags;
            return Ok(());
        }
        let variable = self.variable(start, name)?;
        let asks = matches!(self.purpose, Purpose::Rule(_)) && variable.asks_ends();
        let variable = if asks { names.destination(variable) } else { variable };
        self.end_plain();
        self.pieces.push(Piece { content: Content::Variable(variable), flags, name: label });
        Ok(())
    }

    /// Finds the variable of a name, if it is known where the format is printed.
    fn variable(&self, start: usize, name: &str) -> Result<Variable, Diagnostic> {
        let found = VARIABLES.iter().find(|(known, ..)| *known == name);
        let Some((_, variable, known)) = found else {
            let known: Vec<&str> = VARIABLES.iter().map(|(name, ..)| *name).collect();
            let (message, hint) = unknown("log-format variable", name, &known, &LATER);
            return Err(self.word.error_at(start..self.at, message).hint(format!("{hint}; a percent sign is written %%")));
        };
        match self.purpose {
            Purpose::Rule(stage) if known.needs().is_none_or(|needs| needs > stage) => {
                Err(self.word.error_at(start..self.at, format!("`%{name}` is not known when this rule runs")))
            }
            Purpose::Line(Mode::Tcp) if known.is_http() => {
                Err(self.word.error_at(start..self.at, format!("`%{name}` is about requests, and this frontend has mode tcp")))
            }
            Purpose::Rule(_) | Purpose::Line(_) => Ok(*variable),
        }
    }

    fn expression(&mut self, start: usize, (flags, label): (Flags, Option<json::Name>), names: &mut Names) -> Result<(), Diagnostic> {
        let (calls, end) = calls(self.word, self.at + 1)?;
        if !self.word.text()[end..].starts_with(']') {
            return Err(self.word.error_at(start..end, "this expression is not closed by `]`"));
        }
        self.at = end + 1;
        let expression = Expression::of_calls(&calls, names)?;
        let name = calls.first().map_or("", |call| call.name);
        match self.purpose {
            Purpose::Rule(stage) if expression.needs() > stage => {
                return Err(self.word.error_at(start..self.at, format!("`{name}` is not known when this rule runs")));
            }
            Purpose::Line(_) if expression.needs() > Needs::Connection => {
                let error = self.word.error_at(start..self.at, format!("`{name}` is not known any more when lines are written"));
                return Err(
                    error.hint("keep it in a variable: for example http-request set-var(txn.host) req.hdr(host), then %[var(txn.host)]")
                );
            }
            Purpose::Rule(_) | Purpose::Line(_) => {}
        }
        match expression.constant().filter(|_| !flags.quote && !flags.escape && label.is_none()) {
            Some(value) => value.write(&mut self.plain),
            None => {
                self.end_plain();
                self.pieces.push(Piece { content: Content::Sample(Box::new(expression)), flags, name: label });
            }
        }
        Ok(())
    }

    /// Reads `{+Q,-E}`.
    fn read_flags(&mut self, mut flags: Flags) -> Result<Flags, Diagnostic> {
        let text = &self.word.text()[self.at + 1..];
        let Some(length) = text.find('}') else {
            return Err(self.word.error_at(self.at..self.at + 1, "this brace is not closed"));
        };
        let list = self.at + 1..self.at + 1 + length;
        for flag in text[..length].split(',') {
            match flag {
                "+Q" => flags.quote = true,
                "-Q" => flags.quote = false,
                "+E" => flags.escape = true,
                "-E" => flags.escape = false,
                "+X" => flags.hex = true,
                "-X" => flags.hex = false,
                "+json" if self.word.text()[list.end + 1..].starts_with('o') => self.encoding = Encoding::Json,
                "+json" => return Err(self.word.error_at(list, "`json` is for the whole text: %{+json}o")),
                "+cbor" | "+bin" => {
                    return Err(self.word.error_at(list, format!("`{flag}` is not supported: lines are text")).hint("%{+json}o"));
                }
                other => {
                    let error = self.word.error_at(list, format!("`{other}` is not a flag of a log format"));
                    return Err(error.hint("Q for quotes, E for escapes, X for hexadecimal, each with + or -"));
                }
            }
        }
        self.at = list.end + 1;
        Ok(flags)
    }

    /// Reads `(name)` or `(name:type)`.
    fn name(&mut self) -> Result<json::Name, Diagnostic> {
        let (from, text) = (self.at + 1, self.word.text());
        let Some(length) = text[from..].find(')') else {
            return Err(self.word.error_at(self.at..from, "this parenthesis is not closed"));
        };
        self.at = from + length + 1;
        json::Name::parse(&text[from..from + length]).map_err(|message| self.word.error_at(from..from + length, message))
    }

    fn end_plain(&mut self) {
        if !self.plain.is_empty() {
            let text = std::mem::take(&mut self.plain).into();
            self.pieces.push(Piece { content: Content::Text(text), flags: Flags::default(), name: None });
        }
    }
}

/// Variables of other versions of HAProxy.
const LATER: [(&str, &str); 3] = [
    ("OG", "it is of a newer version of HAProxy"),
    ("bf", "it is of another version of HAProxy"),
    ("rp", "it is of another version of HAProxy"),
];

/// As HAProxy's manual gives them for its options.
const HTTP: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r";
const HTTPS: &str = "%[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed] %[ssl_fc_sni]/%sslv/%sslc";
const TCP: &str = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq";
const CLF: &str = "%{+Q}o %{-Q}ci - - [%trg] %r %ST %B \"\" \"\" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc %sc %rc %sq \
    %bq %CC %CS %hrl %hsl";
