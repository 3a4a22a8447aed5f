//! Answers of `deny`, `return` and `http-error`.

use std::path::Path;
use std::sync::Arc;

use control::config::{Diagnostic, suggest};
use control::file;

use super::Stage;
use super::parse::Reader;
use crate::message::headers::{InvalidField, Known, is_field_byte, is_token};
use crate::reply::{self, ErrorFile, Reply};
use crate::rules::log_format::Format;
use crate::rules::program::Compiler;
use crate::rules::view::View;
use crate::rules::word::{Word, Words};

/// An answer as it is described.
#[derive(Debug)]
pub(in crate::rules) struct Answer {
    status: u16,
    fields: Box<[(Box<[u8]>, Format)]>,
    body: Body,
    /// Whether the connection closes behind it.
    closes: bool,
}

/// The body of an answer.
#[derive(Debug)]
enum Body {
    /// There is none.
    None,
    /// What the proxy answers with this status.
    Usual,
    /// What a file says, head and all.
    File(Arc<ErrorFile>),
    /// A redirection, which has this status.
    Elsewhere(u16, Box<[u8]>),
    /// This text, of this type.
    Text { content_type: Box<[u8]>, text: Format },
}

impl Answer {
    /// Returns an answer that is what a file says.
    pub(in crate::rules) fn of_file(status: u16, file: Arc<ErrorFile>) -> Self {
        Self { status, fields: Box::default(), body: Body::File(file), closes: false }
    }

    /// Returns an answer that sends the client elsewhere.
    pub(in crate::rules) fn of_location(status: u16, code: u16, location: &str) -> Self {
        Self { status, fields: Box::default(), body: Body::Elsewhere(code, location.as_bytes().into()), closes: false }
    }

    /// Returns the status it stands for.
    pub(in crate::rules) fn status(&self) -> u16 {
        self.status
    }

    /// Returns the answer to the message at hand.
    pub(in crate::rules) fn reply(&self, view: &View<'_>) -> Result<Reply, InvalidField> {
        let mut reply = match &self.body {
            Body::Usual => Reply::page(self.status),
            Body::File(file) => Reply::of_file(self.status, file),
            Body::Elsewhere(code, location) => Reply::of_location(self.status, *code, location),
            Body::None | Body::Text { .. } => Reply::new(self.status),
        };
        let mut value = Vec::new();
        for (name, format) in &self.fields {
            value.clear();
            format.write(view, &mut value);
            // A field without a value is left out, as in HAProxy.
            if !value.is_empty() {
                reply.add(name, &value)?;
            }
        }
        if let Body::Text { content_type, text } = &self.body {
            let mut body = Vec::new();
            text.write(view, &mut body);
            reply.set_body(content_type, body);
        }
        if self.closes {
            reply.close();
        }
        Ok(reply)
    }
}

/// Who answers with whatever is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deny,
    Tarpit,
    Return,
    Error,
}

impl Kind {
    /// Tells whether it is said to who is refused.
    fn refuses(self) -> bool {
        matches!(self, Self::Deny | Self::Tarpit)
    }

    /// Returns the status where none is written.
    fn status(self, stage: Stage) -> u16 {
        match (self, stage) {
            (Self::Return, _) => 200,
            (Self::Tarpit, _) => 500,
            (Self::Deny, Stage::Connection | Stage::Session | Stage::Content | Stage::Statistics | Stage::Request) => 403,
            (Self::Deny, Stage::Answer | Stage::Response | Stage::AfterResponse) => 502,
            (Self::Error, _) => 0,
        }
    }
}

/// Reads the arguments of `http-error`.
///
/// # Errors
/// Names what is not known or does not fit.
pub(in crate::rules) fn parse_error(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>) -> Result<Answer, Diagnostic> {
    let answer = Reader { words, compiler, stage: Stage::Response }.answer(Kind::Error)?;
    match words.next() {
        Some(word) => Err(word.error("an answer for a status has no condition")),
        None if answer.status == 0 => Err(words.error("`http-error` needs a status").hint("for example status 503")),
        None => Ok(answer),
    }
}

/// The options of an answer.
struct Found<'w, 'r> {
    status: u16,
    status_at: Option<&'w Word<'r>>,
    content_type: Option<(&'w Word<'r>, Box<[u8]>)>,
    source: Option<(&'w Word<'r>, Source)>,
    fields: Vec<(&'w Word<'r>, Box<[u8]>, Format)>,
    closes: bool,
}

