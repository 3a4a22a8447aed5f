//! Checks by programs: one is started with what there is to know of the server, and its exit status tells.
//!
//! What it is told is what HAProxy tells: four arguments, an environment of `HAPROXY_…` and `PATH` and nothing else, and no files but the
//! three every program has, which lead nowhere. It runs in a process group of its own, and when its time is over or nobody waits any
//! more, all of the group ends: what it started does not pile up. A thread of its own starts it, for two reasons: the rest goes on
//! while the system makes a process, and the thread gives up for itself, and so for the program, what `insecure-setuid-wanted` keeps.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::connect::reason;
use crate::config::{BindAddress, Config, Frontend, Mode, Program, Protocol, Server, ServerAddress, Target, UnixAddress};
use crate::fleet::CheckResult;

/// What a program is told of the server it checks.
pub(super) struct Briefing {
    arguments: [String; 4],
    environment: Vec<(&'static str, String)>,
    rights: Rights,
    prepare: fn(&mut process::Command),
}

/// Whether a program can get rights that are not ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    Ours,
    OfFiles,
}

impl Briefing {
    /// Tells of a server, and of how many connections it has, where that is known.
    pub(super) fn new(config: &Config, server: &Server, load: Option<u32>, prepare: fn(&mut process::Command)) -> Self {
        let backend = config.backend(server.backend());
        let (own, own_port) = front(config, backend.is_twin().then(|| backend.name()));
        let (address, port) = match server.address() {
            ServerAddress::Unix(unix) => (path_of(unix), None),
            ServerAddress::Inet(..) | ServerAddress::Named(_) => (
                server.ip().map_or_else(String::new, |ip| ip.to_string()),
                // A server without a port of its own is checked somewhere, and that is where the program has to look.
                server.port().or_else(|| checked_port(server)),
            ),
        };
        let text = |port: Option<u16>| port.map_or_else(String::new, |port| port.to_string());
        let or_unused = |text: &str| if text.is_empty() { NOT_USED.to_owned() } else { text.to_owned() };
        let protocol = match (backend.mode(), server.protocol()) {
            (Mode::Tcp, _) => "tcp",
            (Mode::Http, Some(Protocol::H2)) => "h2",
            (Mode::Http, _) => "h1",
        };
        let number = config.frontends().len() + backend.id().index() + 2;
        let environment = vec![
            ("HAPROXY_PROXY_ADDR", own.clone()),
            ("HAPROXY_PROXY_ID", number.to_string()),
            ("HAPROXY_PROXY_NAME", backend.name().to_owned()),
            ("HAPROXY_PROXY_PORT", text(own_port)),
            ("HAPROXY_SERVER_ADDR", address.clone()),
            ("HAPROXY_SERVER_CURCONN", load.map_or_else(String::new, |load| load.to_string())),
            ("HAPROXY_SERVER_ID", server.number().to_string()),
            ("HAPROXY_SERVER_MAXCONN", server.maxconn().unwrap_or(0).to_string()),
            ("HAPROXY_SERVER_NAME", server.name().to_owned()),
            ("HAPROXY_SERVER_PORT", text(port)),
            ("HAPROXY_SERVER_PROTO", protocol.to_owned()),
            ("HAPROXY_SERVER_SSL", u8::from(server.tls().is_some()).to_string()),
        ];
        let arguments = [or_unused(&own), or_unused(&text(own_port)), address, or_unused(&text(port))];
        let rights = if config.global().external_setuid() { Rights::OfFiles } else { Rights::Ours };
        Self { arguments, environment, rights, prepare }
    }

    fn command(&self, program: &Program) -> Command {
        let mut command = Command::new(program.command());
        command.args(&self.arguments).env_clear().env("PATH", program.path().unwrap_or_default());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        (self.prepare)(command.as_std_mut());
        command
    }
}

/// Returns the first address of the frontend that a backend is written together with; empty where there is none.
fn front(config: &Config, twin: Option<&str>) -> (String, Option<u16>) {
    let binds = twin.and_then(|name| config.frontend_named(name)).map(Frontend::binds).unwrap_or_default();
    let first = binds.iter().find_map(|bind| match bind.address() {
        BindAddress::Inet(inet) => Some((inet.ip().to_string(), Some(inet.ports().first()))),
        BindAddress::Unix(unix) => Some((path_of(unix), None)),
        BindAddress::Inherited(_) => None,
    });
    first.unwrap_or_default()
}

/// Returns the path of a socket, or how it is written where it has none.
fn path_of(unix: &UnixAddress) -> String {
    unix.path().map_or_else(|| unix.to_string(), |path| path.display().to_string())
}

fn checked_port(server: &Server) -> Option<u16> {
    match server.check()?.target() {
        Target::Inet(address) => Some(address.port()),
        Target::Unix(_) => None,
    }
}

/// What a program said: the result, its code, and what went wrong besides.
pub(super) type Verdict = (CheckResult, u16, String);

/// Runs a program until it ends, or until `limit` is over once there is room for it.
pub(super) async fn run(program: &Program, briefing: &Briefing, limit: Duration) -> Verdict {
    let Ok(_room) = ROOM.acquire().await else { return (CheckResult::NotProbed, 0, String::new()) };
    let deadline = Instant::now() + limit;
    let failed = |error: &io::Error| (CheckResult::ProgramFailed, NOT_STARTED, reason(error));
    let mut running = match start(briefing.command(program), briefing.rights).await {
        Ok(running) => running,
        Err(error) => return failed(&error),
    };
    match timeout_at(deadline, running.child.wait()).await {
        Ok(Ok(status)) => {
            running.group = None;
            judge(status)
        }
        Ok(Err(error)) => failed(&error),
        Err(_) => (CheckResult::ProgramTimeout, 0, String::new()),
    }
}

fn judge(status: ExitStatus) -> Verdict {
    match (status.code(), status.signal()) {
        (Some(0), _) => (CheckResult::ProgramPassed, 0, String::new()),
        (Some(code), _) => (CheckResult::ProgramFailed, u16::try_from(code).unwrap_or(u16::MAX), String::new()),
        // As a shell counts.
        (None, signal) => {
            let signal = u16::try_from(signal.unwrap_or(0)).unwrap_or(0);
            (CheckResult::ProgramFailed, 128 + signal, format!("ended by signal {signal}"))
        }
    }
}

/// Starts a command from a thread of its own.
async fn start(mut command: Command, rights: Rights) -> io::Result<Running> {
    let (sender, started) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new().name("external-check".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        let limited = match rights {
            Rights::Ours => rustix::thread::set_no_new_privs(true).map_err(io::Error::from),
            Rights::OfFiles => Ok(()),
        };
        // Where nobody waits any more, the child ends with what is not taken.
        drop(sender.send(limited.and_then(|()| command.spawn()).map(Running::new)));
    })?;
    started.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
}

/// A program that runs, and ends with all that it started unless it has ended by itself.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    fn new(child: Child) -> Self {
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Self { child, group }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Fails where all of them are gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What stands in an argument where there is nothing.
const NOT_USED: &str = "NOT_USED";

/// The code of a program that could not be started.
const NOT_STARTED: u16 = 255;

/// How many programs run at a time.
static ROOM: Semaphore = Semaphore::const_new(64);
