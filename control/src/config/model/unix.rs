//! Unix stream sockets: their names, and the files of those that have one.

use std::fmt;
use std::path::{Path, PathBuf};

/// The address of a Unix stream socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// A file.
    Path(PathBuf),
    /// A name in the abstract space, filled up with zeros to the greatest length.
    Padded(String),
    /// A name in the abstract space, as long as it is written.
    Exact(String),
}

impl UnixAddress {
    /// Returns the path of a file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Padded(_) | Self::Exact(_) => None,
        }
    }

    /// Returns the name in the abstract space, without the zero that marks one.
    pub fn abstract_name(&self) -> Option<Vec<u8>> {
        match self {
            Self::Path(_) => None,
            Self::Exact(name) => Some(name.clone().into_bytes()),
            Self::Padded(name) => {
                let mut name = name.clone().into_bytes();
                name.resize(Self::LONGEST, 0);
                Some(name)
            }
        }
    }

    /// The most bytes of a path or a name: those of the kernel's `sun_path` without a zero.
    pub(in crate::config) const LONGEST: usize = 107;
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix@{}", path.display()),
            Self::Padded(name) => write!(f, "abns@{name}"),
            Self::Exact(name) => write!(f, "abnsz@{name}"),
        }
    }
}

/// Who may connect to the file of a socket; what is not set is as the system makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SocketFile {
    pub(in crate::config) mode: Option<u32>,
    pub(in crate::config) user: Option<Account>,
    pub(in crate::config) group: Option<Account>,
}

impl SocketFile {
    /// Returns the permission bits.
    pub fn mode(&self) -> Option<u32> {
        self.mode
    }

    /// Returns the owner.
    pub fn user(&self) -> Option<&Account> {
        self.user.as_ref()
    }

    /// Returns the owning group.
    pub fn group(&self) -> Option<&Account> {
        self.group.as_ref()
    }
}

/// A user or a group of this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// By its number.
    Id(u32),
    /// By its name, which is looked up when it is needed.
    Name(String),
}
