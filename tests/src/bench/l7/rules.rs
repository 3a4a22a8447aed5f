//! `cargo xtask bench rules`: what conditions cost beside haproxy, and how long large files take to load.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;

use super::super::report::Spread;
use super::pair::{self, Bench, Place, Program};

/// Runs the program; fails if the machine lacks something or an answer was wrong, not if a target is missed.
#[must_use]
pub fn main() -> ExitCode {
    pair::main("cargo xtask bench rules", "Measures what conditions cost beside haproxy, and how long large files take to load", run)
}

fn run(options: &pair::Options) -> Result<()> {
    let bench = Bench::new(options)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n", bench.notes())?;
    conditions(&bench, &mut out)?;
    let (backends, lines) = if options.quick { (1_000, 100_000) } else { (10_000, 1_000_000) };
    writeln!(out, "\n{:<28}{:>10}{:>10}   target", "until connections come in", "l7d", "haproxy")?;
    let (many, map) = (many_backends(&bench, backends), with_map(&bench));
    let text: String = (0..lines).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "host{number}.example.org backend{}", number % 100);
        text
    });
    loading(&bench, &format!("{backends} backends"), &many, &[], &mut out)?;
    loading(&bench, &format!("a map of {lines} lines"), &map, &[("big.map", text.as_str())], &mut out)
}

/// How many conditions a request meets, none of which holds.
const COUNTS: [usize; 4] = [0, 10, 100, 1_000];

/// Measures what conditions add to a request.
fn conditions(bench: &Bench, out: &mut impl io::Write) -> Result<()> {
    // By count, program and round.
    let mut costs = vec![[Vec::new(), Vec::new()]; COUNTS.len()];
    for round in 1..=bench.rounds {
        for (count, costs) in COUNTS.iter().zip(&mut costs) {
            for (program, costs) in Program::BOTH.into_iter().zip(costs) {
                eprintln!("round {round} of {}: {count} conditions, {}", bench.rounds, program.name());
                let (running, _) = bench.start(program, Place::Apart, &with_conditions(bench, *count), &[])?;
                costs.push(bench.cost(&running)?);
            }
        }
    }
    writeln!(out, "{:<14}{:>12}{:>12}{:>12}{:>12}{:>8}   target", "conditions", "l7d µs", "haproxy µs", "l7d +µs", "haproxy +µs", "ratio")?;
    let median = |values: &[f64]| Spread::of(values.iter().copied()).map_or(f64::NAN, |spread| spread.median);
    for (count, [own, peer]) in COUNTS.iter().zip(&costs) {
        let more = |values: &[f64], base: &[f64]| values.iter().zip(base).map(|(value, base)| value - base).collect::<Vec<_>>();
        let (own_more, peer_more) = (more(own, &costs[0][0]), more(peer, &costs[0][1]));
        write!(out, "{count:<14}{:>12.2}{:>12.2}", median(own), median(peer))?;
        match count {
            0 => writeln!(out)?,
            _ => {
                let (own, peer) = (median(&own_more), median(&peer_more));
                let ratio = own / peer;
                let met = if ratio <= 1.0 { "met" } else { "MISSED" };
                writeln!(out, "{own:>12.2}{peer:>12.2}{ratio:>8.2}   1.00 {met}")?;
            }
        }
    }
    Ok(())
}

/// Measures how long a file takes to load.
fn loading(bench: &Bench, what: &str, text: &str, files: &[(&str, &str)], out: &mut impl io::Write) -> Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 1..=bench.rounds {
        for (program, times) in Program::BOTH.into_iter().zip(&mut times) {
            eprintln!("round {round} of {}: {what}, {}", bench.rounds, program.name());
            times.push(bench.start(program, Place::Apart, text, files)?.1.as_secs_f64());
        }
    }
    let [own, peer] = times.map(|times| Spread::of(times).map_or(f64::NAN, |spread| spread.median));
    writeln!(out, "{what:<28}{own:>8.3} s{peer:>8.3} s   1.0 s {}", if own <= 1.0 { "met" } else { "MISSED" })?;
    Ok(())
}

fn with_conditions(bench: &Bench, count: usize) -> String {
    let mut text = bench.base(1) + "frontend front\n  bind FRONT\n";
    for number in 0..count {
        let _ = writeln!(text, "  acl a{number:04} path_beg /closed/{number:04}/\n  http-request deny if a{number:04}");
    }
    text + "  default_backend app\n"
}

fn many_backends(bench: &Bench, count: usize) -> String {
    let mut text = bench.base(1) + "frontend front\n  bind FRONT\n  default_backend app\n\n";
    for number in 0..count {
        let _ =
            writeln!(text, "backend b{number}\n  balance leastconn\n  server s1 10.0.0.1:8080 maxconn 100\n  server s2 10.0.0.2:8080\n");
    }
    text
}

fn with_map(bench: &Bench) -> String {
    bench.base(1)
        + "frontend front\n  bind FRONT\n  http-request set-header X-B %[req.hdr(host),map_str(@DIR@/big.map,none)]\n  default_backend app\n"
}
