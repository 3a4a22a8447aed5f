//! The user's side: connects from inside a namespace and says which server answered.
//!
//! Every call has a deadline, so a lost packet fails a test instead of hanging it. What lasts longer than one question is in
//! [`session`](crate::session), [`http`](crate::http) and [`load`](crate::load).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http::{HttpConnection, Response};
use crate::load::{Load, Pace};
use crate::netns::{Entrance, Netns};
use crate::protocol::{Bulk, Checksum, Request, fill};
use crate::serve::send;
use crate::session::Session;
use crate::wait::uninterrupted;

/// Connects from inside a namespace.
#[derive(Clone, Debug)]
pub struct Client {
    entrance: Entrance,
    deadline: Duration,
}

/// Who answered, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub server: String,
    /// The client's address as the server saw it.
    pub client: SocketAddr,
}

impl Client {
    /// Makes a client whose connections start in `namespace` and that waits at most five seconds for anything.
    #[must_use]
    pub fn new(namespace: &Netns) -> Self {
        Self { entrance: namespace.entrance(), deadline: Duration::from_secs(5) }
    }

    /// Returns a client that waits at most this long for a connection or an answer.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Opens a connection, whose reads and writes have the client's deadline too.
    ///
    /// # Errors
    /// Fails if it is refused or not open in time.
    pub fn connect(&self, server: SocketAddr) -> Result<TcpStream> {
        self.entrance.run(|| self.connect_from_here(server))
    }

    /// Asks once over TCP who serves.
    ///
    /// # Errors
    /// Fails if the connection does, or the answer is none.
    pub fn who(&self, server: SocketAddr) -> Result<Answer> {
        self.entrance.run(|| self.who_from_here(server))
    }

    /// Asks over `connections` new connections, one after the other, and counts who answered.
    ///
    /// # Errors
    /// Fails at the first one that does.
    pub fn distribution(&self, server: SocketAddr, connections: usize) -> Result<BTreeMap<String, usize>> {
        self.entrance.run(|| {
            let mut answers = BTreeMap::new();
            for number in 1..=connections {
                let answer = self.who_from_here(server).with_context(|| format!("connection {number}"))?;
                *answers.entry(answer.server).or_default() += 1;
            }
            Ok(answers)
        })
    }

    /// Opens a long-lived connection that carries numbered lines.
    ///
    /// # Errors
    /// Fails if the connection does, or the first line is not answered.
    pub fn session(&self, server: SocketAddr) -> Result<Session> {
        Session::open(self.connect(server)?)
    }

    /// Starts opening connections in the background, one after the other on each of some threads.
    #[must_use]
    pub fn load(&self, server: SocketAddr, pace: Pace) -> Load {
        Load::start(self, server, pace)
    }

    /// Opens an HTTP connection.
    ///
    /// # Errors
    /// Fails if the connection does.
    pub fn http(&self, server: SocketAddr) -> Result<HttpConnection> {
        HttpConnection::new(self.connect(server)?)
    }

    /// Fetches a path over a connection of its own.
    ///
    /// # Errors
    /// Fails if the connection does, or the answer is not HTTP.
    pub fn get(&self, server: SocketAddr, path: &str) -> Result<Response> {
        self.http(server)?.get(path)
    }

