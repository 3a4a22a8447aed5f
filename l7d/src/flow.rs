//! How many bytes of an exchange or a tunnel have gone one way, and who is told while they go: entries of tables, and statistics if these are
//! to be up to date.
//!
//! A short response costs nothing here: it is counted with its exchange, when that ends. What streams is counted for everything that rules
//! track as it goes, so that a limit by bytes holds for who has only one download that takes an hour.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::stats::{Counter, Meter};
use crate::stick::{self, Event, Tracked};

/// Bytes that have gone one way.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    count: Cell<u64>,
    /// How many of them were told.
    told: Cell<u64>,
    /// When that was, in milliseconds.
    at: Cell<u32>,
    audience: OnceCell<Audience>,
}

/// Who is told of bytes, and as what.
#[derive(Debug)]
pub(crate) struct Audience {
    /// What so many bytes are to the client.
    pub(crate) event: fn(u64) -> Event,
    /// The entries.
    pub(crate) entries: Box<[Arc<Tracked>]>,
    /// What counts them besides.
    pub(crate) meters: Option<Meters>,
}

/// The numbers of everything that an exchange belongs to.
pub(crate) type Meters = Rc<[Arc<Meter>]>;

impl Flow {
    /// Returns how many bytes have gone.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Returns how many bytes have been counted for entries already.
    pub(crate) fn told(&self) -> u64 {
        self.told.get()
    }

    /// Lets those know from now on who are to; the first audience stays.
    pub(crate) fn watch(&self, audience: Option<Audience>) {
        if let Some(audience) = audience
            && self.audience.set(audience).is_ok()
        {
            self.at.set(stick::now());
        }
    }

    /// Adds bytes that have gone.
    pub(crate) fn add(&self, count: u64) {
        self.count.set(self.count.get() + count);
        if let Some(audience) = self.audience.get() {
            self.tell(audience);
        }
    }

    /// Takes over what has gone the same way before, or beside it.
    pub(crate) fn join(&self, other: &Self) {
        self.count.set(self.count.get() + other.count.get());
        self.told.set(self.told.get() + other.told.get());
    }

    /// Tells of what has gone since the last time, unless that is little and not long ago.
    fn tell(&self, audience: &Audience) {
        let (count, now) = (self.count.get() - self.told.get(), stick::now());
        if count == 0 || (count < MUCH && now.wrapping_sub(self.at.get()) < LONG) {
            return;
        }
        self.told.set(self.count.get());
        self.at.set(now);
        let event = (audience.event)(count);
        audience.entries.iter().for_each(|tracked| tracked.update(now, |record| record.count(event)));
        let counter = if matches!(event, Event::BytesIn(_)) { Counter::BytesIn } else { Counter::BytesOut };
        audience.meters.iter().flat_map(|meters| meters.iter()).for_each(|meter| meter.add(counter, count));
    }
}

/// So many bytes are told at once.
const MUCH: u64 = 256 * 1024;
/// In milliseconds: after so long few bytes are told, too.
const LONG: u32 = 250;
