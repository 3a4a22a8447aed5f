//! Commands about stick tables.

use std::fmt::Write as _;
use std::sync::Arc;

use control::admin::{Call, Command, Reply};
use control::config::{SocketLevel, StoredKind};

use super::{Engine, now};
use crate::stick::{self, Cursor, Entry, Key, Removal, Table};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    use SocketLevel::{Operator, User};
    vec![
        now(
            "show table",
            "[<table> [key <key> | top [data.<type>] [<count>] | data.<type> <operator> <value>]]",
            "list the tables, or what one of them holds, or who stands out in it",
            User,
            show,
        ),
        now("set table", "<table> key <key> [data.<type> <value>]*", "set values of an entry, or make one", Operator, set),
        now("clear table", "<table> [key <key> | data.<type> <operator> <value>]", "remove entries that nobody uses", Operator, clear),
    ]
}

/// Which entries are meant.
struct Filter<'c> {
    kind: StoredKind,
    index: u8,
    operator: &'c str,
    value: u64,
}

impl Filter<'_> {
    fn passes(&self, entry: &Entry) -> bool {
        let value = entry.values.iter().find(|(kind, index, _)| (*kind, *index) == (self.kind, self.index)).map(|(_, _, value)| *value);
        value.is_some_and(|value| match self.operator {
            "eq" => value == self.value,
            "ne" => value != self.value,
            "lt" => value < self.value,
            "le" => value <= self.value,
            "gt" => value > self.value,
            _ => value >= self.value,
        })
    }
}

fn named(engine: &Engine, call: &Call) -> Result<Arc<Table>, Reply> {
    engine.site().tables().named(call.word(0)).map(Arc::clone).ok_or_else(|| Reply::error("No such table"))
}

fn key(table: &Table, text: &str) -> Result<Key, Reply> {
    if text.is_empty() {
        return Err(Reply::error("Key value expected"));
    }
    Key::parse(table.key(), text).ok_or_else(|| Reply::error("Invalid key"))
}

/// Reads `data.http_req_rate`, or `data.gpc1` for an element of an array.
fn data(table: &Table, word: &str) -> Result<(StoredKind, u8), &'static str> {
    let name = word.strip_prefix("data.").ok_or("Unknown data type")?;
    let found = table.kinds().find(|(kind, index)| kind.name() == name || element(*kind, *index).is_some_and(|element| element == name));
    let is_known = StoredKind::ALL.iter().any(|kind| kind.name() == name);
    found.ok_or(if is_known { "Data type not stored in this table" } else { "Unknown data type" })
}

fn element(kind: StoredKind, index: u8) -> Option<String> {
    kind.is_array().then(|| match kind.name().strip_suffix("_rate") {
        Some(counter) => format!("{counter}{index}_rate"),
        None => format!("{}{index}", kind.name()),
    })
}

fn filters<'c>(table: &Table, words: &'c [String]) -> Result<Vec<Filter<'c>>, Reply> {
    let filter = |words: &'c [String]| {
        let word = |place: usize| words.get(place).map_or("", String::as_str);
        let (name, operator, value) = (word(0), word(1), word(2));
        let (kind, index) = data(table, name)?;
        if !["eq", "ne", "le", "lt", "ge", "gt"].contains(&operator) {
            return Err("Require and operator among \"eq\", \"ne\", \"le\", \"ge\", \"lt\", \"gt\"");
        }
        let value = value.parse().map_err(|_| "Require a valid integer value to compare against")?;
        Ok(Filter { kind, index, operator, value })
    };
    if words.first().is_some_and(|word| !word.starts_with("data.")) {
        let message = "Optional argument only supports \"data.<store_data_type>\" <operator> <value> and key <key>";
        return Err(Reply::error(message));
    }
    let numbered = |(number, words)| filter(words).map_err(|message| Reply::error(format!("Filter entry #{number}: {message}")));
    (1..).zip(words.chunks(3)).map(numbered).collect()
}

fn show(engine: &Engine, call: &Call) -> Reply {
    let mut out = String::new();
    if call.arguments.is_empty() {
        engine.site().tables().all().iter().for_each(|table| head(table, &mut out));
        return Reply::Output(out);
    }
    let print = |table: &Table, out: &mut String| -> Result<(), Reply> {
        if call.word(1) == "key" {
            let entry = table.find(&key(table, call.word(2))?, stick::now());
            if let Some(entry) = entry {
                head(table, out);
                line(table, &entry, out);
            }
            return Ok(());
        }
        if call.word(1) == "top" {
            let (of, most) = ranking(table, call.rest(2))?;
            head(table, out);
            table.top(of, most, stick::now()).iter().for_each(|entry| line(table, entry, out));
            return Ok(());
        }
        let filters = filters(table, call.rest(1))?;
        head(table, out);
        visit(table, |entry| {
            if filters.iter().all(|filter| filter.passes(&entry)) {
                line(table, &entry, out);
            }
        });
        Ok(())
    };
    match named(engine, call).and_then(|table| print(&table, &mut out)) {
        Ok(()) => Reply::Output(out),
        Err(reply) => reply,
    }
}

