//! Files that a configuration names: read whole, unless they have no end.
//!
//! Everything that reads a configuration looks at the file system through here. So it can also be read from [`Copies`] that somebody
//! with more rights made, and needs to know nothing of it.

mod copies;

use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use copies::{Copies, from, noting};

/// Most bytes of a configuration or a list, far more than a hundred thousand servers or a million lines take.
pub const LARGEST: usize = 256 << 20;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// Something else, or nothing.
    Other,
}

/// Returns what a path leads to.
pub fn kind(path: &Path) -> Kind {
    copies::kind(path, || match fs::metadata(path) {
        Ok(found) if found.is_dir() => Kind::Directory,
        Ok(found) if found.is_file() => Kind::File,
        Ok(_) | Err(_) => Kind::Other,
    })
}

/// Returns the paths of everything in a directory, in their order.
///
/// # Errors
/// As reading it.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    copies::list(directory, || {
        let entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
        let mut paths: Vec<_> = entries.iter().map(DirEntry::path).collect();
        paths.sort();
        Ok(paths)
    })
}

/// Reads a file of at most so many bytes.
///
/// # Errors
/// As opening and reading, and if the file is larger, as a device without an end is.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    copies::bytes(path, || read_whole(path, most))
}

fn read_whole(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() <= most {
        return Ok(bytes);
    }
    let limit = if most < 1 << 20 { format!("{} KiB", most >> 10) } else { format!("{} MiB", most >> 20) };
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit}")))
}

/// Reads a text of at most so many bytes.
///
/// # Errors
/// As [`read`], and if the file is not UTF-8.
pub fn read_text(path: &Path, most: usize) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let error = read(Path::new("/dev/zero"), 2 << 20).unwrap_err();
        assert_eq!(error.to_string(), "larger than 2 MiB");
        assert_eq!(read_text(Path::new("/dev/zero"), 4096).unwrap_err().to_string(), "larger than 4 KiB");
        assert!(read(Path::new("/dev/null"), 0).unwrap().is_empty());
    }
}
