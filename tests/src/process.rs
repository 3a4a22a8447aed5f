//! Child processes as guards: their output is kept, and they never outlive their owner.
//!
//! A [`Process`] is asked to stop when it is dropped and killed if it does not. It also dies with this process, however that ends: the
//! kernel sends the signal when the *thread* that forked ends, so all children are forked on one thread that never does.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getpid, getppid, kill_process, pidfd_open, set_parent_process_death_signal};

pub use rustix::process::Signal;

/// A running child; stopped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// A point in a process's output, after which something is expected.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Process {
    /// Starts a command and keeps what it writes.
    ///
    /// # Errors
    /// Fails if the program cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let name = PathBuf::from(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = fork(command).with_context(|| format!("start {name}"))?;
        let output = Arc::new(Output::default());
        output.follow(child.stdout.take().expect("standard output was asked for above"));
        output.follow(child.stderr.take().expect("standard error was asked for above"));
        Ok(Self { name, child, output })
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what the process wrote so far, both streams together, line by line; of very long output only the end.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// Returns everything the process writes, once it and all it started have closed their output; [`Self::output`] of a process that has just ended
    /// may lack the end.
    ///
    /// # Errors
    /// Fails with what there is if the output is still open when the deadline has passed.
    pub fn whole_output(&self, deadline: Duration) -> Result<String> {
        if self.output.wait_until_closed(deadline) {
            return Ok(self.output());
        }
        bail!("{} has not closed its output within {deadline:?}; it wrote\n{}", self.name, self.output.text())
    }

    /// Returns the present end of the output.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.output.lock().end())
    }

    /// Waits for a line that contains `text`, written at any time, and returns it.
    ///
    /// # Errors
    /// Fails with the output if the deadline passes or the process ends first.
    pub fn wait_for_line(&self, text: &str, deadline: Duration) -> Result<String> {
        self.wait_for_line_after(Mark(0), text, deadline)
    }

    /// Waits for a line that contains `text`, written after `mark`, and returns it.
    ///
    /// # Errors
    /// Fails with the output if the deadline passes or the process ends first.
    pub fn wait_for_line_after(&self, mark: Mark, text: &str, deadline: Duration) -> Result<String> {
        let found = self.output.wait_for_line(mark.0, text, deadline);
        found.with_context(|| format!("{} never wrote `{text}` but\n{}", self.name, self.output.text()))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}", self.name);
        }
        // The child is not reaped yet, so its id cannot belong to another process.
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// Fails with the output if it still runs when the deadline has passed.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if self.ends_within(deadline)? {
            return Ok(self.child.wait()?);
        }
        bail!("{} still runs after {deadline:?}; it wrote\n{}", self.name, self.output.text())
    }

    /// Asks the process to stop and waits until it did.
    ///
    /// # Errors
    /// Fails with the output if it still runs when the deadline has passed.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.wait(deadline)
    }

    /// Ends the process at once, as a crash would.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn ends_within(&mut self, deadline: Duration) -> Result<bool> {
        if self.child.try_wait()?.is_some() {
            return Ok(true);
        }
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty())?;
        let end = Instant::now() + deadline;
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now()))?;
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let stopped = self.terminate(GRACE);
        if stopped.is_err() {
            drop(self.kill());
        }
        if thread::panicking() {
            eprintln!("--- {} wrote:\n{}---", self.name, self.output.text());
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.child.id())
    }
}

/// Returns the path of a program of this workspace: from `LAB_BIN_DIR`, else from where the running test was built.
///
/// # Errors
/// Fails with the command that builds it if it is not there.
pub fn bin(name: &str) -> Result<PathBuf> {
    let directory = match env::var_os("LAB_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            // Tests lie in `deps`, one level below the programs.
            let own = env::current_exe().context("find the running program")?;
            let parent = own.parent().context("the running program lies in no directory")?;
            if parent.ends_with("deps") { parent.parent().unwrap_or(parent).to_owned() } else { parent.to_owned() }
        }
    };
    let path = directory.join(name);
    if !path.is_file() {
        bail!("no {} to run: build it with `cargo build --bin {name}`, or say where it is with LAB_BIN_DIR", path.display());
    }
    Ok(path)
}

fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask_kernel = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the request, and then no signal would come.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing, so it is async-signal-safe.
    unsafe { command.pre_exec(ask_kernel) };
}

/// Starts a command on the thread that lives as long as this process.
fn fork(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
    static ORDERS: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that is gone has no use for the child; the guard it never got cannot stop it, so it is not left running.
                if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                    drop(child.kill().and_then(|()| child.wait()));
                }
            }
        });
        Mutex::new(orders)
    });
    let (reply, child) = mpsc::sync_channel(1);
    let orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.send((command, reply)).expect("the forking thread never ends");
    child.recv().expect("the forking thread answers every order")
}

/// What a process wrote; the lock guards the lines and is held only to read or append.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    /// How many lines were dropped from the front.
    forgotten: usize,
    /// How many of the followed streams have not ended.
    open_streams: usize,
}

impl Output {
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.lock().open_streams += 1;
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
                output.lock().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                output.changed.notify_all();
                line.clear();
            }
            output.lock().open_streams -= 1;
            output.changed.notify_all();
        });
    }

    fn wait_for_line(&self, from: usize, text: &str, deadline: Duration) -> Result<String> {
        let end = Instant::now() + deadline;
        let mut next = from;
        let mut lines = self.lock();
        loop {
            let skipped = next.saturating_sub(lines.forgotten);
            if let Some(line) = lines.kept.iter().skip(skipped).find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            if lines.open_streams == 0 {
                bail!("it closed its output");
            }
            next = lines.end();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("nothing within {deadline:?}");
            }
            lines = self.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_until_closed(&self, deadline: Duration) -> bool {
        let still_open = |lines: &mut Lines| lines.open_streams > 0;
        let waited = self.changed.wait_timeout_while(self.lock(), deadline, still_open);
        waited.unwrap_or_else(PoisonError::into_inner).0.open_streams == 0
    }

    fn text(&self) -> String {
        self.lock().kept.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, line: String) {
        if self.kept.len() == MOST_LINES {
            self.kept.pop_front();
            self.forgotten += 1;
        }
        self.kept.push_back(line);
    }

    fn end(&self) -> usize {
        self.forgotten + self.kept.len()
    }
}

/// Enough for any test, little enough for a daemon that logs every packet.
const MOST_LINES: usize = 10_000;

/// How long a dropped process may take to stop.
const GRACE: Duration = Duration::from_secs(3);
