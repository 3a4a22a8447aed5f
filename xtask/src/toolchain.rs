//! The compilers that can build for the BPF target: what is installed, and which of them is used.
//!
//! Two serve: rustup's nightly, which compiles `core` from its sources, and Debian's own, which ships it compiled. Both link
//! with bpf-linker. Probing is apart from choosing, so the choice is a pure function; `setup` installs what it asks for.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::workspace;

/// Name of the target the program is compiled for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// Debian's compiler; a rustup proxy may come first on PATH, so these are named in full.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CARGO: &str = "/usr/bin/cargo";
/// First version of Debian's compiler that was tried.
pub(crate) const LEAST_SYSTEM_RUST: Version = Version(1, 96);
/// First version of the linker that can switch on unaligned packet access.
pub(crate) const LEAST_LINKER: Version = Version(0, 13);

/// Major and minor number of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A compiler and what it needs to find `core`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's nightly, which builds `core` from source.
    Nightly,
    /// Debian's packages with a ready `core`.
    System,
}

/// What is installed, as far as building for BPF goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether rustup is there.
    pub(crate) rustup: bool,
    /// Whether rustup has a nightly compiler.
    pub(crate) nightly: bool,
    /// Whether that nightly has the sources of `core`.
    pub(crate) rust_src: bool,
    /// Version of Debian's rustc, when both it and its cargo are there.
    pub(crate) system_rust: Option<Version>,
    /// Whether Debian's compiler has `core` for BPF.
    pub(crate) system_core: bool,
    /// The linker and its version.
    pub(crate) linker: Option<(PathBuf, Version)>,
    /// A program that strips DWARF from objects of a foreign machine.
    pub(crate) objcopy: Option<PathBuf>,
}

/// One thing without which nothing can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    Compiler,
    Linker,
    Objcopy,
}

impl Gap {
    /// Returns what is missing, in words.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Compiler => format!("no compiler for {TARGET}: rustup's nightly with rust-src, or Debian's rustc {LEAST_SYSTEM_RUST}"),
            Self::Linker => format!("no bpf-linker {LEAST_LINKER} or later"),
            Self::Objcopy => "no llvm-objcopy".to_owned(),
        }
    }
}

/// A complete set of programs that builds the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
    pub(crate) objcopy: PathBuf,
}

impl Facts {
    /// Asks the machine.
    pub(crate) fn probe() -> Self {
        let nightly = nightly_sysroot();
        Self {
            rustup: workspace::find_program("rustup").is_some(),
            nightly: nightly.is_some(),
            rust_src: nightly.is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()),
            system_rust: system_rust(),
            system_core: system_output(&["--print", "target-libdir", "--target", TARGET]).is_some_and(|dir| Path::new(&dir).is_dir()),
            linker: linker(),
            objcopy: objcopy(),
        }
    }

    /// Returns the compiler that can be used: rustup's when it is complete, else Debian's.
    pub(crate) fn compiler(&self) -> Option<Compiler> {
        if self.nightly && self.rust_src {
            Some(Compiler::Nightly)
        } else if self.system_core && self.system_rust.is_some_and(|version| version >= LEAST_SYSTEM_RUST) {
            Some(Compiler::System)
        } else {
            None
        }
    }

    /// Returns the toolchain these facts allow, or everything that is missing for one.
    ///
    /// # Errors
    /// The gaps, of which there is at least one.
    pub(crate) fn choose(&self) -> Result<Toolchain, Vec<Gap>> {
        let linker = self.linker.as_ref().filter(|(_, version)| *version >= LEAST_LINKER).map(|(path, _)| path.clone());
        match (self.compiler(), linker, self.objcopy.clone()) {
            (Some(compiler), Some(linker), Some(objcopy)) => Ok(Toolchain { compiler, linker, objcopy }),
            (compiler, linker, objcopy) => {
                let gaps = [(compiler.is_none(), Gap::Compiler), (linker.is_none(), Gap::Linker), (objcopy.is_none(), Gap::Objcopy)];
                Err(gaps.into_iter().filter(|(open, _)| *open).map(|(_, gap)| gap).collect())
            }
        }
    }
}

impl Toolchain {
    /// Returns the toolchain of this machine, or an error that says what is missing and how to get it.
    ///
    /// # Errors
    /// When no complete toolchain is installed.
    pub(crate) fn find() -> Result<Self> {
        Facts::probe().choose().or_else(|gaps| {
            let gaps: Vec<_> = gaps.into_iter().map(Gap::describe).collect();
            bail!("{}; run `cargo xtask setup`", gaps.join("; "))
        })
    }