/// Where the body of an answer comes from.
enum Source {
    Usual,
    File(Arc<ErrorFile>),
    /// The file of a section for the status, if that has one.
    Section(Vec<(u16, Arc<ErrorFile>)>),
    Text(Format),
}

impl<'w, 'r> Reader<'_, 'w, 'r, '_> {
    pub(super) fn answer(&mut self, kind: Kind) -> Result<Answer, Diagnostic> {
        let status = kind.status(self.stage);
        let mut found = Found { status, status_at: None, content_type: None, source: None, fields: Vec::new(), closes: false };
        let mut is_written = false;
        while let Some(word) = self.words.peek().filter(|word| !matches!(word.text(), "if" | "unless")) {
            self.words.next();
            self.option(word, kind, &mut found)?;
            is_written = true;
        }
        if !is_written && kind.refuses() {
            return Ok(Answer { status, fields: Box::default(), body: Body::Usual, closes: false });
        }
        self.complete(found, kind)
    }

    fn option(&mut self, word: &'w Word<'r>, kind: Kind, found: &mut Found<'w, 'r>) -> Result<(), Diagnostic> {
        match word.text() {
            "status" => (found.status, found.status_at) = (self.status(200)?, Some(word)),
            "deny_status" if kind.refuses() => {
                (found.status, found.status_at) = (self.status(200)?, Some(word));
                if self.words.peek().is_none_or(|word| matches!(word.text(), "if" | "unless")) {
                    found.source = Some((word, Source::Usual));
                }
            }
            "content-type" => found.content_type = Some((word, self.content_type()?)),
            "hdr" => self.field(found)?,
            "default-errorfiles" | "errorfile" | "errorfiles" | "string" | "lf-string" | "file" | "lf-file" => {
                if let Some((other, _)) = &found.source {
                    let message = format!("`{}` and `{}` are two answers", other.text(), word.text());
                    return Err(word.error(message).hint("leave one of them out"));
                }
                found.source = Some((word, self.source(word)?));
            }
            other => {
                let known = [
                    "status",
                    "content-type",
                    "default-errorfiles",
                    "errorfile",
                    "errorfiles",
                    "string",
                    "lf-string",
                    "file",
                    "lf-file",
                    "hdr",
                ];
                let error = word.error(format!("`{other}` is not an option of this answer"));
                let is_condition = other.starts_with('{') || other.starts_with("!{");
                let begins = suggest::nearest(other, ["if", "unless"]);
                return Err(error.hint(match begins {
                    _ if is_condition => "write `if` or `unless` before a condition".to_owned(),
                    Some(begins) => format!("did you mean `{begins}`?"),
                    None => suggest::hint(other, &known),
                }));
            }
        }
        Ok(())
    }

    fn source(&mut self, word: &Word<'r>) -> Result<Source, Diagnostic> {
        Ok(match word.text() {
            "errorfile" => {
                let word = self.words.expect("the name of a file")?;
                let file = self.compiler.error_file(Path::new(word.text()));
                Source::File(file.map_err(|error| word.error(format!("{}: {error}", word.text())))?)
            }
            "errorfiles" => {
                let word = self.words.expect("the name of a section http-errors")?;
                let known = || suggest::hint(word.text(), &self.compiler.error_sections());
                let section = self.compiler.error_section(word.text());
                Source::Section(section.ok_or_else(|| word.error(format!("no section http-errors `{}`", word.text())).hint(known()))?)
            }
            "string" => {
                let word = self.words.expect("a text")?;
                if word.text().is_empty() {
                    return Err(word.error("the text is empty"));
                }
                Source::Text(Format::text(word.text().as_bytes()))
            }
            "lf-string" => Source::Text(self.format("a text")?),
            "file" => Source::Text(Format::text(&self.file()?.1)),
            "lf-file" => Source::Text(self.format_file()?),
            _ => Source::Usual,
        })
    }

