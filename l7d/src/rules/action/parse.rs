//! The words of an action.

use std::sync::Arc;

use control::config::{self, Diagnostic, Family, suggest};

use super::header::is_framing;
use super::redirect::{Destination, Query};
use super::reply::Kind;
use super::when::When;
use super::{
    Action, Change, End, FileChange, HeaderChange, Limit, NameTest, Normalizer, Part, Redirect, Resolve, Seal, Stage, Strictness, Track,
    Whose,
};
use crate::cache::Cache;
use crate::level::Level;
use crate::message::headers::{Known, is_field_byte, is_token};
use crate::rules::auth::challenge;
use crate::rules::capture::length;
use crate::rules::expr::Expression;
use crate::rules::fetch::{Needs, Side};
use crate::rules::log_format::Format;
use crate::rules::pattern::{Case, regex};
use crate::rules::program::Compiler;
use crate::rules::refused;
use crate::rules::stick::{SLOTS, Update, Value};
use crate::rules::store::FileKind;
use crate::rules::view::{Loudness, Tracking, VariableId, Wait};
use crate::rules::word::{Word, Words, unknown};

/// Every action, and the rules it may stand in.
const ACTIONS: [(&str, &[Stage]); 64] = [
    ("accept", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer]),
    ("add-acl", &[Stage::Request, Stage::Response]),
    ("add-header", &[Stage::Request, Stage::Response, Stage::AfterResponse]),
    ("allow", &[Stage::Statistics, Stage::Request, Stage::Response, Stage::AfterResponse]),
    ("auth", &[Stage::Statistics, Stage::Request]),
    ("cache-store", &[Stage::Response]),
    ("cache-use", &[Stage::Request]),
    ("capture", &[Stage::Content, Stage::Request, Stage::Response]),
    ("close", &[Stage::Answer]),
    ("del-acl", &[Stage::Request, Stage::Response]),
    ("del-header", &[Stage::Request, Stage::Response, Stage::AfterResponse]),
    ("del-map", &[Stage::Request, Stage::Response]),
    ("deny", &[Stage::Statistics, Stage::Request, Stage::Response]),
    ("disable-l7-retry", &[Stage::Request]),
    ("do-resolve", &[Stage::Request]),
    ("early-hint", &[Stage::Request]),
    ("normalize-uri", &[Stage::Request]),
    ("redirect", &[Stage::Request, Stage::Response]),
    ("reject", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request]),
    ("replace-header", &[Stage::Request, Stage::Response, Stage::AfterResponse]),
    ("replace-path", &[Stage::Request]),
    ("replace-pathq", &[Stage::Request]),
    ("replace-uri", &[Stage::Request]),
    ("replace-value", &[Stage::Request, Stage::Response, Stage::AfterResponse]),
    ("return", &[Stage::Request, Stage::Response]),
    (
        "sc-add-gpc",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
    (
        "sc-inc-gpc",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
    (
        "sc-inc-gpc0",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
    (
        "sc-inc-gpc1",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
    (
        "sc-set-gpt",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
    (
        "sc-set-gpt0",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
    ("set-bc-mark", &[Stage::Content, Stage::Request]),
    ("set-bc-tos", &[Stage::Content, Stage::Request]),
    ("set-dst", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Request]),
    ("set-dst-port", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Request]),
    ("set-fc-mark", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response]),
    ("set-fc-tos", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response]),
    ("set-header", &[Stage::Request, Stage::Response, Stage::AfterResponse]),
    ("set-log-level", &[Stage::Content, Stage::Answer, Stage::Request, Stage::Response]),
    ("set-map", &[Stage::Request, Stage::Response]),
    ("set-mark", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response]),
    ("set-method", &[Stage::Request]),
    ("set-nice", &[Stage::Content, Stage::Answer, Stage::Request, Stage::Response]),
    ("set-path", &[Stage::Request]),
    ("set-pathq", &[Stage::Request]),
    ("set-priority-class", &[Stage::Content, Stage::Request]),
    ("set-priority-offset", &[Stage::Content, Stage::Request]),
    ("set-query", &[Stage::Request]),
    ("set-src", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Request]),
    ("set-src-port", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Request]),
    ("set-status", &[Stage::Response, Stage::AfterResponse]),
    ("set-timeout", &[Stage::Request]),
    ("set-tos", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response]),
    ("set-uri", &[Stage::Request]),
    ("set-var", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse]),
    (
        "set-var-fmt",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
    ("silent-drop", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response]),
    ("strict-mode", &[Stage::Request, Stage::Response, Stage::AfterResponse]),
    ("tarpit", &[Stage::Request]),
    ("track-sc0", &[Stage::Connection, Stage::Session, Stage::Content, Stage::Request, Stage::Response]),
    ("use-service", &[Stage::Request]),
    ("wait-for-body", &[Stage::Request, Stage::Response]),
    ("wait-for-handshake", &[Stage::Request]),
    (
        "unset-var",
        &[Stage::Connection, Stage::Session, Stage::Content, Stage::Answer, Stage::Request, Stage::Response, Stage::AfterResponse],
    ),
];

