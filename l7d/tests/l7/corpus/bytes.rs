//! Configurations of mode tcp, run on both programs: the same bytes, the same server, the same line.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;

use super::requests::{Log, said};
use super::{corpus, furnished, known};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, unused_address};

/// Configurations that have binds for bytes in clear text. Where a rule asks whether nothing has come, as in `tcp-rules`, the first
/// packet races with the first look, in both programs.
const RUN: [&str; 12] = [
    "database-pool",
    "ldap",
    "mail",
    "mqtt",
    "multi-tenant-sni",
    "mysql-galera",
    "patroni",
    "payload-stick",
    "redis-check",
    "redis-sentinel",
    "smtp-imap",
    "tls-passthrough",
];

/// What clients say first. One that says nothing and leaves, haproxy may give up while it connects to the server.
const SAID: [&[u8]; 8] = [
    b"hello\r\n",
    b"SSH-2.0-client\r\n",
    b"PING\r\n",
    b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04abcd",
    b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04efgh",
    b"0123ABCDEFGH4567",
    b"0123IJKLMNOP4567 and more",
    b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=somebody\r\n\x01\0\x08\0\x03\0\0\0",
];

/// A server that repeats what it is told behind its name, and tells of PROXY headers.
fn parrot(name: &'static str) -> Server {
    Server::start(move |mut stream| {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let (header, rest) = match &bytes[..] {
            [b'P', b'R', b'O', b'X', b'Y', ..] => ("v1", bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1)),
            [b'\r', b'\n', b'\r', b'\n', 0, b'\r', b'\n', b'Q', ..] if bytes.len() >= 16 => {
                ("v2", 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])))
            }
            _ => ("", 0),
        };
        let _ = stream.write_all(&[name.as_bytes(), b" ", header.as_bytes(), b" ", bytes.get(rest..).unwrap_or_default()].concat());
    })
}

/// Puts addresses of this host in place of those of a configuration, and returns where it listens in clear text.
fn local(text: &str, directory: &Path, servers: &[Server]) -> (String, Vec<SocketAddr>) {
    let (mut lines, mut doors, mut turn) = (Vec::new(), Vec::new(), servers.iter().cycle());
    for line in text.replace("@DIR@", &directory.display().to_string()).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        lines.push(match words[..] {
            ["bind", address, ..] => {
                let own = unused_address();
                if !words.contains(&"ssl") {
                    doors.push(own);
                }
                line.replace(address, &own.to_string())
            }
            // More descriptors than a test may have.
            ["maxconn", "20000"] => String::new(),
            // With a ring each program chooses its own server.
            ["hash-type", "consistent", ..] => String::new(),
            ["server", _, address, ..] => {
                let server = turn.next().expect("there are servers").address();
                // Nobody answers checks of a protocol here.
                // With different weights they take turns in another order.
                let line = line.replace("weight 50", "").replace("weight 100", "");
                format!("{} no-check", line.replace(address, &server.to_string()))
            }
            _ => line.to_owned(),
        });
    }
    (lines.join("\n") + "\n", doors)
}

/// Says something and returns what is answered.
fn answer(door: SocketAddr, said: &[u8]) -> String {
    let mut client = connect(door);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = client.write_all(said);
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns what a line says, but for times and how many connections there were.
fn line(line: &str, _: SocketAddr) -> Option<String> {
    let (_, rest) = line.split_once("] ")?;
    let words: Vec<&str> = rest.trim_end().split(' ').collect();
    let [frontend, server, _times, bytes, state, ..] = words[..] else { return None };
    Some(format!("{frontend} {server} {bytes} {state}"))
}

#[test]
fn both_programs_pass_the_same_bytes_to_the_same_servers() {
    let directory = furnished();
    let servers = [parrot("one"), parrot("two"), parrot("three")];
    let mut failures = Vec::new();
    let mut asked = 0;
    for (name, text) in corpus().iter().filter(|(name, _)| RUN.contains(&name.as_str())) {
        let text = known(text);
        let (our_log, their_log) = (Log::new(), Log::new());
        let (ours, our_doors) = local(&our_log.instead_of("127.0.0.1:514", &text), &directory, &servers);
        let (theirs, their_doors) = local(&their_log.instead_of("127.0.0.1:514", &text), &directory, &servers);
        let Some(first) = their_doors.first() else {
            failures.push(format!("=== {name} has no bind for bytes"));
            continue;
        };
        let _daemon = Daemon::start_haproxy(&ours);
        let _haproxy = Haproxy::find().start(&theirs, *first);
        for (door, (our_door, their_door)) in our_doors.iter().zip(&their_doors).enumerate() {
            for bytes in SAID {
                let (ours, theirs) = (answer(*our_door, bytes), answer(*their_door, bytes));
                asked += 1;
                if ours != theirs {
                    failures.push(format!("=== {name}, bind {door}: {}\nl7d     {ours:?}\nhaproxy {theirs:?}", bytes.escape_ascii()));
                }
            }
        }
        let [ours, theirs] = said([(&our_log, our_doors[0]), (&their_log, their_doors[0])], line);
        if ours != theirs || ours.is_empty() {
            failures.push(format!("=== {name}\nl7d     {}\nhaproxy {}", ours.join("\n        "), theirs.join("\n        ")));
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(asked > 100, "{asked}");
    assert!(failures.is_empty(), "{}\n{}", failures.len(), failures.join("\n"));
}
