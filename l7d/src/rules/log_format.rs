//! Log-format strings: text with expressions `%[...]` and aliases like `%ci` in it.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use control::config::Diagnostic;

use super::argument::calls;
use super::converter::hex;
use super::expr::Expression;
use super::fetch::{Needs, hostname};
use super::program::Names;
use super::view::View;
use super::word::{Word, unknown};

/// A text with places for samples.
#[derive(Debug)]
pub(super) struct Format(Box<[Piece]>);

#[derive(Debug)]
struct Piece {
    content: Content,
    flags: Flags,
}

#[derive(Debug)]
enum Content {
    Text(Box<[u8]>),
    Sample(Box<Expression>),
    Alias(Alias),
}

/// How a value is printed.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    /// In quotes.
    quote: bool,
    /// With a backslash before quotes, backslashes and closing brackets.
    escape: bool,
    /// Numbers and addresses in hexadecimal.
    hex: bool,
}

/// A value with a short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alias {
    ClientAddress,
    ClientPort,
    FrontendAddress,
    FrontendPort,
    Frontend,
    Backend,
    Hostname,
    Method,
    Path,
    Query,
    Uri,
    Version,
    RequestLine,
    Seconds,
    Milliseconds,
    Process,
    Status,
}

const ALIASES: [(&str, Alias); 17] = [
    ("H", Alias::Hostname),
    ("HM", Alias::Method),
    ("HP", Alias::Path),
    ("HQ", Alias::Query),
    ("HU", Alias::Uri),
    ("HV", Alias::Version),
    ("ST", Alias::Status),
    ("Ts", Alias::Seconds),
    ("b", Alias::Backend),
    ("ci", Alias::ClientAddress),
    ("cp", Alias::ClientPort),
    ("f", Alias::Frontend),
    ("fi", Alias::FrontendAddress),
    ("fp", Alias::FrontendPort),
    ("ms", Alias::Milliseconds),
    ("pid", Alias::Process),
    ("r", Alias::RequestLine),
];

/// Aliases of HAProxy whose values are not known while rules run here, or not yet.
const LATER: [&str; 51] = [
    "B", "CC", "CS", "HPO", "ID", "T", "Ta", "Tc", "Td", "Th", "Ti", "Tl", "Tq", "TR", "Tr", "Tt", "Tu", "Tw", "U", "ac", "bc", "bi", "bp",
    "bq", "fc", "ft", "hr", "hrl", "hs", "hsl", "lc", "rc", "rt", "s", "sc", "si", "sp", "sq", "sslc", "sslv", "t", "trg", "trl", "trr",
    "ts", "tsc", "OG", "rp", "bf", "Tn", "hv",
];

impl Format {
    /// Reads a format that is a whole word.
    ///
    /// # Errors
    /// Names what is not known or does not fit, and what needs more than `stage` has.
    pub(super) fn parse(word: &Word<'_>, names: &mut Names, stage: Needs) -> Result<Self, Diagnostic> {
        Self::of_text(word, 0..word.text().len(), names, stage)
    }

    fn of_text(word: &Word<'_>, range: Range<usize>, names: &mut Names, stage: Needs) -> Result<Self, Diagnostic> {
        let mut reader = Reader { word, at: range.start, flags: Flags::default(), pieces: Vec::new(), plain: Vec::new() };
        reader.read(names, stage)?;
        Ok(Self(reader.pieces.into()))
    }

    /// Returns a format that prints a text as it is.
    pub(super) fn text(text: &[u8]) -> Self {
        let piece = Piece { content: Content::Text(text.into()), flags: Flags::default() };
        Self(if text.is_empty() { Box::default() } else { [piece].into() })
    }