/// Returns the names of all actions.
#[cfg(test)]
pub(in crate::rules) fn names() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, _)| *name)
}

/// Returns the name of an action without its arguments.
pub(in crate::rules) fn name_of(word: &str) -> &str {
    word.split('(').next().unwrap_or_default()
}

/// Reads an action up to its condition.
///
/// # Errors
/// Names what is not known or does not fit.
pub(in crate::rules) fn parse(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, stage: Stage) -> Result<Action, Diagnostic> {
    let word = words.expect("an action")?;
    let name = name_of(word.text());
    // There are as many of them as numbers.
    let slot = name.strip_prefix("track-sc").and_then(|digits| digits.parse().ok()).filter(|slot| *slot < SLOTS);
    let name = if slot.is_some() { "track-sc0" } else { name };
    if !ACTIONS.iter().any(|(known, stages)| *known == name && stages.contains(&stage)) {
        return Err(not_an_action(word, name, stage));
    }
    let mut reader = Reader { words, compiler, stage };
    Ok(match name {
        "accept" | "allow" => Action::Accept,
        "auth" => reader.authenticate()?,
        "cache-store" => Action::StoreInCache(reader.cache()?),
        "cache-use" => Action::UseCache(reader.cache()?),
        "capture" => reader.capture()?,
        "disable-l7-retry" => Action::ForbidRepetition,
        "close" => reader.cut(word)?,
        "deny" => Action::Deny(reader.answer(Kind::Deny)?),
        "return" => Action::Return(reader.answer(Kind::Return)?),
        "redirect" => reader.redirect()?,
        "reject" => Action::Reject,
        "tarpit" => Action::Tarpit(reader.answer(Kind::Tarpit)?),
        "silent-drop" => Action::Vanish,
        "set-priority-class" => Action::SetPriorityClass(reader.expression()?),
        "set-priority-offset" => Action::SetPriorityOffset(reader.expression()?),
        "do-resolve" => Action::Resolve(Box::new(reader.resolve(word)?)),
        "use-service" => reader.service()?,
        "wait-for-body" => reader.wait()?,
        "wait-for-handshake" => Action::WaitForHandshake,
        "add-acl" => reader.change_file(word, FileKind::List, |_| Ok(FileChange::Put(Format::text(b""))))?,
        "del-acl" => reader.change_file(word, FileKind::List, |_| Ok(FileChange::Remove))?,
        "set-map" => reader.change_file(word, FileKind::Map, |reader| reader.format("the value").map(FileChange::Put))?,
        "del-map" => reader.change_file(word, FileKind::Map, |_| Ok(FileChange::Remove))?,
        "early-hint" => Action::Hint { name: reader.header_name()?, value: reader.format("the value")? },
        "normalize-uri" => Action::Normalize(reader.normalizer()?),
        "set-src" => reader.set_end(End::Source)?,
        "set-src-port" => reader.set_end(End::SourcePort)?,
        "set-dst" => reader.set_end(End::Destination)?,
        "set-dst-port" => reader.set_end(End::DestinationPort)?,
        "set-log-level" => Action::SetLoudness(reader.loudness()?),
        "set-nice" => reader.nice(word)?,
        "set-timeout" => reader.timeout()?,
        "set-mark" | "set-fc-mark" => reader.brand(Whose::Client, Seal::Mark)?,
        "set-tos" | "set-fc-tos" => reader.brand(Whose::Client, Seal::Service)?,
        "set-bc-mark" => reader.brand(Whose::Server, Seal::Mark)?,
        "set-bc-tos" => reader.brand(Whose::Server, Seal::Service)?,
        "strict-mode" => Action::SetStrictness(reader.strictness()?),
        "set-header" => Action::SetHeader { name: reader.header_name()?, value: reader.format("the value")? },
        "add-header" => Action::AddHeader { name: reader.header_name()?, value: reader.format("the value")? },
        "del-header" => Action::RemoveHeader(reader.name_test()?),
        "replace-header" => reader.replace_header(false)?,
        "replace-value" => reader.replace_header(true)?,
        "set-path" => Action::SetTarget { part: Part::Path, value: reader.format("the path")? },
        "set-pathq" => Action::SetTarget { part: Part::PathAndQuery, value: reader.format("the path")? },
        "set-query" => Action::SetTarget { part: Part::Query, value: reader.format("the query")? },
        "set-uri" => Action::SetTarget { part: Part::Whole, value: reader.format("the target")? },
        "replace-path" => reader.replace_target(Part::Path)?,
        "replace-pathq" => reader.replace_target(Part::PathAndQuery)?,
        "replace-uri" => reader.replace_target(Part::Whole)?,
        "set-method" => Action::SetMethod(reader.format("the method")?),
        "set-status" => reader.set_status()?,
        "set-var" => {
            let (id, when) = reader.variable_when(word)?;
            Action::SetVariable { id, when, value: reader.expression()? }
        }
        "set-var-fmt" => {
            let (id, when) = reader.variable_when(word)?;
            Action::SetVariableText { id, when, value: reader.format("the value")? }
        }
        "unset-var" => Action::UnsetVariable(reader.variable(word)?),
        "track-sc0" => reader.track(slot.unwrap_or(0))?,
        name if name.starts_with("sc-") => reader.update(word, name)?,
        other => return Err(word.error(format!("action `{other}` is not supported yet"))),
    })
}

