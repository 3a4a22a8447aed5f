//! What the demo plays on: a lab, servers in its backends and l4d in its balancer, all of which vanish with it.

use std::env;
use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use xdp_common::reason::Reason;

use crate::client::Client;
use crate::netns::Netns;
use crate::process::{Process, bin};
use crate::requirements::output_of;
use crate::serve::READY;
use crate::topology::{Arms, Family, Lab, Return};
use crate::wait::eventually;

/// How many servers there are.
pub(super) const SERVERS: usize = 3;

/// Returns the name of a server, in the configuration and in its answers.
pub(super) fn name(server: usize) -> String {
    format!("backend{}", server + 1)
}

/// Everything that runs; ended and removed when dropped.
#[derive(Debug)]
pub(super) struct Stage {
    l4d: Process,
    servers: Vec<Process>,
    lab: Lab,
    config: PathBuf,
    /// Locked, because what the kernel holds for a configuration has one name.
    _file: File,
}

/// What l4d says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    /// The state of each server: `UP`, `DOWN` and so on.
    pub(super) states: [String; SERVERS],
    /// Packets sent to servers.
    pub(super) forwarded: u64,
    /// Packets sent back to clients.
    pub(super) returned: u64,
    /// Packets dropped, for whatever reason.
    pub(super) dropped: u64,
}

impl Kernel {
    /// Tells which servers take connections.
    pub(super) fn up(&self) -> [bool; SERVERS] {
        self.states.each_ref().map(|state| state == "UP")
    }

    /// Reads it from the text that Prometheus would get.
    fn read(metrics: &str) -> Result<Self> {
        let state = |server| {
            let lines = metrics.lines().filter(|line| line.starts_with("haproxy_server_status{") && line.ends_with(" 1"));
            let mine = lines.filter(|line| label(line, "server") == Some(name(server).as_str())).find_map(|line| label(line, "state"));
            mine.map(str::to_owned)
                .with_context(|| format!("l4d knows no {}: the configuration has other servers than the lab", name(server)))
        };
        let packets = |wanted: fn(Reason) -> bool| {
            let lines = metrics.lines().filter(|line| line.starts_with("l4d_packets_total{"));
            let counts = lines.filter_map(|line| Some((label(line, "reason")?, line.rsplit_once(' ')?.1.parse::<u64>().ok()?)));
            let chosen = counts.filter(|(reason, _)| Reason::ALL.iter().any(|known| known.name() == *reason && wanted(*known)));
            chosen.map(|(_, count)| count).sum()
        };
        let states = [state(0)?, state(1)?, state(2)?];
        Ok(Self {
            states,
            forwarded: packets(|reason| reason == Reason::Forwarded),
            returned: packets(|reason| reason == Reason::Returned),
            dropped: packets(|reason| !reason.passes() && !matches!(reason, Reason::Forwarded | Reason::Returned)),
        })
    }
}

impl Stage {
    /// Makes the lab, starts servers and l4d, and waits until a connection gets through.
    ///
    /// # Errors
    /// Fails if the machine lacks what it takes, the file is wrong, or it does not fit the lab.
    pub(super) fn set(config: &Path) -> Result<Self> {
        let (config, file) = claim(config)?;
        let lab = Lab::new(u8::try_from(SERVERS)?, Arms::One, Return::ThroughBalancer)?;
        let servers = (0..SERVERS).map(|server| serve(&lab, server)).collect::<Result<_>>()?;
        // A demo that was killed may have left its flows, which belong to a network that is no more.
        detach(lab.balancer().namespace(), &config)?;
        let mut run = lab.balancer().namespace().command(bin("l4d")?);
        run.arg("run").arg("-f").arg(&config);
        let stage = Self { l4d: spawn(run)?, servers, lab, config, _file: file };
        stage.l4d.wait_for_line("ready:", SOON)?;
        let mut last = None;
        let answered =
            eventually(SOON, "the first answer", || stage.client().who(stage.address()).map_err(|error| last = Some(error)).ok());
        answered.map_err(|error| last.map_or(error, |last| last.context(format!("{} does not answer", stage.address()))))?;
        Ok(stage)
    }

    /// Returns the virtual address.
    pub(super) fn address(&self) -> SocketAddr {
        self.lab.vip(Family::V4, PORT)
    }

    /// Returns a client that would rather fail than wait.
    pub(super) fn client(&self) -> Client {
        self.lab.client().with_deadline(Duration::from_secs(1))
    }

    /// Ends a server as a crash would; nobody tells l4d.
    pub(super) fn kill(&mut self, server: usize) -> Result<()> {
        self.servers[server].kill()
    }

    /// Starts a server again.
    pub(super) fn start(&mut self, server: usize) -> Result<()> {
        self.servers[server] = serve(&self.lab, server)?;
        Ok(())
    }

