//! Rules that tie keys to servers: `stick on`, `stick match`, `stick store-request` and `stick store-response`.

use std::sync::Arc;

use control::config::{Config, Diagnostic, Mode, StoredKind};

use super::condition::Condition;
use super::expr::Expression;
use super::fetch::Needs;
use super::program::{Compiler, ProxyRules, Rule};
use super::stick::key_of;
use super::view::View;
use super::word::{self, Words};
use crate::stick::{Known, MOST_TIES, Record, Table, Tie, now};

/// What a rule ties to servers.
#[derive(Debug)]
pub(super) struct Stick {
    key: Expression,
    table: Arc<Table>,
    purpose: Purpose,
}

/// What a rule about a request does with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It looks up the server.
    Match,
    /// It notes the server.
    Store,
    /// It does both.
    Both,
}

impl Stick {
    fn tie(&self, view: &View<'_>) -> Option<Tie> {
        let key = key_of(&self.table, &self.key.value(view)?)?;
        Some(Tie { table: Arc::clone(&self.table), key })
    }
}

impl ProxyRules {
    /// Tells whether any rule ties keys to servers.
    pub(crate) fn sticks(&self) -> bool {
        !self.sticks.is_empty() || !self.late_sticks.is_empty()
    }

    /// Asks the tables in order for a server until `takes` one, and returns what is to be noted of the one that is chosen.
    pub(crate) fn recall(&self, view: &View<'_>, mut takes: impl FnMut(Known<'_>) -> bool) -> Vec<Tie> {
        let mut ties: Vec<Tie> = Vec::new();
        let mut is_open = true;
        for rule in &self.sticks {
            // Of each table the first rule that notes anything is the last one to count.
            if ties.iter().any(|tie| Arc::ptr_eq(&tie.table, &rule.action.table)) || !rule.applies(view) {
                continue;
            }
            let Some(tie) = rule.action.tie(view) else { continue };
            if rule.action.purpose != Purpose::Store {
                let known = view.at_table(&tie.table, &tie.key, |table| {
                    let values = |record: &mut Record<'_>| [StoredKind::ServerId, StoredKind::ServerKey].map(|kind| record.value(kind, 0));
                    table.renew(&tie.key, now(), values)
                });
                let takes = |[number, name]: [Option<u64>; 2]| {
                    let known = Known { number: number?, name: tie.table.server_name(name?), by: tie.table.srvkey() };
                    (known.number > 0 || known.name.is_some()).then(|| takes(known))
                };
                is_open = is_open && !known.and_then(takes).unwrap_or(false);
            }
            if rule.action.purpose != Purpose::Match && ties.len() < MOST_TIES {
                ties.push(tie);
            }
        }
        ties
    }

    /// Tells whether any rule ties what servers answer.
    pub(crate) fn sticks_late(&self) -> bool {
        !self.late_sticks.is_empty()
    }

    /// Returns what is to be noted of the server because of its response.
    pub(crate) fn late_ties(&self, view: &View<'_>) -> Vec<Tie> {
        let mut ties: Vec<Tie> = Vec::new();
        for rule in &self.late_sticks {
            let is_known = ties.iter().any(|tie| Arc::ptr_eq(&tie.table, &rule.action.table));
            if !is_known && ties.len() < MOST_TIES && rule.applies(view) {
                ties.extend(rule.action.tie(view));
            }
        }
        ties
    }
}

/// Reads what follows the word `stick`.
///
/// # Errors
/// Names what is not known or does not fit.
pub(super) fn read(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, mode: Mode, proxy: &mut ProxyRules) -> Result<(), Diagnostic> {
    let word = words.expect("on, match, store-request or store-response")?;
    let purpose = match word.text() {
        "on" => Some(Purpose::Both),
        "match" => Some(Purpose::Match),
        "store-request" => Some(Purpose::Store),
        "store-response" => None,
        other => return Err(word.error(format!("there is no `stick {other}`")).hint("on, match, store-request or store-response")),
    };
    let needs = match (purpose, mode) {
        (None, _) => Needs::Response,
        (Some(_), Mode::Http) => Needs::Request,
        (Some(_), Mode::Tcp) => Needs::Content,
    };
    let sample = words.expect("an expression")?;
    let key = Expression::of_word(sample, &mut compiler.names)?;
    if key.needs() > needs || (key.needs() == Needs::Content && mode == Mode::Http) {
        return Err(sample.error(format!("`{}` is not known when this rule runs", sample.text())));
    }
    let table = if words.accept("table") {
        let name = words.expect("the name of a table")?;
        compiler.names.table(name.text()).map_err(|message| name.error(message))?
    } else {
        compiler.names.own_table().map_err(|message| words.error(message).hint("for example table per_ip"))?
    };
    let condition = Condition::parse(words, compiler, needs)?;
    let list = if purpose.is_some() { &mut proxy.sticks } else { &mut proxy.late_sticks };
    list.push(Rule { condition, action: Stick { key, table, purpose: purpose.unwrap_or(Purpose::Store) }, id: compiler.names.rule() });
    Ok(())
}

/// Returns the names of the tables in which rules note servers or look for them, which hold servers whatever else they store.
pub(super) fn tables(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    for backend in config.backends() {
        for rule in backend.rules() {
            let words = word::split(rule).unwrap_or_default();
            let word = |place: usize| words.get(place).map(word::Word::text);
            if word(0) == Some("stick") {
                let named = if word(3) == Some("table") { word(4) } else { None };
                names.push(named.unwrap_or_else(|| backend.name()).to_owned());
            }
        }
    }
    names
}