fn not_an_action(word: &Word<'_>, name: &str, stage: Stage) -> Diagnostic {
    let here = ACTIONS.iter().filter(|(_, stages)| stages.contains(&stage)).map(|(known, _)| *known);
    let here: Vec<&str> = here.collect();
    if ACTIONS.iter().any(|(known, _)| *known == name) {
        return word.error(format!("action `{name}` cannot stand in these rules")).hint(format!("these can: {}", here.join(", ")));
    }
    let (message, hint) = unknown("action", name, &here, refused::ACTIONS);
    word.error(message).hint(hint)
}

/// Reads what follows the word `redirect`.
///
/// # Errors
/// Names what is not known or does not fit.
pub(in crate::rules) fn parse_redirect(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, stage: Stage) -> Result<Action, Diagnostic> {
    Reader { words, compiler, stage }.redirect()
}

/// Reads the words of an action one after the other.
pub(super) struct Reader<'a, 'w, 'r, 'c> {
    pub(super) words: &'a mut Words<'w, 'r>,
    pub(super) compiler: &'a mut Compiler<'c>,
    pub(super) stage: Stage,
}

impl<'w, 'r> Reader<'_, 'w, 'r, '_> {
    pub(super) fn needs(&self) -> Needs {
        match self.stage {
            Stage::Connection | Stage::Session => Needs::Connection,
            Stage::Content | Stage::Statistics | Stage::Request => Needs::Request,
            Stage::Answer | Stage::Response | Stage::AfterResponse => Needs::Response,
        }
    }

    pub(super) fn format(&mut self, what: &str) -> Result<Format, Diagnostic> {
        let word = self.words.expect(what)?;
        let stage = self.needs();
        Format::parse(word, &mut self.compiler.names, stage)
    }

    /// Ends the connection with the server, which where that is a part of exchanges is not for rules about bytes to do.
    fn cut(&self, word: &Word<'_>) -> Result<Action, Diagnostic> {
        if self.compiler.names.is_http() {
            return Err(word.error("`close` needs mode tcp").hint("`reject`, or http-response deny"));
        }
        Ok(Action::Cut)
    }

