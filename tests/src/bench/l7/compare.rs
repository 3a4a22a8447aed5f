//! The measuring: for every case all proxies in turns, round after round, so that a neighbour of the machine disturbs them alike.
//!
//! Proxies have one CPU, clients and servers another. A proxy that cannot do a case is told of in its own words; a run in which one answer was wrong makes
//! the figures of that proxy void.

use std::env;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, getrlimit};

use super::case::{Case, Face, Traffic, WARM_UP};
use super::load::{self, Job};
use super::measure::Sample;
use super::peer::{Proxy, Running, Setting};
use super::report::{Outcome, Row};
use super::server::{self, Addresses};
use crate::process::Process;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// How often everything is measured.
    pub(super) rounds: u32,
    /// How long each time.
    pub(super) window: Duration,
    /// Requests per second, where there is a rate.
    pub(super) rate: u32,
}

/// Servers, and what the proxies are told.
#[derive(Debug)]
pub(super) struct Comparison {
    effort: Effort,
    setting: Setting,
    /// Why there is no certificate.
    no_certificate: Option<String>,
    /// The CPU of clients and servers.
    cpu: usize,
    addresses: Addresses,
    _servers: Process,
    /// Where logs go and are not read.
    _sink: UdpSocket,
}

/// A proxy in a case.
struct Stand {
    proxy: Proxy,
    running: Option<Running>,
    outcome: Outcome,
}

impl Comparison {
    /// Starts the servers.
    pub(super) fn new(effort: Effort, setting: Setting, no_certificate: Option<String>, cpu: usize, sink: UdpSocket) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["serve", "--cpu", &cpu.to_string()]);
        let servers = Process::spawn(command)?;
        let addresses = Addresses::parse(&servers.wait_for_line(server::READY, PATIENCE)?)?;
        Ok(Self { effort, setting, no_certificate, cpu, addresses, _servers: servers, _sink: sink })
    }

    /// Measures a case.
    pub(super) fn run(&self, case: &'static Case, mut progress: impl FnMut(&str)) -> Row {
        let mut stands: Vec<Stand> = case.proxies().iter().map(|proxy| self.stand(*proxy, case)).collect();
        for round in 1..=self.effort.rounds {
            for stand in &mut stands {
                if matches!(stand.outcome, Outcome::Measured(_)) {
                    progress(&format!("{}: round {round} of {}, {}", case.name, self.effort.rounds, stand.proxy));
                    self.measure(stand, case);
                }
            }
        }
        Row { case, outcomes: stands.into_iter().map(|stand| (stand.proxy, stand.outcome)).collect() }
    }

    /// Starts a proxy for a case, or finds out why it cannot do that.
    fn stand(&self, proxy: Proxy, case: &Case) -> Stand {
        match self.obstacle(case).map_or_else(|| self.start(proxy, case).map_err(|error| format!("{error:#}")), Err) {
            Ok(running) => Stand { proxy, running: Some(running), outcome: Outcome::Measured(Vec::new()) },
            Err(why) => Stand { proxy, running: None, outcome: Outcome::NotRun(why) },
        }
    }

    fn start(&self, proxy: Proxy, case: &Case) -> Result<Running> {
        Running::start(proxy, case, self.servers(case.face), &self.setting)
    }

    /// Returns why a case cannot be done with any proxy.
    fn obstacle(&self, case: &Case) -> Option<String> {
        let (needed, limit) = (case.traffic.connections() as u64 + SPARE, getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
        if needed > limit {
            return Some(format!("it takes {needed} descriptors and the limit is {limit} (ulimit -n)"));
        }
        self.no_certificate.clone().filter(|_| case.face == Face::Https)
    }

    fn servers(&self, face: Face) -> [SocketAddr; 2] {
        match face {
            Face::Http | Face::Https | Face::H2c | Face::Bytes => self.addresses.http,
            Face::Echo => self.addresses.echo,
        }
    }

    /// Measures once and keeps the figures, or what was wrong.
    fn measure(&self, stand: &mut Stand, case: &Case) {
        match self.sample(stand, case) {
            Ok(sample) => {
                if let Outcome::Measured(samples) = &mut stand.outcome {
                    samples.push(sample);
                }
            }
            Err(error) => stand.outcome = Outcome::Void(format!("{error:#}")),
        }
    }

    fn sample(&self, stand: &mut Stand, case: &Case) -> Result<Sample> {
        if matches!(case.traffic, Traffic::Idle { .. }) {
            // A proxy keeps what it once took.
            stand.running = None;
            stand.running = Some(self.start(stand.proxy, case)?);
        }
        let running = stand.running.as_ref().context("the proxy does not run")?;
        let job = Job {
            case: case.name.to_owned(),
            target: running.front,
            process: running.id(),
            window: u64::try_from(self.effort.window.as_millis())?,
            rate: self.effort.rate,
            certificate: self.setting.certificate.as_ref().map(|certificate| certificate.chain.clone()),
        };
        let mut command = Command::new(env::current_exe()?);
        command.args(["load", "--cpu", &self.cpu.to_string()]).args(job.arguments());
        let mut clients = Process::spawn(command)?;
        clients.wait(PATIENCE + WARM_UP + load::MOST_WINDOWS * self.effort.window).context("the clients do not end")?;
        let said = clients.wait_for_line("", PATIENCE)?;
        match said.split_once(' ') {
            Some((load::RESULT, figures)) => Sample::parse(figures),
            Some((load::FAULT, why)) => bail!("{why}"),
            _ => bail!("the clients said: {said}"),
        }
    }
}

/// Longest wait for servers to start and for clients to do more than measure.
const PATIENCE: Duration = Duration::from_secs(120);
/// Descriptors for everything but the connections of clients.
const SPARE: u64 = 300;
