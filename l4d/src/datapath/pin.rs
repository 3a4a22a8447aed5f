//! The directory of pins: one per data plane, locked by the daemon that uses it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock, fstatfs};

use super::Error;

/// Magic number of a bpf file system.
const BPF_FS: i64 = 0xcafe_4a11;
/// Links are pinned by interface index: names can move to another interface.
const LINK: &str = "link-";

/// An open directory of pins.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    /// Holds the lock.
    _directory: File,
}

impl Pins {
    /// Makes the directory where it is missing and locks it.
    ///
    /// # Errors
    /// No bpf file system, or another daemon.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::Pin(path.to_owned(), error);
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = File::open(parent).map_err(failed)?;
        if fstatfs(&directory).map_err(|error| failed(error.into()))?.f_type != BPF_FS {
            return Err(Error::NotBpffs(path.to_owned()));
        }
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        Self::lock(path)
    }

    /// Locks an existing directory.
    fn lock(path: &Path) -> Result<Self, Error> {
        let directory = File::open(path).map_err(|error| Error::Pin(path.to_owned(), error))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _directory: directory }),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(Error::InUse(path.to_owned())),
            Err(error) => Err(Error::Pin(path.to_owned(), error.into())),
        }
    }

    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the link of an interface is pinned.
    pub(super) fn link(&self, interface: u32) -> PathBuf {
        self.path.join(format!("{LINK}{interface}"))
    }

    /// Returns the interfaces with pinned links.
    pub(super) fn linked(&self) -> Result<Vec<u32>, Error> {
        let failed = |error| Error::Pin(self.path.clone(), error);
        let mut interfaces = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            interfaces.extend(name.to_str().and_then(|name| name.strip_prefix(LINK)).and_then(|index| index.parse::<u32>().ok()));
        }
        Ok(interfaces)
    }

    /// Takes everything away: links first, so that no packet meets half a data plane.
    pub(super) fn remove(self) -> Result<(), Error> {
        for interface in self.linked()? {
            self.remove_file(&self.link(interface))?;
        }
        // Whatever there is, for another version of l4d may have other maps.
        let failed = |error| Error::Pin(self.path.clone(), error);
        for pin in fs::read_dir(&self.path).map_err(failed)? {
            self.remove_file(&pin.map_err(failed)?.path())?;
        }
        fs::remove_dir(&self.path).map_err(failed)
    }

    /// Removes a pin if it is there.
    pub(super) fn remove_file(&self, pin: &Path) -> Result<(), Error> {
        match fs::remove_file(pin) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Pin(pin.to_owned(), error)),
            _ => Ok(()),
        }
    }
}

/// Takes a data plane that no daemon runs off its interfaces and forgets its flows; returns whether there was one.
///
/// # Errors
/// A running daemon, or pins that cannot be removed.
pub fn detach(path: &Path) -> Result<bool, Error> {
    if !path.exists() {
        return Ok(false);
    }
    Pins::lock(path)?.remove().map(|()| true)
}
