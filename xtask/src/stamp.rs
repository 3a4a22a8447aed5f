//! The stamp beside the committed XDP object: which sources it came from.
//!
//! The hash covers file names and contents of the program's two crates, the versions of the aya-ebpf family and the
//! compiler flags. It leaves out everything that differs between machines, so any clone computes the same one, and every
//! lock file entry that cannot reach the object, so an unrelated update does not make the object stale.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Files and folders whose contents end up in the object.
const SOURCES: [&str; 4] = ["xdp-common/Cargo.toml", "xdp-common/src", "xdp-ebpf/Cargo.toml", "xdp-ebpf/src"];
/// Programs of the same crate that are not part of the object.
const OTHERS: &str = "xdp-ebpf/src/bin";
/// First letters of every package that is linked into the object or generates code for it.
const FAMILY: &str = "aya-ebpf";

/// What the stamp file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Hash of the listing of the sources.
    pub(crate) sources: String,
    /// Hash of the object itself.
    pub(crate) object: String,
    /// Compiler and linker that made the object; for the reader, not compared.
    pub(crate) toolchain: String,
}

impl Stamp {
    /// Returns the text of the stamp file.
    pub(crate) fn render(&self) -> String {
        format!(
            "# Written by `cargo xtask build-ebpf` beside the object it describes.\nsources = {}\nobject = {}\ntoolchain = {}\n",
            self.sources, self.object, self.toolchain
        )
    }

    /// Reads the text of a stamp file; a key that is missing is an empty value, which matches no hash.
    pub(crate) fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let pair = text.lines().filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == key);
            pair.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        Self { sources: value("sources"), object: value("object"), toolchain: value("toolchain") }
    }
}

/// Why a committed object cannot be trusted, or that it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// Object or stamp does not exist.
    Missing,
    /// Sources changed after the object was built.
    StaleSources,
    /// The object is not the one that was stamped.
    ForeignObject,
}

impl Freshness {
    /// Compares a stamp with what the work tree holds now.
    pub(crate) fn of(stamp: &Stamp, sources: &str, object: &str) -> Self {
        if stamp.sources != sources {
            Self::StaleSources
        } else if stamp.object != object {
            Self::ForeignObject
        } else {
            Self::Fresh
        }
    }

    /// Returns the state as the end of a sentence about the object.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Missing => "missing, or has no stamp",
            Self::StaleSources => "stale: its sources changed after it was built",
            Self::ForeignObject => "not the file that its stamp describes",
        }
    }
}

/// Returns the SHA-256 of some bytes as hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

/// Returns the hash of everything the object is made from.
///
/// # Errors
/// When a source cannot be read.
pub(crate) fn sources_digest(root: &Path, flags: &[String]) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(root, source, &mut files)?;
    }
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("read {name}"));
    let packages = lock_entries(&read("Cargo.lock")?, FAMILY);
    let requirements = manifest_lines(&read("Cargo.toml")?, FAMILY);
    Ok(digest(listing(files, &packages, &requirements, flags).as_bytes()))
}

/// Adds a file, or every file under a folder, with its name relative to the root; hidden ones are an editor's, not ours.
fn collect(root: &Path, name: &str, files: &mut Vec<(String, String)>) -> Result<()> {
    let path = root.join(name);
    if !path.is_dir() {
        let contents = fs::read(&path).with_context(|| format!("read {name}"))?;
        files.push((name.to_owned(), digest(&contents)));
        return Ok(());
    }
    for entry in fs::read_dir(&path).with_context(|| format!("read {name}"))? {
        let child = entry.with_context(|| format!("read {name}"))?.file_name();
        let child = child.to_string_lossy();
        let name = format!("{name}/{child}");
        if !child.starts_with('.') && name != OTHERS {
            collect(root, &name, files)?;
        }
    }
    Ok(())
}

/// Returns the canonical text that is hashed: one line per fact, files in order of their names.
fn listing(mut files: Vec<(String, String)>, packages: &[String], requirements: &[String], flags: &[String]) -> String {
    files.sort();
    let files = files.iter().map(|(name, hash)| format!("file {name} {hash}"));
    let packages = packages.iter().map(|package| format!("package {package}"));
    let requirements = requirements.iter().map(|line| format!("requirement {line}"));
    let flags = flags.iter().map(|flag| format!("flag {flag}"));
    files.chain(packages).chain(requirements).chain(flags).fold(String::new(), |text, line| text + &line + "\n")
}

