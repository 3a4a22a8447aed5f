//! l7d and haproxy with one and the same file, in turns: what a request costs each, and how long each takes to begin.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use super::case::WARM_UP;
use super::load::{self, Job};
use super::measure::{Measure, Sample};
use super::peer::{self, Running};
use super::server::{self, Addresses};
use super::{Role, last_cpu, machine, ports, raise_descriptor_limit, seconds, take};
use crate::process::{self, Process};
use crate::scratch::Scratch;

/// What such a benchmark can be told.
#[derive(clap::Args)]
#[group(id = "pair")]
pub(super) struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Fewer rounds, shorter runs and smaller sizes, for a first look.
    #[arg(long)]
    pub(super) quick: bool,
    /// Rounds, of which the tables show the median.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Length of each measured run.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// The CPU of a proxy with one thread; otherwise the last one.
    #[arg(long, value_name = "CPU")]
    proxy_cpu: Option<usize>,
    /// The CPU of clients and servers; otherwise the first one.
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub(super) load_cpu: usize,
    /// The l7d to measure; otherwise the one beside this program.
    #[arg(long, value_name = "FILE")]
    l7d: Option<PathBuf>,
}

/// The command line of each of them, under its own name.
#[derive(Parser)]
#[command(max_term_width = 120, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// Takes the role of another process of the benchmark, or measures; fails if the machine lacks something or an answer was wrong.
pub(super) fn main(name: &'static str, about: &'static str, measure: impl FnOnce(&Options) -> Result<()>) -> ExitCode {
    let matches = Line::command().name(name).about(about).get_matches();
    let Line { options } = Line::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let options = &options;
    let outcome = match &options.role {
        Some(role) => take(role),
        None => measure(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    L7d,
    Haproxy,
}

impl Program {
    pub(super) const BOTH: [Self; 2] = [Self::L7d, Self::Haproxy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::L7d => "l7d",
            Self::Haproxy => "haproxy",
        }
    }
}

/// Where a proxy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On one CPU, which clients and servers leave alone.
    Apart,
    /// On all.
    Everywhere,
}

/// Servers, and how much is measured.
pub(super) struct Bench {
    l7d: PathBuf,
    pub(super) rounds: u32,
    window: Duration,
    cpu: usize,
    load_cpu: usize,
    pub(super) servers: [SocketAddr; 2],
    _servers: Process,
}

impl Bench {
    /// Starts the servers.
    pub(super) fn new(options: &Options) -> Result<Self> {
        raise_descriptor_limit();
        let (cpu, load_cpu) = (options.proxy_cpu.map_or_else(last_cpu, Ok)?, options.load_cpu);
        let l7d = options.l7d.clone().map_or_else(|| process::bin("l7d"), Ok)?;
        let (rounds, seconds) = if options.quick { (2, 1) } else { (5, 3) };
        let mut command = Command::new(env::current_exe()?);
        command.args(["serve", "--cpu", &load_cpu.to_string()]);
        let servers = Process::spawn(command)?;
        let addresses = Addresses::parse(&servers.wait_for_line(server::READY, PATIENCE)?)?;
        Ok(Self {
            l7d,
            rounds: options.rounds.unwrap_or(rounds),
            window: options.seconds.unwrap_or(Duration::from_secs(seconds)),
            cpu,
            load_cpu,
            servers: addresses.http,
            _servers: servers,
        })
    }

    /// Returns what must be told of the run.
    pub(super) fn notes(&self) -> String {
        let (rounds, window) = (self.rounds, self.window.as_secs_f64());
        format!("{}, CPU {} for clients and servers; medians of {rounds} rounds, {window} s each", machine(self.cpu), self.load_cpu)
    }

    /// Starts a program with a file, in which `FRONT` stands for where it is to listen and `@DIR@` for a directory of its own; returns how
    /// long it took until it accepted.
    pub(super) fn start(&self, program: Program, place: Place, text: &str, files: &[(&str, &str)]) -> Result<(Running, Duration)> {
        let (scratch, front) = (Scratch::new("pair")?, ports::unused()?);
        for (name, text) in files {
            scratch.write(name, text)?;
        }
        let text = text.replace("FRONT", &front.to_string()).replace("@DIR@", &scratch.path().display().to_string());
        let file = scratch.write("haproxy.cfg", text)?;
        let mut command = match program {
            Program::L7d => Command::new(&self.l7d),
            Program::Haproxy => Command::new(peer::find("haproxy")?),
        };
        command.args(if program == Program::L7d { ["run", "-f"] } else { ["-db", "-f"] }).arg(file);
        let cpu = (place == Place::Apart).then_some(self.cpu);
        let begin = Instant::now();
        let running = Running::start_command(command, cpu, front, scratch).with_context(|| program.name())?;
        Ok((running, begin.elapsed()))
    }

    /// Returns the CPU time of a small response on open connections, in microseconds.
    pub(super) fn cost(&self, running: &Running) -> Result<f64> {
        let job = Job {
            case: "keep-alive".to_owned(),
            target: running.front,
            process: running.id(),
            window: u64::try_from(self.window.as_millis())?,
            rate: 1,
            certificate: None,
        };
        let mut command = Command::new(env::current_exe()?);
        command.args(["load", "--cpu", &self.load_cpu.to_string()]).args(job.arguments());
        let mut clients = Process::spawn(command)?;
        clients.wait(PATIENCE + WARM_UP + load::MOST_WINDOWS * self.window).context("the clients do not end")?;
        let said = clients.wait_for_line("", PATIENCE)?;
        match said.split_once(' ') {
            Some((load::RESULT, figures)) => Ok(Measure::Request.of(&Sample::parse(figures)?)),
            Some((load::FAULT, why)) => bail!("{why}"),
            _ => bail!("the clients said: {said}"),
        }
    }

    /// Returns the beginning of a file for so many threads.
    pub(super) fn base(&self, threads: usize) -> String {
        format!(
            "global\n  nbthread {threads}\n  maxconn 4000\n  stats socket @DIR@/stats.sock mode 600 level admin\n\ndefaults\n  mode http\n  \
             timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\nbackend app\n  http-reuse always\n  server s1 {}\n  server s2 {}\n\n",
            self.servers[0], self.servers[1]
        )
    }
}

/// Longest wait for servers to start and for clients to do more than measure.
const PATIENCE: Duration = Duration::from_secs(120);
