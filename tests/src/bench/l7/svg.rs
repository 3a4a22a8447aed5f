//! The report as a picture: for every case a bar for each proxy, as long as its figure over that of the best plain peer.

use std::fmt::Write as _;

use super::super::report::Spread;
use super::peer::Proxy;
use super::report::{Report, Row};
use super::verdict::{best_peer, figures};

/// Returns the chart.
pub(super) fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut top = HEAD;
    for row in &report.rows {
        top = group(&mut body, row, top) + GAP;
    }
    let height = top + GAP;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"15\">Cost over the better of haproxy and nginx; shorter is better</text>\n"
    );
    for (index, proxy) in Proxy::ALL.into_iter().enumerate() {
        let x = LEFT + 130 * u32::try_from(index).unwrap_or(0);
        rectangle(&mut text, (x, 28), 10.0, color(proxy));
        label(&mut text, (x + 14, 37), proxy.name());
    }
    let line = LEFT + UNIT;
    writeln!(text, "<line x1=\"{line}\" y1=\"{HEAD}\" x2=\"{line}\" y2=\"{top}\" stroke=\"#888\" stroke-dasharray=\"3 3\"/>")
        .expect(TAKES_ALL);
    text + &body + "</svg>\n"
}

/// Draws a case from a height on and returns where it ends.
fn group(body: &mut String, row: &Row, top: u32) -> u32 {
    let median = |proxy| Some(Spread::of(figures(row, proxy)?)?.median);
    // Where no plain peer was measured the bars are in proportion to each other all the same.
    let unit = best_peer(row).and_then(median).or_else(|| Proxy::ALL.into_iter().find_map(median)).filter(|unit| *unit > 0.0);
    label(body, (8, top + 11), row.case.name);
    let mut y = top;
    for (proxy, _) in &row.outcomes {
        match (median(*proxy), unit) {
            (Some(figure), Some(unit)) => {
                let ratio = figure / unit;
                let length = (ratio * f64::from(UNIT)).clamp(1.0, f64::from(WIDTH - LEFT - ROOM));
                rectangle(body, (LEFT, y), length, color(*proxy));
                let end = LEFT + length as u32;
                label(body, (end + 4, y + 10), &format!("{figure:.2} {} ({ratio:.2})", row.case.measure.unit()));
            }
            _ => label(body, (LEFT + 4, y + 10), &format!("{proxy}: no figure")),
        }
        y += BAR;
    }
    y
}

fn rectangle(text: &mut String, (x, y): (u32, u32), width: f64, color: &str) {
    writeln!(text, "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{color}\"/>", BAR - 2).expect(TAKES_ALL);
}

fn label(text: &mut String, (x, y): (u32, u32), words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(text, "<text x=\"{x}\" y=\"{y}\">{words}</text>").expect(TAKES_ALL);
}

fn color(proxy: Proxy) -> &'static str {
    match proxy {
        Proxy::L7d => "#c23b22",
        Proxy::Haproxy => "#4a6fa5",
        Proxy::HaproxySplice => "#9db4d3",
        Proxy::Nginx => "#5b8c5a",
        Proxy::QuietL7d => "#e3a79f",
        Proxy::QuietHaproxy => "#c4cfde",
    }
}

const WIDTH: u32 = 900;
/// Where bars begin, and how long the best peer's is.
const LEFT: u32 = 120;
const UNIT: u32 = 280;
/// For the figure behind the longest bar.
const ROOM: u32 = 200;
const BAR: u32 = 14;
const GAP: u32 = 12;
/// Height of title and legend.
const HEAD: u32 = 56;
const TAKES_ALL: &str = "a string takes all text";

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::super::verdict::tests::{row, samples};
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_end_inside() {
        let outcomes = vec![
            (Proxy::L7d, samples(&[10])),
            (Proxy::Haproxy, samples(&[40])),
            (Proxy::HaproxySplice, samples(&[400])),
            (Proxy::Nginx, samples(&[20])),
        ];
        let text = svg(&Report { notes: Vec::new(), rows: vec![row("1m", outcomes)] });
        for expected in ["width=\"140.0\"", "width=\"560.0\"", "width=\"580.0\"", "width=\"280.0\"", "(0.50)", "(20.00)"] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
    }

    #[test]
    fn every_tag_is_closed_and_nothing_is_left_out() {
        let outcomes = vec![(Proxy::L7d, Outcome::NotRun("<later>".to_owned())), (Proxy::Nginx, samples(&[3]))];
        let text = svg(&Report { notes: Vec::new(), rows: vec![row("h2", outcomes)] });
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
        assert!(text.contains("l7d: no figure"));
    }
}
