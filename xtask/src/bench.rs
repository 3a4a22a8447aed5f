//! `cargo xtask bench`: what the XDP program costs per packet, and l7d per request.
//!
//! Builds what is measured and the program that measures, then hands over to it; its options are its own. The XDP program is the committed object and l7d
//! a release build, those that users get.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::build_ebpf;
use crate::process;
use crate::setup;
use crate::toolchain::Toolchain;
use crate::workspace;

/// The package of the programs that measure.
const PACKAGE: &str = "tests";
/// Generator, floors and sink of the kernel tier.
const OBJECT: &str = "bench";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Nanoseconds per packet of the kernel tier; `--help` lists the options.
    #[command(disable_help_flag = true)]
    L4 {
        /// Options of the measuring program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// How long the kernel tier takes to load large sites and to change them; `--help` lists the options.
    #[command(disable_help_flag = true)]
    Changes {
        /// Options of the measuring program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// CPU time, latency and memory of the user-space tier beside haproxy and nginx; `--help` lists the options.
    #[command(disable_help_flag = true)]
    L7 {
        /// Options of the measuring program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// What checking thousands of servers costs in l7d beside haproxy; `--help` lists the options.
    #[command(disable_help_flag = true)]
    Checks {
        /// Options of the measuring program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// What conditions cost in l7d beside haproxy, and how long large files take to load; `--help` lists the options.
    #[command(disable_help_flag = true)]
    Rules {
        /// Options of the measuring program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// What tracking clients costs in l7d beside haproxy, and what the entries take; `--help` lists the options.
    #[command(disable_help_flag = true)]
    Tables {
        /// Options of the measuring program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::L4 { options } => l4(options),
        What::Changes { options } => daemon("l4d", "bench-changes", options),
        What::L7 { options } => daemon("l7d", "bench-l7", options),
        What::Checks { options } => daemon("l7d", "bench-checks", options),
        What::Rules { options } => daemon("l7d", "bench-rules", options),
        What::Tables { options } => daemon("l7d", "bench-tables", options),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn l4(options: &[OsString]) -> Result<()> {
    const PROGRAM: &str = "bench-l4";
    if let Some(obstacle) = setup::lab_obstacle() {
        bail!("{obstacle}");
    }
    let root = workspace::root()?;
    let object = build_ebpf::compile(&root, &Toolchain::find()?, OBJECT)?;
    process::run(process::cargo().current_dir(&root).args(["build", "-p", PACKAGE, "--bin", PROGRAM]))?;
    let mut measure = process::command(workspace::bin_dir()?.join(PROGRAM));
    process::run(measure.arg("--object").arg(object).args(options))
}

/// Measures a daemon as users get it.
fn daemon(daemon: &str, program: &str, options: &[OsString]) -> Result<()> {
    let root = workspace::root()?;
    // One after the other: built together, the daemon would get the features that the lab wants of its dependencies.
    for (package, name) in [(daemon, daemon), (PACKAGE, program)] {
        process::run(process::cargo().current_dir(&root).args(["build", "--release", "-p", package, "--bin", name]))?;
    }
    let programs = workspace::bin_dir()?.with_file_name("release");
    process::run(process::command(programs.join(program)).args(options))
}
