//! What the demo says: pure functions from what is known to lines, each at most 80 columns wide where it must stay on one line.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::stage::{SERVERS, View, name};
use super::story::{Event, PROMISE, Round, Story};
use super::traffic::{RATE, Tally, TierTally};

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "1;31",
        }
    }
}

/// A line of text in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    fn new(style: Style, text: impl Into<String>) -> Self {
        Self::default().and(style, text)
    }

    fn and(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    fn indented(mut self) -> Self {
        self.0.insert(0, (Style::Plain, "  ".to_owned()));
        self
    }

    /// Returns it without its styles.
    pub(super) fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Returns it for a terminal, cut where the terminal ends.
    pub(super) fn for_terminal(&self, columns: usize, colour: bool) -> String {
        let mut left = columns;
        let mut line = String::new();
        for (style, text) in &self.0 {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            if colour && *style != Style::Plain && !text.is_empty() {
                line += &format!("\x1b[{}m{text}\x1b[0m", style.code());
            } else {
                line += &text;
            }
        }
        line
    }
}

/// What happened in about the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    /// To TCP connections.
    pub(super) tcp: TierRates,
    /// To HTTP requests.
    pub(super) http: TierRates,
}

/// What happened in one tier in about the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TierRates {
    /// Answered by each server, per second.
    pub(super) served: [u64; SERVERS],
    /// Failed, per second.
    pub(super) failed: u64,
}

impl Rates {
    /// Compares two tallies that were taken so long apart.
    pub(super) fn between(before: &Tally, after: &Tally, apart: Duration) -> Self {
        let of = |before, after| TierRates::between(before, after, apart);
        Self { tcp: of(&before.tcp, &after.tcp), http: of(&before.http, &after.http) }
    }
}

impl TierRates {
    fn between(before: &TierTally, after: &TierTally, apart: Duration) -> Self {
        let rate = |count: u64| (u128::from(count) * 1000 / apart.as_millis().max(1)).try_into().unwrap_or(u64::MAX);
        let served = std::array::from_fn(|server| rate(after.served[server].total.saturating_sub(before.served[server].total)));
        Self { served, failed: rate(after.failed.saturating_sub(before.failed)) }
    }
}

/// Says what will be seen.
pub(super) fn introduction(config: &Path) -> String {
    format!(
        "\
one file, two tiers: the kernel serves TCP, l7d serves HTTP, on three servers

  client  ──►  balancer  ──►  backend1..3

  client       opens {RATE} TCP connections a second to 10.77.0.10:80 and
               asks {RATE} times by HTTP on port 8080; checks who answered
  balancer     l4d and l7d on {}: an XDP program
               forwards TCP below the kernel's network stack, l7d reads HTTP in
               user space, and both check the servers
  backend1..3  ordinary servers, 10.77.0.11 to .13, that answer with their name

Each is a network namespace of its own on this machine. Soon a server is killed.
",
        config.display()
    )
}

/// Returns the table that is drawn over itself; its height never changes.
pub(super) fn table(story: &Story, tally: &Tally, rates: &Rates, seen: &View, columns: usize) -> Vec<Line> {
    let mut lines = vec![Line::new(Style::Bold, "  TCP       l4d says   conn/s      total   share of connections")];
    lines.extend(servers(&seen.kernel.states, &tally.tcp, &rates.tcp, columns));
    lines.push(Line::new(Style::Bold, "  HTTP      l7d says    req/s      total   share of requests"));
    lines.extend(servers(&seen.user.states, &tally.http, &rates.http, columns));
    lines.push(Line::default());
    let packets = format!("   {} packets by XDP", grouped(seen.kernel.forwarded + seen.kernel.returned));
    lines.push(outcome("  TCP   ", &tally.tcp, &rates.tcp).and(Style::Plain, packets));
    let requests = format!("   {} by l7d's count", grouped(seen.user.requests));
    lines.push(outcome("  HTTP  ", &tally.http, &rates.http).and(Style::Plain, requests));
    lines.push(Line::default());
    let first = story.events().len().saturating_sub(LATEST);
    lines.extend(story.events()[first..].iter().map(|told| event(told).indented()));
    lines.resize(TABLE_LINES - 1, Line::default());
    lines.push(Line::new(Style::Dim, "  Ctrl-C ends the demo and removes everything it made"));
    lines
}

/// Returns a line for each server of one tier.
fn servers(states: &[String; SERVERS], tally: &TierTally, rates: &TierRates, columns: usize) -> Vec<Line> {
    let all: u64 = rates.served.iter().sum();
    let room = u64::try_from(columns.saturating_sub(BAR_FROM + 1).min(LONGEST_BAR)).unwrap_or(0);
    let line = |(server, state): (usize, &String)| {
        let (rate, total) = (rates.served[server], tally.served[server].total);
        let look = if state == "UP" { Style::Good } else { Style::Bad };
        let bar = "█".repeat(share(rate, all, room).try_into().unwrap_or(0));
        let line = Line::new(Style::Plain, format!("  {:<10}", name(server))).and(look, format!("{state:<8}"));
        let line = line.and(Style::Plain, format!("{rate:>9} {:>10}   {:>3} %  ", grouped(total), share(rate, all, 100)));
        line.and(look, bar)
    };
    states.iter().enumerate().map(line).collect()
}