    /// Returns what it prints, if that is always the same.
    pub(super) fn constant(&self) -> Option<&[u8]> {
        match &*self.0 {
            [] => Some(&[]),
            [Piece { content: Content::Text(text), .. }] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with the samples of this view.
    pub(super) fn write(&self, view: &View<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            piece.write(view, out);
        }
    }
}

impl Piece {
    fn write(&self, view: &View<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        match &self.content {
            Content::Text(text) => return out.extend_from_slice(text),
            Content::Sample(expression) => {
                if let Some(sample) = expression.value(view) {
                    sample.write(out);
                }
            }
            Content::Alias(alias) => alias.write(view, self.flags, out),
        }
        if self.flags.escape {
            let raw = out.split_off(start);
            for byte in raw {
                if matches!(byte, b'"' | b'\\' | b']') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
        }
        if self.flags.quote {
            out.insert(start, b'"');
            out.push(b'"');
        }
    }
}

impl Alias {
    fn needs(self) -> Needs {
        match self {
            Self::Method | Self::Path | Self::Query | Self::Uri | Self::Version | Self::RequestLine => Needs::Request,
            Self::Status => Needs::Response,
            Self::ClientAddress
            | Self::ClientPort
            | Self::FrontendAddress
            | Self::FrontendPort
            | Self::Frontend
            | Self::Backend
            | Self::Hostname
            | Self::Seconds
            | Self::Milliseconds
            | Self::Process => Needs::Connection,
        }
    }

    fn write(self, view: &View<'_>, flags: Flags, out: &mut Vec<u8>) {
        let scene = view.scene;
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self {
            Self::ClientAddress => {
                if let Some(source) = scene.source {
                    address(source.ip(), flags, out);
                }
            }
            Self::ClientPort => {
                if let Some(source) = scene.source {
                    number(source.port().into(), flags, out);
                }
            }
            Self::FrontendAddress => {
                if let Some(destination) = scene.destination {
                    address(destination.ip(), flags, out);
                }
            }
            Self::FrontendPort => {
                if let Some(destination) = scene.destination {
                    number(destination.port().into(), flags, out);
                }
            }
            Self::Frontend => out.extend_from_slice(scene.frontend.as_bytes()),
            Self::Backend => out.extend_from_slice(scene.backend.unwrap_or(scene.frontend).as_bytes()),
            Self::Hostname => out.extend_from_slice(hostname().as_bytes()),
            Self::Seconds => number(now().as_secs(), flags, out),
            Self::Milliseconds => put(out, format_args!("{:03}", now().subsec_millis())),
            Self::Process => number(std::process::id().into(), flags, out),
            Self::Status => {
                if let Some(head) = view.response {
                    number(head.status().into(), flags, out);
                }
            }
            Self::Method | Self::Path | Self::Query | Self::Uri | Self::Version | Self::RequestLine => self.write_request(view, out),
        }
    }

