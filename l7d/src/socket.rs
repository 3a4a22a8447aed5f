//! A connected or listening socket of any family, and the readiness of its two directions.
//!
//! Every operation takes the socket by shared reference, so one task may drive both directions at once. A read that fills less than it
//! was given, and a write that is not taken whole, mean that the kernel has no more to give or take: the next wait then begins without
//! a system call that would only say so.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use control::config::Probes;
use nix::libc;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read, writev};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType};
use rustix::net::{acceptfrom_with, connect, getpeername, getsockname, send, shutdown, socket_with, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with this thread's runtime.
///
/// # Errors
/// Fails when the system is short of what watching a descriptor takes.
#[expect(unsafe_code, reason = "registering a descriptor is unsafe for types that might close it early; an OwnedFd cannot")]
pub(crate) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the registration owns the descriptor, which nobody else can close, and gives it up only by dropping it.
    let registered = unsafe { AsyncFd::register(descriptor) };
    Ok(registered?)
}

/// A socket that does not block, registered with this thread's runtime; and whether its other end is not to hear that it closes.
#[derive(Debug)]
pub(crate) struct Socket(AsyncFd<OwnedFd>, Cell<bool>);

impl Socket {
    /// Registers a socket, which must not block.
    ///
    /// # Errors
    /// Fails when the system is short of what watching a descriptor takes.
    pub(crate) fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Ok(Self(watched(socket.into())?, Cell::new(false)))
    }

    /// Accepts a connection, and returns it with the address of its other end, if that has one.
    ///
    /// # Errors
    /// As accepting.
    pub(crate) async fn accept(&self) -> io::Result<(Self, Option<SocketAddr>)> {
        let (socket, peer) = self.0.async_io(Interest::READABLE, |listener| Ok(acceptfrom_with(listener, ACCEPTED)?)).await?;
        Ok((Self::new(socket)?, inet(peer)))
    }

    /// Accepts a connection that the kernel has accepted already.
    ///
    /// # Errors
    /// As accepting; `WouldBlock` if there is none.
    pub(crate) fn accept_now(&self) -> io::Result<(Self, Option<SocketAddr>)> {
        let (socket, peer) = acceptfrom_with(&self.0, ACCEPTED)?;
        Ok((Self::new(socket)?, inet(peer)))
    }

    /// Prepares that the other end never hears that the connection closes, as far as this process may: a socket under repair says nothing
    /// at all, and what others say does not get beyond the next host.
    pub(crate) fn vanish(&self) {
        self.1.set(true);
        if nix::sys::socket::setsockopt(&self.0, nix::sys::socket::sockopt::TcpRepair, &1).is_ok() {
            return;
        }
        // None of these can be helped where it fails.
        let _ = sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
        let _ = sockopt::set_ip_ttl(&self.0, 1);
        let _ = sockopt::set_ipv6_unicast_hops(&self.0, Some(1));
    }

    /// Tells whether the other end is never to hear that the connection closes.
    pub(crate) fn vanishes(&self) -> bool {
        self.1.get()
    }

    /// Opens a stream socket of this family, not yet connected.
    ///
    /// # Errors
    /// Fails when the process is short of descriptors or the family is unknown.
    pub(crate) fn open(family: AddressFamily) -> io::Result<OwnedFd> {
        Ok(socket_with(family, SocketType::STREAM, ACCEPTED, None)?)
    }

    /// Connects a socket made by [`Self::open`].
    ///
    /// # Errors
    /// As connecting.
    pub(crate) async fn connect(socket: OwnedFd, address: &SocketAddrAny) -> io::Result<Self> {
        let at_once = match connect(&socket, address) {
            Ok(()) => true,
            Err(Errno::INPROGRESS) => false,
            Err(error) => return Err(error.into()),
        };
        let socket = Self::new(socket)?;
        if !at_once {
            drop(socket.0.writable().await?);
            sockopt::socket_error(&socket.0)??;
        }
        Ok(socket)
    }

    /// Waits until there is something to read, the end of the stream or an error included.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx).map_ok(drop)
    }

    /// Reads into the spare capacity of `bytes`, of which there must be some, and returns how much; 0 is the end of the stream.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let room = bytes.capacity() - bytes.len();
        self.poll_receive(cx, room, |socket| Ok(read(socket, spare_capacity(bytes))?))
    }

    /// Reads into `room`, which must not be empty, and returns how much; 0 is the end of the stream.
    pub(crate) fn poll_fill(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, room.len(), |socket| Ok(read(socket, &mut *room)?))
    }

    /// Reads by `receive`, which has room for so many bytes.
    fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        room: usize,
        mut receive: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match guard.try_io(|socket| receive(socket.as_fd())) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(outcome) => {
                    if outcome.as_ref().is_ok_and(|count| (1..room).contains(count)) {
                        guard.clear_ready();
                    }
                    return Poll::Ready(outcome);
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Writes from one piece after the other, and returns how much was taken.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            let written = guard.try_io(|socket| {
                let taken = match pieces {
                    [piece] => send(socket, piece, SendFlags::NOSIGNAL),
                    // The process ignores SIGPIPE, as every Rust program does from its start.
                    pieces => writev(socket, pieces),
                };
                // The kernel had to connect first after all.
                Ok(taken.map_err(|error| if error == Errno::INPROGRESS { Errno::WOULDBLOCK } else { error })?)
            });
            match written {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(outcome) => {
                    if outcome.as_ref().is_ok_and(|count| *count < whole) {
                        guard.clear_ready();
                    }
                    return Poll::Ready(outcome);
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Reads without waiting; `WouldBlock` costs no system call when it is known that nothing came.
    ///
    /// # Errors
    /// As reading; `WouldBlock` if nothing came.
    pub(crate) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.try_now(Interest::READABLE, |socket| Ok(read(socket, &mut *bytes)?))
    }

    /// Waits until there is something to read, the end of the stream or an error included.
    ///
    /// # Errors
    /// Fails when the runtime ends.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Does `work` if the socket is known to be ready for it; `WouldBlock` otherwise.
    ///
    /// # Errors
    /// As `work`.
    pub(crate) fn try_now<R>(&self, interest: Interest, mut work: impl FnMut(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        self.0.try_io(interest, |socket| work(socket.as_fd()))
    }

    /// Reads by `work` if the socket is known to be readable, `WouldBlock` otherwise; after fewer than `enough` bytes it counts as empty.
    ///
    /// # Errors
    /// As `work`.
    pub(crate) fn read_by(&self, enough: usize, work: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>) -> io::Result<usize> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(guard) = self.0.poll_read_ready(&mut cx) else { return Err(io::ErrorKind::WouldBlock.into()) };
        let mut guard = guard?;
        let outcome = guard.try_io(|socket| work(socket.as_fd())).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()));
        if outcome.as_ref().is_ok_and(|count| (1..enough).contains(count)) {
            guard.clear_ready();
        }
        outcome
    }

    /// Asks to be woken only when so many bytes can be read, or the stream has ended; wakes at once if there are.
    ///
    /// # Errors
    /// Fails where the kind of socket has no such mark.
    pub(crate) fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        set(self, (libc::SOL_SOCKET, libc::SO_RCVLOWAT), libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX))
    }

    /// Waits until something can be written, and does `work`, again if that finds no room.
    ///
    /// # Errors
    /// As `work`.
    pub(crate) async fn when_writable<R>(&self, mut work: impl FnMut(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        self.0.async_io(Interest::WRITABLE, |socket| work(socket.as_fd())).await
    }

    /// Closes the sending half.
    ///
    /// # Errors
    /// As the system does when the connection is gone already.
    pub(crate) fn shut_write(&self) -> io::Result<()> {
        Ok(shutdown(&self.0, Shutdown::Write)?)
    }

    /// Lets the kernel probe whether a silent peer is still there, at times that may differ from its own.
    pub(crate) fn probe(&self, probes: Probes) {
        // Without it the connection is as good as it was.
        let _ = sockopt::set_socket_keepalive(&self.0, true);
        let seconds = |time: Duration| Duration::from_secs(time.as_secs().max(1));
        if let Some(count) = probes.count() {
            let _ = sockopt::set_tcp_keepcnt(&self.0, count.into());
        }
        if let Some(idle) = probes.idle() {
            let _ = sockopt::set_tcp_keepidle(&self.0, seconds(idle));
        }
        if let Some(interval) = probes.interval() {
            let _ = sockopt::set_tcp_keepintvl(&self.0, seconds(interval));
        }
    }

    /// Lets the connection close at once, whatever the peer has not taken yet.
    pub(crate) fn cut_off(&self) {
        let _ = sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }

    /// Returns the address of this end; none if it is not one of the Internet's.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        inet(getsockname(&self.0).ok())
    }

    /// Returns the address of the other end.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        inet(getpeername(&self.0).ok().flatten())
    }
}

