//! The proxies: l7d and its peers, each as its own process with one thread, under configurations that ask the same of all.
//!
//! Where one does less without being told, none is told to do more: timeouts, X-Forwarded-For, statistics and kept connections to servers everywhere,
//! and rules everywhere or nowhere.

mod haproxy;
mod l7d;
mod nginx;

use std::env;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::case::{Case, Face};
use super::certificate::Certificate;
use super::ports;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::eventually;

/// The programs that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Proxy {
    L7d,
    Haproxy,
    /// With `option splice-request` and `option splice-response`.
    HaproxySplice,
    Nginx,
    /// Without log lines where the others write them.
    QuietL7d,
    QuietHaproxy,
}

impl Proxy {
    pub(super) const ALL: [Self; 6] = [Self::L7d, Self::Haproxy, Self::HaproxySplice, Self::Nginx, Self::QuietL7d, Self::QuietHaproxy];

    /// Returns the name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::L7d => "l7d",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy+splice",
            Self::Nginx => "nginx",
            Self::QuietL7d => "l7d,no log",
            Self::QuietHaproxy => "haproxy,no log",
        }
    }

    /// Tells whether it writes no log line whatever the others do.
    fn is_quiet(self) -> bool {
        matches!(self, Self::QuietL7d | Self::QuietHaproxy)
    }

    /// Tells whether this is one of the two that l7d must beat as they are.
    pub(super) fn is_plain_peer(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a configuration is made for.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) face: Face,
    /// Where clients connect.
    pub(super) front: SocketAddr,
    /// Where statistics are asked for, which nobody does here.
    pub(super) statistics: SocketAddr,
    pub(super) servers: [SocketAddr; 2],
    pub(super) setting: &'a Setting,
    /// Where a line for each request or connection goes.
    pub(super) log: Option<SocketAddr>,
    /// For files of the program's own.
    pub(super) directory: &'a Path,
}

/// What is the same for all proxies and cases.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) l7d: PathBuf,
    /// None where no case needs one.
    pub(super) certificate: Option<Certificate>,
    pub(super) rules: Rules,
    /// Where log lines go.
    pub(super) sink: SocketAddr,
    /// Whether all proxies write them in all cases.
    pub(super) logs: bool,
    /// The CPU of the proxies.
    pub(super) cpu: usize,
}

/// Whether requests are matched against rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    On,
    Off,
}

impl Site<'_> {
    fn has_rules(&self) -> bool {
        self.is_http() && self.setting.rules == Rules::On
    }

    fn is_http(&self) -> bool {
        matches!(self.face, Face::Http | Face::Https | Face::H2c)
    }

    /// Returns the certificate where clients expect TLS.
    fn certificate(&self) -> Option<&Certificate> {
        self.setting.certificate.as_ref().filter(|_| self.face == Face::Https)
    }
}

/// A proxy that accepts connections; stopped when dropped.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    pub(super) front: SocketAddr,
    scratch: Scratch,
}

impl Running {
    /// Starts a proxy on a port of its own.
    ///
    /// # Errors
    /// Fails with the program's own words if it does not start, and with those that install it if it is not there.
    pub(super) fn start(proxy: Proxy, case: &Case, servers: [SocketAddr; 2], setting: &Setting) -> Result<Self> {
        let scratch = Scratch::new("proxy")?;
        let (front, statistics) = (ports::unused()?, ports::unused()?);
        let log = ((setting.logs || case.logs) && !proxy.is_quiet()).then_some(setting.sink);
        let site = Site { face: case.face, front, statistics, servers, setting, log, directory: scratch.path() };
        Self::start_command(command(proxy, &site, &scratch)?, Some(setting.cpu), front, scratch)
    }

    /// Starts a program that is to accept connections at `front`, on one CPU or on all.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(super) fn start_command(command: Command, cpu: Option<usize>, front: SocketAddr, scratch: Scratch) -> Result<Self> {
        let command = cpu.map_or(Ok(None), |cpu| pinned(cpu, &command).map(Some))?.unwrap_or(command);
        let mut running = Self { process: Process::spawn(command)?, front, scratch };
        running.wait_until_it_accepts().map_err(|error| anyhow!("{}", in_one_line(&error.to_string(), running.scratch.path())))?;
        Ok(running)
    }

    /// Returns the directory of its files.
    pub(super) fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let (process, front) = (&mut self.process, self.front);
        let opened = eventually(PATIENCE, "the proxy to accept", || {
            if process.wait(Duration::ZERO).is_ok() {
                return Some(false);
            }
            TcpStream::connect(front).is_ok().then_some(true)
        })?;
        if !opened {
            bail!("{}", process.whole_output(PATIENCE)?);
        }
        Ok(())
    }
}

