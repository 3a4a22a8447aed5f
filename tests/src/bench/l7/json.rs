//! The report for programs: every sample of every round.

use std::time::Duration;

use super::super::report::{Spread, quoted};
use super::case::Against;
use super::measure::Sample;
use super::peer::Proxy;
use super::report::{Outcome, Report, Row};
use super::verdict::{Verdict, figures};

/// Returns the report as JSON.
pub(super) fn json(report: &Report) -> String {
    let notes: Vec<String> = report.notes.iter().map(quoted).collect();
    let rows: Vec<String> = report.rows.iter().map(row).collect();
    format!("{{\n  \"notes\": [{}],\n  \"cases\": [\n{}\n  ]\n}}\n", notes.join(", "), rows.join(",\n"))
}

fn row(row: &Row) -> String {
    let outcomes: Vec<String> = row.outcomes.iter().map(|(proxy, outcome)| self::outcome(row, *proxy, outcome)).collect();
    let (to, spread, target) = match Verdict::of(row) {
        Verdict::Ratio { to, spread, target } => (Some(to.name()), Some(spread), target),
        Verdict::Figure { spread, target } => (None, Some(spread), target),
        Verdict::None => (None, None, None),
    };
    let against = match row.case.goal.against {
        Against::BestPeer => "better of haproxy and nginx",
        Against::Peer(peer) => peer.name(),
        Against::Itself => "limit",
    };
    format!(
        "    {{\"case\": {}, \"about\": {}, \"unit\": {}, \"against\": {}, \"compared_with\": {}, \"l7d_over\": {}, \"target\": {}, \"met\": {}, \
         \"proxies\": [\n{}\n    ]}}",
        quoted(row.case.name),
        quoted(row.case.about),
        quoted(row.case.measure.unit()),
        quoted(against),
        or_null(to.map(quoted)),
        or_null(spread.map(Spread::json)),
        or_null(row.case.goal.most.map(|most| most.to_string())),
        or_null(target.map(|target| target.met.to_string())),
        outcomes.join(",\n")
    )
}

fn outcome(row: &Row, proxy: Proxy, outcome: &Outcome) -> String {
    let name = quoted(proxy.name());
    match outcome {
        Outcome::NotRun(why) => format!("      {{\"proxy\": {name}, \"status\": \"not run\", \"reason\": {}}}", quoted(why)),
        Outcome::Void(why) => format!("      {{\"proxy\": {name}, \"status\": \"void\", \"reason\": {}}}", quoted(why)),
        Outcome::Measured(samples) => {
            let figure = figures(row, proxy).and_then(Spread::of).map(Spread::json);
            let samples: Vec<String> = samples.iter().map(sample).collect();
            format!(
                "      {{\"proxy\": {name}, \"status\": \"measured\", \"figure\": {}, \"samples\": [{}]}}",
                or_null(figure),
                samples.join(", ")
            )
        }
    }
}

fn sample(sample: &Sample) -> String {
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    format!(
        "{{\"answers\": {}, \"bytes\": {}, \"cpu_us\": {:.0}, \"wall_us\": {:.0}, \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"memory_bytes\": {}, \
         \"idle_connections\": {}}}",
        sample.requests,
        sample.bytes,
        micros(sample.cpu),
        micros(sample.wall),
        micros(sample.p50),
        micros(sample.p99),
        sample.memory,
        sample.connections
    )
}

fn or_null(text: Option<String>) -> String {
    text.unwrap_or_else(|| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::{row, samples};
    use super::*;

    #[test]
    fn every_sample_and_every_reason_is_there() {
        let outcomes = vec![
            (Proxy::L7d, samples(&[9, 11])),
            (Proxy::Haproxy, samples(&[20, 20])),
            (Proxy::Nginx, Outcome::NotRun("say \"no\"".to_owned())),
        ];
        let text = json(&Report { notes: vec!["rules on".to_owned()], rows: vec![row("keep-alive", outcomes)] });
        assert_eq!(text.matches("\"cpu_us\"").count(), 4);
        for expected in [
            "\"notes\": [\"rules on\"]",
            "\"l7d_over\": {\"median\": 0.50, \"min\": 0.45, \"max\": 0.55}, \"target\": 0.92, \"met\": true",
            "\"compared_with\": \"haproxy\"",
            "\"status\": \"not run\", \"reason\": \"say \\\"no\\\"\"",
        ] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
    }
}
