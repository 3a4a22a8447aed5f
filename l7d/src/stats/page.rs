//! The statistics as a page: one table, nothing to load besides.

use std::fmt::Write as _;
use std::time::Instant;

use super::Start;
use super::overview::{Overview, Row, Subject, Value};

/// What a page says besides its numbers.
#[derive(Debug)]
pub(super) struct Words<'a> {
    /// What it is called.
    pub(super) title: &'a str,
    /// Where the same is as comma-separated values.
    pub(super) csv: &'a str,
    /// Where the metrics are.
    pub(super) metrics: Option<&'a str>,
    /// Whether servers that are down are left out.
    pub(super) is_filtered: bool,
}

impl Words<'_> {
    /// Returns those of the page beside the metrics.
    pub(super) fn own() -> Self {
        Self { title: concat!("l7d ", env!("CARGO_PKG_VERSION")), csv: "/stats;csv", metrics: Some("/metrics"), is_filtered: false }
    }
}

/// Writes the page.
pub(super) fn write(overview: &Overview<'_>, start: Start, words: &Words<'_>) -> String {
    let title = Escaped(words.title);
    let uptime = Instant::now().saturating_duration_since(start.instant).as_secs();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>process {}, up {} d {} h {} min · <a href=\"{}\">CSV</a>",
        std::process::id(),
        uptime / 86_400,
        uptime / 3_600 % 24,
        uptime / 60 % 60,
        Escaped(words.csv),
    );
    if let Some(metrics) = words.metrics {
        let _ = write!(page, " · <a href=\"{metrics}\">metrics</a>");
    }
    page.push_str("</p><table><thead><tr><th>proxy<th>name");
    for (title, ..) in COLUMNS {
        let _ = write!(page, "<th>{title}");
    }
    page.push_str("<tbody>");
    for row in overview.rows().into_iter().filter(|row| !words.is_filtered || !is_down(row)) {
        write_row(&mut page, &row);
    }
    page.push_str("</table></html>\n");
    page
}

fn write_row(page: &mut String, row: &Row<'_>) {
    let kind = match row.subject {
        Subject::Frontend(..) => "frontend",
        Subject::Server(..) => "server",
        Subject::Backend(..) => "backend",
    };
    let state = if is_down(row) { " down" } else { "" };
    let _ = write!(page, "<tr class=\"{kind}{state}\"><td>{}<td>{}", Escaped(row.proxy()), Escaped(row.name()));
    for (_, columns) in COLUMNS {
        page.push_str("<td>");
        let mut separator = "";
        for value in columns.iter().filter_map(|column| row.value(column)) {
            page.push_str(separator);
            separator = " / ";
            let _ = match value {
                Value::Count(count) => write!(page, "{count}"),
                Value::Micros(time) => write!(page, "{}.{:03} ms", time / 1000, time % 1000),
                Value::Text(text) => write!(page, "{}", Escaped(&text)),
                Value::Negative => write!(page, "{value}"),
            };
        }
    }
    page.push('\n');
}

fn is_down(row: &Row<'_>) -> bool {
    matches!(row.value("status"), Some(Value::Text(status)) if status.starts_with("DOWN") || status == "MAINT")
}

/// Text between tags.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// What the page shows: titles, and the columns whose values stand side by side.
const COLUMNS: [(&str, &[&str]); 12] = [
    ("status", &["status"]),
    ("last check", &["check_status", "check_code"]),
    ("weight", &["weight"]),
    ("queue now / most", &["qcur", "qmax"]),
    ("sessions now / most / limit", &["scur", "smax", "slim"]),
    ("sessions", &["stot"]),
    ("rate now / most", &["rate", "rate_max"]),
    ("requests", &["req_tot"]),
    ("bytes in / out", &["bin", "bout"]),
    ("errors: request / connect / response", &["ereq", "econ", "eresp"]),
    ("retries / redispatches", &["wretr", "wredis"]),
    ("average: queue / connect / response / total", &["qtime", "ctime", "rtime", "ttime"]),
];

const STYLE: &str = "\
:root{color-scheme:light dark;font:14px/1.4 system-ui,sans-serif}body{margin:1em}table{border-collapse:collapse;display:block;\
overflow-x:auto}th,td{padding:.2em .6em;text-align:right;white-space:nowrap;border-bottom:1px solid #8884}th{vertical-align:bottom;\
white-space:normal}th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}.frontend,.backend{font-weight:600;background:#8881}\
.down td:nth-child(3){color:#c33}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_tags() {
        assert_eq!(Escaped("<b>&\"x\"").to_string(), "&lt;b&gt;&amp;&quot;x&quot;");
    }
}
