//! The commands of HAProxy's master, for who asked for its socket (`-S`): one process is master and worker here, and reloads inside itself.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use control::admin::{Answering, Call, Command, Language, Reply, Run};
use control::config::SocketLevel;
use tokio::sync::oneshot;

use super::{Engine, Errand, now, show};
use crate::version;

/// How often the configuration was read again.
#[derive(Debug)]
pub(crate) struct Reloads {
    start: Instant,
    all: AtomicU32,
    failed: AtomicU32,
    /// Those that failed since one went well.
    failed_last: AtomicU32,
}

/// What became of a reload, and what there is to say about it.
#[derive(Debug)]
pub(crate) enum Reloaded {
    /// A new configuration is in force.
    Done(Vec<String>),
    /// Everything is as it was.
    Refused(String),
}

impl Default for Reloads {
    fn default() -> Self {
        let zero = || AtomicU32::new(0);
        Self { start: Instant::now(), all: zero(), failed: zero(), failed_last: zero() }
    }
}

impl Reloads {
    /// Counts one.
    pub(crate) fn count(&self, outcome: &Reloaded) {
        self.all.fetch_add(1, Relaxed);
        match outcome {
            Reloaded::Done(_) => self.failed_last.store(0, Relaxed),
            Reloaded::Refused(_) => {
                self.failed.fetch_add(1, Relaxed);
                self.failed_last.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Returns the language of the master, behind which that of the worker is reached with `@`.
pub(crate) fn language(engine: Engine) -> Language<Engine> {
    let mut commands: Vec<_> = show::commands().into_iter().filter(|command| command.words == "show version").collect();
    commands.push(now("show proc", "[debug]", "list the processes", SocketLevel::User, processes));
    commands.push(Command {
        words: "reload",
        arguments: "",
        help: "read the configuration again",
        level: SocketLevel::Admin,
        run: Run::Later(reload),
    });
    Language::new(engine.clone(), commands).in_front_of(super::language(engine))
}

fn processes(engine: &Engine, _: &Call) -> Reply {
    let Reloads { start, all, failed, failed_last } = &*engine.reloads;
    let (pid, uptime, version) = (std::process::id(), uptime(start.elapsed()), version::full());
    let mut text = format!("{:<15} {:<15} {:<15} {:<15} {:<15}\n", "#<PID>", "<type>", "<reloads>", "<uptime>", "<version>");
    let reloads = format!("{} [failed: {}]", all.load(Relaxed), failed.load(Relaxed));
    let _ = writeln!(text, "{pid:<15} {:<15} {reloads:<15} {uptime:<15} {version:<15}", "master");
    let _ =
        writeln!(text, "# workers\n{pid:<15} {:<15} {:<15} {uptime:<15} {version:<15}\n# programs\n", "worker", failed_last.load(Relaxed));
    text.pop();
    Reply::Output(text)
}

fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}d{:02}h{:02}m{:02}s", seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

fn reload(engine: Engine, _: Call) -> Answering {
    Box::pin(async move {
        let (done, outcome) = oneshot::channel();
        if engine.app.send(Errand::Reload(done)).await.is_err() {
            return Reply::error("The process is stopping.");
        }
        match outcome.await {
            Ok(Reloaded::Done(warnings)) => {
                let lines: String = warnings.iter().map(|warning| format!("[WARNING]  {warning}\n")).collect();
                Reply::Output(format!("Success=1\n--\n{lines}[NOTICE]   configuration replaced\n"))
            }
            Ok(Reloaded::Refused(reason)) => Reply::Output(format!("Success=0\n--\n[ALERT]    {reason}\n")),
            Err(_) => Reply::error("The process is stopping."),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_haproxys_master_does() {
        assert_eq!(uptime(Duration::from_secs(90_061)), "1d01h01m01s");
    }
}
