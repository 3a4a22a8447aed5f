//! Where rules meet stick tables: what they ask of entries, and what they do to them.

use std::net::IpAddr;
use std::sync::Arc;

use control::config::{Diagnostic, StoredKind, TableKey};

use super::argument::Call;
use super::expr::Expression;
use super::names::Names;
use super::sample::{Kind, Sample};
use super::view::View;
use crate::stick::{Event, Key, Record, Table, Tracked, now};

/// A question about the entry of a client.
#[derive(Debug)]
pub(super) struct Question {
    of: Of,
    /// The table of another entry of the same key; none asks the one that is tracked.
    table: Option<Arc<Table>>,
    what: What,
}

/// Whose entry is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// What a rule has tracked under this number.
    Slot(u8),
    /// The client's address.
    Source,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A value.
    Value(StoredKind, u8),
    /// A number of bytes, in units of 1024.
    Kilobytes(StoredKind),
    /// Whether there is an entry.
    Exists,
    /// How many use it.
    Uses,
    /// A counter of the rules' own, after it has counted once more.
    Increment(u8),
    /// Such a counter, before it is set to zero.
    Clear(u8),
    /// An element of an array of such counters, after it has counted once more.
    IncrementElement(u8),
    /// An element, before it is set to zero.
    ClearElement(u8),
    /// How many connections there were, after one more.
    Connections,
    /// How long it lives, in milliseconds.
    Left,
    /// How long it was not used, in milliseconds.
    Idle,
}

/// A change of a tracked entry.
#[derive(Debug)]
pub(super) struct Update {
    slot: u8,
    change: Change,
}

/// What is changed.
#[derive(Debug)]
enum Change {
    Count(Event),
    Add(u8, Value),
    Tag(StoredKind, u8, Value),
}

/// A number, written or computed.
#[derive(Debug)]
pub(super) enum Value {
    Number(u64),
    Computed(Expression),
}

/// What is asked of an entry, by the ends of the names of fetches; `None` for an element of an array that the arguments name.
const QUESTIONS: [(&str, What); 28] = [
    ("bytes_in_rate", What::Value(StoredKind::BytesInRate, 0)),
    ("bytes_out_rate", What::Value(StoredKind::BytesOutRate, 0)),
    ("clr_gpc0", What::Clear(0)),
    ("clr_gpc1", What::Clear(1)),
    ("conn_cnt", What::Value(StoredKind::ConnCnt, 0)),
    ("conn_cur", What::Value(StoredKind::ConnCur, 0)),
    ("conn_rate", What::Value(StoredKind::ConnRate, 0)),
    ("get_gpc0", What::Value(StoredKind::Gpc0, 0)),
    ("get_gpc1", What::Value(StoredKind::Gpc1, 0)),
    ("get_gpt0", What::Value(StoredKind::Gpt0, 0)),
    ("glitch_cnt", What::Value(StoredKind::GlitchCnt, 0)),
    ("glitch_rate", What::Value(StoredKind::GlitchRate, 0)),
    ("gpc0_rate", What::Value(StoredKind::Gpc0Rate, 0)),
    ("gpc1_rate", What::Value(StoredKind::Gpc1Rate, 0)),
    ("http_err_cnt", What::Value(StoredKind::HttpErrCnt, 0)),
    ("http_err_rate", What::Value(StoredKind::HttpErrRate, 0)),
    ("http_fail_cnt", What::Value(StoredKind::HttpFailCnt, 0)),
    ("http_fail_rate", What::Value(StoredKind::HttpFailRate, 0)),
    ("http_req_cnt", What::Value(StoredKind::HttpReqCnt, 0)),
    ("http_req_rate", What::Value(StoredKind::HttpReqRate, 0)),
    ("inc_gpc0", What::Increment(0)),
    ("inc_gpc1", What::Increment(1)),
    ("kbytes_in", What::Kilobytes(StoredKind::BytesInCnt)),
    ("kbytes_out", What::Kilobytes(StoredKind::BytesOutCnt)),
    ("sess_cnt", What::Value(StoredKind::SessCnt, 0)),
    ("sess_rate", What::Value(StoredKind::SessRate, 0)),
    ("tracked", What::Exists),
    ("trackers", What::Uses),
];

/// Makes a question about an element of an array.
type AboutElement = fn(u8) -> What;

