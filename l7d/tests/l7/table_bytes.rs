//! Bytes are counted for a client while they flow: who has one long download, upload or tunnel is known for it before it ends.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{ask, read_head, status};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, unused_address};
use crate::tables::tell;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Says one answer that goes on as long as somebody listens, or takes all that comes.
fn endless(head: &'static str) -> Server {
    Server::start(move |mut stream| {
        if !head.is_empty() {
            let _ = read_head(&mut stream);
        }
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(&[7; 16_384]).is_ok() {}
    })
}

/// A proxy that tracks clients and wants none that has had more than 4 MB in the last minute.
fn cfg(front: SocketAddr, socket: &Path, mode: &str, servers: [SocketAddr; 2]) -> String {
    let limit = if mode == "http" {
        "http-request deny deny_status 429 if { sc0_bytes_out_rate gt 4000000 }\n use_backend short if { path /short }"
    } else {
        "tcp-request connection reject if { sc0_bytes_out_rate gt 4000000 }"
    };
    format!(
        "global\n stats socket {} level admin\ndefaults\n mode {mode}\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n option contstats\n\
         frontend front\n bind {front}\n stick-table type ip size 100 expire 1m store bytes_in_cnt,bytes_out_cnt,bytes_in_rate(60s),bytes_out_rate(60s)\n \
         tcp-request connection track-sc0 src\n {limit}\n default_backend back\nbackend back\n server s1 {}\nbackend short\n server s1 {}\n",
        socket.display(),
        servers[0],
        servers[1]
    )
}

fn value(socket: &Path, name: &str) -> u64 {
    let shown = tell(socket, "show table front");
    let found = shown.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.map_or(0, |number| number.parse().unwrap())
}

/// Reads so many bytes.
fn take(stream: &mut TcpStream, mut count: usize) {
    let mut buffer = vec![0; 65_536];
    while count > 0 {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{count} bytes are missing");
        count = count.saturating_sub(read);
    }
}

/// Asks until the answer is that one has had enough.
fn wait_for_refusal(front: SocketAddr, mode: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut other = connect(front);
        let refused = if mode == "http" {
            status(&ask(&mut other, &GET.replace("/ ", "/short ")).0) == "429"
        } else {
            let _ = other.set_read_timeout(Some(PATIENCE));
            other.read(&mut [0; 1]).unwrap_or(0) == 0
        };
        if refused {
            return;
        }
        assert!(Instant::now() < end, "a download that goes on is not counted");
        drop(other);
        thread::sleep(Duration::from_millis(100));
    }
}

fn a_stream_is_limited(mode: &str, head: &'static str) {
    let (long, (short, _)) = (endless(head), crate::http::hello());
    let directory = directory();
    let (ours, theirs) = (directory.join("ours"), directory.join("theirs"));
    let (our_front, their_front) = (unused_address(), unused_address());
    let servers = [long.address(), short.address()];
    let _daemon = Daemon::start_haproxy(&cfg(our_front, &ours, mode, servers));
    let _haproxy = Haproxy::find().start(&cfg(their_front, &theirs, mode, servers), their_front);
    for (front, socket) in [(our_front, &ours), (their_front, &theirs)] {
        let mut client = connect(front);
        if mode == "http" {
            client.write_all(GET.as_bytes()).unwrap();
        }
        take(&mut client, 8_000_000);
        let reader = client.try_clone().unwrap();
        // HAProxy tells every five seconds, and only where something flows.
        let reading = thread::spawn(move || {
            let (mut reader, mut buffer) = (reader, vec![0; 65_536]);
            while reader.read(&mut buffer).is_ok_and(|count| count > 0) {
                thread::sleep(Duration::from_millis(20));
            }
        });
        wait_for_refusal(front, mode);
        assert!(value(socket, "bytes_out_cnt") > 4_000_000);
        client.shutdown(std::net::Shutdown::Both).unwrap();
        reading.join().unwrap();
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_download_that_goes_on_counts_against_its_client_as_with_haproxy() {
    a_stream_is_limited("http", "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n");
}

#[test]
fn chunks_that_go_on_count_too() {
    // A chunk of 100 GB.
    a_stream_is_limited("http", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n174876e800\r\n");
}

#[test]
fn a_tunnel_that_goes_on_counts_against_its_client_as_with_haproxy() {
    a_stream_is_limited("tcp", "");
}

#[test]
fn what_was_counted_meanwhile_is_not_counted_again() {
    const BODY: usize = 3_000_000;
    let server = Server::start(|mut stream| {
        let _ = read_head(&mut stream);
        take(&mut stream, BODY);
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes());
        let _ = stream.write_all(&vec![b'x'; BODY]);
        // The proxy closes when it wants.
        let _ = stream.read(&mut [0; 1]);
    });
    let (front, directory) = (unused_address(), directory());
    let socket = directory.join("ours");
    let cfg = cfg(front, &socket, "http", [server.address(); 2]).replace("gt 4000000 }", "gt 4000000000 }");
    let _daemon = Daemon::start_haproxy(&cfg);
    let mut client = connect(front);
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY}\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    let body = vec![b'y'; BODY];
    client.write_all(&body[..BODY / 2]).unwrap();
    let end = Instant::now() + PATIENCE;
    while value(&socket, "bytes_in_cnt") < 1_000_000 {
        assert!(Instant::now() < end, "an upload that goes on is not counted");
        thread::sleep(Duration::from_millis(20));
    }
    client.write_all(&body[BODY / 2..]).unwrap();
    let answer = read_head(&mut client);
    take(&mut client, BODY);
    drop(client);
    let end = Instant::now() + PATIENCE;
    while !tell(&socket, "show table front").contains("use=0") {
        assert!(Instant::now() < end, "the exchange does not end");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(value(&socket, "bytes_in_cnt"), (head.len() + BODY) as u64);
    assert_eq!(value(&socket, "bytes_out_cnt"), (answer.len() + BODY) as u64);
    std::fs::remove_dir_all(directory).unwrap();
}
