//! Names that belong to this process, and directories that vanish with their owner.
//!
//! Namespaces and scratch directories share one naming rule, so that whatever a killed run left behind can be told from what a living
//! one still uses.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use anyhow::{Context, Result};

/// A directory for configuration files, sockets and pins, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates an empty directory, after removing those that killed processes left behind.
    ///
    /// # Errors
    /// Fails if the system's directory for temporary files is not writable.
    pub fn new(label: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| for_each_abandoned(&env::temp_dir(), |path| drop(fs::remove_dir_all(path))));

        let path = env::temp_dir().join(unique_name(label));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, replacing an older one at once, and returns its path.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path.join(name);
        let draft = self.path.join(format!(".{name}.new"));
        fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("rename to {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the name says whose it was.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Returns a name no other call in any living process returns.
pub(crate) fn unique_name(label: &str) -> String {
    static COUNTER: AtomicUsize = AtomicUsize::new(1);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}-{label}", process::id())
}

/// Calls `remove` for everything in a directory that belongs to a process that is gone.
pub(crate) fn for_each_abandoned(directory: &Path, remove: impl Fn(&Path)) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let abandoned = entries.filter(|entry| is_abandoned(&entry.file_name().to_string_lossy()));
    abandoned.for_each(|entry| remove(&entry.path()));
}

/// Tells whether a name was given by a process that is gone, or by a former holder of our process id.
fn is_abandoned(name: &str) -> bool {
    let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else {
        return false;
    };
    let Ok(owner) = owner.parse::<u32>() else { return false };
    owner == process::id() || !Path::new("/proc").join(owner.to_string()).exists()
}

const PREFIX: &str = "lab-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_repeat() {
        assert_ne!(unique_name("a"), unique_name("a"));
    }

    #[test]
    fn only_names_of_the_dead_are_abandoned() {
        let cases = [
            ("lab-1-7-client", false, "process 1 lives"),
            ("lab-4294967295-7-client", true, "no process has this id"),
            ("vpn", false, "not ours"),
            ("lab-vpn", false, "not ours either"),
            ("lab-99999999999-7-x", false, "not a process id"),
        ];
        for (name, expected, why) in cases {
            assert_eq!(is_abandoned(name), expected, "{name}: {why}");
        }
    }

    #[test]
    fn scratch_directory_is_removed_with_its_files() {
        let scratch = Scratch::new("scratch").unwrap();
        let file = scratch.write("a.toml", "x = 1").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "x = 1");
        drop(scratch);
        assert!(!file.exists());
    }
}
