//! Which requests share connections to servers, and how many of those wait for the next; the same as with haproxy.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, unused_address};

/// A server that says which connection a request came by, and as which on it.
fn server() -> Server {
    let next = AtomicUsize::new(0);
    Server::start(move |mut stream| {
        let number = next.fetch_add(1, Ordering::SeqCst) + 1;
        let mut count = 0;
        while read_head(&mut stream).is_some() {
            count += 1;
            let body = format!("{number}.{count}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Reads a head, behind a PROXY header or not.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn ask(client: &mut TcpStream, method: &str) -> String {
    client.write_all(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    let head = read_head(client).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// Lets three clients ask in turn, each keeping its connection, and returns by which connections the server was asked.
fn dialogue(front: SocketAddr) -> String {
    let mut clients: [Option<TcpStream>; 4] = Default::default();
    let mut said = String::new();
    for (who, method) in [(0, "GET"), (0, "GET"), (1, "GET"), (1, "POST"), (0, "GET"), (2, "POST"), (3, "GET"), (3, "GET")] {
        let client = clients[who].get_or_insert_with(|| connect(front));
        write!(said, "{who}:{} ", ask(client, method)).unwrap();
        // The proxy has its connection back once it has taken the answer; nothing tells when.
        std::thread::sleep(Duration::from_millis(5));
    }
    said
}

fn site(front: SocketAddr, socket: &Path, server: SocketAddr, defaults: &str, words: &str) -> String {
    format!(
        "global\n nbthread 1\n stats socket {}\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n {defaults}\n\
         frontend f\n bind {front}\n default_backend b\nbackend b\n server s {server} {words}\n",
        socket.display()
    )
}

/// Returns the columns of a server by their names.
fn columns(socket: &Path) -> HashMap<String, String> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"show stat b 4 -1\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let mut lines = answer.trim_start_matches("# ").lines().map(|line| line.split(',').map(str::to_owned));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    names.zip(values).collect()
}

const COLUMNS: [&str; 8] = ["connect", "reuse", "srv_icur", "src_ilim", "idle_conn_cur", "safe_conn_cur", "used_conn_cur", "need_conn_est"];

fn shown(socket: &Path) -> Vec<(&'static str, String)> {
    let columns = columns(socket);
    COLUMNS.map(|column| (column, columns[column].clone())).into()
}

#[test]
fn words_mean_what_they_mean_to_haproxy() {
    let haproxy = Haproxy::find();
    let cases = [
        ("http-reuse never", ""),
        ("http-reuse safe", ""),
        ("http-reuse aggressive", ""),
        ("http-reuse always", ""),
        ("http-reuse never", "send-proxy"),
        ("http-reuse always", "pool-max-conn 0"),
        ("http-reuse always", "pool-max-conn 1"),
        ("http-reuse always", "pool-purge-delay 0"),
        ("http-reuse always\n option http-server-close", ""),
        ("http-reuse safe\n retry-on conn-failure empty-response response-timeout", ""),
    ];
    let mut all = Vec::new();
    for (defaults, words) in cases {
        let directory = directory();
        let run = |socket: &Path, start: &dyn Fn(&str, SocketAddr) -> Box<dyn std::any::Any>| {
            let (front, server) = (unused_address(), server());
            let _process = start(&site(front, socket, server.address(), defaults, words), front);
            let said = dialogue(front);
            wait_for(socket, "used_conn_cur", "0");
            (said, shown(socket))
        };
        let ours = run(&directory.join("ours"), &|config, _| Box::new(Daemon::start_haproxy(config)));
        let theirs = run(&directory.join("theirs"), &|config, front| Box::new(haproxy.start(config, front)));
        assert_eq!(ours, theirs, "{defaults} {words}");
        all.push(ours.0);
        std::fs::remove_dir_all(directory).unwrap();
    }
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert!(different.len() >= 4, "{all:?}");
}

/// Waits until a column of the server has a value.
fn wait_for(socket: &Path, column: &str, value: &str) {
    let end = Instant::now() + PATIENCE;
    while columns(socket)[column] != value {
        assert!(Instant::now() < end, "{column}: {:?}", columns(socket)[column]);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_waits_is_counted_and_closed_in_time() {
    let (front, server, directory) = (unused_address(), server(), directory());
    let socket = directory.join("socket");
    let _daemon = Daemon::start_haproxy(&site(front, &socket, server.address(), "http-reuse always", "pool-purge-delay 60ms"));
    let mut clients: Vec<_> = (0..4).map(|_| connect(front)).collect();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    clients.iter_mut().for_each(|client| drop(read_head(client)));
    let opened = server.accepted();
    assert!((1..=4).contains(&opened), "{opened}");
    wait_for(&socket, "used_conn_cur", "0");
    // They are needed less and less, until none is left.
    wait_for(&socket, "srv_icur", "0");
    wait_for(&socket, "need_conn_est", "0");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn connection_serves_again_no_more_often_than_allowed() {
    let (front, server, directory) = (unused_address(), server(), directory());
    let socket = directory.join("socket");
    let _daemon = Daemon::start_haproxy(&site(front, &socket, server.address(), "http-reuse always", "max-reuse 1"));
    let mut client = connect(front);
    let said: Vec<_> = (0..5).map(|_| ask(&mut client, "GET")).collect();
    assert_eq!(said, ["1.1", "1.2", "2.1", "2.2", "3.1"]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn unwritten_rule_shares_what_may_be_repeated() {
    let (front, server) = (unused_address(), server());
    let site = |words: &str| {
        format!(
            "[global]\nnbthread = 1\n[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"5s\", client = \"20s\", server = \"20s\" }}\n\
             [frontend.f]\nbind = [\"{front}\"]\ndefault-backend = \"b\"\n[backend.b]\n{words}\n[backend.b.server]\ns = \"{}\"\n",
            server.address()
        )
    };
    let daemon = Daemon::start(&site(""));
    let first = |method: &str| ask(&mut connect(front), method);
    assert_eq!([first("GET"), first("GET"), first("POST")], ["1.1", "1.2", "2.1"]);
    daemon.reload(&site("http-reuse = \"never\"\ndefault-server = { pool-max-conn = 3, pool-purge-delay = \"1s\", max-reuse = 7 }"));
    assert_eq!([first("GET"), first("GET")], ["3.1", "4.1"]);
}

/// Asks by a client, and returns what the server says of the connection that the request came by.
fn came_by(client: &mut TcpStream, method: &str) -> String {
    client.write_all(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    let head = read_head(client).unwrap().to_lowercase();
    head.lines().find_map(|line| line.strip_prefix("x-conn: ")).unwrap().to_owned()
}

#[test]
fn connections_of_http2_to_servers_are_shared_as_with_haproxy() {
    let haproxy = Haproxy::find();
    let server = unused_address();
    // It says by which port each request came, which tells connections apart.
    let config = format!(
        "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         frontend f\n bind {server} proto h2\n http-request return status 200 hdr X-Conn %[src_port]\n"
    );
    let _server = haproxy.start(&config, server);
    let turns = [(0, "GET"), (0, "GET"), (1, "GET"), (1, "POST"), (0, "GET"), (2, "POST"), (3, "GET"), (3, "GET"), (2, "GET")];
    let mut all = Vec::new();
    for mode in ["never", "safe", "aggressive", "always"] {
        let run = |start: &dyn Fn(&str, SocketAddr) -> Box<dyn std::any::Any>| {
            let (front, directory) = (unused_address(), directory());
            let _process = start(&site(front, &directory.join("socket"), server, &format!("http-reuse {mode}"), "proto h2"), front);
            let mut clients: [Option<TcpStream>; 4] = Default::default();
            let (mut known, mut said) = (Vec::new(), String::new());
            for (who, method) in turns {
                let port = came_by(clients[who].get_or_insert_with(|| connect(front)), method);
                if !known.contains(&port) {
                    known.push(port.clone());
                }
                let number = known.iter().position(|other| *other == port).unwrap();
                write!(said, "{who}:{number} ").unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
            std::fs::remove_dir_all(directory).unwrap();
            said
        };
        let ours = run(&|config, _| Box::new(Daemon::start_haproxy(config)));
        let theirs = run(&|config, front| Box::new(haproxy.start(config, front)));
        assert_eq!(ours, theirs, "{mode}");
        all.push(ours);
    }
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert!(different.len() >= 2, "{all:?}");
}
