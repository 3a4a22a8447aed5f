//! What is asked of the sockets of clients and servers: the kernel is asked what it was told, and haproxy's sockets beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use rustix::net::{getpeername, getsockname, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::kit::{Daemon, Haproxy, Server, answer, connect, unused_address};

/// What the kernel was told of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    /// How long what was sent may go unacknowledged, in milliseconds.
    patience: u32,
    /// How often a silent peer is asked, after how long, and in which interval; none where it is not.
    probes: Option<(u32, u64, u64)>,
}

impl Told {
    fn of(socket: &OwnedFd) -> Self {
        let is_asked = sockopt::socket_keepalive(socket).expect("it is a socket");
        let seconds = |time: std::time::Duration| time.as_secs();
        let probes = is_asked.then(|| {
            let times = [sockopt::tcp_keepidle(socket), sockopt::tcp_keepintvl(socket)].map(|time| seconds(time.expect("of TCP")));
            (sockopt::tcp_keepcnt(socket).expect("of TCP"), times[0], times[1])
        });
        Self { patience: sockopt::tcp_user_timeout(socket).expect("it is of TCP"), probes }
    }
}

/// Returns copies of the sockets of a process.
fn sockets(pid: u32) -> Vec<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(pid.cast_signed()).expect("a process"), PidfdFlags::empty()).expect("it runs");
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
    let numbers = entries.filter_map(|entry| {
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        entry.file_name().to_str().filter(|_| is_socket)?.parse().ok()
    });
    numbers.filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()).collect()
}

/// Returns an option of TCP that is a number.
fn number(socket: &OwnedFd, option: libc::c_int) -> libc::c_int {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).expect("a few bytes");
    let (descriptor, level) = (socket.as_raw_fd(), libc::IPPROTO_TCP);
    // SAFETY: the system writes at most `length` bytes, which is the size of `value`; the descriptor is open as long as it is borrowed.
    let outcome = unsafe { libc::getsockopt(descriptor, level, option, (&raw mut value).cast(), &raw mut length) };
    assert_eq!(outcome, 0, "the option is known");
    value
}

/// What is asked of listening sockets: whether first bytes may come early, whether they are waited for, the longest segment, and how long
/// what was sent may go unacknowledged.
type Listening = Vec<(bool, bool, i32, u32)>;

/// Returns what is asked of the listening sockets on an address.
fn listening(sockets: &[OwnedFd], address: SocketAddr) -> Listening {
    let here = |socket: &&OwnedFd| {
        sockopt::socket_acceptconn(socket).unwrap_or(false) && getsockname(socket).ok().and_then(|own| own.try_into().ok()) == Some(address)
    };
    let told = |socket: &OwnedFd| {
        let numbers = [libc::TCP_FASTOPEN, libc::TCP_DEFER_ACCEPT, libc::TCP_MAXSEG].map(|option| number(socket, option));
        (numbers[0] > 0, numbers[1] > 0, numbers[2], sockopt::tcp_user_timeout(socket).expect("it is of TCP"))
    };
    let mut all: Vec<_> = sockets.iter().filter(here).map(told).collect();
    all.dedup();
    all
}

/// Returns the socket whose other end this is.
fn other_end(sockets: &[OwnedFd], peer: SocketAddr) -> &OwnedFd {
    let is_it = |socket: &&OwnedFd| getpeername(socket).ok().flatten().and_then(|other| other.try_into().ok()) == Some(peer);
    sockets.iter().find(is_it).expect("the connection is open")
}

fn server() -> Server {
    Server::start(|mut stream: TcpStream| {
        let mut seen = Vec::new();
        let mut room = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut room) {
            seen.extend_from_slice(&room[..count]);
            while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                seen.drain(..end + 4);
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                    return;
                }
            }
        }
    })
}

/// Asks once, and returns what is asked of the listening sockets, the client's connection and the server's.
fn told(pid: u32, front: SocketAddr, server: SocketAddr) -> (Listening, Told, Told, bool) {
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is taken");
    assert!(answer(&mut client).starts_with("HTTP/1.1 200 "));
    let all = sockets(pid);
    let to_server = other_end(&all, server);
    let of_client = Told::of(other_end(&all, client.local_addr().expect("it is connected")));
    (listening(&all, front), of_client, Told::of(to_server), number(to_server, libc::TCP_FASTOPEN_CONNECT) > 0)
}

/// Words of HAProxy's language: those of the bind, the frontend, the server and the backend.
struct Words(&'static str, &'static str, &'static str, &'static str);

