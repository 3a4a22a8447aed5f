//! The benchmark of the kernel tier: what the XDP program costs per packet over the cheapest program that sends a packet back. That of the other
//! tier is [`l7`].
//!
//! `case` says what is measured, `traffic` what is sent. A `rig` holds generator, floors and sink, a `balancer` is l4d's data plane at the far end of
//! one of its cables; `measure` runs them in turns and `report` says what came out. The BPF side is `xdp-ebpf/src/bin/bench`. Unlike the rest of this
//! crate it knows what is inside the balancer: it measures that alone, without a daemon.

mod balancer;
mod case;
pub mod changes;
pub mod l7;
mod measure;
#[path = "../../../xdp-ebpf/src/bin/bench/pattern.rs"]
mod pattern;
mod report;
mod rig;
mod traffic;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};

use self::case::CASES;
use self::measure::{Bench, Effort};
use self::rig::Rig;

#[derive(Parser)]
#[command(name = "cargo xtask bench l4", about = "Measures what the XDP program costs per packet", max_term_width = 120)]
struct Options {
    /// The object with generator, floors and sink; `cargo xtask` names it.
    #[arg(long, hide = true)]
    object: PathBuf,
    /// Fewer rounds and shorter runs: about a third of the time.
    #[arg(long)]
    quick: bool,
    /// Measure only rows whose name contains one of these words.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    cases: Vec<String>,
    /// Name all rows and stop.
    #[arg(long)]
    list: bool,
    /// Rounds, of which the table shows the median.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The CPU that does everything; otherwise the last one.
    #[arg(long)]
    cpu: Option<usize>,
    /// Write all figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the program; fails if the machine lacks something or a row does not count.
#[must_use]
pub fn main() -> ExitCode {
    run(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    if options.list {
        for (case, row) in CASES.iter().flat_map(|case| case.rows.iter().map(move |row| (case, row))) {
            writeln!(out, "{}", row.name(case))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let cpu = options.cpu.unwrap_or(available_parallelism()?.get() - 1);
    stay_on(cpu)?;
    let machine = machine(cpu);
    writeln!(out, "{machine}; frames of 64 bytes, one CPU generates, balances and counts")?;
    let effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    let effort = Effort { rounds: options.rounds.unwrap_or(effort.rounds), ..effort };
    let wanted = |name: &str| options.cases.is_empty() || options.cases.iter().any(|word| name.contains(word));
    let bench = Bench::new(Rig::new(&options.object)?, effort, &CASES, wanted)?;
    let report = bench.run(|what| eprintln!("{what}"))?;
    writeln!(out, "{report}")?;
    if let Some(file) = &options.json {
        fs::write(file, report.json(&machine)).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Effort {
    const FULL: Self = Self { rounds: 5, frames: 1_000_000 };
    const QUICK: Self = Self { rounds: 2, frames: 400_000 };
}

/// Keeps this thread and those it starts on one CPU.
fn stay_on(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    anyhow::ensure!(cpu < CpuSet::MAX_CPU, "there is no CPU {cpu}");
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).with_context(|| format!("stay on CPU {cpu}"))
}

fn machine(cpu: usize) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown processor", |(_, model)| model);
    format!("Linux {}, {model}, CPU {cpu}", kernel.trim())
}
