//! What the process is to the system around it: how it was started, who is told that it serves, and what it may do from then on.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail};
use control::config::{Account, Capability, Config, Global, StatsSocket};
use nix::unistd::{Gid, Group, Uid, User, chdir, chroot, setgid, setgroups, setuid};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use rustix::thread::{self, CapabilitySet};
use tracing::warn;

use crate::bind::Sharing;
use crate::heritage::Heritage;

/// How the process was started.
#[derive(Debug, Default)]
pub(crate) struct Launch {
    /// Those that are told to go once this process serves.
    pub(crate) predecessors: Vec<Pid>,
    /// What they are told.
    pub(crate) farewell: Farewell,
    /// The socket of the runtime interface of the process whose sockets are taken over.
    pub(crate) ancestor: Option<PathBuf>,
    /// Where the number of this process is written, beside where the configuration says.
    pub(crate) pidfile: Option<PathBuf>,
    /// Where the commands of a master are taken.
    pub(crate) master: Option<StatsSocket>,
    /// What SIGTERM asks for.
    pub(crate) terminate: Terminate,
    /// Who waits for this process to serve.
    pub(crate) parent: Parent,
    /// What this process is called among its peers.
    pub(crate) local_peer: Option<String>,
    /// How many connections it serves at a time, whatever its files say.
    pub(crate) maxconn: Option<u32>,
    /// How much memory it may have, in MiB.
    pub(crate) memory: Option<u64>,
}

/// What a predecessor is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// To finish what it has.
    #[default]
    Finish,
    /// To stop at once.
    Stop,
}

/// What SIGTERM asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Terminate {
    /// To let connections end; a second one stops.
    #[default]
    Drain,
    /// To stop at once, as HAProxy does.
    Now,
}

/// Who waits for this process to serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Nobody, or who reads our log.
    #[default]
    Terminal,
    /// One that ends once our standard output says a byte, and leaves us in the background.
    Waiting,
}

impl Launch {
    /// Tells how addresses are bound: a predecessor's are shared until it lets go of them.
    pub(crate) fn sharing<'h>(&self, heritage: Option<&'h Heritage>) -> Sharing<'h> {
        match heritage {
            Some(heritage) => Sharing::Inheriting(heritage),
            None if self.predecessors.is_empty() => Sharing::Alone,
            None => Sharing::Replacing,
        }
    }

    /// Returns what a service manager is told once the process serves: who takes the place of another is the main one from then on.
    pub(crate) fn ready(&self) -> String {
        if self.predecessors.is_empty() { "READY=1".to_owned() } else { format!("READY=1\nMAINPID={}", std::process::id()) }
    }

    /// Returns a configuration with the limits of the command line.
    pub(crate) fn limited(&self, config: Config) -> Config {
        self.maxconn.map(|most| config.with_maxconn(Some(most))).unwrap_or(config)
    }

    /// Lets the system refuse memory beyond what the command line allows.
    ///
    /// # Errors
    /// Fails if the process must not limit itself so.
    pub(crate) fn limit_memory(&self) -> anyhow::Result<()> {
        let Some(most) = self.memory.map(|most| most << 20) else { return Ok(()) };
        setrlimit(Resource::Data, Rlimit { current: Some(most), maximum: Some(most) }).context("limit of the memory")
    }

    /// Takes over what the process before listens on, if that is wanted.
    ///
    /// # Errors
    /// Fails if that process does not answer.
    pub(crate) fn heritage(&self) -> anyhow::Result<Option<Heritage>> {
        self.ancestor.as_deref().map(Heritage::take).transpose()
    }

    /// Takes the place of the predecessors: says so in the files of the number, and to them. The addresses are bound by now, so whoever
    /// connects from here on waits for this process.
    ///
    /// # Errors
    /// Fails if the file of the number cannot be written.
    pub(crate) fn take_over(&self, global: &Global) -> anyhow::Result<()> {
        for path in self.pidfile.as_deref().into_iter().chain(global.pidfile()) {
            fs::write(path, format!("{}\n", std::process::id())).with_context(|| format!("pidfile {}", path.display()))?;
        }
        let signal = match self.farewell {
            Farewell::Finish => Signal::USR1,
            Farewell::Stop => Signal::TERM,
        };
        for predecessor in &self.predecessors {
            if let Err(error) = kill_process(*predecessor, signal) {
                warn!("process {} is not told to go: {error}", predecessor.as_raw_nonzero());
            }
        }
        Ok(())
    }

    /// Returns what takes the terminal's place once the process serves; none if it keeps it.
    ///
    /// # Errors
    /// Fails if the system lacks its null device.
    pub(crate) fn silence(&self) -> anyhow::Result<Option<fs::File>> {
        match self.parent {
            Parent::Terminal => Ok(None),
            Parent::Waiting => fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(Some).context("/dev/null"),
        }
    }
}

/// Leaves the terminal to who waits there, who is told by a byte.
///
/// # Errors
/// Fails if who waits is gone.
pub(crate) fn detach(silence: &fs::File) -> anyhow::Result<()> {
    io::Write::write_all(&mut io::stdout(), b"\n")?;
    io::Write::flush(&mut io::stdout())?;
    rustix::stdio::dup2_stdin(silence)?;
    rustix::stdio::dup2_stdout(silence)?;
    rustix::stdio::dup2_stderr(silence)?;
    Ok(())
}

