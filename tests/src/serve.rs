//! The lab's server program: says who it is, echoes, and moves bulk data, over TCP, HTTP and UDP.
//!
//! It stands behind a balancer as a real server does, in a process of its own (the program `lab-backend`), so it can be killed like
//! one. [`server`](crate::server) is its guard in a test. One thread serves one connection, up to a bound; what comes beyond that is
//! closed at once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::http;
use crate::protocol::{Bulk, Checksum, Request, fill};
use crate::wait::uninterrupted;

/// A server that has bound its addresses.
#[derive(Debug)]
pub struct Server {
    identity: Arc<Identity>,
    listeners: Vec<(TcpListener, UdpSocket)>,
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The name it answers with.
    pub(crate) name: String,
    /// `/healthz` fails while this file exists.
    pub(crate) sick_file: Option<PathBuf>,
    connections: AtomicUsize,
}

impl Identity {
    /// Tells whether health checks shall succeed.
    pub(crate) fn is_well(&self) -> bool {
        self.sick_file.as_ref().is_none_or(|file| !file.exists())
    }
}

impl Server {
    /// Binds every address for TCP and UDP, also those the machine does not have yet; `[::]` takes IPv4 as well.
    ///
    /// # Errors
    /// Fails if an address is taken.
    pub fn bind(name: impl Into<String>, listen: &[SocketAddr], sick_file: Option<PathBuf>) -> Result<Self> {
        let identity = Identity { name: name.into(), sick_file, connections: AtomicUsize::new(0) };
        let bound = listen.iter().map(|&address| bind_both(address).with_context(|| format!("bind {address}")));
        Ok(Self { identity: Arc::new(identity), listeners: bound.collect::<Result<_>>()? })
    }

    /// Serves until a socket fails, which in practice is until the process ends.
    ///
    /// # Errors
    /// Returns why accepting stopped.
    pub fn run(self) -> Result<()> {
        thread::scope(|scope| {
            let identity = &self.identity;
            let tasks = self.listeners.into_iter().flat_map(|(tcp, udp)| {
                [scope.spawn(move || accept(identity, &tcp)), scope.spawn(move || answer_datagrams(identity, &udp))]
            });
            let tasks: Vec<_> = tasks.collect();
            tasks.into_iter().try_for_each(|task| task.join().expect("serving does not panic").map_err(Into::into))
        })
    }
}

/// Runs the program `lab-backend`: reads its arguments, binds, says so, serves.
///
/// # Errors
/// Fails on unknown arguments or if an address is taken.
pub fn main(arguments: impl Iterator<Item = String>) -> Result<()> {
    raise_descriptor_limit();
    let mut arguments = arguments;
    let (mut name, mut listen, mut sick_file) = (None, Vec::new(), None);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{argument} needs a value; {USAGE}"))?;
        match argument.as_str() {
            "--name" => name = Some(value),
            "--listen" => listen.push(value.parse().with_context(|| format!("{value}: not ADDRESS:PORT"))?),
            "--sick-file" => sick_file = Some(PathBuf::from(value)),
            _ => bail!("{argument}: unknown; {USAGE}"),
        }
    }
    let Some(name) = name.filter(|_| !listen.is_empty()) else { bail!("{USAGE}") };
    let server = Server::bind(name.as_str(), &listen, sick_file)?;
    writeln!(io::stdout(), "{name} {READY}").context("write to standard output")?;
    server.run()
}

/// Allows as many open files as the system lets it have: a bound below the number of connections would show as a failing server.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// What the program says once its addresses are bound.
pub(crate) const READY: &str = "is listening";

const USAGE: &str = "usage: lab-backend --name NAME --listen ADDRESS:PORT [--listen …] [--sick-file PATH]";

fn bind_both(address: SocketAddr) -> Result<(TcpListener, UdpSocket)> {
    let tcp = bind(address, Type::STREAM, Protocol::TCP)?;
    tcp.listen(1024)?;
    // An unspecified port is chosen by the TCP socket, and UDP takes the same.
    let address = tcp.local_addr()?.as_socket().context("an Internet socket has an Internet address")?;
    Ok((tcp.into(), bind(address, Type::DGRAM, Protocol::UDP)?.into()))
}

fn bind(address: SocketAddr, kind: Type, protocol: Protocol) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    match address.ip() {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(ip) => {
            socket.set_only_v6(!ip.is_unspecified())?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn accept(identity: &Arc<Identity>, listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // The client gave up before we looked.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let Some(slot) = Slot::take(identity) else { continue };
        // What goes wrong on one connection, and no thread for one more, is for its client to notice.
        let serve_one = move || drop(serve(&slot.0, &stream, plain(peer)));
        drop(thread::Builder::new().stack_size(256 * 1024).spawn(serve_one));
    }
}

/// One of the bounded number of connections, free again when dropped.
struct Slot(Arc<Identity>);

impl Slot {
    fn take(identity: &Arc<Identity>) -> Option<Self> {
        let slot = Self(Arc::clone(identity));
        (slot.0.connections.fetch_add(1, Ordering::Relaxed) < MOST_CONNECTIONS).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(identity: &Identity, stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut output = stream;
    let mut input = BufReader::with_capacity(CHUNK, stream);
    let mut line = String::new();
    input.by_ref().take(http::LONGEST_LINE).read_line(&mut line)?;
    match line.parse() {
        Ok(Request::Who) => output.write_all(format!("{} {peer}\n", identity.name).as_bytes()),
        Ok(Request::Session) => answer_lines(&identity.name, &mut input, &mut output),
        Ok(Request::Echo) => io::copy(&mut input, &mut output).map(drop),
        Ok(Request::Send(bulk)) => send(bulk, &mut output),
        Ok(Request::Receive(length)) => receive(&identity.name, length, &mut input, &mut output),
        Err(()) => http::serve(identity, line, (&mut input, &mut output), peer),
    }
}

fn answer_lines(name: &str, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<()> {
    let mut line = String::new();
    while input.take(http::LONGEST_LINE).read_line(&mut line)? > 0 {
        output.write_all(format!("{name} {line}").as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// Writes a piece of a stream.
pub(crate) fn send(bulk: Bulk, output: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut position = 0;
    while position < bulk.length {
        let length = usize::try_from(bulk.length - position).unwrap_or(CHUNK).min(CHUNK);
        fill(bulk.seed, position, &mut chunk[..length]);
        output.write_all(&chunk[..length])?;
        position += length as u64;
    }
    Ok(())
}

fn receive(name: &str, length: u64, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let mut checksum = Checksum::new();
    let mut chunk = vec![0; CHUNK];
    let mut input = input.take(length);
    loop {
        match uninterrupted(|| input.read(&mut chunk))? {
            0 => break,
            read => checksum.add(&chunk[..read]),
        }
    }
    output.write_all(format!("{name} {checksum}\n").as_bytes())
}

fn answer_datagrams(identity: &Identity, socket: &UdpSocket) -> io::Result<()> {
    let mut datagram = vec![0; CHUNK];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut datagram) else { continue };
        let mut reply = format!("{} {} ", identity.name, plain(peer)).into_bytes();
        reply.extend_from_slice(&datagram[..length]);
        // A reply that cannot be sent is a reply that was lost.
        drop(socket.send_to(&reply, peer));
    }
}

/// Returns an IPv4 address that a dual-stack socket wrote as IPv6 in its own form.
fn plain(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

const CHUNK: usize = 64 * 1024;

/// Every connection costs a thread.
const MOST_CONNECTIONS: usize = 4096;

/// How long a silent connection is kept.
const PATIENCE: Duration = Duration::from_secs(300);
