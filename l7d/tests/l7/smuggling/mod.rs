//! Messages that two readers may read in two ways: each is refused, at the byte the log names, and nothing of it gets through.
//!
//! In the tables `^^` stands before the byte that must be named; it is taken out before the message is sent.

mod bodies;
mod heads;
mod responses;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use l7d::h1::Fault;

use crate::kit::{Daemon, Server, connect, tcp_site, unused_address};

/// What is sent, and what it is refused for.
type Attempt = (&'static str, Vec<u8>, Fault);

/// Puts a table entry together: its name, the message with its mark, and the fault.
fn attempt(name: &'static str, message: impl AsRef<[u8]>, fault: Fault) -> Attempt {
    (name, message.as_ref().to_vec(), fault)
}

/// What would be a request of its own if the one before it were read otherwise.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, text)
}

/// Takes the mark out and returns the message with how a log line names the marked byte.
///
/// Bytes of a body are counted from its beginning, where a mark behind the empty line stands.
fn unmark(message: &[u8], fault: Fault) -> (Vec<u8>, String) {
    let at = find(message, b"^^").expect("every message has a mark");
    let bytes = [&message[..at], &message[at + 2..]].concat();
    let body = find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    let in_body = at >= body && !matches!(fault, Fault::TooManyFields);
    let offset = if in_body { at - body } else { at };
    let is_missing = matches!(fault, Fault::Length | Fault::Coding) && bytes[at] == b'\r';
    let is_missing = is_missing || matches!(fault, Fault::TooManyFields);
    let named = if is_missing { format!("byte {offset}: {fault}") } else { format!("byte {offset} (0x{:02x}): {fault}", bytes[at]) };
    (bytes, named)
}

/// A server that answers whatever looks like a request and keeps every byte it gets.
struct Victim {
    server: Server,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Victim {
    fn start() -> Self {
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let sink = Arc::clone(&heard);
        let server = Server::start(move |mut stream| {
            let place = {
                let mut heard = sink.lock().unwrap();
                heard.push(Vec::new());
                heard.len() - 1
            };
            let (mut unread, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                sink.lock().unwrap()[place].extend_from_slice(&buffer[..count]);
                unread.extend_from_slice(&buffer[..count]);
                while let Some(end) = find(&unread, b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
                    // Chunked requests are never complete in these tests.
                    if head.contains("transfer-encoding") {
                        break;
                    }
                    unread.drain(..end + 4);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
            }
            sink.lock().unwrap()[place].extend_from_slice(b"<end>");
        });
        Self { server, heard }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns what came over each connection since the last time.
    fn heard(&self) -> Vec<String> {
        let mut heard = self.heard.lock().unwrap();
        heard.iter_mut().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

fn site(front: SocketAddr, servers: &[SocketAddr]) -> String {
    tcp_site(front, "", servers).replace("mode = \"tcp\"", "mode = \"http\"")
}

/// How the bytes of a message are sent.
#[derive(Clone, Copy)]
enum Pace {
    AtOnce,
    ByteByByte,
}

/// Sends a message and a request behind it, and returns the whole answer.
fn send(client: &mut TcpStream, bytes: &[u8], pace: Pace) -> String {
    client.set_nodelay(true).unwrap();
    let all = [bytes, SMUGGLED.as_bytes()].concat();
    let pieces = match pace {
        Pace::AtOnce => all.len(),
        Pace::ByteByByte => 1,
    };
    for piece in all.chunks(pieces) {
        // The refusal may come, and the connection close, before the last byte.
        if client.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Tries every attempt at this pace and returns what went wrong.
fn refuse_all(attempts: Vec<Attempt>, pace: Pace) {
    let victim = Victim::start();
    let front = unused_address();
    let daemon = Daemon::start(&site(front, &[victim.address()]));
    let mut failures = Vec::new();
    let count = attempts.len();
    for (name, message, fault) in attempts {
        let (bytes, named) = unmark(&message, fault);
        let mut client = connect(front);
        let source = client.local_addr().unwrap();
        let answer = send(&mut client, &bytes, pace);
        if !answer.starts_with("HTTP/1.1 400 Bad Request\r\n") || answer.matches("HTTP/1.1").count() != 1 {
            failures.push(format!("{name}: answered {answer:?}"));
        }
        let line = daemon.wait_for_log(&format!("{source} on frontend front: "));
        if !line.ends_with(&named) {
            failures.push(format!("{name}: {named:?} expected, logged {line:?}"));
        }
    }
    for heard in victim.heard() {
        // A head that came before the fault may have been passed on; never what came with the fault or behind it.
        let heads = heard.matches(" HTTP/1.").count();
        if heard.contains("smuggled") || heads > 1 || (matches!(pace, Pace::AtOnce) && heads > 0) {
            failures.push(format!("the server got {heard:?}"));
        }
    }
    assert!(failures.is_empty(), "{} failures in {count} attempts\n{}", failures.len(), failures.join("\n"));
}