/// Those about an element of an array, whose number is the first argument.
const INDEXED: [(&str, AboutElement); 5] = [
    ("clr_gpc", What::ClearElement),
    ("get_gpc", |index| What::Value(StoredKind::Gpc, index)),
    ("get_gpt", |index| What::Value(StoredKind::Gpt, index)),
    ("gpc_rate", |index| What::Value(StoredKind::GpcRate, index)),
    ("inc_gpc", What::IncrementElement),
];

/// How many entries an exchange can track.
pub(super) const SLOTS: u8 = 12;

/// Returns the ends of the names of fetches.
#[cfg(test)]
pub(super) fn questions() -> impl Iterator<Item = &'static str> {
    QUESTIONS.iter().map(|(name, _)| *name).chain(INDEXED.iter().map(|(name, _)| *name))
}

/// Returns the ends of the names of converters.
#[cfg(test)]
pub(super) fn lookups() -> impl Iterator<Item = &'static str> {
    LOOKUPS.iter().map(|(name, _)| *name).filter(|name| *name != "in").chain(["gpc", "gpc_rate", "gpt"])
}

impl What {
    fn is_bool(self) -> bool {
        self == Self::Exists
    }

    /// Answers by an entry; none where the table does not hold what is asked.
    fn answer(self, record: &mut Record<'_>) -> Option<u64> {
        let counter = |index| match index {
            0 => (StoredKind::Gpc0, StoredKind::Gpc0Rate, 0),
            1 => (StoredKind::Gpc1, StoredKind::Gpc1Rate, 0),
            index => (StoredKind::Gpc, StoredKind::GpcRate, index),
        };
        match self {
            Self::Value(kind, index) => record.value(kind, index),
            Self::Kilobytes(kind) => record.value(kind, 0).map(|bytes| bytes >> 10),
            Self::Exists => Some(1),
            // Known to who holds the entry alone.
            Self::Uses | Self::Left | Self::Idle => None,
            Self::Increment(index) => {
                record.count(Event::Counted(index));
                let (total, rate, index) = counter(index);
                record.value(total, index).or_else(|| record.value(rate, index))
            }
            Self::Clear(index) => {
                let (total, _, index) = counter(index);
                let before = record.value(total, index);
                record.set(total, index, 0);
                before
            }
            // HAProxy, too, leaves tables alone that have the old counters in place of the array.
            Self::IncrementElement(index) => {
                record.count(Event::Element(index));
                let counted = record.value(StoredKind::Gpc, index).or_else(|| record.value(StoredKind::GpcRate, index));
                Some(counted.unwrap_or(0))
            }
            Self::ClearElement(index) => {
                let before = record.value(StoredKind::Gpc, index);
                record.set(StoredKind::Gpc, index, 0);
                before
            }
            // It is no connection of its own, so no rate tells of it.
            Self::Connections => {
                record.add(StoredKind::ConnCnt, 0, 1);
                record.value(StoredKind::ConnCnt, 0)
            }
        }
    }

    /// Returns what other processes add to the answer.
    fn abroad(self, table: &Table, key: impl FnOnce() -> Key) -> u64 {
        let counts = self == Self::Value(StoredKind::ConnCur, 0) && table.sums();
        if counts { table.open_abroad(&key(), now()) } else { 0 }
    }

    fn changes(self) -> bool {
        matches!(self, Self::Increment(_) | Self::Clear(_) | Self::IncrementElement(_) | Self::ClearElement(_) | Self::Connections)
    }
}

impl Question {
    /// Makes the question of a fetch; none if the name is not one of these.
    ///
    /// # Errors
    /// Names arguments that do not fit.
    pub(super) fn build(call: &Call<'_, '_>, names: &Names) -> Option<Result<Self, Diagnostic>> {
        let (scope, rest) = call.name.split_once('_')?;
        let slot = scope.strip_prefix("sc").filter(|_| scope != "src");
        let slot = match slot {
            Some("") => None,
            Some(digits) => Some(digits.parse().ok().filter(|slot| *slot < SLOTS)?),
            None if scope == "src" => None,
            None => return None,
        };
        let plain = QUESTIONS.iter().find(|(name, _)| *name == rest).map(|(_, what)| *what);
        let plain = plain.or((call.name == "src_updt_conn_cnt").then_some(What::Connections));
        let indexed = INDEXED.iter().find(|(name, _)| *name == rest && slot.is_none()).map(|(_, make)| *make);
        if plain.is_none() && indexed.is_none() || scope == "src" && matches!(plain, Some(What::Exists | What::Uses)) {
            return None;
        }
        Some(Self::read(call, names, (scope == "src", slot), plain, indexed))
    }

