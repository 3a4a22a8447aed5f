//! The sockets clients connect to: bound at start for every thread, accepted from until told to stop.
//!
//! Each thread has a socket of its own on every address (SO_REUSEPORT), so accepting needs no coordination and a connection stays
//! where it was accepted. A connection over a limit waits accepted but unserved, and holds up those behind it, as HAProxy's do.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use control::config::{Bind, Frontend, Inet, Transport};
use control::shutdown::Shutdown;
use socket2::{Domain, Protocol, Type};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::warn;

use crate::session::{self, Client};
use crate::site::{Counted, Door};
use crate::socket::Socket;
use crate::stream::Stream;

/// What a listening socket is made of; sockets of equal specs can take each other's place at a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    frontend: String,
    address: SocketAddr,
    interface: Option<String>,
    v6only: bool,
    backlog: Option<u32>,
}

/// Whether a socket may share its address with sockets that others have bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Only with sockets bound together with it.
    Alone,
    /// Also with those that are about to be replaced.
    Replacing,
}

/// Returns the sockets a frontend needs, each with the bind that asks for it.
pub(crate) fn specs(frontend: &Frontend) -> impl Iterator<Item = (Spec, &Bind)> {
    let binds = frontend.binds().iter().filter_map(|bind| Some((bind, tcp_address(bind)?)));
    binds.flat_map(move |(bind, inet)| inet.sockets().map(move |address| (Spec::new(frontend.name(), bind, address), bind)))
}

fn tcp_address(bind: &Bind) -> Option<Inet> {
    bind.address().inet().filter(|inet| inet.transport() == Transport::Tcp).copied()
}

impl Spec {
    fn new(frontend: &str, bind: &Bind, address: SocketAddr) -> Self {
        Self {
            frontend: frontend.to_owned(),
            address,
            interface: bind.interface().map(|name| name.value().clone()),
            v6only: bind.v6only(),
            backlog: bind.backlog(),
        }
    }

    /// Returns the name of the frontend.
    pub(crate) fn frontend(&self) -> &str {
        &self.frontend
    }

    /// Binds one socket for each of `threads` threads.
    ///
    /// # Errors
    /// As binding, with the address named.
    pub(crate) fn bind(&self, threads: usize, sharing: Sharing) -> io::Result<Vec<StdListener>> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("bind {} of frontend {}: {error}", self.address, self.frontend));
        if sharing == Sharing::Alone {
            // Sockets that share an address bind beside a stranger's just as well; this one does not.
            self.socket(self.address, Reuse::Address).map_err(named)?;
        }
        let mut address = self.address;
        let mut sockets = Vec::with_capacity(threads);
        for _ in 0..threads {
            let socket: StdListener = self.socket(address, Reuse::AddressAndPort).and_then(|socket| self.listen(socket)).map_err(named)?;
            address = socket.local_addr()?;
            sockets.push(socket);
        }
        Ok(sockets)
    }

    fn socket(&self, address: SocketAddr, reuse: Reuse) -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(self.v6only || !address.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse == Reuse::AddressAndPort)?;
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    }

    fn listen(&self, socket: socket2::Socket) -> io::Result<StdListener> {
        // Inherited by what is accepted, which saves a call per connection.
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.listen(self.backlog.and_then(|length| i32::try_from(length).ok()).unwrap_or(BACKLOG))?;
        Ok(socket.into())
    }
}

#[derive(PartialEq, Eq)]
enum Reuse {
    Address,
    AddressAndPort,
}

/// Accepts connections and starts a session for each, until told to stop; `door` may be replaced meanwhile.
pub(crate) async fn run(listener: Socket, door: Rc<RefCell<Arc<Door>>>, mut stop: oneshot::Receiver<()>, shutdown: Shutdown) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let present = Arc::clone(&door.borrow());
                let admission = tokio::select! {
                    admission = Admission::of(&present, &shutdown) => admission,
                    _ = &mut stop => break,
                };
                start(socket, peer, Rc::clone(&door), admission);
            }
            Err(error) => {
                warn!("accept on frontend {}: {error}", door.borrow().spec().frontend());
                // Short of descriptors, accept fails again at once; the pause keeps the loop from spinning.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    serve_the_waiting(&listener, &door, &shutdown);
}

/// Starts sessions for those whose connection the kernel has accepted already, who would otherwise be reset.
fn serve_the_waiting(listener: &Socket, door: &Rc<RefCell<Arc<Door>>>, shutdown: &Shutdown) {
    while let Ok((socket, peer)) = listener.accept_now() {
        if let Some(admission) = Admission::at_once(&door.borrow(), shutdown) {
            start(socket, peer, Rc::clone(door), admission);
        }
    }
}

fn start(socket: Socket, peer: SocketAddr, door: Rc<RefCell<Arc<Door>>>, admission: Admission) {
    let mut client = Client::new(Stream::plain(socket), peer);
    let session = async move {
        session::serve(&mut client, &door).await;
        drop(admission);
    };
    tokio::task::spawn_local(session);
}

/// A connection's place in all limits that count it; holds the daemon open, too.
#[derive(Debug)]
struct Admission {
    _permits: Vec<OwnedSemaphorePermit>,
    _guard: control::shutdown::Guard,
    _counts: [Counted; 2],
}

impl Admission {
    /// Waits until every limit has room.
    async fn of(door: &Door, shutdown: &Shutdown) -> Self {
        let guard = shutdown.guard();
        let mut permits = Vec::with_capacity(door.limits().len());
        for limit in door.limits() {
            permits.push(Semaphore::acquire_owned(Arc::clone(limit)).await.expect("limits are never closed"));
        }
        Self { _permits: permits, _guard: guard, _counts: door.frontend().count() }
    }

    /// Returns a place if every limit has room now.
    fn at_once(door: &Door, shutdown: &Shutdown) -> Option<Self> {
        let permits: Result<_, _> = door.limits().iter().map(|limit| Semaphore::try_acquire_owned(Arc::clone(limit))).collect();
        Some(Self { _permits: permits.ok()?, _guard: shutdown.guard(), _counts: door.frontend().count() })
    }
}

/// Connections the kernel accepts ahead of us; the kernel's own limit may be lower.
const BACKLOG: i32 = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str) -> Spec {
        Spec { frontend: "web".to_owned(), address: address.parse().unwrap(), interface: None, v6only: false, backlog: None }
    }

    #[test]
    fn threads_share_one_port() {
        let sockets = spec("127.0.0.1:0").bind(3, Sharing::Alone).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert!(ports[0] != 0 && ports == [ports[0]; 3], "{ports:?}");
    }

    #[test]
    fn address_of_another_process_is_refused_by_name() {
        let other = spec("127.0.0.1:0").bind(1, Sharing::Alone).unwrap();
        let address = other[0].local_addr().unwrap();
        let taken = spec(&address.to_string());
        let error = taken.bind(2, Sharing::Alone).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("bind {address} of frontend web: ")), "{error}");
        assert!(taken.bind(1, Sharing::Replacing).is_ok());
    }

    #[test]
    fn v6_wildcard_takes_v4_unless_told_otherwise() {
        let both = spec("[::]:0").bind(1, Sharing::Alone).unwrap();
        let port = both[0].local_addr().unwrap().port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let only = Spec { v6only: true, ..spec("[::]:0") }.bind(1, Sharing::Alone).unwrap();
        let port = only[0].local_addr().unwrap().port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
