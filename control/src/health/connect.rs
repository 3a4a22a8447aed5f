//! The connecting of probes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, UdpSocket, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::Connection;
use super::tls::{self, Secured};
use crate::config::{Check, Connect, SendProxy, ServerSource, Target, UnixAddress};
use crate::fleet::CheckResult;

/// What kept a probe from its end: the result and, where that does not say it all, what went wrong.
pub(super) type Failure = (CheckResult, String);

/// How a connection is made.
pub(super) struct Plan<'c> {
    check: &'c Check,
    target: Target,
    send_proxy: Option<SendProxy>,
    sni: Option<&'c str>,
    secured: Option<Arc<Secured>>,
    ending: Ending,
    datagrams: bool,
}

/// How a connection ends when it is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By a reset, which leaves nothing behind on either side.
    Reset,
    /// In due form.
    Close,
}

impl<'c> Plan<'c> {
    /// Lays the words of a step over what the check has for all of them; `port` is that of the step.
    pub(super) fn new(check: &'c Check, step: &'c Connect, port: Option<u16>, secured: &tls::All) -> Self {
        let by_default = step.defaults().then_some(check);
        let target = match check.target() {
            Target::Inet(address) => Target::Inet(SocketAddr::new(step.address().unwrap_or(address.ip()), port.unwrap_or(address.port()))),
            Target::Unix(unix) => match step.address().zip(port) {
                Some((ip, port)) => Target::Inet(SocketAddr::new(ip, port)),
                None => Target::Unix(unix.clone()),
            },
        };
        let own_header = step.send_proxy().then_some(check.send_proxy().unwrap_or(SendProxy::V1));
        let datagrams = step.datagrams();
        let secure = step.tls() || by_default.is_some_and(Check::is_secure);
        Self {
            check,
            target,
            send_proxy: own_header.or_else(|| by_default.and_then(Check::send_proxy)).filter(|_| !datagrams),
            sni: step.sni().or_else(|| by_default.and_then(Check::sni)),
            secured: (secure && !datagrams).then(|| secured.of(step)).flatten(),
            ending: if step.linger() { Ending::Close } else { Ending::Reset },
            datagrams,
        }
    }

    /// Connects to the target, sends a PROXY header where one is expected, and shakes hands where there is TLS, until `deadline`.
    ///
    /// # Errors
    /// What kept it from that.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        match timeout(self.check.connect_timeout(), self.open()).await {
            Ok(Ok(connection)) => match &self.secured {
                Some(secured) => tls::begin(connection, self.sni, secured, deadline).await,
                None => Ok(connection),
            },
            Ok(Err(Fault::Ours(error))) => Err((CheckResult::NotProbed, error.to_string())),
            Ok(Err(Fault::Theirs(error))) => Err((CheckResult::ConnectFailed, reason(&error))),
            Err(_) => Err((CheckResult::ConnectTimeout, String::new())),
        }
    }

    async fn open(&self) -> Result<Connection, Fault> {
        let mut connection = match &self.target {
            Target::Inet(target) if self.datagrams => datagrams(*target, self.check.source()).await?,
            Target::Inet(target) => inet(*target, self.check.source(), self.ending).await?,
            Target::Unix(address) => unix(address).await?,
        };
        if let Some(header) = self.header(&connection) {
            connection.write_all(&header).await.map_err(Fault::Theirs)?;
        }
        Ok(connection)
    }

    /// Returns a PROXY header by which we speak for ourselves.
    fn header(&self, connection: &Connection) -> Option<Vec<u8>> {
        Some(match self.send_proxy? {
            SendProxy::V2 { .. } => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(),
            SendProxy::V1 => match connection.endpoints() {
                Some((from, to)) => {
                    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
                }
                None => b"PROXY UNKNOWN\r\n".to_vec(),
            },
        })
    }
}

/// Sends bytes until `deadline`.
///
/// # Errors
/// What kept them from going out.
pub(super) async fn send(connection: &mut Connection, bytes: &[u8], deadline: Instant) -> Result<(), Failure> {
    let write = async {
        connection.write_all(bytes).await?;
        connection.flush().await
    };
    match timeout_at(deadline, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err((CheckResult::SocketError, reason(&error))),
        Err(_) => Err((CheckResult::ResponseTimeout, String::new())),
    }
}

/// Returns what the system says of an error, without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

enum Fault {
    /// Something was missing on this host: a free port, memory, a source address.
    Ours(io::Error),
    Theirs(io::Error),
}

async fn inet(target: SocketAddr, source: Option<&ServerSource>, ending: Ending) -> Result<Connection, Fault> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(Fault::Ours)?;
    if ending == Ending::Reset {
        socket.set_zero_linger().map_err(Fault::Ours)?;
    }
    if let Some(source) = source {
        bind(&socket, source).map_err(Fault::Ours)?;
    }
    let is_ours = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock)
    };
    match socket.connect(target).await {
        Ok(stream) => Ok(Connection::Tcp(stream)),
        Err(error) if is_ours(&error) => Err(Fault::Ours(error)),
        Err(error) => Err(Fault::Theirs(error)),
    }
}

/// Gives a socket its source; where only some ports are allowed, one that is free.
fn bind(socket: &TcpSocket, source: &ServerSource) -> io::Result<()> {
    if let Some(interface) = source.interface() {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    let Some(ip) = source.ip() else { return Ok(()) };
    let Some(ports) = source.ports() else { return socket.bind(SocketAddr::new(ip, 0)) };
    socket.set_reuseaddr(true)?;
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..PORTS_TRIED {
        outcome = socket.bind(SocketAddr::new(ip, fastrand::u16(ports.first()..=ports.last())));
        if outcome.as_ref().map_err(io::Error::kind) != Err(io::ErrorKind::AddrInUse) {
            break;
        }
    }
    outcome
}

/// Opens a socket of datagrams to a target.
async fn datagrams(target: SocketAddr, source: Option<&ServerSource>) -> Result<Connection, Fault> {
    let any = if target.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let from = source.and_then(ServerSource::ip).unwrap_or(any);
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).await.map_err(Fault::Ours)?;
    if let Some(interface) = source.and_then(ServerSource::interface) {
        socket.bind_device(Some(interface.as_bytes())).map_err(Fault::Ours)?;
    }
    socket.connect(target).await.map_err(Fault::Theirs)?;
    Ok(Connection::Datagrams(socket))
}

async fn unix(address: &UnixAddress) -> Result<Connection, Fault> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let stream = match (address.path(), address.abstract_name()) {
        (Some(path), _) => UnixStream::connect(path).await,
        // A leading zero marks a name of the abstract space.
        (None, name) => UnixStream::connect(OsStr::from_bytes(&[b"\0", &*name.unwrap_or_default()].concat())).await,
    };
    stream.map(Connection::Unix).map_err(Fault::Theirs)
}

/// Ports tried before a probe is put off.
const PORTS_TRIED: u32 = 16;
