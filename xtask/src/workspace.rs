//! Where things are in the work tree.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Returns the root of the work tree, which is the parent of this crate's folder.
pub(crate) fn root() -> Result<PathBuf> {
    // Cargo sets the variable for `cargo run`; the compiled-in path serves a binary that is started directly.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).with_context(|| format!("{}: has no parent folder", manifest.display()))
}

/// Returns the folder where cargo puts the programs of the development profile, wherever its settings say that is.
pub(crate) fn bin_dir() -> Result<PathBuf> {
    // Cargo put xtask itself there.
    let exe = env::current_exe().context("find the folder of built programs")?;
    exe.parent().map(Path::to_path_buf).with_context(|| format!("{}: has no parent folder", exe.display()))
}

/// Returns cargo's home, which holds installed programs and downloaded sources.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
}

/// Finds a program on PATH, in cargo's own folder of programs, or in the system folders that a user's PATH may lack.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_bin = cargo_home().map(|home| home.join("bin"));
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(cargo_bin).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}
