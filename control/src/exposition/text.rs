//! The Prometheus text format, version 0.0.4, as far as gauges, counters and histograms need it.

use std::fmt::Write;

use super::selection::Selection;
use crate::server_state::Status;

/// Whether a family's values go up and down or only up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and starts anew with the process; its name ends in `_total`.
    Counter,
    /// Any number at any time.
    Gauge,
    /// How many there were up to each of some lengths.
    Histogram,
}

/// A text of metrics in the making.
#[derive(Debug, Default)]
pub struct Metrics {
    text: String,
    selection: Selection,
}

/// The samples of one family; borrows the text, so that a family stays in one piece.
#[derive(Debug)]
pub struct Family<'a> {
    /// `None` if nobody asked for the family.
    text: Option<&'a mut String>,
    name: &'a str,
}

impl Metrics {
    /// Returns an empty text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty text that takes only what is selected.
    pub(super) fn of(selection: Selection) -> Self {
        Self { text: String::new(), selection }
    }

    /// Tells whether servers of this status are left out.
    pub fn hides(&self, status: Status) -> bool {
        self.selection.hides(status)
    }

    /// Begins a family; each may begin once in a text.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        if !self.selection.wants(name) {
            return Family { text: None, name };
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, Quote::No);
        self.text.push_str("\n# TYPE ");
        for part in [name, " ", kind, "\n"] {
            self.text.push_str(part);
        }
        Family { text: Some(&mut self.text), name }
    }

    /// Returns the finished text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample with a whole number.
    pub fn whole(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        self.sample(labels, format_args!("{value}"))
    }

    /// Adds a sample with a fraction, such as seconds.
    pub fn fraction(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.sample(labels, format_args!("{value}"))
    }

    /// Adds what belongs to one set of labels: how many did not exceed each of some lengths, how many there are, and their sum.
    pub fn steps<'s>(
        &mut self,
        labels: &[(&str, &str)],
        steps: impl Iterator<Item = (&'s str, u64)>,
        (count, sum): (u64, f64),
    ) -> &mut Self {
        if self.text.is_none() {
            return self;
        }
        let steps = steps.chain([("+Inf", count)]);
        for (le, up_to) in steps {
            self.part("_bucket", labels.iter().copied().chain([("le", le)]), format_args!("{up_to}"));
        }
        self.part("_sum", labels.iter().copied(), format_args!("{sum}"));
        self.part("_count", labels.iter().copied(), format_args!("{count}"));
        self
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: std::fmt::Arguments<'_>) -> &mut Self {
        self.part("", labels.iter().copied(), value);
        self
    }

    fn part<'l>(&mut self, ending: &str, labels: impl Iterator<Item = (&'l str, &'l str)>, value: std::fmt::Arguments<'_>) {
        let Some(text) = self.text.as_deref_mut() else { return };
        text.push_str(self.name);
        text.push_str(ending);
        let mut separator = '{';
        for (name, value) in labels {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value, Quote::Yes);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        writeln!(text, " {value}").expect("writing to a string cannot fail");
    }
}

/// Whether the text stands between double quotes.
#[derive(Clone, Copy, PartialEq)]
enum Quote {
    Yes,
    No,
}

fn escape(text: &mut String, value: &str, quote: Quote) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quote == Quote::Yes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_is_announced_once_before_its_samples() {
        let mut metrics = Metrics::new();
        metrics.family("packets_total", Kind::Counter, "Packets seen.").whole(&[], 3).whole(&[("reason", "not_ip"), ("family", "v6")], 7);
        metrics.family("load", Kind::Gauge, "Load.").fraction(&[], 0.25).fraction(&[], 2.0);
        let expected = "# HELP packets_total Packets seen.\n# TYPE packets_total counter\npackets_total 3\n\
                        packets_total{reason=\"not_ip\",family=\"v6\"} 7\n\
                        # HELP load Load.\n# TYPE load gauge\nload 0.25\nload 2\n";
        assert_eq!(metrics.into_text(), expected);
    }

    #[test]
    fn histogram_has_a_last_step_that_has_no_end() {
        let mut metrics = Metrics::new();
        metrics.family("t_seconds", Kind::Histogram, "T.").steps(&[("p", "a")], [("0.1", 2), ("1", 3)].into_iter(), (4, 7.5));
        let expected = "# HELP t_seconds T.\n# TYPE t_seconds histogram\nt_seconds_bucket{p=\"a\",le=\"0.1\"} 2\n\
                        t_seconds_bucket{p=\"a\",le=\"1\"} 3\nt_seconds_bucket{p=\"a\",le=\"+Inf\"} 4\nt_seconds_sum{p=\"a\"} 7.5\n\
                        t_seconds_count{p=\"a\"} 4\n";
        assert_eq!(metrics.into_text(), expected);
    }

    #[test]
    fn help_and_labels_are_escaped() {
        let mut metrics = Metrics::new();
        metrics.family("x", Kind::Gauge, "a \\ b\n\"c\"").whole(&[("l", "a\\b\n\"c\"é")], 1);
        assert_eq!(metrics.into_text(), "# HELP x a \\\\ b\\n\"c\"\n# TYPE x gauge\nx{l=\"a\\\\b\\n\\\"c\\\"é\"} 1\n");
    }
}
