//! `cargo xtask bench tables`: what tracking a client adds to a request beside haproxy, all threads on one table, and what entries take.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::report::Spread;
use super::pair::{self, Bench, Place, Program};
use super::proc;
use crate::wait::eventually;

/// Runs the program; fails if the machine lacks something or an answer was wrong, not if a target is missed.
#[must_use]
pub fn main() -> ExitCode {
    pair::main("cargo xtask bench tables", "Measures what tracking clients costs beside haproxy, and what the entries take", run)
}

fn run(options: &pair::Options) -> Result<()> {
    let bench = Bench::new(options)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n", bench.notes())?;
    tracking(&bench, &mut out)?;
    memory(&bench, if options.quick { 100_000 } else { 1_000_000 }, &mut out)
}

/// Four counters, which every entry holds.
const STORE: &str = "store conn_cur,conn_rate(10s),http_req_cnt,http_req_rate(10s)";
/// Most nanoseconds that tracking may add to a request.
const MOST_NANOSECONDS: f64 = 300.0;

/// Measures what it adds to a request that its client is tracked: all of them are one, so that all threads want one entry.
fn tracking(bench: &Bench, out: &mut impl io::Write) -> Result<()> {
    let threads = available_parallelism()?.get();
    let site = |rule: &str| {
        format!(
            "{}  stick-table type ip size 1m expire 1m {STORE}\n\nfrontend front\n  bind FRONT\n{rule}  default_backend app\n",
            bench.base(threads)
        )
    };
    let files = [site(""), site("  http-request track-sc0 src table app\n")];
    let mut costs = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for round in 1..=bench.rounds {
        for (file, costs) in files.iter().zip(&mut costs) {
            for (program, costs) in Program::BOTH.into_iter().zip(costs) {
                eprintln!("round {round} of {}: tracking, {}", bench.rounds, program.name());
                let (running, _) = bench.start(program, Place::Everywhere, file, &[])?;
                costs.push(bench.cost(&running)?);
            }
        }
    }
    let [plain, tracked] = &costs;
    let more = |which: usize| {
        let nanoseconds = tracked[which].iter().zip(&plain[which]).map(|(tracked, plain)| (tracked - plain) * 1000.0);
        Spread::of(nanoseconds).map_or(f64::NAN, |spread| spread.median)
    };
    let (own, peer) = (more(0), more(1));
    writeln!(out, "{:<44}{:>12}{:>12}   target", "", "l7d", "haproxy")?;
    let met = if own <= MOST_NANOSECONDS { "met" } else { "MISSED" };
    let what = format!("a tracked request, {threads} threads, one entry");
    writeln!(out, "{what:<44}{own:>9.0} ns{peer:>9.0} ns   {MOST_NANOSECONDS:.0} ns {met}")?;
    Ok(())
}

/// Measures what entries with four counters take.
fn memory(bench: &Bench, entries: u32, out: &mut impl io::Write) -> Result<()> {
    let text = format!(
        "{}frontend front\n  bind FRONT\n  default_backend app\n\nbackend per_ip\n  stick-table type ip size 2m expire 1h {STORE}\n",
        bench.base(1)
    );
    let mut taken = [0.0; 2];
    for (program, taken) in Program::BOTH.into_iter().zip(&mut taken) {
        eprintln!("{entries} entries, {}", program.name());
        let (running, _) = bench.start(program, Place::Apart, &text, &[])?;
        let before = proc::resident(running.id())?;
        let socket = running.directory().join("stats.sock");
        fill(&socket, entries).with_context(|| program.name())?;
        *taken = (proc::resident(running.id())? - before) as f64 / f64::from(entries);
    }
    let [own, peer] = taken;
    let met = if own <= peer { "met" } else { "MISSED" };
    writeln!(out, "{:<44}{own:>10.0} B{peer:>10.0} B   as haproxy {met}", format!("one of {entries} entries with four counters"))?;
    Ok(())
}

/// Makes entries by commands, and looks whether they are there.
fn fill(socket: &Path, entries: u32) -> Result<()> {
    let mut next = 0;
    while next < entries {
        let last = entries.min(next + AT_A_TIME);
        let mut line = String::new();
        for number in next..last {
            let [_, a, b, c] = number.to_be_bytes();
            let _ = write!(line, "set table per_ip key 10.{a}.{b}.{c} data.http_req_cnt 1;");
        }
        ask(socket, &line)?;
        next = last;
    }
    let said = ask(socket, "show table")?;
    ensure!(said.contains(&format!("used:{entries}")), "the entries are not there: {said}");
    Ok(())
}

pub(super) fn ask(socket: &Path, line: &str) -> Result<String> {
    // A program may accept clients before commands.
    let mut stream = eventually(PATIENCE, "the statistics socket", || UnixStream::connect(socket).ok())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // At once: haproxy takes commands as they come, and leaves after the last.
    stream.write_all(format!("{}\n", line.trim_end_matches(';')).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Commands in a line: fewer than fill the buffer of either program.
const AT_A_TIME: u32 = 60;
const PATIENCE: Duration = Duration::from_secs(20);
