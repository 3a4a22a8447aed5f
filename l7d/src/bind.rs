//! Listening sockets: what each is made of, and how it is bound.
//!
//! Each thread has a socket of its own on every IP address (SO_REUSEPORT), so accepting needs no coordination. A Unix socket, or one
//! that the process was started with, is shared by all threads. The file of a Unix socket takes its name only when everything else is
//! bound, in one step, so that clients always meet the old socket or the new one; it stays behind at the end, as HAProxy's do, and the
//! next to bind it replaces it.

mod file;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use control::config::{Bind, BindAddress, Frontend, SocketFile, StatsSocket, Tcp, Transport, UnixAddress};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketType, listen, sockopt};
use socket2::{Domain, Protocol, Type};
use tracing::info;

use crate::heritage::Heritage;
use crate::inherit;
use crate::socket::{Socket, await_first_bytes, take_first_bytes};
use file::Fresh;

/// What a listening socket is made of; sockets of equal specs can take each other's place at a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    frontend: String,
    place: Place,
    backlog: Option<u32>,
    tcp: Tcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Inet { address: SocketAddr, transport: Transport, interface: Option<String>, v6only: bool, transparent: bool },
    Unix { address: UnixAddress, file: SocketFile },
    Inherited(u16),
}

/// Whether a socket may share its address with sockets that others have bound.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sharing<'h> {
    /// Only with sockets bound together with it.
    Alone,
    /// Also with those that are about to be replaced.
    Replacing,
    /// Also with those; and where one was taken over it is that one.
    Inheriting(&'h Heritage),
}

/// Sockets that listen already, but may not have their name yet.
#[derive(Debug)]
pub(crate) struct Bound {
    sockets: Vec<OwnedFd>,
    file: Option<Fresh>,
}

/// Returns the sockets a frontend needs, each with the bind that asks for it; their order numbers them.
pub(crate) fn specs(frontend: &Frontend) -> impl Iterator<Item = (Spec, &Bind)> {
    frontend.binds().iter().flat_map(move |bind| {
        let spec = move |place| (Spec { frontend: frontend.name().to_owned(), place, backlog: bind.backlog(), tcp: bind.tcp() }, bind);
        places(bind).into_iter().map(spec)
    })
}

/// Returns the sockets that a bind of a section of peers stands for.
pub(crate) fn specs_of_peers(peers: &str, bind: &Bind) -> Vec<Spec> {
    let spec = |place| Spec { frontend: format!("peers {peers}"), place, backlog: bind.backlog(), tcp: bind.tcp() };
    places(bind).into_iter().map(spec).collect()
}

/// Returns the sockets that a socket of the runtime interface stands for, in the name of HAProxy's own frontend of it.
pub(crate) fn specs_of_admin(socket: &StatsSocket) -> Vec<Spec> {
    let places = match socket.address() {
        BindAddress::Inet(addresses) => {
            let inet = |address| Place::Inet { address, transport: Transport::Tcp, interface: None, v6only: false, transparent: false };
            addresses.sockets().map(inet).collect()
        }
        BindAddress::Unix(address) => vec![Place::Unix { address: address.clone(), file: socket.file().clone() }],
        BindAddress::Inherited(number) => vec![Place::Inherited(*number)],
    };
    places.into_iter().map(|place| Spec { frontend: "GLOBAL".to_owned(), place, backlog: None, tcp: Tcp::default() }).collect()
}

/// Binds addresses, each with a socket for every thread.
///
/// # Errors
/// As binding; nothing is taken over from another process, or from ourselves, before it is certain that all can be.
pub(crate) fn bind_all(specs: &[Spec], threads: usize, sharing: Sharing<'_>) -> io::Result<Vec<(Spec, Vec<OwnedFd>)>> {
    let bound: Vec<_> = specs.iter().map(|spec| spec.bind(threads, sharing)).collect::<io::Result<_>>()?;
    let publish = |(spec, bound): (&Spec, Bound)| {
        let sockets = bound.publish()?;
        info!("listening on {spec}");
        Ok((spec.clone(), sockets))
    };
    specs.iter().zip(bound).map(publish).collect()
}

