//! The rows of the kernel tier, beside the others: what l4d counts, which is flows and packets.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Escaped, Filter, line};
use crate::stats::kernel::{Line, Tier};
use crate::stats::overview::Value;

/// Writes the rows that l4d told last.
pub(super) fn write(page: &mut String, tier: &Tier, filter: &Filter<'_>) {
    let Tier::Rows(rows) = tier else { return };
    let mut before = None;
    for row in rows {
        let (Some(proxy), Some(name)) = (row.value("pxname"), row.value("svname")) else { continue };
        if !filter.lets_see_proxy(proxy) || (filter.only_up && state(row) == "down") {
            continue;
        }
        if before != Some(proxy) {
            let _ = write!(page, "<tbody data-n=\"{}\">", Escaped(proxy));
            before = Some(proxy);
        }
        write_row(page, row, (proxy, name));
    }
}

fn write_row(page: &mut String, row: &Line, (proxy, name): (&str, &str)) {
    let kind = match name {
        "FRONTEND" => "frontend",
        "BACKEND" => "backend",
        _ => "server",
    };
    let _ = write!(page, "<tr class=\"{kind} {}\" data-k=\"kernel.{1}/{2}\"><td>", state(row), Escaped(proxy), Escaped(name));
    line::write_name(page, proxy, name);
    page.push_str(" (kernel)");
    line::write_cells(page, |column| {
        let value = row.value(column)?;
        Some(value.parse().map_or(Value::Text(Cow::Borrowed(value)), Value::Count))
    });
}

fn state(row: &Line) -> &'static str {
    super::state_named(row.value("status").unwrap_or_default())
}
