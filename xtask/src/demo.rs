//! `cargo xtask demo`: builds the daemons and the demo, and hands over to it; where it cannot run, does what can be done without.
//!
//! What the demo does is the business of the program `lab-demo` in the package `tests`, which also cleans up after itself.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{self, say};
use crate::programs;
use crate::setup::{self, Needs};
use crate::workspace;

/// The file both daemons run on, below the root of the work tree.
const CONFIG: &str = "tests/demo/site.toml";
/// Exit status when this machine, or this user, cannot run the demo.
const CANNOT_RUN: u8 = 2;

const AFTER_HELP: &str = "\
The demo makes a client, a balancer and three backends, each a network namespace of its own, and removes them at its end, also after \
Ctrl-C. Nothing outside of them is touched but a folder below /sys/fs/bpf. On a terminal it goes on until Ctrl-C; where output is \
redirected it kills one backend, waits until it serves again, stops l4d, lets l7d carry its connections, and ends.

It needs root. Without, it installs nothing, builds everything, checks the configuration, and prints the one command to run with sudo: \
so nothing in your target folder ends up owned by root.

Exit status: 0 if connections left every killed backend within a second and came back to it; 1 if not, or on an error; 2 if the demo \
cannot run here; 128 and the signal's number if a signal ended it before there was anything to see.";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Go on for so many seconds, and then to the end of the round, instead of until Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// Runs the command; when all is well it does not return, because the demo takes the place of this process.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let root = workspace::root()?;
    setup::mend(Needs { components: false, toolchain: false, lab: true });
    say("building the daemons and the demo");
    let programs = programs::build(&root)?;
    // As the lab's tests are built, so that neither builds what the other has.
    process::run(process::cargo().current_dir(&root).args(["build", "--package", "tests", "--bins"]))?;
    if let Some(obstacle) = setup::lab_obstacle() {
        return without_lab(&root, &programs, args, &obstacle);
    }
    say("");
    // In place of this process, so that Ctrl-C ends the demo and not what waits for it.
    let error = demo(&root, &programs, args).exec();
    Err(error).with_context(|| programs.join("lab-demo").display().to_string())
}

fn demo(root: &Path, programs: &Path, args: &Args) -> Command {
    let mut command = process::command(programs.join("lab-demo"));
    command.current_dir(root).args(["--config", CONFIG]);
    if let Some(seconds) = args.seconds {
        command.arg("--seconds").arg(seconds.to_string());
    }
    command
}

/// Checks the configuration, and says what the demo would do and what it takes.
fn without_lab(root: &Path, programs: &Path, args: &Args, obstacle: &str) -> Result<ExitCode> {
    say("\nThe configuration of the demo, checked as the daemons do when they start:");
    for daemon in ["l4d", "l7d"] {
        process::run(process::command(programs.join(daemon)).current_dir(root).args(["check", "--file", CONFIG]))?;
    }
    say(format!("\nThe demo itself cannot run here: {obstacle}"));
    say("It would make a network of namespaces, run l4d and l7d in it on that file, open 300 connections a second through the");
    say("XDP program and send as many HTTP requests to l7d, kill a backend and show how fast its traffic moves to the others,");
    say("stop l4d and show l7d take over its connections, and remove everything at its end.");
    say("\nAll programs are built. This runs it as root, and leaves your target folder to you:");
    say(format!("\n  {}\n", sudo(&demo(root, programs, args), root)));
    Ok(ExitCode::from(CANNOT_RUN))
}

/// Returns a command as one would type it to run it as root, from anywhere.
fn sudo(command: &Command, root: &Path) -> String {
    let words = command.get_args().map(|word| match word.to_string_lossy() {
        word if word == CONFIG => root.join(CONFIG).display().to_string(),
        word => word.into_owned(),
    });
    let words: Vec<String> = std::iter::once(Path::new(command.get_program()).display().to_string()).chain(words).collect();
    format!("sudo {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_for_root_works_from_any_folder() {
        let args = Args { seconds: Some(20) };
        let command = demo(Path::new("/src"), Path::new("/src/target/debug"), &args);
        let expected = "sudo /src/target/debug/lab-demo --config /src/tests/demo/site.toml --seconds 20";
        assert_eq!(sudo(&command, Path::new("/src")), expected);
    }
}
