//! The file of the control socket: made under another name with its rights, then put in its place in one step.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::PathBuf,
};

use control::{admin::Listener, config::CommandSocket};

/// Listens on the socket, in the place of one that is left from before.
///
/// # Errors
/// As binding; also if its path is a file of another kind.
pub(crate) fn bind(socket: &CommandSocket) -> io::Result<Listener> {
    let path = socket.path().value();
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // One that was left behind, by a process of the same number.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&temporary)?;
    let placed = fs::set_permissions(&temporary, Permissions::from_mode(socket.mode())).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = placed {
        // The name was ours alone; what matters is why it did not become the socket's.
        let _gone = fs::remove_file(&temporary);
        return Err(error);
    }
    listener.set_nonblocking(true)?;
    Listener::new(OwnedFd::from(listener))
}
