//! Opened targets: what stands before a line, and the way it leaves.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Logs;
use super::connection::{Connection, RETRY};
use super::message::Message;
use super::ring::{Ring, Rings};
use super::spool::{Ending, Intake, drop_lines};
use super::target::{Header, Place, Target};
use crate::date;
use crate::level::Level;

/// A target that takes lines.
#[derive(Debug)]
pub(crate) struct Output {
    number: u64,
    target: Target,
    way: Way,
    /// Lines that were sampled so far.
    sampled: AtomicU32,
}

#[derive(Debug)]
enum Way {
    Stdout,
    Stderr,
    Udp(UdpSocket),
    Unix(UnixDatagram),
    Tcp(Intake),
    Ring(Arc<Ring>),
}

/// Who headers say the lines are from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sender {
    number: u64,
    /// The name of the program.
    tag: String,
    /// The name of this host, if headers are to show it.
    host: Option<String>,
}

/// One line, for every target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// How much it matters.
    pub(super) level: Level,
    /// As its format prints it.
    pub(super) text: &'a [u8],
    /// The structured data of RFC 5424; empty if there is none.
    pub(super) structured: &'a [u8],
}

/// A header that holds for a second, and what it is the header of.
struct Opening {
    numbers: [u64; 2],
    level: Level,
    second: u64,
    text: Vec<u8>,
}

thread_local! {
    /// The last headers, each in the place that the numbers of its sender and its target give it.
    static OPENINGS: RefCell<[Option<Opening>; 16]> = const { RefCell::new([const { None }; 16]) };
}

/// Tells senders and outputs apart, those of configurations that are gone included.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

static STREAMS: [OnceLock<Option<Intake>>; 2] = [const { OnceLock::new() }; 2];

/// Waits until the lines handed over are written, unless that takes too long.
pub(crate) fn flush(logs: &Logs) {
    let end = Instant::now() + PARTING;
    logs.outputs().for_each(|output| output.flush(end));
    STREAMS.iter().filter_map(|stream| stream.get()?.as_ref()).for_each(|stream| stream.flush(end));
}

impl Sender {
    /// Makes lines come from a program of this name, and this host if headers are to show it.
    pub(super) fn new(tag: &str, host: Option<String>) -> Self {
        Self { number: NUMBERS.fetch_add(1, Relaxed), tag: tag.to_owned(), host }
    }
}

