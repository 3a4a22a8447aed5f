//! `cargo xtask bench checks`: what it costs to check thousands of servers, beside haproxy.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::report::Spread;
use super::super::stay_on;
use super::pair::{self, Bench, Place, Program};
use super::proc;
use super::tables::ask;

/// Runs the program; fails if the machine lacks something or a check failed, not if the target is missed.
#[must_use]
pub fn main() -> ExitCode {
    pair::main("cargo xtask bench checks", "Measures what checking thousands of servers costs beside haproxy", run)
}

const SERVERS: u32 = 5000;
const INTERVAL: Duration = Duration::from_secs(2);
/// Most of one CPU that these checks may take.
const MOST_SHARE: f64 = 0.15;

fn run(options: &pair::Options) -> Result<()> {
    let bench = Bench::new(options)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n{SERVERS} servers, each checked every {} s\n", bench.notes(), INTERVAL.as_secs())?;
    writeln!(out, "{:<24}{:>12}{:>12}   target", "share of one CPU", "l7d", "haproxy")?;
    let kinds = [
        ("TCP", "", "L4OK", serve(options.load_cpu, |_| Ok(()))?),
        ("HTTP", "  option httpchk\n", "L7OK", serve(options.load_cpu, answer)?),
    ];
    for (kind, option, result, port) in kinds {
        let mut shares = [Vec::new(), Vec::new()];
        for round in 1..=bench.rounds {
            for (program, shares) in Program::BOTH.into_iter().zip(&mut shares) {
                eprintln!("round {round} of {}: {kind}, {}", bench.rounds, program.name());
                shares.push(share(&bench, program, &(text(&bench, option, port)?, result))?);
            }
        }
        let [own, peer] = shares.map(|shares| Spread::of(shares).map_or(f64::NAN, |spread| spread.median));
        let met = if own <= MOST_SHARE { "met" } else { "MISSED" };
        writeln!(out, "{kind:<24}{:>10.1} %{:>10.1} %   {:.0} % {met}", 100.0 * own, 100.0 * peer, 100.0 * MOST_SHARE)?;
    }
    Ok(())
}

/// Returns the file; every server has an address of its own.
fn text(bench: &Bench, option: &str, port: u16) -> Result<String> {
    let mut text = format!("{}frontend front\n  bind FRONT\n  default_backend app\n\nbackend checked\n{option}", bench.base(1));
    for number in 0..SERVERS {
        let [_, _, high, low] = number.to_be_bytes();
        writeln!(text, "  server c{number} {}:{port} check inter {}s", Ipv4Addr::new(127, 1, high, low), INTERVAL.as_secs())?;
    }
    Ok(text)
}

/// Returns the share of one CPU that a program takes when all servers have been checked more than once.
fn share(bench: &Bench, program: Program, (text, result): &(String, &str)) -> Result<f64> {
    let (running, _) = bench.start(program, Place::Apart, text, &[])?;
    thread::sleep(2 * INTERVAL);
    let before = proc::cpu_time(running.id())?;
    thread::sleep(MEASURED);
    let taken = proc::cpu_time(running.id())? - before;
    let said = ask(&running.directory().join("stats.sock"), "show stat checked 4 -1")?;
    let good = said.lines().filter(|line| line.contains(&format!(",{result},")) || line.contains(&format!(",* {result},"))).count();
    ensure!(good == SERVERS as usize, "{}: {good} of {SERVERS} checks ended with {result}", program.name());
    Ok(taken.as_secs_f64() / MEASURED.as_secs_f64())
}

/// Starts what is checked, on every address of this host, and returns its port.
fn serve(cpu: usize, answer: fn(&mut TcpStream) -> io::Result<()>) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    for _ in 0..ACCEPTING {
        let listener = listener.try_clone()?;
        thread::spawn(move || {
            stay_on(cpu).expect("the CPU is there");
            for mut stream in listener.incoming().flatten() {
                // Who checks sees for itself what went wrong.
                let _ = answer(&mut stream);
            }
        });
    }
    Ok(port)
}

/// Answers one request.
fn answer(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(INTERVAL))?;
    let mut head = [0; 1024];
    let mut count = 0;
    while !head[..count].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[count..])? {
            0 => return Ok(()),
            read => count += read,
        }
    }
    stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
}

/// How many threads accept connections: one may wait for a request.
const ACCEPTING: usize = 8;
/// Five intervals.
const MEASURED: Duration = Duration::from_secs(10);
