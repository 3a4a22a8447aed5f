//! The process that keeps the rights which the one that serves gives up.
//!
//! Once `user` or `chroot` hold, a reload could read no certificate outside and bind no port that takes root. So a second process is
//! started before, from the same program, on the same files. It understands two requests, and neither of them names anything: to read
//! all that the configuration names, and to bind addresses of the configuration that it read last, by their numbers. Whoever took over the
//! process that serves can make it do that, and nothing else. It ends with the process it serves.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use control::config::Config;
use control::file::{self, Copies};
use control::handover::{self, AT_ONCE};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::app;
use crate::bind::{self, Sharing, Spec};

/// The word by which the program becomes that process.
pub(crate) const COMMAND: &str = "steward";

/// The other process, as the one that serves sees it.
#[derive(Debug)]
pub(crate) struct Steward {
    channel: UnixStream,
    threads: usize,
    process: Child,
}

impl Steward {
    /// Starts the process; to be called while all rights are still there.
    ///
    /// # Errors
    /// Fails if the system has no room for another process.
    pub(crate) fn start(files: &[PathBuf], threads: usize, local_peer: Option<&str>) -> anyhow::Result<Self> {
        let (channel, theirs) = UnixStream::pair()?;
        channel.set_read_timeout(Some(PATIENCE))?;
        channel.set_write_timeout(Some(PATIENCE))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("l7d").arg(COMMAND).arg(threads.to_string());
        command.args(local_peer.map(|name| format!("--local-peer={name}"))).arg("--").args(files);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own, it does not hear what a terminal tells ours.
        let process = command.process_group(0).spawn().context("no process that keeps the rights for reloads")?;
        Ok(Self { channel, threads, process })
    }

    /// Returns copies of the configuration and of all that it names.
    ///
    /// # Errors
    /// Fails if the process is gone.
    pub(crate) fn read(&mut self) -> anyhow::Result<Copies> {
        let mut ask = || {
            self.channel.write_all(&[READ])?;
            Copies::read(&mut BufReader::new(&self.channel))
        };
        ask().map_err(|error| self.lost(&error))
    }

    /// Binds addresses of the configuration that was read last.
    ///
    /// # Errors
    /// As binding; fails also if the process is gone.
    pub(crate) fn bind(&mut self, config: &Config, specs: &[Spec]) -> anyhow::Result<Vec<(Spec, Vec<OwnedFd>)>> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let all = addresses(config);
        let number = |spec: &Spec| all.iter().position(|known| known == spec).context("an address of no configuration");
        let numbers: Vec<usize> = specs.iter().map(number).collect::<anyhow::Result<_>>()?;
        let fetched = self.fetch(&numbers).map_err(|error| self.lost(&error))?;
        let mut sockets = fetched.map_err(anyhow::Error::msg)?.into_iter();
        let clients = all.len() - commands(config);
        let own = |(spec, number): (&Spec, usize)| {
            info!("listening on {spec}");
            let count = if number < clients { self.threads } else { 1 };
            (spec.clone(), sockets.by_ref().take(count).collect())
        };
        Ok(specs.iter().zip(numbers).map(own).collect())
    }

    /// Asks for sockets; an inner error is what the system said of an address.
    fn fetch(&mut self, numbers: &[usize]) -> io::Result<Result<Vec<OwnedFd>, String>> {
        let mut request = vec![BIND];
        for number in [numbers.len()].iter().chain(numbers) {
            request.extend_from_slice(&u32::try_from(*number).unwrap_or(u32::MAX).to_be_bytes());
        }
        self.channel.write_all(&request)?;
        let count = read_number(&mut self.channel)?;
        let length = read_number(&mut self.channel)?;
        if length > 0 {
            let mut reason = String::new();
            (&mut self.channel).take(length.into()).read_to_string(&mut reason)?;
            return Ok(Err(reason));
        }
        let mut sockets = Vec::new();
        while sockets.len() < count as usize {
            if handover::receive(&self.channel, &mut [0], &mut sockets)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Ok(sockets))
    }

    fn lost(&mut self, error: &io::Error) -> anyhow::Error {
        let end = self.process.try_wait().ok().flatten().map_or_else(String::new, |status| format!(" ({status})"));
        anyhow::anyhow!("the process that keeps the rights for reloads does not answer{end}, only a restart helps: {error}")
    }
}

