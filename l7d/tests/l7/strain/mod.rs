//! What wears a proxy down: large bodies, slow peers, peers that vanish, a real WebSocket client, and a real server.

mod aborts;
mod grpc;
mod large;
mod real;
mod slow;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::SockRef;

use crate::kit::{PATIENCE, Server, tcp_site};

fn site(front: SocketAddr, settings: &str, servers: &[SocketAddr]) -> String {
    tcp_site(front, settings, servers).replace("mode = \"tcp\"", "mode = \"http\"")
}

/// Receives up to and including the empty line behind a head, and not a byte more; what came if the stream ends before.
fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn status(head: &str) -> &str {
    head.get(9..12).unwrap_or("")
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// A server that answers every request with `ok`.
fn obliging() -> Server {
    Server::start(|mut stream| {
        while !read_head(&mut stream).is_empty() {
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    })
}

/// Asks on a new connection and returns the status.
fn ask(front: SocketAddr) -> String {
    let mut client = crate::kit::connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    status(&read_head(&mut client)).to_owned()
}

/// Where the daemon's httplog goes.
struct LogTap(UdpSocket);

impl LogTap {
    fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Returns a configuration that logs here.
    fn tap(&self, site: &str) -> String {
        site.replace("[global]", &format!("[global]\nlog = [\"{} local0\"]", self.0.local_addr().unwrap()))
            .replace("[frontend.front]", "[frontend.front]\noption = [\"httplog\"]")
    }

    /// Returns status, termination and connection counts of the next line.
    fn next(&self) -> (String, String, String) {
        let mut packet = [0; 2000];
        let count = self.0.recv(&mut packet).expect("a log line");
        let line = String::from_utf8_lossy(&packet[..count]).into_owned();
        let words: Vec<&str> = line.split("]: ").nth(1).unwrap().split(' ').collect();
        (words[5].to_owned(), words[9].to_owned(), words[10].to_owned())
    }
}