    fn read(
        call: &Call<'_, '_>,
        names: &Names,
        (is_source, slot): (bool, Option<u8>),
        plain: Option<What>,
        indexed: Option<AboutElement>,
    ) -> Result<Self, Diagnostic> {
        let mut next = 0;
        let what = match (plain, indexed) {
            (Some(what), _) => what,
            (None, make) => {
                let index = small(call, 0, "the number of an element", 100)?;
                next = 1;
                make.map_or(What::Exists, |make| make(index))
            }
        };
        let of = match (is_source, slot) {
            (true, _) => Of::Source,
            (false, Some(slot)) => Of::Slot(slot),
            (false, None) => {
                let slot = small(call, next, "the number of what is tracked", SLOTS)?;
                next += 1;
                Of::Slot(slot)
            }
        };
        call.at_most(next + 1)?;
        let table = match (call.optional(next), of) {
            (Some(name), _) => Some(names.table(&name.text).map_err(|message| call.error_in(name, message))?),
            (None, Of::Source) => Some(names.own_table().map_err(|message| call.error(message))?),
            (None, Of::Slot(_)) => None,
        };
        Ok(Self { of, table, what })
    }

    /// Returns the type of the answer.
    pub(super) fn kind(&self) -> Kind {
        if self.what.is_bool() { Kind::Bool } else { Kind::Int }
    }

    /// Answers it.
    pub(super) fn answer<'v>(&self, view: &View<'v>) -> Option<Sample<'v>> {
        let value = match self.of {
            Of::Slot(slot) => {
                let Some(tracked) = view.memory.tracked(slot) else {
                    return (self.what == What::Exists).then_some(Sample::Bool(false));
                };
                match self.table.as_ref().filter(|table| !Arc::ptr_eq(table, tracked.table())) {
                    None => self.of_tracked(tracked),
                    Some(other) => view.at_table(other, &tracked.key(), |other| self.of_key(other, &tracked.key())),
                }
            }
            Of::Source => {
                let table = self.table.as_ref()?;
                let key = Key::of_address(table.key(), view.scene.source?.ip())?;
                view.at_table(table, &key, |table| self.of_key(table, &key))
            }
        }?;
        if self.what.is_bool() { Some(Sample::Bool(value != 0)) } else { i64::try_from(value).ok().map(Sample::Int) }
    }

    fn of_tracked(&self, tracked: &Tracked) -> Option<u64> {
        let what = self.what;
        if what == What::Uses {
            return Some(tracked.uses().into());
        }
        if what.changes() {
            return tracked.update(now(), |record| what.answer(record));
        }
        let answer = tracked.read(now(), |record| what.answer(record))?;
        Some(answer + what.abroad(tracked.table(), || tracked.key()))
    }

    fn of_key(&self, table: &Table, key: &Key) -> Option<u64> {
        if self.what.changes() {
            return table.update(key, now(), |record| self.what.answer(record))?;
        }
        // An unknown client has done nothing yet.
        let answer = table.read(key, now(), |record| self.what.answer(record)).unwrap_or(Some(0))?;
        Some(answer + self.what.abroad(table, || key.clone()))
    }
}

/// A question about the entry of a sample.
#[derive(Debug)]
pub(super) struct Lookup {
    table: Arc<Table>,
    what: What,
    /// What is answered where there is no entry, for those that else answer nothing.
    default: Option<i64>,
}