/// Returns the sockets of one bind; none for datagrams, which the kernel tier serves.
fn places(bind: &Bind) -> Vec<Place> {
    let inet = |address, transport| Place::Inet {
        address,
        transport,
        interface: bind.interface().map(|name| name.value().clone()),
        v6only: bind.v6only(),
        transparent: bind.transparent(),
    };
    match bind.address() {
        BindAddress::Inet(addresses) if addresses.transport() == Transport::Udp => Vec::new(),
        BindAddress::Inet(addresses) => addresses.sockets().map(|address| inet(address, addresses.transport())).collect(),
        BindAddress::Unix(address) => vec![Place::Unix { address: address.clone(), file: bind.file().clone() }],
        BindAddress::Inherited(number) => vec![Place::Inherited(*number)],
    }
}

impl Spec {
    /// Returns the name of the frontend.
    pub(crate) fn frontend(&self) -> &str {
        &self.frontend
    }

    /// Tells whether it is a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.place, Place::Unix { .. })
    }

    /// Tells whether QUIC is spoken there.
    pub(crate) fn is_quic(&self) -> bool {
        matches!(self.place, Place::Inet { transport: Transport::Quic, .. })
    }

    /// Returns the address as HAProxy's list of sockets has it.
    pub(crate) fn address(&self) -> String {
        match &self.place {
            Place::Inet { address, transport: Transport::Quic, .. } => format!("quic{}@{address}", if address.is_ipv4() { 4 } else { 6 }),
            Place::Inet { address, .. } if address.is_ipv4() => format!("ipv4@{address}"),
            Place::Inet { address, .. } => format!("ipv6@{address}"),
            Place::Unix { address, .. } => address.to_string(),
            Place::Inherited(number) => format!("sockpair@{number}"),
        }
    }

    /// Binds one socket for each of `threads` threads.
    ///
    /// # Errors
    /// As binding, with the address named.
    pub(crate) fn bind(&self, threads: usize, sharing: Sharing<'_>) -> io::Result<Bound> {
        let bound = match &self.place {
            Place::Inet { address, .. } => self.bind_inet(*address, threads, sharing).map(Bound::new),
            Place::Unix { address, file } => self.bind_unix(address, file, threads, sharing),
            Place::Inherited(number) => self.adopt(*number, threads).map(Bound::new),
        };
        bound.map_err(|error| io::Error::new(error.kind(), format!("bind {self}: {error}")))
    }

    fn bind_inet(&self, address: SocketAddr, threads: usize, sharing: Sharing<'_>) -> io::Result<Vec<OwnedFd>> {
        if let Sharing::Alone = sharing {
            // Sockets that share an address bind beside a stranger's just as well; this one does not.
            self.inet_socket(address, Reuse::Address)?;
        }
        let mut address = address;
        let mut sockets = Vec::with_capacity(threads);
        let mut taken = self.taken(&address.into(), sharing).into_iter().map(socket2::Socket::from);
        for _ in 0..threads {
            let socket = match (taken.next(), sockets.first()) {
                (Some(socket), _) => socket,
                (None, first) => match (self.inet_socket(address, Reuse::AddressAndPort), first) {
                    (Ok(socket), _) => socket,
                    // One that was taken over may not be to be shared with sockets of our own.
                    (Err(error), Some(first)) if error.kind() == io::ErrorKind::AddrInUse && !self.is_quic() => {
                        OwnedFd::try_clone(first)?.into()
                    }
                    (Err(error), _) => return Err(error),
                },
            };
            socket.set_nonblocking(true)?;
            if !self.is_quic() {
                // Inherited by what is accepted, which saves a call per connection.
                socket.set_tcp_nodelay(true)?;
                self.tune(&socket)?;
                socket.listen(self.backlog())?;
            }
            address = socket.local_addr()?.as_socket().unwrap_or(address);
            sockets.push(socket.into());
        }
        Ok(sockets)
    }

    /// Asks of a socket of TCP what is wanted of it, and with it of the connections accepted there.
    fn tune(&self, socket: &socket2::Socket) -> io::Result<()> {
        if let Some(segment) = self.tcp.segment() {
            socket.set_tcp_mss(segment.into())?;
        }
        if self.tcp.fast_open() {
            take_first_bytes(socket, self.backlog())?;
        }
        if self.tcp.defers() {
            await_first_bytes(socket)?;
        }
        socket.set_tcp_user_timeout(self.tcp.patience())
    }

    /// Returns the sockets on an address that were taken over from the process before.
    fn taken(&self, address: &SocketAddrAny, sharing: Sharing<'_>) -> Vec<OwnedFd> {
        match sharing {
            Sharing::Inheriting(heritage) => {
                // A stream of the same address is another thing.
                let kind = if self.is_quic() { SocketType::DGRAM } else { SocketType::STREAM };
                heritage.on((kind, address), self.interface())
            }
            Sharing::Alone | Sharing::Replacing => Vec::new(),
        }
    }

    /// Returns the network interface that it is for; empty for all.
    pub(crate) fn interface(&self) -> &str {
        match &self.place {
            Place::Inet { interface, .. } => interface.as_deref().unwrap_or_default(),
            Place::Unix { .. } | Place::Inherited(_) => "",
        }
    }

    fn inet_socket(&self, address: SocketAddr, reuse: Reuse) -> io::Result<socket2::Socket> {
        let (kind, protocol) = if self.is_quic() { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
        let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        let Place::Inet { interface, v6only, transparent, .. } = &self.place else { return Ok(socket) };
        if address.is_ipv6() {
            socket.set_only_v6(*v6only || !address.ip().is_unspecified())?;
        }
        if *transparent {
            let set = if address.is_ipv6() { socket.set_ip_transparent_v6(true) } else { socket.set_ip_transparent_v4(true) };
            set.map_err(|error| io::Error::new(error.kind(), format!("transparent needs CAP_NET_ADMIN: {error}")))?;
        }
        // Sockets for datagrams would share their address with anybody.
        socket.set_reuse_address(!self.is_quic())?;
        socket.set_reuse_port(reuse == Reuse::AddressAndPort)?;
        if let Some(interface) = interface {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("interface {interface}: {error}"));
            socket.bind_device(Some(interface.as_bytes())).map_err(named)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    }

    /// Opens a socket for one client of QUIC at one of its addresses, beside those that are there.
    ///
    /// # Errors
    /// As binding and connecting.
    pub(crate) fn open_to(&self, ours: SocketAddr, client: SocketAddr) -> io::Result<OwnedFd> {
        let socket = self.inet_socket(ours, Reuse::AddressAndPort)?;
        socket.connect(&client.into())?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    fn bind_unix(&self, address: &UnixAddress, file: &SocketFile, threads: usize, sharing: Sharing<'_>) -> io::Result<Bound> {
        if let Some(name) = address.abstract_name()
            && let Some(socket) = self.taken(&SocketAddrUnix::new_abstract_name(&name)?.into(), sharing).pop()
        {
            return Ok(Bound::new(shared(socket, threads)?));
        }
        let socket = Socket::open(AddressFamily::UNIX)?;
        let fresh = match address.path() {
            Some(path) => Some(Fresh::bind(&socket, path, file)?),
            None => {
                rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(&address.abstract_name().unwrap_or_default())?)?;
                None
            }
        };
        listen(&socket, self.backlog())?;
        Ok(Bound { sockets: shared(socket, threads)?, file: fresh })
    }

    fn adopt(&self, number: u16, threads: usize) -> io::Result<Vec<OwnedFd>> {
        let socket = inherit::stream_socket(number)?;
        if !sockopt::socket_acceptconn(&socket)? {
            listen(&socket, self.backlog())?;
        }
        if sockopt::socket_domain(&socket)? != AddressFamily::UNIX {
            sockopt::set_tcp_nodelay(&socket, true)?;
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        shared(socket, threads)
    }

    /// Lets a socket listen that [`refuse`] has stopped.
    ///
    /// # Errors
    /// As listening.
    pub(crate) fn listen_again(&self, socket: &OwnedFd) -> io::Result<()> {
        if self.is_quic() {
            return Ok(());
        }
        Ok(listen(socket, self.backlog())?)
    }

    fn backlog(&self) -> i32 {
        self.backlog.and_then(|length| i32::try_from(length).ok()).unwrap_or(BACKLOG)
    }
}

/// Shows the address and the frontend.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Inet { .. } => f.write_str(self.address().trim_start_matches("ipv4@").trim_start_matches("ipv6@"))?,
            Place::Unix { address, .. } => address.fmt(f)?,
            Place::Inherited(number) => write!(f, "fd@{number}")?,
        }
        write!(f, " of frontend {}", self.frontend)
    }
}

