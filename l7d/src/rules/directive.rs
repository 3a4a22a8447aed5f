//! The first words of a rule: which list it belongs to.

use std::time::Duration;

use control::config::{self, Diagnostic, Mode};

use super::action::{self, Stage};
use super::condition::Condition;
use super::fetch::Needs;
use super::log_format::Format;
use super::program::{Compiler, ProxyRules, Rule, ServerTarget, Target};
use super::refused;
use super::tie;
use super::word::{Word, Words, unknown};
use crate::stick::Persist;

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) side: Side,
    pub(super) mode: Mode,
}

/// The kind of proxy a rule belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Frontend,
    Backend,
}

/// Reads one rule and adds it to the list it belongs to.
///
/// # Errors
/// Names what is not known or does not fit.
pub(super) fn read(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, place: Place, proxy: &mut ProxyRules) -> Result<(), Diagnostic> {
    let first = words.expect("a rule")?;
    match first.text() {
        "http-request" => {
            needs_http(first, place)?;
            warn_if_late(first, compiler, proxy);
            let action = action::parse(words, compiler, Stage::Request)?;
            let condition = Condition::parse(words, compiler, Needs::Request)?;
            proxy.request.push(Rule { condition, action, id: compiler.names.rule() });
        }
        "http-response" => {
            needs_http(first, place)?;
            let action = action::parse(words, compiler, Stage::Response)?;
            let condition = Condition::parse(words, compiler, Needs::Response)?;
            proxy.response.push(Rule { condition, action, id: compiler.names.rule() });
        }
        "http-after-response" => {
            needs_http(first, place)?;
            let action = action::parse(words, compiler, Stage::AfterResponse)?;
            let condition = Condition::parse(words, compiler, Needs::Response)?;
            proxy.after_response.push(Rule { condition, action, id: compiler.names.rule() });
        }
        "capture" | "declare" => {
            needs_frontend(first, place)?;
            let captures = compiler.captures.get_or_insert_default();
            if first.text() == "declare" {
                captures.declare(words)?;
            } else {
                needs_http(first, place)?;
                captures.read(words)?;
            }
            if let Some(word) = words.next() {
                return Err(word.error(format!("`{}` stands where the rule should end", word.text())));
            }
        }
        "redirect" => {
            needs_http(first, place)?;
            warn_if_late(first, compiler, proxy);
            let action = action::parse_redirect(words, compiler, Stage::Request)?;
            let condition = Condition::parse(words, compiler, Needs::Request)?;
            proxy.redirects.push(Rule { condition, action, id: compiler.names.rule() });
        }
        "use_backend" => {
            needs_frontend(first, place)?;
            route(words, compiler, place, proxy)?;
        }
        "monitor" => {
            needs_http(first, place)?;
            needs_frontend(first, place)?;
            let fail = words.expect("fail")?;
            if fail.text() != "fail" {
                return Err(fail.error(format!("`{}` is not `fail`", fail.text())));
            }
            if words.peek().is_none() {
                return Err(words.error("`monitor fail` lacks its condition").hint("for example monitor fail if { always_false }"));
            }
            let condition = Condition::parse(words, compiler, Needs::Request)?;
            proxy.failures.push(condition);
        }
        "stats" => {
            needs_http(first, place)?;
            let what = words.expect("http-request")?;
            if what.text() == "admin" {
                if words.peek().is_none() {
                    return Err(words.error("`stats admin` lacks its condition").hint("for example stats admin if { src 127.0.0.1 }"));
                }
                let condition = Condition::parse(words, compiler, Needs::Request)?;
                proxy.administrators.push(Rule { condition, action: (), id: compiler.names.rule() });
                return Ok(());
            }
            if what.text() != "http-request" {
                return Err(what.error(format!("`stats {}` is not a rule", what.text())).hint("it has a key of its own in this file"));
            }
            let action = action::parse(words, compiler, Stage::Statistics)?;
            let condition = Condition::parse(words, compiler, Needs::Request)?;
            proxy.statistics.push(Rule { condition, action, id: compiler.names.rule() });
        }
        "tcp-request" => tcp_request(words, compiler, place, proxy)?,
        "tcp-response" => tcp_response(first, words, compiler, place, proxy)?,
        "stick" => {
            if place.side == Side::Frontend {
                return Err(first.error("`stick` belongs in a backend"));
            }
            tie::read(words, compiler, place.mode, proxy)?;
        }
        "use-server" => {
            if place.side == Side::Frontend {
                return Err(first.error("`use-server` belongs in a backend"));
            }
            use_server(words, compiler, place, proxy)?;
        }
        "force-persist" => {
            let condition = persistence(first, words, compiler, place)?;
            proxy.persistence.push(Rule { condition, action: Persist::Force, id: compiler.names.rule() });
        }
        "ignore-persist" => {
            let condition = persistence(first, words, compiler, place)?;
            proxy.persistence.push(Rule { condition, action: Persist::Ignore, id: compiler.names.rule() });
        }
        "filter" => filter(first, words, compiler, place)?,
        other => return Err(not_a_rule(first, other)),
    }
    Ok(())
}

