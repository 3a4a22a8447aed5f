//! When which name is asked for, and what is known of it. Pure: `now` is passed in, and questions and answers go through its owner's hands.
//!
//! A round of questions goes to all servers of a section at once, and the first good answer ends it. A round without one is followed
//! by one for the other family of addresses, then by as many more as `resolve_retries` says; only then the fault counts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::message::{Answer, Fault, Kind, Service};
use crate::config::{Hold, Lack, Resolvers};

/// What is to be found out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The section that is asked.
    pub(super) resolvers: String,
    /// The name, in lower case and without a dot at its end.
    pub(super) name: String,
    /// What is asked first; where there are no addresses of this family, those of the other one count.
    pub(super) kind: Kind,
}

/// A question that is to go to all servers of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) key: Key,
    /// Which round it is of; answers repeat it.
    pub(super) round: u64,
    /// What is asked.
    pub(super) kind: Kind,
}

/// What an answer does to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on, or was over before.
    Open,
    /// It is over, and what was known still holds.
    Same,
    /// It is over, and servers may have to move.
    News,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Knowledge<'e> {
    /// Nothing yet.
    Nothing,
    /// Neither records nor the hope for any.
    Lack(Lack),
    /// Its addresses.
    Addresses(Vec<IpAddr>),
    /// The machines of a service.
    Services(Vec<&'e Service>),
}

/// All names at once.
#[derive(Debug, Default)]
pub(super) struct Engine {
    lookups: HashMap<Key, Lookup>,
    rounds: u64,
}

#[derive(Debug)]
struct Lookup {
    phase: Phase,
    /// Whether it is asked for again and again.
    standing: bool,
    /// What the next round asks.
    kind: Kind,
    /// How many more rounds there may be before the fault counts; none before the first fault.
    left: Option<u32>,
    /// What the family that was asked first has brought.
    first_fault: Option<Fault>,
    known: Vec<Seen>,
    /// When it was answered last, and by whom.
    valid: Option<(Instant, String)>,
    /// What came of the last question.
    last: Option<Result<(), Fault>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until then there is nothing to do; nothing at all without a time.
    Resting(Option<Instant>),
    Asking {
        round: u64,
        /// How many servers have not answered.
        pending: usize,
        /// The worst of those that have.
        fault: Option<Fault>,
    },
}

/// A record, and when it was in an answer last.
#[derive(Debug)]
struct Seen {
    record: Record,
    at: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Record {
    Address(IpAddr),
    Service(Service),
}

impl Lookup {
    fn new(kind: Kind) -> Self {
        let phase = Phase::Resting(None);
        Self { phase, standing: false, kind, left: None, first_fault: None, known: Vec::new(), valid: None, last: None }
    }
}

impl Engine {
    /// Follows these names, and no others; what is new is due at once.
    pub(super) fn follow(&mut self, wanted: impl IntoIterator<Item = Key>, now: Instant) {
        self.lookups.values_mut().for_each(|lookup| lookup.standing = false);
        for key in wanted {
            let kind = key.kind;
            let lookup = self.lookups.entry(key).or_insert_with(|| Lookup::new(kind));
            lookup.standing = true;
            if lookup.phase == Phase::Resting(None) {
                lookup.phase = Phase::Resting(Some(now));
            }
        }
    }

    /// Has a name asked for once; false if there are too many such names.
    pub(super) fn ask_once(&mut self, key: &Key, now: Instant) -> bool {
        if !self.lookups.contains_key(key) && self.lookups.values().filter(|lookup| !lookup.standing).count() >= MOST_ONCE {
            return false;
        }
        let lookup = self.lookups.entry(key.clone()).or_insert_with(|| Lookup::new(key.kind));
        if matches!(lookup.phase, Phase::Resting(_)) {
            lookup.phase = Phase::Resting(Some(now));
        }
        true
    }

    /// Returns an address that was found so recently that it is not asked for again.
    pub(super) fn fresh(&self, key: &Key, section: &Resolvers, now: Instant) -> Option<IpAddr> {
        let lookup = self.lookups.get(key)?;
        let (at, _) = lookup.valid.as_ref().filter(|_| lookup.last == Some(Ok(())))?;
        let is_fresh = now.saturating_duration_since(*at) < section.hold().valid;
        lookup.known.iter().filter(|_| is_fresh).find_map(|seen| seen.record.address())
    }