impl Bound {
    fn new(sockets: Vec<OwnedFd>) -> Self {
        Self { sockets, file: None }
    }

    /// Gives the sockets their name, from which moment clients meet them.
    ///
    /// # Errors
    /// Fails if the name cannot be taken over.
    pub(crate) fn publish(self) -> io::Result<Vec<OwnedFd>> {
        self.file.map_or(Ok(()), Fresh::publish)?;
        Ok(self.sockets)
    }
}

/// Lets the kernel refuse who connects to a socket, which keeps its address; who connects to one of Unix waits instead.
pub(crate) fn refuse(socket: &OwnedFd) {
    if sockopt::socket_domain(socket).is_ok_and(|family| family != AddressFamily::UNIX) {
        // Not even a socket that does not listen any more needs more.
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
    }
}

/// Returns as many descriptors of one socket.
fn shared(socket: OwnedFd, threads: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets: Vec<OwnedFd> = (1..threads).map(|_| socket.try_clone()).collect::<io::Result<_>>()?;
    sockets.push(socket);
    Ok(sockets)
}

#[derive(PartialEq, Eq)]
enum Reuse {
    Address,
    AddressAndPort,
}

/// Connections the kernel accepts ahead of us; the kernel's own limit may be lower.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str) -> Spec {
        with(address, false)
    }

    fn with(address: &str, v6only: bool) -> Spec {
        let (transport, interface) = (Transport::Tcp, None);
        let place = Place::Inet { address: address.parse().unwrap(), transport, interface, v6only, transparent: false };
        Spec { frontend: "web".to_owned(), place, backlog: None, tcp: Tcp::default() }
    }

    fn addresses(bound: Bound) -> Vec<(std::net::TcpListener, SocketAddr)> {
        let listener = |socket| {
            let listener = std::net::TcpListener::from(socket);
            let address = listener.local_addr().unwrap();
            (listener, address)
        };
        bound.publish().unwrap().into_iter().map(listener).collect()
    }

    #[test]
    fn threads_share_one_port() {
        let sockets = addresses(spec("127.0.0.1:0").bind(3, Sharing::Alone).unwrap());
        let ports: Vec<u16> = sockets.iter().map(|(_, address)| address.port()).collect();
        assert!(ports[0] != 0 && ports == [ports[0]; 3], "{ports:?}");
    }

    #[test]
    fn address_of_another_process_is_refused_by_name() {
        let other = addresses(spec("127.0.0.1:0").bind(1, Sharing::Alone).unwrap());
        let address = other[0].1;
        let taken = spec(&address.to_string());
        let error = taken.bind(2, Sharing::Alone).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("bind {address} of frontend web: ")), "{error}");
        assert!(taken.bind(1, Sharing::Replacing).is_ok());
    }

    #[test]
    fn v6_wildcard_takes_v4_unless_told_otherwise() {
        let both = addresses(spec("[::]:0").bind(1, Sharing::Alone).unwrap());
        assert!(std::net::TcpStream::connect(("127.0.0.1", both[0].1.port())).is_ok());
        let only = addresses(with("[::]:0", true).bind(1, Sharing::Alone).unwrap());
        assert!(std::net::TcpStream::connect(("127.0.0.1", only[0].1.port())).is_err());
    }
}
