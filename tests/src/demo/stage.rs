//! What the demo plays on: a lab, servers in its backends, l4d and l7d in its balancer, all of which vanish with it.

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
    l7d: Process,
    servers: Vec<Process>,
    lab: Lab,
    config: PathBuf,
    /// Locked, because what the kernel holds for a configuration has one name.
    _file: File,
}

/// What both daemons say about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// What l4d says.
    pub(super) kernel: Kernel,
    /// What l7d says.
    pub(super) user: User,
}

impl View {
    /// Tells which servers take connections from both.
    pub(super) fn up(&self) -> [bool; SERVERS] {
        std::array::from_fn(|server| [&self.kernel.states, &self.user.states].iter().all(|states| states[server] == "UP"))
    }
}

/// What l7d says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    /// The state of each server of the HTTP backend: `UP`, `DOWN` and so on.
    pub(super) states: [String; SERVERS],
    /// HTTP requests it has served.
    pub(super) requests: u64,
    /// TCP connections it has carried because the kernel did not.
    pub(super) carried: u64,
}

impl User {
    /// Reads it from the text that Prometheus would get.
    fn read(metrics: &str) -> Result<Self> {
        Ok(Self {
            states: states(metrics, "l7d", "http")?,
            requests: count(metrics, "haproxy_frontend_http_requests_total", "http")?,
            carried: count(metrics, "haproxy_frontend_sessions_total", "tcp")?,
        })
    }
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
    /// Reads it from the text that Prometheus would get.
    fn read(metrics: &str) -> Result<Self> {
        let packets = |wanted: fn(Reason) -> bool| {
            let lines = metrics.lines().filter(|line| line.starts_with("l4d_packets_total{"));
            let counts = lines.filter_map(|line| Some((label(line, "reason")?, line.rsplit_once(' ')?.1.parse::<u64>().ok()?)));
            let chosen = counts.filter(|(reason, _)| Reason::ALL.iter().any(|known| known.name() == *reason && wanted(*known)));
            chosen.map(|(_, count)| count).sum()
        };
        Ok(Self {
            states: states(metrics, "l4d", "tcp")?,
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
        let l4d = spawn(run)?;
        let mut run = lab.balancer().namespace().command(bin("l7d")?);
        run.arg("run").arg("-f").arg(&config);
        let stage = Self { l4d, l7d: spawn(run)?, servers, lab, config, _file: file };
        stage.l4d.wait_for_line("ready:", SOON)?;
        stage.l7d.wait_for_line("serving ", SOON)?;
        let client = stage.client();
        first_answer(stage.tcp(), || client.who(stage.tcp()).map(drop))?;
        first_answer(stage.http(), || client.get(stage.http(), "/").map(drop))?;
        Ok(stage)
    }

    /// Returns the address that the kernel serves.
    pub(super) fn tcp(&self) -> SocketAddr {
        self.lab.vip(Family::V4, TCP_PORT)
    }

    /// Returns the address that l7d serves.
    pub(super) fn http(&self) -> SocketAddr {
        self.lab.vip(Family::V4, HTTP_PORT)
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

    /// Asks both daemons how they see the world.
    pub(super) fn observe(&self) -> Result<View> {
        let kernel = Kernel::read(&self.metrics("l4d", &self.l4d, L4D_METRICS)?)?;
        Ok(View { kernel, user: self.observe_user()? })
    }

    fn observe_user(&self) -> Result<User> {
        User::read(&self.metrics("l7d", &self.l7d, L7D_METRICS)?)
    }

    fn metrics(&self, name: &str, daemon: &Process, address: SocketAddr) -> Result<String> {
        let asked = Client::new(self.lab.balancer().namespace()).get(address, "/metrics");
        let response = asked.map_err(|error| anyhow!("{name} gives no metrics ({error:#}); it wrote\n{}", daemon.output().trim_end()))?;
        ensure!(response.status == 200, "{name} answers /metrics with status {}", response.status);
        Ok(String::from_utf8_lossy(&response.body).into_owned())
    }

    /// Ends l4d and returns how many TCP connections l7d has carried in its place once there are some.
    ///
    /// # Errors
    /// Fails if l4d does not end well, or nobody takes over.
    pub(super) fn fall_back(&mut self) -> Result<u64> {
        let before = self.observe_user()?.carried;
        self.stop_l4d()?;
        let carried = || self.observe_user().ok().map(|user| user.carried - before).filter(|carried| *carried >= ENOUGH);
        eventually(SOON, "l7d to carry the TCP connections", carried)
    }

    /// Says what to type in another terminal.
    pub(super) fn invitation(&self) -> String {
        let l4d = bin("l4d").map_or_else(|_| "l4d".into(), |path| nearest(&path));
        let (config, client) = (nearest(&self.config), self.lab.client_host().namespace().name());
        let (balancer, tcp, http) = (self.lab.balancer().namespace().name(), self.tcp().ip(), self.http());
        let status = format!("{} status -f {}", l4d.display(), config.display());
        format!(
            "From another terminal, as root and in this folder:\n\n  {status}\n  ip netns exec {client} curl -si {tcp}\n  \
             ip netns exec {client} curl -si {http}\n  ip netns exec {balancer} curl -s '{L7D_METRICS}/stats;csv'\n"
        )
    }

    /// Ends and removes everything.
    ///
    /// # Errors
    /// Fails if a daemon did not end well; its leftovers are removed all the same.
    pub(super) fn clear(mut self) -> Result<()> {
        self.stop_l4d()?;
        // Clients are gone, so there is nothing to wait for.
        let status = self.l7d.terminate(SOON)?;
        ensure!(status.success(), "l7d did not stop as it should ({status}); it wrote\n{}", self.l7d.output());
        Ok(())
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

/// Waits until something answers.
fn first_answer(address: SocketAddr, ask: impl Fn() -> Result<()>) -> Result<()> {
    let mut last = None;
    let answered = eventually(SOON, "the first answer", || ask().map_err(|error| last = Some(error)).ok());
    answered.map_err(|error| last.map_or(error, |last| last.context(format!("{address} does not answer"))))
}

/// Returns the states of the servers of a backend from a daemon's metrics.
fn states(metrics: &str, daemon: &str, proxy: &str) -> Result<[String; SERVERS]> {
    let state = |server| {
        let lines = metrics.lines().filter(|line| line.starts_with("haproxy_server_status{") && line.ends_with(" 1"));
        let of_proxy = lines.filter(|line| label(line, "proxy") == Some(proxy));
        let mine = of_proxy.filter(|line| label(line, "server") == Some(name(server).as_str())).find_map(|line| label(line, "state"));
        mine.map(str::to_owned)
            .with_context(|| format!("{daemon} knows no {proxy}/{}: the configuration has other servers than the lab", name(server)))
    };
    Ok([state(0)?, state(1)?, state(2)?])
}

/// Returns a number that a daemon's metrics have of a proxy.
fn count(metrics: &str, family: &str, proxy: &str) -> Result<u64> {
    let line = metrics.lines().find(|line| line.starts_with(family) && label(line, "proxy") == Some(proxy));
    let count = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
    count.with_context(|| format!("no {family} of {proxy}: the configuration has other frontends than the lab"))
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
const TCP_PORT: u16 = 80;
const HTTP_PORT: u16 = 8080;
const SERVER_PORT: u16 = 8080;
const L4D_METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9100);
const L7D_METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9101);

/// So many connections are no accident.
const ENOUGH: u64 = 30;

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
haproxy_server_status{proxy="tcp",server="backend1",state="UP"} 1
haproxy_server_status{proxy="tcp",server="backend1",state="DOWN"} 0
haproxy_server_status{proxy="tcp",server="backend2",state="UP"} 0
haproxy_server_status{proxy="tcp",server="backend2",state="DOWN"} 1
haproxy_server_status{proxy="tcp",server="backend3",state="UP"} 1
haproxy_server_status{proxy="http",server="backend1",state="DOWN"} 1
haproxy_server_status{proxy="http",server="backend2",state="UP"} 1
haproxy_server_status{proxy="http",server="backend3",state="UP"} 1
haproxy_frontend_sessions_total{proxy="tcp"} 5
haproxy_frontend_sessions_total{proxy="http"} 9
haproxy_frontend_http_requests_total{proxy="http"} 12
"#;

    #[test]
    fn metrics_tell_states_and_what_became_of_traffic() {
        let view = View { kernel: Kernel::read(METRICS_TEXT).unwrap(), user: User::read(METRICS_TEXT).unwrap() };
        assert_eq!(
            (&view.kernel.states, &view.user.states),
            (&["UP", "DOWN", "UP"].map(str::to_owned), &["DOWN", "UP", "UP"].map(str::to_owned))
        );
        assert_eq!(view.up(), [false, false, true]);
        let Kernel { forwarded, returned, dropped, .. } = view.kernel;
        assert_eq!((forwarded, returned, dropped), (60, 40, 3), "passed to the host is not dropped");
        assert_eq!((view.user.requests, view.user.carried), (12, 5));
    }

    #[test]
    fn configuration_with_other_servers_is_refused() {
        let error = Kernel::read(&METRICS_TEXT.replace("backend3", "db1")).unwrap_err();
        assert!(error.to_string().contains("l4d knows no tcp/backend3"), "{error}");
        assert!(User::read(&METRICS_TEXT.replace("\"http\"", "\"web\"")).is_err());
    }
}
