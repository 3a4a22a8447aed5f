//! How many clients are let in per second; the same as with haproxy.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, directory, refusal, unused_address};
use crate::runtime;

fn server() -> Server {
    Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    })
}

fn site(front: SocketAddr, server: SocketAddr, global: &str, frontend: &str) -> String {
    format!(
        "global\n nbthread 1\n{global}defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         frontend f\n bind {front}\n{frontend} default_backend b\nbackend b\n server s {server}\n"
    )
}

/// Connects from an address of this host and asks for something.
fn ask(front: SocketAddr, from: [u8; 4]) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::from(from), 0).into())?;
    socket.connect(&front.into())?;
    let mut stream = TcpStream::from(socket);
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    Ok(stream)
}

/// Returns how many of some clients have heard something by the end of `patience`.
fn heard(clients: &mut Vec<TcpStream>, patience: Duration) -> usize {
    let (end, before) = (Instant::now() + patience, clients.len());
    clients.iter().for_each(|client| client.set_nonblocking(true).unwrap());
    while !clients.is_empty() && Instant::now() < end {
        let waits = |client: &mut TcpStream| client.read(&mut [0; 200]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        clients.retain_mut(waits);
        thread::sleep(Duration::from_millis(5));
    }
    before - clients.len()
}

const CLIENT: [u8; 4] = [127, 0, 0, 1];

/// Returns how many of eight clients are served at once; the others must be in the end.
fn at_once(front: SocketAddr) -> usize {
    for _ in 0..6 {
        // Whom a rule refuses does not count as a session.
        // It may be reset while it connects.
        let _ = ask(front, [127, 0, 0, 9]).and_then(|mut client| client.read(&mut [0]));
    }
    let mut clients: Vec<_> = (0..8).map(|_| ask(front, CLIENT).unwrap()).collect();
    let served = heard(&mut clients, Duration::from_millis(250));
    assert_eq!(heard(&mut clients, PATIENCE), 8 - served);
    served
}

#[test]
fn no_more_are_served_at_once_than_with_haproxy() {
    let refusing = " tcp-request connection reject if { src 127.0.0.9 }\n";
    let cases = [
        (String::new(), format!(" rate-limit sessions 5\n{refusing}"), 5),
        (" maxsessrate 5\n".to_owned(), refusing.to_owned(), 5),
        // Here those count who were refused.
        (" maxconnrate 9\n".to_owned(), refusing.to_owned(), 3),
        (" maxconnrate 0\n".to_owned(), " rate-limit sessions 0\n".to_owned(), 8),
    ];
    thread::scope(|scope| {
        for (global, frontend, expected) in &cases {
            scope.spawn(move || {
                let (server, front, beside) = (server(), unused_address(), unused_address());
                let _daemon = Daemon::start_haproxy(&site(front, server.address(), global, frontend));
                let _haproxy = Haproxy::find().start(&site(beside, server.address(), global, frontend), beside);
                assert_eq!((at_once(front), at_once(beside)), (*expected, *expected), "{global}{frontend}");
            });
        }
    });
}

#[test]
fn no_more_begin_tls_at_once_than_with_haproxy() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let both = authority.path("both.pem");
    let parts = [&issued.certificate, &issued.key].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, parts.concat()).unwrap();
    let (server, front, beside) = (server(), unused_address(), unused_address());
    let secure = |front: SocketAddr| {
        let site = site(front, server.address(), " maxsslrate 3\n", " tcp-request connection reject if { src 127.0.0.9 }\n");
        site.replace(&format!("bind {front}"), &format!("bind {front} ssl crt {}", both.display()))
    };
    let _daemon = Daemon::start_haproxy(&secure(front));
    let _haproxy = Haproxy::find().start(&secure(beside), beside);
    for front in [front, beside] {
        // They do not even speak TLS, which is found out as soon as it is their turn.
        for _ in 0..6 {
            // Nor does whom a rule refuses count.
            let _ = ask(front, [127, 0, 0, 9]).and_then(|mut client| client.read(&mut [0]));
        }
        let mut clients: Vec<_> = (0..8).map(|_| ask(front, CLIENT).unwrap()).collect();
        assert_eq!(heard(&mut clients, Duration::from_millis(250)), 3);
        assert_eq!(heard(&mut clients, PATIENCE), 5);
    }
}

