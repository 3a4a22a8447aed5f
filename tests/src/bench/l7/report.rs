//! What came out, as tables.

use std::fmt::{self, Write as _};

use super::super::report::Spread;
use super::case::Case;
use super::measure::{GIB, Measure, Sample};
use super::peer::Proxy;
use super::verdict::{Target, Verdict, figures};

/// All figures of a run.
#[derive(Debug)]
pub(super) struct Report {
    /// What the reader must know about all of them.
    pub(super) notes: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// A case and how each proxy did.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) case: &'static Case,
    pub(super) outcomes: Vec<(Proxy, Outcome)>,
}

/// How a proxy did in a case.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// One sample of each round.
    Measured(Vec<Sample>),
    /// It cannot do that, or is not here.
    NotRun(String),
    /// Something was wrong in one of the rounds.
    Void(String),
}

impl Row {
    /// Returns how a proxy did, if it took part.
    pub(super) fn outcome(&self, proxy: Proxy) -> Option<&Outcome> {
        self.outcomes.iter().find(|(known, _)| *known == proxy).map(|(_, outcome)| outcome)
    }
}

impl Report {
    /// Returns the proxies that took part in any case.
    fn proxies(&self) -> impl Iterator<Item = Proxy> {
        Proxy::ALL.into_iter().filter(|proxy| self.rows.iter().any(|row| row.outcome(*proxy).is_some()))
    }

