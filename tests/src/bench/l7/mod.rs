//! The benchmark of the user-space tier: what l7d costs beside haproxy and nginx under the same traffic, in the same run.
//!
//! `case` says what is measured, `peer` starts the proxies, `server` and `load` are what stands behind and before them, each a process of its own
//! made from this same program. `compare` lets the proxies take turns; `verdict` and `report` say what came out. All traffic stays on the
//! loopback interface.

mod case;
mod certificate;
pub mod checks;
mod compare;
mod json;
mod load;
mod measure;
mod pair;
mod pattern;
mod peer;
mod ports;
mod proc;
mod report;
pub mod rules;
mod server;
mod svg;
pub mod tables;
mod verdict;
mod websocket;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::case::{CASES, Case, Face};
use self::certificate::Certificate;
use self::compare::{Comparison, Effort};
use self::peer::{Rules, Setting};
use self::report::Report;
use super::{machine, stay_on};
use crate::process;
use crate::scratch::Scratch;

#[derive(Parser)]
#[command(
    name = "cargo xtask bench l7",
    about = "Measures what l7d costs beside haproxy and nginx",
    max_term_width = 120,
    args_conflicts_with_subcommands = true
)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Fewer rounds and shorter runs, for a first look.
    #[arg(long)]
    quick: bool,
    /// Measure only these cases.
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    cases: Vec<String>,
    /// Name all cases and stop.
    #[arg(long)]
    list: bool,
    /// Rounds, of which the tables show the median.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Length of each measured run.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Requests per second where they come at a fixed rate.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Have every proxy send a log line for each request or connection to a syslog server that does not read them.
    #[arg(long)]
    logs: bool,
    /// The CPU of the proxies; otherwise the last one.
    #[arg(long, value_name = "CPU")]
    proxy_cpu: Option<usize>,
    /// The CPU of clients and servers; otherwise the first one.
    #[arg(long, value_name = "CPU")]
    load_cpu: Option<usize>,
    /// The l7d to measure; otherwise the one beside this program.
    #[arg(long, value_name = "FILE")]
    l7d: Option<PathBuf>,
    /// Write all samples to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a chart into a file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What a process of this benchmark is, other than the one that compares.
#[derive(Subcommand)]
#[command(disable_help_subcommand = true)]
enum Role {
    /// The servers.
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        cpu: usize,
    },
    /// The clients.
    #[command(hide = true)]
    Load {
        #[arg(long)]
        cpu: usize,
        #[command(flatten)]
        job: load::Job,
    },
    /// A proxy that is about to start.
    #[command(hide = true)]
    Become {
        #[arg(long)]
        cpu: usize,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Runs the program; fails if the machine lacks something or an answer was wrong, not if a target is missed.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.role {
        Some(role) => take(role).map(|()| ExitCode::SUCCESS),
        None => run(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn take(role: &Role) -> Result<()> {
    raise_descriptor_limit();
    match role {
        Role::Serve { cpu } => stay_on(*cpu).and_then(|()| server::serve()),
        Role::Load { cpu, job } => stay_on(*cpu).and_then(|()| load::run(find(&job.case)?, job)),
        Role::Become { cpu, command } => {
            stay_on(*cpu)?;
            let (program, arguments) = command.split_first().context("no program")?;
            Err(Command::new(program).args(arguments).exec()).with_context(|| program.to_string_lossy().into_owned())
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    if options.list {
        for case in &CASES {
            writeln!(out, "{:<16}{}", case.name, case.about)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let cases: Vec<&'static Case> = match options.cases.as_slice() {
        [] => CASES.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_>>()?,
    };
    raise_descriptor_limit();
    let scratch = Scratch::new("bench")?;
    let (comparison, notes) = prepare(options, &cases, &scratch)?;
    let rows = cases.into_iter().map(|case| comparison.run(case, |what| eprintln!("{what}"))).collect();
    let report = Report { notes, rows };
    writeln!(out, "{report}")?;
    for (file, text) in [(&options.json, json::json as fn(&Report) -> String), (&options.svg, svg::svg)] {
        if let Some(file) = file {
            fs::write(file, text(&report)).with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the servers, and finds out what must be told of the run.
fn prepare(options: &Options, cases: &[&Case], scratch: &Scratch) -> Result<(Comparison, Vec<String>)> {
    let (cpu, load_cpu) = (options.proxy_cpu.map_or_else(last_cpu, Ok)?, options.load_cpu.unwrap_or(0));
    let l7d = options.l7d.clone().map_or_else(|| process::bin("l7d"), Ok)?;
    let objection = peer::objection_to_rules(&l7d)?;
    let effort = options.effort();
    let mut notes = vec![
        format!("{} for proxies, CPU {load_cpu} for clients and servers", machine(cpu)),
        format!(
            "{} rounds of {} s for each proxy; {} requests/s where the rate is fixed",
            effort.rounds,
            effort.window.as_secs_f64(),
            effort.rate
        ),
        format!(
            "timeouts, statistics and X-Forwarded-For on; log lines {}",
            if options.logs { "on" } else { "only where they are the case" }
        ),
    ];
    notes.push(
        objection.as_ref().map_or_else(|| "rules on".to_owned(), |why| format!("RULES OFF for all, because l7d does not take them: {why}")),
    );
    if cpu == load_cpu {
        notes.push("proxies, clients and servers share a CPU: times of answers say little".to_owned());
    }
    let rules = if objection.is_none() { Rules::On } else { Rules::Off };
    let (certificate, no_certificate) = if cases.iter().any(|case| case.face == Face::Https) {
        Certificate::new(scratch).map_or_else(|error| (None, Some(format!("{error:#}"))), |made| (Some(made), None))
    } else {
        (None, None)
    };
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind the sink of logs")?;
    let setting = Setting { l7d, certificate, rules, sink: sink.local_addr()?, logs: options.logs, cpu };
    Ok((Comparison::new(effort, setting, no_certificate, load_cpu, sink)?, notes))
}

impl Options {
    fn effort(&self) -> Effort {
        let (rounds, seconds) = if self.quick { (2, 1) } else { (5, 3) };
        let window = self.seconds.unwrap_or(Duration::from_secs(seconds));
        Effort { rounds: self.rounds.unwrap_or(rounds), window, rate: self.rate }
    }
}

fn last_cpu() -> Result<usize> {
    Ok(available_parallelism()?.get() - 1)
}

fn find(name: &str) -> Result<&'static Case> {
    let Some(case) = CASES.iter().find(|case| case.name == name) else {
        let known: Vec<_> = CASES.iter().map(|case| case.name).collect();
        bail!("no case `{name}`; there are {}", known.join(", "));
    };
    Ok(case)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.1..=600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err("between 0.1 and 600".to_owned()) }
}

/// Allows this process and those it starts as many descriptors as the cases take, or as many as it may.
fn raise_descriptor_limit() {
    let wanted = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    let present = getrlimit(Resource::Nofile);
    if present.maximum.is_some_and(|maximum| maximum >= DESCRIPTORS) || setrlimit(Resource::Nofile, wanted).is_err() {
        // Cases that take more say so themselves.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: present.maximum, maximum: present.maximum });
    }
}

/// Two for each connection that haproxy is told to allow, and some.
const DESCRIPTORS: u64 = 65_536;