/// Returns what is said about limits: of the process, and of the frontend.
fn limits(socket: &Path) -> Vec<String> {
    let info = runtime::ask(socket, "show info typed\n");
    let mut limits: Vec<_> = info.lines().filter(|line| line.contains("RateLimit.")).map(str::to_owned).collect();
    let table = runtime::ask(socket, "show stat f 1 -1\n");
    let mut lines = table.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let place = lines.next().unwrap().iter().position(|column| column == "rate_lim").unwrap();
    limits.push(lines.next().unwrap()[place].clone());
    limits
}

#[test]
fn configured_limits_show_and_change_as_haproxys_do() {
    let (server, front, beside, directory) = (server(), unused_address(), unused_address(), directory());
    let [ours, theirs] = ["ours", "theirs"].map(|name| directory.join(name));
    let global = " maxconnrate 1000\n maxsessrate 900\n maxsslrate 800\n";
    let site = |front, socket: &Path| {
        let global = format!("{global} stats socket {} level admin\n", socket.display());
        site(front, server.address(), &global, " rate-limit sessions 3\n")
    };
    let daemon = Daemon::start_haproxy(&site(front, &ours));
    let _haproxy = Haproxy::find().start(&site(beside, &theirs), beside);
    assert_eq!(limits(&ours), limits(&theirs));
    assert_eq!(limits(&ours)[3], "3");
    for command in ["sessions global 2", "ssl-sessions global 0", "connections global 7", "connections global -1"] {
        let command = format!("set rate-limit {command}\n");
        assert_eq!(runtime::ask(&ours, &command), runtime::ask(&theirs, &command), "{command}");
        assert_eq!(limits(&ours), limits(&theirs), "{command}");
    }
    // HAProxy takes a word that is no number for 0, and with that the limit away.
    let refused = runtime::ask(&ours, "set rate-limit connections global x\n");
    assert_eq!(refused.trim(), "Expects an integer value.");
    assert_eq!(limits(&ours), limits(&theirs));
    for front in [front, beside] {
        let mut clients: Vec<_> = (0..8).map(|_| ask(front, CLIENT).unwrap()).collect();
        assert_eq!(heard(&mut clients, Duration::from_millis(250)), 2);
    }
    // The file counts again once it is read again.
    daemon.reload(&site(front, &ours).replace("sessions 3", "sessions 4"));
    let limits = limits(&ours);
    assert!(limits[1].contains("SessRateLimit.") && limits[1].ends_with(":900"), "{limits:?}");
    assert_eq!(limits[3], "4");
}

#[test]
fn who_waits_when_the_daemon_stops_is_served() {
    let (server, front) = (server(), unused_address());
    let mut daemon = Daemon::start_haproxy(&site(front, server.address(), "", " rate-limit sessions 1\n"));
    let mut clients: Vec<_> = (0..8).map(|_| ask(front, CLIENT).unwrap()).collect();
    assert_eq!(heard(&mut clients, Duration::from_millis(250)), 1);
    daemon.signal("USR1");
    for mut client in clients {
        let mut text = String::new();
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
    assert!(daemon.wait().success());
}

#[test]
fn toml_limits_by_the_same_words() {
    let (server, front) = (server(), unused_address());
    let config = format!(
        "[global]\nmaxconnrate = 100\nmaxsessrate = 100\nmaxsslrate = 100\n\
         [defaults]\nrate-limit = {{ sessions = 1 }}\ntimeout = {{ connect = \"5s\", client = \"20s\", server = \"20s\" }}\n\
         [frontend.f]\nbind = \"{front}\"\nrate-limit = {{ sessions = 5 }}\ndefault-backend = \"b\"\n\
         [backend.b.server]\ns = \"{}\"\n",
        server.address()
    );
    let _daemon = Daemon::start(&config);
    let mut clients: Vec<_> = (0..8).map(|_| ask(front, CLIENT).unwrap()).collect();
    assert_eq!(heard(&mut clients, Duration::from_millis(250)), 5);
    let refusal = refusal(&config.replace("sessions = 5", "session = 5"));
    assert!(refusal.contains(":10:"), "{refusal}");
}