fn config(words: &Words, front: SocketAddr, server: SocketAddr) -> String {
    let Words(bind, frontend, target, backend) = words;
    format!(
        "defaults\n mode http\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n clitcpka-intvl 13\n srvtcpka-cnt 6\n\
         frontend f\n bind {front} {bind}\n{frontend}\n default_backend b\n\
         backend b\n retry-on conn-failure empty-response response-timeout\n{backend}\n server s {server} {target}\n"
    )
}

#[test]
fn sockets_are_told_what_haproxy_tells_its_own() {
    let cases = [
        Words("", "", "", ""),
        Words("tcp-ut 7s tfo defer-accept mss 900", "option clitcpka", "tcp-ut 9s tfo", "option srvtcpka"),
        Words("tcp-ut 1500", "option tcpka\n clitcpka-cnt 3\n clitcpka-idle 45", "tcp-ut 0 tfo no-tfo", "option tcpka\n srvtcpka-idle 2m"),
        Words("tcp-ut 0", "clitcpka-cnt 3", "", "srvtcpka-idle 30"),
        Words("", "option clitcpka\n clitcpka-intvl 2m\n clitcpka-cnt 0", "", "option srvtcpka\n srvtcpka-intvl 9"),
        // What only files have, and what means nothing to a frontend.
        Words("mode 600 user root group root uid 0 gid 0 level admin nice -5 id 7", "", "", ""),
    ];
    let mut seen = Vec::new();
    for words in cases {
        let server = server();
        let (front, beside) = (unused_address(), unused_address());
        let ours = Daemon::start_haproxy(&config(&words, front, server.address()));
        let of_ours = told(ours.pid(), front, server.address());
        let theirs = Haproxy::find().start(&config(&words, beside, server.address()), beside);
        let of_theirs = told(theirs.pid(), beside, server.address());
        // Whether first bytes go early is not compared: haproxy's manual says so of servers, and haproxy 2.6 does not do it here.
        let without = |(bind, client, server, _): &(Listening, Told, Told, bool)| (bind.clone(), *client, *server);
        assert_eq!(without(&of_ours), without(&of_theirs), "{} {} {} {}", words.0, words.1, words.2, words.3);
        seen.push(of_ours);
    }
    assert_eq!(seen[1].0, [(true, true, 900, 7000)]);
    let probes = |cnt, idle, intvl| Some((cnt, idle, intvl));
    assert!(matches!(seen[1].1, Told { patience: 7000, probes: Some((_, _, 13)) }), "{:?}", seen[1]);
    assert!(matches!(seen[1].2, Told { patience: 9000, probes: Some((6, _, _)) }) && seen[1].3, "{:?}", seen[1]);
    assert!(!seen[0].3 && !seen[2].3);
    assert_eq!((seen[2].1.probes, seen[3].1.probes), (probes(3, 45, 13), None));
}

#[test]
fn toml_says_of_sockets_what_haproxys_language_does() {
    let server = server();
    let front = unused_address();
    let daemon = Daemon::start(&format!(
        "[frontend.f]\nmode = \"http\"\noption = \"clitcpka\"\nclitcpka-cnt = 5\nclitcpka-idle = \"50s\"\nclitcpka-intvl = \"11s\"\n\
         timeout = {{ client = \"60s\" }}\ndefault-backend = \"b\"\n\
         bind = {{ address = \"{front}\", tfo = true, defer-accept = true, tcp-ut = \"7s\", mss = 900 }}\n\
         [backend.b]\nmode = \"http\"\noption = \"srvtcpka\"\nsrvtcpka-cnt = 4\nsrvtcpka-idle = \"40s\"\nsrvtcpka-intvl = \"12s\"\n\
         timeout = {{ connect = \"20s\", server = \"60s\" }}\nserver = {{ s = {{ address = \"{}\", tfo = true, tcp-ut = \"9s\" }} }}\n",
        server.address()
    ));
    let (client, to_server) = (Told { patience: 7000, probes: Some((5, 50, 11)) }, Told { patience: 9000, probes: Some((4, 40, 12)) });
    assert_eq!(told(daemon.pid(), front, server.address()), (vec![(true, true, 900, 7000)], client, to_server, true));
}

#[test]
fn servers_that_speak_first_are_not_waited_for_with_first_bytes() {
    let server = Server::echo("s1");
    let front = unused_address();
    let words = Words("", "mode tcp", "tfo", "mode tcp");
    let _daemon = Daemon::start_haproxy(&config(&words, front, server.address()));
    for _ in 0..2 {
        assert_eq!(crate::kit::read(&mut connect(front), 2), "s1");
    }
}
