//! Commands about maps, and about the lists of acls.

use std::fmt::Write as _;

use control::admin::{Call, Command, Reply};
use control::config::SocketLevel;

use super::{Engine, now};
use crate::rules::{Named, PatternKind, Patterns, Refused};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    use PatternKind::{Acl, Map};
    let read = |words, arguments, help, run| now(words, arguments, help, SocketLevel::User, run);
    let change = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Operator, run);
    vec![
        read("show map", "[@<ver>] [<map>]", "list the maps, or what one of them holds", |engine, call| show(engine, call, Map)),
        read("show acl", "[@<ver>] [<acl>]", "list the lists of acls, or what one of them holds", |engine, call| show(engine, call, Acl)),
        read("get map", "<map> <key>", "look a key up in a map", |engine, call| get(engine, call, Map)),
        read("get acl", "<acl> <key>", "look a pattern up in a list", |engine, call| get(engine, call, Acl)),
        change("add map", "[@<ver>] <map> <key> <val>", "add an entry, or those of a payload", add_map),
        change("add acl", "[@<ver>] <acl> <pattern>", "add a pattern", add_acl),
        change("set map", "<map> [<key>|#<ref>] <value>", "change the value of an entry", set),
        change("del map", "<map> [<key>|#<ref>]", "remove an entry", |engine, call| remove(engine, call, Map)),
        change("del acl", "<acl> [<key>|#<ref>]", "remove a pattern", |engine, call| remove(engine, call, Acl)),
        change("clear map", "[@<ver>] <map>", "remove all entries", |engine, call| clear(engine, call, Map)),
        change("clear acl", "[@<ver>] <acl>", "remove all patterns", |engine, call| clear(engine, call, Acl)),
        change("prepare map", "<map>", "begin a new version of a map", |engine, call| prepare(engine, call, Map)),
        change("prepare acl", "<acl>", "begin a new version of a list", |engine, call| prepare(engine, call, Acl)),
        change("commit map", "@<ver> <map>", "put a version of a map in force", |engine, call| commit(engine, call, Map)),
        change("commit acl", "@<ver> <acl>", "put a version of a list in force", |engine, call| commit(engine, call, Acl)),
    ]
}

impl PatternKind {
    fn word(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Acl => "acl",
        }
    }

    /// Returns what error texts call it.
    fn title(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Acl => "ACL",
        }
    }
}

/// Finds what a word names: by its file, or by its number.
fn find(engine: &Engine, word: &str, kind: PatternKind) -> Result<Patterns, Reply> {
    let site = engine.site();
    let number = word.strip_prefix('#').and_then(|number| number.parse::<usize>().ok());
    let of_kind = site.patterns().iter().enumerate().filter(|(_, patterns)| patterns.kind == kind);
    let mut found = of_kind.filter(|(place, patterns)| number == Some(*place) || (!word.is_empty() && patterns.name == word));
    let found = found.next().map(|(_, patterns)| patterns.clone());
    found.ok_or_else(|| Reply::error(format!("Unknown {} identifier. Please use #<id> or <file>.", kind.title())))
}

/// Takes a version off the front of the words; none where none is named.
fn version(call: &Call) -> (Option<Result<u32, ()>>, &[String]) {
    match call.word(0).strip_prefix('@') {
        Some(number) => (Some(number.parse().map_err(|_| ())), call.rest(1)),
        None => (None, call.rest(0)),
    }
}

fn word(words: &[String], place: usize) -> &str {
    words.get(place).map_or("", String::as_str)
}

fn named(text: &str) -> Named<'_> {
    let reference = text.strip_prefix("#0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    reference.map_or(Named::Key(text), Named::Reference)
}

/// Answers either way.
fn reply(outcome: Result<Reply, Reply>) -> Reply {
    outcome.unwrap_or_else(|refusal| refusal)
}

fn show(engine: &Engine, call: &Call, kind: PatternKind) -> Reply {
    let (version, words) = version(call);
    if words.is_empty() {
        return list(engine, kind);
    }
    reply(find(engine, word(words, 0), kind).map(|patterns| {
        let wanted = version.map(|version| version.unwrap_or(u32::MAX));
        let mut text = String::new();
        for listed in patterns.list(wanted) {
            let _ = write!(text, "{:#x} {}", listed.reference, String::from_utf8_lossy(&listed.key));
            if kind == PatternKind::Map {
                let _ = write!(text, " {}", String::from_utf8_lossy(&listed.value));
            }
            text.push('\n');
        }
        Reply::Output(text)
    }))
}

fn list(engine: &Engine, kind: PatternKind) -> Reply {
    let mut text = "# id (file) description\n".to_owned();
    for (place, patterns) in engine.site().patterns().iter().enumerate().filter(|(_, patterns)| patterns.kind == kind) {
        let (name, counts) = (&patterns.name, patterns.counts());
        let _ = write!(text, "{place} ({name}) pattern loaded from file '{name}' used {}. ", patterns.used);
        let _ = writeln!(text, "curr_ver={} next_ver={} entry_cnt={}", counts.current, counts.next, counts.entries);
    }
    Reply::Output(text)
}

