//! The file of a Unix socket: made under another name, given its owner and rights, and then put in the place of the old one.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use control::config::{Account, SocketFile};
use control::socket_file;
use rustix::net::SocketAddrUnix;

/// A file that has not its name yet; removed when dropped before it has.
#[derive(Debug)]
pub(super) struct Fresh {
    temporary: PathBuf,
    path: PathBuf,
}

impl Fresh {
    /// Binds a socket that is going to be known as `path`.
    ///
    /// # Errors
    /// As binding; also if `path` is a file of another kind, or there is no such owner.
    pub(super) fn bind(socket: &OwnedFd, path: &Path, file: &SocketFile) -> io::Result<Self> {
        let temporary = socket_file::temporary(path)?;
        rustix::net::bind(socket, &SocketAddrUnix::new(&temporary)?)?;
        let fresh = Self { temporary, path: path.to_owned() };
        fresh.adjust(file)?;
        Ok(fresh)
    }

    fn adjust(&self, file: &SocketFile) -> io::Result<()> {
        let user = file.user().map(|user| id(user, "user", "/etc/passwd")).transpose()?;
        let group = file.group().map(|group| id(group, "group", "/etc/group")).transpose()?;
        if user.is_some() || group.is_some() {
            chown(&self.temporary, user, group)?;
        }
        file.mode().map_or(Ok(()), |bits| fs::set_permissions(&self.temporary, Permissions::from_mode(bits)))
    }

    /// Puts the file in its place, whatever socket was there.
    ///
    /// # Errors
    /// As renaming.
    pub(super) fn publish(self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)
            .map_err(|error| io::Error::new(error.kind(), format!("bind unix@{}: {error}", self.path.display())))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Not there any more if it has its name.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Returns the number of a user or group; `book` lists those of this host.
fn id(account: &Account, what: &str, book: &str) -> io::Result<u32> {
    let name = match account {
        Account::Id(id) => return Ok(*id),
        Account::Name(name) => name,
    };
    let found = number_in(&fs::read_to_string(book)?, name);
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no {what} `{name}` in {book}")))
}

/// Finds a number by its name in a list such as `/etc/passwd`.
fn number_in(book: &str, name: &str) -> Option<u32> {
    let number = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    book.lines().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name() {
        let book = "root:x:0:0:root:/root:/bin/bash\nwww:x:33:34::/:/bin/false\nbroken\nodd:x:y\n";
        assert_eq!([number_in(book, "root"), number_in(book, "www")], [Some(0), Some(33)]);
        assert_eq!([number_in(book, "ww"), number_in(book, "odd"), number_in(book, "broken"), number_in(book, "")], [None; 4]);
    }
}