    /// Reads a field of the answer. Those that frame it, or belong to its connection, say nothing here, but that it closes.
    fn field(&mut self, found: &mut Found<'w, 'r>) -> Result<(), Diagnostic> {
        let word = self.words.expect("the name of a header field")?;
        let name = word.text().as_bytes();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(word.error(format!("`{}` cannot be the name of a header field", word.text())));
        }
        let value = self.format("the value")?;
        match Known::recognise(name) {
            Known::Connection if value.constant().is_some_and(|value| value.eq_ignore_ascii_case(b"close")) => found.closes = true,
            Known::Connection | Known::ContentLength | Known::KeepAlive | Known::ProxyConnection | Known::TransferEncoding => {
                let warning = word.warning(format!("`{}` of an answer is not for a rule to say", word.text()));
                self.compiler.names.warn(warning.hint("it is left out"));
            }
            Known::Expect | Known::Host | Known::Te | Known::Upgrade | Known::Other => found.fields.push((word, name.into(), value)),
        }
        Ok(())
    }

    fn complete(&mut self, found: Found<'w, 'r>, kind: Kind) -> Result<Answer, Diagnostic> {
        let Found { status, status_at, content_type, source, fields, closes } = found;
        let mut ignored = |words: &[&Word<'r>], why: &str| {
            for word in words {
                self.compiler.names.warn(word.warning(format!("`{}` has no effect, because {why}", word.text())));
            }
        };
        let (known, has_page) = (kind == Kind::Error, reply::has_page(status));
        if let Some(word) = status_at.filter(|_| known && !has_page) {
            return Err(word.error(format!("the proxy has no answer of its own for status {status}")));
        }
        let mut names: Vec<_> = fields.iter().map(|(word, _, _)| *word).collect();
        names.extend(content_type.as_ref().map(|(word, _)| *word));
        let plain = |body| Ok(Answer { status, fields: Box::default(), body, closes: false });
        let is_content_type = |name: &[u8]| name.eq_ignore_ascii_case(b"content-type");
        let (body, has_type) = match source {
            None => {
                if let Some((word, _)) = &content_type {
                    ignored(&[word], "there is no text");
                }
                (Body::None, false)
            }
            Some((word, Source::Usual)) if !has_page => {
                let error = word.error(format!("there is no page for status {status}"));
                return Err(error.hint("write one: content-type text/plain string \"...\""));
            }
            Some((_, Source::Usual)) => {
                ignored(&names, "the page has its own");
                return plain(Body::Usual);
            }
            Some((_, Source::File(file))) => {
                ignored(&names, "the file has its own");
                return plain(Body::File(file));
            }
            Some((word, Source::Section(files))) => match files.into_iter().rev().find(|(of, _)| *of == status) {
                Some((_, file)) => {
                    ignored(&names, "the file has its own");
                    return plain(Body::File(file));
                }
                None => {
                    ignored(&[word], &format!("the section has no file for status {status}"));
                    (Body::None, false)
                }
            },
            Some((word, Source::Text(text))) => {
                let is_empty = text.constant().is_some_and(<[u8]>::is_empty);
                match content_type {
                    _ if is_empty => {
                        ignored(&[word], "the text is empty");
                        (Body::None, false)
                    }
                    Some(_) if matches!(status, 204 | 205 | 304) => return Err(word.error(format!("status {status} has no text"))),
                    Some((_, content_type)) => (Body::Text { content_type, text }, true),
                    None => return Err(word.error("a text needs its type: for example content-type text/plain")),
                }
            }
        };
        let fields = fields.into_iter().filter(|(_, name, _)| !(has_type && is_content_type(name)));
        Ok(Answer { status, fields: fields.map(|(_, name, value)| (name, value)).collect(), body, closes })
    }

    fn content_type(&mut self) -> Result<Box<[u8]>, Diagnostic> {
        let word = self.words.expect("a type")?;
        if word.text().is_empty() || !word.text().bytes().all(is_field_byte) {
            return Err(word.error("this cannot be a type"));
        }
        Ok(word.text().as_bytes().into())
    }

    fn file(&mut self) -> Result<(&'w Word<'r>, Vec<u8>), Diagnostic> {
        let word = self.words.expect("the name of a file")?;
        let bytes = file::read(Path::new(word.text()), LARGEST_BODY);
        let bytes = bytes.map_err(|error| word.error(format!("{}: {error}", word.text())))?;
        Ok((word, bytes))
    }

    fn format_file(&mut self) -> Result<Format, Diagnostic> {
        let (word, bytes) = self.file()?;
        let text = String::from_utf8(bytes).map_err(|_| word.error(format!("{} is not UTF-8", word.text())))?;
        let stage = self.needs();
        Format::parse(&word.with_text(text), &mut self.compiler.names, stage)
    }
}

/// Longest answer that is kept in memory for every rule.
const LARGEST_BODY: usize = 1 << 20;
