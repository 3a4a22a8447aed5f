//! Where in the words of an entry everything lies that it holds.

use control::config::{Located, Stored, StoredKind};

use super::marks::Marks;
use super::rate;
use super::share::Raw;

/// What the entries of a table hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    items: Vec<Item>,
    words: usize,
}

/// One thing an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: StoredKind,
    /// How many of it there are.
    pub(super) count: u8,
    /// Of a rate, in milliseconds.
    period: u32,
    /// The first word.
    offset: usize,
}

/// What the entries of a table learn that is not among what they are to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learns {
    /// Which servers their keys are tied to.
    Servers,
    /// Nothing.
    Nothing,
}

/// How a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Number,
    /// Two words, the higher one first.
    Long,
    Rate,
}

/// The order in which things are kept and shown, whatever the order of the configuration: HAProxy's, whose peers know them by their places in it.
pub const ORDER: [StoredKind; 27] = [
    StoredKind::ServerId,
    StoredKind::Gpt0,
    StoredKind::Gpc0,
    StoredKind::Gpc0Rate,
    StoredKind::ConnCnt,
    StoredKind::ConnRate,
    StoredKind::ConnCur,
    StoredKind::SessCnt,
    StoredKind::SessRate,
    StoredKind::HttpReqCnt,
    StoredKind::HttpReqRate,
    StoredKind::HttpErrCnt,
    StoredKind::HttpErrRate,
    StoredKind::BytesInCnt,
    StoredKind::BytesInRate,
    StoredKind::BytesOutCnt,
    StoredKind::BytesOutRate,
    StoredKind::Gpc1,
    StoredKind::Gpc1Rate,
    StoredKind::ServerKey,
    StoredKind::HttpFailCnt,
    StoredKind::HttpFailRate,
    StoredKind::Gpt,
    StoredKind::Gpc,
    StoredKind::GpcRate,
    StoredKind::GlitchCnt,
    StoredKind::GlitchRate,
];

/// The words of an entry, and how to read them.
pub(crate) struct Record<'a> {
    pub(super) layout: &'a Layout,
    pub(super) words: &'a mut [u32],
    pub(super) now: u32,
    /// Where the entry is kept.
    pub(super) entry: u32,
    pub(super) marks: &'a mut Marks,
}

/// Something that happens to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A connection came in.
    Connection,
    /// A connection is ready to be served.
    Session,
    /// A request came.
    Request,
    /// A request was the client's mistake.
    Error,
    /// A server failed a request.
    Failure,
    /// Bytes came.
    BytesIn(u64),
    /// Bytes went.
    BytesOut(u64),
    /// What came was none of the protocol.
    Glitch,
    /// A rule counts something of its own.
    Counted(u8),
    /// A rule counts something of its own in an array.
    Element(u8),
}

impl Shape {
    fn of(kind: StoredKind) -> Self {
        if matches!(kind, StoredKind::ServerId | StoredKind::BytesInCnt | StoredKind::BytesOutCnt) {
            return Self::Long;
        }
        if kind.is_rate() { Self::Rate } else { Self::Number }
    }

    fn words(self) -> usize {
        match self {
            Self::Number => 1,
            Self::Long => 2,
            Self::Rate => rate::WORDS,
        }
    }
}

impl Layout {
    pub(super) fn new(store: &[Located<Stored>], learns: Learns) -> Self {
        let mut layout = Self { items: Vec::new(), words: 0 };
        for kind in ORDER {
            let stored = store.iter().find(|stored| stored.kind() == kind);
            let is_learnt = learns == Learns::Servers && matches!(kind, StoredKind::ServerId | StoredKind::ServerKey);
            if stored.is_none() && !is_learnt {
                continue;
            }
            let period = stored.and_then(|stored| stored.period());
            let period = period.map_or(0, |period| u32::try_from(period.as_millis()).unwrap_or(u32::MAX >> 2).min(u32::MAX >> 2));
            let count = stored.map_or(1, |stored| stored.count());
            layout.items.push(Item { kind, count, period, offset: layout.words });
            layout.words += Shape::of(kind).words() * usize::from(count);
        }
        layout
    }

