//! `cargo xtask release`: the programs as they should be installed.
//!
//! l7d spends its time in code of its own and of its libraries that no single place of is hot, so what helps is to tell the compiler which ways are gone: l7d is
//! built to count them, carries the traffic of its own benchmark, and is built again with what was counted. l4d is built as always, since its fast path
//! is the XDP program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, say};
use crate::setup;
use crate::workspace;

/// What l7d carries while it counts: each kind of traffic that the benchmark compares with targets, and no larger bodies than needed.
const TRAINING: &str = "keep-alive,logs,fresh,tls-keep-alive,tls-fresh,h2,h2c,tcp-small,websocket,1m,tls-1m";
/// Seconds of each case: enough for counts to be stable.
const SECONDS: &str = "1.5";

const AFTER_HELP: &str = "\
Builds l7d twice, and in between has it carry the cases of `cargo xtask bench l7` for some seconds each, beside haproxy and nginx, with \
which that program always compares; the figures of that run mean nothing and are not shown. Takes about a quarter of an hour on two cores.

The programs have no other features than those of `cargo build --release`. `cargo xtask bench l7 --l7d target/dist/l7d` measures the result.";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where l4d and l7d are put; otherwise `dist` in cargo's target folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(obstacle) = setup::lab_obstacle() {
        bail!("{obstacle}");
    }
    let root = workspace::root()?;
    let target = workspace::bin_dir()?.parent().context("cargo's target folder")?.to_owned();
    let compiler = Compiler::find()?;
    let (trained, dist) = (target.join("trained"), args.out.clone().unwrap_or_else(|| target.join("dist")));
    let (counts, profile) = (trained.join("counts"), trained.join("l7d.profdata"));
    if counts.exists() {
        fs::remove_dir_all(&counts).with_context(|| counts.display().to_string())?;
    }

    say("building l7d so that it counts which ways are gone");
    let counting = build(&root, &compiler, &trained.join("counting"), &format!("-Cprofile-generate={}", counts.display()))?;
    process::run(process::cargo().current_dir(&root).args(["build", "--release", "-p", "tests", "--bin", "bench-l7"]))?;
    say("having it carry traffic");
    let mut traffic = process::command(target.join("release/bench-l7"));
    traffic.args(["--cases", TRAINING, "--rounds", "1", "--seconds", SECONDS, "--l7d"]).arg(&counting);
    process::run(traffic.stdout(std::process::Stdio::null()))?;
    process::run(process::command(&compiler.profdata).args(["merge", "-o"]).arg(&profile).arg(&counts))?;
    say("building l7d with what was counted");
    let l7d = build(&root, &compiler, &trained.join("final"), &format!("-Cprofile-use={}", profile.display()))?;
    say("building l4d");
    process::run(process::cargo().current_dir(&root).args(["build", "--release", "-p", "l4d"]))?;

    fs::create_dir_all(&dist).with_context(|| dist.display().to_string())?;
    for program in [l7d, target.join("release/l4d")] {
        let place = dist.join(program.file_name().unwrap_or_default());
        fs::copy(&program, &place).with_context(|| format!("copy {} to {}", program.display(), place.display()))?;
        say(place.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds l7d in a folder of its own, where neither build drives out what the other compiled, and returns the program.
fn build(root: &Path, compiler: &Compiler, folder: &Path, flag: &str) -> Result<PathBuf> {
    // With a target that is named, the flag is not for build scripts, which would count as well.
    let arguments = ["build", "--release", "-p", "l7d", "--bin", "l7d", "--target", &compiler.host];
    process::run(process::cargo().current_dir(root).args(arguments).env("CARGO_TARGET_DIR", folder).env("RUSTFLAGS", flag))?;
    Ok(folder.join(&compiler.host).join("release/l7d"))
}

/// What is to be known of the compiler.
struct Compiler {
    /// What it compiles for when nothing is said.
    host: String,
    /// The program that puts counts together, of the compiler's own LLVM or of the same version.
    profdata: PathBuf,
}

impl Compiler {
    fn find() -> Result<Self> {
        let said = process::probe(process::command("rustc").current_dir(workspace::root()?).arg("-vV")).context("rustc does not answer")?;
        let (host, llvm) = (field(&said, "host").context("rustc names no host")?, field(&said, "LLVM version").unwrap_or_default());
        let major = llvm.split('.').next().unwrap_or_default();
        let folder = process::probe(process::command("rustc").current_dir(workspace::root()?).args(["--print", "target-libdir"]));
        let own =
            folder.and_then(|folder| Some(Path::new(folder.trim()).parent()?.join("bin/llvm-profdata"))).filter(|file| file.is_file());
        let Some(profdata) = own.or_else(|| workspace::find_program(&format!("llvm-profdata-{major}"))) else {
            bail!("no llvm-profdata {major}: `rustup component add llvm-tools`, or `apt-get install llvm-{major}`");
        };
        Ok(Self { host: host.to_owned(), profdata })
    }
}

/// Returns a field of what `rustc -vV` says.
fn field<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_what_it_is() {
        let said =
            "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(field(said, "host"), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(field(said, "LLVM version"), Some("22.1.2"));
        assert_eq!(field(said, "LLVM"), None);
    }
}
