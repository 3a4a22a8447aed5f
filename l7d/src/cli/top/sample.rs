//! What a process says of itself at one moment, and what that is a second against the moment before.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;

/// What a process says of itself at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    /// Of the process, by name.
    info: HashMap<String, Value>,
    /// Frontends, then each backend before its servers.
    pub(super) rows: Vec<Row>,
}

/// A frontend, a backend or a server.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) proxy: String,
    pub(super) name: String,
    fields: HashMap<String, Value>,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Frontend,
    Backend,
    Server,
}

impl Sample {
    /// Reads the answers to `show info json` and `show stat json`.
    ///
    /// # Errors
    /// Says what was answered instead.
    pub(super) fn read(info: &str, stat: &str) -> anyhow::Result<Self> {
        let mut rows: Vec<Row> = lists(stat)?.iter().filter_map(|fields| row(fields)).collect();
        // The process lists a backend behind its servers; on a screen its name stands above them.
        let mut order: HashMap<String, usize> = HashMap::new();
        for row in &rows {
            let next = order.len();
            order.entry(row.proxy.clone()).or_insert(next);
        }
        rows.sort_by_key(|row| (row.kind != Kind::Frontend, order[&row.proxy], row.kind));
        let fields: Vec<Value> = serde_json::from_str(info.trim()).with_context(|| refused(info))?;
        Ok(Self { at: Instant::now(), info: fields.iter().filter_map(field).collect(), rows })
    }

    /// Returns a number of the process.
    pub(super) fn info(&self, name: &str) -> u64 {
        self.info.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Returns a text of the process.
    pub(super) fn info_text(&self, name: &str) -> &str {
        self.info.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns by how much a sum of columns grew a second since another sample.
    pub(super) fn growth(&self, before: &Self, row: &Row, columns: &[&str]) -> f64 {
        let Some(old) = before.rows.iter().find(|old| old.is(row)) else { return 0.0 };
        let sum = |row: &Row| columns.iter().map(|column| row.number(column)).sum::<u64>();
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        // What was counted anew from zero did not grow.
        let grown = u32::try_from(sum(row).saturating_sub(sum(old))).unwrap_or(u32::MAX);
        if seconds > 0.0 { f64::from(grown) / seconds } else { 0.0 }
    }
}

impl Row {
    /// Tells whether another is about the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.kind, &self.proxy, &self.name) == (other.kind, &other.proxy, &other.name)
    }

    /// Returns the number in a column; zero if there is none.
    pub(super) fn number(&self, column: &str) -> u64 {
        self.known(column).unwrap_or(0)
    }

    /// Returns the number in a column.
    pub(super) fn known(&self, column: &str) -> Option<u64> {
        self.fields.get(column).and_then(Value::as_u64)
    }

    /// Returns the text in a column.
    pub(super) fn text(&self, column: &str) -> &str {
        self.fields.get(column).and_then(Value::as_str).unwrap_or_default()
    }
}

fn lists(text: &str) -> anyhow::Result<Vec<Vec<Value>>> {
    match serde_json::from_str(text.trim()) {
        Ok(lists) => Ok(lists),
        Err(_) => bail!(refused(text)),
    }
}

fn refused(text: &str) -> String {
    format!("not an answer of this kind: {}", text.lines().next().unwrap_or_default())
}

fn row(fields: &[Value]) -> Option<Row> {
    let kind = match fields.first()?.get("objType")?.as_str()? {
        "Frontend" => Kind::Frontend,
        "Backend" => Kind::Backend,
        _ => Kind::Server,
    };
    let fields: HashMap<String, Value> = fields.iter().filter_map(field).collect();
    let text = |name: &str| fields.get(name)?.as_str().map(str::to_owned);
    Some(Row { kind, proxy: text("pxname")?, name: text("svname")?, fields })
}

/// Reads a value with its name.
fn field(field: &Value) -> Option<(String, Value)> {
    Some((field.get("field")?.get("name")?.as_str()?.to_owned(), field.get("value")?.get("value")?.clone()))
}