    /// Asks l4d how it sees the world.
    pub(super) fn observe(&self) -> Result<Kernel> {
        let asked = Client::new(self.lab.balancer().namespace()).get(METRICS, "/metrics");
        let response = asked.map_err(|error| anyhow!("l4d gives no metrics ({error:#}); it wrote\n{}", self.l4d.output().trim_end()))?;
        ensure!(response.status == 200, "l4d answers /metrics with status {}", response.status);
        Kernel::read(&String::from_utf8_lossy(&response.body))
    }

    /// Says what to type in another terminal.
    pub(super) fn invitation(&self) -> String {
        let l4d = bin("l4d").map_or_else(|_| "l4d".into(), |path| nearest(&path));
        let (config, client, address) = (nearest(&self.config), self.lab.client_host().namespace().name(), self.address().ip());
        let status = format!("{} status -f {}", l4d.display(), config.display());
        format!("From another terminal, as root and in this folder:\n\n  {status}\n  ip netns exec {client} curl -si {address}\n")
    }

    /// Ends and removes everything.
    ///
    /// # Errors
    /// Fails if l4d did not end well; its leftovers are removed all the same.
    pub(super) fn clear(mut self) -> Result<()> {
        self.stop_l4d()
    }

    /// Ends l4d and has it take everything out of the kernel; doing it again does nothing.
    fn stop_l4d(&mut self) -> Result<()> {
        let status = self.l4d.terminate(SOON);
        if status.as_ref().is_ok_and(|status| status.success()) {
            return Ok(());
        }
        drop(self.l4d.kill());
        detach(self.lab.balancer().namespace(), &self.config)?;
        bail!("l4d did not stop as it should ({}); it wrote\n{}", status?, self.l4d.output());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whoever wants to know about failures calls `clear`.
        drop(self.stop_l4d());
    }
}

/// Opens the configuration for this demo alone.
fn claim(config: &Path) -> Result<(PathBuf, File)> {
    let path = config.canonicalize().with_context(|| config.display().to_string())?;
    let file = File::open(&path).with_context(|| config.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok((path, file)),
        Err(TryLockError::WouldBlock) => bail!("{}: another demo runs on it", config.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", config.display())),
    }
}

fn detach(balancer: &Netns, config: &Path) -> Result<()> {
    output_of(balancer.command(bin("l4d")?).arg("detach").arg("-f").arg(config)).map(drop)
}

fn serve(lab: &Lab, server: usize) -> Result<Process> {
    let host = lab.backends().get(server).with_context(|| format!("the lab has no {}", name(server)))?;
    let mut command = host.namespace().command(bin("lab-backend")?);
    command.args(["--name", &name(server), "--listen", &host.at(Family::V4, SERVER_PORT).to_string()]);
    let process = spawn(command)?;
    process.wait_for_line(READY, SOON)?;
    Ok(process)
}

/// Starts a process that Ctrl-C does not reach, so that all ends in the right order.
fn spawn(mut command: Command) -> Result<Process> {
    command.process_group(0);
    Process::spawn(command)
}

/// Returns a path as one would type it from here.
fn nearest(path: &Path) -> PathBuf {
    let here = env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
}

/// Returns the value of a label in a line of metrics.
fn label<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let labels = line.split_once('{')?.1.split_once('}')?.0;
    labels.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// A deadline for what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(10);

// The demo's configuration says the same.
const PORT: u16 = 80;
const SERVER_PORT: u16 = 8080;
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9100);

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS_TEXT: &str = r#"
# TYPE l4d_packets_total counter
l4d_packets_total{reason="forwarded"} 60
l4d_packets_total{reason="returned"} 40
l4d_packets_total{reason="no_service"} 7
l4d_packets_total{reason="no_server"} 2
l4d_packets_total{reason="nat_full"} 1
haproxy_server_status{proxy="web",server="backend1",state="UP"} 1
haproxy_server_status{proxy="web",server="backend1",state="DOWN"} 0
haproxy_server_status{proxy="web",server="backend2",state="UP"} 0
haproxy_server_status{proxy="web",server="backend2",state="DOWN"} 1
haproxy_server_status{proxy="web",server="backend3",state="UP"} 1
"#;

    #[test]
    fn metrics_tell_states_and_what_became_of_packets() {
        let kernel = Kernel::read(METRICS_TEXT).unwrap();
        assert_eq!(kernel.states, ["UP", "DOWN", "UP"]);
        assert_eq!(kernel.up(), [true, false, true]);
        assert_eq!((kernel.forwarded, kernel.returned, kernel.dropped), (60, 40, 3), "passed to the host is not dropped");
    }

    #[test]
    fn configuration_with_other_servers_is_refused() {
        let error = Kernel::read(&METRICS_TEXT.replace("backend3", "db1")).unwrap_err();
        assert!(error.to_string().contains("no backend3"), "{error}");
    }
}