impl Output {
    /// Opens a target.
    ///
    /// # Errors
    /// Fails if the system has no socket or thread for it, or if there is no such ring.
    pub(super) fn open(mut target: Target, rings: &Rings) -> io::Result<Self> {
        let way = match &target.place {
            Place::Stdout => Way::Stdout,
            Place::Stderr => Way::Stderr,
            Place::Udp(address) => {
                let any: SocketAddr = if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Way::Udp(socket)
            }
            Place::Unix(_) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Way::Unix(socket)
            }
            Place::Tcp(address) => {
                let mut connection = Connection::new(*address, [PATIENCE; 2]);
                Way::Tcp(Intake::start(move |bytes, ending| persist(&mut connection, bytes, ending))?)
            }
            Place::Ring(name) => {
                let ring = rings.get(name).ok_or(io::ErrorKind::NotFound)?;
                ring.suit(&mut target);
                Way::Ring(ring)
            }
        };
        Ok(Self { number: NUMBERS.fetch_add(1, Relaxed), target, way, sampled: AtomicU32::new(0) })
    }

    /// Hands over a line; one that the target cannot take at once is lost, because no client should wait for a log.
    pub(super) fn write(&self, line: Line<'_>, sender: &Sender, packet: &mut Vec<u8>) {
        if line.level > self.target.least || !self.is_sampled() {
            return;
        }
        packet.clear();
        self.header(line, sender, packet);
        packet.extend_from_slice(line.text);
        packet.truncate(self.target.longest);
        packet.push(b'\n');
        self.send(packet);
    }

    /// Hands over a line of somebody else's log.
    pub(super) fn pass_on(&self, message: &Message<'_>, packet: &mut Vec<u8>) {
        if message.level() > self.target.least || !self.is_sampled() {
            return;
        }
        packet.clear();
        message.write(&self.target, packet);
        packet.push(b'\n');
        self.send(packet);
    }

    /// Returns the profile of its lines, by name.
    pub(super) fn profile(&self) -> Option<&str> {
        self.target.profile()
    }

    /// Waits until what was handed over has left, or until `end`.
    pub(super) fn flush(&self, end: Instant) {
        match &self.way {
            Way::Tcp(intake) => intake.flush(end),
            Way::Ring(ring) => ring.flush(end),
            Way::Stdout | Way::Stderr | Way::Udp(_) | Way::Unix(_) => {}
        }
    }

    fn is_sampled(&self) -> bool {
        self.target.sample.as_ref().is_none_or(|sample| {
            // Whether a line more or less is taken where the count overflows does not matter.
            sample.takes(self.sampled.fetch_add(1, Relaxed))
        })
    }

    fn header(&self, line: Line<'_>, sender: &Sender, out: &mut Vec<u8>) {
        let (level, now) = (line.level.max(self.target.gravest), SystemTime::now());
        let priority = self.target.priority(level);
        let host = sender.host.as_deref();
        let written = match self.target.header {
            Header::Local | Header::Usual | Header::Rfc3164 => return self.opening(level, now, sender, out),
            Header::Rfc5424 => {
                let (tag, process) = (&sender.tag, std::process::id());
                let _ = write!(out, "<{priority}>1 {} {} {tag} {process} - ", date::Iso(now), host.unwrap_or("-"));
                out.extend_from_slice(if line.structured.is_empty() { b"-" } else { line.structured });
                out.write_all(b" ")
            }
            Header::Priority => write!(out, "<{priority}>"),
            Header::Short => write!(out, "<{}>", level as u8),
            Header::Timed => write!(out, "<{}>{} ", level as u8, date::Iso(now)),
            Header::Iso => write!(out, "{} ", date::Iso(now)),
            Header::Raw => Ok(()),
        };
        written.expect("a vector takes everything");
    }

    /// Appends a header of RFC 3164, which is the same for all lines of a second.
    fn opening(&self, level: Level, now: SystemTime, sender: &Sender, out: &mut Vec<u8>) {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let numbers = [sender.number, self.number];
        OPENINGS.with_borrow_mut(|openings| {
            let place = &mut openings[usize::try_from((sender.number + self.number) % 16).unwrap_or_default()];
            if !place.as_ref().is_some_and(|last| last.numbers == numbers && last.level == level && last.second == second) {
                let text = self.opening_text(level, now, sender).into_bytes();
                *place = Some(Opening { numbers, level, second, text });
            }
            out.extend_from_slice(place.as_ref().map_or(&[], |opening| &opening.text));
        });
    }

    fn opening_text(&self, level: Level, now: SystemTime, sender: &Sender) -> String {
        let priority = self.target.priority(level);
        let (now, tag, process) = (date::Syslog(now), &sender.tag, std::process::id());
        let host = match (self.target.header, sender.host.as_deref()) {
            (Header::Local, _) | (Header::Usual, None) => String::new(),
            (_, host) => format!("{} ", host.unwrap_or("localhost")),
        };
        format!("<{priority}>{now} {host}{tag}[{process}]: ")
    }

    fn send(&self, packet: &[u8]) {
        let sent = match &self.way {
            Way::Stdout => return stream(0, packet),
            Way::Stderr => return stream(1, packet),
            Way::Tcp(intake) => return intake.push([packet, b"", b""]),
            Way::Ring(ring) => return ring.push(packet.strip_suffix(b"\n").unwrap_or(packet)),
            Way::Udp(socket) => {
                // What an earlier packet met with is told by the next call, which then sends nothing.
                let sent = socket.send(packet);
                sent.or_else(|error| if error.kind() == io::ErrorKind::ConnectionRefused { socket.send(packet) } else { Err(error) })
            }
            Way::Unix(socket) => {
                let Place::Unix(path) = &self.target.place else { unreachable!("a way is that of its place") };
                socket.send_to(packet, path)
            }
        };
        if sent.is_err() {
            drop_lines(1);
        }
    }
}

/// Hands a line to the thread of one of the process's own streams.
fn stream(number: usize, packet: &[u8]) {
    let intake = STREAMS[number].get_or_init(|| Intake::start(move |bytes, _| print(number, bytes)).ok());
    match intake {
        Some(intake) => intake.push([packet, b"", b""]),
        None => drop_lines(1),
    }
}

fn print(number: usize, text: &[u8]) -> io::Result<()> {
    if number == 0 {
        let mut out = io::stdout().lock();
        out.write_all(text)?;
        return out.flush();
    }
    io::stderr().lock().write_all(text)
}

/// Writes lines however long that takes, unless nothing more will come.
fn persist(connection: &mut Connection, bytes: &[u8], ending: &Ending) -> io::Result<()> {
    loop {
        let Err(error) = connection.write(bytes) else { return Ok(()) };
        if ending.is_closed() {
            return Err(error);
        }
        ending.pause(RETRY);
    }
}

/// How long the end of the daemon waits for its last lines.
const PARTING: Duration = Duration::from_secs(2);
/// How long a server of logs may take to answer, or to take lines.
const PATIENCE: Duration = Duration::from_secs(5);