fn not_a_rule(word: &Word<'_>, name: &str) -> Diagnostic {
    if let Some((_, instead)) = REMOVED.iter().find(|(removed, _)| *removed == name) {
        return word.error(format!("`{name}` is gone from the language")).hint(format!("write {instead}"));
    }
    if matches!(name, "acl" | "default_backend" | "server" | "balance" | "bind" | "timeout") {
        return word.error(format!("`{name}` is not a rule")).hint("it has a key of its own in this file");
    }
    let (message, hint) = unknown("rule", name, &RULES, refused::DIRECTIVES);
    word.error(message).hint(hint)
}

pub(super) const RULES: [&str; 16] = [
    "capture",
    "declare",
    "filter",
    "force-persist",
    "http-after-response",
    "http-request",
    "http-response",
    "ignore-persist",
    "monitor",
    "redirect",
    "stats",
    "stick",
    "tcp-request",
    "tcp-response",
    "use-server",
    "use_backend",
];

/// What HAProxy took out of its language, and what says the same today.
const REMOVED: [(&str, &str); 20] = [
    ("block", "http-request deny"),
    ("reqadd", "http-request add-header"),
    ("reqallow", "http-request allow"),
    ("reqdel", "http-request del-header"),
    ("reqdeny", "http-request deny"),
    ("reqiallow", "http-request allow"),
    ("reqidel", "http-request del-header"),
    ("reqideny", "http-request deny"),
    ("reqipass", "http-request allow"),
    ("reqirep", "http-request replace-header or replace-path"),
    ("reqitarpit", "http-request tarpit"),
    ("reqpass", "http-request allow"),
    ("reqrep", "http-request replace-header or replace-path"),
    ("reqtarpit", "http-request tarpit"),
    ("rspadd", "http-response add-header"),
    ("rspdel", "http-response del-header"),
    ("rspdeny", "http-response deny"),
    ("rspidel", "http-response del-header"),
    ("rspirep", "http-response replace-header"),
    ("rsprep", "http-response replace-header"),
];

fn needs_http(word: &Word<'_>, place: Place) -> Result<(), Diagnostic> {
    match place.mode {
        Mode::Http => Ok(()),
        Mode::Tcp => Err(word.error(format!("`{}` needs mode http", word.text()))),
    }
}

fn needs_frontend(word: &Word<'_>, place: Place) -> Result<(), Diagnostic> {
    match place.side {
        Side::Frontend => Ok(()),
        Side::Backend => Err(word.error(format!("`{}` belongs in a frontend", word.text()))),
    }
}

/// Reads `filter`, which says that something is in the way of a response that other words put there, and adds nothing to them.
fn filter(word: &Word<'_>, words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, place: Place) -> Result<(), Diagnostic> {
    needs_http(word, place)?;
    let kind = words.expect("the kind of filter")?;
    match kind.text() {
        "cache" => {
            let name = words.expect("the name of a cache")?;
            compiler.names.cache(name.text()).map_err(|message| name.error(message))?;
        }
        "compression" => {}
        other => {
            let (message, hint) = unknown("filter", other, &["cache", "compression"], refused::FILTERS);
            return Err(kind.error(message).hint(hint));
        }
    }
    match words.next() {
        Some(word) => Err(word.error(format!("`{}` stands where the line should end", word.text()))),
        None => Ok(()),
    }
}

/// Reads the condition of a rule about persistence, which must have one.
fn persistence(word: &Word<'_>, words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, place: Place) -> Result<Condition, Diagnostic> {
    if place.side == Side::Frontend {
        return Err(word.error(format!("`{}` belongs in a backend", word.text())));
    }
    if words.peek().is_none() {
        return Err(word.error(format!("`{}` needs a condition", word.text())).hint("for example if { path_beg /static/ }"));
    }
    let stage = match place.mode {
        Mode::Http => Needs::Request,
        Mode::Tcp => Needs::Connection,
    };
    Condition::parse(words, compiler, stage)
}

/// Warns of a rule that runs before others it stands behind.
fn warn_if_late(word: &Word<'_>, compiler: &mut Compiler<'_>, proxy: &ProxyRules) {
    let before = match word.text() {
        "http-request" if !proxy.redirects.is_empty() => "redirect",
        _ if !proxy.routes.is_empty() => "use_backend",
        _ => return,
    };
    compiler.names.warn(word.warning(format!("this `{}` rule runs before the `{before}` rules above it", word.text())));
}

