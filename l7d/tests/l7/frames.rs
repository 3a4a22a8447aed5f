//! HTTP/2 frame by frame: a peer that says what no library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;
/// A head that is a whole message.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame as it was read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Returns the bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns a header block of literal fields that no table remembers.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            number(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn number(mut value: usize, out: &mut Vec<u8>) {
    if value < 127 {
        return out.push(u8::try_from(value).unwrap());
    }
    out.push(127);
    value -= 127;
    while value >= 128 {
        out.push(u8::try_from(value % 128 + 128).unwrap());
        value /= 128;
    }
    out.push(u8::try_from(value).unwrap());
}

/// Returns a frame with a header block.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

/// Returns a request without a body.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    headers(stream, WHOLE, &request("GET"))
}

/// Returns the fields of a request to `http://h/`.
pub(crate) fn request(method: &str) -> [(&str, &str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "h"), (":path", "/")]
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    /// Connects and says what every client begins with.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// Connects with settings of its own.
    pub(crate) fn connect_with(address: SocketAddr, settings: &[u8]) -> Self {
        let mut stream = crate::kit::connect(address);
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).unwrap();
        Self { stream }
    }

    /// Takes a connection as its server.
    pub(crate) fn accept(mut stream: TcpStream, settings: &[u8]) -> Self {
        stream.set_read_timeout(Some(crate::kit::PATIENCE)).unwrap();
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        stream.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
        Self { stream }
    }

    /// Sends bytes; a peer that has closed already does not take them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the next frame; `None` once the connection has ended.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Skips frames up to one of this kind.
    pub(crate) fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("the connection ended before a frame of type {kind}"));
            if frame.kind == kind && !(kind == SETTINGS && frame.flags == ACK) {
                return frame;
            }
        }
    }

    /// Skips frames up to the head of a response and returns its status.
    pub(crate) fn status(&mut self) -> u16 {
        first_status(&self.until(HEADERS))
    }

    /// Reads the rest of a body on a stream, making room for more as it comes.
    pub(crate) fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.until(DATA);
            assert_eq!(frame.stream, stream);
            body.extend_from_slice(&frame.payload);
            if frame.flags & END_STREAM != 0 {
                return body;
            }
            let count = u32::try_from(frame.payload.len()).unwrap();
            if count > 0 {
                self.send(&[room(0, count), room(stream, count)].concat());
            }
        }
    }
}

/// Returns a frame that lets the peer send so much more.
pub(crate) fn room(stream: u32, count: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &count.to_be_bytes())
}

/// Returns a frame that takes a stream back.
pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Returns the number that a frame ends with or, in a GOAWAY, has behind its stream.
pub(crate) fn code(frame: &Frame) -> u32 {
    let at = if frame.kind == GOAWAY { 4 } else { 0 };
    u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap())
}

/// Reads the status at the start of a header block, which must be the first of its connection to hold that status.
pub(crate) fn first_status(head: &Frame) -> u16 {
    let block = &head.payload;
    match block[0] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        0x48 if block[1] & 0x80 != 0 => digits(&block[2..2 + usize::from(block[1] & 0x7f)]),
        0x48 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        _ => panic!("no status begins {block:x?}"),
    }
}

/// Reads three digits in the code of Huffman: those below three take five bits, the others six.
fn digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (32 - 8 * bytes.len());
    (0..3).fold(0, |number, _| {
        let five = bits >> 27;
        let (digit, length) = if five < 3 { (five, 5) } else { ((bits >> 26) - 0b01_1001 + 3, 6) };
        bits <<= length;
        number * 10 + u16::try_from(digit).unwrap()
    })
}
