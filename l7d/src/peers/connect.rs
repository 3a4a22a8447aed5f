//! How connections with peers come about: to them, and from them.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net;
use std::sync::Arc;
use std::time::Duration;

use control::config::{PeerAddress, UnixAddress};
use control::tls::{Client, Host};
use rustix::net::AddressFamily;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{debug, info};

use super::codec::hello::{Greeting, Hello, MINOR, Status};
use super::group::{Group, Manners};
use super::member::{self, Kinship, Member, Turn};
use super::session::{self, Ending, Side, Terms};
use super::teach::Manner;
use crate::level::Level;
use crate::proxy_header::{self, Decoded, Endpoints};
use crate::socket::Socket;
use crate::upstream::connect::header;
use crate::upstream::{Given, Source};

/// Connects to a peer again and again, whenever there is no connection with it.
pub(super) async fn keep(group: Arc<Group>, member: Arc<Member>) {
    let (mut failures, mut minor) = (0_u32, MINOR);
    let mut pause = Duration::ZERO;
    loop {
        member.free().await;
        member.standing().reconnect = Some(Instant::now() + pause);
        tokio::time::sleep(pause).await;
        if member.is_taken() {
            continue;
        }
        let outcome = attempt(&group, &member, minor, || ()).await;
        match outcome {
            Outcome::Spoken => failures = 0,
            Outcome::Refused(Status::BadVersion) => minor = 0,
            Outcome::Refused(_) | Outcome::Unreachable => failures = failures.saturating_add(1),
        }
        pause = backoff(failures);
    }
}

/// Speaks with a peer while this process ends, unless another has taken its place, which is told instead and speaks for both.
pub(super) async fn linger(group: Arc<Group>, member: Arc<Member>) {
    let mut failures = 0_u32;
    loop {
        let outcome = attempt(&group, &member, MINOR, || ()).await;
        failures = if outcome == Outcome::Spoken { 0 } else { failures.saturating_add(1) };
        tokio::time::sleep(backoff(failures)).await;
        let Some(successor) = group.successor() else { continue };
        while successor.is_taken() || attempt(&group, successor, MINOR, || ()).await != Outcome::Unreachable {
            successor.free().await;
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }
}

/// Returns how long to wait before the next attempt: at first some moments of chance, so that two peers do not end each other's connections
/// for ever.
fn backoff(failures: u32) -> Duration {
    let chance = Duration::from_millis(fastrand::u64(50..2050));
    match failures {
        0 => chance,
        failures => (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(8))).min(LONGEST_PAUSE) + chance / 4,
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Both sides knew each other.
    Spoken,
    /// The peer did not want to.
    Refused(Status),
    /// It was not reached.
    Unreachable,
}

/// Connects to a peer once, and speaks with it until that ends.
pub(super) async fn attempt(group: &Group, member: &Arc<Member>, minor: u32, taught: impl FnOnce()) -> Outcome {
    let Some(address) = member.address() else { return Outcome::Unreachable };
    let mut turn = member.take_turn();
    {
        let mut standing = member.standing();
        (standing.status, standing.reconnect) = (member::Status::Connecting, None);
        standing.attempts += 1;
    }
    let outcome = match address {
        PeerAddress::Inet(inet) => meet(dial(*inet, member), group, member, (&mut turn, minor), taught).await,
        PeerAddress::Unix(unix) => meet(dial_unix(unix), group, member, (&mut turn, minor), taught).await,
    };
    let outcome = outcome.unwrap_or_else(|error: io::Error| {
        debug!("peers {}: {} at {address}: {error}", group.name(), member.name());
        Outcome::Unreachable
    });
    let mut standing = member.standing();
    standing.ends = None;
    standing.status = match outcome {
        Outcome::Refused(status) => member::Status::Refused(status.code()),
        Outcome::Spoken | Outcome::Unreachable => member::Status::Lost,
    };
    outcome
}

/// Says who we are over a connection that is being made.
async fn meet<S>(
    dialled: impl Future<Output = io::Result<S>>,
    group: &Group,
    member: &Member,
    (turn, minor): (&mut Turn, u32),
    taught: impl FnOnce(),
) -> io::Result<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = tokio::select! {
        made = timeout(PATIENCE, dialled) => made??,
        () = turn.lost() => return Ok(Outcome::Unreachable),
    };
    if let Some(version) = member.send_proxy() {
        stream.write_all(&header(version, &Endpoints::Unknown)).await?;
    }
    match member.client() {
        None => introduce(stream, group, member, (turn, minor), taught).await,
        Some(client) => introduce(secure(stream, &client).await?, group, member, (turn, minor), taught).await,
    }
}

async fn dial(address: SocketAddr, member: &Member) -> io::Result<TcpStream> {
    let stream = dial_from(address, member.source()).await?;
    stream.set_nodelay(true)?;
    member.standing().ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
    Ok(stream)
}

