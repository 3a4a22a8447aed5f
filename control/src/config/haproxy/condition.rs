//! Conditional blocks: `.if`, `.elif`, `.else` and `.endif`, the expressions they ask, and the messages between them.

use super::line::Line;
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location};
use crate::config::suggest;

/// The blocks that are open, the innermost last.
#[derive(Default)]
pub(super) struct Blocks(Vec<Block>);

struct Block {
    state: State,
    /// Where the block begins.
    location: Location,
    /// Whether its `.else` was there.
    is_last: bool,
}

/// What becomes of the lines of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// They are read.
    Taken,
    /// They are not, and the next branch is asked.
    Open,
    /// They are not, and neither is any other branch.
    Done,
}

impl Blocks {
    /// Tells whether lines are skipped here.
    pub(super) fn skip(&self) -> bool {
        self.0.iter().any(|block| block.state != State::Taken)
    }

    /// Reads a line whose keyword begins with a dot.
    pub(super) fn read(&mut self, keyword: &Located<String>, line: &mut Line, reader: &mut Reader) -> Result<(), Diagnostic> {
        match keyword.as_str() {
            ".if" => self.open(line, reader),
            ".elif" => self.branch(keyword, line, reader),
            ".else" => self.turn(keyword),
            ".endif" => self.0.pop().map(|_| ()).ok_or_else(|| line.error("this `.endif` ends no `.if`")),
            _ if self.skip() => {
                let _ = line.joined();
                Ok(())
            }
            ".diag" => {
                let _ = line.joined();
                Ok(())
            }
            ".notice" | ".warning" => {
                let text = line.joined().unwrap_or_else(|| keyword.clone());
                reader.push(Diagnostic::warning(text.location(), text.value().clone()));
                Ok(())
            }
            ".alert" => {
                Err(line.joined().map_or_else(|| line.error("`.alert`"), |text| Diagnostic::error(text.location(), text.value().clone())))
            }
            other => {
                let known = [".if", ".elif", ".else", ".endif", ".diag", ".notice", ".warning", ".alert"];
                Err(line.error(format!("there is no directive `{other}`")).hint(suggest::hint(other, &known)))
            }
        }
    }

    fn open(&mut self, line: &mut Line, reader: &Reader) -> Result<(), Diagnostic> {
        if self.0.len() == DEEPEST {
            let _ = line.joined();
            return Err(line.error(format!("more than {DEEPEST} blocks inside each other")));
        }
        let location = line.location();
        let asked = if self.skip() { line.joined().map_or(Ok(false), |_| Ok(false)) } else { holds(line, reader) };
        let state = match asked {
            Ok(true) => State::Taken,
            Ok(false) => State::Open,
            Err(_) => State::Done,
        };
        self.0.push(Block { state, location, is_last: false });
        asked.map(|_| ())
    }

    fn branch(&mut self, keyword: &Located<String>, line: &mut Line, reader: &Reader) -> Result<(), Diagnostic> {
        let outer = self.0.split_last().is_some_and(|(_, outer)| outer.iter().any(|block| block.state != State::Taken));
        let block = self.turned(keyword)?;
        if block.state != State::Open || outer {
            let _ = line.joined();
            block.state = State::Done;
            return Ok(());
        }
        let asked = holds(line, reader);
        block.state = if matches!(asked, Ok(true)) { State::Taken } else { block.state };
        asked.map(|_| ())
    }

    fn turn(&mut self, keyword: &Located<String>) -> Result<(), Diagnostic> {
        let block = self.turned(keyword)?;
        block.is_last = true;
        block.state = if block.state == State::Open { State::Taken } else { State::Done };
        Ok(())
    }

    /// Returns the innermost block, which may have another branch.
    fn turned(&mut self, keyword: &Located<String>) -> Result<&mut Block, Diagnostic> {
        let stray = |why: &str| Diagnostic::error(keyword.location(), format!("this `{}` {why}", keyword.value()));
        match self.0.last_mut() {
            None => Err(stray("follows no `.if`")),
            Some(block) if block.is_last => Err(stray("stands behind an `.else`")),
            Some(block) => Ok(block),
        }
    }

    /// Ends a file, whose blocks must all be closed.
    pub(super) fn finish(&mut self, reader: &mut Reader) {
        for block in self.0.drain(..) {
            reader.push(Diagnostic::error(&block.location, "this `.if` has no `.endif`"));
        }
    }
}

/// Asks the condition that the rest of a line is; none never holds.
fn holds(line: &mut Line, reader: &Reader) -> Result<bool, Diagnostic> {
    let Some(text) = line.joined() else { return Ok(false) };
    let mut parser = Parser { text: text.value(), at: 0, reader, depth: 0 };
    parser.whole().map_err(|message| {
        let at = parser.at.min(text.len());
        Diagnostic::error(&text.location().part(&text, at..text.len()), message)
    })
}

