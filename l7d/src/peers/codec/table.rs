//! What messages say of tables and their entries.

use control::config::{StoredKind, TableKey};

use super::{LONGEST, Malformed, number};
pub use crate::stick::{ORDER, Raw};

/// What the updates of a table hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// What the sender calls it from now on.
    pub number: u64,
    /// What all peers call it.
    pub name: String,
    /// The type of the keys, as a number.
    pub key_type: u64,
    /// How long keys are, or may be; texts count their end.
    pub key_length: u64,
    /// How long entries live unused, in milliseconds; 0 for ever.
    pub expire: u64,
    /// What entries hold, in the order of [`ORDER`].
    pub items: Vec<Item>,
}

/// One thing entries hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: StoredKind,
    /// How many of it there are.
    pub count: u8,
    /// The period of a rate, in milliseconds; 0 for what is none.
    pub period: u32,
}

/// An entry on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<'a> {
    /// Which update of its table it is; none for the one after the last.
    pub number: Option<u32>,
    /// How long the entry lives, in milliseconds; none where that is not said.
    pub left: Option<u32>,
    /// The key and what the entry holds.
    pub entry: &'a [u8],
}

/// An entry that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What it holds, but for the name of a server.
    pub values: Vec<(StoredKind, u8, Raw)>,
    /// The server.
    pub server: Option<NamedServer<'a>>,
}

/// A server, called by a number once its name was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedServer<'a> {
    /// The number.
    pub number: u64,
    /// The name, where it is said.
    pub name: Option<&'a [u8]>,
}

const INTEGER: u64 = 2;
const IPV4: u64 = 4;
const IPV6: u64 = 5;
const STRING: u64 = 6;
const BINARY: u64 = 7;

/// As many as an array can have elements.
const MOST_ELEMENTS: u64 = 100;
/// As long as the name of a table may be.
const LONGEST_NAME: u64 = 4096;

/// Returns the number of a type of keys, and how long these are or may be.
pub fn key_type(key: TableKey) -> (u64, u64) {
    match key {
        TableKey::Integer => (INTEGER, 4),
        TableKey::Ip => (IPV4, 4),
        TableKey::Ipv6 => (IPV6, 16),
        TableKey::String(most) => (STRING, u64::from(most) + 1),
        TableKey::Binary(length) => (BINARY, length.into()),
    }
}

impl Definition {
    /// Reads a definition.
    ///
    /// # Errors
    /// Fails if it does not say what it must, or more than any table can hold.
    pub fn read(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = &mut bytes;
        let number = number::take(bytes)?;
        let length = number::take(bytes)?;
        let name = if length <= LONGEST_NAME { piece(bytes, length)? } else { return Err(Malformed::TooLong) };
        let name = String::from_utf8_lossy(name).into_owned();
        let (key_type, key_length) = (number::take(bytes)?, number::take(bytes)?);
        if key_length > LONGEST as u64 {
            return Err(Malformed::TooLong);
        }
        let (held, expire) = (number::take(bytes)?, number::take(bytes)?);
        let mut items: Vec<Item> = (0..64)
            .filter(|bit| held >> bit & 1 == 1)
            .map_while(|bit| ORDER.get(bit))
            .map(|kind| Item { kind: *kind, count: 1, period: 0 })
            .collect();
        // Old versions end here; newer ones go on with what this one does not know.
        while !bytes.is_empty() {
            let Some(kind) = usize::try_from(number::take(bytes)?).ok().and_then(|kind| ORDER.get(kind)) else { break };
            let count = if kind.is_array() { number::take(bytes)? } else { 1 };
            let period = if kind.is_rate() { number::take(bytes)? } else { 0 };
            let Some(item) = items.iter_mut().find(|item| item.kind == *kind) else { break };
            item.count = u8::try_from(count).ok().filter(|count| u64::from(*count) <= MOST_ELEMENTS).ok_or(Malformed::TooLong)?;
            item.period = u32::try_from(period).unwrap_or(u32::MAX);
        }
        Ok(Self { number, name, key_type, key_length, expire, items })
    }

