//! What a peer is told: what has changed here since it was told last, or, if it asks, everything.
//!
//! Each table is followed part by part, by how many changes the part has had. The peer acknowledges updates by their number, so that
//! after a cut it is told again only what may not have arrived.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::sync::Arc;

use control::config::StoredKind;
use twox_hash::XxHash64;

use super::codec::Message;
use super::codec::table::{Definition, Item, Raw, Update, key_type, put_key, put_server, put_value};
use super::group::{Aspect, Shared};
use crate::stick::{By, Changes, Content, Table, now};

/// How far a peer has been taught a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// The number of the last update that was said.
    pub(super) pushed: u32,
    /// The number of the last one that has arrived.
    pub(super) acknowledged: u32,
    /// How many changes of each part have arrived.
    marks: Vec<u64>,
}

/// What is said to one peer.
#[derive(Debug)]
pub(super) struct Teacher<'g> {
    lessons: Vec<Lesson<'g>>,
    /// Which table was defined last.
    defined: Option<usize>,
    /// Which table is next.
    turn: usize,
    stage: Stage,
    manner: Manner,
    audience: Audience,
    licence: Licence,
    /// An entry while it is written.
    entry: Vec<u8>,
}

/// What is being said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What changes.
    Following,
    /// Everything, to one who has asked for it.
    Teaching,
}

/// Whether the peer knows updates that say how long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It does.
    Timed,
    /// It speaks an older version.
    Plain,
}

/// Who is taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// This process in its next life, which knows everything in the end.
    Successor,
    /// The process before this one, which speaks for itself alone, and is not told what is open here.
    Predecessor,
    /// Other processes, which are not told of what is only received, and perhaps of a part of the keys alone.
    Others(Option<Portion>),
}

/// What may be said for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Licence {
    /// Everything.
    Whole,
    /// What is asked for, but not what happens here, which is only a part of what it should be until this process was taught itself.
    Lessons,
}

/// A part of all keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portion {
    /// Which part it is, from 1.
    pub(super) number: u32,
    /// How many parts there are.
    pub(super) of: u32,
}

impl Portion {
    fn has(self, shared: &Shared, key: &[u32]) -> bool {
        let mut hash = XxHash64::with_seed(XxHash64::oneshot(0, shared.name.as_bytes()));
        key.iter().for_each(|word| hash.write_u32(word.to_be()));
        hash.finish() % u64::from(self.of.max(1)) + 1 == u64::from(self.number)
    }
}

/// One table as a peer is taught it.
#[derive(Debug)]
struct Lesson<'g> {
    shared: &'g Shared,
    progress: Progress,
    /// How many changes of each part have been said.
    said: Vec<u64>,
    /// Which part is next.
    part: usize,
    /// The part is looked through from one end to the other.
    scan: Option<Scan>,
    /// What will have arrived once an update has.
    pending: VecDeque<(u32, Vec<u64>)>,
}

#[derive(Debug, Clone, Copy)]
struct Scan {
    place: u32,
    /// None for everything.
    since: Option<(u64, By)>,
    /// How many changes the part had when it began.
    changes: u64,
}

impl<'g> Teacher<'g> {
    /// Goes on where the connection before this one ended.
    pub(super) fn new(tables: &'g [Shared], before: &[Progress], (manner, audience): (Manner, Audience)) -> Self {
        let lesson = |(index, shared): (usize, &'g Shared)| {
            // Of what is open now nothing is known that was said over another connection.
            let before = before.get(index).filter(|_| shared.aspect == Aspect::Whole);
            let mut progress = before.cloned().unwrap_or_default();
            progress.marks.resize(shared.table.parts(), 0);
            let said = progress.marks.clone();
            Lesson { shared, progress, said, part: 0, scan: None, pending: VecDeque::new() }
        };
        let lessons = tables.iter().enumerate().map(lesson).collect();
        let licence = Licence::Whole;
        Self { lessons, defined: None, turn: 0, stage: Stage::Following, manner, audience, licence, entry: Vec::new() }
    }

    /// Notes what may be said from now on.
    pub(super) fn allow(&mut self, licence: Licence) {
        self.licence = licence;
    }