/// What is asked of an entry, by the ends of the names of converters.
const LOOKUPS: [(&str, What); 27] = [
    ("bytes_in_rate", What::Value(StoredKind::BytesInRate, 0)),
    ("bytes_out_rate", What::Value(StoredKind::BytesOutRate, 0)),
    ("conn_cnt", What::Value(StoredKind::ConnCnt, 0)),
    ("conn_cur", What::Value(StoredKind::ConnCur, 0)),
    ("conn_rate", What::Value(StoredKind::ConnRate, 0)),
    ("expire", What::Left),
    ("glitch_cnt", What::Value(StoredKind::GlitchCnt, 0)),
    ("glitch_rate", What::Value(StoredKind::GlitchRate, 0)),
    ("gpc0", What::Value(StoredKind::Gpc0, 0)),
    ("gpc0_rate", What::Value(StoredKind::Gpc0Rate, 0)),
    ("gpc1", What::Value(StoredKind::Gpc1, 0)),
    ("gpc1_rate", What::Value(StoredKind::Gpc1Rate, 0)),
    ("gpt0", What::Value(StoredKind::Gpt0, 0)),
    ("http_err_cnt", What::Value(StoredKind::HttpErrCnt, 0)),
    ("http_err_rate", What::Value(StoredKind::HttpErrRate, 0)),
    ("http_fail_cnt", What::Value(StoredKind::HttpFailCnt, 0)),
    ("http_fail_rate", What::Value(StoredKind::HttpFailRate, 0)),
    ("http_req_cnt", What::Value(StoredKind::HttpReqCnt, 0)),
    ("http_req_rate", What::Value(StoredKind::HttpReqRate, 0)),
    ("idle", What::Idle),
    ("kbytes_in", What::Kilobytes(StoredKind::BytesInCnt)),
    ("kbytes_out", What::Kilobytes(StoredKind::BytesOutCnt)),
    ("sess_cnt", What::Value(StoredKind::SessCnt, 0)),
    ("sess_rate", What::Value(StoredKind::SessRate, 0)),
    ("server_id", What::Value(StoredKind::ServerId, 0)),
    ("trackers", What::Uses),
    ("in", What::Exists),
];

impl Lookup {
    /// Makes the lookup of a converter; none if the name is not one of these.
    ///
    /// # Errors
    /// Names arguments that do not fit.
    pub(super) fn build(call: &Call<'_, '_>, names: &Names) -> Option<Result<Self, Diagnostic>> {
        let asked = if call.name == "in_table" { "in" } else { call.name.strip_prefix("table_").filter(|asked| *asked != "in")? };
        let plain = LOOKUPS.iter().find(|(name, _)| *name == asked).map(|(_, what)| *what);
        let kind = match asked {
            "gpc" => Some(StoredKind::Gpc),
            "gpc_rate" => Some(StoredKind::GpcRate),
            "gpt" => Some(StoredKind::Gpt),
            _ => None,
        };
        if plain.is_none() && kind.is_none() {
            return None;
        }
        let read = || {
            let (what, next) = match (plain, kind) {
                (None, Some(kind)) => (What::Value(kind, small(call, 0, "the number of an element", 100)?), 1),
                (what, _) => (what.unwrap_or(What::Exists), 0),
            };
            let has_default = matches!(what, What::Left | What::Idle);
            call.at_most(next + 1 + usize::from(has_default))?;
            let name = call.required(next, "the name of a table")?;
            let table = names.table(&name.text).map_err(|message| call.error_in(name, message))?;
            let default = match call.optional(next + 1) {
                Some(text) => Some(text.text.parse().map_err(|_| call.error_in(text, format!("`{}` is no number", text.text)))?),
                None => None,
            };
            Ok(Self { table, what, default })
        };
        Some(read())
    }

    /// Returns the type it reads.
    pub(super) fn takes(&self) -> Kind {
        match self.table.key() {
            TableKey::Ip | TableKey::Ipv6 => Kind::Address,
            TableKey::Integer => Kind::Int,
            TableKey::String(_) => Kind::Text,
            TableKey::Binary(_) => Kind::Binary,
        }
    }

    /// Returns the type of the answer.
    pub(super) fn makes(&self) -> Kind {
        if self.what.is_bool() { Kind::Bool } else { Kind::Int }
    }

    /// Finds the entry of a sample and answers by it; one that is not there holds nothing.
    pub(super) fn apply(&self, sample: &Sample<'_>, view: &View<'_>) -> Option<Sample<'static>> {
        let key = key_of(&self.table, sample)?;
        view.at_table(&self.table, &key, |table| self.of_key(table, &key))
    }

    fn of_key(&self, table: &Table, key: &Key) -> Option<Sample<'static>> {
        if self.what == What::Uses {
            let uses = table.find(key, now()).map_or(0, |entry| entry.uses);
            return Some(Sample::Int(uses.into()));
        }
        if matches!(self.what, What::Left | What::Idle) {
            let left = table.left(key, now());
            let answer = left.map(|left| if self.what == What::Left { left } else { table.lifetime().saturating_sub(left) });
            return answer.map(i64::from).or(self.default).map(Sample::Int);
        }
        let answer = table.read(key, now(), |record| self.what.answer(record));
        if self.what.is_bool() {
            return Some(Sample::Bool(answer.is_some()));
        }
        let answer = answer.unwrap_or(Some(0))? + self.what.abroad(table, || key.clone());
        i64::try_from(answer).ok().map(Sample::Int)
    }
}

