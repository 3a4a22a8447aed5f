//! A backend's server in a test: started, made sick, killed and started again.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::{Entrance, Netns};
use crate::process::{Process, bin};
use crate::scratch::Scratch;
use crate::serve::READY;

/// A running `lab-backend`; stopped when dropped.
#[derive(Debug)]
pub struct Backend {
    name: String,
    listen: Vec<SocketAddr>,
    entrance: Entrance,
    scratch: Scratch,
    process: Process,
}

impl Backend {
    /// Starts a server inside a namespace and waits until it listens, for TCP and UDP on each address.
    ///
    /// # Errors
    /// Fails if the program is not built or an address is taken.
    pub fn start(namespace: &Netns, name: impl Into<String>, listen: Vec<SocketAddr>) -> Result<Self> {
        let (name, entrance, scratch) = (name.into(), namespace.entrance(), Scratch::new("backend")?);
        let process = run(&name, &listen, &entrance, &scratch)?;
        Ok(Self { name, listen, entrance, scratch, process })
    }

    /// Returns the name it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its process, for its output and signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it as a crash would: open connections are reset and new ones refused.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same addresses, in the same health as before, ending what still runs.
    ///
    /// # Errors
    /// Fails as [`Backend::start`] does.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = run(&self.name, &self.listen, &self.entrance, &self.scratch)?;
        Ok(())
    }

    /// Lets `/healthz` fail with 503; everything else works on.
    ///
    /// # Errors
    /// Fails if the file that says so cannot be written.
    pub fn fall_sick(&self) -> Result<()> {
        self.scratch.write(SICK_FILE, "").map(drop)
    }

    /// Lets `/healthz` succeed again.
    ///
    /// # Errors
    /// Fails if it was not sick.
    pub fn get_well(&self) -> Result<()> {
        fs::remove_file(self.scratch.path().join(SICK_FILE)).with_context(|| format!("{} was not sick", self.name))
    }
}

fn run(name: &str, listen: &[SocketAddr], entrance: &Entrance, scratch: &Scratch) -> Result<Process> {
    let mut command = entrance.command(bin("lab-backend")?);
    command.args(["--name", name]).arg("--sick-file").arg(scratch.path().join(SICK_FILE));
    for address in listen {
        command.args(["--listen", &address.to_string()]);
    }
    let process = Process::spawn(command)?;
    process.wait_for_line(READY, Duration::from_secs(10))?;
    Ok(process)
}

const SICK_FILE: &str = "sick";