fn route(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, place: Place, proxy: &mut ProxyRules) -> Result<(), Diagnostic> {
    let name = words.expect("the name of a backend")?;
    let format = Format::parse(name, &mut compiler.names, Needs::Request)?;
    let action = match format.constant() {
        None => Target::Named(format),
        Some(_) => {
            let (id, mode) = compiler.backend_named(name.text()).ok_or_else(|| name.error(format!("no backend `{}`", name.text())))?;
            if mode != place.mode {
                return Err(name.error(format!("backend `{}` has another mode than this frontend", name.text())));
            }
            Target::Backend(id)
        }
    };
    let condition = Condition::parse(words, compiler, Needs::Request)?;
    let computes = matches!(action, Target::Named(_));
    proxy.reads_requests |= computes || condition.needs() >= Needs::Request;
    proxy.routes.push(Rule { condition, action, id: compiler.names.rule() });
    Ok(())
}

fn use_server(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, place: Place, proxy: &mut ProxyRules) -> Result<(), Diagnostic> {
    let needs = match place.mode {
        Mode::Http => Needs::Request,
        Mode::Tcp => Needs::Content,
    };
    let name = words.expect("the name of a server")?;
    let format = Format::parse(name, &mut compiler.names, needs)?;
    let action = match format.constant() {
        None => ServerTarget::Named(format),
        Some(_) => ServerTarget::Place(compiler.names.place_of_server(name.text()).map_err(|message| name.error(message))?),
    };
    if words.peek().is_none() {
        return Err(words.error("`use-server` needs a condition").hint("for example if { path_beg /static/ }"));
    }
    let condition = Condition::parse(words, compiler, needs)?;
    proxy.servers.push(Rule { condition, action, id: compiler.names.rule() });
    Ok(())
}

fn tcp_request(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, place: Place, proxy: &mut ProxyRules) -> Result<(), Diagnostic> {
    let phase = words.expect("connection, session, content or inspect-delay")?;
    let (stage, needs) = match phase.text() {
        "connection" => (Stage::Connection, Needs::Connection),
        "session" => (Stage::Session, Needs::Connection),
        "content" => (Stage::Content, Needs::Request),
        "inspect-delay" => {
            proxy.inspect_delay = Some(delay(words)?);
            return Ok(());
        }
        other => {
            return Err(phase.error(format!("there is no `tcp-request {other}`")).hint("connection, session, content or inspect-delay"));
        }
    };
    if stage != Stage::Content {
        needs_frontend(phase, place)?;
    }
    let action = action::parse(words, compiler, stage)?;
    let condition = Condition::parse(words, compiler, needs)?;
    proxy.reads_requests |= action.needs().max(condition.needs()) >= Needs::Request;
    let list = match stage {
        Stage::Connection => &mut proxy.connection,
        Stage::Session => &mut proxy.session,
        Stage::Content | Stage::Answer | Stage::Statistics | Stage::Request | Stage::Response | Stage::AfterResponse => &mut proxy.content,
    };
    list.push(Rule { condition, action, id: compiler.names.rule() });
    Ok(())
}

fn tcp_response(
    word: &Word<'_>,
    words: &mut Words<'_, '_>,
    compiler: &mut Compiler<'_>,
    place: Place,
    proxy: &mut ProxyRules,
) -> Result<(), Diagnostic> {
    if place.side == Side::Frontend {
        return Err(word.error("`tcp-response` belongs in a backend"));
    }
    let phase = words.expect("content or inspect-delay")?;
    match phase.text() {
        "content" => {}
        "inspect-delay" => {
            proxy.answer_delay = Some(delay(words)?);
            return Ok(());
        }
        other => return Err(phase.error(format!("there is no `tcp-response {other}`")).hint("content or inspect-delay")),
    }
    let action = action::parse(words, compiler, Stage::Answer)?;
    let condition = Condition::parse(words, compiler, Needs::Response)?;
    proxy.answer.push(Rule { condition, action, id: compiler.names.rule() });
    Ok(())
}

/// Reads a time, which is in milliseconds unless a unit is given, up to the end of the rule.
fn delay(words: &mut Words<'_, '_>) -> Result<Duration, Diagnostic> {
    let word = words.expect("a time")?;
    let delay = config::duration(word.text()).map_err(|message| word.error(message))?;
    match words.next() {
        Some(word) => Err(word.error(format!("`{}` stands where the rule should end", word.text()))),
        None => Ok(delay),
    }
}
