//! What a peer tells: entries of tables that are shared, and of others, which are left aside.

use std::collections::HashMap;

use control::config::{StoredKind, TableKey};
use tracing::warn;

use super::codec::table::{Definition, Entry, NamedServer, Raw, Update, key_type};
use super::codec::{Malformed, Message};
use super::group::{Aspect, Shared};
use super::member::Kinship;
use crate::stick::{Key, Learnt, Weight, now};

/// What one peer tells.
#[derive(Debug)]
pub(crate) struct Learner<'g> {
    tables: &'g [Shared],
    /// Who tells.
    peer: &'g str,
    /// By the numbers the peer gives them.
    known: HashMap<u64, Known<'g>>,
    /// Which the updates are about.
    current: Option<u64>,
    kinship: Kinship,
    /// What weight it has: whoever is taught takes it for older than what happens meanwhile.
    pub(super) weight: Weight,
    /// How long ago all of it was so, in milliseconds.
    age: u32,
    servers: Servers,
}

/// What the servers are called that a peer has named.
#[derive(Debug, Default)]
struct Servers(Vec<Option<Box<str>>>);

impl Servers {
    /// Returns the name of a server, which is said once and then called by its number.
    fn hear(&mut self, server: NamedServer<'_>) -> Option<&str> {
        let place = usize::try_from(server.number.checked_sub(1)?).ok().filter(|place| *place < MOST_SERVERS)?;
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        if let Some(name) = server.name {
            self.0[place] = str::from_utf8(name).ok().map(Box::from);
        }
        self.0[place].as_deref()
    }
}

#[derive(Debug)]
struct Known<'g> {
    definition: Definition,
    /// None where it is not shared.
    shared: Option<&'g Shared>,
    /// The number of the last update.
    last: u32,
    is_acknowledged: bool,
}

/// What a peer has told of a table of ours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// What the peer calls the table.
    pub(super) number: u64,
    /// The number of its last update.
    pub(super) last: u32,
    /// What it says that entries hold, a bit for each kind.
    pub(super) held: u64,
}

/// As many tables as a peer may define.
const MOST_TABLES: usize = 4096;
/// As many servers as HAProxy calls by numbers.
const MOST_SERVERS: usize = 128;

impl<'g> Learner<'g> {
    pub(super) fn new(tables: &'g [Shared], peer: &'g str, kinship: Kinship) -> Self {
        // The process before this one only ends what it has begun.
        let weight = if kinship == Kinship::Local { Weight::Memory } else { Weight::News };
        Self { kinship, weight, ..Self::of_past(tables, peer, 0) }
    }

    /// Begins to learn what was so some milliseconds ago.
    pub(crate) fn of_past(tables: &'g [Shared], peer: &'g str, age: u32) -> Self {
        let (kinship, weight) = (Kinship::Remote, Weight::News);
        Self { tables, peer, kinship, weight, known: HashMap::new(), current: None, age, servers: Servers::default() }
    }

    /// Learns what a table is like.
    ///
    /// # Errors
    /// Fails if there are more than can be.
    pub(crate) fn define(&mut self, definition: Definition) -> Result<(), Malformed> {
        self.current = Some(definition.number);
        if let Some(known) = self.known.get_mut(&definition.number).filter(|known| known.definition.name == definition.name) {
            if known.definition != definition {
                known.definition = definition;
            }
            return Ok(());
        }
        if self.known.len() >= MOST_TABLES {
            return Err(Malformed::TooLong);
        }
        let named = self.tables.iter().find(|shared| shared.name == definition.name);
        let shared = named.filter(|shared| key_type(shared.table.key()) == (definition.key_type, definition.key_length));
        if let (Some(named), None) = (named, shared) {
            warn!("peer {} has other keys in table {}, which is not shared with it", self.peer, named.name);
        }
        self.known.insert(definition.number, Known { definition, shared, last: 0, is_acknowledged: true });
        Ok(())
    }

    /// Notes which table the updates are about.
    pub(super) fn switch(&mut self, number: u64) {
        self.current = Some(number);
    }

    /// Learns an entry.
    ///
    /// # Errors
    /// Fails if it is cut off, or of a table that is not defined.
    pub(crate) fn update(&mut self, update: &Update<'_>) -> Result<(), Malformed> {
        let known = self.current.and_then(|current| self.known.get_mut(&current)).ok_or(Malformed::NoSuchMessage)?;
        known.last = update.number.unwrap_or_else(|| known.last.wrapping_add(1));
        let Some(shared) = known.shared else { return Ok(()) };
        known.is_acknowledged = false;
        let Entry { key, mut values, server } = known.definition.entry(update.entry)?;
        if let Some(name) = server.and_then(|server| self.servers.hear(server)) {
            values.push((StoredKind::ServerKey, 0, Raw::Number(shared.table.number_of_server(name))));
        }
        let left = update.left.map(|left| left.saturating_sub(self.age));
        if self.age > 0 {
            if left == Some(0) {
                return Ok(());
            }
            values.iter_mut().for_each(|(.., raw)| raw.grow_older(self.age));
        }
        let Some(key) = key_of(shared.table.key(), key) else { return Ok(()) };
        if shared.aspect == Aspect::Open {
            let open = values.iter().find(|(kind, ..)| *kind == StoredKind::ConnCur);
            if let Some((.., Raw::Number(count))) = open {
                shared.table.hear_open(self.peer, &key, *count, now());
                if self.kinship == Kinship::Local {
                    // To others the two processes are one.
                    shared.table.restate_open(&key, now());
                }
            }
        } else {
            // A full table that keeps what it has learns no more.
            shared.table.learn(&Learnt { key, weight: self.weight, left, values }, now());
        }
        Ok(())
    }

    /// Returns what was told of each table of ours.
    pub(super) fn told(&self) -> Vec<Told> {
        let mut told = vec![Told::default(); self.tables.len()];
        for (number, known) in &self.known {
            let shared = known.shared.and_then(|shared| self.tables.iter().zip(&mut told).find(|(table, _)| std::ptr::eq(*table, shared)));
            if let Some((_, told)) = shared {
                *told = Told { number: *number, last: known.last, held: known.definition.held() };
            }
        }
        told
    }

    /// Acknowledges what was learnt since the last time.
    pub(super) fn acknowledge(&mut self, out: &mut Vec<u8>) {
        for (number, known) in self.known.iter_mut().filter(|(_, known)| !known.is_acknowledged) {
            known.is_acknowledged = true;
            Message::Acknowledge(*number, known.last).write(out);
        }
    }
}

/// Makes a key of how it travels; none where it cannot be one.
fn key_of(kind: TableKey, bytes: &[u8]) -> Option<Key> {
    match kind {
        TableKey::Ip | TableKey::Integer => bytes.try_into().ok().map(|bytes| Key::of_number(u32::from_be_bytes(bytes))),
        TableKey::Ipv6 => (bytes.len() == 16).then(|| Key::of_bytes(bytes, 16)),
        TableKey::String(most) => {
            let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
            (end > 0).then(|| Key::of_bytes(&bytes[..end], most))
        }
        TableKey::Binary(length) => Some(Key::of_bytes(bytes, length)),
    }
}