    /// Returns the address that the last answer has brought, if it has.
    pub(super) fn first(&self, key: &Key) -> Option<IpAddr> {
        let lookup = self.lookups.get(key).filter(|lookup| lookup.last == Some(Ok(())))?;
        lookup.known.iter().find_map(|seen| seen.record.address())
    }

    /// Forgets names that nobody asks for any more.
    pub(super) fn tidy(&mut self, sections: &[Resolvers], now: Instant) {
        let hold = |key: &Key| sections.iter().find(|section| section.name() == key.resolvers).map(|section| section.hold().valid);
        self.lookups.retain(|key, lookup| {
            let is_young =
                || lookup.valid.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) < hold(key).unwrap_or_default());
            lookup.standing || lookup.phase != Phase::Resting(None) || is_young()
        });
    }

    /// Returns the questions whose time has come; they count as asked.
    pub(super) fn due(&mut self, sections: &[Resolvers], now: Instant) -> Vec<Ask> {
        let mut due = Vec::new();
        for (key, lookup) in &mut self.lookups {
            let Phase::Resting(Some(at)) = lookup.phase else { continue };
            let Some(section) = sections.iter().find(|section| section.name() == key.resolvers).filter(|_| at <= now) else { continue };
            if section.nameservers().is_empty() {
                lookup.phase = Phase::Resting(Some(now + section.resolve()));
                continue;
            }
            self.rounds += 1;
            lookup.phase = Phase::Asking { round: self.rounds, pending: section.nameservers().len(), fault: None };
            due.push(Ask { key: key.clone(), round: self.rounds, kind: lookup.kind });
        }
        due
    }

    /// Returns when something is due next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let time = |lookup: &Lookup| match lookup.phase {
            Phase::Resting(at) => at,
            Phase::Asking { .. } => None,
        };
        self.lookups.values().filter_map(time).min()
    }

    /// Takes in what one of the servers said; returns what that does to the question.
    pub(super) fn on_reply(&mut self, ask: &Ask, section: &Resolvers, reply: Result<Answer, Fault>, by: &str, now: Instant) -> Progress {
        let Some(lookup) = self.lookups.get_mut(&ask.key) else { return Progress::Open };
        let Phase::Asking { round, pending, fault } = &mut lookup.phase else { return Progress::Open };
        if *round != ask.round {
            return Progress::Open;
        }
        match reply {
            Ok(answer) => {
                let is_news = lookup.merge(answer, section.hold().obsolete, now) || lookup.last != Some(Ok(()));
                lookup.valid = Some((now, format!("{}/{by}", section.name())));
                lookup.end(ask.key.kind, Ok(()), section, now);
                if is_news { Progress::News } else { Progress::Same }
            }
            Err(found) => {
                *fault = Some(fault.map_or(found, |known| known.or_rather(found)));
                *pending -= 1;
                if *pending > 0 {
                    return Progress::Open;
                }
                let fault = fault.unwrap_or(found);
                lookup.on_fault(ask.key.kind, fault, section, now)
            }
        }
    }

    /// Forgets a name whose section is gone; if that comes back, it is asked for anew.
    pub(super) fn forget(&mut self, ask: &Ask) {
        let is_of = |lookup: &Lookup| matches!(lookup.phase, Phase::Asking { round, .. } if round == ask.round);
        if self.lookups.get(&ask.key).is_some_and(is_of) {
            self.lookups.remove(&ask.key);
        }
    }

    /// Returns what is known of a name.
    pub(super) fn knowledge(&self, key: &Key, hold: Hold, now: Instant) -> Knowledge<'_> {
        let Some(lookup) = self.lookups.get(key) else { return Knowledge::Nothing };
        match lookup.last {
            None => return Knowledge::Nothing,
            Some(Err(fault)) => {
                let (lack, hold) = fault.lack(hold);
                if lookup.valid.as_ref().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= hold) {
                    return Knowledge::Lack(lack);
                }
            }
            Some(Ok(())) => {}
        }
        match key.kind {
            Kind::Srv => Knowledge::Services(lookup.known.iter().filter_map(|seen| seen.record.service()).collect()),
            Kind::A | Kind::Aaaa => Knowledge::Addresses(lookup.known.iter().filter_map(|seen| seen.record.address()).collect()),
        }
    }

    /// Returns who answered last: section and server.
    pub(super) fn answered_by(&self, key: &Key) -> &str {
        self.lookups.get(key).and_then(|lookup| lookup.valid.as_ref()).map_or("DNS cache", |(_, by)| by.as_str())
    }
}

