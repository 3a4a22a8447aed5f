//! Log lines: the same as HAProxy's for the same exchanges, and never in the way of traffic.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, unused_address};

/// Addresses of one proxy: with a good server, with dead ones, without any, and in mode `tcp`.
#[derive(Clone, Copy)]
pub(crate) struct Doors {
    pub(crate) web: SocketAddr,
    dead: SocketAddr,
    empty: SocketAddr,
    tcp: SocketAddr,
    /// Where it shows its statistics.
    pub(crate) stats: SocketAddr,
}

impl Doors {
    pub(crate) fn new() -> Self {
        let [web, dead, empty, tcp, stats] = std::array::from_fn(|_| unused_address());
        Self { web, dead, empty, tcp, stats }
    }
}

/// What a client does: says something, and perhaps that this was all.
struct Case {
    name: &'static str,
    door: fn(&Doors) -> SocketAddr,
    says: &'static str,
    then: Then,
}

#[derive(PartialEq, Eq)]
enum Then {
    Listens,
    Ends,
}

const CASES: [Case; 14] = [
    case("plain", |doors| doors.web, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("upload", |doors| doors.web, "POST /p HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345", Then::Listens),
    case("quote", |doors| doors.web, "GET /\"q\" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("bad request", |doors| doors.web, "GET / / HTTP/1.1\r\n\r\n", Then::Listens),
    case("half a request", |doors| doors.web, "GET / HTT", Then::Ends),
    case("slow request", |doors| doors.web, "GET / HTT", Then::Listens),
    case("no request", |doors| doors.web, "", Then::Ends),
    case("reset", |doors| doors.web, "GET /reset HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("bad response", |doors| doors.web, "GET /garbage HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("half a response", |doors| doors.web, "GET /short HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("slow response", |doors| doors.web, "GET /hang HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("dead servers", |doors| doors.dead, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("no servers", |doors| doors.empty, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Then::Listens),
    case("tcp", |doors| doors.tcp, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n", Then::Ends),
];

const fn case(name: &'static str, door: fn(&Doors) -> SocketAddr, says: &'static str, then: Then) -> Case {
    Case { name, door, says, then }
}

impl Case {
    fn play(&self, doors: &Doors) {
        let mut client = connect((self.door)(doors));
        client.write_all(self.says.as_bytes()).unwrap();
        if self.then == Then::Ends {
            client.shutdown(Shutdown::Write).unwrap();
        }
        // A reset is an end, too.
        let _ = client.read_to_end(&mut Vec::new());
    }
}

/// A server that fails in the way the path says.
pub(crate) fn moody() -> Server {
    Server::start(|mut stream| {
        while let Some((path, length)) = read_request(&mut stream) {
            let mut body = vec![0; length];
            let answer: &[u8] = match path.as_str() {
                _ if stream.read_exact(&mut body).is_err() => return,
                "/reset" => return,
                "/garbage" => b"nonsense\r\n\r\n",
                "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
                // Until the other side has had enough.
                "/hang" => return drop(stream.read(&mut [0])),
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            };
            if stream.write_all(answer).is_err() || answer.ends_with(b"abc") || answer.starts_with(b"nonsense") {
                return;
            }
        }
    })
}

/// Reads the head of a request and returns its path and the length of its body.
fn read_request(stream: &mut TcpStream) -> Option<(String, usize)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some((head.split(' ').nth(1)?.to_owned(), length.unwrap_or(0)))
}

pub(crate) fn our_config(doors: &Doors, server: SocketAddr, log: SocketAddr) -> String {
    let mut config = format!(
        "[global]\nlog = \"{log} local0\"\nmetrics = \"{}\"\nnbthread = 2\n[defaults]\nmode = \"http\"\noption = [\"httplog\"]\nretries = 1\n\
         timeout = {{ connect = \"2s\", client = \"30s\", server = \"1s\", http-request = \"1s\" }}\n",
        doors.stats
    );
    for (name, address, backend) in [("web", doors.web, "app"), ("dead", doors.dead, "gone"), ("none", doors.empty, "empty")] {
        write!(config, "[frontend.{name}]\nbind = \"{address}\"\ndefault-backend = \"{backend}\"\n").unwrap();
    }
    let tcp = doors.tcp;
    let nobody = unused_address();
    config
        + &format!(
            "[frontend.raw]\nmode = \"tcp\"\noption = [\"tcplog\"]\nbind = \"{tcp}\"\ndefault-backend = \"raw\"\n\
             [backend.app]\nserver = {{ s1 = \"{server}\" }}\n[backend.empty]\n\
             [backend.gone]\noption = [\"redispatch\"]\nserver = {{ d1 = \"{nobody}\", d2 = \"{nobody}\" }}\n\
             [backend.raw]\nmode = \"tcp\"\nserver = {{ s1 = \"{server}\" }}\n"
        )
}

pub(crate) fn their_config(doors: &Doors, server: SocketAddr, log: SocketAddr) -> String {
    let Doors { web, dead, empty, tcp, stats } = doors;
    let nobody = unused_address();
    format!(
        "global\n log {log} local0\n nbthread 2\ndefaults\n log global\n mode http\n option httplog\n retries 1\n timeout connect 2s\n \
         timeout client 30s\n timeout server 1s\n timeout http-request 1s\n\
         frontend web\n bind {web}\n default_backend app\nfrontend dead\n bind {dead}\n default_backend gone\n\
         frontend none\n bind {empty}\n default_backend empty\n\
         frontend raw\n mode tcp\n option tcplog\n bind {tcp}\n default_backend raw\n\
         frontend stats\n no log\n bind {stats}\n stats enable\n stats uri /stats\n \
         http-request use-service prometheus-exporter if {{ path /metrics }}\n\
         backend app\n server s1 {server}\nbackend empty\n\
         backend gone\n option redispatch\n server d1 {nobody}\n server d2 {nobody}\n\
         backend raw\n mode tcp\n server s1 {server}\n"
    )
}

pub(crate) fn receiver() -> UdpSocket {
    let log = UdpSocket::bind("127.0.0.1:0").unwrap();
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    log
}

/// Receives a line that is about a connection; at start HAProxy says other things, too.
fn receive(log: &UdpSocket) -> String {
    loop {
        let mut packet = [0; 2000];
        let count = log.recv(&mut packet).unwrap();
        let text = String::from_utf8_lossy(&packet[..count]).into_owned();
        let line = text.split_once("]: ").unwrap().1.trim_end();
        if line.starts_with("127.") {
            return line.to_owned();
        }
    }
}

/// What must be the same: all but who, when, how long, and how many bytes the head of a response has.
fn essence(line: &str) -> Vec<String> {
    let mut words = line.splitn(6, ' ').skip(2);
    let mut kept: Vec<String> = (0..2).map(|_| words.next().unwrap().to_owned()).collect();
    let times = words.next().unwrap().split('/').map(|time| if time.starts_with('-') { time } else { "n" }.to_owned());
    kept.extend(times);
    for (place, word) in words.next().unwrap().splitn(if line.ends_with('"') { 8 } else { 4 }, ' ').enumerate() {
        let is_http = line.ends_with('"');
        match (is_http, place) {
            (true, 1) => {}
            (true, 5) | (false, 2) => kept.extend(word.split('/').enumerate().map(|(place, count)| {
                // Whether the connection before has gone already is a matter of luck.
                if place < 2 { (count != "0").to_string() } else { count.to_owned() }
            })),
            _ => kept.push(word.to_owned()),
        }
    }
    kept
}

#[test]
fn lines_are_those_of_haproxy() {
    let haproxy = Haproxy::find();
    let server = moody();
    let (ours, theirs) = (Doors::new(), Doors::new());
    let (our_log, their_log) = (receiver(), receiver());
    let _daemon = Daemon::start(&our_config(&ours, server.address(), our_log.local_addr().unwrap()));
    let _process = haproxy.start(&their_config(&theirs, server.address(), their_log.local_addr().unwrap()), theirs.stats);
    for case in &CASES {
        case.play(&ours);
        case.play(&theirs);
        let (our_line, their_line) = (receive(&our_log), receive(&their_log));
        assert_eq!(essence(&our_line), essence(&their_line), "{}:\n{our_line}\n{their_line}", case.name);
    }
}

#[test]
fn times_begin_with_the_first_byte() {
    let server = moody();
    let doors = Doors::new();
    let log = receiver();
    let _daemon = Daemon::start(&our_config(&doors, server.address(), log.local_addr().unwrap()));
    let mut client = connect(doors.web);
    thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let line = receive(&log);
    let total: u128 = line.split(' ').nth(4).unwrap().rsplit('/').next().unwrap().parse().unwrap();
    assert!(total <= began.elapsed().as_millis(), "{line}");
}

#[test]
fn dates_are_those_of_the_time_zone() {
    let zone = "XYZ-5:30";
    let server = moody();
    let doors = Doors::new();
    let log = receiver();
    let _daemon = Daemon::start_with(&our_config(&doors, server.address(), log.local_addr().unwrap()), &[("TZ", zone)]);
    let date = || {
        let output = Command::new("date").arg("+%d/%b/%Y:%H:%M:%S").env("TZ", zone).env("LC_ALL", "C").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let before = date();
    CASES[0].play(&doors);
    let line = receive(&log);
    let seen = line.split_once('[').unwrap().1.split_once('.').unwrap().0.to_owned();
    let after = date();
    // Within a month texts compare as dates do.
    assert!(before[..6] != after[..6] || (before <= seen && seen <= after), "{before} <= {seen} <= {after}");
}

#[test]
fn reader_that_does_not_read_holds_up_nobody() {
    let server = moody();
    let (doors, log) = (Doors::new(), receiver());
    let directory = crate::kit::directory();
    let config = our_config(&doors, server.address(), log.local_addr().unwrap());
    let config = config.replace(&format!("\"{} local0\"", log.local_addr().unwrap()), "\"stdout format raw local0\"");
    std::fs::write(directory.join("site.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
    command.arg("run").arg("-f").arg(directory.join("site.toml")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut daemon = command.spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(doors.web).is_err() {
        assert!(Instant::now() < end, "the daemon does not start");
        thread::sleep(Duration::from_millis(20));
    }
    let path = "x".repeat(900);
    let mut client = connect(doors.web);
    let mut buffer = [0; 4096];
    // Far more than a pipe and the queue hold.
    for _ in 0..6000 {
        client.write_all(format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let count = client.read(&mut buffer).unwrap();
            assert!(count > 0, "closed");
            answer.extend_from_slice(&buffer[..count]);
        }
    }
    let metrics = crate::stats::get(doors.stats, "/metrics");
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("haproxy_process_dropped_logs_total ")).unwrap();
    assert!(dropped.parse::<u64>().unwrap() > 0, "{dropped}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let _ = std::fs::remove_dir_all(directory);
}
