//! `cargo xtask test`: every check of the project, in the order in which a failure is cheapest.
//!
//! Installs what is missing first, stops at the first part that fails, and ends with the test runner's own results and
//! their sum. Without a BPF compiler the committed object is used and only compared with its stamp.

mod summary;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use self::summary::Summary;
use crate::build_ebpf;
use crate::process::{self, say};
use crate::programs;
use crate::setup::{self, Needs};
use crate::toolchain::{Facts, Toolchain};
use crate::workspace;

/// Name of the package that drives the daemons in namespaces.
const LAB: &str = "tests";
/// Name of the package whose tests belong to the XDP program.
const EBPF: &str = "xdp-ebpf";

/// More failures than this are no matter of timing.
const MOST_UNSTEADY: usize = 5;

/// One part of the whole; declared in the order in which they run.
///
/// The object is rebuilt before the unit tests, because those of l4d read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting of the source.
    Fmt,
    /// Lints, warnings denied.
    Clippy,
    /// Documentation, warnings denied.
    Doc,
    /// The XDP object against its sources, a rebuild where a compiler is present, and the program's tests on the host.
    Ebpf,
    /// Unit tests of everything else.
    Unit,
    /// The daemons with real traffic in network namespaces; needs root.
    Lab,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Parts to run; all when none is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
}

/// How a part ended.
#[derive(Debug)]
enum Outcome {
    Passed(Duration),
    Failed(Duration, String),
    NotRun(String),
}

/// What the parts share.
struct Session {
    root: PathBuf,
    /// Whether this is an automatic run, where a part that cannot run is a failure.
    strict: bool,
    summary: Summary,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let strict = env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    let mut session = Session { root: workspace::root()?, strict, summary: Summary::default() };
    let chosen: Vec<Part> = Part::value_variants().iter().copied().filter(|part| chooses(&args.parts, *part)).collect();
    setup::mend(needs(&chosen));
    let mut outcomes = Vec::new();
    for part in chosen {
        let outcome = if outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(..))) {
            Outcome::NotRun("an earlier part failed".to_owned())
        } else {
            session.perform(part, args.parts.contains(&part))
        };
        outcomes.push((part, outcome));
    }
    Ok(session.close(&outcomes))
}

fn chooses(named: &[Part], part: Part) -> bool {
    named.is_empty() || named.contains(&part)
}

fn needs(parts: &[Part]) -> Needs {
    let any = |wanted: &[Part]| parts.iter().any(|part| wanted.contains(part));
    Needs { components: any(&[Part::Fmt, Part::Clippy]), toolchain: any(&[Part::Ebpf]), lab: any(&[Part::Lab]) }
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Ebpf => "ebpf",
            Self::Unit => "unit",
            Self::Lab => "lab",
        }
    }
}