fn get(engine: &Engine, call: &Call, kind: PatternKind) -> Reply {
    if call.word(1).is_empty() {
        return Reply::error(format!("Missing {} identifier and/or key.", kind.title()));
    }
    reply(find(engine, call.word(0), kind).map(|patterns| {
        let mut text = String::new();
        for lookup in patterns.look_up(call.word(1)) {
            let case = if lookup.is_sensitive { "sensitive" } else { "insensitive" };
            let asked = if kind == PatternKind::Map { "found" } else { "match" };
            let _ = write!(text, "type={}, case={case}, {asked}={}", lookup.way, if lookup.found.is_some() { "yes" } else { "no" });
            if let Some((key, value)) = &lookup.found {
                let _ = write!(text, ", idx={}", if lookup.is_indexed { "tree" } else { "list" });
                let _ = match kind {
                    PatternKind::Map => write!(text, ", key=\"{key}\", value=\"{value}\", type=\"str\""),
                    PatternKind::Acl => write!(text, ", pattern=\"{key}\""),
                };
            }
            text.push('\n');
        }
        Reply::Output(text)
    }))
}

/// Adds one pattern, and says why it is refused.
fn add(patterns: &Patterns, version: Option<Result<u32, ()>>, key: &str, value: &str) -> Result<(), Reply> {
    let version = version.map(|version| version.unwrap_or(u32::MAX));
    patterns.add(version, key, value).map_err(|refused| match refused {
        Refused::Bad(reason) => Reply::error(format!("{reason}.")),
        Refused::Future => Reply::error(format!("Version number in the future, please use 'prepare {}' before.", patterns.kind.word())),
    })
}

fn add_map(engine: &Engine, call: &Call) -> Reply {
    let (version, words) = version(call);
    let usage = "'add map' expects three parameters (map identifier, key and value) or one parameter (map identifier) and a payload";
    let act = |patterns: Patterns| match (&call.payload, words) {
        (None, [_, key, value, ..]) => add(&patterns, version, key, value),
        (Some(payload), [_]) => {
            for line in payload.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let Some((key, value)) = line.split_once([' ', '\t']) else {
                    return Err(Reply::error(format!("Missing value for key '{line}'.")));
                };
                add(&patterns, version, key, value.trim())?;
            }
            Ok(())
        }
        _ => Err(Reply::error(usage)),
    };
    if word(words, 0).is_empty() {
        return Reply::error(usage);
    }
    reply(find(engine, word(words, 0), PatternKind::Map).and_then(act).map(|()| Reply::Done))
}

fn add_acl(engine: &Engine, call: &Call) -> Reply {
    let (version, words) = version(call);
    if call.payload.is_some() || word(words, 1).is_empty() {
        return Reply::error("'add acl' expects two parameters: ACL identifier and pattern.");
    }
    let act = |patterns: Patterns| add(&patterns, version, word(words, 1), "");
    reply(find(engine, word(words, 0), PatternKind::Acl).and_then(act).map(|()| Reply::Done))
}

fn set(engine: &Engine, call: &Call) -> Reply {
    if call.word(2).is_empty() {
        return Reply::error("'set map' expects three parameters: map identifier, key and value.");
    }
    let act = |patterns: Patterns| {
        let named = named(call.word(1));
        match (patterns.set(named, call.word(2)), named) {
            (true, _) => Ok(Reply::Done),
            (false, Named::Key(_)) => Err(Reply::error("entry not found.")),
            (false, Named::Reference(_)) => Err(Reply::error("key or pattern not found.")),
        }
    };
    reply(find(engine, call.word(0), PatternKind::Map).and_then(act))
}

fn remove(engine: &Engine, call: &Call, kind: PatternKind) -> Reply {
    if call.word(1).is_empty() {
        return Reply::error(format!("This command expects two parameters: {} identifier and key.", kind.title()));
    }
    let act = |patterns: Patterns| if patterns.remove(named(call.word(1))) { Ok(Reply::Done) } else { Err(Reply::error("Key not found.")) };
    reply(find(engine, call.word(0), kind).and_then(act))
}

fn clear(engine: &Engine, call: &Call, kind: PatternKind) -> Reply {
    let (version, words) = version(call);
    if word(words, 0).is_empty() {
        return Reply::error(format!("Missing {} identifier.", kind.title()));
    }
    reply(find(engine, word(words, 0), kind).map(|patterns| {
        patterns.clear(version.map(|version| version.unwrap_or(u32::MAX)));
        Reply::Done
    }))
}

fn prepare(engine: &Engine, call: &Call, kind: PatternKind) -> Reply {
    let act = |patterns: Patterns| Reply::Output(format!("New version created: {}\n", patterns.prepare()));
    reply(find(engine, call.word(0), kind).map(act))
}

fn commit(engine: &Engine, call: &Call, kind: PatternKind) -> Reply {
    let (version, words) = version(call);
    let Some(version) = version else { return Reply::error("Missing version number.") };
    let act = |patterns: Patterns| match version {
        Ok(version) if patterns.commit(version) => Ok(Reply::Done),
        Ok(_) | Err(()) => Err(Reply::error("Version number out of range.")),
    };
    reply(find(engine, word(words, 0), kind).and_then(act))
}