/// Reads by what entries are ranked, and how many are wanted.
fn ranking(table: &Table, words: &[String]) -> Result<((StoredKind, u8), usize), Reply> {
    let (named, rest) = match words {
        [word, rest @ ..] if word.starts_with("data.") => (Some(data(table, word).map_err(Reply::error)?), rest),
        words => (None, words),
    };
    let of = named.or_else(|| table.loudest()).ok_or_else(|| Reply::error("This table counts nothing"))?;
    let most = rest.first().map_or(Some(USUAL_TOP), |word| word.parse().ok().filter(|most| (1..=MOST_TOP).contains(most)));
    most.map(|most| (of, most)).ok_or_else(|| Reply::error(format!("Require a number from 1 to {MOST_TOP}")))
}

/// Hands out all entries, never holding a part of the table for long.
fn visit(table: &Table, mut take: impl FnMut(Entry)) {
    let mut cursor = Cursor::default();
    while table.page(&mut cursor, PAGE, stick::now(), &mut take) {}
}

fn head(table: &Table, out: &mut String) {
    table.sweep(stick::now());
    writeln!(out, "# table: {}, type: {}, size:{}, used:{}", table.name(), table.type_name(), table.size(), table.used())
        .expect("a string takes everything");
}

fn line(table: &Table, entry: &Entry, out: &mut String) {
    let mut write = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a string takes everything");
    write(format_args!("{:#x}: key={} use={} exp={}", entry.place, entry.key, entry.uses, entry.left.unwrap_or(0)));
    for (kind, index, value) in &entry.values {
        if *kind == StoredKind::ServerKey {
            write(format_args!(" server_key={}", table.server_name(*value).unwrap_or("-")));
            continue;
        }
        let name = element(*kind, *index).unwrap_or_else(|| kind.name().to_owned());
        // As rules see it.
        let abroad = || Key::parse(table.key(), &entry.key).map_or(0, |key| table.open_abroad(&key, stick::now()));
        let value = value + if *kind == StoredKind::ConnCur && table.sums() { abroad() } else { 0 };
        match table.period(*kind) {
            Some(period) => write(format_args!(" {name}({period})={value}")),
            None => write(format_args!(" {name}={value}")),
        }
    }
    write(format_args!("\n"));
}

fn set(engine: &Engine, call: &Call) -> Reply {
    let change = |table: Arc<Table>| {
        if call.word(1) != "key" {
            return Err(Reply::error("Required arguments: <table> key <key> [data.<store_data_type> <value>]*"));
        }
        let key = key(&table, call.word(2))?;
        let value = |words: &[String]| {
            let (kind, index) = data(&table, words.first().map_or("", String::as_str)).map_err(Reply::error)?;
            let value = words.get(1).and_then(|value| value.parse().ok());
            let value = value.ok_or_else(|| Reply::error("Require a valid integer value to store"))?;
            if kind == StoredKind::ServerKey {
                return Err(Reply::error("The name of a server cannot be set"));
            }
            Ok((kind, index, value))
        };
        let values: Vec<_> = call.rest(3).chunks(2).map(value).collect::<Result<_, _>>()?;
        if table.set(&key, &values, stick::now()) { Ok(()) } else { Err(Reply::error("Unable to allocate a new entry")) }
    };
    match named(engine, call).and_then(change) {
        Ok(()) => Reply::Output(String::new()),
        Err(reply) => reply,
    }
}

fn clear(engine: &Engine, call: &Call) -> Reply {
    let remove = |table: Arc<Table>| {
        if call.word(1) == "key" {
            return match table.remove(&key(&table, call.word(2))?) {
                Removal::Removed | Removal::Absent => Ok(()),
                Removal::InUse => Err(Reply::error("Entry currently in use, cannot remove")),
            };
        }
        let filters = filters(&table, call.rest(1))?;
        let mut doomed = Vec::new();
        visit(&table, |entry| {
            if filters.iter().all(|filter| filter.passes(&entry)) {
                doomed.extend(Key::parse(table.key(), &entry.key));
            }
        });
        doomed.iter().for_each(|key| {
            table.remove(key);
        });
        Ok(())
    };
    match named(engine, call).and_then(remove) {
        Ok(()) => Reply::Output(String::new()),
        Err(reply) => reply,
    }
}

/// How many entries stand out, unless somebody asks for more.
const USUAL_TOP: usize = 10;
const MOST_TOP: usize = 1000;
/// How many entries are looked at before others may have the table.
const PAGE: usize = 256;