/// Has clients of a listening socket of TCP send their first bytes with their first packet, so many of whom may be in the middle of that.
///
/// # Errors
/// As setting an option.
pub(crate) fn take_first_bytes(socket: &impl AsFd, clients: i32) -> io::Result<()> {
    set(socket, (libc::IPPROTO_TCP, libc::TCP_FASTOPEN), clients)
}

/// Has connections of a listening socket of TCP accepted only when something came over them, or else after about a second.
///
/// # Errors
/// As setting an option.
pub(crate) fn await_first_bytes(socket: &impl AsFd) -> io::Result<()> {
    set(socket, (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT), 1)
}

/// Sets an option of a socket that is a number.
#[expect(unsafe_code, reason = "no safe library sets SO_RCVLOWAT, TCP_FASTOPEN and TCP_DEFER_ACCEPT")]
fn set(socket: &impl AsFd, (level, option): (libc::c_int, libc::c_int), value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the value outlives the call, which reads as many bytes of it as it has; the descriptor is open as long as it is borrowed.
    let outcome = unsafe { libc::setsockopt(descriptor, level, option, (&raw const value).cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns an address of the Internet's families.
fn inet(address: Option<SocketAddrAny>) -> Option<SocketAddr> {
    address.and_then(|address| address.try_into().ok())
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

const ACCEPTED: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// What the system measures of a connection of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measures {
    /// How long an answer of the peer takes, in microseconds.
    pub(crate) round_trip: u32,
    /// How much that varies, in microseconds.
    pub(crate) variance: u32,
    /// Packets on their way.
    pub(crate) unacknowledged: u32,
    pub(crate) sacked: u32,
    pub(crate) lost: u32,
    pub(crate) retransmitted: u32,
    pub(crate) forward_acknowledged: u32,
    pub(crate) reordering: u32,
}

/// Asks the system how a connection fares; none if it is not one of TCP.
#[expect(unsafe_code, reason = "no safe library reads TCP_INFO")]
pub(crate) fn measures(socket: BorrowedFd<'_>) -> Option<Measures> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the system writes at most `length` bytes, which is the size of `info`; the descriptor is open as long as it is borrowed.
    let outcome = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, info.as_mut_ptr().cast(), &raw mut length) };
    if outcome != 0 {
        return None;
    }
    // SAFETY: it is made of integers, which were all zero before the system wrote some of them.
    let info = unsafe { info.assume_init() };
    Some(Measures {
        round_trip: info.tcpi_rtt,
        variance: info.tcpi_rttvar,
        unacknowledged: info.tcpi_unacked,
        sacked: info.tcpi_sacked,
        lost: info.tcpi_lost,
        retransmitted: info.tcpi_retrans,
        forward_acknowledged: info.tcpi_fackets,
        reordering: info.tcpi_reordering,
    })
}