/// Returns why l7d does not take rules, or nothing if it does.
///
/// # Errors
/// Fails if it cannot be run.
pub(super) fn objection_to_rules(l7d: &Path) -> Result<Option<String>> {
    let scratch = Scratch::new("rules")?;
    let sink = ports::unused()?;
    let setting = Setting { l7d: l7d.to_owned(), certificate: None, rules: Rules::On, sink, logs: false, cpu: 0 };
    let (front, statistics, servers) = (ports::unused()?, ports::unused()?, [ports::unused()?, ports::unused()?]);
    let site = Site { face: Face::Http, front, statistics, servers, setting: &setting, log: None, directory: scratch.path() };
    let file = scratch.write("site.toml", l7d::site(&site))?;
    let output = Command::new(l7d).args(["check", "-f"]).arg(file).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok((!output.status.success()).then(|| in_one_line(&said, scratch.path())))
}

/// Longest wait for a proxy to accept connections.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long clients and servers may be silent, in seconds.
const IDLE_SECONDS: u32 = 60;
/// How many connections a proxy may have.
const MOST_CONNECTIONS: u32 = 30_000;

/// Writes the configuration and returns the command that serves it.
fn command(proxy: Proxy, site: &Site<'_>, scratch: &Scratch) -> Result<Command> {
    match proxy {
        Proxy::L7d | Proxy::QuietL7d => {
            let mut command = Command::new(&site.setting.l7d);
            command.args(["run", "-f"]).arg(scratch.write("site.toml", l7d::site(site))?);
            Ok(command)
        }
        Proxy::Haproxy | Proxy::HaproxySplice | Proxy::QuietHaproxy => {
            let mut command = Command::new(find("haproxy")?);
            command.args(["-db", "-f"]).arg(scratch.write("haproxy.cfg", haproxy::site(site, proxy == Proxy::HaproxySplice))?);
            Ok(command)
        }
        Proxy::Nginx => {
            let program = find("nginx")?;
            let text = nginx::site(site, &nginx::Stream::find(&program)?)?;
            let mut command = Command::new(program);
            command.arg("-p").arg(scratch.path()).arg("-e").arg("stderr").arg("-c").arg(scratch.write("nginx.conf", text)?);
            Ok(command)
        }
    }
}

/// Returns the path of a program; Debian's users may not have that of a peer in their PATH.
///
/// # Errors
/// Fails with the command that installs it.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    let found = places.map(|directory| directory.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| anyhow!("{name} is not installed (apt-get install {name})"))
}

/// Returns a command that moves to a CPU, allows itself many descriptors and becomes another.
fn pinned(cpu: usize, command: &Command) -> Result<Command> {
    let mut pinned = Command::new(env::current_exe()?);
    pinned.args(["become", "--cpu", &cpu.to_string(), "--"]).arg(command.get_program()).args(command.get_args());
    Ok(pinned)
}

/// Returns the first thing a program complains of, without the directory of its files.
fn in_one_line(text: &str, directory: &Path) -> String {
    let text = text.replace(&format!("{}/", directory.display()), "");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().find(|line| !line.starts_with("[NOTICE]") && !line.starts_with("[WARNING]"));
    first.or_else(|| lines.next()).unwrap_or("it ended without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_complaint_is_told_without_its_directory() {
        let said = "[NOTICE]   (7) : haproxy version is 2.6\n[ALERT]    (7) : config : [/tmp/x/haproxy.cfg:3] : unknown keyword\nmore\n";
        assert_eq!(in_one_line(said, Path::new("/tmp/x")), "[ALERT]    (7) : config : [haproxy.cfg:3] : unknown keyword");
        assert_eq!(in_one_line("\n", Path::new("/tmp/x")), "it ended without a word");
    }
}
