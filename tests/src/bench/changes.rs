//! `cargo xtask bench changes`: how long the kernel tier takes to load what large sites have, and to carry out one change of it.
//!
//! A release build of l4d in a namespace of its own, driven as its users do: a file, the line that says it is ready, and commands on its socket, which are answered
//! when the maps have followed. There is no peer beside it; the targets are times.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use super::report::Spread;
use crate::link;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::topology::{Arms, Family, Lab, Return};

#[derive(Parser)]
#[command(
    name = "cargo xtask bench changes",
    about = "Measures how long l4d takes to load and to change large sites",
    max_term_width = 120
)]
struct Options {
    /// The l4d to measure; otherwise the one beside this program.
    #[arg(long, value_name = "FILE")]
    l4d: Option<PathBuf>,
    /// How often each is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// A site to load and change.
struct Case {
    name: &'static str,
    services: u32,
    servers: u32,
    balance: &'static str,
    ring: u32,
    /// What loading and a change may take.
    load: Duration,
    change: Duration,
}

/// The first is what a platform team has, the others what one service can have.
const CASES: [Case; 3] = [
    Case {
        name: "500 services of 100 servers, in turn",
        services: 500,
        servers: 100,
        balance: "roundrobin",
        ring: 0,
        load: LOAD,
        change: CHANGE,
    },
    Case {
        name: "500 services of 100 servers, by hash",
        services: 500,
        servers: 100,
        balance: "source",
        ring: 16_381,
        load: LOAD,
        change: CHANGE,
    },
    Case {
        name: "a ring of 65,537 slots, 1,000 servers",
        services: 1,
        servers: 1_000,
        balance: "source",
        ring: 65_537,
        load: LOAD,
        change: RING,
    },
];
const LOAD: Duration = Duration::from_secs(2);
const CHANGE: Duration = Duration::from_millis(50);
const RING: Duration = Duration::from_millis(5);
/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the program; fails if the machine lacks something, not if a target is missed.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let l4d = match &options.l4d {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("l4d"),
    };
    ensure!(l4d.exists(), "{}: no such program", l4d.display());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<40}{:>32}{:>34}", "", "from start to ready", "one weight, answered")?;
    for case in &CASES {
        eprintln!("{}", case.name);
        let (loads, changes) = measure(case, &l4d, options.rounds)?;
        writeln!(out, "{:<40}{:>32}{:>34}", case.name, said(loads, case.load), said(changes, case.change))?;
    }
    Ok(())
}

/// Says times in milliseconds beside their target.
fn said(times: Vec<f64>, target: Duration) -> String {
    let target = target.as_secs_f64() * 1000.0;
    let Some(spread) = Spread::of(times) else { return "nothing".to_owned() };
    let met = if spread.median <= target { "met" } else { "MISSED" };
    format!("{:.1} ms, {target:.0} {met}", spread.median)
}

/// Measures in milliseconds.
fn measure(case: &Case, l4d: &Path, rounds: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let lab = Lab::new(1, Arms::One, Return::Direct)?;
    let scratch = Scratch::new("changes")?;
    // Next hops of all servers are known at once: they are one machine.
    let machine = &lab.backends()[0];
    let (first, own) = (lab.balancer().address(Family::V4), machine.address(Family::V4));
    let route = format!("route add 10.200.0.0/16 via {own}\n");
    link::batch(lab.balancer().namespace(), &route).with_context(|| format!("a way from {first} to the servers"))?;
    let socket = scratch.path().join("l4d.sock");
    let pin = Path::new("/sys/fs/bpf").join(crate::scratch::unique_name("changes"));
    let file = scratch.write("changes.toml", file(case, &socket, &pin))?;
    let (mut loads, mut changes) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut command = lab.balancer().namespace().command(l4d);
        command.arg("run").arg("-f").arg(&file);
        let start = Instant::now();
        let mut process = Process::spawn(command)?;
        process.wait_for_line("ready:", PATIENCE)?;
        loads.push(start.elapsed().as_secs_f64() * 1000.0);
        // What a hash knows of weights without a restart of its servers.
        for weight in ["0%", "100%"] {
            let start = Instant::now();
            let answer = ask(&socket, &format!("set server b0/s0 weight {weight}"))?;
            changes.push(start.elapsed().as_secs_f64() * 1000.0);
            ensure!(answer.trim().is_empty(), "{answer}");
        }
        process.terminate(PATIENCE)?;
    }
    Ok((loads, changes))
}

fn ask(socket: &Path, command: &str) -> Result<String> {
    let mut socket = UnixStream::connect(socket).context("connect to l4d's socket")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    writeln!(socket, "{command}")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the configuration: every service has a backend of its own.
fn file(case: &Case, socket: &Path, pin: &Path) -> String {
    let mut text = format!(
        "[xdp]\ninterfaces = [\"eth0\"]\npin = \"{}\"\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\n",
        pin.display(),
        socket.display()
    );
    let ring = if case.ring == 0 { String::new() } else { format!(", ring = {}", case.ring) };
    for service in 0..case.services {
        // A string takes all text.
        let _ = write!(
            text,
            "[frontend.f{service}]\nmode = \"tcp\"\nbind = \"10.77.{}.{}:80\"\nxdp = {{ forward = \"dsr\"{ring} }}\ndefault-backend = \"b{service}\"\n\
             [backend.b{service}]\nmode = \"tcp\"\nbalance = \"{}\"\ncheck = false\n[backend.b{service}.server]\n",
            100 + service / 200,
            1 + service % 200,
            case.balance
        );
        for server in 0..case.servers {
            // Ten groups of machines carry all services.
            let number = service % 10 * case.servers + server;
            let _ = writeln!(text, "s{server} = {{ address = \"10.200.{}.{}:80\", weight = 50 }}", number / 250, 1 + number % 250);
        }
    }
    text
}