    /// Reads what is kept for log lines, and where: in the slot of a number, or in one of its own.
    fn capture(&mut self) -> Result<Action, Diagnostic> {
        let value = self.expression()?;
        let side = if self.stage == Stage::Response { Side::Response } else { Side::Request };
        let captures = self.compiler.captures.as_mut();
        let slot = match (self.words.peek().map(Word::text), captures) {
            (Some("id"), captures) if self.stage != Stage::Content => {
                self.words.next();
                let word = self.words.expect("the number of a capture")?;
                let number = word.text().parse().map_err(|_| word.error(format!("`{}` is not a number", word.text())))?;
                if captures.is_some_and(|captures| !captures.has(side, number)) {
                    return Err(word
                        .error(format!("there is no capture {number} above"))
                        .hint("for example declare capture request len 40"));
                }
                number
            }
            (Some("len"), Some(captures)) if side == Side::Request => {
                let most = length(self.words)?;
                captures.add(side, None, most)
            }
            (Some("len"), _) => {
                return Err(self.words.error("only rules of a frontend about requests make captures").hint("id and the number of one"));
            }
            _ => return Err(self.words.error("it is not said where this is kept").hint("len 40, or id and the number of a capture")),
        };
        Ok(Action::Capture { side, slot, value })
    }

    fn normalizer(&mut self) -> Result<Normalizer, Diagnostic> {
        let word = self.words.expect("a normalizer")?;
        let of_name = Normalizer::NAMED.iter().filter(|(name, ..)| *name == word.text());
        let found = of_name.into_iter().find(|(_, option, _)| option.is_none_or(|option| self.words.accept(option)));
        let known = Normalizer::NAMED.map(|(name, ..)| name);
        let wrong = || word.error(format!("`{}` is not a normalizer", word.text())).hint(suggest::hint(word.text(), &known));
        found.map(|(.., normalizer)| *normalizer).ok_or_else(wrong)
    }

    fn set_end(&mut self, end: End) -> Result<Action, Diagnostic> {
        let value = self.expression()?;
        // Whoever changes the destination wants it to be known.
        let keeps_origin = self.stage != Stage::Connection;
        Ok(self.compiler.names.destination(Action::SetEnd { end, value, keeps_origin }))
    }

    fn loudness(&mut self) -> Result<Loudness, Diagnostic> {
        let word = self.words.expect("a level")?;
        if word.text() == "silent" {
            return Ok(Loudness::Silent);
        }
        let known: Vec<&str> = Level::names().chain(["silent"]).collect();
        let wrong = || word.error(format!("`{}` is not a level", word.text())).hint(suggest::hint(word.text(), &known));
        Level::named(word.text()).map(Loudness::At).ok_or_else(wrong)
    }

    fn nice(&mut self, action: &Word<'_>) -> Result<Action, Diagnostic> {
        let word = self.words.expect("a number")?;
        if !word.text().parse().is_ok_and(|nice: i32| (-1024..=1024).contains(&nice)) {
            return Err(word.error(format!("`{}` is not a number from -1024 to 1024", word.text())));
        }
        self.compiler.names.warn(action.warning("`set-nice` means nothing here: all exchanges are treated alike"));
        Ok(Action::Nothing)
    }

    /// Reads the name of a cache.
    fn cache(&mut self) -> Result<Arc<Cache>, Diagnostic> {
        let name = self.words.expect("the name of a cache")?;
        self.compiler.names.cache(name.text()).map_err(|message| name.error(message))
    }

    /// Reads which of our own services answers.
    fn service(&mut self) -> Result<Action, Diagnostic> {
        let word = self.words.expect("prometheus-exporter")?;
        match word.text() {
            "prometheus-exporter" => Ok(Action::Scrape),
            other if other.starts_with("lua.") => Err(word.error("there is no Lua here").hint("prometheus-exporter")),
            other => Err(word.error(format!("there is no service `{other}`")).hint("prometheus-exporter")),
        }
    }

