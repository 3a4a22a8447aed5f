//! The sockets of an endpoint that has let go of its own: one for each client that is still there, connected to it.
//!
//! Sockets that share an address share its datagrams by chance, so an endpoint that kept its own beside those of the next process would
//! get some of that one's and lose some of its own. The kernel prefers a connected socket to those, however many come and go: who is in
//! stays, and everybody else comes to the next process. Nobody has to forward anything, and it takes no rights beyond those to bind.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use rustix::event::{Timespec, epoll};
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep};

use crate::socket::watched;

/// Where a client is, and which of our addresses it speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) client: SocketAddr,
    pub(super) ours: IpAddr,
}

/// A socket for each of some clients.
#[derive(Debug)]
pub(super) struct Parted {
    local: SocketAddr,
    /// Has those that can be read from; waiting for all of them by themselves would mean asking all of them.
    readable: AsyncFd<OwnedFd>,
    lines: Vec<Line>,
    /// The line of each client.
    clients: HashMap<SocketAddr, usize>,
    /// Whether one of them has just taken nothing.
    is_full: AtomicBool,
}

#[derive(Debug)]
struct Line {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Parted {
    /// Opens sockets for clients that came to `local`; those that cannot be opened are told of by the number of them and why.
    ///
    /// # Errors
    /// Fails if the system has no room for any.
    pub(super) fn open(
        local: SocketAddr,
        flows: impl Iterator<Item = Flow>,
        open: impl Fn(SocketAddr, SocketAddr) -> io::Result<OwnedFd>,
    ) -> io::Result<(Self, Option<(usize, io::Error)>)> {
        let readable = watched(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        let mut parted = Self { local, readable, lines: Vec::new(), clients: HashMap::new(), is_full: AtomicBool::new(false) };
        let mut failed = None;
        for flow in flows {
            if let Err(error) = parted.add(flow, &open) {
                failed.get_or_insert((0, error)).0 += 1;
            }
        }
        Ok((parted, failed))
    }

    fn add(&mut self, flow: Flow, open: impl Fn(SocketAddr, SocketAddr) -> io::Result<OwnedFd>) -> io::Result<()> {
        let client = canonical(flow.client);
        if self.clients.contains_key(&client) {
            return Ok(());
        }
        let mut ours = client;
        ours.set_ip(flow.ours.to_canonical());
        ours.set_port(self.local.port());
        let socket = UdpSocket::from(open(ours, client)?);
        let state = UdpSocketState::new((&socket).into())?;
        let number = self.lines.len();
        epoll::add(self.readable.get_ref(), &socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        self.lines.push(Line { socket, state });
        self.clients.insert(client, number);
        Ok(())
    }

    /// Reads from one of those that can be read from; none is a moment in which there is nothing.
    fn receive(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<Option<usize>> {
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        let (ready, _) = epoll::wait(self.readable.get_ref(), &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let mut is_quiet = true;
        for event in ready {
            is_quiet = false;
            let Some(line) = usize::try_from(event.data.u64()).ok().and_then(|number| self.lines.get(number)) else { continue };
            // What is wrong with one client, such as that it is gone, is not to end the others.
            let Ok(count) = line.state.recv((&line.socket).into(), bufs, meta) else { continue };
            meta[..count].iter_mut().for_each(|meta| meta.addr = self.as_before(meta.addr));
            return Ok(Some(count));
        }
        if is_quiet { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(None) }
    }

    /// Returns an address as the endpoint's own socket would tell it.
    fn as_before(&self, address: SocketAddr) -> SocketAddr {
        match (self.local, address.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            _ => address,
        }
    }
}

impl AsyncUdpSocket for Parted {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Pause { parted: self, sleep: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let destination = canonical(transmit.destination);
        // Whoever else is meant comes to the next process.
        let Some(line) = self.clients.get(&destination).and_then(|number| self.lines.get(*number)) else { return Ok(()) };
        let Transmit { ecn, contents, segment_size, .. } = *transmit;
        let sent = line.state.send((&line.socket).into(), &Transmit { destination, ecn, contents, segment_size, src_ip: None });
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.is_full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(&self, cx: &mut Context<'_>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = ready!(self.readable.poll_read_ready(cx))?;
            match readable.try_io(|_| self.receive(bufs, meta)) {
                Ok(Ok(Some(count))) => return Poll::Ready(Ok(count)),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.lines.first().map_or(1, |line| line.state.max_gso_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.lines.first().map_or(1, |line| line.state.gro_segments())
    }

    fn may_fragment(&self) -> bool {
        self.lines.first().is_none_or(|line| line.state.may_fragment())
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Waits a moment where a socket has taken nothing: which one that was is not known here, and it is rare.
#[derive(Debug)]
struct Pause {
    parted: Arc<Parted>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl UdpPoller for Pause {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sleep.is_none() && !self.parted.is_full.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.sleep.get_or_insert_with(|| Box::pin(sleep(PAUSE))).as_mut().poll(cx));
        self.sleep = None;
        self.parted.is_full.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

const PAUSE: Duration = Duration::from_millis(1);
/// Sockets that are looked at in one go.
const AT_ONCE: usize = 16;
