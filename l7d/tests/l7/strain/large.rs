//! Large bodies both ways, with the memory of the daemon in sight.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::{read_head, site, status};
use crate::kit::{Daemon, Server, connect, unused_address};

/// How a body is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Length,
    Chunked,
}

const BLOCK: usize = 1 << 16;

/// Sends a body of `size` bytes whose every block begins with its number.
fn send(stream: &mut TcpStream, size: usize, framing: Framing) {
    let mut block = vec![b'x'; BLOCK];
    for number in 0..size / BLOCK {
        block[..8].copy_from_slice(&(number as u64).to_be_bytes());
        if framing == Framing::Chunked {
            stream.write_all(format!("{BLOCK:x}\r\n").as_bytes()).unwrap();
        }
        stream.write_all(&block).unwrap();
        if framing == Framing::Chunked {
            stream.write_all(b"\r\n").unwrap();
        }
    }
    if framing == Framing::Chunked {
        stream.write_all(b"0\r\n\r\n").unwrap();
    }
}

/// Receives such a body and checks the number of every block.
fn receive(stream: &mut TcpStream, size: usize, framing: Framing) {
    let line = format!("{BLOCK:x}\r\n").len();
    let (before, behind) = if framing == Framing::Chunked { (line, 2) } else { (0, 0) };
    let mut block = vec![0; before + BLOCK + behind];
    for number in 0..size / BLOCK {
        stream.read_exact(&mut block).unwrap();
        let found = u64::from_be_bytes(block[before..before + 8].try_into().unwrap());
        assert_eq!(found, number as u64);
        assert!(block[before + 8..before + BLOCK].iter().all(|byte| *byte == b'x'), "block {number}");
    }
    if framing == Framing::Chunked {
        stream.read_exact(&mut [0; 5]).unwrap();
    }
}

fn fields(size: usize, framing: Framing) -> String {
    match framing {
        Framing::Length => format!("Content-Length: {size}\r\n\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
    }
}

/// Uploads and downloads `size` bytes at once on several connections, and returns how much the daemon's memory grew, in KiB.
fn carry(size: usize, framing: Framing, mode: &str) -> usize {
    let server = Server::start(move |mut stream| {
        while !read_head(&mut stream).is_empty() {
            receive(&mut stream, size, framing);
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{}", fields(size, framing)).as_bytes()).unwrap();
            send(&mut stream, size, framing);
        }
    });
    let front = unused_address();
    let daemon = Daemon::start(&site(front, "", &[server.address()]).replace("mode = \"http\"", &format!("mode = \"{mode}\"")));
    let exchange = move |size: usize| {
        let mut client = connect(front);
        client.write_all(format!("PUT / HTTP/1.1\r\nHost: h\r\n{}", fields(size, framing)).as_bytes()).unwrap();
        send(&mut client, size, framing);
        assert_eq!(status(&read_head(&mut client)), "200");
        receive(&mut client, size, framing);
    };
    let before = daemon.resident();
    let clients: Vec<_> = (0..2).map(|_| thread::spawn(move || exchange(size))).collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    daemon.resident_peak().saturating_sub(before)
}

/// Two connections may hold two large buffers each, and what the allocator keeps; never a part of the body.
const GROWTH: usize = 4 * 1024;

#[test]
fn memory_stays_flat_under_large_bodies() {
    for (framing, mode) in [(Framing::Length, "http"), (Framing::Chunked, "http"), (Framing::Length, "tcp")] {
        let grown = carry(64 << 20, framing, mode);
        assert!(grown < GROWTH, "{framing:?} in mode {mode}: {grown} KiB more");
    }
}

#[test]
#[ignore = "carries 4 GiB per case: run it by name"]
fn memory_stays_flat_under_a_gigabyte() {
    for (framing, mode) in [(Framing::Length, "http"), (Framing::Chunked, "http"), (Framing::Length, "tcp")] {
        let grown = carry(1 << 30, framing, mode);
        println!("{framing:?} in mode {mode}: {grown} KiB more");
        assert!(grown < GROWTH, "{framing:?} in mode {mode}: {grown} KiB more");
    }
}