/// Asks a condition that stands in no file; an empty one never holds.
///
/// # Errors
///
/// Says why it is none.
pub(in crate::config) fn ask(text: &str) -> Result<bool, String> {
    if text.trim().is_empty() {
        return Ok(false);
    }
    Parser { text, at: 0, reader: &Reader::default(), depth: 0 }.whole()
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    reader: &'t Reader,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// Returns what was not read yet, without blanks before it.
    fn rest(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn whole(&mut self) -> Result<bool, String> {
        let value = self.any()?;
        match self.rest() {
            "" => Ok(value),
            rest => Err(format!("`{rest}` stands where the condition should end")),
        }
    }

    fn accept(&mut self, mark: &str) -> bool {
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len() } else { 0 };
        found
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut value = self.all()?;
        while self.accept("||") {
            value |= self.all()?;
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut value = self.term()?;
        while self.accept("&&") {
            value &= self.term()?;
        }
        Ok(value)
    }

    fn term(&mut self) -> Result<bool, String> {
        let mut negated = false;
        while self.accept("!") {
            negated = !negated;
        }
        Ok(self.primary()? != negated)
    }

    fn primary(&mut self) -> Result<bool, String> {
        if self.accept("(") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(format!("more than {DEEPEST} parentheses inside each other"));
            }
            let value = self.any()?;
            self.depth -= 1;
            return if self.accept(")") { Ok(value) } else { Err("a parenthesis is not closed".to_owned()) };
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
            self.at += end;
            return Ok(word.bytes().any(|byte| byte != b'0'));
        }
        let Some(inside) = rest[end..].strip_prefix('(').filter(|_| end > 0) else {
            return Err(format!("`{rest}` is not a condition"));
        };
        let close = inside.find(')').ok_or("a parenthesis is not closed")?;
        let value = self.predicate(word, &inside[..close])?;
        self.at += end + close + 2;
        Ok(value)
    }

    fn predicate(&self, name: &str, inside: &str) -> Result<bool, String> {
        let arguments: Vec<&str> = inside.split(',').map(str::trim).collect();
        let two = || match arguments[..] {
            [one, other] => Ok((one, other)),
            _ => Err(format!("`{name}` wants two arguments")),
        };
        Ok(match name {
            "defined" => self.reader.environment(inside.trim()).is_some(),
            "enabled" => ENABLED.contains(&inside.trim()),
            "feature" => FEATURES.contains(&(inside.trim(), true)),
            "streq" => two().map(|(one, other)| one == other)?,
            "strneq" => two().map(|(one, other)| one != other)?,
            "strstr" => two().map(|(text, part)| text.contains(part))?,
            "version_atleast" => version(inside)? <= LEVEL,
            "version_before" => version(inside)? > LEVEL,
            _ => return Err(format!("there is no predicate `{name}`; {}", suggest::hint(name, &PREDICATES))),
        })
    }
}

/// Reads a version such as `2.4-dev19` or `3.2`; what is not there counts as zero.
fn version(text: &str) -> Result<[u32; 2], String> {
    let wrong = || format!("`{text}` is not a version");
    let plain = text.trim().split('-').next().unwrap_or_default();
    let mut parts = plain.split('.').map(|part| part.parse::<u32>().map_err(|_| wrong()));
    let (major, minor) = (parts.next().unwrap_or(Ok(0))?, parts.next().unwrap_or(Ok(0))?);
    Ok([major, minor])
}

/// The version of the language that is spoken here.
const LEVEL: [u32; 2] = [3, 2];
/// The features of HAProxy's builds, and whether what configurations ask them for is here: `OPENSSL` stands for TLS, `ZLIB` for
/// compression.
pub(in crate::config) const FEATURES: &[(&str, bool)] = &[
    ("51DEGREES", false),
    ("ACCEPT4", true),
    ("CPU_AFFINITY", false),
    ("DEVICEATLAS", false),
    ("ENGINE", false),
    ("EPOLL", true),
    ("EVPORTS", false),
    ("GETADDRINFO", false),
    ("KQUEUE", false),
    ("LIBCRYPT", false),
    ("LINUX_CAP", false),
    ("LINUX_SPLICE", true),
    ("LINUX_TPROXY", true),
    ("LUA", false),
    ("NS", false),
    ("OPENSSL", true),
    ("OPENSSL_AWSLC", true),
    ("OT", false),
    ("PCRE", false),
    ("PCRE2", false),
    ("PROMEX", false),
    ("QUIC", false),
    ("SLZ", false),
    ("SSL", true),
    ("SYSTEMD", true),
    ("TFO", false),
    ("THREAD", true),
    ("TPROXY", true),
    ("WURFL", false),
    ("ZLIB", true),
];
const ENABLED: [&str; 2] = ["EPOLL", "SPLICE"];
pub(super) const PREDICATES: [&str; 8] =
    ["defined", "enabled", "feature", "streq", "strneq", "strstr", "version_atleast", "version_before"];
/// How many blocks or parentheses there may be inside each other.
const DEEPEST: usize = 32;
