//! What is drawn: a table of 80 columns, wider where there is room for longer names.

use std::fmt::Write as _;

use super::sample::{Kind, Row, Sample};

/// What is shown, and what is being asked.
#[derive(Debug)]
pub(super) struct Screen {
    now: Sample,
    before: Option<Sample>,
    filter: String,
    /// The row that is chosen, among those that are shown.
    place: usize,
    /// The first of those there is room for.
    first: usize,
    asking: Option<Asking>,
    message: String,
}

/// A question to whoever looks.
#[derive(Debug)]
pub(super) enum Asking {
    /// Whether something is really wanted.
    Sure { what: String, command: String },
    /// Which weight a server is to have.
    Weight { server: String, typed: String },
    /// Which names are to be shown.
    Filter(String),
}

/// How large a terminal is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// A line, and how it stands out.
pub(super) type Drawn = (String, Look);

/// How a line stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Bold,
    /// Dark on light.
    Chosen,
    /// Something is wrong.
    Bad,
}

impl Screen {
    pub(super) fn new(now: Sample) -> Self {
        Self { now, before: None, filter: String::new(), place: 0, first: 0, asking: None, message: String::new() }
    }

    /// Takes a newer look.
    pub(super) fn take(&mut self, now: Sample) {
        self.before = Some(std::mem::replace(&mut self.now, now));
    }

    /// Says something in the last line.
    pub(super) fn say(&mut self, message: String) {
        self.message = message;
    }

    pub(super) fn ask(&mut self, asking: Asking) {
        self.asking = Some(asking);
    }

    pub(super) fn asking(&self) -> Option<&Asking> {
        self.asking.as_ref()
    }

    pub(super) fn end_asking(&mut self) -> Option<Asking> {
        self.asking.take()
    }

    /// Shows only what has this text in a name.
    pub(super) fn filter(&mut self, text: &str) {
        text.clone_into(&mut self.filter);
        self.place = 0;
    }

    /// Chooses another row.
    pub(super) fn step(&mut self, by: isize) {
        let last = self.shown().len().saturating_sub(1);
        self.place = self.place.saturating_add_signed(by).min(last);
    }

    /// Returns the row that is chosen.
    pub(super) fn chosen(&self) -> Option<&Row> {
        self.shown().get(self.place).copied()
    }

    fn shown(&self) -> Vec<&Row> {
        let has = |row: &&Row| row.proxy.contains(&self.filter) || row.name.contains(&self.filter);
        self.now.rows.iter().filter(has).collect()
    }

    /// Draws everything.
    pub(super) fn draw(&mut self, size: Size) -> Vec<Drawn> {
        let room = size.rows.saturating_sub(4).max(1);
        let rows = self.shown();
        let place = self.place.min(rows.len().saturating_sub(1));
        let first = self.first.clamp((place + 1).saturating_sub(room), place);
        let mut lines = vec![(self.head(), Look::Plain), (heading(size), Look::Bold)];
        for (number, row) in rows.iter().enumerate().skip(first).take(room) {
            let look = match row.text("status") {
                _ if number == place => Look::Chosen,
                status if status.starts_with("DOWN") => Look::Bad,
                _ if row.kind == Kind::Server => Look::Plain,
                _ => Look::Bold,
            };
            lines.push((self.line(row, size), look));
        }
        lines.push((self.foot(), Look::Plain));
        lines.iter_mut().for_each(|(line, _)| *line = line.chars().take(size.columns).collect());
        (self.place, self.first) = (place, first);
        lines
    }

    fn head(&self) -> String {
        let info = |name| self.now.info(name);
        let sum = |column| self.now.rows.iter().map(|row| row.number(column)).sum::<u64>();
        let down = self.now.rows.iter().filter(|row| row.kind == Kind::Server && row.text("status").starts_with("DOWN")).count();
        format!(
            "l7d pid {} up {}  conns {}/{}  conn/s {}  queue {}  down {down}",
            info("Pid"),
            self.now.info_text("Uptime"),
            info("CurrConns"),
            info("Maxconn"),
            info("ConnRate"),
            sum("qcur"),
        )
    }

