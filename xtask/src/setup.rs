//! `cargo xtask setup`: makes a fresh machine ready, or says what it takes where it cannot act.
//!
//! What is missing and what to do about it is decided in [`plan`], what to say about it in [`findings`], from facts that [`system`], [`packages`] and
//! [`toolchain`](crate::toolchain) gather; this file gathers, acts and reports. Running it again changes nothing.

mod aioquic;
mod findings;
mod packages;
mod plan;
mod system;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use self::findings::{Finding, Level};
pub(crate) use self::plan::Needs;
use self::plan::{Machine, Quic, Step};
use self::system::System;
use crate::process::{self, say};
use crate::toolchain::Facts;
use crate::workspace;

/// Where Debian keeps LLVM 22.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// Both are needed: one tells where to compile against, the other where to link.
const LLVM_VARIABLES: [&str; 2] = ["LLVM_PREFIX", "LLVM_SYS_221_PREFIX"];
const INSTALL_LINKER: [&str; 8] =
    ["install", "bpf-linker", "--version", "0.13.0", "--locked", "--no-default-features", "--features", "llvm-22"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only report what is missing; fails when something is.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !args.check {
        mend(Needs::ALL);
    }
    report(&probe().findings())
}

/// Does what can be done about whatever is missing of the needs; a step that fails is said, and does not stop the others.
pub(crate) fn mend(needs: Needs) {
    for step in probe().steps(needs) {
        if let Err(error) = perform(&step) {
            say(format!("setup: {error:#}"));
        }
    }
}

/// Returns why the lab cannot run here, with the remedies, or nothing when it can.
pub(crate) fn lab_obstacle() -> Option<String> {
    probe().lab_obstacle()
}

fn probe() -> Machine {
    let subcommands = ["fmt", "clippy"].into_iter();
    Machine {
        toolchain: Facts::probe(),
        system: System::probe(),
        apt: workspace::find_program("apt-get").is_some(),
        llvm: Path::new(LLVM_PREFIX).join("bin/llvm-config").is_file(),
        components: subcommands.filter(|name| process::probe(process::cargo().args([name, "--version"])).is_none()).collect(),
        lab_packages: packages::missing_for_lab(),
        aioquic: if aioquic::is_there() {
            Quic::There
        } else if aioquic::can_be_installed() {
            Quic::Installable
        } else {
            Quic::Absent
        },
    }
}

fn perform(step: &Step) -> Result<()> {
    match step {
        Step::AddComponents(subcommands) => {
            let names = subcommands.iter().map(|name| if *name == "fmt" { "rustfmt" } else { name });
            announce(process::command("rustup").args(["component", "add"]).args(names))
        }
        Step::RefreshPackageLists => announce(apt_get().arg("update")),
        Step::InstallPackages(names) => announce(apt_get().args(["install", "--no-install-recommends", "-y"]).args(names)),
        Step::InstallLinker => announce(&mut linker_command()),
        Step::InstallAioquic => aioquic::install(),
        Step::MountBpffs => system::mount_bpffs(),
    }
}

/// Says what is run, then runs it.
fn announce(command: &mut Command) -> Result<()> {
    say(format!("setup: {}", process::describe(command)));
    process::run(command)
}

fn apt_get() -> Command {
    let mut command = process::command("apt-get");
    // In this runlevel packages of servers start no service.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

fn linker_command() -> Command {
    let mut command = process::cargo();
    command.args(INSTALL_LINKER).envs(LLVM_VARIABLES.map(|name| (name, LLVM_PREFIX)));
    // Left to cargo: a temporary folder, so that the linker's objects do not stay among ours.
    command.env_remove("CARGO_TARGET_DIR");
    command
}

/// Returns the installation of the linker as one would type it.
fn linker_command_text() -> String {
    format!("{} cargo {}", LLVM_VARIABLES.map(|name| format!("{name}={LLVM_PREFIX}")).join(" "), INSTALL_LINKER.join(" "))
}

/// Prints the findings and fails when something is missing.
fn report(findings: &[Finding]) -> Result<ExitCode> {
    for finding in findings {
        let level = match finding.level {
            Level::Ready => "ready",
            Level::Note => "note",
            Level::Missing => "MISSING",
        };
        say(format!("{level:8} {:16} {}", finding.subject, finding.detail).trim_end());
        if let Some(remedy) = &finding.remedy {
            say(format!("{:25} {remedy}", ""));
        }
    }
    let missing = findings.iter().filter(|finding| finding.level == Level::Missing).map(|finding| finding.subject).collect::<Vec<_>>();
    if !missing.is_empty() {
        bail!("missing: {}", missing.join(", "));
    }
    say("everything that builds and tests need is there");
    Ok(ExitCode::SUCCESS)
}
