//! `cargo xtask build-ebpf`: compiles the XDP program and keeps the object that `l4d` embeds.
//!
//! The object is stripped to what the loader reads and holds no path of the machine, so equal sources and compilers give
//! equal bytes anywhere. The [`stamp`] beside it tells when it no longer belongs to its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::elf;
use crate::process::{self, say};
use crate::stamp::{self, Freshness, Stamp};
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace;

const PACKAGE: &str = "xdp-ebpf";
/// The programs that `l4d` embeds, and where their objects are kept: the balancer and the other end of its tunnels.
const OBJECTS: [(&str, &str); 2] = [("xdp-ebpf", "l4d/ebpf/xdp.o"), ("decap", "l4d/ebpf/decap.o")];
const STAMP: &str = "l4d/ebpf/xdp.stamp";
/// The command that mends a stale object, as error messages name it.
const MEND: &str = "cargo xtask build-ebpf";

/// Flags for the compiler that are the same on every machine.
///
/// BPF v3 has 32-bit branches and 64-bit exchanges; unaligned access makes reads of packet fields single instructions.
const FLAGS: [&str; 4] =
    ["--cfg=bpf_target_arch=\"x86_64\"", "-Ctarget-cpu=v3", "-Clink-arg=--btf", "-Clink-arg=--cpu-features=+allows-misaligned-mem-access"];

/// Profile of this build; set by environment so that the manifest's release profile stays that of the daemons.
const PROFILE: [(&str, &str); 6] =
    [("CODEGEN_UNITS", "1"), ("DEBUG", "2"), ("DEBUG_ASSERTIONS", "false"), ("LTO", "fat"), ("OPT_LEVEL", "3"), ("PANIC", "abort")];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say whether the committed object belongs to its sources.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let root = workspace::root()?;
    if args.check {
        check(&root)?
    } else {
        build(&root, &Toolchain::find()?)?
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails when the committed object does not belong to its sources.
///
/// # Errors
/// Says why and names the command that mends it.
pub(crate) fn check(root: &Path) -> Result<()> {
    let state = freshness(root)?;
    let objects = OBJECTS.map(|(_, object)| object).join(" and ");
    if state != Freshness::Fresh {
        bail!("{objects}: {}; run `{MEND}` and commit them and {STAMP}", state.describe());
    }
    say(format!("{objects}: {}", state.describe()));
    Ok(())
}

/// Compares the committed objects with their sources.
fn freshness(root: &Path) -> Result<Freshness> {
    let objects: std::io::Result<Vec<Vec<u8>>> = OBJECTS.iter().map(|(_, object)| fs::read(root.join(object))).collect();
    let (Ok(objects), Ok(text)) = (objects, fs::read_to_string(root.join(STAMP))) else {
        return Ok(Freshness::Missing);
    };
    Ok(Freshness::of(&Stamp::parse(&text), &stamp::sources_digest(root, &stamped_flags())?, &stamp::digest(&objects.concat())))
}

/// Compiles, strips, checks and stores the objects with their stamp.
///
/// # Errors
/// When a program does not compile, or its object lacks something the loader needs.
pub(crate) fn build(root: &Path, toolchain: &Toolchain) -> Result<()> {
    // Taken before compiling: an edit during the build must leave the stamp stale.
    let sources = stamp::sources_digest(root, &stamped_flags())?;
    let objects = OBJECTS.map(|(program, _)| linked_and_stripped(root, toolchain, program));
    let objects = objects.into_iter().collect::<Result<Vec<_>>>()?;
    let stamp = Stamp { sources, object: stamp::digest(&objects.concat()), toolchain: toolchain.describe() };
    for ((_, path), object) in OBJECTS.iter().zip(&objects) {
        let changed = store(&root.join(path), object)?;
        say(format!("{path}: {} bytes, {}, {}", object.len(), if changed { "changed" } else { "as before" }, stamp.toolchain));
    }
    store(&root.join(STAMP), stamp.render().as_bytes())?;
    Ok(())
}

/// Returns the object of a program without what only debuggers read.
fn linked_and_stripped(root: &Path, toolchain: &Toolchain, program: &str) -> Result<Vec<u8>> {
    let linked = compile(root, toolchain, program)?;
    let stripped = linked.with_extension("stripped");
    toolchain.strip(&linked, &stripped)?;
    let object = fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))?;
    elf::check_xdp_object(&object).with_context(|| format!("check {}", stripped.display()))?;
    Ok(object)
}

/// Compiles one program of the package and returns the object as it was linked.
///
/// # Errors
/// When it does not compile.
pub(crate) fn compile(root: &Path, toolchain: &Toolchain, program: &str) -> Result<PathBuf> {
    let out = workspace::bin_dir()?.with_file_name("ebpf");
    let mut command = toolchain.cargo_build();
    command.current_dir(root).args(["-p", PACKAGE, "--bin", program, "--target-dir"]).arg(&out);
    command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, &toolchain.linker).join("\x1f"));
    // What an incremental build leaves behind is not always what the linker takes, and never the same bytes on two machines.
    command.env("CARGO_INCREMENTAL", "0");
    command.envs(PROFILE.map(|(name, value)| (format!("CARGO_PROFILE_RELEASE_{name}"), value)));
    process::run(&mut command)?;
    Ok(out.join(TARGET).join("release").join(program))
}

/// Returns all flags for the compiler: the common ones, the linker, and what takes this machine's paths out of the object.
fn rustflags(root: &Path, linker: &Path) -> Vec<String> {
    let remap = |from: PathBuf, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
    flags.push(format!("-Clinker={}", linker.display()));
    if let Some(home) = workspace::cargo_home() {
        // The folder that holds dependencies is named after where they came from; of two rules that fit, the last counts.
        let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten().map(|entry| entry.path());
        flags.push(remap(home, "/cargo"));
        flags.extend(registries.map(|registry| remap(registry, "/crates")));
    }
    flags.push(remap(root.to_owned(), "."));
    flags
}

/// Returns the flags that the stamp covers.
fn stamped_flags() -> Vec<String> {
    FLAGS.map(str::to_owned).into_iter().chain(PROFILE.map(|(name, value)| format!("{name}={value}"))).collect()
}

/// Writes a file unless it already holds the bytes, so that an unchanged object does not make cargo build l4d again.
fn store(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    // Renamed into place, so that a build that runs meanwhile embeds the old object or the new one.
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("write {}", path.display()))?;
    Ok(true)
}
