//! HTTP/1.1 requests, one after the other on a connection or each on its own.

use std::io::Write as _;
use std::str;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::meter::Meter;
use super::stream::{Client, Stream};

/// What a connection reads into and writes from, for as many requests as it makes.
#[derive(Debug)]
pub(super) struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// Bytes of the body.
    pub(super) size: u64,
    /// Where they begin in the pattern.
    pub(super) offset: u64,
    pub(super) then: Then,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
}

impl Buffers {
    /// Makes buffers that fit answers of a size.
    pub(super) fn new(size: u64) -> Self {
        Self { input: Vec::with_capacity(if size > 4096 { LARGE } else { 4096 }), output: Vec::with_capacity(256) }
    }
}

/// Asks again and again on one connection.
pub(super) async fn keep_alive(client: &Client, meter: &Meter, number: u64, size: u64) -> Result<()> {
    let mut stream = client.connect().await?;
    let mut buffers = Buffers::new(size);
    let mut offset = number * SPREAD;
    loop {
        let asked = Instant::now();
        fetch(client, meter, &mut stream, &mut buffers, Ask { size, offset, then: Then::Keep }).await?;
        meter.add_answer(asked);
        offset += STEP;
    }
}

/// Asks again and again, each time on a new connection, which the proxy closes.
pub(super) async fn fresh(client: &Client, meter: &Meter, number: u64, size: u64) -> Result<()> {
    let mut buffers = Buffers::new(size);
    let mut offset = number * SPREAD;
    loop {
        let asked = Instant::now();
        let mut stream = client.connect().await?;
        fetch(client, meter, &mut stream, &mut buffers, Ask { size, offset, then: Then::Close }).await?;
        meter.add_answer(asked);
        offset += STEP;
    }
}

/// Sends one request and reads its answer to the last byte.
///
/// # Errors
/// Fails if status, length or any byte of the body is not what it must be, or if more follows.
pub(super) async fn fetch(client: &Client, meter: &Meter, stream: &mut Stream, buffers: &mut Buffers, ask: Ask) -> Result<()> {
    let Buffers { input, output } = buffers;
    output.clear();
    let close = if ask.then == Then::Close { "Connection: close\r\n" } else { "" };
    write!(output, "GET /{}/{} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}\r\n", ask.size, ask.offset)?;
    stream.write_all(output).await.context("send a request")?;
    input.clear();
    let head = read_head(stream, input).await?;
    check_head(&input[..head], ask.size)?;
    input.drain(..head);
    let mut received = 0;
    loop {
        let left = ask.size - received;
        ensure!(input.len() as u64 <= left, "{} bytes follow the answer", input.len() as u64 - left);
        ensure!(client.pattern.matches(ask.offset + received, input), "a body of {} bytes differs behind byte {received}", ask.size);
        meter.add_bytes(input.len());
        received += input.len() as u64;
        if received == ask.size {
            break;
        }
        input.clear();
        ensure!(read(stream, input).await? > 0, "the connection ended after {received} bytes of {}", ask.size);
    }
    if ask.then == Then::Close {
        input.clear();
        ensure!(read(stream, input).await? == 0, "bytes follow the answer");
    }
    Ok(())
}

/// Reads until a head is complete and returns its length.
pub(super) async fn read_head(stream: &mut Stream, input: &mut Vec<u8>) -> Result<usize> {
    loop {
        if let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            return Ok(end + 4);
        }
        ensure!(input.len() < LONGEST_HEAD, "a head without an end");
        ensure!(read(stream, input).await? > 0, "the connection ended instead of an answer");
    }
}

/// Reads what is there; a peer that ends TLS without saying so has ended all the same.
async fn read(stream: &mut Stream, input: &mut Vec<u8>) -> Result<usize> {
    match stream.read_buf(input).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
        read => read.context("read an answer"),
    }
}

/// Checks status and length.
fn check_head(head: &[u8], size: u64) -> Result<()> {
    let head = str::from_utf8(head).context("a head that is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or("");
    ensure!(status.starts_with("HTTP/1.1 200 "), "answered `{status}`");
    let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let Some((_, length)) = length else { bail!("an answer without a length") };
    ensure!(length.trim().parse() == Ok(size), "a length of{length} instead of {size}");
    Ok(())
}

/// How far apart connections and requests begin in the pattern; neither divides its period.
pub(super) const SPREAD: u64 = 1_009;
pub(super) const STEP: u64 = 13;

const LARGE: usize = 256 * 1024;
const LONGEST_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use tokio::runtime::LocalRuntime;

    use super::super::super::case::{SMALL, Traffic};
    use super::super::super::pattern::Pattern;
    use super::*;

    /// Fetches 1,000 bytes from the fifth on where the answer is this, and returns what is wrong with it.
    fn fault(answer: impl FnOnce(&Pattern) -> Vec<u8>) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let target = listener.local_addr().unwrap();
        let answer = answer(&Pattern::new());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(&answer).unwrap();
        });
        let client = Client::new(target, None, Traffic::Fresh { connections: 1, size: SMALL }).unwrap();
        let outcome = LocalRuntime::new().unwrap().block_on(async {
            let mut stream = client.connect().await?;
            let ask = Ask { size: 1_000, offset: 5, then: Then::Close };
            fetch(&client, &Meter::default(), &mut stream, &mut Buffers::new(1_000), ask).await
        });
        server.join().unwrap();
        outcome.map_or_else(|error| error.to_string(), |()| "nothing".to_owned())
    }

    #[test]
    fn every_byte_of_an_answer_counts() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        assert_eq!(fault(|pattern| [head, pattern.slice(5, 1_000)].concat()), "nothing");
        assert_eq!(fault(|pattern| [head, pattern.slice(6, 1_000)].concat()), "a body of 1000 bytes differs behind byte 0");
        assert_eq!(fault(|pattern| [head, pattern.slice(5, 999)].concat()), "the connection ended after 999 bytes of 1000");
        let longer = fault(|pattern| [head, pattern.slice(5, 1_001)].concat());
        assert!(longer.ends_with("follow the answer"), "{longer}");
        let error = fault(|_| b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_vec());
        assert_eq!(error, "answered `HTTP/1.1 502 Bad Gateway`");
    }

    #[test]
    fn only_the_right_status_and_length_pass() {
        let head = |status: &str, field: &str| format!("HTTP/1.1 {status}\r\nServer: x\r\n{field}\r\n\r\n");
        check_head(head("200 OK", "content-length: 128").as_bytes(), 128).unwrap();
        let cases = [
            (head("503 Service Unavailable", "Content-Length: 128"), "503"),
            (head("200 OK", "Content-Length: 127"), "instead of 128"),
            (head("200 OK", "Transfer-Encoding: chunked"), "without a length"),
        ];
        for (head, expected) in cases {
            let error = check_head(head.as_bytes(), 128).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