    /// Downloads bulk data and returns once every byte was compared.
    ///
    /// # Errors
    /// Fails if the connection does, or with the position of the first wrong byte.
    pub fn download(&self, server: SocketAddr, bulk: Bulk) -> Result<()> {
        let mut stream = ask(self.connect(server)?, Request::Send(bulk))?;
        let (mut received, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut position = 0;
        loop {
            let length = uninterrupted(|| stream.read(&mut received)).with_context(|| format!("after {position} bytes"))?;
            if length == 0 {
                break;
            }
            fill(bulk.seed, position, &mut expected[..length]);
            if let Some(wrong) = received[..length].iter().zip(&expected).position(|(one, other)| one != other) {
                anyhow::bail!("byte {} differs", position + wrong as u64);
            }
            position += length as u64;
        }
        ensure!(position == bulk.length, "{position} bytes came instead of {}", bulk.length);
        Ok(())
    }

    /// Uploads bulk data and returns the name of the server that received it intact.
    ///
    /// # Errors
    /// Fails if the connection does, or the checksums differ.
    pub fn upload(&self, server: SocketAddr, bulk: Bulk) -> Result<String> {
        let mut stream = ask(self.connect(server)?, Request::Receive(bulk.length))?;
        let mut sum = Checksum::new();
        send(bulk, &mut Tee { stream: &mut stream, sum: &mut sum }).context("upload")?;
        stream.shutdown(Shutdown::Write)?;
        let answer = one_line(stream)?;
        let (name, seen) = answer.split_once(' ').with_context(|| format!("no checksum in `{answer}`"))?;
        ensure!(seen == sum.to_string(), "{name} received {seen} instead of {sum}");
        Ok(name.to_owned())
    }

    /// Sends one datagram from a new port and returns who answered; the answer must carry the same payload.
    ///
    /// # Errors
    /// Fails if no answer comes from that very address, or it carries something else.
    pub fn datagram(&self, server: SocketAddr, payload: &[u8]) -> Result<Answer> {
        let socket = self.udp(server)?;
        socket.send(payload).with_context(|| format!("send to {server}"))?;
        let mut reply = vec![0; CHUNK];
        let length = uninterrupted(|| socket.recv(&mut reply)).with_context(|| format!("receive from {server}"))?;
        let reply = &reply[..length];
        let mut words = reply.splitn(3, |&byte| byte == b' ');
        let answer = [words.next(), words.next()].map(|word| String::from_utf8_lossy(word.unwrap_or_default()));
        ensure!(words.next() == Some(payload), "{} bytes came back as `{}`", payload.len(), reply.escape_ascii());
        parse_answer(&answer.join(" "))
    }

    /// Opens a UDP socket that exchanges datagrams with one server.
    ///
    /// # Errors
    /// Fails if there is no route.
    pub fn udp(&self, server: SocketAddr) -> Result<UdpSocket> {
        self.entrance.run(|| {
            let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_read_timeout(Some(self.deadline))?;
            socket.connect(server).with_context(|| format!("connect to {server}"))?;
            Ok(socket)
        })
    }

    /// Returns the way into the client's namespace.
    pub(crate) fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Asks as [`Client::who`] does, on a thread that is in the namespace already.
    pub(crate) fn who_from_here(&self, server: SocketAddr) -> Result<Answer> {
        let stream = self.connect_from_here(server)?;
        parse_answer(&one_line(ask(stream, Request::Who)?)?)
    }

    /// Fetches as [`Client::get`] does, on a thread that is in the namespace already.
    pub(crate) fn get_from_here(&self, server: SocketAddr, path: &str) -> Result<Response> {
        HttpConnection::new(self.connect_from_here(server)?)?.get(path)
    }

    fn connect_from_here(&self, server: SocketAddr) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&server, self.deadline).with_context(|| format!("connect to {server}"))?;
        stream.set_read_timeout(Some(self.deadline))?;
        stream.set_write_timeout(Some(self.deadline))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Writes to a stream and sums up what it took.
struct Tee<'a> {
    stream: &'a mut TcpStream,
    sum: &'a mut Checksum,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.sum.add(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// Sends a request, in one piece so that it costs one packet.
fn ask(mut stream: TcpStream, request: Request) -> Result<TcpStream> {
    stream.write_all(format!("{request}\n").as_bytes()).with_context(|| format!("send `{request}`"))?;
    Ok(stream)
}

fn one_line(stream: TcpStream) -> Result<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("read the answer")?;
    ensure!(line.ends_with('\n'), "the connection ended after `{line}`");
    Ok(line.trim_end().to_owned())
}

fn parse_answer(line: &str) -> Result<Answer> {
    let answer = line.split_once(' ').and_then(|(server, client)| Some((server.to_owned(), client.parse().ok()?)));
    let (server, client) = answer.with_context(|| format!("not an answer: `{line}`"))?;
    Ok(Answer { server, client })
}

const CHUNK: usize = 64 * 1024;
