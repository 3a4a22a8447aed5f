//! The name under which the file of a Unix socket is made, before it takes the place of one that is there.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Returns a free name beside `path`, for a socket that is to be known as `path` once it is ready.
///
/// # Errors
/// Fails if `path` is a file of another kind, or what an older process left under that name cannot be removed.
pub fn temporary(path: &Path) -> io::Result<PathBuf> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // One that was left behind, by a process of the same number.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(temporary),
    }
}
