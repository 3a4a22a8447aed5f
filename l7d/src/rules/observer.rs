//! What rules were asked and what they found, for whoever wants to know why traffic goes where it goes.
//!
//! The engine that serves traffic tells it, where a [`Scene`](super::Scene) has an [`Observer`]; nothing is written down otherwise. Whoever is
//! rehearses changes nothing that others see: tables are copied entry by entry as they are asked, and files of patterns stay. Live traffic
//! can be watched, too, and then does what it does.

use std::cell::RefCell;
use std::sync::Arc;

use control::config::Located;

use super::action::Effect;
use super::condition::Outcome;
use super::sample::Sample;
use super::view::Pause;
use crate::stick::{Entry, Key, Table, now};

/// The number of a rule among all of a configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RuleId(pub(super) u32);

/// The rules as they were written, by number.
pub(crate) type Sources = Arc<[Located<String>]>;

/// Whether what is observed happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Manner {
    /// It only shows what would happen.
    #[default]
    Rehearsal,
    /// It is traffic.
    Live,
}

/// Writes down what rules are asked and what they find.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    manner: Manner,
    sources: Sources,
    trail: RefCell<Vec<Step>>,
    /// Tables, each with the copy that stands for it.
    copies: RefCell<Vec<(Arc<Table>, Arc<Table>)>>,
}

/// A step on the way through the rules.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The rules that follow are those of this proxy.
    Enter(String),
    /// Something that is no rule was decided.
    Remark(String),
    /// A rule was asked.
    Rule(Considered),
}

/// A rule that was asked.
#[derive(Debug, Clone)]
pub(crate) struct Considered {
    /// The rule as it was written.
    pub(crate) source: Located<String>,
    /// What it looked at, in that order.
    pub(crate) notes: Vec<Note>,
    /// Whether it applied; none where more bytes could tell.
    pub(crate) applied: Option<bool>,
    /// What came of that.
    pub(crate) effect: Option<String>,
}

/// Something that a rule looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// The value of an expression; none if it had none.
    Value { expression: String, value: Option<String> },
    /// Whether a test passed.
    Test { test: String, passed: bool },
    /// Whether an acl passed, which was declared under this name.
    Acl { name: String, passed: bool },
    /// What a table held of a key before.
    Entry { table: String, key: String, values: Option<String> },
}

impl Observer {
    /// Returns one that knows the rules by number.
    pub(crate) fn new(sources: &Sources) -> Self {
        Self { sources: Arc::clone(sources), ..Self::default() }
    }

    /// Returns one that watches live traffic.
    pub(crate) fn live(sources: &Sources) -> Self {
        Self { manner: Manner::Live, ..Self::new(sources) }
    }

    /// Tells whether what is observed only shows what would happen.
    pub(super) fn rehearses(&self) -> bool {
        self.manner == Manner::Rehearsal
    }

    /// Notes whose rules are next.
    pub(crate) fn enter(&self, proxy: String) {
        self.push(Step::Enter(proxy));
    }

    /// Notes something that was decided without a rule.
    pub(crate) fn remark(&self, remark: impl Into<String>) {
        self.push(Step::Remark(remark.into()));
    }

