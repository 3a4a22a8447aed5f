//! `cargo xtask bench l4`: what the XDP program costs per packet.
//!
//! Builds the measuring program and the BPF programs around the balancer, then hands over to it; its options are its own. The balancer itself is the
//! committed object, the one that users get.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::build_ebpf;
use crate::process;
use crate::setup;
use crate::toolchain::Toolchain;
use crate::workspace;

/// The package and program that measures.
const PACKAGE: &str = "tests";
const PROGRAM: &str = "bench-l4";
/// Generator, floors and sink.
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
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let What::L4 { options } = &args.what;
    if let Some(obstacle) = setup::lab_obstacle() {
        bail!("{obstacle}");
    }
    let root = workspace::root()?;
    let object = build_ebpf::compile(&root, &Toolchain::find()?, OBJECT)?;
    process::run(process::cargo().current_dir(&root).args(["build", "-p", PACKAGE, "--bin", PROGRAM]))?;
    let mut measure = process::command(workspace::bin_dir()?.join(PROGRAM));
    process::run(measure.arg("--object").arg(object).args(options))?;
    Ok(ExitCode::SUCCESS)
}
