//! The servers behind the proxies: a process of its own that answers as fast as it can.
//!
//! `GET /SIZE/OFFSET` gets that many bytes of the [`Pattern`] from that offset, so that no two answers need be alike; a request for an upgrade gets a
//! WebSocket whose frames come back. Two more ports say back what they hear. It trusts the proxies to send what a client of this benchmark would.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::task::spawn_local;

use super::pattern::{LONGEST, Pattern};
use super::websocket;

/// Where the servers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) http: [SocketAddr; 2],
    pub(super) echo: [SocketAddr; 2],
}

impl Addresses {
    /// Reads what the servers say when they are ready.
    ///
    /// # Errors
    /// Fails if it is something else.
    pub(super) fn parse(line: &str) -> Result<Self> {
        let words = line.split_whitespace().filter_map(|word| word.parse().ok());
        let [a, b, c, d] = <[SocketAddr; 4]>::try_from(words.collect::<Vec<_>>()).ok().with_context(|| format!("not servers: {line}"))?;
        Ok(Self { http: [a, b], echo: [c, d] })
    }
}

/// What stands before the addresses in the line that is written when all ports are open.
pub(super) const READY: &str = "servers on";

/// Serves until the process is ended.
///
/// # Errors
/// Fails if no port can be had.
pub(super) fn serve() -> Result<()> {
    let runtime = LocalRuntime::new().context("no runtime")?;
    runtime.block_on(async {
        let pattern = Rc::new(Pattern::new());
        let mut line = READY.to_owned();
        for number in 0..4 {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("bind a server")?;
            line += &format!(" {}", listener.local_addr()?);
            let pattern = Rc::clone(&pattern);
            spawn_local(async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    drop(stream.set_nodelay(true));
                    let pattern = Rc::clone(&pattern);
                    // The end of a connection, whatever it was, is the client's concern.
                    spawn_local(async move { if number < 2 { http(stream, &pattern).await } else { echo(stream).await } });
                }
            });
        }
        writeln!(io::stdout(), "{line}")?;
        std::future::pending().await
    })
}

async fn http(mut stream: TcpStream, pattern: &Pattern) -> io::Result<()> {
    let (mut input, mut output) = (Vec::with_capacity(REQUEST), Vec::with_capacity(REQUEST));
    loop {
        let Some(length) = read_head(&mut stream, &mut input).await? else { return Ok(()) };
        let head = String::from_utf8_lossy(&input[..length]);
        if head.to_ascii_lowercase().contains("\r\nupgrade: websocket") {
            stream.write_all(websocket::ACCEPTED.as_bytes()).await?;
            return websocket::echo(stream, &input[length..]).await;
        }
        let mut numbers = head.split(' ').nth(1).unwrap_or("").split('/').skip(1).map(str::parse::<u64>);
        let (Some(Ok(size)), Some(Ok(offset))) = (numbers.next(), numbers.next()) else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        };
        input.drain(..length);
        answer(&mut stream, &mut output, pattern, (size, offset)).await?;
    }
}

/// Reads until a head is complete and returns its length; nothing at the end of the connection.
async fn read_head(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        if input.len() > LONGEST_HEAD || stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// Sends some bytes of the pattern from an offset; what is small goes out with the head.
async fn answer(stream: &mut TcpStream, output: &mut Vec<u8>, pattern: &Pattern, (size, offset): (u64, u64)) -> io::Result<()> {
    output.clear();
    write!(output, "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n")?;
    let mut sent = 0;
    while sent < size {
        let length = usize::try_from(size - sent).unwrap_or(LONGEST).min(LONGEST);
        let part = pattern.slice(offset + sent, length);
        sent += length as u64;
        if output.is_empty() {
            stream.write_all(part).await?;
        } else {
            output.extend_from_slice(part);
            stream.write_all(output).await?;
            output.clear();
        }
    }
    if output.is_empty() { Ok(()) } else { stream.write_all(output).await }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(REQUEST);
    while stream.read_buf(&mut buffer).await? > 0 {
        stream.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

const REQUEST: usize = 4096;
const LONGEST_HEAD: usize = 16 * 1024;