    /// Begins to say everything.
    pub(super) fn begin(&mut self) {
        (self.stage, self.turn) = (Stage::Teaching, 0);
        for lesson in &mut self.lessons {
            (lesson.part, lesson.scan) = (0, None);
        }
    }

    /// Notes that updates have arrived.
    pub(super) fn acknowledge(&mut self, table: u64, number: u32) {
        let Some(lesson) = self.lessons.iter_mut().find(|lesson| lesson.shared.number == table) else { return };
        lesson.progress.acknowledged = number;
        while lesson.pending.front().is_some_and(|(last, _)| number.wrapping_sub(*last) < u32::MAX / 2) {
            lesson.progress.marks = lesson.pending.pop_front().map(|(_, marks)| marks).unwrap_or_default();
        }
    }

    /// Returns how far each table has been taught.
    pub(super) fn progress(&self) -> Vec<Progress> {
        self.lessons.iter().map(|lesson| lesson.progress.clone()).collect()
    }

    /// Says what there is to say, up to about so many bytes; tells whether everything has just been said to one who asked for it.
    pub(super) fn say(&mut self, most: usize, out: &mut Vec<u8>) -> bool {
        for _ in 0..self.lessons.len() {
            let index = self.turn;
            while !self.step(index, out) {
                if out.len() >= most {
                    return false;
                }
            }
            self.turn += 1;
            if self.turn == self.lessons.len() {
                self.turn = 0;
                if std::mem::replace(&mut self.stage, Stage::Following) == Stage::Teaching {
                    return true;
                }
            }
            if out.len() >= most {
                return false;
            }
        }
        // Without tables there is nothing to be taught.
        self.lessons.is_empty() && std::mem::replace(&mut self.stage, Stage::Following) == Stage::Teaching
    }

    /// Says something of one table; tells whether that is all for now.
    fn step(&mut self, index: usize, out: &mut Vec<u8>) -> bool {
        let Self { lessons, defined, stage, manner, audience, licence, entry, .. } = self;
        let Some(lesson) = lessons.get_mut(index) else { return true };
        let (table, part) = (&*lesson.shared.table, lesson.part);
        let is_silent = match lesson.shared.aspect {
            Aspect::Whole if (*licence, *stage) == (Licence::Lessons, Stage::Following) => true,
            Aspect::Whole => matches!(audience, Audience::Others(_)) && table.recv_only(),
            // It is no knowledge that goes from one to the other.
            Aspect::Open => *audience == Audience::Predecessor || table.recv_only() || *stage == Stage::Teaching,
        };
        if part >= table.parts() || is_silent {
            lesson.end_round();
            return true;
        }
        let mut voice = Voice {
            shared: lesson.shared,
            pushed: &mut lesson.progress.pushed,
            defined,
            index,
            manner: *manner,
            audience: *audience,
            entry,
            out,
        };
        let by = if lesson.shared.aspect == Aspect::Open { By::Anybody } else { By::Us };
        let scan = match (lesson.scan, *stage) {
            (Some(scan), _) => scan,
            (None, Stage::Teaching) => Scan { place: 0, since: None, changes: table.changes(part) },
            (None, Stage::Following) => match table.take_changes(part, (lesson.said[part], by), now(), |content| voice.say(&content)) {
                Changes::All(changes) => {
                    (lesson.said[part], lesson.part) = (changes, part + 1);
                    return false;
                }
                Changes::Many(changes) => Scan { place: 0, since: Some((lesson.said[part], by)), changes },
            },
        };
        let mut place = scan.place;
        if table.scan(part, &mut place, scan.since, now(), |content| voice.say(&content)) {
            lesson.scan = Some(Scan { place, ..scan });
        } else {
            (lesson.said[part], lesson.part, lesson.scan) = (scan.changes, part + 1, None);
        }
        false
    }
}

impl Lesson<'_> {
    /// Notes what the last update of a round stands for.
    fn end_round(&mut self) {
        self.part = 0;
        if self.progress.pushed == self.progress.acknowledged {
            // Nothing is on its way, so nothing can be lost.
            self.progress.marks.clone_from(&self.said);
            return;
        }
        if self.pending.back().is_some_and(|(last, _)| *last == self.progress.pushed) {
            return;
        }
        if self.pending.len() >= MOST_PENDING {
            self.pending.pop_back();
        }
        self.pending.push_back((self.progress.pushed, self.said.clone()));
    }
}

