//! The statistics as a page: one table, nothing to load besides, complete without its script.
//!
//! Thousands of servers stay usable: a row is a line of text with one box to tick, what is done to the ticked ones stands once below, and
//! browsers lay out only the rows they show.

mod kernel;
mod line;

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use aws_lc_rs::digest;

use super::Start;
use super::entrance::Visitor;
use super::kernel::Tier;
use super::manage::Outcome;
use super::overview::{Overview, Row, Subject, Value};
use crate::base64;
use crate::stick;

/// What a page says besides its numbers.
#[derive(Debug)]
pub(super) struct Words<'a> {
    /// What it is called.
    pub(super) title: &'a str,
    /// How the target of a request for it begins.
    pub(super) uri: &'a str,
    /// Where the metrics are.
    pub(super) metrics: Option<&'a str>,
    /// What is left out.
    pub(super) filter: Filter<'a>,
    /// Whether it says where servers are and how they are chosen.
    pub(super) legends: Legends,
    /// Who sees it.
    pub(super) visitor: Visitor,
    /// What came of a form, if one was sent.
    pub(super) outcome: Option<Outcome>,
}

/// What a page leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filter<'a> {
    /// Whether servers that are down are left out.
    pub(super) only_up: bool,
    /// What the names of proxies must contain, asked for by a client.
    pub(super) text: Option<&'a str>,
    /// The only proxies there are to see, if the configuration says so.
    pub(super) proxies: Option<&'a [String]>,
}

/// Whether a page says where servers are and how they are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Legends {
    Shown,
    Hidden,
}

impl Words<'_> {
    /// Returns those of the page beside the metrics.
    pub(super) fn own() -> Self {
        let title = concat!("l7d ", env!("CARGO_PKG_VERSION"));
        Self {
            title,
            uri: "/stats",
            metrics: Some("/metrics"),
            filter: Filter::default(),
            legends: Legends::Shown,
            visitor: Visitor::Reader,
            outcome: None,
        }
    }
}

impl Filter<'_> {
    /// Tells whether a row is there to see.
    pub(super) fn lets_see(&self, row: &Row<'_>) -> bool {
        self.lets_see_proxy(row.proxy()) && !(self.only_up && state(row) == "down")
    }

    /// Tells whether what bears the name of a proxy is there to see.
    fn lets_see_proxy(&self, proxy: &str) -> bool {
        let is_known = self.proxies.is_none_or(|proxies| proxies.iter().any(|known| known == proxy));
        is_known && self.text.is_none_or(|text| proxy.contains(text))
    }
}

/// How many of each table stand out.
const TALKERS: usize = 5;

/// What browsers are told of where the page's parts may come from: nothing but the page itself.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = base64::encode(digest::digest(&digest::SHA256, SCRIPT.as_bytes()).as_ref());
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; connect-src 'self'; form-action 'self'; base-uri 'none'"
    )
});

/// Writes the page.
pub(super) fn write(overview: &Overview<'_>, start: Start, words: &Words<'_>) -> String {
    let rows: Vec<_> = overview.rows().into_iter().filter(|row| words.filter.lets_see(row)).collect();
    let mut page = String::with_capacity(ROOM + rows.len() * ROOM_OF_ROW);
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}",
        Escaped(words.title)
    );
    write_labels(&mut page);
    page.push_str("</style>");
    write_header(&mut page, start, words);
    if words.visitor == Visitor::Administrator {
        let _ = write!(page, "<form method=\"post\" action=\"{}\" id=\"do\">", Escaped(words.uri));
    }
    page.push_str("<main>");
    write_summary(&mut page, &rows);
    page.push_str("<table><thead><tr><th>name");
    for (title, ..) in COLUMNS {
        let _ = write!(page, "<th>{title}");
    }
    let _ = write!(page, "<th>{HISTORY}</thead>");
    for (place, row) in rows.iter().enumerate() {
        if place == 0 || rows[place - 1].number() != row.number() {
            let _ = write!(page, "<tbody data-n=\"{}\">", Escaped(row.proxy()));
        }
        line::write(&mut page, row, words);
    }
    let tier = super::kernel::last();
    if let Some(tier) = &tier {
        kernel::write(&mut page, tier, &words.filter);
    }
    page.push_str("</table><div id=\"rest\">");
    page.push_str("<p class=\"key\">Charts: <i>sessions a second</i>, <i>latency, half within</i>, <i>latency, 99 % within</i></p>");
    if let Some(Tier::Silent(why)) = tier.as_deref() {
        let _ = write!(page, "<p id=\"kernel\">Kernel tier: {}</p>", Escaped(why));
    }
    write_talkers(&mut page, overview, &words.filter);
    page.push_str("</div></main>");
    if words.visitor == Visitor::Administrator {
        write_bar(&mut page);
    }
    let _ = writeln!(page, "<script>{SCRIPT}</script></html>");
    page
}

