//! aioquic, a client of HTTP/3 that no package of Debian brings: by pip, in a folder under `target`, and nothing outside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{process, workspace};

/// What is installed, with all that it needs, so that every machine has the same.
const PINNED: [&str; 10] = [
    "aioquic==1.7.2",
    "attrs==26.1.0",
    "certifi==2026.10.19.post1",
    "cffi==2.1.1",
    "cryptography==50.0.2",
    "pycparser==3.12",
    "pylsqpack==1.0.0",
    "pyopenssl==26.4.0",
    "service_identity==26.1.0",
    "typing_extensions==4.16.0",
];

/// Lies in the folder once all of them are there.
const PROOF: &str = "installed";

fn folder() -> Result<PathBuf> {
    Ok(workspace::root()?.join("target/aioquic"))
}

/// Tells whether it is there, in the versions that are wanted.
pub(super) fn is_there() -> bool {
    let proof = folder().and_then(|folder| Ok(std::fs::read_to_string(folder.join(PROOF))?));
    proof.is_ok_and(|text| text == PINNED.join("\n"))
}

/// Tells whether it can be installed.
pub(super) fn can_be_installed() -> bool {
    process::probe(pip().arg("--version")).is_some()
}

/// Installs it.
///
/// # Errors
/// Fails where pip does, as without a network.
pub(super) fn install() -> Result<()> {
    let folder = folder()?;
    super::announce(&mut command(&folder))?;
    Ok(std::fs::write(folder.join(PROOF), PINNED.join("\n"))?)
}

/// Returns the installation as one would type it.
pub(super) fn command_text() -> String {
    process::describe(&command(Path::new("target/aioquic")))
}

fn command(folder: &Path) -> Command {
    let mut command = pip();
    command.args(["install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--upgrade"]);
    command.arg("--target").arg(folder).args(PINNED);
    command
}

fn pip() -> Command {
    let mut command = process::command(Path::new("/usr/bin/python3"));
    command.args(["-m", "pip"]);
    command
}
