//! Log lines of others: each comes out as haproxy lets it out, whatever header it had and gets.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, refusal, unused_address};
use crate::log::receiver;

const FORMATS: [&str; 9] = ["", "rfc3164", "rfc5424", "local", "raw", "short", "priority", "iso", "timed"];

/// What comes in, of which haproxy makes the same.
const LINES: [&[u8]; 9] = [
    b"<29>Nov 29 12:16:14 edge1 app[77]: hello\n",
    b"<29>Nov  9 12:16:14 edge1 app: no process",
    b"<28>Nov  9 12:16:14 edge1 no tag at all",
    b"<29>1 2026-11-29T12:16:14.163412+00:00 edge app 77 MID [a@1 b=\"c\"] modern",
    b"<29>1 2026-11-29T12:16:14Z edge - - - - plain",
    b"<29>just text",
    b"no header at all",
    b"<31>Nov 29 12:16:14 edge1 app[77]: too verbose for all but one",
    b"<0>Nov 29 12:16:14 edge1 app[77]: grave",
];

struct Targets(Vec<UdpSocket>);

impl Targets {
    fn new() -> Self {
        Self(FORMATS.iter().map(|_| receiver()).collect())
    }

    /// Returns a section that takes lines on an address, datagrams and connections alike.
    fn section(&self, door: SocketAddr) -> String {
        let target = |(format, socket): (&&str, &UdpSocket)| {
            let address = socket.local_addr().expect("a socket has an address");
            let format = if format.is_empty() { String::new() } else { format!("format {format} ") };
            let least = if format.contains("raw") { "" } else { " notice" };
            format!(" log {address} {format}local3{least}\n")
        };
        let targets: String = FORMATS.iter().zip(&self.0).map(target).collect();
        format!("log-forward lines\n dgram-bind {door}\n bind {door}\n maxconn 5\n timeout client 5s\n backlog 16\n{targets}")
    }

    /// Returns the next line of each target, the dates of now left out; `raw` is who hears everything.
    fn next(&self) -> Vec<String> {
        let hear = |socket: &UdpSocket, patience: Duration| {
            let mut bytes = [0; 2048];
            socket.set_read_timeout(Some(patience)).expect("a socket can wait");
            socket.recv(&mut bytes).map_or_else(|_| "nothing".to_owned(), |count| String::from_utf8_lossy(&bytes[..count]).into_owned())
        };
        // Whoever hears everything hears it before the last of them does.
        let last = hear(&self.0[4], PATIENCE);
        let all = self.0.iter().enumerate().map(|(place, socket)| if place == 4 { last.clone() } else { hear(socket, HUSH) });
        all.map(|line| undated(&line)).collect()
    }
}

/// Leaves out a date of today, which is made when there was none.
fn undated(line: &str) -> String {
    let is_date = |word: &str| word.len() == 32 && word.as_bytes()[10] == b'T' && !word.contains("163412");
    let words: Vec<&str> =
        line.split(' ').map(|word| if is_date(word.rsplit('>').next().unwrap_or_default()) { "DATE" } else { word }).collect();
    let has_clock = |word: &&str| word.len() == 8 && word.bytes().filter(|byte| *byte == b':').count() == 2 && *word != "12:16:14";
    words.iter().map(|word| if has_clock(word) { "CLOCK" } else { word }).collect::<Vec<_>>().join(" ")
}

const HUSH: Duration = Duration::from_millis(300);

/// Sends a line until it comes out for the first time: datagrams are lost before somebody listens.
fn wake(door: SocketAddr, targets: &Targets) {
    let end = Instant::now() + PATIENCE;
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    targets.0[4].set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    loop {
        // Until somebody listens the network says that nobody does.
        let _ = client.send_to(b"<31>Nov 29 12:16:14 edge1 app: awake?", door);
        if targets.0[4].recv(&mut [0; 2048]).is_ok() {
            break;
        }
        assert!(Instant::now() < end, "nobody takes lines");
    }
    while targets.0[4].recv(&mut [0; 2048]).is_ok() {}
}

#[test]
fn lines_of_others_come_out_as_from_haproxy() {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let play = |door: SocketAddr, targets: &Targets| -> Vec<Vec<String>> {
        wake(door, targets);
        let mut heard = Vec::new();
        for line in LINES {
            client.send_to(line, door).unwrap();
            heard.push(targets.next());
        }
        let mut stream = TcpStream::connect(door).unwrap();
        stream.write_all(b"43 <29>Nov 29 12:16:14 edge1 app[77]: counted ").unwrap();
        heard.push(targets.next());
        stream.write_all(b"<29>Nov 29 12:16:14 edge1 app[77]: one").unwrap();
        stream.write_all(b" line\n").unwrap();
        heard.push(targets.next());
        heard
    };
    let (ours, theirs) = (Targets::new(), Targets::new());
    let (our_door, their_door) = (unused_address(), unused_address());
    let idle = "global\n nbthread 1\n";
    let daemon = Daemon::start_haproxy(&format!("{idle}{}", ours.section(our_door)));
    let our_lines = play(our_door, &ours);
    drop(daemon);
    let haproxy = Haproxy::find();
    let _process = haproxy.start(&format!("{idle}{}", theirs.section(their_door)), their_door);
    let their_lines = play(their_door, &theirs);
    let differing: Vec<_> = our_lines.iter().zip(&their_lines).filter(|(ours, theirs)| ours != theirs).collect();
    assert!(differing.is_empty() && our_lines.len() == LINES.len() + 2, "{differing:#?}");
}

#[test]
fn a_reload_leaves_connections_and_changes_where_lines_go() {
    let (door, first, second) = (unused_address(), receiver(), receiver());
    let [one, other] = [&first, &second].map(|socket| socket.local_addr().unwrap());
    let config = |target: SocketAddr| {
        format!("[global]\nnbthread = 1\n[log-forward.lines]\nbind = \"{door}\"\nlog = [\"{target} format raw local0\"]\nmaxconn = 1\n")
    };
    let daemon = Daemon::start(&config(one));
    let hear = |socket: &UdpSocket| {
        let mut bytes = [0; 2048];
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let count = socket.recv(&mut bytes).expect("a line");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut stream = TcpStream::connect(door).unwrap();
    stream.write_all(b"<29>Nov 29 12:16:14 h app: before\n").unwrap();
    assert_eq!(hear(&first), "before\n");
    daemon.reload(&config(other));
    stream.write_all(b"<29>Nov 29 12:16:14 h app: after\n").unwrap();
    assert_eq!(hear(&second), "after\n");
    // There is room for one connection; the next is served when it has ended.
    let mut next = TcpStream::connect(door).unwrap();
    next.write_all(b"<29>Nov 29 12:16:14 h app: next\n").unwrap();
    second.set_read_timeout(Some(HUSH)).unwrap();
    assert!(second.recv(&mut [0; 2048]).is_err(), "not yet");
    drop(stream);
    assert_eq!(hear(&second), "next\n");
    let said = refusal("[log-forward.x]\nbind = \"nowhere\"\nlog = \"ring@none local0\"\n");
    assert!(said.contains("`nowhere` is not an address and port"), "{said}");
}
