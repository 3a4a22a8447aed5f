//! What came out: medians with their spread, as a table and as JSON.

use std::fmt::{self, Write as _};

/// All figures of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Nanoseconds per frame with `XDP_DROP` in the balancer's place, by round.
    pub(super) floor_drop: Vec<f64>,
    /// The same for `XDP_TX`.
    pub(super) floor_tx: Vec<f64>,
    pub(super) rows: Vec<Figures>,
}

/// A run of a row beside one of the floor, in nanoseconds per frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) row: f64,
    pub(super) floor: f64,
}

/// Figures of a row.
#[derive(Debug)]
pub(super) struct Figures {
    name: String,
    target: Option<u32>,
    katran: Option<&'static str>,
    pairs: Vec<Pair>,
    /// Nanoseconds by the kernel's clock of programs, less those of `XDP_DROP`.
    clock: Option<f64>,
    /// Why the row does not count.
    fault: Option<String>,
}

/// Median, least and most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// Returns the spread of some values, of which there must be one at least.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, least, most })
    }

    /// Returns it as JSON.
    pub(super) fn json(self) -> String {
        format!("{{\"median\": {:.2}, \"min\": {:.2}, \"max\": {:.2}}}", self.median, self.least, self.most)
    }
}

impl Figures {
    /// Makes a row without figures yet.
    pub(super) fn new(name: String, target: Option<u32>, katran: Option<&'static str>) -> Self {
        Self { name, target, katran, pairs: Vec::new(), clock: None, fault: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds a round.
    pub(super) fn push(&mut self, pair: Pair, fault: Option<String>) {
        self.pairs.push(pair);
        self.blame(fault);
    }

    /// Sets the figure of the kernel's clock.
    pub(super) fn set_clock(&mut self, nanoseconds: f64, fault: Option<String>) {
        self.clock = Some(nanoseconds);
        self.blame(fault);
    }

    /// Returns why the row does not count.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    fn blame(&mut self, fault: Option<String>) {
        self.fault = self.fault.take().or(fault);
    }

    fn over_floor(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|pair| pair.row - pair.floor))
    }

    fn mpps(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|pair| 1000.0 / pair.row))
    }

    fn json(&self) -> String {
        let or_null = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
        format!(
            "    {{\"name\": {}, \"valid\": {}, \"fault\": {}, \"mpps\": {}, \"ns_over_floor_tx\": {}, \"bpf_stats_ns\": {}, \
             \"target_ns\": {}, \"katran_ns_elsewhere\": {}}}",
            quoted(&self.name),
            self.fault.is_none(),
            or_null(self.fault.as_deref().map(quoted)),
            or_null(self.mpps().map(Spread::json)),
            or_null(self.over_floor().map(Spread::json)),
            or_null(self.clock.map(|clock| format!("{clock:.2}"))),
            or_null(self.target.map(|target| target.to_string())),
            or_null(self.katran.map(quoted)),
        )
    }
}

impl Report {
    /// Tells whether every row counts.
    pub(super) fn is_valid(&self) -> bool {
        self.rows.iter().all(|row| row.fault().is_none())
    }

    /// Returns everything as JSON.
    pub(super) fn json(&self, machine: &str) -> String {
        let floor = |values: &[f64]| Spread::of(values.iter().copied()).map_or_else(|| "null".to_owned(), Spread::json);
        let rows: Vec<String> = self.rows.iter().map(Figures::json).collect();
        format!(
            "{{\n  \"machine\": {},\n  \"rounds\": {},\n  \"floor_drop_ns\": {},\n  \"floor_tx_ns\": {},\n  \"rows\": [\n{}\n  ]\n}}\n",
            quoted(machine),
            self.floor_tx.len(),
            floor(&self.floor_drop),
            floor(&self.floor_tx),
            rows.join(",\n")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, values) in [("floor_drop", &self.floor_drop), ("floor_tx", &self.floor_tx)] {
            if let Some(Spread { median, least, most }) = Spread::of(values.iter().copied()) {
                writeln!(f, "{name:<28} {:5.2} Mpps  {median:4.0} ns a packet ({least:.0}-{most:.0})", 1000.0 / median)?;
            }
        }
        writeln!(f, "\n{:<28} {:>5}  {:>21}  {:>9}  {:>6}  {:>8}", "", "Mpps", "ns over floor_tx", "bpf_stats", "target", "Katran*")?;
        for row in &self.rows {
            writeln!(f, "{}", line(row))?;
        }
        writeln!(
            f,
            "\nns over floor_tx: 1/pps less that of the floor beside it; median (least-most). bpf_stats: the kernel's clock of programs,"
        )?;
        writeln!(
            f,
            "less that of floor_drop: an upper bound. *Katran: as published by this project for its IPIP, measured in another run."
        )?;
        if Spread::of(self.floor_tx.iter().copied()).is_some_and(|floor| floor.most > NOISY * floor.least) {
            writeln!(f, "The machine was busy: floor_tx itself varied by more than {:.0} %.", (NOISY - 1.0) * 100.0)?;
        }
        Ok(())
    }
}

/// How much the floor may vary before the reader is told.
const NOISY: f64 = 1.15;

fn line(row: &Figures) -> String {
    let mut line = format!("{:<28}", row.name);
    if let Some(fault) = row.fault() {
        return line + " INVALID: " + fault;
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let over = row.over_floor().map(|Spread { median, least, most }| format!("{median:.0} ({least:.0}-{most:.0})"));
    write!(
        line,
        " {:>5}  {:>21}  {:>9}  {:>6}  {:>8}",
        or_dash(row.mpps().map(|mpps| format!("{:.2}", mpps.median))),
        or_dash(over),
        or_dash(row.clock.map(|clock| format!("{clock:.0}"))),
        or_dash(row.target.map(|target| target.to_string())),
        row.katran.unwrap_or("-"),
    )
    .expect("a string takes all text");
    line
}

/// Returns text as JSON.
pub(super) fn quoted(text: impl AsRef<str>) -> String {
    let escaped = text.as_ref().chars().flat_map(|letter| match letter {
        '"' | '\\' => vec!['\\', letter],
        _ if letter.is_control() => vec![' '],
        _ => vec![letter],
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(fault: Option<&str>) -> Figures {
        let mut figures = Figures::new("nat 1".to_owned(), Some(45), None);
        for row in [250.0, 240.0, 300.0] {
            figures.push(Pair { row, floor: 200.0 }, None);
        }
        figures.set_clock(48.25, fault.map(str::to_owned));
        figures
    }

    #[test]
    fn a_row_shows_the_median_and_its_spread() {
        let text = line(&figures(None));
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["nat", "1", "4.00", "50", "(40-100)", "48", "45", "-"]);
    }

    #[test]
    fn an_invalid_row_shows_no_figures() {
        let text = line(&figures(Some("of 10 frames 9 came back")));
        assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), "nat 1 INVALID: of 10 frames 9 came back");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn json_escapes_what_it_quotes() {
        assert_eq!(quoted("a \"b\" \\ c\n"), r#""a \"b\" \\ c ""#);
        let report = Report { floor_drop: vec![140.0], floor_tx: vec![200.0], rows: vec![figures(Some("why"))] };
        assert!(report.json("m").contains(r#""name": "nat 1", "valid": false, "fault": "why""#));
        assert!(!report.is_valid());
    }
}