    fn write_request(self, view: &View<'_>, out: &mut Vec<u8>) {
        let Some(head) = view.request else { return };
        let version = head.version().as_str().as_bytes();
        match self {
            Self::Method => out.extend_from_slice(head.method_text()),
            Self::Path => out.extend_from_slice(head.target_parts().path),
            Self::Query => {
                if let Some(query) = head.target_parts().query {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
            }
            Self::Uri => out.extend_from_slice(head.target()),
            Self::RequestLine => {
                for part in [head.method_text(), b" ", head.target(), b" ", version] {
                    out.extend_from_slice(part);
                }
            }
            Self::ClientAddress
            | Self::ClientPort
            | Self::FrontendAddress
            | Self::FrontendPort
            | Self::Frontend
            | Self::Backend
            | Self::Hostname
            | Self::Version
            | Self::Seconds
            | Self::Milliseconds
            | Self::Process
            | Self::Status => out.extend_from_slice(version),
        }
    }
}

fn address(address: IpAddr, flags: Flags, out: &mut Vec<u8>) {
    match address.to_canonical() {
        address if !flags.hex => put(out, format_args!("{address}")),
        IpAddr::V4(address) => out.extend(hex(&address.octets())),
        IpAddr::V6(address) => out.extend(hex(&address.octets())),
    }
}

fn number(value: u64, flags: Flags, out: &mut Vec<u8>) {
    if flags.hex {
        return put(out, format_args!("{value:04X}"));
    }
    put(out, format_args!("{value}"));
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

struct Reader<'w, 'r> {
    word: &'w Word<'r>,
    at: usize,
    /// In force for everything that follows.
    flags: Flags,
    pieces: Vec<Piece>,
    plain: Vec<u8>,
}

impl Reader<'_, '_> {
    fn read(&mut self, names: &mut Names, stage: Needs) -> Result<(), Diagnostic> {
        let text = self.word.text();
        while let Some(c) = text[self.at..].chars().next() {
            if c != '%' {
                self.plain.extend_from_slice(&text.as_bytes()[self.at..self.at + c.len_utf8()]);
                self.at += c.len_utf8();
                continue;
            }
            self.percent(names, stage)?;
        }
        self.end_plain();
        Ok(())
    }

    /// Reads what begins with a percent sign.
    fn percent(&mut self, names: &mut Names, stage: Needs) -> Result<(), Diagnostic> {
        let text = self.word.text();
        let start = self.at;
        self.at += 1;
        let mut flags = self.flags;
        if text[self.at..].starts_with('%') {
            self.plain.push(b'%');
            self.at += 1;
            return Ok(());
        }
        if text[self.at..].starts_with('{') {
            flags = self.read_flags(flags)?;
        }
        if text[self.at..].starts_with('[') {
            return self.expression(start, flags, names, stage);
        }
        let length = text[self.at..].bytes().take_while(u8::is_ascii_alphanumeric).count();
        let name = &text[self.at..self.at + length];
        self.at += length;
        if name == "o" {
            // Only sets flags, for all that follows.
            self.flags = flags;
            return Ok(());
        }
        let found = ALIASES.iter().find(|(known, _)| *known == name);
        let Some((_, alias)) = found else {
            let known: Vec<&str> = ALIASES.iter().map(|(name, _)| *name).collect();
            let (message, hint) = unknown("log-format alias", name, &known, &LATER);
            return Err(self.word.error_at(start..self.at, message).hint(format!("{hint}; a percent sign is written %%")));
        };
        if alias.needs() > stage {
            return Err(self.word.error_at(start..self.at, format!("`%{name}` is not known when this rule runs")));
        }
        let asks = matches!(alias, Alias::FrontendAddress | Alias::FrontendPort);
        let alias = if asks { names.destination(*alias) } else { *alias };
        self.end_plain();
        self.pieces.push(Piece { content: Content::Alias(alias), flags });
        Ok(())
    }

    fn expression(&mut self, start: usize, flags: Flags, names: &mut Names, stage: Needs) -> Result<(), Diagnostic> {
        let (calls, end) = calls(self.word, self.at + 1)?;
        if !self.word.text()[end..].starts_with(']') {
            return Err(self.word.error_at(start..end, "this expression is not closed by `]`"));
        }
        self.at = end + 1;
        let expression = Expression::of_calls(&calls, names)?;
        if expression.needs() > stage {
            let message = format!("`{}` is not known when this rule runs", calls.first().map_or("", |call| call.name));
            return Err(self.word.error_at(start..self.at, message));
        }
        match expression.constant().filter(|_| !flags.quote && !flags.escape) {
            Some(value) => value.write(&mut self.plain),
            None => {
                self.end_plain();
                self.pieces.push(Piece { content: Content::Sample(Box::new(expression)), flags });
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
                other => {
                    let error = self.word.error_at(list, format!("`{other}` is not a flag of a log format"));
                    return Err(error.hint("Q for quotes, E for escapes, X for hexadecimal, each with + or -"));
                }
            }
        }
        self.at = list.end + 1;
        Ok(flags)
    }

    fn end_plain(&mut self) {
        if !self.plain.is_empty() {
            let text = std::mem::take(&mut self.plain).into();
            self.pieces.push(Piece { content: Content::Text(text), flags: Flags::default() });
        }
    }
}