/// Lists all that a configuration listens on: for clients, then for commands.
fn addresses(config: &Config) -> Vec<Spec> {
    let clients = config.frontends().iter().flat_map(bind::specs).map(|(spec, _)| spec);
    clients.chain(config.global().stats_sockets().iter().flat_map(|socket| bind::specs_of_admin(socket))).collect()
}

/// Counts the addresses for commands.
fn commands(config: &Config) -> usize {
    config.global().stats_sockets().iter().map(|socket| bind::specs_of_admin(socket).len()).sum()
}

/// Serves the process at the other end of standard input until that is gone.
///
/// # Errors
/// Fails if the other end asks for what it must not.
pub(crate) fn serve(files: &[PathBuf], threads: usize, local_peer: Option<&str>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deaf = runtime.block_on(async {
        // What is told to all processes of this program's name is not meant for this one.
        [SignalKind::hangup(), SignalKind::user_defined1(), SignalKind::user_defined2()].map(signal)
    });
    let mut channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut last = None;
    let mut request = [0];
    while channel.read(&mut request)? == 1 {
        match request[0] {
            READ => {
                let (loaded, copies) = file::noting(|| app::load(files, local_peer, None));
                // Of one with mistakes nothing is going to be bound.
                last = loaded.ok().map(|loaded| loaded.config);
                let mut out = BufWriter::new(&channel);
                copies.write(&mut out)?;
                out.flush()?;
            }
            BIND => bind_for(&mut channel, last.as_ref().context("no configuration was read")?, threads)?,
            other => bail!("no request begins with {other}"),
        }
    }
    drop(deaf);
    Ok(())
}

/// Binds the addresses whose numbers come, and hands over the sockets.
fn bind_for(channel: &mut UnixStream, config: &Config, threads: usize) -> anyhow::Result<()> {
    let all = addresses(config);
    let (asked, clients) = (read_number(channel)? as usize, all.len() - commands(config));
    ensure!(asked <= all.len(), "more addresses than there are");
    let (mut doors, mut desks) = (Vec::new(), Vec::new());
    for _ in 0..asked {
        let number = read_number(channel)? as usize;
        let spec = all.get(number).context("no such address")?;
        if number < clients { doors.push(spec.clone()) } else { desks.push(spec.clone()) }
    }
    let bound = bind::bind_all(&doors, threads, Sharing::Replacing)
        .and_then(|doors| Ok(doors.into_iter().chain(bind::bind_all(&desks, 1, Sharing::Replacing)?)));
    match bound {
        Ok(bound) => {
            let sockets: Vec<OwnedFd> = bound.flat_map(|(_, sockets)| sockets).collect();
            write_numbers(channel, sockets.len(), 0)?;
            let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            sockets.chunks(AT_ONCE).try_for_each(|sockets| handover::send(channel, b"s", sockets))?;
        }
        Err(error) => {
            let reason = error.to_string();
            write_numbers(channel, 0, reason.len())?;
            channel.write_all(reason.as_bytes())?;
        }
    }
    Ok(())
}

fn write_numbers(channel: &mut UnixStream, one: usize, other: usize) -> io::Result<()> {
    [one, other].iter().try_for_each(|number| channel.write_all(&u32::try_from(*number).unwrap_or(u32::MAX).to_be_bytes()))
}

fn read_number(channel: &mut UnixStream) -> io::Result<u32> {
    let mut bytes = [0; 4];
    channel.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// A request for copies of all files.
const READ: u8 = b'R';
/// A request for sockets.
const BIND: u8 = b'B';
/// Longer than any configuration takes to be read.
const PATIENCE: Duration = Duration::from_secs(60);