/// Makes the key that a sample is in a table; none where it cannot be one.
pub(super) fn key_of(table: &Table, sample: &Sample<'_>) -> Option<Key> {
    Some(match table.key() {
        kind @ (TableKey::Ip | TableKey::Ipv6) => return Key::of_address(kind, address_of(kind, sample)?),
        // HAProxy takes the lower half of longer numbers.
        TableKey::Integer => Key::of_number(u32::try_from(sample.to_int()? & 0xffff_ffff).ok()?),
        TableKey::String(most) => {
            let text = sample.to_bytes();
            let end = memchr::memchr(0, &text).unwrap_or(text.len());
            Key::of_bytes(&text[..end], most)
        }
        TableKey::Binary(most) => Key::of_bytes(&sample.to_binary(), most),
    })
}

/// Reads a sample as an address; a text only as one of the table's family.
fn address_of(kind: TableKey, sample: &Sample<'_>) -> Option<IpAddr> {
    let address = sample.to_address()?;
    let fits = !matches!(sample, Sample::Text(_)) || address.is_ipv4() == (kind == TableKey::Ip);
    fits.then_some(address)
}

impl Update {
    /// Reads the update that an action with these numbers in parentheses is; `value` reads a number or an expression.
    pub(super) fn new(name: &str, numbers: &[u8], value: impl FnOnce() -> Result<Value, Diagnostic>) -> Result<Option<Self>, Diagnostic> {
        let (change, slot) = match (name, numbers) {
            ("sc-inc-gpc0", [slot]) => (Change::Count(Event::Counted(0)), *slot),
            ("sc-inc-gpc1", [slot]) => (Change::Count(Event::Counted(1)), *slot),
            ("sc-inc-gpc", [index, slot]) => (Change::Count(Event::Element(*index)), *slot),
            ("sc-add-gpc", [index, slot]) => (Change::Add(*index, value()?), *slot),
            ("sc-set-gpt0", [slot]) => (Change::Tag(StoredKind::Gpt0, 0, value()?), *slot),
            ("sc-set-gpt", [index, slot]) => (Change::Tag(StoredKind::Gpt, *index, value()?), *slot),
            _ => return Ok(None),
        };
        Ok(Some(Self { slot, change }).filter(|update| update.slot < SLOTS))
    }

    /// Carries it out; nothing comes of it where nothing is tracked.
    pub(super) fn run(&self, view: &View<'_>) {
        let Some(tracked) = view.memory.tracked(self.slot) else { return };
        let number = |value: &Value| value.find(view);
        let now = now();
        match &self.change {
            Change::Count(event) => tracked.update(now, |record| record.count(*event)),
            Change::Add(index, value) => {
                if let Some(count) = number(value) {
                    tracked.update(now, |record| {
                        record.add(StoredKind::Gpc, *index, count);
                        record.add(StoredKind::GpcRate, *index, count);
                    });
                }
            }
            Change::Tag(kind, index, value) => {
                if let Some(tag) = number(value) {
                    tracked.update(now, |record| record.set(*kind, *index, tag));
                }
            }
        }
    }
}

impl Value {
    /// Returns the number; none where what is computed is none.
    pub(super) fn find(&self, view: &View<'_>) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Computed(expression) => expression.value(view)?.to_int().and_then(|number| u64::try_from(number).ok()),
        }
    }
}

fn small(call: &Call<'_, '_>, index: usize, what: &str, below: u8) -> Result<u8, Diagnostic> {
    let argument = call.required(index, what)?;
    let number = argument.text.parse().ok().filter(|number| *number < below);
    number.ok_or_else(|| call.error_in(argument, format!("`{}` is not {what}, which are from 0 to {}", argument.text, below - 1)))
}