impl Session {
    /// Runs one part; one that was asked for by name may not be left out.
    fn perform(&mut self, part: Part, named: bool) -> Outcome {
        if part == Part::Lab
            && let Some(obstacle) = setup::lab_obstacle()
        {
            return if named || self.strict { Outcome::Failed(Duration::ZERO, obstacle) } else { Outcome::NotRun(obstacle) };
        }
        say(format!("\n==> {}", part.name()));
        let start = Instant::now();
        let result = match part {
            Part::Fmt => process::run(self.cargo("fmt").args(["--all", "--check"])),
            Part::Clippy => process::run(self.cargo("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"])),
            Part::Doc => self.doc(),
            Part::Ebpf => self.ebpf(),
            Part::Unit => self.test(&["--workspace", "--exclude", LAB, "--exclude", EBPF], None),
            Part::Lab => self.lab(),
        };
        let outcome = match result {
            Ok(()) => Outcome::Passed(start.elapsed()),
            Err(error) => Outcome::Failed(start.elapsed(), format!("{error:#}")),
        };
        say(format!("==> {}", line(part, &outcome)));
        outcome
    }

    fn cargo(&self, subcommand: &str) -> Command {
        let mut command = process::cargo();
        command.current_dir(&self.root).arg(subcommand);
        command
    }

    fn doc(&self) -> Result<()> {
        let mut command = self.cargo("doc");
        process::run(command.env("RUSTDOCFLAGS", "-D warnings").args(["--workspace", "--no-deps", "--document-private-items"]))
    }

    /// Checks and rebuilds the object, then tests the program on the host.
    ///
    /// What is tested next is certain to come from these sources wherever they can be compiled; the committed object must come from them too.
    fn ebpf(&mut self) -> Result<()> {
        match (Facts::probe().choose(), build_ebpf::check(&self.root)) {
            (Ok(toolchain), Ok(())) => self.rebuild(&toolchain)?,
            (_, Err(stale)) => return Err(stale),
            (Err(gaps), Ok(())) => {
                let gaps: Vec<_> = gaps.into_iter().map(crate::toolchain::Gap::describe).collect();
                if self.strict {
                    bail!("the object cannot be rebuilt: {}", gaps.join("; "));
                }
                say(format!("warning: the committed object is used as it is: {}", gaps.join("; ")));
            }
        }
        self.test(&["-p", EBPF], None)
    }

    fn rebuild(&self, toolchain: &Toolchain) -> Result<()> {
        build_ebpf::build(&self.root, toolchain)
    }

    fn lab(&mut self) -> Result<()> {
        let programs = programs::build(&self.root)?;
        self.test(&["-p", LAB], Some(&programs))
    }

    /// Runs cargo's tests to the end, even when some fail, and adds up their results.
    ///
    /// Most tests drive real programs against a clock, and the machine may be busy with something else: those that fail get one
    /// second try, alone, and are named as unsteady if they pass it.
    fn test(&mut self, selection: &[&str], programs: Option<&Path>) -> Result<()> {
        let mark = self.summary.mark();
        let mut command = self.tests(selection, programs);
        let Err(error) = process::run_watched(&mut command, |line| self.summary.observe(line)) else { return Ok(()) };
        let failures = self.summary.failures_since(mark).to_vec();
        if failures.is_empty() || failures.len() > MOST_UNSTEADY {
            return Err(error);
        }
        say(format!("\n==> once more, alone: {}", failures.join(", ")));
        let mut again = self.tests(selection, programs);
        again.args(["--", "--exact", "--test-threads", "1"]).args(&failures);
        let mut second = Summary::default();
        process::run_watched(&mut again, |line| second.observe(line)).map_err(|_| error)?;
        if !second.covers(failures.len()) {
            bail!("the second try did not run all of: {}", failures.join(", "));
        }
        self.summary.forgive_since(mark);
        Ok(())
    }

    fn tests(&self, selection: &[&str], programs: Option<&Path>) -> Command {
        let mut command = self.cargo("test");
        command.arg("--no-fail-fast").args(selection).envs(programs.map(|folder| ("LAB_BIN_DIR", folder)));
        command
    }

    /// Prints how each part ended and what the test runner counted; the count is the last line of all.
    fn close(&self, outcomes: &[(Part, Outcome)]) -> ExitCode {
        say("");
        for (part, outcome) in outcomes {
            say(line(*part, outcome));
        }
        say(format!("\n{}", self.summary));
        let failed = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(..)));
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn line(part: Part, outcome: &Outcome) -> String {
    let name = part.name();
    match outcome {
        Outcome::Passed(time) => format!("{name:7} passed {:7.1} s", time.as_secs_f32()),
        Outcome::Failed(time, why) => format!("{name:7} FAILED {:7.1} s  {why}", time.as_secs_f32()),
        Outcome::NotRun(why) => format!("{name:7} NOT RUN: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_chooses_every_part() {
        assert!(Part::value_variants().iter().all(|part| chooses(&[], *part)));
        assert!(chooses(&[Part::Unit], Part::Unit) && !chooses(&[Part::Unit], Part::Lab));
    }

    #[test]
    fn unit_tests_install_nothing() {
        assert_eq!(needs(&[Part::Doc, Part::Unit]), Needs { components: false, toolchain: false, lab: false });
        assert_eq!(needs(Part::value_variants()), Needs::ALL);
    }

    #[test]
    fn a_part_that_did_not_run_says_why() {
        assert_eq!(line(Part::Lab, &Outcome::NotRun("needs root".into())), "lab     NOT RUN: needs root");
        assert_eq!(line(Part::Fmt, &Outcome::Passed(Duration::from_millis(1500))), "fmt     passed     1.5 s");
    }
}