    /// Returns that of entries that hold how many connections are open, and nothing else.
    pub(super) fn of_open() -> Self {
        let kind = StoredKind::ConnCur;
        Self { items: vec![Item { kind, count: 1, period: 0, offset: 0 }], words: Shape::of(kind).words() }
    }

    /// Returns how many words an entry takes.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Returns everything that is held.
    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Finds a kind, also as an element of the array that took its place in newer tables.
    fn find(&self, kind: StoredKind, index: u8) -> Option<(&Item, u8)> {
        let of =
            |kind: StoredKind, index: u8| self.items.iter().find(|item| item.kind == kind && index < item.count).map(|item| (item, index));
        let arrays = [
            (StoredKind::Gpc0, StoredKind::Gpc, 0),
            (StoredKind::Gpc1, StoredKind::Gpc, 1),
            (StoredKind::Gpc0Rate, StoredKind::GpcRate, 0),
            (StoredKind::Gpc1Rate, StoredKind::GpcRate, 1),
            (StoredKind::Gpt0, StoredKind::Gpt, 0),
        ];
        of(kind, index).or_else(|| arrays.iter().find(|(old, ..)| *old == kind).and_then(|(_, array, index)| of(*array, *index)))
    }
}

impl Item {
    /// Returns the period of a rate, in milliseconds.
    pub(super) fn period(&self) -> Option<u32> {
        Some(self.period).filter(|_| self.kind.is_rate())
    }

    /// Returns a value as it is kept.
    pub(super) fn raw(&self, words: &[u32], index: u8, now: u32) -> Raw {
        let words = &words[self.range(index)];
        match Shape::of(self.kind) {
            Shape::Number => Raw::Number(words[0].into()),
            Shape::Long => Raw::Number(u64::from(words[0]) << 32 | u64::from(words[1])),
            Shape::Rate => Raw::Rate { since: now.wrapping_sub(words[0]), current: words[1], before: words[2] },
        }
    }

    fn range(&self, index: u8) -> std::ops::Range<usize> {
        let width = Shape::of(self.kind).words();
        let start = self.offset + width * usize::from(index);
        start..start + width
    }
}

