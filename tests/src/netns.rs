//! Network namespaces: made, entered and removed.
//!
//! A [`Netns`] is named below `/run/netns`, so `ip netns exec` shows a human what a test sees. Code enters one only on a thread of its
//! own ([`Netns::run`]) or between fork and exec ([`Netns::command`]); no thread of the caller ever changes its namespace.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};
use std::{io, thread};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::requirements::{self, output_of};
use crate::scratch;

/// A network namespace of its own, with loopback up; removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    entrance: Entrance,
}

impl Netns {
    /// Creates a namespace whose name ends in `label`, after removing those that killed processes left behind.
    ///
    /// # Errors
    /// Fails if the machine lacks what the lab needs, or the kernel refuses.
    pub fn new(label: &str) -> Result<Self> {
        requirements::check()?;
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| scratch::for_each_abandoned(Path::new(DIRECTORY), remove));

        let name = scratch::unique_name(label);
        output_of(Command::new("ip").args(["netns", "add", &name]))?;
        let entrance = match Entrance::open(&path_of(&name)) {
            Ok(entrance) => entrance,
            Err(error) => {
                remove(&path_of(&name));
                return Err(error);
            }
        };
        let namespace = Self { name, entrance };
        // Addresses are usable at once instead of after a second of duplicate detection.
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        namespace.sysctl("net/ipv6/conf/default/accept_ra", "0")?;
        output_of(Command::new("ip").args(["-n", &namespace.name, "link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// Returns the name that `ip netns exec` knows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure inside the namespace, on a thread of its own, and returns its value; sockets it returns stay there.
    ///
    /// # Panics
    /// Passes on a panic of the closure.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        self.entrance.run(inside)
    }

    /// Returns a command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.entrance.command(program)
    }

    /// Writes a value below `/proc/sys`, as seen from inside.
    ///
    /// # Errors
    /// Fails if the key is unknown or the kernel refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| fs::write(&path, value)).with_context(|| format!("{}: write {value} to {}", self.name, path.display()))
    }

    /// Returns a way in that may outlive this guard.
    pub(crate) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&path_of(&self.name));
    }
}

/// A way into a namespace, which lives as long as anyone holds one, even when its name is gone.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    file: Arc<File>,
}

impl Entrance {
    /// Runs a closure inside, on a thread of its own.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let outcome = thread::scope(|scope| {
            let inside = || {
                self.enter().expect("a process that made a namespace may enter it");
                inside()
            };
            scope.spawn(inside).join()
        });
        outcome.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// Returns a command that will run inside.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let entrance = self.clone();
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing, so it is async-signal-safe.
        unsafe { command.pre_exec(move || entrance.enter()) };
        command
    }

    /// Moves the calling thread inside for good; only for threads that end there.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { file: Arc::new(file) })
    }
}

fn remove(path: &Path) {
    // Both fail only if someone else removed it first, which is as good.
    let _ = unmount(path, UnmountFlags::DETACH);
    let _ = fs::remove_file(path);
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Where `ip netns` keeps its names.
const DIRECTORY: &str = "/run/netns";
