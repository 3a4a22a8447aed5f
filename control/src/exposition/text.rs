//! The Prometheus text format, version 0.0.4, as far as gauges and counters need it.

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

    fn sample(&mut self, labels: &[(&str, &str)], value: std::fmt::Arguments<'_>) -> &mut Self {
        let Some(text) = self.text.as_deref_mut() else { return self };
        text.push_str(self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value, Quote::Yes);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        writeln!(text, " {value}").expect("writing to a string cannot fail");
        self
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
    fn help_and_labels_are_escaped() {
        let mut metrics = Metrics::new();
        metrics.family("x", Kind::Gauge, "a \\ b\n\"c\"").whole(&[("l", "a\\b\n\"c\"é")], 1);
        assert_eq!(metrics.into_text(), "# HELP x a \\\\ b\\n\"c\"\n# TYPE x gauge\nx{l=\"a\\\\b\\n\\\"c\\\"é\"} 1\n");
    }
}
