//! Who ended an exchange, and in which phase: the letters of `%tsc`, beside HAProxy's, for each pair that clients, servers and commands
//! bring about.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, unused_address};
use crate::runtime::ask;

use Then::{Ends, Listens, Stalls};

/// A frontend for each way to fail: its name, which backend it has, and what rules.
const FRONTENDS: [(&str, &str, &str); 12] = [
    ("web", "app", "http-request deny if { path /deny }\n http-request redirect location / if { path /redirect }"),
    ("dead", "dead", ""),
    ("none", "none", ""),
    ("full", "full", ""),
    ("tarpit", "app", "http-request tarpit"),
    ("body", "app", "http-request wait-for-body time 300ms"),
    ("answer", "app", "http-response deny"),
    ("slow", "slow", ""),
    ("queue", "queue", ""),
    ("sticky", "sticky", ""),
    ("raw", "raw", "mode tcp"),
    ("rawdead", "rawdead", "mode tcp"),
];

/// What the client does once it has said its part.
#[derive(Clone, Copy)]
enum Then {
    /// It listens until the end.
    Listens,
    /// It says that this was all, and listens.
    Ends,
    /// It takes nothing.
    Stalls,
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

const fn get(path: &'static str, letters: &'static str) -> (&'static str, &'static str, &'static str, Then) {
    (letters, "web", path, Listens)
}

/// The letters, the frontend, and what the client says: a path, or everything.
const CASES: [(&str, &str, &str, Then); 25] = [
    get("/", "----"),
    get("/redirect", "LR--"),
    get("/deny", "PR--"),
    ("PR--", "web", "GET / / HTTP/1.1\r\n\r\n", Listens),
    ("PT--", "tarpit", GET, Listens),
    ("CR--", "web", "GET / HTT", Ends),
    ("cR--", "web", "GET / HTT", Listens),
    ("cR--", "body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", Listens),
    ("SC--", "dead", GET, Listens),
    ("SC--", "none", GET, Listens),
    ("sC--", "full", GET, Listens),
    get("/reset", "SH--"),
    get("/hang", "sH--"),
    get("/garbage", "PH--"),
    ("PH--", "answer", GET, Listens),
    get("/short", "SD--"),
    get("/pause", "sD--"),
    ("cD--", "slow", "/endless", Stalls),
    ("--", "raw", GET, Ends),
    ("SC", "rawdead", "x", Listens),
    ("sD", "raw", "/hang", Listens),
    ("--NI", "sticky", GET, Listens),
    ("--VN", "sticky", "GET / HTTP/1.1\r\nHost: h\r\nCookie: C=s1\r\nConnection: close\r\n\r\n", Listens),
    ("--II", "sticky", "GET / HTTP/1.1\r\nHost: h\r\nCookie: C=zz\r\nConnection: close\r\n\r\n", Listens),
    ("--DI", "sticky", "GET / HTTP/1.1\r\nHost: h\r\nCookie: C=s2\r\nConnection: close\r\n\r\n", Listens),
];

/// What commands end: the letters, the frontend, what the client asked for, and the server.
const ENDED: [(&str, &str, &str, &str); 3] =
    [("KH--", "slow", "/hang", "slow/s1"), ("KD--", "slow", "/pause", "slow/s1"), ("K-", "raw", "/hang", "raw/s1")];

fn server() -> Server {
    Server::start(|mut stream| {
        while let Some(path) = path_of(&mut stream) {
            let answer: &[u8] = match path.as_str() {
                "/reset" => return,
                "/garbage" => b"nonsense\r\n\r\n",
                "/short" | "/pause" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
                "/endless" => b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
                "/hang" => b"",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            };
            if stream.write_all(answer).is_err() || matches!(path.as_str(), "/garbage" | "/short") {
                return;
            }
            if path == "/endless" {
                while stream.write_all(&[b'x'; 65536]).is_ok() {}
                return;
            }
            if matches!(path.as_str(), "/hang" | "/pause") {
                // Until the other side has had enough.
                return drop(stream.read(&mut [0]));
            }
        }
    })
}

/// Reads the head of a request and returns its path.
fn path_of(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).split(' ').nth(1)?.to_owned())
}

/// A listener whose queue is full, so that nobody gets a connection any more, and what fills it.
fn full() -> (socket2::Socket, Vec<TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(0).expect("a listener");
    let address = socket.local_addr().expect("an address").as_socket().expect("an address of the internet");
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
    }
    (socket, filling, address)
}

type Doors = [SocketAddr; FRONTENDS.len()];

