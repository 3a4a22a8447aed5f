//! Lines about servers on the log targets: the same as those of Debian's haproxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, directory, unused_address};
use crate::runtime::ask;

/// What the server does: answers with a status, or breaks the connection.
const BROKEN: u32 = 0;

/// Starts a server that answers with a status as long as it is none of these.
pub(crate) fn server(status: &Arc<AtomicU32>) -> Server {
    let status = Arc::clone(status);
    Server::start(move |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        match status.load(SeqCst) {
            BROKEN => drop(stream.write_all(b"what?\r\n\r\n")),
            status => drop(stream.write_all(format!("HTTP/1.1 {status} Some Thing\r\nContent-Length: 0\r\n\r\n").as_bytes())),
        }
    })
}

/// A place that takes lines.
pub(crate) struct Target(UdpSocket);

impl Target {
    pub(crate) fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Returns the lines up to the one that contains `last`, without their heads and times.
    pub(crate) fn until(&self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let count = self.0.recv(&mut buffer).unwrap_or_else(|_| panic!("no {last:?} after {lines:#?}"));
            let line = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
            let (head, text) = line.split_once("]: ").unwrap();
            let level = head.split_once('>').unwrap().0;
            let (before, after) = text.split_once("duration: ").unwrap_or((text, ""));
            let after = after.split_once("ms").map_or("", |(_, after)| after);
            lines.push(format!("{level}> {before}{after}"));
            if line.contains(last) {
                return lines;
            }
        }
    }
}

/// Lives a server's life and returns what is written about it.
fn lines(start: impl FnOnce(SocketAddr, SocketAddr, &str) -> Box<dyn std::any::Any>, option: &str) -> Vec<Vec<String>> {
    let status = Arc::new(AtomicU32::new(200));
    let (server, target, directory) = (server(&status), Target::open(), directory());
    let (socket, front) = (directory.join("s"), unused_address());
    let config = format!(
        "global\n stats socket {} level admin\n log {} local0\ndefaults\n mode http\n log global\n timeout connect 2s\n timeout client 5s\n \
         timeout server 5s\n timeout check 2s\nfrontend f\n bind {front}\n default_backend b\nbackend b\n option httpchk\n {option}\n \
         http-check disable-on-404\n server s {} check inter 150ms fall 2 rise 2\n",
        socket.display(),
        target.address(),
        server.address()
    );
    let process = start(front, target.address(), &config);
    let end = Instant::now() + PATIENCE;
    while !ask(&socket, "show stat\n").contains(",L7OK,") {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(20));
    }
    let mut all = Vec::new();
    let mut then = |act: &dyn Fn(), last: &str| {
        act();
        all.push(target.until(last));
    };
    then(&|| status.store(503, SeqCst), "no server available");
    then(&|| status.store(200, SeqCst), "is UP");
    then(&|| status.store(BROKEN, SeqCst), "no server available");
    then(&|| status.store(200, SeqCst), "is UP");
    then(&|| status.store(404, SeqCst), "no server available");
    then(&|| status.store(200, SeqCst), "is UP");
    let command = |text: &'static str| {
        let socket = socket.clone();
        move || drop(ask(&socket, text))
    };
    then(&command("set server b/s state maint\n"), "no server available");
    then(&command("set server b/s state ready\n"), "is UP/READY");
    then(&command("set server b/s state drain\n"), "no server available");
    then(&command("set server b/s state ready\n"), "is UP (leaving");
    drop(process);
    std::fs::remove_dir_all(&directory).unwrap();
    all
}

#[test]
fn lines_about_servers_are_haproxys() {
    for option in ["no option log-health-checks", "option log-health-checks"] {
        let ours = lines(|_, _, config| Box::new(Daemon::start_haproxy(config)), option);
        let theirs = lines(|front, _, config| Box::new(Haproxy::find().start(config, front)), option);
        assert_eq!(ours, theirs, "{option}");
    }
}
