//! Project tooling, called as `cargo xtask COMMAND`: one file per command, and this file only dispatches.
//!
//! It uses none of the workspace's crates, it runs cargo on them.

#![forbid(unsafe_code)]

mod bench;
mod build_ebpf;
mod demo;
mod elf;
mod process;
mod programs;
mod release;
mod setup;
mod stamp;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Project tooling", max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this machine ready: compilers, programs of the lab, file systems.
    Setup(setup::Args),
    /// Compile the XDP program and keep its object in the repository, stamped with its sources.
    BuildEbpf(build_ebpf::Args),
    /// Show l4d balancing real connections in a network of namespaces, losing a server and getting it back.
    Demo(demo::Args),
    /// Run the checks and tests: all of them, or the parts that are named.
    Test(test::Args),
    /// Measure what a packet or a request costs.
    Bench(bench::Args),
    /// Build the programs as they should be installed: l7d compiled with what a run of its benchmark tells of it.
    Release(release::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::BuildEbpf(args) => build_ebpf::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Release(args) => release::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