/// Finds the service manager, which may be out of sight once the root directory is another.
pub(crate) fn find_manager() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let name = name.as_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(PathBuf::from(String::from_utf8_lossy(name).into_owned())),
    };
    let connected = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(socket)
    });
    match connected {
        // Found once for the life of the process.
        Ok(socket) => drop(MANAGER.set(socket)),
        Err(error) => warn!("no service manager: {error}"),
    }
}

static MANAGER: OnceLock<UnixDatagram> = OnceLock::new();

/// Tells the service manager, if there is one, what state the process is in.
pub(crate) fn notify(state: &str) {
    if let Some(Err(error)) = MANAGER.get().map(|manager| manager.send(state.as_bytes())) {
        warn!("the service manager is not told: {error}");
    }
}

/// Returns how often the service manager wants to hear that the process lives; none if it does not.
pub(crate) fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|limit| is_ours && *limit > 0).map(|limit| Duration::from_micros(limit) / 2)
}

/// Returns what a service manager is told at the beginning of a reload.
pub(crate) fn reloading() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
}

/// What the process becomes once it has bound its addresses.
#[derive(Debug)]
pub(crate) struct Rights {
    user: Option<Uid>,
    group: Option<Gid>,
    chroot: Option<PathBuf>,
    /// What stays of the rights of root.
    kept: CapabilitySet,
    /// Whether programs that check servers may have what this process gives up.
    lends: bool,
}

impl Rights {
    /// Tells whether anything is given up, without which all of this process's rights stay.
    pub(crate) fn are_less(&self) -> bool {
        let changes = self.chroot.is_some() || self.user.is_some_and(|user| user != Uid::effective());
        Uid::effective().is_root() && changes
    }

    /// Returns what the configuration says.
    ///
    /// # Errors
    /// Fails if there is no such account.
    pub(crate) fn of(global: &Global) -> anyhow::Result<Self> {
        let (user, group) = (global.user().map(user_of).transpose()?, global.group().map(group_of).transpose()?);
        let kept = global.capabilities().iter().map(|capability| match capability {
            Capability::NetAdmin => CapabilitySet::NET_ADMIN,
            Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
            Capability::NetRaw => CapabilitySet::NET_RAW,
            Capability::SysAdmin => CapabilitySet::SYS_ADMIN,
        });
        Ok(Self { user, group, chroot: global.chroot().map(PathBuf::from), kept: kept.collect(), lends: global.external_setuid() })
    }

    /// Gives up all others; to be called before there are threads.
    ///
    /// # Errors
    /// Fails if the process must not change them.
    pub(crate) fn take(self) -> anyhow::Result<()> {
        let is_root = Uid::effective().is_root();
        let becomes = self.user.filter(|user| *user != Uid::effective());
        if is_root && becomes.is_some() && !self.lends {
            self.bound()?;
        }
        if let Some(path) = &self.chroot {
            chroot(path).and_then(|()| chdir("/")).with_context(|| format!("chroot {}", path.display()))?;
        }
        if let Some(group) = self.group.filter(|group| *group != Gid::effective()) {
            setgroups(&[]).and_then(|()| setgid(group)).with_context(|| format!("group {group}"))?;
        }
        if let Some(user) = becomes {
            if is_root {
                thread::set_keep_capabilities(!self.kept.is_empty()).context("capabilities")?;
            }
            setuid(user).with_context(|| format!("user {user}"))?;
        }
        if is_root && becomes.is_some() {
            keep(self.kept)?;
        }
        // No program that is started from here on gains what this one has given up.
        if self.lends { Ok(()) } else { thread::set_no_new_privs(true).context("no new rights") }
    }

    /// Leaves no program that this process might still start a way back.
    fn bound(&self) -> anyhow::Result<()> {
        for one in CapabilitySet::all().iter().filter(|one| !self.kept.contains(*one)) {
            match thread::remove_capability_from_bounding_set(one) {
                // The system knows fewer, or an administrator has taken that away as well.
                Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
                Err(error) => return Err(error).context("bounds of capabilities"),
            }
        }
        Ok(())
    }
}

/// Gives up all capabilities but these.
fn keep(kept: CapabilitySet) -> anyhow::Result<()> {
    let has = thread::capabilities(None).context("capabilities")?.permitted;
    if !has.contains(kept) {
        bail!("setcap names a capability that the process does not have");
    }
    let sets = thread::CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    thread::set_capabilities(None, sets).context("capabilities")?;
    thread::set_keep_capabilities(false).context("capabilities")
}

fn user_of(account: &Account) -> anyhow::Result<Uid> {
    match account {
        Account::Id(id) => Ok(Uid::from_raw(*id)),
        Account::Name(name) => match User::from_name(name)? {
            Some(user) => Ok(user.uid),
            None => bail!("no user `{name}` on this host"),
        },
    }
}

fn group_of(account: &Account) -> anyhow::Result<Gid> {
    match account {
        Account::Id(id) => Ok(Gid::from_raw(*id)),
        Account::Name(name) => match Group::from_name(name)? {
            Some(group) => Ok(group.gid),
            None => bail!("no group `{name}` on this host"),
        },
    }
}
