//! The service manager, where there is one: it is told when l4d serves, reads its file again, ends, and that it is alive (`sd_notify`).

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use tracing::warn;

/// The way to the manager; none without one.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    /// Whether it wants to hear every so often that all is well.
    watched: bool,
}

impl Manager {
    /// Finds the manager by what it put into the environment.
    pub(crate) fn find() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(name.as_encoded_bytes()) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!("no service manager: {error}");
                None
            }
        });
        Self { socket, watched: std::env::var_os("WATCHDOG_USEC").is_some() }
    }

    /// Says that everything is in place.
    pub(crate) fn ready(&self) {
        self.say("READY=1");
    }

    /// Says that the file is being read again; [`ready`](Self::ready) ends that.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
    }

    /// Says that the end has come.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that the daemon's loop goes round, if somebody wants to know.
    pub(crate) fn alive(&self) {
        if self.watched {
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, state: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) {
            warn!("the service manager is not told: {error}");
        }
    }
}

fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(String::from_utf8_lossy(name).into_owned())?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