    fn line(&self, row: &Row, size: Size) -> String {
        let name = match row.kind {
            Kind::Frontend => format!("> {}", row.proxy),
            Kind::Backend => format!("= {}", row.proxy),
            Kind::Server => format!("    {}", row.name),
        };
        let rate = row.known("req_rate").unwrap_or_else(|| row.number("rate"));
        let growth = |columns: &[&str]| self.before.as_ref().map_or(0.0, |before| self.now.growth(before, row, columns));
        let errors = growth(&["ereq", "econ", "eresp", "hrsp_5xx"]);
        let time = |column| row.known(column).map_or_else(|| "-".to_owned(), milliseconds);
        let weight = if row.kind == Kind::Server { row.number("weight").to_string() } else { String::new() };
        format!(
            "{} {:<9}{:>6}{:>6}{:>7}{:>7}{:>7}{:>6}{:>5}{:>7}",
            fitted(&name, width_of_names(size)),
            fitted(row.text("status"), 9).trim_end(),
            short(row.number("scur")),
            short(row.number("qcur")),
            short(rate),
            time("latency_p50"),
            time("latency_p99"),
            if errors > 0.0 && errors < 10.0 { format!("{errors:.1}") } else { format!("{errors:.0}") },
            weight,
            bytes(growth(&["bin", "bout"])),
        )
    }

    fn foot(&self) -> String {
        match &self.asking {
            Some(Asking::Sure { what, .. }) => format!("{what}? y/n"),
            Some(Asking::Weight { server, typed }) => format!("weight of {server} (0 to 256): {typed}_"),
            Some(Asking::Filter(typed)) => format!("names with: {typed}_"),
            None if !self.message.is_empty() => self.message.clone(),
            None => "j/k choose  d drain  r ready  m maint  w weight  / names  q quit".to_owned(),
        }
    }
}

fn heading(size: Size) -> String {
    let name = fitted("NAME", width_of_names(size));
    format!(
        "{name} {:<9}{:>6}{:>6}{:>7}{:>7}{:>7}{:>6}{:>5}{:>7}",
        "STATE", "SESS", "QUEUE", "REQ/S", "P50ms", "P99ms", "ERR/S", "WGT", "B/S"
    )
}

/// What is left beside the numbers, which take 61 columns.
fn width_of_names(size: Size) -> usize {
    size.columns.saturating_sub(61).clamp(8, 40)
}

/// Cuts a text, or fills it up.
fn fitted(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return format!("{text:<width$}");
    }
    text.chars().take(width - 1).chain(['~']).collect()
}

/// Prints a number in at most five places.
fn short(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..10_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}M", number / 1_000_000),
    }
}

/// Prints microseconds as milliseconds.
fn milliseconds(time: u64) -> String {
    match time {
        0..10_000 => format!("{}.{:02}", time / 1_000, time % 1_000 / 10),
        10_000..1_000_000 => format!("{}.{}", time / 1_000, time % 1_000 / 100),
        _ => short(time / 1_000),
    }
}

fn bytes(rate: f64) -> String {
    let units = [("G", 1e9), ("M", 1e6), ("k", 1e3)];
    match units.into_iter().find(|(_, size)| rate >= *size) {
        Some((unit, size)) => format!("{:.1}{unit}", rate / size),
        None => format!("{rate:.0}"),
    }
}

/// Returns lines as a terminal shows them.
pub(super) fn painted(lines: &[Drawn]) -> String {
    let mut out = String::from("\x1b[H");
    for (number, (line, look)) in lines.iter().enumerate() {
        let code = match look {
            Look::Plain => "0",
            Look::Bold => "1",
            Look::Chosen => "7",
            Look::Bad => "31",
        };
        let end = if number + 1 < lines.len() { "\r\n" } else { "" };
        write!(out, "\x1b[{code}m{}\x1b[0m\x1b[K{end}", safe(line)).expect("a string takes everything");
    }
    out.push_str("\x1b[J");
    out
}

/// Returns lines without anything but their text.
pub(super) fn plain(lines: &[Drawn]) -> String {
    lines.iter().map(|(line, _)| safe(line).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Leaves out what would move the cursor.
fn safe(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_columns() {
        for (number, shown) in [(0, "0"), (99_999, "99999"), (100_000, "100k"), (9_999_999, "9999k"), (10_000_000, "10M")] {
            assert_eq!(short(number), shown);
        }
        for (time, shown) in [(0, "0.00"), (1_234, "1.23"), (12_345, "12.3"), (999_999, "999.9"), (2_000_000, "2000")] {
            assert_eq!(milliseconds(time), shown);
        }
        assert_eq!((bytes(999.0), bytes(1500.0), bytes(2.5e9)), ("999".to_owned(), "1.5k".to_owned(), "2.5G".to_owned()));
        let size = Size { columns: 80, rows: 24 };
        assert_eq!(heading(size).chars().count(), 80);
        assert_eq!(fitted("a-very-long-name", 8), "a-very-~");
    }
}
