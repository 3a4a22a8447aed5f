//! What the lab needs from the machine, checked once per process.
//!
//! Whether to run the lab at all is decided by whoever starts the tests; a lab test that was started either runs or fails with the
//! list made here.

use std::env;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, bail};

/// Succeeds if this process can build namespaces and links.
///
/// # Errors
/// Lists everything that is missing, with the packages that bring it.
pub fn check() -> Result<()> {
    static MISSING: OnceLock<Vec<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(missing);
    if missing.is_empty() {
        return Ok(());
    }
    bail!("the lab cannot run here: {}", missing.join("; "))
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// Fails with the program's standard error if it cannot start or its exit status is not zero.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| anyhow::anyhow!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root is needed for network namespaces (run as root, or leave the lab out)".to_owned());
    }
    for (program, package) in PROGRAMS {
        if !installed(program) {
            missing.push(format!("no `{program}` found in PATH (Debian package {package})"));
        }
    }
    missing
}

fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("ethtool", "ethtool")];