impl Record<'_> {
    /// Returns a value; none where the table does not hold it.
    pub(crate) fn value(&self, kind: StoredKind, index: u8) -> Option<u64> {
        let (item, index) = self.layout.find(kind, index)?;
        let words = &self.words[item.range(index)];
        Some(match Shape::of(item.kind) {
            Shape::Number => words[0].into(),
            Shape::Long => u64::from(words[0]) << 32 | u64::from(words[1]),
            Shape::Rate => rate::read(words, item.period, self.now).into(),
        })
    }

    /// Adds to a value, or counts so many events of a rate; does nothing where the table does not hold it.
    pub(crate) fn add(&mut self, kind: StoredKind, index: u8, count: u64) {
        let Some((item, index)) = self.layout.find(kind, index) else { return };
        let words = &mut self.words[item.range(index)];
        let short = u32::try_from(count).unwrap_or(u32::MAX);
        match Shape::of(item.kind) {
            Shape::Number => words[0] = words[0].wrapping_add(short),
            Shape::Long => put_long(words, (u64::from(words[0]) << 32 | u64::from(words[1])).wrapping_add(count)),
            Shape::Rate => rate::add(words, item.period, short, self.now),
        }
    }

    /// Puts a value in place of another, whatever this process may still be taught of it; tells whether the table holds it.
    pub(crate) fn set(&mut self, kind: StoredKind, index: u8, value: u64) -> bool {
        self.mark(kind, index);
        self.write(kind, index, value)
    }

    /// Notes that a value is newer than what this process is yet to be taught.
    pub(super) fn mark(&mut self, kind: StoredKind, index: u8) {
        if let Some((item, index)) = self.layout.find(kind, index) {
            self.marks.add(self.entry, item.range(index).start);
        }
    }

    fn write(&mut self, kind: StoredKind, index: u8, value: u64) -> bool {
        let Some((item, index)) = self.layout.find(kind, index) else { return false };
        let words = &mut self.words[item.range(index)];
        let short = u32::try_from(value).unwrap_or(u32::MAX);
        match Shape::of(item.kind) {
            Shape::Number => words[0] = short,
            Shape::Long => put_long(words, value),
            Shape::Rate => rate::set(words, short, self.now),
        }
        true
    }

    /// Puts a value as it is kept in place of another; does nothing where the table does not hold it.
    pub(super) fn put(&mut self, kind: StoredKind, index: u8, raw: Raw) {
        match raw {
            Raw::Number(value) => drop(self.write(kind, index, value)),
            Raw::Rate { since, current, before } => {
                let Some((item, index)) = self.layout.find(kind, index).filter(|(item, _)| Shape::of(item.kind) == Shape::Rate) else {
                    return;
                };
                self.words[item.range(index)].copy_from_slice(&[self.now.wrapping_sub(since), current, before]);
            }
        }
    }

    /// Puts a value as it is kept beside one that is newer: what was set meanwhile stays, of what is counted the larger one.
    pub(super) fn join(&mut self, kind: StoredKind, index: u8, raw: Raw) {
        let found = self.layout.find(kind, index);
        if found.is_some_and(|(item, index)| self.marks.has(self.entry, item.range(index).start)) {
            return;
        }
        let own = found.map(|(item, index)| item.raw(self.words, index, self.now));
        let stays = match (own, raw) {
            (Some(Raw::Number(own)), Raw::Number(other)) => own >= other || own > 0 && !is_counted(kind),
            (Some(Raw::Rate { current, before, .. }), Raw::Rate { current: other, before: earlier, .. }) => {
                current.saturating_add(before) >= other.saturating_add(earlier)
            }
            (None | Some(Raw::Number(_) | Raw::Rate { .. }), _) => false,
        };
        if !stays {
            self.put(kind, index, raw);
        }
    }

    /// Takes one away from the connections that are open.
    pub(super) fn end_connection(&mut self) {
        let open = self.value(StoredKind::ConnCur, 0).unwrap_or(0);
        self.write(StoredKind::ConnCur, 0, open.saturating_sub(1));
    }

    /// Counts an event wherever it counts.
    pub(crate) fn count(&mut self, event: Event) {
        let (total, rate, index, count) = match event {
            Event::Connection => (StoredKind::ConnCnt, StoredKind::ConnRate, 0, 1),
            Event::Session => (StoredKind::SessCnt, StoredKind::SessRate, 0, 1),
            Event::Request => (StoredKind::HttpReqCnt, StoredKind::HttpReqRate, 0, 1),
            Event::Error => (StoredKind::HttpErrCnt, StoredKind::HttpErrRate, 0, 1),
            Event::Failure => (StoredKind::HttpFailCnt, StoredKind::HttpFailRate, 0, 1),
            Event::Glitch => (StoredKind::GlitchCnt, StoredKind::GlitchRate, 0, 1),
            Event::BytesIn(count) => (StoredKind::BytesInCnt, StoredKind::BytesInRate, 0, count),
            Event::BytesOut(count) => (StoredKind::BytesOutCnt, StoredKind::BytesOutRate, 0, count),
            Event::Counted(0) => (StoredKind::Gpc0, StoredKind::Gpc0Rate, 0, 1),
            Event::Counted(1) => (StoredKind::Gpc1, StoredKind::Gpc1Rate, 0, 1),
            Event::Counted(index) | Event::Element(index) => (StoredKind::Gpc, StoredKind::GpcRate, index, 1),
        };
        self.add(total, index, count);
        self.add(rate, index, count);
    }
}

/// Tells whether a value only grows as things happen, and is not set.
pub(super) fn is_counted(kind: StoredKind) -> bool {
    !matches!(kind, StoredKind::ServerId | StoredKind::ServerKey | StoredKind::Gpt | StoredKind::Gpt0)
}

fn put_long(words: &mut [u32], value: u64) {
    let half = |part: u64| u32::try_from(part & 0xffff_ffff).expect("half of it");
    (words[0], words[1]) = (half(value >> 32), half(value));
}