    /// Returns the start of a cargo command for the BPF target.
    pub(crate) fn cargo_build(&self) -> Command {
        let mut command = match self.compiler {
            Compiler::Nightly => rustup_nightly("cargo"),
            Compiler::System => process::command(SYSTEM_CARGO),
        };
        command.args(["build", "--release", "--target", TARGET]);
        match self.compiler {
            Compiler::Nightly => {
                command.args(["-Z", "build-std=core"]).env_remove("RUSTC");
            }
            Compiler::System => {
                // The library path that `cargo run` sets holds the libraries of another compiler.
                command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", SYSTEM_RUSTC).env_remove("LD_LIBRARY_PATH");
            }
        }
        for name in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            command.env_remove(name);
        }
        command
    }

    /// Returns the names and versions of compiler and linker.
    pub(crate) fn describe(&self) -> String {
        let compiler = match self.compiler {
            Compiler::Nightly => process::probe(rustup_nightly("rustc").arg("--version")),
            Compiler::System => system_output(&["--version"]),
        };
        let linker = process::probe(Command::new(&self.linker).arg("--version"));
        [compiler, linker].map(|version| version.unwrap_or_else(|| "unknown".to_owned())).join(", ")
    }

    /// Copies an object without its DWARF.
    ///
    /// # Errors
    /// When the program fails.
    pub(crate) fn strip(&self, from: &Path, to: &Path) -> Result<()> {
        let mut command = process::command(&self.objcopy);
        if let Some(sysroot) = rustc_sysroot().filter(|sysroot| self.objcopy.starts_with(sysroot)) {
            // The one that comes with rustc finds LLVM in the compiler's own folder only when told.
            command.env("LD_LIBRARY_PATH", sysroot.join("lib"));
        }
        process::run(command.arg("--strip-debug").arg(from).arg(to)).context("strip the object")
    }
}

fn rustup_nightly(program: &str) -> Command {
    let mut command = process::command(workspace::find_program("rustup").unwrap_or_else(|| "rustup".into()));
    command.args(["run", "nightly", program]).env("RUSTUP_AUTO_INSTALL", "0");
    command
}

fn nightly_sysroot() -> Option<PathBuf> {
    process::probe(rustup_nightly("rustc").args(["--print", "sysroot"])).map(PathBuf::from)
}

fn rustc_sysroot() -> Option<PathBuf> {
    process::probe(process::command("rustc").args(["--print", "sysroot"])).map(PathBuf::from)
}

fn system_output(args: &[&str]) -> Option<String> {
    process::probe(process::command(SYSTEM_RUSTC).env_remove("LD_LIBRARY_PATH").args(args))
}

fn system_rust() -> Option<Version> {
    Path::new(SYSTEM_CARGO).is_file().then(|| system_output(&["--version"]))?.and_then(|text| version(&text))
}

fn linker() -> Option<(PathBuf, Version)> {
    let path = workspace::find_program("bpf-linker")?;
    let version = process::probe(Command::new(&path).arg("--version")).and_then(|text| version(&text))?;
    Some((path, version))
}

/// Prefers LLVM's own program, then Debian's numbered ones, then the copy that rustup installs with every compiler.
fn objcopy() -> Option<PathBuf> {
    let names = ["llvm-objcopy", "llvm-objcopy-22"];
    names.iter().find_map(|name| workspace::find_program(name)).or_else(|| {
        let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        let bundled = rustc_sysroot()?.join("lib/rustlib").join(host).join("bin/rust-objcopy");
        bundled.is_file().then_some(bundled)
    })
}

/// Returns major and minor number of the second word, as in `rustc 1.96.0 (ac68faa20 2026-05-25)`.
fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.').map(|part| part.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Facts {
        Facts {
            rustup: true,
            nightly: true,
            rust_src: true,
            system_rust: Some(Version(1, 96)),
            system_core: true,
            linker: Some(("/bin/bpf-linker".into(), Version(0, 13))),
            objcopy: Some("/bin/llvm-objcopy".into()),
        }
    }

    #[test]
    fn version_is_read_from_what_programs_print() {
        assert_eq!(version("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some(Version(1, 96)));
        assert_eq!(version("bpf-linker 0.13.0"), Some(Version(0, 13)));
        assert_eq!(version("bpf-linker"), None);
        assert!(Version(0, 9) < Version(0, 13) && Version(0, 99) < Version(1, 0));
    }

    #[test]
    fn compiler_is_nightly_when_complete_and_else_the_system_one() {
        let cases = [
            ("both", complete(), Some(Compiler::Nightly)),
            ("nightly without sources", Facts { rust_src: false, ..complete() }, Some(Compiler::System)),
            ("no nightly", Facts { nightly: false, rust_src: false, ..complete() }, Some(Compiler::System)),
            ("system too old", Facts { rust_src: false, system_rust: Some(Version(1, 95)), ..complete() }, None),
            ("system without core", Facts { rust_src: false, system_core: false, ..complete() }, None),
            ("nothing", Facts::default(), None),
        ];
        for (case, facts, wanted) in cases {
            assert_eq!(facts.compiler(), wanted, "{case}");
        }
    }

    #[test]
    fn every_gap_is_named_at_once() {
        assert_eq!(Facts::default().choose(), Err(vec![Gap::Compiler, Gap::Linker, Gap::Objcopy]));
        let old = Facts { linker: Some(("/bin/bpf-linker".into(), Version(0, 12))), ..complete() };
        assert_eq!(old.choose(), Err(vec![Gap::Linker]));
        assert!(complete().choose().is_ok());
    }
}
