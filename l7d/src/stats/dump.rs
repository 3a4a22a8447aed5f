//! The statistics as the runtime interface shows them: chosen rows, as a table, line by line with tags, or as JSON.

use std::fmt::Write as _;

use control::server_state::Status;

use super::csv;
use super::overview::{Overview, Row, Subject, Value};
use super::typed::{Shown, Tags};

/// Which rows are shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Only this proxy.
    pub(crate) proxy: Option<Wanted>,
    /// 1 for frontends, 2 for backends, 4 for servers, or the sum of some; none for all.
    pub(crate) kinds: Option<u8>,
    /// Only the server of this number.
    pub(crate) server: Option<u64>,
    /// Which servers.
    pub(crate) health: Health,
}

/// A proxy, as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// By its number.
    Number(u64),
    /// By its name.
    Name(String),
}

/// Which servers are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// All.
    #[default]
    Any,
    /// Those that are up.
    Up,
    /// Those that are not in maintenance.
    NotInMaintenance,
}

/// How rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a table.
    Table,
    /// A value on each line.
    Typed,
    /// For programs.
    Json,
}

/// Writes the rows of a scope.
pub(super) fn write(overview: &Overview<'_>, scope: &Scope, form: Form) -> String {
    let mut rows = overview.rows();
    rows.retain(|row| scope.has(row));
    match form {
        Form::Table => csv::write_rows(&rows),
        Form::Typed => rows.iter().map(typed).collect(),
        Form::Json => json(&rows),
    }
}

/// Writes rows for programs.
pub(super) fn json(rows: &[Row<'_>]) -> String {
    format!("[{}]\n", rows.iter().map(json_row).collect::<Vec<_>>().join(","))
}

impl Scope {
    fn has(&self, row: &Row<'_>) -> bool {
        let is_proxy = match &self.proxy {
            None => true,
            Some(Wanted::Number(number)) => *number == row.number(),
            Some(Wanted::Name(name)) => name == row.proxy(),
        };
        let kind = match row.subject {
            Subject::Frontend(..) => 1,
            Subject::Backend(..) => 2,
            Subject::Server(..) => 4,
        };
        let is_server = match row.subject {
            Subject::Server(_, place, state) => {
                let healthy = match self.health {
                    Health::Any => true,
                    Health::Up => state.status == Status::Up,
                    Health::NotInMaintenance => state.status != Status::Maint,
                };
                healthy && self.server.is_none_or(|wanted| wanted == place as u64 + 1)
            }
            Subject::Frontend(..) | Subject::Backend(..) => true,
        };
        is_proxy && self.kinds.is_none_or(|kinds| kinds & kind > 0) && is_server
    }
}

/// What a row is about, as its letter, and the number of its server.
fn place(row: &Row<'_>) -> (char, usize) {
    match row.subject {
        Subject::Frontend(..) => ('F', 0),
        Subject::Backend(..) => ('B', 0),
        Subject::Server(_, place, _) => ('S', place + 1),
    }
}

/// The values of a row: place and name of the column, tags, value.
fn values<'r>(row: &'r Row<'_>) -> impl Iterator<Item = (usize, &'static str, Tags, Value<'r>)> {
    let is_backend = matches!(row.subject, Subject::Backend(..));
    let columns = csv::COLUMNS.split_terminator(',').chain(OWN).enumerate();
    let exact = |column: &str, value| match value {
        Value::Micros(time) if OWN.contains(&column) => Value::Count(time),
        value @ (Value::Micros(_) | Value::Count(_) | Value::Text(_) | Value::Negative) => value,
    };
    columns
        .filter_map(move |(number, column)| Some((number, column, Tags::of_column(column, is_backend), exact(column, row.value(column)?))))
}

/// Times behind HAProxy's columns, in microseconds: what half, 95 and 99 of a hundred exchanges of the last minute did not exceed.
const OWN: [&str; 3] = ["latency_p50", "latency_p95", "latency_p99"];

fn typed(row: &Row<'_>) -> String {
    let (letter, server) = place(row);
    let mut text = String::new();
    for (number, column, tags, value) in values(row) {
        let _ = writeln!(text, "{letter}.{}.{server}.{number}.{column}.1:{tags}:{value}", row.number());
    }
    text
}

fn json_row(row: &Row<'_>) -> String {
    let (letter, server) = place(row);
    let kind = match letter {
        'F' => "Frontend",
        'B' => "Backend",
        _ => "Server",
    };
    let mut text = String::from("[");
    for (number, column, tags, value) in values(row) {
        let separator = if text.len() > 1 { "," } else { "" };
        let proxy = row.number();
        let _ = write!(
            text,
            r#"{separator}{{"objType":"{kind}","proxyId":{proxy},"id":{server},"field":{{"pos":{number},"name":"{column}"}},"#
        );
        match &value {
            Value::Text(shown) => tags.write_json(&mut text, Shown::Text(shown)),
            Value::Count(_) | Value::Micros(_) | Value::Negative => tags.write_json(&mut text, Shown::Number(&value.to_string())),
        }
    }
    text.push(']');
    text
}