/// Writes entries of one table.
struct Voice<'v> {
    shared: &'v Shared,
    pushed: &'v mut u32,
    defined: &'v mut Option<usize>,
    index: usize,
    manner: Manner,
    audience: Audience,
    entry: &'v mut Vec<u8>,
    out: &'v mut Vec<u8>,
}

impl Voice<'_> {
    fn say(&mut self, content: &Content<'_>) {
        if let Audience::Others(Some(portion)) = self.audience
            && self.shared.aspect == Aspect::Whole
            && !portion.has(self.shared, content.key())
        {
            return;
        }
        let is_first = *self.defined != Some(self.index);
        if is_first {
            *self.defined = Some(self.index);
            Message::Define(self.shared.definition()).write(self.out);
        }
        *self.pushed = self.pushed.wrapping_add(1);
        // One that has just been used lives as long as the peer says.
        let is_fresh = |left: &u32| left.saturating_add(FRESH) >= self.shared.table.lifetime();
        let left = content.left.filter(|left| self.manner == Manner::Timed && !is_fresh(left));
        let number = is_first.then_some(*self.pushed);
        put_update(self.shared, content, (number, left), self.entry, self.out);
    }
}

/// Writes an entry that follows the definition of its table; `entry` is room to do so.
pub(crate) fn put_entry(shared: &Shared, content: &Content<'_>, entry: &mut Vec<u8>, out: &mut Vec<u8>) {
    put_update(shared, content, (None, content.left), entry, out);
}

fn put_update(shared: &Shared, content: &Content<'_>, (number, left): (Option<u32>, Option<u32>), entry: &mut Vec<u8>, out: &mut Vec<u8>) {
    entry.clear();
    put_key(shared.table.key(), content.key(), entry);
    let before = shared.open_before(content);
    for (kind, _, raw) in content.values().filter(|(kind, ..)| shared.tells(*kind)) {
        match raw {
            Raw::Number(number) if kind == StoredKind::ServerKey => put_server(shared.table.server_name(number), entry),
            Raw::Number(number) => put_value(Raw::Number(number.saturating_add(before)), entry),
            Raw::Rate { .. } => put_value(raw, entry),
        }
    }
    Message::Update(Update { number, left, entry }).write(out);
}

impl Shared {
    /// Makes a table known under a number and a name.
    pub(crate) fn new(number: u64, name: &str, table: &Arc<Table>) -> Self {
        Self { number, name: name.to_owned(), table: Arc::clone(table), aspect: Aspect::Whole, local: String::new() }
    }

    /// Makes known how many connections of this process are open, under a name and a number of its own.
    pub(super) fn open(&self, tables: usize, local: &str) -> Self {
        let number = self.number + u64::try_from(tables).unwrap_or_default();
        let (name, table) = (format!("conn_cur@{}", self.name), Arc::clone(&self.table));
        Self { number, name, table, aspect: Aspect::Open, local: local.to_owned() }
    }

    /// Returns how many connections the process before this one has open, which is what both are called by.
    fn open_before(&self, content: &Content<'_>) -> u64 {
        match self.aspect {
            Aspect::Open => self.table.open_of(&self.local, content.key(), now()),
            Aspect::Whole => 0,
        }
    }

    fn tells(&self, kind: StoredKind) -> bool {
        self.aspect == Aspect::Whole || kind == StoredKind::ConnCur
    }

    /// Returns what updates of it hold.
    pub(crate) fn definition(&self) -> Definition {
        let table = &*self.table;
        let mut items: Vec<Item> = Vec::new();
        for (kind, _) in table.kinds().filter(|(kind, _)| self.tells(*kind)) {
            match items.last_mut().filter(|item| item.kind == kind) {
                Some(item) => item.count += 1,
                None => items.push(Item { kind, count: 1, period: table.period(kind).unwrap_or(0) }),
            }
        }
        let (key_type, key_length) = key_type(table.key());
        let (name, expire) = (self.name.clone(), table.lifetime().into());
        Definition { number: self.number, name, key_type, key_length, expire, items }
    }
}

/// How many rounds may wait for their acknowledgement before they are counted as one.
const MOST_PENDING: usize = 32;
/// In milliseconds: who was used so short a time ago was used just now.
const FRESH: u32 = 500;
