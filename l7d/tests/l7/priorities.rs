//! Who is served first of those who wait for a server; the same as with haproxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::kit::{self, Daemon, Haproxy, PATIENCE, Server, connect, unused_address};

/// A server that hands over what it is asked, and who asks, to be answered later.
fn slow() -> (Server, Receiver<(String, TcpStream)>) {
    let (here, asked) = channel();
    let server = Server::start(move |mut stream| {
        let mut head = [0; 2000];
        if let Ok(count @ 1..) = stream.read(&mut head) {
            let _ = here.send((String::from_utf8_lossy(&head[..count]).into_owned(), stream));
        }
    });
    (server, asked)
}

fn site(front: SocketAddr, server: SocketAddr, mode: &str, rules: &str) -> String {
    format!(
        "global\n nbthread 1\ndefaults\n mode {mode}\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n timeout queue 20s\n\
         frontend f\n bind {front}\n{rules} default_backend b\nbackend b\n server s {server} maxconn 1\n"
    )
}

/// Lets clients wait one after the other while the only slot is taken, and returns in which order they are served.
fn order(front: SocketAddr, asked: &Receiver<(String, TcpStream)>, waiters: &[(i64, i64)]) -> Vec<String> {
    let ask = |name: &str, class: i64, offset: i64| {
        let mut client = connect(front);
        client.write_all(format!("GET /{name}/{class}/{offset} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        client
    };
    let mut client = ask("first", 0, 0);
    let (_, mut server) = asked.recv_timeout(PATIENCE).unwrap();
    let mut clients: Vec<_> = waiters
        .iter()
        .enumerate()
        .map(|(number, (class, offset))| {
            // Far enough apart for clocks that count milliseconds.
            thread::sleep(Duration::from_millis(20));
            Some(ask(&number.to_string(), *class, *offset))
        })
        .collect();
    thread::sleep(Duration::from_millis(100));
    let mut served = Vec::new();
    while served.len() < clients.len() {
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        kit::answer(&mut client);
        // In mode tcp the slot is free once both ends have closed.
        drop((client, server));
        let (head, next) = asked.recv_timeout(PATIENCE).unwrap();
        let line = head.lines().next().unwrap().to_owned();
        client = clients[line.split('/').nth(1).unwrap().parse::<usize>().unwrap()].take().unwrap();
        server = next;
        let told = head.lines().find(|line| line.to_lowercase().starts_with("x-priority")).unwrap_or_default().to_lowercase();
        served.push(format!("{line} {told}"));
    }
    served
}

#[test]
fn classes_and_offsets_order_the_queue_as_with_haproxy() {
    let waiters = [(0, 0), (2, 0), (0, 90), (1, -500), (-1, 0), (0, -500), (-5000, 0), (-2047, -500), (0, 600_000), (7, -600_000)];
    let compared = |mode: &'static str, rules: &'static str| {
        let run = |is_ours: bool| {
            let ((server, asked), front) = (slow(), unused_address());
            let config = site(front, server.address(), mode, rules);
            let (_ours, _theirs);
            if is_ours {
                _ours = Daemon::start_haproxy(&config);
            } else {
                _theirs = Haproxy::find().start(&config, front);
            }
            order(front, &asked, &waiters)
        };
        let [ours, theirs] =
            thread::scope(|scope| [true, false].map(|is_ours| scope.spawn(move || run(is_ours))).map(|run| run.join().unwrap()));
        assert_eq!(ours, theirs, "{mode}");
        ours
    };
    let http = compared(
        "http",
        " http-request set-priority-class path,field(3,/)\n http-request set-priority-offset path,field(4,/)\n \
         http-request set-header x-priority %[prio_class]/%[prio_offset]\n",
    );
    assert!(http[0].starts_with("GET /7/") && http[1].contains("x-priority: -2047/0"), "{http:?}");
    let tcp = compared(
        "tcp",
        " tcp-request inspect-delay 5s\n tcp-request content set-priority-class path,field(3,/) if HTTP\n \
         tcp-request content set-priority-offset path,field(4,/) if HTTP\n tcp-request content accept if HTTP\n",
    );
    let names = |order: &[String]| order.iter().map(|line| line.split('/').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&http), names(&tcp));
}