async fn dial_unix(address: &UnixAddress) -> io::Result<UnixStream> {
    if let Some(path) = address.path() {
        return UnixStream::connect(path).await;
    }
    let name = net::SocketAddr::from_abstract_name(address.abstract_name().unwrap_or_default())?;
    let stream = net::UnixStream::connect_addr(&name)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Connects from where the configuration says.
async fn dial_from(address: SocketAddr, source: Option<&Source>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    for _ in 0..source.choices() {
        let socket = Socket::open(family)?;
        if source.give(&socket, None)? == Given::Done {
            return TcpSocket::from_std_stream(socket.into()).connect(address).await;
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

async fn secure<S: AsyncRead + AsyncWrite + Unpin>(stream: S, client: &Client) -> io::Result<tokio_rustls::client::TlsStream<S>> {
    let name = Client::name(Host::Unstated).map_err(io::Error::other)?;
    timeout(PATIENCE, TlsConnector::from(Arc::clone(client.config())).connect(name, stream)).await?
}

/// Says who we are, and speaks if that is welcome.
async fn introduce<S>(
    mut stream: S,
    group: &Group,
    member: &Member,
    (turn, minor): (&mut Turn, u32),
    taught: impl FnOnce(),
) -> io::Result<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    let hello = Hello { minor, to: member.name().to_owned(), from: group.local().to_owned(), process: std::process::id() };
    hello.write(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut early = Vec::new();
    let greeting = tokio::select! {
        greeting = timeout(PATIENCE, hear(&mut stream, &mut early, Status::read)) => greeting??,
        () = turn.lost() => return Ok(Outcome::Unreachable),
    };
    let status = greeting.unwrap_or_else(|status| status);
    if status != Status::Succeeded {
        info!("peers {}: {} answers {}", group.name(), member.name(), status.code());
        return Ok(Outcome::Refused(status));
    }
    let manner = if minor == 0 { Manner::Plain } else { Manner::Timed };
    speak(stream, (group, member), turn, Terms { side: Side::Connected, manner, early }, taught).await;
    Ok(Outcome::Spoken)
}

/// Serves who has connected, between two ends if it has come over the network.
pub(super) async fn accept<S>(group: Arc<Group>, mut stream: S, mut ends: Option<(SocketAddr, SocketAddr)>, manners: Manners)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let from = ends.map_or_else(|| "a Unix socket".to_owned(), |(_, source)| source.to_string());
    let served = async {
        if manners.accept_proxy
            && let Endpoints::Relayed { source, destination } = timeout(PATIENCE, hear_header(&mut stream)).await??
        {
            ends = Some((destination, source));
        }
        match manners.tls {
            None => welcome(stream, &group, ends).await,
            Some(config) => welcome(timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await??, &group, ends).await,
        }
    };
    if let Err(error) = served.await {
        debug!("peers {}: who connects from {from}: {error}", group.name());
    }
}

/// Reads a PROXY header, and nothing of what follows.
async fn hear_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Endpoints> {
    let mut header = Vec::new();
    while header.len() < LONGEST_HEADER {
        header.push(stream.read_u8().await?);
        if let Decoded::Complete { endpoints, .. } = proxy_header::decode(&header).map_err(io::Error::other)? {
            return Ok(endpoints);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Finds out who has connected, and speaks if that is welcome.
async fn welcome<S>(mut stream: S, group: &Group, ends: Option<(SocketAddr, SocketAddr)>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut early = Vec::new();
    let greeting = timeout(PATIENCE, hear(&mut stream, &mut early, Hello::read)).await??;
    let known = greeting.and_then(|hello| match group.member(&hello.from) {
        _ if hello.to != group.local() => Err(Status::NotMe),
        None => Err(Status::NotYou),
        // The process before this one has one connection, and ends it itself.
        Some(member) if member.kinship() == Kinship::Local && member.is_taken() => Err(Status::TryAgain),
        Some(member) => Ok((member, hello)),
    });
    let mut out = Vec::new();
    known.as_ref().err().copied().unwrap_or(Status::Succeeded).write(&mut out);
    // Whoever has the connection with this peer loses it before the new one begins.
    let turn = known.as_ref().ok().map(|(member, _)| member.take_turn());
    stream.write_all(&out).await?;
    stream.flush().await?;
    let (Ok((member, hello)), Some(mut turn)) = (known, turn) else { return stream.shutdown().await };
    member.standing().ends = ends;
    let manner = if hello.minor == 0 { Manner::Plain } else { Manner::Timed };
    speak(stream, (group, member), &mut turn, Terms { side: Side::Accepted, manner, early }, || ()).await;
    let mut standing = member.standing();
    if standing.status == member::Status::Established {
        (standing.status, standing.ends) = (member::Status::Lost, None);
    }
    Ok(())
}

async fn speak<S>(stream: S, (group, member): (&Group, &Member), turn: &mut Turn, terms: Terms, taught: impl FnOnce())
where
    S: AsyncRead + AsyncWrite,
{
    {
        let mut standing = member.standing();
        (standing.status, standing.handshake) = (member::Status::Established, Some(Instant::now()));
    }
    info!("peers {}: {} is there", group.name(), member.name());
    group.tell(Level::Notice, &format!("{} is there", member.name()));
    let ending = session::run(stream, group, member, turn, terms, taught).await;
    group.tell(Level::Warning, &format!("{} is gone: {ending}", member.name()));
    match ending {
        Ending::Closed | Ending::Replaced => debug!("peers {}: {}: {ending}", group.name(), member.name()),
        Ending::Silence | Ending::NotUnderstood | Ending::Malformed(_) | Ending::Broken(_) => {
            info!("peers {}: {} is gone: {ending}", group.name(), member.name());
        }
    }
}

/// Reads the first words of the other side; what else was read stays in `early`.
async fn hear<S, T>(stream: &mut S, early: &mut Vec<u8>, read: impl Fn(&[u8]) -> Greeting<T>) -> io::Result<Result<T, Status>>
where
    S: AsyncRead + Unpin,
{
    loop {
        match read(early) {
            Greeting::Whole(words, size) => {
                early.drain(..size);
                return Ok(Ok(words));
            }
            Greeting::Refused(status) => return Ok(Err(status)),
            Greeting::Partial => {}
        }
        if stream.read_buf(early).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How long anything before the first message may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for every header with some extensions.
const LONGEST_HEADER: usize = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(125);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
