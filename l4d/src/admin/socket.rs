//! The file of the control socket: made under another name with its rights, then put in its place in one step.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixListener},
    },
};

use control::{admin::Listener, config::CommandSocket, socket_file};

/// Listens on the socket, in the place of one that is left from before.
///
/// # Errors
/// As binding; also if its path is a file of another kind.
pub(crate) fn bind(socket: &CommandSocket) -> io::Result<Listener> {
    let path = socket.path().value();
    let temporary = socket_file::temporary(path)?;
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
