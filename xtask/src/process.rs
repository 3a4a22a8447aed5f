//! Runs other programs, with errors that name what was run.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

/// What follows the output of a watched command; no text has such a line.
const END_MARK: &[u8] = b"\0\n";

/// Writes one line to standard output; a reader that went away is not an error worth stopping for.
pub(crate) fn say(line: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
}

/// Returns a command without the variables that `cargo run` set for xtask itself.
///
/// They would make build scripts that watch them run again each time a build alternates between a shell and xtask.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Returns the cargo that runs xtask.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command on the caller's terminal and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| describe(command))?;
    if !status.success() {
        bail!("{}: {status}", describe(command));
    }
    Ok(())
}

/// Runs a command with both of its streams passed on to standard output, and hands each line to `watch` on the way.
///
/// # Errors
/// When the command cannot be run or does not succeed.
pub(crate) fn run_watched(command: &mut Command, mut watch: impl FnMut(&str)) -> Result<()> {
    let (reader, writer) = io::pipe().context("create a pipe")?;
    let what = describe(command);
    let terminal = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    if terminal && env::var_os("CARGO_TERM_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut end = writer.try_clone().context("share a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("share a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| what.clone())?;
    // The mark ends the reading: the pipe itself stays open for as long as a grandchild that outlives the command has it.
    let waiter = thread::spawn(move || {
        let status = child.wait();
        end.write_all(END_MARK).and(status)
    });
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    let mut last = false;
    while !last && lines.read_until(b'\n', &mut line).with_context(|| what.clone())? > 0 {
        last = line.ends_with(END_MARK);
        let text = String::from_utf8_lossy(line.strip_suffix(if last { END_MARK } else { b"\n" }).unwrap_or(&line));
        if !last || !text.is_empty() {
            say(&text);
            watch(&text);
        }
        line.clear();
    }
    let status = waiter.join().expect("waiting for a child does not panic").with_context(|| what.clone())?;
    if !status.success() {
        bail!("{what}: {status}");
    }
    Ok(())
}

/// Returns what a command prints, or nothing when it cannot be run or fails.
pub(crate) fn probe(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns a command as one would type it, the program without its folder.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or(program.as_os_str())).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(script: &str) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let result = run_watched(Command::new("sh").args(["-c", script]), |line| lines.push(line.to_owned()));
        (lines, result.is_ok())
    }

    #[test]
    fn both_streams_are_watched_in_order_and_to_the_end() {
        assert_eq!(watched("echo one; echo two >&2; printf three"), (vec!["one".into(), "two".into(), "three".into()], true));
    }

    #[test]
    fn a_failure_is_an_error_after_its_output() {
        assert_eq!(watched("echo one; exit 3"), (vec!["one".into()], false));
    }

    #[test]
    fn a_grandchild_that_stays_does_not_hold_the_caller() {
        let start = std::time::Instant::now();
        let (lines, succeeded) = watched("sleep 20 & echo $!");
        assert!(succeeded && start.elapsed().as_secs() < 10);
        run(Command::new("kill").args(lines)).unwrap();
    }

    #[test]
    fn a_command_is_described_as_typed() {
        assert_eq!(describe(Command::new("/usr/bin/apt-get").args(["install", "-y"])), "apt-get install -y");
    }

    #[test]
    fn a_probe_of_what_is_not_there_is_nothing() {
        assert_eq!(probe(&mut Command::new("/nonexistent/program")), None);
        assert_eq!(probe(Command::new("sh").args(["-c", "echo out; exit 1"])), None);
        assert_eq!(probe(Command::new("echo").arg("out")).as_deref(), Some("out"));
    }
}
