//! Sections `log-forward`: log lines of others, taken from datagrams and connections and sent to where a log goes.
//!
//! Each section has a thread of its own, off the workers that carry traffic and off the main thread that watches servers. A reload
//! that leaves a section's sockets as they are leaves its connections, too, and only says where lines go from then on.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use control::config::{Config, LogForward};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::io::AsyncReadExt as _;
use tokio::net;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use super::Logs;
use super::journal::Log;

/// The sections at work.
#[derive(Debug, Default)]
pub(crate) struct Forwarding(Vec<Arc<Section>>);

/// A section at work; its thread ends when it is dropped.
#[derive(Debug)]
struct Section {
    model: LogForward,
    outlet: Outlet,
    _stop: oneshot::Sender<()>,
}

/// Where lines go at present.
type Outlet = Arc<Mutex<Arc<Log>>>;

/// What a section listens on.
struct Sockets {
    streams: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Forwarding {
    /// Puts the sections of a configuration to work; one whose sockets were there before goes on with them.
    ///
    /// # Errors
    /// Fails if an address cannot be had, or there is no thread.
    pub(crate) fn start(config: &Config, logs: &Logs, before: &Self) -> io::Result<Self> {
        let section = |(model, log): (&LogForward, &Arc<Log>)| match before.0.iter().find(|section| is_same(&section.model, model)) {
            Some(section) => {
                *section.outlet.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(log);
                Ok(Arc::clone(section))
            }
            None => Section::start(model, log).map(Arc::new),
        };
        config.log_forwards().iter().zip(logs.forwards()).map(section).collect::<io::Result<_>>().map(Self)
    }
}

/// Tells whether two take lines in the same way, wherever those go.
fn is_same(one: &LogForward, other: &LogForward) -> bool {
    let way = |section: &LogForward| {
        let plain = |addresses: &[control::config::Located<SocketAddr>]| addresses.iter().map(|address| **address).collect::<Vec<_>>();
        (plain(section.binds()), plain(section.datagrams()), section.maxconn(), section.backlog(), section.patience())
    };
    way(one) == way(other)
}

impl Section {
    fn start(model: &LogForward, log: &Arc<Log>) -> io::Result<Self> {
        let sockets = Sockets::open(model)?;
        let outlet: Outlet = Arc::new(Mutex::new(Arc::clone(log)));
        let (stop, stopped) = oneshot::channel();
        let (own, lines) = (model.clone(), Arc::clone(&outlet));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("l7d-forward".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Err(error) = run(&own, sockets, &lines, stopped).await {
                    error!("log-forward {}: {error}", own.name());
                }
            });
        })?;
        Ok(Self { model: model.clone(), outlet, _stop: stop })
    }
}

impl Sockets {
    fn open(model: &LogForward) -> io::Result<Self> {
        let named = |address: SocketAddr| move |error: io::Error| io::Error::new(error.kind(), format!("bind {address}: {error}"));
        let backlog = i32::from(model.backlog().unwrap_or(BACKLOG));
        let stream = |address: SocketAddr| {
            let socket = socket(address, SocketType::STREAM)?;
            listen(&socket, backlog)?;
            io::Result::Ok(TcpListener::from(socket))
        };
        let streams = model.binds().iter().map(|address| stream(**address).map_err(named(**address)));
        let datagrams =
            model.datagrams().iter().map(|address| socket(**address, SocketType::DGRAM).map(UdpSocket::from).map_err(named(**address)));
        Ok(Self { streams: streams.collect::<io::Result<_>>()?, datagrams: datagrams.collect::<io::Result<_>>()? })
    }
}

/// Opens a socket on an address, which one that is about to close may still have.
fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// Takes lines until nobody wants them any more.
async fn run(model: &LogForward, sockets: Sockets, outlet: &Outlet, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    for socket in sockets.datagrams {
        tasks.spawn(take_datagrams(net::UdpSocket::from_std(socket)?, Arc::clone(outlet)));
    }
    let room = Arc::new(Semaphore::new(usize::try_from(model.maxconn()).unwrap_or(usize::MAX)));
    for listener in sockets.streams {
        let listener = net::TcpListener::from_std(listener)?;
        tasks.spawn(accept(listener, (Arc::clone(outlet), model.patience()), Arc::clone(&room)));
    }
    // It is dropped, never sent.
    let _ = stopped.await;
    Ok(())
}

