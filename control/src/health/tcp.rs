//! The probe that connects, and the connecting of the others.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::tls::{self, Secured};
use crate::config::{Check, SendProxy, ServerSource, Target, UnixAddress};
use crate::fleet::CheckResult;

/// What a probe found: the result and, where that does not say it all, what went wrong.
pub(super) type Finding = (CheckResult, String);

/// Connects and hangs up.
pub(super) async fn probe(check: &Check, secured: Option<&Secured>) -> Finding {
    match connect(check, secured).await {
        Ok(Connection::Tls(_)) => (CheckResult::TlsAgreed, String::new()),
        Ok(Connection::Tcp(_) | Connection::Unix(_)) => (CheckResult::Connected, String::new()),
        Err(finding) => finding,
    }
}

/// Connects to the target, sends a PROXY header where one is expected, and shakes hands where there is TLS.
pub(super) async fn connect(check: &Check, secured: Option<&Secured>) -> Result<Connection, Finding> {
    let deadline = Instant::now() + check.timeout();
    match timeout(check.connect_timeout(), open(check)).await {
        Ok(Ok(connection)) => match secured {
            Some(secured) => tls::begin(connection, check, secured, deadline).await,
            None => Ok(connection),
        },
        Ok(Err(Failure::Ours(error))) => Err((CheckResult::NotProbed, error.to_string())),
        Ok(Err(Failure::Theirs(error))) => Err((CheckResult::ConnectFailed, error.kind().to_string())),
        Err(_) => Err((CheckResult::ConnectTimeout, String::new())),
    }
}

enum Failure {
    /// Something was missing on this host: a free port, memory, a source address.
    Ours(io::Error),
    Theirs(io::Error),
}

async fn open(check: &Check) -> Result<Connection, Failure> {
    let mut connection = match check.target() {
        Target::Inet(target) => inet(*target, check.source()).await?,
        Target::Unix(address) => unix(address).await?,
    };
    if let Some(header) = header(check, &connection) {
        connection.write_all(&header).await.map_err(Failure::Theirs)?;
    }
    Ok(connection)
}

/// Dropping the stream sends a reset, which leaves nothing behind on either side.
async fn inet(target: SocketAddr, source: Option<&ServerSource>) -> Result<Connection, Failure> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(Failure::Ours)?;
    socket.set_zero_linger().map_err(Failure::Ours)?;
    if let Some(source) = source {
        bind(&socket, source).map_err(Failure::Ours)?;
    }
    let is_ours = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock)
    };
    match socket.connect(target).await {
        Ok(stream) => Ok(Connection::Tcp(stream)),
        Err(error) if is_ours(&error) => Err(Failure::Ours(error)),
        Err(error) => Err(Failure::Theirs(error)),
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

async fn unix(address: &UnixAddress) -> Result<Connection, Failure> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let stream = match (address.path(), address.abstract_name()) {
        (Some(path), _) => UnixStream::connect(path).await,
        // A leading zero marks a name of the abstract space.
        (None, name) => UnixStream::connect(OsStr::from_bytes(&[b"\0", &*name.unwrap_or_default()].concat())).await,
    };
    stream.map(Connection::Unix).map_err(Failure::Theirs)
}

/// Returns a PROXY header by which we speak for ourselves.
fn header(check: &Check, connection: &Connection) -> Option<Vec<u8>> {
    Some(match check.send_proxy()? {
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

/// Ports tried before a probe is put off.
const PORTS_TRIED: u32 = 16;