    /// Tells whether all that was measured was right.
    pub(super) fn is_valid(&self) -> bool {
        self.rows.iter().flat_map(|row| &row.outcomes).all(|(_, outcome)| !matches!(outcome, Outcome::Void(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        write!(f, "\n{:<15}{:<16}", "case", "median of")?;
        for proxy in self.proxies() {
            write!(f, "{:>15}", proxy.name())?;
        }
        writeln!(f, "   l7d over")?;
        for row in &self.rows {
            writeln!(f, "{}", comparison(row, self.proxies()))?;
        }
        writeln!(
            f,
            "\n{:<15}{:<16}{:>10}{:>12}{:>12}{:>10}{:>10}{:>12}",
            "case", "proxy", "answers/s", "CPU µs each", "GiB/CPU s", "p50 µs", "p99 µs", "CPU used"
        )?;
        for row in &self.rows {
            for (proxy, outcome) in &row.outcomes {
                if let Outcome::Measured(samples) = outcome
                    && let Some(details) = details(samples)
                {
                    writeln!(f, "{:<15}{proxy:<16}{details}", row.case.name)?;
                }
            }
        }
        self.write_reasons(f)?;
        self.write_summary(f)
    }
}

impl Report {
    /// Writes why figures are missing.
    fn write_reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for row in &self.rows {
            for (proxy, outcome) in &row.outcomes {
                match outcome {
                    Outcome::Measured(_) => {}
                    Outcome::NotRun(why) => writeln!(f, "{}: {proxy} not run: {why}", row.case.name)?,
                    Outcome::Void(why) => writeln!(f, "{}: {proxy} VOID: {why}", row.case.name)?,
                }
            }
        }
        Ok(())
    }

    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted: Vec<&Row> = self.rows.iter().filter(|row| row.case.goal.most.is_some()).collect();
        let targets: Vec<Target> = wanted.iter().filter_map(|row| Verdict::of(row).target()).collect();
        let met = targets.iter().filter(|target| target.met).count();
        writeln!(f, "{met} of {} targets met, {} missed, {} not judged", wanted.len(), targets.len() - met, wanted.len() - targets.len())?;
        let unsteady: Vec<&str> = self.rows.iter().filter(|row| is_unsteady(row)).map(|row| row.case.name).collect();
        if !unsteady.is_empty() {
            let percent = (NOISY - 1.0) * 100.0;
            writeln!(f, "The machine was busy: haproxy or nginx itself varied by more than {percent:.0} % in {}", unsteady.join(", "))?;
        }
        Ok(())
    }
}

/// How much the CPU time of a peer may vary before the reader is told.
const NOISY: f64 = 1.15;

/// Tells whether a peer, which does the same in every round, took different times for it.
fn is_unsteady(row: &Row) -> bool {
    let varies = |spread: Spread| spread.most > NOISY * spread.least;
    let peers = Proxy::ALL.into_iter().filter(|proxy| proxy.is_plain_peer());
    let mut spreads = peers.filter_map(|proxy| figures(row, proxy).and_then(Spread::of));
    matches!(row.case.measure, Measure::Request | Measure::Gibibyte) && spreads.any(varies)
}

fn comparison(row: &Row, proxies: impl Iterator<Item = Proxy>) -> String {
    let mut line = format!("{:<15}{:<16}", row.case.name, row.case.measure.unit());
    for proxy in proxies {
        let cell = match row.outcome(proxy) {
            None => "-".to_owned(),
            Some(Outcome::NotRun(_)) => "not run".to_owned(),
            Some(Outcome::Void(_)) => "VOID".to_owned(),
            Some(Outcome::Measured(_)) => {
                figures(row, proxy).and_then(Spread::of).map_or_else(|| "-".to_owned(), |spread| format!("{:.2}", spread.median))
            }
        };
        write!(line, "{cell:>15}").expect("a string takes all text");
    }
    let verdict = match Verdict::of(row) {
        Verdict::Ratio { to, spread, target } => {
            format!("{to} {:.2} ({:.2}-{:.2}){}", spread.median, spread.least, spread.most, goal(target))
        }
        Verdict::Figure { target, .. } => format!("nobody{}", goal(target)),
        Verdict::None => row.case.goal.most.map_or_else(|| "-".to_owned(), |most| format!("- target {most:.2}: not judged")),
    };
    line + "   " + &verdict
}

fn goal(target: Option<Target>) -> String {
    target.map_or_else(String::new, |Target { most, met }| format!(", target {most:.2}: {}", if met { "met" } else { "MISSED" }))
}

/// Returns the medians of what else was measured, where answers were counted over a time.
fn details(samples: &[Sample]) -> Option<String> {
    if samples.iter().any(|sample| sample.wall.is_zero()) {
        return None;
    }
    let cell = |width: usize, digits: usize, figure: &dyn Fn(&Sample) -> f64| {
        // Of answers that take longer than a run there are none to count.
        let median = Spread::of(samples.iter().map(figure)).map(|spread| spread.median).filter(|median| median.is_normal());
        median.map_or_else(|| format!("{:>width$}", "-"), |median| format!("{median:>width$.digits$}"))
    };
    let cells = [
        cell(10, 0, &Sample::rate),
        cell(12, 1, &|sample| sample.cpu.as_secs_f64() * 1e6 / sample.requests as f64),
        cell(12, 2, &|sample| sample.bytes as f64 / GIB / sample.cpu.as_secs_f64()),
        cell(10, 0, &|sample| sample.p50.as_secs_f64() * 1e6),
        cell(10, 0, &|sample| sample.p99.as_secs_f64() * 1e6),
        cell(10, 0, &|sample| sample.load() * 100.0),
    ];
    Some(cells.concat() + " %")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::verdict::tests::{row, samples};
    use super::*;

    fn words(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_row_shows_medians_ratio_and_target() {
        let outcomes =
            vec![(Proxy::L7d, samples(&[19, 20, 21])), (Proxy::Haproxy, samples(&[40, 40, 40])), (Proxy::Nginx, samples(&[20, 20, 20]))];
        let line = comparison(&row("keep-alive", outcomes), Proxy::ALL[..4].iter().copied());
        assert_eq!(words(&line), "keep-alive CPU µs/request 20.00 40.00 - 20.00 nginx 1.00 (0.95-1.05), target 0.92: MISSED");
    }

    #[test]
    fn answers_longer_than_a_run_still_have_a_cost() {
        let sample = Sample { bytes: 1 << 30, cpu: Duration::from_millis(500), wall: Duration::from_secs(1), ..Sample::default() };
        assert_eq!(words(&details(&[sample]).unwrap()), "- - 2.00 - - 50 %");
        assert_eq!(details(&[Sample { connections: 10, ..Sample::default() }]), None);
    }

    #[test]
    fn a_peer_that_varies_tells_of_a_busy_machine() {
        let report =
            |costs: &[u64]| Report { notes: Vec::new(), rows: vec![row("fresh", vec![(Proxy::Nginx, samples(costs))])] }.to_string();
        assert!(report(&[40, 50]).contains("varied by more than 15 % in fresh"));
        assert!(!report(&[40, 45]).contains("busy"));
    }

    #[test]
    fn what_is_not_run_is_shown_with_its_reason() {
        let refused = Outcome::NotRun("site.toml:8:9: l7d does not end TLS yet".to_owned());
        let outcomes =
            vec![(Proxy::L7d, refused), (Proxy::Haproxy, samples(&[20])), (Proxy::Nginx, Outcome::Void("answered `503`".to_owned()))];
        let report = Report { notes: Vec::new(), rows: vec![row("h2", outcomes)] };
        assert!(!report.is_valid());
        let text = report.to_string();
        for expected in
            ["not run", "h2: l7d not run: site.toml:8:9: l7d does not end TLS yet", "h2: nginx VOID: answered `503`", "not judged"]
        {
            assert!(text.contains(expected), "no `{expected}` in\n{text}");
        }
        assert!(text.ends_with("0 of 1 targets met, 0 missed, 1 not judged\n"), "{text}");
    }
}