/// How many bytes a page has without its rows, about.
const ROOM: usize = 16 << 10;
/// How many bytes a row has, about.
const ROOM_OF_ROW: usize = 512;

/// Writes what administrators change the servers by that are ticked: HAProxy's field for what is done, and one of ours, the weight.
fn write_bar(page: &mut String) {
    page.push_str("<div class=\"bar\"><label>Ticked servers: <select name=\"action\" required><option value=\"\">…");
    for (action, label) in ACTIONS {
        let _ = write!(page, "<option value=\"{action}\">{label}");
    }
    page.push_str(
        "</select></label><label class=\"weight\">weight <input name=\"weight\" type=\"number\" min=\"0\" max=\"256\" value=\"1\"></label>\
         <button>apply</button></div></form>",
    );
}

/// Writes who stands out in each table that is there to see.
fn write_talkers(page: &mut String, overview: &Overview<'_>, filter: &Filter<'_>) {
    for table in overview.tables().iter().filter(|table| filter.lets_see_proxy(table.name())) {
        let Some((kind, index)) = table.loudest() else { continue };
        let top = table.top((kind, index), TALKERS, stick::now());
        if top.is_empty() {
            continue;
        }
        let period = table.period(kind).map(|period| format!(" in {} s", f64::from(period) / 1000.0)).unwrap_or_default();
        let element = if kind.is_array() { format!(" {index}") } else { String::new() };
        let _ = write!(page, "<section><h2>table {}: most {}{element}{period}</h2><ol>", Escaped(table.name()), kind.name());
        for entry in &top {
            let value = entry.values.iter().find(|(known, at, _)| (*known, *at) == (kind, index)).map_or(0, |(.., value)| *value);
            let _ = write!(page, "<li>{}: {value}", Escaped(&entry.key));
        }
        page.push_str("</ol></section>");
    }
}

/// Writes what small screens show in front of each value.
fn write_labels(page: &mut String) {
    page.push_str("@media(max-width:800px){");
    for (place, title) in (2..).zip(COLUMNS.iter().map(|(title, _)| *title).chain([HISTORY])) {
        let _ = write!(page, "td:nth-child({place})::before{{content:\"{title}\"}}");
    }
    page.push('}');
}

fn write_header(page: &mut String, start: Start, words: &Words<'_>) {
    let uptime = Instant::now().saturating_duration_since(start.instant).as_secs();
    let uri = Escaped(words.uri);
    let _ = write!(
        page,
        "<header><h1>{}</h1><p>process {}, up {} d {} h {} min · <a href=\"{uri};csv\">CSV</a> · <a href=\"{uri};json\">JSON</a>",
        Escaped(words.title),
        std::process::id(),
        uptime / 86_400,
        uptime / 3_600 % 24,
        uptime / 60 % 60,
    );
    if let Some(metrics) = words.metrics {
        let _ = write!(page, " · <a href=\"{metrics}\">metrics</a>");
    }
    let (link, label) = if words.filter.only_up { ("", "all servers") } else { (";up", "only servers that are up") };
    let _ = write!(page, " · <a href=\"{uri}{link}\">{label}</a></p>");
    // Without the script a form replaces the query, and with it an address that has one.
    let shown = if words.uri.contains('?') { " hidden" } else { "" };
    let text = Escaped(words.filter.text.unwrap_or_default());
    let _ = write!(
        page,
        "<form method=\"get\" action=\"{uri}\" id=\"tools\"{shown}><label>Names with <input name=\"scope\" value=\"{text}\" type=\"search\"></label>\
         <label><input type=\"checkbox\" id=\"live\" checked> live</label><output id=\"say\">{}</output></form></header>",
        words.outcome.map(Outcome::words).unwrap_or_default(),
    );
}