/// Says how many were answered, and how many not.
fn outcome(title: &str, tally: &TierTally, rates: &TierRates) -> Line {
    let failures = if tally.failed == 0 { Style::Good } else { Style::Plain };
    let line = Line::new(Style::Bold, title).and(Style::Plain, format!("{} answered, ", grouped(tally.answered())));
    let now = if rates.failed == 0 { String::new() } else { format!(" (now {}/s)", rates.failed) };
    line.and(failures, format!("{} failed", grouped(tally.failed))).and(Style::Bad, now)
}

/// Returns the lines that stand for the table where nothing can be drawn over.
pub(super) fn second(passed: Duration, tally: &Tally, rates: &Rates, seen: &View) -> [Line; 2] {
    let line = |begin: String, states: &[String; SERVERS], tally: &TierTally, rates: &TierRates| {
        let mut text = begin;
        for (server, state) in states.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, " {} {:<4}{:>4}/s", name(server), state, rates.served[server]);
        }
        Line::new(Style::Plain, format!("{text} failed {}", tally.failed))
    };
    [
        line(format!("{:>5.1} s TCP ", passed.as_secs_f32()), &seen.kernel.states, &tally.tcp, &rates.tcp),
        line(format!("{:>7} HTTP", ""), &seen.user.states, &tally.http, &rates.http),
    ]
}

/// Says what happened.
pub(super) fn event((at, event): &(Duration, Event)) -> Line {
    let (style, text) = match *event {
        Event::Killed { server } => (Style::Bad, format!("{} was killed; nobody told the balancers", name(server))),
        Event::Moved { server, after, failed } => {
            (Style::Good, format!("all traffic left {} within {} ms; {} failed", name(server), after.as_millis(), connections(failed)))
        }
        Event::NotMoved { server } => (Style::Bad, format!("traffic still goes to {}, which is dead", name(server))),
        Event::Started { server } => (Style::Bold, format!("{} was started again", name(server))),
        Event::Returned { server, after, failed } => {
            (Style::Good, format!("{} serves again after {} ms; {} failed", name(server), after.as_millis(), connections(failed)))
        }
        Event::NotReturned { server } => (Style::Bad, format!("{} gets no traffic although it is back", name(server))),
    };
    Line::new(Style::Dim, format!("{:>5.1} s  ", at.as_secs_f32())).and(style, text)
}

/// Says what was seen, and what to do next.
///
/// `carried` are the TCP connections that l7d served after l4d was gone, if it came to that.
pub(super) fn summary(story: &Story, tally: &Tally, carried: Option<u64>) -> String {
    let mut text = String::from("\nWhat you saw\n");
    text += &verdicts(story.rounds());
    if let Some(carried) = carried {
        text += &format!("  l4d stopped: l7d carried {} of TCP in its place: ok\n", connections(carried));
    }
    let (tcp, http) = (&tally.tcp, &tally.http);
    text += &format!("  TCP in the kernel: {} answered, {} failed in all\n", connections(tcp.answered()), tcp.failed);
    text += &format!("  HTTP by l7d: {} answered, {} failed in all\n", connections(http.answered()), http.failed);
    if let Some(error) = tally.error() {
        text += &format!("    the last: {error}\n");
    }
    text + "  namespaces, processes and everything in the kernel are removed again\n" + NEXT
}

/// Tells of each round if they are few, else of those that failed, and of the others together.
fn verdicts(rounds: &[Round]) -> String {
    if rounds.is_empty() {
        return "  no server lost and won back yet: let it run a little longer\n".to_owned();
    }
    let few = rounds.len() <= TOLD_SINGLY;
    let mut text: String = rounds.iter().filter(|round| few || !round.succeeded()).map(|round| format!("  {}\n", verdict(round))).collect();
    let good: Vec<&Round> = rounds.iter().filter(|round| !few && round.succeeded()).collect();
    let slowest = |time: fn(&Round) -> Option<Duration>| good.iter().filter_map(|round| time(round)).max().unwrap_or_default().as_millis();
    if !good.is_empty() {
        let (moved, returned) = (slowest(|round| round.moved), slowest(|round| round.returned));
        text += &format!("  {} times a backend was killed: its traffic left within {moved} ms at most;\n", good.len());
        text += &format!("  and started again: it served after {returned} ms at most: ok\n");
    }
    text
}

fn verdict(round: &Round) -> String {
    let moved = match round.moved {
        Some(after) => {
            let late = if after > PROMISE { ", which is too long" } else { "" };
            format!("its traffic left within {} ms{late}; {} failed", after.as_millis(), connections(round.failed))
        }
        None => format!("its traffic never left; {} failed", connections(round.failed)),
    };
    let returned = match round.returned {
        Some(after) => format!("served again after {} ms", after.as_millis()),
        None => "never served again".to_owned(),
    };
    let verdict = if round.succeeded() { "ok" } else { "FAILED" };
    let name = name(round.server);
    format!("{name} killed: {moved}\n  {name} started: {returned}: {verdict}")
}

