//! Clients that leave before they have their answer, with `option abortonclose` and without; the same as with haproxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::kit::{self, Daemon, Haproxy, PATIENCE, Server, connect, unused_address};
use crate::log::receiver;

/// How a client leaves.
#[derive(Clone, Copy)]
enum Leave {
    /// It sends no more, but would still read.
    Half,
    Whole,
    Reset,
}

/// A server that answers only when told to, and tells when a request is there.
fn slow() -> (Server, Receiver<TcpStream>) {
    let (here, asked): (Sender<TcpStream>, _) = channel();
    let server = Server::start(move |mut stream| {
        let mut head = [0; 1000];
        if stream.read(&mut head).is_ok_and(|count| count > 0) {
            let _ = here.send(stream);
        }
    });
    (server, asked)
}

/// A listener whose queue is full, so that nobody gets a connection any more, and what fills it.
fn full() -> (socket2::Socket, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
    }
    (socket, filling)
}

fn leave(client: TcpStream, how: Leave) -> Option<TcpStream> {
    match how {
        Leave::Half => client.shutdown(std::net::Shutdown::Write).unwrap(),
        Leave::Whole => return None,
        Leave::Reset => {
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            return None;
        }
    }
    Some(client)
}

/// Where clients come in: to the slow server, to the full one, and to the one with a queue.
type Doors = [SocketAddr; 3];

fn site(doors: Doors, mode: &str, option: &str, log: SocketAddr, (slow, full): (SocketAddr, SocketAddr)) -> String {
    let status = if mode == "http" { "%ST" } else { "-" };
    let mut site = format!(
        "global\n nbthread 1\n log {log} local0\ndefaults\n mode {mode}\n log global\n retries 0\n {option}\n timeout connect 500ms\n\
         timeout client 20s\n timeout server 20s\n timeout queue 20s\n log-format \"of %b/%s %ts {status}\"\n"
    );
    for ((name, front), server) in ["slow", "full", "queue"].iter().zip(doors).zip([slow, full, slow]) {
        let most = if *name == "queue" { "maxconn 1" } else { "" };
        site += &format!("frontend f-{name}\n bind {front}\n default_backend {name}\nbackend {name}\n server s {server} {most}\n");
    }
    site
}

/// What one program is tried with.
struct Bench {
    doors: Doors,
    log: UdpSocket,
    asked: Receiver<TcpStream>,
    seen: Vec<String>,
}

impl Bench {
    fn ask(&self, door: usize) -> TcpStream {
        let mut client = connect(self.doors[door]);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client
    }

    fn server(&self) -> TcpStream {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    /// Returns the next line, if it comes in time.
    fn line(&self, patience: Duration) -> Option<String> {
        self.log.set_read_timeout(Some(patience)).unwrap();
        loop {
            let mut packet = [0; 2000];
            let count = self.log.recv(&mut packet).ok()?;
            let text = String::from_utf8_lossy(&packet[..count]).into_owned();
            if let Some((_, line)) = text.split_once("]: of ") {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    /// Notes what a client still hears, and the lines that are written.
    fn note(&mut self, what: &str, client: Option<TcpStream>, lines: usize) {
        let heard = client.map(|mut client| kit::answer(&mut client)).unwrap_or_default();
        let mut lines: Vec<_> = (0..lines).map(|_| self.line(PATIENCE).expect("a line")).collect();
        lines.sort();
        self.seen.push(format!("{what}: {:?} {lines:?}", heard.split(' ').nth(1).unwrap_or_default()));
    }

    fn run(mut self) -> Vec<String> {
        for (name, how) in [("half", Leave::Half), ("whole", Leave::Whole), ("reset", Leave::Reset)] {
            let client = self.ask(0);
            let mut server = self.server();
            let client = leave(client, how);
            let is_told = ends_soon(&mut server);
            self.seen.push(format!("{name} waiting: server is told: {is_told}"));
            answer(server);
            self.note("waiting", client, 1);

            let client = self.ask(1);
            thread::sleep(SOON);
            let client = leave(client, how);
            self.note("connecting", client, 1);

            let (mut first, served) = (self.ask(2), self.server());
            let client = self.ask(2);
            thread::sleep(SOON);
            let client = leave(client, how);
            let early = self.line(SOON);
            let is_early = early.is_some();
            self.seen.push(format!("queued: {early:?}"));
            answer(served);
            kit::answer(&mut first);
            // In mode tcp its line is written once both ends have closed.
            drop(first);
            if !is_early {
                answer(self.server());
            }
            self.note("queued", client, if is_early { 1 } else { 2 });
        }
        self.seen
    }
}

fn answer(mut server: TcpStream) {
    let _ = server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Tells whether a connection ends soon; a reset is an end, too.
fn ends_soon(server: &mut TcpStream) -> bool {
    server.set_read_timeout(Some(SOON)).unwrap();
    let mut byte = [0];
    !server.read(&mut byte).is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
}

/// Long enough for anything that happens at once.
const SOON: Duration = Duration::from_millis(150);

#[test]
fn leaving_means_what_it_means_to_haproxy() {
    let (full, _filling) = full();
    let full = full.local_addr().unwrap().as_socket().unwrap();
    let compared = |mode: &'static str, option: &'static str| {
        let run = |is_ours: bool| {
            let (server, asked) = slow();
            let doors = [unused_address(), unused_address(), unused_address()];
            let log = receiver();
            let config = site(doors, mode, option, log.local_addr().unwrap(), (server.address(), full));
            let (_ours, _theirs);
            if is_ours {
                _ours = Daemon::start_haproxy(&config);
            } else {
                _theirs = Haproxy::find().start(&config, doors[2]);
            }
            Bench { doors, log, asked, seen: Vec::new() }.run()
        };
        let [ours, theirs] =
            thread::scope(|scope| [true, false].map(|is_ours| scope.spawn(move || run(is_ours))).map(|run| run.join().unwrap()));
        assert_eq!(ours, theirs, "{mode} {option}");
        ours
    };
    let aborted = compared("http", "option abortonclose");
    assert_ne!(aborted, compared("http", "no option abortonclose"));
    compared("tcp", "option abortonclose");
}