    /// Writes the definition.
    pub fn write(&self, out: &mut Vec<u8>) {
        number::put(self.number, out);
        number::put(self.name.len() as u64, out);
        out.extend(self.name.bytes());
        number::put(self.key_type, out);
        number::put(self.key_length, out);
        number::put(self.held(), out);
        number::put(self.expire, out);
        for item in self.items.iter().filter(|item| item.kind.is_array() || item.kind.is_rate()) {
            number::put(item.bit(), out);
            if item.kind.is_array() {
                number::put(item.count.into(), out);
            }
            if item.kind.is_rate() {
                number::put(item.period.into(), out);
            }
        }
    }

    /// Returns what entries hold, a bit for each kind.
    pub fn held(&self) -> u64 {
        self.items.iter().map(|item| 1 << item.bit()).sum()
    }

    /// Reads an entry of the table.
    ///
    /// # Errors
    /// Fails if it is cut off.
    pub fn entry<'a>(&self, mut bytes: &'a [u8]) -> Result<Entry<'a>, Malformed> {
        let bytes = &mut bytes;
        let length = if self.key_type == STRING { number::take(bytes)? } else { self.key_length };
        let mut entry = Entry { key: piece(bytes, length)?, values: Vec::with_capacity(self.items.len()), server: None };
        for item in &self.items {
            let kind = item.kind;
            if kind == StoredKind::ServerKey {
                entry.server = server(bytes)?;
                continue;
            }
            for index in 0..item.count {
                let raw = if kind.is_rate() { rate(bytes)? } else { Raw::Number(number::take(bytes)?) };
                entry.values.push((kind, index, raw));
            }
        }
        Ok(entry)
    }
}

impl Item {
    fn bit(&self) -> u64 {
        ORDER.iter().position(|kind| *kind == self.kind).unwrap_or_default() as u64
    }
}

/// Writes the key of an entry.
pub fn put_key(key: TableKey, words: &[u32], out: &mut Vec<u8>) {
    let start = out.len();
    let bytes = words.iter().flat_map(|word| word.to_be_bytes());
    match key {
        TableKey::Ip | TableKey::Ipv6 | TableKey::Integer => out.extend(bytes),
        TableKey::Binary(length) => {
            out.extend(bytes);
            out.truncate(start + usize::try_from(length).unwrap_or(usize::MAX));
        }
        TableKey::String(_) => {
            let length = bytes.clone().take_while(|byte| *byte != 0).count();
            number::put(length as u64, out);
            out.extend(bytes.take(length));
        }
    }
}

/// Writes a value of an entry.
pub fn put_value(raw: Raw, out: &mut Vec<u8>) {
    match raw {
        Raw::Number(value) => number::put(value, out),
        Raw::Rate { since, current, before } => [since, current, before].into_iter().for_each(|part| number::put(part.into(), out)),
    }
}

/// Writes a server, which is called by its name every time: then nothing is lost with a connection, and of 128 numbers each will do.
pub fn put_server(name: Option<&str>, out: &mut Vec<u8>) {
    let Some(name) = name else { return number::put(0, out) };
    let mut inner = Vec::with_capacity(name.len() + 4);
    number::put(1, &mut inner);
    number::put(name.len() as u64, &mut inner);
    inner.extend(name.bytes());
    number::put(inner.len() as u64, out);
    out.extend(inner);
}

fn rate(bytes: &mut &[u8]) -> Result<Raw, Malformed> {
    let mut part = || Ok(u32::try_from(number::take(bytes)?).unwrap_or(u32::MAX));
    Ok(Raw::Rate { since: part()?, current: part()?, before: part()? })
}

/// Reads a server: how much follows, its number, and its name if that is said; nothing where there is none.
fn server<'a>(bytes: &mut &'a [u8]) -> Result<Option<NamedServer<'a>>, Malformed> {
    let length = number::take(bytes)?;
    let mut inner = piece(bytes, length)?;
    if inner.is_empty() {
        return Ok(None);
    }
    let number = number::take(&mut inner)?;
    if inner.is_empty() {
        return Ok(Some(NamedServer { number, name: None }));
    }
    let length = number::take(&mut inner)?;
    Ok(Some(NamedServer { number, name: Some(piece(&mut inner, length)?) }))
}

fn piece<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], Malformed> {
    let (piece, rest) = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length)).ok_or(Malformed::CutOff)?;
    *bytes = rest;
    Ok(piece)
}
