//! Sessions that are ended from outside, by command or because a server was marked: what clients and logs see, beside Debian's haproxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Instant;

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, unused_address};
use crate::runtime::ask;

/// Answers nothing, only a part, with a change of protocol, or, where no HTTP is spoken, with an echo; and holds the connection.
fn slow() -> Server {
    Server::start(|mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let answer = match text.split(' ').nth(1) {
                Some("/part") => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".to_owned(),
                Some("/upgrade") => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfirst".to_owned(),
                Some("/hang") => String::new(),
                _ => text,
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

const MARKS: &str = "on-marked-down shutdown-sessions on-marked-up shutdown-backup-sessions";

struct Fronts {
    tcp: SocketAddr,
    http: SocketAddr,
}

fn config(fronts: &Fronts, servers: [SocketAddr; 2], log: SocketAddr, socket: &Path) -> String {
    let [own, spare] = servers;
    let pool = |name: &str, mode: &str| {
        format!(
            "backend {name}\n mode {mode}\n default-server {MARKS}\n server s {own}\n server spare {spare} backup\n server other {own} weight 0\n"
        )
    };
    format!(
        "global\n stats socket {} level admin\n log {log} local0\ndefaults\n log global\n timeout connect 5s\n timeout client 30s\n \
         timeout server 30s\nfrontend t\n bind {}\n mode tcp\n log-format \"line %b/%s %B %ts\"\n default_backend tb\nfrontend h\n bind {}\n \
         mode http\n log-format \"line %b/%s %ST %ts %r\"\n default_backend hb\n{}{}",
        socket.display(),
        fronts.tcp,
        fronts.http,
        pool("tb", "tcp"),
        pool("hb", "http"),
    )
}

fn open(front: SocketAddr, says: &str, until: &str) -> TcpStream {
    let mut client = connect(front);
    client.write_all(says.as_bytes()).unwrap();
    let mut heard = String::new();
    while !heard.ends_with(until) {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        heard.push(byte[0].into());
    }
    client
}

/// Waits for the lines of so many sessions.
fn lines(log: &UdpSocket, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let mut buffer = [0; 4096];
        let length = log.recv(&mut buffer).unwrap_or_else(|_| panic!("only {lines:#?}"));
        let text = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
        // In a tunnel haproxy itself says the one or the other.
        let line = |line: &str| if line.contains(" 101 ") { line.replace("D GET", "- GET") } else { line.to_owned() };
        lines.extend(text.split_once("line ").map(|(_, text)| line(text)));
    }
    lines.sort();
    lines
}

/// Ends what is under way in each way there is; returns what the clients and the log saw of it.
fn ends(start: impl FnOnce(&str, SocketAddr) -> Box<dyn std::any::Any>) -> Vec<String> {
    let (directory, servers, log) = (directory(), [slow(), slow()], UdpSocket::bind("127.0.0.1:0").unwrap());
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, fronts) = (directory.join("s"), Fronts { tcp: unused_address(), http: unused_address() });
    let text = config(&fronts, servers.each_ref().map(Server::address), log.local_addr().unwrap(), &socket);
    let process = start(&text, fronts.http);
    let mut seen = Vec::new();
    for commands in [
        &["shutdown session"] as &[&str],
        &["shutdown sessions server tb/s", "shutdown sessions server hb/s"],
        &["set server tb/s health down", "set server hb/s health down"],
        &["set server tb/s health up", "set server hb/s health up"],
        &["set server tb/s state maint", "set server hb/s state maint"],
        &["set server tb/s state ready", "set server hb/s state ready"],
    ] {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let upgrade = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
        let clients = [
            open(fronts.tcp, "hello", "hello"),
            open(fronts.http, &get("/part"), "hello"),
            open(fronts.http, upgrade, "first"),
            open(fronts.http, &get("/hang"), ""),
        ];
        let under_way = under_way(&socket, clients.len());
        for command in commands {
            match *command {
                "shutdown session" => under_way.iter().for_each(|id| drop(ask(&socket, &format!("shutdown session {id}\n")))),
                command => drop(ask(&socket, &format!("{command}\n"))),
            }
        }
        seen.push(commands[0].to_owned());
        let [tcp, part, upgraded, hang] = clients;
        for mut client in [tcp, part, upgraded] {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            seen.push(format!("{:?}", client.read(&mut [0; 9])));
        }
        let mut status = [0; 12];
        (&hang).read_exact(&mut status).unwrap();
        seen.push(String::from_utf8_lossy(&status).into_owned());
        seen.extend(lines(&log, 4));
    }
    drop(process);
    std::fs::remove_dir_all(&directory).unwrap();
    seen
}

/// Waits until so many sessions have a server, and returns their ids.
fn under_way(socket: &Path, count: usize) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let list = ask(socket, "show sess\n");
        let ids: Vec<_> = list.lines().filter(|line| line.contains("be=") && !line.contains("srv=<none>")).collect();
        if ids.len() == count {
            return ids.iter().filter_map(|line| line.split_once(':')).map(|(id, _)| id.to_owned()).collect();
        }
        assert!(Instant::now() < end, "{list}");
    }
}

#[test]
fn sessions_ended_from_outside_are_told_as_haproxy_does() {
    let ours = ends(|config, _| Box::new(Daemon::start_haproxy(config)));
    let theirs = ends(|config, front| Box::new(Haproxy::find().start(config, front)));
    assert_eq!(ours, theirs);
    assert!(ours.iter().any(|line| line.starts_with("hb/spare 200 UD")), "{ours:#?}");
}

#[test]
fn one_who_waits_for_a_server_is_told_when_ended() {
    let (directory, server, log) = (directory(), slow(), UdpSocket::bind("127.0.0.1:0").unwrap());
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, front) = (directory.join("s"), unused_address());
    let _daemon = Daemon::start(&format!(
        "[global]\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\nlog = [\"{} local0\"]\n[frontend.h]\nbind = \"{front}\"\n\
         log-format = \"line %b/%s %ST %ts\"\ndefault-backend = \"b\"\n[backend.b]\ntimeout = {{ queue = \"30s\" }}\n[backend.b.server]\n\
         s = {{ address = \"{}\", maxconn = 1, on-marked-down = \"shutdown-sessions\", on-marked-up = \"shutdown-backup-sessions\" }}\n",
        socket.display(),
        log.local_addr().unwrap(),
        server.address()
    ));
    let _first = open(front, "GET /part HTTP/1.1\r\nHost: a\r\n\r\n", "hello");
    let mut second = open(front, "GET /part HTTP/1.1\r\nHost: a\r\n\r\n", "");
    let end = Instant::now() + PATIENCE;
    let id = loop {
        let list = ask(&socket, "show sess\n");
        if let Some((id, _)) = list.lines().find(|line| line.contains("srv=<none>")).and_then(|line| line.split_once(':')) {
            break id.to_owned();
        }
        assert!(Instant::now() < end, "{list}");
    };
    assert_eq!(ask(&socket, &format!("shutdown session {id}\n")), "\n");
    let mut status = [0; 12];
    second.read_exact(&mut status).unwrap();
    assert_eq!((&status, lines(&log, 1)), (b"HTTP/1.1 503", vec!["b/<NOSRV> 503 KQ".to_owned()]));
    std::fs::remove_dir_all(&directory).unwrap();
}