fn connections(count: u64) -> String {
    format!("{} connection{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// Returns `part` of `all` in units of which the whole has `whole`, rounded.
fn share(part: u64, all: u64, whole: u64) -> u64 {
    (part * whole + all / 2).checked_div(all).unwrap_or(0)
}

/// Returns a number with a space between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

const NEXT: &str = "
Try next
  edit tests/demo/site.toml, its weights or checks, and run the demo again
  cargo xtask bench l4        how much it carries, beside its floors
  cargo xtask test lab        nat and dsr, IPv4 and IPv6, failures, reloads
  cargo run -p l4d -- --help  what the daemons can do; likewise l7d
";

/// How many rounds are worth a line each.
const TOLD_SINGLY: usize = 3;
/// How many events the table shows: those of one round.
const LATEST: usize = 4;
/// The table's height.
pub(super) const TABLE_LINES: usize = 13 + LATEST;
/// What stands before a bar, and how long one may get.
const BAR_FROM: usize = 50;
const LONGEST_BAR: usize = 60;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::demo::stage::{Kernel, User};

    fn sample() -> (Story, Tally, Rates, View) {
        let error = Some("connect to 10.77.0.10:80: Connection refused (os error 111)".to_owned());
        let mut tcp = TierTally { failed: 27, error, ..TierTally::default() };
        tcp.served[0].total = 1_234_567;
        let tally = Tally { http: tcp.clone(), tcp };
        let states = ["UP", "DOWN", "UP"].map(str::to_owned);
        let kernel = Kernel { states: states.clone(), forwarded: 98_765_432, returned: 98_765_432, dropped: 0 };
        let view = View { kernel, user: User { states, requests: 1_234_567, carried: 0 } };
        let tier = TierRates { served: [300, 0, 0], failed: 12 };
        (Story::new(Instant::now(), None), tally, Rates { tcp: tier, http: tier }, view)
    }

    #[test]
    fn table_keeps_its_height_and_fits_its_width() {
        let (story, tally, rates, view) = sample();
        for columns in [60, 80, 120, 300] {
            let lines = table(&story, &tally, &rates, &view, columns);
            assert_eq!(lines.len(), TABLE_LINES);
            for line in lines {
                let width = line.plain().chars().count();
                assert!(width <= columns.max(80), "{columns}: {}", line.plain());
                assert!(line.for_terminal(columns, false).chars().count() <= columns);
            }
        }
    }

    #[test]
    fn words_fit_a_narrow_terminal() {
        let (story, tally, ..) = sample();
        let text = introduction(Path::new("tests/demo/site.toml")) + &summary(&story, &tally, Some(1234));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn one_server_with_all_traffic_has_the_whole_bar() {
        let (story, tally, rates, view) = sample();
        let lines = table(&story, &tally, &rates, &view, 80);
        assert_eq!(lines[1].plain(), format!("  backend1  UP            300  1 234 567   100 %  {}", "█".repeat(29)));
        assert_eq!(lines[2].plain().trim_end(), "  backend2  DOWN            0          0     0 %");
        assert_eq!(lines[5].plain(), lines[1].plain());
    }

    #[test]
    fn line_is_cut_by_what_is_seen_and_not_by_its_colours() {
        let line = Line::new(Style::Good, "three").and(Style::Plain, " and more");
        assert_eq!(line.for_terminal(7, true), "\x1b[32mthree\x1b[0m a");
        assert_eq!(line.for_terminal(3, false), "thr");
    }

    #[test]
    fn rates_are_per_second() {
        let (mut before, mut after) = (Tally::default(), Tally::default());
        (before.tcp.served[2].total, after.tcp.served[2].total, after.tcp.failed) = (10, 60, 5);
        let rates = Rates::between(&before, &after, Duration::from_millis(500));
        assert_eq!(rates, Rates { tcp: TierRates { served: [0, 0, 100], failed: 10 }, ..Rates::default() });
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn many_rounds_are_told_together_but_failures_singly() {
        let millis = |number| Some(Duration::from_millis(number));
        let good = |moved| Round { server: 0, moved: millis(moved), failed: 3, returned: millis(moved + 1) };
        let rounds = [good(100), good(300), Round { server: 2, moved: None, ..good(0) }, good(200)];
        let expected = "  \
  backend3 killed: its traffic never left; 3 connections failed
  backend3 started: served again after 1 ms: FAILED
  3 times a backend was killed: its traffic left within 300 ms at most;
  and started again: it served after 301 ms at most: ok
";
        assert_eq!(verdicts(&rounds), expected);
        assert_eq!(verdicts(&rounds[..2]).lines().count(), 4);
    }

    #[test]
    fn broken_promise_is_not_called_ok() {
        let round = Round { server: 1, moved: Some(Duration::from_millis(1500)), failed: 9, returned: None };
        let expected = "backend2 killed: its traffic left within 1500 ms, which is too long; 9 connections failed\n  backend2 started: never served again: FAILED";
        assert_eq!(verdict(&round), expected);
    }
}