impl Lookup {
    /// Goes on after a round in which nobody had an answer; returns what that does to the question.
    fn on_fault(&mut self, preferred: Kind, fault: Fault, section: &Resolvers, now: Instant) -> Progress {
        let is_answer = matches!(fault, Fault::NoName | Fault::NoRecord);
        if let Some(other) = self.kind.other_family().filter(|_| self.kind == preferred && fault != Fault::Timeout) {
            (self.kind, self.first_fault) = (other, Some(fault));
            self.phase = Phase::Resting(Some(now));
            return Progress::Open;
        }
        // Of two families without addresses, the one that was asked for says why.
        let fault = self.first_fault.take().unwrap_or(fault);
        self.kind = preferred;
        let left = self.left.unwrap_or(section.retries() - 1);
        if left > 0 && !is_answer {
            self.left = Some(left - 1);
            // Who said nothing was given time enough.
            let pause = if fault == Fault::Timeout { Duration::ZERO } else { section.retry() };
            self.phase = Phase::Resting(Some(now + pause));
            return Progress::Open;
        }
        self.end(preferred, Err(fault), section, now);
        // The last good answer may have become too old.
        Progress::News
    }

    fn end(&mut self, preferred: Kind, outcome: Result<(), Fault>, section: &Resolvers, now: Instant) {
        (self.last, self.kind, self.first_fault, self.left) = (Some(outcome), preferred, None, None);
        self.phase = Phase::Resting(self.standing.then(|| now + section.resolve()));
    }

    /// Takes in the records of an answer, and forgets those that answers have had no more for too long; returns whether any is new,
    /// other or gone.
    fn merge(&mut self, answer: Answer, obsolete: Duration, now: Instant) -> bool {
        let records: Vec<Record> = match answer {
            Answer::Addresses(addresses) => addresses.into_iter().map(Record::Address).collect(),
            Answer::Services(services) => services.into_iter().map(Record::Service).collect(),
        };
        let mut is_news = false;
        for record in records {
            match self.known.iter_mut().find(|seen| seen.record.is_same(&record)) {
                Some(seen) => {
                    is_news |= seen.record != record;
                    *seen = Seen { record, at: now };
                }
                None => {
                    is_news = true;
                    self.known.push(Seen { record, at: now });
                }
            }
        }
        let before = self.known.len();
        self.known.retain(|seen| seen.at == now || now.saturating_duration_since(seen.at) < obsolete);
        // What is gone stays at the end, so that it is chosen last.
        self.known.sort_by_key(|seen| seen.at != now);
        self.known.truncate(MOST_RECORDS);
        is_news || self.known.len() != before
    }
}

impl Record {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Service(one), Self::Service(other)) => (&one.host, one.port) == (&other.host, other.port),
            (Self::Address(_), Self::Service(_)) | (Self::Service(_), Self::Address(_)) => false,
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(ip) => Some(*ip),
            Self::Service(_) => None,
        }
    }

    fn service(&self) -> Option<&Service> {
        match self {
            Self::Address(_) => None,
            Self::Service(service) => Some(service),
        }
    }
}

impl Kind {
    fn other_family(self) -> Option<Self> {
        match self {
            Self::A => Some(Self::Aaaa),
            Self::Aaaa => Some(Self::A),
            Self::Srv => None,
        }
    }
}

impl Fault {
    /// Returns which of two faults says more: silence says least.
    fn or_rather(self, other: Self) -> Self {
        if matches!(other, Self::Timeout | Self::Unreachable) { self } else { other }
    }

    /// Returns what a server lacks after this, and how long the last good answer makes up for it.
    fn lack(self, hold: Hold) -> (Lack, Duration) {
        match self {
            Self::NoName => (Lack::NoName, hold.nx),
            Self::Refused => (Lack::Refused, hold.refused),
            Self::Timeout | Self::Unreachable => (Lack::Timeout, hold.timeout),
            Self::NoRecord | Self::Truncated | Self::Failed | Self::Invalid => (Lack::Failed, hold.other),
        }
    }
}

/// How many records of one name are kept, those that are gone included.
const MOST_RECORDS: usize = 2048;
/// How many names that rules have asked for are remembered.
const MOST_ONCE: usize = 10_000;