    /// Returns everything that was noted.
    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.trail.into_inner()
    }

    /// Asks a rule whether it applies, and notes the answer.
    #[cold]
    pub(super) fn ask(&self, rule: RuleId, holds: impl FnOnce() -> bool) -> bool {
        self.judge(rule, || Outcome::of(holds())) == Outcome::Yes
    }

    /// Asks a rule whether it applies as far as can be told, and notes the answer.
    #[cold]
    pub(super) fn judge(&self, rule: RuleId, judge: impl FnOnce() -> Outcome) -> Outcome {
        let source = self.sources.get(rule.0 as usize).cloned();
        let source = source.unwrap_or_else(|| Located::elsewhere(String::new(), "built-in", ""));
        self.push(Step::Rule(Considered { source, notes: Vec::new(), applied: None, effect: None }));
        let outcome = judge();
        self.with_rule(|considered| {
            considered.applied = match outcome {
                Outcome::Yes => Some(true),
                Outcome::No => Some(false),
                Outcome::Unknown => None,
            };
        });
        outcome
    }

    /// Notes what came of a rule that applied.
    #[cold]
    pub(super) fn effect(&self, effect: &Effect) {
        self.became(match effect {
            Effect::Next => "goes on".to_owned(),
            Effect::Done => "ends these rules".to_owned(),
            Effect::Denied(reply) => format!("denied with status {}", reply.status()),
            Effect::Held(hit) => format!("answered by cache `{}`", hit.cache().name()),
            Effect::Answered(reply) => format!("answered with status {}", reply.status()),
            Effect::Cut => "the server's connection closes".to_owned(),
            Effect::Closed => "the connection closes".to_owned(),
            Effect::Tarpitted(reply) => format!("held for a while, then denied with status {}", reply.status()),
            Effect::Challenged(challenge) => format!("asked who it is: {}", String::from_utf8_lossy(challenge)),
            Effect::Vanished => "forgotten without a word".to_owned(),
            Effect::Waits(Pause::Body(wait)) => format!("waits up to {:?} for the body", wait.time),
            Effect::Waits(Pause::Handshake) => "waits for the end of the handshake".to_owned(),
            Effect::Waits(Pause::Name(lookup)) => format!("asks `{}` for {}", lookup.resolvers, lookup.name),
        });
    }

    /// Notes what came of a rule, in words.
    #[cold]
    pub(super) fn became(&self, effect: impl Into<String>) {
        let effect = effect.into();
        self.with_rule(|considered| considered.effect = Some(effect));
    }

    /// Notes the value of an expression.
    #[cold]
    pub(super) fn value(&self, expression: &str, value: Option<&Sample<'_>>) {
        let value = value.map(|value| {
            let mut text = Vec::new();
            value.write(&mut text);
            text.truncate(LONGEST);
            String::from_utf8_lossy(&text).into_owned()
        });
        self.note(Note::Value { expression: expression.to_owned(), value });
    }

    /// Notes whether a test passed.
    #[cold]
    pub(super) fn test(&self, test: &str, passed: bool) {
        self.note(Note::Test { test: test.to_owned(), passed });
    }

    /// Notes whether a declared acl passed.
    #[cold]
    pub(super) fn acl(&self, name: &str, passed: bool) {
        self.note(Note::Acl { name: name.to_owned(), passed });
    }

    /// Returns the copy that stands for a table, in which the entry of a key is as it is in the table unless something changed it here.
    #[cold]
    pub(super) fn copy(&self, table: &Arc<Table>, key: &Key) -> Arc<Table> {
        if !self.rehearses() {
            self.entry(table, key, table.find(key, now()).as_ref());
            return Arc::clone(table);
        }
        if self.copies.borrow().iter().any(|(_, copy)| Arc::ptr_eq(copy, table)) {
            return Arc::clone(table);
        }
        let known = self.copies.borrow().iter().find(|(of, _)| Arc::ptr_eq(of, table)).map(|(_, copy)| Arc::clone(copy));
        let copy = known.unwrap_or_else(|| {
            let copy = Arc::new(table.blank());
            self.copies.borrow_mut().push((Arc::clone(table), Arc::clone(&copy)));
            copy
        });
        let entry = table.find(key, now());
        if copy.find(key, now()).is_none() {
            if let Some(entry) = &entry {
                copy.set(key, &entry.values, now());
            }
            self.entry(table, key, entry.as_ref());
        }
        copy
    }

    fn entry(&self, table: &Table, key: &Key, entry: Option<&Entry>) {
        let key = entry.map_or_else(|| table.show_key(key), |entry| entry.key.clone());
        self.note(Note::Entry { table: table.name().to_owned(), key, values: entry.map(|entry| shown(table, entry)) });
    }

    fn push(&self, step: Step) {
        let mut trail = self.trail.borrow_mut();
        if trail.len() < MOST {
            trail.push(step);
        }
    }

    fn note(&self, note: Note) {
        self.with_rule(|considered| {
            // What several tests look at is told once.
            if considered.notes.last() != Some(&note) && considered.notes.len() < MOST {
                considered.notes.push(note);
            }
        });
    }

    fn with_rule(&self, change: impl FnOnce(&mut Considered)) {
        if let Some(Step::Rule(considered)) = self.trail.borrow_mut().last_mut() {
            change(considered);
        }
    }
}

/// How many steps are kept, and of each of them how many notes.
const MOST: usize = 10_000;
/// How much of a value is kept.
const LONGEST: usize = 4096;

/// Shows what an entry holds, in the words of the runtime interface.
fn shown(table: &Table, entry: &Entry) -> String {
    let value = |(kind, index, value): &(control::config::StoredKind, u8, u64)| {
        let name = kind.name();
        let period = table.period(*kind).map(|period| format!("({period})")).unwrap_or_default();
        let place = if *index > 0 { format!("[{index}]") } else { String::new() };
        format!("{name}{period}{place}={value}")
    };
    entry.values.iter().map(value).collect::<Vec<_>>().join(" ")
}
