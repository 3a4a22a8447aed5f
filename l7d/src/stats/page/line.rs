//! One row of the page's table.

use std::fmt::Write as _;

use super::{Bytes, COLUMNS, Escaped, Legends, Visitor, Words, count, state};
use crate::stats::overview::{Row, Subject, Value};

/// Writes the row of a frontend, a server or a backend.
pub(super) fn write(page: &mut String, row: &Row<'_>, words: &Words<'_>) {
    let (kind, server) = match row.subject {
        Subject::Frontend(..) => ("frontend", 0),
        Subject::Server(_, place, _) => ("server", place + 1),
        Subject::Backend(..) => ("backend", 0),
    };
    let _ = write!(page, "<tr class=\"{kind} {}\" data-k=\"{}{}{server}\"", state(row), row.number(), &kind[..1]);
    let [rate, half, most] = ["rate", "latency_p50", "latency_p99"].map(|column| count(row, column));
    if rate + half + most > 0 {
        let _ = write!(page, " data-v=\"{rate} {half} {most}\"");
    }
    page.push_str("><td");
    if words.legends == Legends::Shown {
        write_legend(page, row);
    }
    page.push('>');
    let may_change = words.visitor == Visitor::Administrator;
    match row.subject {
        Subject::Server(..) if may_change => write_box(page, row.proxy(), row.name()),
        // All servers of a backend, however many they are.
        Subject::Backend(..) if may_change => write_box(page, row.proxy(), "*"),
        Subject::Frontend(..) | Subject::Server(..) | Subject::Backend(..) => {}
    }
    write_name(page, row.proxy(), row.name());
    write_cells(page, |column| row.value(column));
}

/// Writes what a row is called: servers as in log lines.
pub(super) fn write_name(page: &mut String, proxy: &str, name: &str) {
    let separator = if matches!(name, "FRONTEND" | "BACKEND") { ' ' } else { '/' };
    let _ = write!(page, "{}{separator}{}", Escaped(proxy), Escaped(name));
}

/// Writes the numbers of a row, and leaves room for its chart.
pub(super) fn write_cells<'a>(page: &mut String, value: impl Fn(&'static str) -> Option<Value<'a>>) {
    for (_, columns) in COLUMNS {
        page.push_str("<td>");
        let mut separator = "";
        for (column, value) in columns.iter().filter_map(|column| Some((*column, value(column)?))) {
            page.push_str(separator);
            separator = " / ";
            let _ = match value {
                Value::Count(count) if column == "bin" || column == "bout" => write!(page, "{}", Bytes(count)),
                Value::Count(count) => write!(page, "{count}"),
                Value::Micros(time) => write!(page, "{}", Millis(time)),
                Value::Text(text) => write!(page, "{}", Escaped(&text)),
                Value::Negative => write!(page, "{value}"),
            };
        }
    }
    page.push_str("<td>\n");
}

/// Writes what chooses a server for a change, as a field of the form around the table.
fn write_box(page: &mut String, backend: &str, server: &str) {
    let (backend, server) = (Escaped(backend), Escaped(server));
    let _ = write!(page, "<input type=\"checkbox\" name=\"s\" value=\"{backend}/{server}\" aria-label=\"{backend}/{server}\">");
}

/// Writes where a server is and how it is chosen, for who points at its name.
fn write_legend(page: &mut String, row: &Row<'_>) {
    let mut separator = " title=\"";
    for column in ["addr", "mode", "algo", "cookie", "check_desc", "last_chk"] {
        if let Some(Value::Text(text)) = row.value(column)
            && !text.is_empty()
        {
            let _ = write!(page, "{separator}{}: {}", column.replace('_', " "), Escaped(&text));
            separator = ", ";
        }
    }
    if separator == ", " {
        page.push('"');
    }
}

/// A time in milliseconds, to three digits or so.
struct Millis(u64);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            time @ 1..10_000 => write!(f, "{}.{:02}", time / 1_000, time % 1_000 / 10),
            time @ 10_000..100_000 => write!(f, "{}.{}", time / 1_000, time % 1_000 / 100),
            time => write!(f, "{}", time / 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (time, shown) in [(0, "0"), (4, "0.00"), (1_234, "1.23"), (12_345, "12.3"), (2_345_678, "2345")] {
            assert_eq!(Millis(time).to_string(), shown);
        }
    }
}