/// Returns `name version checksum` of each package in a lock file whose name starts with `prefix`, in order.
fn lock_entries(lock: &str, prefix: &str) -> Vec<String> {
    let field = |entry: &str, key: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))?;
        Some(line.trim().trim_matches('"').to_owned())
    };
    let mut entries: Vec<String> = lock
        .split("[[package]]")
        .filter_map(|entry| Some((field(entry, "name")?, entry)))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, entry)| {
            let [version, checksum] = ["version", "checksum"].map(|key| field(entry, key).unwrap_or_default());
            format!("{name} {version} {checksum}")
        })
        .collect();
    entries.sort();
    entries
}

/// Returns the lines of the workspace manifest that name a package whose name starts with `prefix`.
fn manifest_lines(manifest: &str, prefix: &str) -> Vec<String> {
    manifest.lines().map(str::trim).filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
[[package]]
name = "aya-ebpf-macros"
version = "0.2.0"
checksum = "bb"

[[package]]
name = "aya-ebpf"
version = "0.2.1"
source = "registry"
checksum = "aa"
dependencies = [
 "aya-ebpf-macros",
]

[[package]]
name = "aya"
version = "0.14.0"
checksum = "cc"

[[package]]
name = "serde"
version = "1.0.0"
"#;

    fn stamp() -> Stamp {
        Stamp { sources: "11".into(), object: "22".into(), toolchain: "rustc 1.96.0, bpf-linker 0.13.0".into() }
    }

    #[test]
    fn lock_entries_are_only_those_that_reach_the_object() {
        assert_eq!(lock_entries(LOCK, FAMILY), ["aya-ebpf 0.2.1 aa", "aya-ebpf-macros 0.2.0 bb"]);
    }

    #[test]
    fn an_unrelated_update_keeps_the_lock_entries() {
        assert_eq!(lock_entries(&LOCK.replace("1.0.0", "1.0.9"), FAMILY), lock_entries(LOCK, FAMILY));
        assert_ne!(lock_entries(&LOCK.replace("0.2.1", "0.2.2"), FAMILY), lock_entries(LOCK, FAMILY));
    }

    #[test]
    fn manifest_lines_are_only_the_requirements_of_the_family() {
        let manifest = "[workspace.dependencies]\naya = \"0.14\"\naya-ebpf = { version = \"0.2.1\" }\n";
        assert_eq!(manifest_lines(manifest, FAMILY), ["aya-ebpf = { version = \"0.2.1\" }"]);
    }

    #[test]
    fn listing_does_not_depend_on_the_order_of_files() {
        let [a, b] = [("a.rs".to_owned(), "1".to_owned()), ("b.rs".to_owned(), "2".to_owned())];
        let text = listing(vec![b.clone(), a.clone()], &["p 1 x".into()], &["p = 1".into()], &["-O".into()]);
        assert_eq!(text, "file a.rs 1\nfile b.rs 2\npackage p 1 x\nrequirement p = 1\nflag -O\n");
        assert_eq!(text, listing(vec![a, b], &["p 1 x".into()], &["p = 1".into()], &["-O".into()]));
    }

    #[test]
    fn other_programs_do_not_make_the_object_stale() {
        let mut files = Vec::new();
        collect(&crate::workspace::root().unwrap(), "xdp-ebpf/src", &mut files).unwrap();
        assert!(files.iter().any(|(name, _)| name == "xdp-ebpf/src/main.rs"));
        assert!(files.iter().all(|(name, _)| !name.starts_with(OTHERS)), "{files:?}");
    }

    #[test]
    fn stamp_survives_its_file() {
        assert_eq!(Stamp::parse(&stamp().render()), stamp());
    }

    #[test]
    fn a_stamp_without_values_matches_nothing() {
        let empty = Stamp::parse("garbage\n<<<<<<< HEAD\n");
        assert_eq!(Freshness::of(&empty, "11", "22"), Freshness::StaleSources);
    }

    #[test]
    fn freshness_tells_sources_from_object() {
        assert_eq!(Freshness::of(&stamp(), "11", "22"), Freshness::Fresh);
        assert_eq!(Freshness::of(&stamp(), "12", "22"), Freshness::StaleSources);
        assert_eq!(Freshness::of(&stamp(), "11", "23"), Freshness::ForeignObject);
    }

    #[test]
    fn digest_is_sha_256() {
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
