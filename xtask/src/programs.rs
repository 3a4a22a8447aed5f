//! Builds the daemons for whatever runs them: the lab's tests, the demo, the benchmarks.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process;
use crate::workspace;

/// Builds the daemons in the development profile and returns the folder that holds them.
///
/// # Errors
/// When they do not compile.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    // The packages are chosen as for the unit tests: naming only the daemons would choose other features of their
    // dependencies, and build most of them a second time.
    let selection = ["--workspace", "--exclude", "tests", "--exclude", "xdp-ebpf", "--exclude", "xtask", "--bins"];
    process::run(process::cargo().current_dir(root).arg("build").args(selection))?;
    workspace::bin_dir()
}