async fn take_datagrams(socket: net::UdpSocket, outlet: Outlet) {
    let (mut bytes, mut packet) = (vec![0; LONGEST], Vec::new());
    loop {
        match socket.recv(&mut bytes).await {
            Ok(count) => pass_on(&outlet, &bytes[..count], &mut packet),
            Err(error) => {
                warn!("log-forward: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn accept(listener: net::TcpListener, (outlet, patience): (Outlet, Option<Duration>), room: Arc<Semaphore>) {
    let mut clients = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, address)) => {
                let outlet = Arc::clone(&outlet);
                clients.spawn(async move {
                    if let Err(error) = take_lines(client, &outlet, patience).await {
                        debug!("log-forward: {address}: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!("log-forward: accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// Takes the lines of a connection, each counted or with an end, as RFC 6587 describes.
async fn take_lines(mut client: net::TcpStream, outlet: &Outlet, patience: Option<Duration>) -> io::Result<()> {
    let (mut bytes, mut packet) = (Vec::new(), Vec::new());
    loop {
        let mut taken = 0;
        while let Some((line, length)) = frame(&bytes[taken..])? {
            pass_on(outlet, line, &mut packet);
            taken += length;
        }
        bytes.drain(..taken);
        let read = client.read_buf(&mut bytes);
        let count = match patience {
            Some(patience) => tokio::time::timeout(patience, read).await.map_err(|_| io::ErrorKind::TimedOut)??,
            None => read.await?,
        };
        if count == 0 {
            // What has no end is ended by that of the connection.
            if !bytes.is_empty() && !bytes[0].is_ascii_digit() {
                pass_on(outlet, &bytes, &mut packet);
            }
            return Ok(());
        }
    }
}

/// Returns the first line of these bytes, and how many of them it takes with what tells its length.
fn frame(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a line that is too long");
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        let Some(space) = bytes.iter().take(8).position(|byte| *byte == b' ') else {
            return if bytes.len() < 8 { Ok(None) } else { Err(wrong()) };
        };
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse().ok());
        let length: usize = length.filter(|length| *length <= LONGEST).ok_or_else(wrong)?;
        return Ok(bytes.get(space + 1..space + 1 + length).map(|line| (line, space + 1 + length)));
    }
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => Ok(Some((&bytes[..end], end + 1))),
        None if bytes.len() > LONGEST => Err(wrong()),
        None => Ok(None),
    }
}

fn pass_on(outlet: &Outlet, line: &[u8], packet: &mut Vec<u8>) {
    if !line.trim_ascii().is_empty() {
        let log = Arc::clone(&outlet.lock().unwrap_or_else(PoisonError::into_inner));
        log.pass_on(line, packet);
        TAKEN.fetch_add(1, Relaxed);
    }
}

/// Returns how many lines of others were taken in.
pub(crate) fn taken() -> u64 {
    TAKEN.load(Relaxed)
}

static TAKEN: AtomicU64 = AtomicU64::new(0);

const LONGEST: usize = 65_535;
const BACKLOG: u16 = 128;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_length_or_by_their_end() {
        let frames = |mut bytes: &[u8]| {
            let mut lines = Vec::new();
            while let Some((line, length)) = frame(bytes).ok()? {
                lines.push(String::from_utf8_lossy(line).into_owned());
                bytes = &bytes[length..];
            }
            Some((lines, bytes.len()))
        };
        assert_eq!(frames(b"5 hello6 a\nb\ncd<1>x\ny"), Some((vec!["hello".into(), "a\nb\ncd".into(), "<1>x".into()], 1)));
        assert_eq!(frames(b"12 short"), Some((vec![], 8)));
        assert_eq!(frames(b"99999 x"), None);
        assert_eq!(frames(b"123456789"), None);
        assert_eq!(frames(b"1x 2"), None);
        assert_eq!(frames(&vec![b'x'; LONGEST + 1]), None);
    }
}