fn cfg(doors: Doors, socket: &Path, log: SocketAddr, [server, full]: [SocketAddr; 2]) -> String {
    let (nobody, socket) = (unused_address(), socket.display());
    let mut cfg = format!(
        "global\n nbthread 1\n log {log} local0\n stats socket {socket} level admin\ndefaults\n mode http\n log global\n retries 0\n \
         timeout connect 300ms\n timeout client 1s\n timeout server 500ms\n timeout http-request 500ms\n timeout queue 200ms\n \
         timeout tarpit 200ms\n"
    );
    for ((name, backend, rules), door) in FRONTENDS.into_iter().zip(doors) {
        // Without %B HAProxy writes lines before the end.
        let format = if name.starts_with("raw") { "%ts - %B" } else { "%tsc %ST %B" };
        cfg += &format!("frontend {name}\n bind {door}\n {rules}\n log-format \"of %ft {format}\"\n default_backend {backend}\n");
    }
    cfg + &format!(
        "backend app\n server s1 {server}\nbackend dead\n server s1 {nobody}\nbackend none\nbackend full\n server s1 {full}\n\
         backend slow\n timeout server 30s\n server s1 {server}\nbackend queue\n server s1 {server} maxconn 1\n\
         backend sticky\n cookie C insert indirect\n option redispatch\n server s1 {server} cookie s1\n \
         server s2 {nobody} cookie s2 disabled\n\
         backend raw\n mode tcp\n server s1 {server}\nbackend rawdead\n mode tcp\n server s1 {nobody}\n"
    )
}

/// One program under test.
struct Side {
    doors: Doors,
    log: UdpSocket,
    socket: std::path::PathBuf,
}

impl Side {
    fn new(directory: &Path, name: &str) -> Self {
        let log = UdpSocket::bind("127.0.0.1:0").expect("a port");
        log.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self { doors: std::array::from_fn(|_| unused_address()), log, socket: directory.join(name) }
    }

    fn cfg(&self, servers: [SocketAddr; 2]) -> String {
        cfg(self.doors, &self.socket, self.log.local_addr().expect("an address"), servers)
    }

    /// Opens a connection to a frontend and says something: a path stands for a request.
    fn say(&self, door: &str, says: &str) -> TcpStream {
        let place = FRONTENDS.iter().position(|(name, ..)| *name == door).expect("a frontend");
        let mut client = connect(self.doors[place]);
        let request = format!("GET {says} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        client.write_all(if says.starts_with('/') { &request } else { says }.as_bytes()).expect("a client writes");
        client
    }

    /// Returns the next line about an exchange, without the bytes.
    fn line(&self) -> String {
        loop {
            let mut packet = [0; 2000];
            let count = self.log.recv(&mut packet).expect("a line");
            let text = String::from_utf8_lossy(&packet[..count]).into_owned();
            if let Some((_, line)) = text.split_once("]: of ") {
                return line.trim_end().rsplit_once(' ').expect("bytes").0.to_owned();
            }
        }
    }

    fn run(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (_, door, says, then) in CASES {
            let mut client = self.say(door, says);
            if matches!(then, Ends) {
                client.shutdown(Shutdown::Write).expect("an end");
            }
            if !matches!(then, Stalls) {
                // A reset is an end, too.
                let _ = client.read_to_end(&mut Vec::new());
            }
            lines.push(self.line());
        }
        // One has the only slot; the other waits for it in vain.
        let first = self.say("queue", "/hang");
        thread::sleep(SOON);
        let second = self.say("queue", "/");
        lines.extend([self.line(), self.line()]);
        drop((first, second));
        for (_, door, says, server) in ENDED {
            let client = self.say(door, says);
            thread::sleep(SOON);
            ask(&self.socket, &format!("shutdown sessions server {server}\n"));
            lines.push(self.line());
            drop(client);
        }
        lines
    }
}

/// Long enough for a request to be at its server.
const SOON: Duration = Duration::from_millis(100);

#[test]
fn whoever_ends_an_exchange_has_the_letters_of_haproxy() {
    let (server, (_listener, _filling, full), directory) = (server(), full(), directory());
    let [ours, theirs] = ["ours", "theirs"].map(|name| Side::new(&directory, name));
    let servers = [server.address(), full];
    let _daemon = Daemon::start_haproxy(&ours.cfg(servers));
    let _process = Haproxy::find().start(&theirs.cfg(servers), theirs.doors[FRONTENDS.len() - 1]);
    let [ours, theirs] = thread::scope(|scope| {
        let sides = [scope.spawn(|| ours.run()), scope.spawn(|| theirs.run())];
        sides.map(|side| side.join().expect("no panic"))
    });
    let wanted = CASES.iter().map(|(letters, door, says, _)| (*letters, *door, *says));
    let queue = [("sQ--", "queue", "/"), ("sH--", "queue", "/hang")];
    let wanted: Vec<_> = wanted.chain(queue).chain(ENDED.iter().map(|(letters, door, says, _)| (*letters, *door, *says))).collect();
    assert_eq!((ours.len(), theirs.len()), (wanted.len(), wanted.len()));
    for (((letters, door, says), our_line), their_line) in wanted.into_iter().zip(ours).zip(theirs) {
        assert_eq!(our_line, their_line, "{says} at {door}");
        assert!(our_line.starts_with(&format!("{door} {letters} ")), "{says} at {door}: {our_line}, not {letters}");
    }
    let _ = std::fs::remove_dir_all(directory);
}