/// Writes the whole in one line.
fn write_summary(page: &mut String, rows: &[Row<'_>]) {
    let servers = || rows.iter().filter(|row| matches!(row.subject, Subject::Server(..)));
    let frontends = || rows.iter().filter(|row| matches!(row.subject, Subject::Frontend(..)));
    let sum = |column: &str| frontends().map(|row| count(row, column)).sum::<u64>();
    let down = servers().filter(|row| state(row) == "down").count();
    let all = servers().count();
    let queued: u64 = rows.iter().map(|row| count(row, "qcur")).sum();
    let _ = write!(
        page,
        "<p class=\"sum\" id=\"sum\"><b>{}</b> of <b>{all}</b> servers not down · <b>{}</b> sessions, <b>{}</b> new a second · \
         <b>{}</b> requests a second · <b>{queued}</b> waiting</p>",
        all - down,
        sum("scur"),
        sum("rate"),
        sum("req_rate"),
    );
}

fn count(row: &Row<'_>, column: &str) -> u64 {
    match row.value(column) {
        Some(Value::Count(count) | Value::Micros(count)) => count,
        Some(Value::Text(_) | Value::Negative) | None => 0,
    }
}

/// Returns the kind of state a row is in, as its class.
fn state(row: &Row<'_>) -> &'static str {
    let Some(Value::Text(status)) = row.value("status") else { return "" };
    state_named(&status)
}

fn state_named(status: &str) -> &'static str {
    match status.split([' ', '/']).next() {
        Some("UP" | "OPEN" | "no") => "up",
        Some("DOWN" | "MAINT" | "STOP") => "down",
        _ => "rest",
    }
}

/// Text between tags, or between quotes in one.
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

/// A number of bytes, to three digits or so.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(" kB", 1_000), (" MB", 1_000_000), (" GB", 1_000_000_000), (" TB", 1_000_000_000_000)];
        match units.into_iter().rev().find(|(_, size)| self.0 >= *size) {
            Some((unit, size)) => write!(f, "{}.{}{unit}", self.0 / size, self.0 % size * 10 / size),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// What can be done to a server, and what it is called.
const ACTIONS: [(&str, &str); 13] = [
    ("ready", "ready: takes traffic"),
    ("drain", "drain: nothing new"),
    ("maint", "maint: out of service"),
    ("weight", "set weight"),
    ("dhlth", "checks off"),
    ("ehlth", "checks on"),
    ("hrunn", "health: up"),
    ("hnolb", "health: stopping"),
    ("hdown", "health: down"),
    ("dagent", "agent off"),
    ("eagent", "agent on"),
    ("adown", "agent: down"),
    ("shutdown", "end its sessions"),
];

/// What the script draws.
const HISTORY: &str = "last two minutes";

/// What the page shows: titles, and the columns whose values stand side by side.
const COLUMNS: [(&str, &[&str]); 13] = [
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
    ("average ms: queue / connect / response / total", &["qtime", "ctime", "rtime", "ttime"]),
    ("last minute ms: half / 95 % / 99 % within", &["latency_p50", "latency_p95", "latency_p99"]),
];

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_tags() {
        assert_eq!(Escaped("<b>&\"x\"").to_string(), "&lt;b&gt;&amp;&quot;x&quot;");
    }

    #[test]
    fn bytes_are_short() {
        for (bytes, shown) in [(0, "0 B"), (999, "999 B"), (1_234, "1.2 kB"), (5_000_000, "5.0 MB"), (u64::MAX, "18446744.0 TB")] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }
}