    /// Reads what packets are to carry: a number in decimal or hexadecimal digits, or an expression.
    fn brand(&mut self, whose: Whose, seal: Seal) -> Result<Action, Diagnostic> {
        let most = if seal == Seal::Mark { u32::MAX } else { u8::MAX.into() };
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse::<u32>().ok(),
        };
        let written = self.words.peek().filter(|word| word.text().starts_with(|first: char| first.is_ascii_digit()));
        let value = match written {
            None => Value::Computed(self.expression()?),
            Some(word) => {
                self.words.next();
                let wrong = || word.error(format!("`{}` is not a number from 0 to {most}", word.text()));
                Value::Number(number(word.text()).filter(|number| *number <= most).ok_or_else(wrong)?.into())
            }
        };
        Ok(Action::Brand { whose: self.compiler.names.branding(whose), seal, value })
    }

    /// Reads which time-out is another one from now on, and which.
    fn timeout(&mut self) -> Result<Action, Diagnostic> {
        let word = self.words.expect("server, tunnel or client")?;
        let limit = match word.text() {
            "client" => Limit::Client,
            "server" | "tunnel" if self.compiler.captures.is_some() && !self.compiler.is_twin => {
                return Err(word.error(format!("the time-out `{}` is one of backends", word.text())).hint("set it there"));
            }
            "server" => Limit::Server,
            "tunnel" => Limit::Tunnel,
            other => return Err(word.error(format!("`{other}` is not a time-out that a rule can set")).hint("server, tunnel or client")),
        };
        let time = self.words.peek().and_then(|word| config::duration(word.text()).ok());
        let value = match time.filter(|time| !time.is_zero()) {
            Some(time) => {
                self.words.next();
                Value::Number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            }
            None => Value::Computed(self.expression()?),
        };
        Ok(Action::SetTimeout { limit, value })
    }

    fn strictness(&mut self) -> Result<Strictness, Diagnostic> {
        let word = self.words.expect("on or off")?;
        match word.text() {
            "on" => Ok(Strictness::On),
            "off" => Ok(Strictness::Off),
            other => Err(word.error(format!("`{other}` is neither on nor off"))),
        }
    }

    fn authenticate(&mut self) -> Result<Action, Diagnostic> {
        let usual = if self.stage == Stage::Statistics { "HAProxy Statistics" } else { self.compiler.names.proxy() };
        let realm = if self.words.accept("realm") { self.words.expect("a realm")?.text() } else { usual };
        if realm.chars().any(char::is_control) {
            return Err(self.words.error("a realm cannot hold control characters"));
        }
        Ok(Action::Authenticate(challenge(realm)))
    }

    fn track(&mut self, slot: u8) -> Result<Action, Diagnostic> {
        let key = self.expression()?;
        let table = if self.words.accept("table") {
            let name = self.words.expect("the name of a table")?;
            self.compiler.names.table(name.text()).map_err(|message| name.error(message))?
        } else {
            self.compiler.names.own_table().map_err(|message| self.words.error(message).hint("for example table per_ip"))?
        };
        let (tracking, has_request) = match self.stage {
            Stage::Connection | Stage::Session => (Tracking::Session, false),
            Stage::Content => (Tracking::Exchange, self.compiler.names.is_http()),
            Stage::Statistics | Stage::Request | Stage::Answer | Stage::Response | Stage::AfterResponse => (Tracking::Exchange, true),
        };
        Ok(Action::Track(Box::new(Track { slot, key, table, tracking, has_request })))
    }

    /// Reads `do-resolve(VARIABLE,RESOLVERS[,ipv4|ipv6]) EXPRESSION`.
    fn resolve(&mut self, word: &Word<'_>) -> Result<Resolve, Diagnostic> {
        let text = word.text();
        let inner = text.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or_default();
        let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
        let (variable, resolvers, prefer) = match parts[..] {
            [variable, resolvers] => (variable, resolvers, Family::V6),
            [variable, resolvers, "ipv4"] => (variable, resolvers, Family::V4),
            [variable, resolvers, "ipv6"] => (variable, resolvers, Family::V6),
            _ => {
                let error = word.error("`do-resolve` wants a variable, a section `resolvers`, and if need be a family, in parentheses");
                return Err(error.hint("for example do-resolve(txn.ip,dns,ipv4)"));
            }
        };
        let resolvers = self.compiler.names.resolvers(resolvers).map_err(|message| word.error(message))?;
        let variable = self.compiler.names.variable(variable).map_err(|message| word.error(message))?;
        Ok(Resolve { variable, resolvers, prefer, name: self.expression()? })
    }

    /// Reads how long a body is waited for.
    fn wait(&mut self) -> Result<Action, Diagnostic> {
        let word = self.words.expect("time")?;
        if word.text() != "time" {
            return Err(word.error(format!("`{}` is not `time`", word.text())).hint("for example wait-for-body time 1s"));
        }
        let word = self.words.expect("a time")?;
        let time = config::duration(word.text()).map_err(|message| word.error(message))?;
        let least = if self.words.accept("at-least") {
            let word = self.words.expect("a number of bytes")?;
            let wrong = || word.error(format!("`{}` is not a number of bytes", word.text())).hint("for example 1024");
            Some(word.text().parse().map_err(|_| wrong())?).filter(|least| *least > 0)
        } else {
            None
        };
        self.compiler.names.looks_at_bodies = true;
        Ok(Action::Wait(Wait { time, least }))
    }

    /// Reads what changes a tracked entry.
    fn update(&mut self, word: &Word<'_>, name: &str) -> Result<Action, Diagnostic> {
        let inner = word.text().split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
        let numbers: Option<Vec<u8>> = inner.split(',').map(|number| number.trim().parse().ok().filter(|number| *number < 100)).collect();
        let update = Update::new(name, &numbers.unwrap_or_default(), || {
            if let Some(number) = self.words.peek().and_then(|word| word.text().parse::<u32>().ok()) {
                self.words.next();
                return Ok(Value::Number(number.into()));
            }
            self.expression().map(Value::Computed)
        })?;
        let wrong = || {
            word.error(format!("`{name}` wants the number of what is tracked in parentheses"))
                .hint("for example sc-inc-gpc0(0), sc-inc-gpc(1,0)")
        };
        update.map(|update| Action::UpdateTracked(Box::new(update))).ok_or_else(wrong)
    }

    fn expression(&mut self) -> Result<Expression, Diagnostic> {
        let word = self.words.expect("an expression")?;
        let expression = Expression::of_word(word, &mut self.compiler.names)?;
        if expression.needs() > self.needs() {
            return Err(word.error(format!("`{}` is not known when this rule runs", word.text())));
        }
        Ok(expression)
    }

    fn header_name(&mut self) -> Result<Box<[u8]>, Diagnostic> {
        field_name(self.words.expect("the name of a header field")?)
    }

    fn name_test(&mut self) -> Result<NameTest, Diagnostic> {
        let word = self.words.expect("the name of a header field")?;
        if !self.words.accept("-m") {
            return field_name(word).map(NameTest::Is);
        }
        let name: Box<[u8]> = word.text().as_bytes().into();
        let method = self.words.expect("a matching method")?;
        Ok(match method.text() {
            "str" => NameTest::Is(name),
            "beg" => NameTest::Begins(name),
            "end" => NameTest::Ends(name),
            "sub" => NameTest::Contains(name),
            "reg" => NameTest::Matches(Box::new(regex(word.text(), Case::Ignored).map_err(|reason| word.error(reason))?)),
            other => return Err(method.error(format!("names are not compared by `{other}`")).hint("str, beg, end, sub or reg")),
        })
    }

    fn regex(&mut self) -> Result<regex::bytes::Regex, Diagnostic> {
        let word = self.words.expect("a regular expression")?;
        regex(word.text(), Case::Kept).map_err(|reason| word.error(reason))
    }

    fn replace_header(&mut self, by_value: bool) -> Result<Action, Diagnostic> {
        let change =
            HeaderChange { name: self.header_name()?, regex: self.regex()?, replacement: self.format("the replacement")?, by_value };
        Ok(Action::ReplaceHeader(Box::new(change)))
    }

    fn replace_target(&mut self, part: Part) -> Result<Action, Diagnostic> {
        let change = Change { part, regex: self.regex()?, replacement: self.format("the replacement")? };
        Ok(Action::ReplaceTarget(Box::new(change)))
    }

    pub(super) fn status(&mut self, first: u16) -> Result<u16, Diagnostic> {
        let word = self.words.expect("a status")?;
        let status = word.text().parse().ok().filter(|status| (first..=599).contains(status));
        status.ok_or_else(|| word.error(format!("`{}` is not a status from {first} to 599", word.text())))
    }

    fn set_status(&mut self) -> Result<Action, Diagnostic> {
        let status = self.status(100)?;
        let reason = if self.words.accept("reason") {
            let word = self.words.expect("a reason")?;
            if !word.text().bytes().all(is_field_byte) {
                return Err(word.error("a reason cannot hold control characters"));
            }
            Some(word.text().as_bytes().into())
        } else {
            None
        };
        Ok(Action::SetStatus { status, reason })
    }

    fn variable(&mut self, word: &Word<'_>) -> Result<VariableId, Diagnostic> {
        let (id, when) = self.variable_when(word)?;
        if when.is_empty() { Ok(id) } else { Err(word.error("a variable is taken away whatever it is")) }
    }

    /// Reads a variable, and on what it depends whether it is set.
    fn variable_when(&mut self, word: &Word<'_>) -> Result<(VariableId, Box<[When]>), Diagnostic> {
        let text = word.text();
        let open = text.find('(').filter(|_| text.ends_with(')'));
        let Some(open) = open else {
            return Err(word.error(format!("`{}` wants the name of a variable in parentheses", name_of(text))));
        };
        let mut parts = text[open + 1..text.len() - 1].split(',');
        let name = parts.next().unwrap_or_default();
        let when: Result<_, _> = parts.map(When::named).collect();
        let when = when.map_err(|message| word.error_at(open + 2 + name.len()..text.len() - 1, message))?;
        let id = self.compiler.names.variable(name).map_err(|message| word.error_at(open + 1..open + 1 + name.len(), message))?;
        Ok((id, when))
    }

    fn change_file(
        &mut self,
        word: &Word<'_>,
        kind: FileKind,
        change: impl FnOnce(&mut Self) -> Result<FileChange, Diagnostic>,
    ) -> Result<Action, Diagnostic> {
        let text = word.text();
        let Some(open) = text.find('(').filter(|_| text.ends_with(')')) else {
            return Err(word.error(format!("`{}` wants the name of a file in parentheses", name_of(text))));
        };
        let name = open + 1..text.len() - 1;
        let file = self.compiler.names.patterns(&text[name.clone()], kind).map_err(|message| word.error_at(name, message))?;
        Ok(Action::ChangeFile { file, key: self.format("the pattern")?, change: change(self)? })
    }

    fn redirect(&mut self) -> Result<Action, Diagnostic> {
        let word = self.words.expect("location, prefix or scheme")?;
        let to = match word.text() {
            "location" => Destination::Location(self.format("where to")?),
            "prefix" => Destination::Prefix(self.format("the prefix")?),
            "scheme" => Destination::Scheme(self.format("the scheme")?),
            other => {
                let hint = suggest::hint(other, &["location", "prefix", "scheme"]);
                return Err(word.error(format!("`{other}` is not a way to redirect")).hint(hint));
            }
        };
        let (appends_slash, ignores_empty) = (false, false);
        let mut redirect = Redirect { to, status: 302, query: Query::Kept, appends_slash, ignores_empty, cookie: None };
        while let Some(word) = self.words.peek().filter(|word| !matches!(word.text(), "if" | "unless")) {
            self.words.next();
            match word.text() {
                "code" => {
                    let code = self.words.expect("a status")?;
                    let status = code.text().parse().ok().filter(|status| [301, 302, 303, 307, 308].contains(status));
                    let wrong = || code.error(format!("`{}` is not a redirection", code.text())).hint("301, 302, 303, 307 or 308");
                    redirect.status = status.ok_or_else(wrong)?;
                }
                "drop-query" => redirect.query = Query::Dropped,
                "append-slash" => redirect.appends_slash = true,
                "ignore-empty" => redirect.ignores_empty = true,
                "set-cookie" => redirect.cookie = Some(self.cookie("; path=/;")?),
                "clear-cookie" => redirect.cookie = Some(self.cookie("; path=/; Max-Age=0;")?),
                other => {
                    let known = ["code", "drop-query", "append-slash", "ignore-empty", "set-cookie", "clear-cookie"];
                    return Err(word.error(format!("`{other}` is not an option of `redirect`")).hint(suggest::hint(other, &known)));
                }
            }
        }
        Ok(Action::Redirect(redirect))
    }

    fn cookie(&mut self, attributes: &str) -> Result<Box<[u8]>, Diagnostic> {
        let word = self.words.expect("a cookie")?;
        if word.text().is_empty() || !word.text().bytes().all(is_field_byte) {
            return Err(word.error("a cookie cannot hold control characters"));
        }
        Ok([word.text(), attributes].concat().into_bytes().into())
    }
}

/// Reads the name of a header field that rules may set.
///
/// # Errors
/// Refuses what is no name, and what frames the message.
pub(in crate::rules) fn field_name(word: &Word<'_>) -> Result<Box<[u8]>, Diagnostic> {
    let name = word.text().as_bytes();
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(word.error(format!("`{}` cannot be the name of a header field", word.text())));
    }
    if is_framing(Known::recognise(name)) {
        let error = word.error(format!("rules cannot change `{}`", word.text()));
        return Err(error.hint("it says where the message ends or what becomes of its connection"));
    }
    Ok(name.into())
}
