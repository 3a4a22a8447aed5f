//! The little HTTP/1.1 the lab needs: the server's answers and a client that keeps its connection.
//!
//! Both sides are deliberately separate from the proxy's own codec, so that the two cannot agree on a mistake. Bodies have a length;
//! nothing here sends or reads chunks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};

use crate::serve::Identity;

/// An answer as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case and values, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the first header of that name, which is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the name of the server that answered.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.header("x-server")
    }
}

/// A connection for one request after the other.
#[derive(Debug)]
pub struct HttpConnection {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl HttpConnection {
    /// Speaks HTTP on an open connection.
    ///
    /// # Errors
    /// Fails if the socket cannot be shared between reading and writing.
    pub fn new(stream: TcpStream) -> Result<Self> {
        Ok(Self { output: stream.try_clone()?, input: BufReader::new(stream) })
    }

    /// Fetches a path.
    ///
    /// # Errors
    /// Fails if the connection breaks or the answer is not HTTP.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n"), b"")
    }

    /// Posts a body to a path.
    ///
    /// # Errors
    /// Fails if the connection breaks or the answer is not HTTP.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Response> {
        self.request(&format!("POST {path} HTTP/1.1\r\nHost: lab\r\nContent-Length: {}\r\n\r\n", body.len()), body)
    }

    fn request(&mut self, head: &str, body: &[u8]) -> Result<Response> {
        self.output.write_all(&[head.as_bytes(), body].concat()).context("send the request")?;
        let status_line = self.line()?;
        let mut words = status_line.split(' ');
        ensure!(words.next().is_some_and(|version| version.starts_with("HTTP/1.")), "not HTTP: `{status_line}`");
        let status = words.next().and_then(|code| code.parse().ok()).with_context(|| format!("no status in `{status_line}`"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { bail!("not a header: `{line}`") };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        let length = response.header("content-length").context("the answer has no Content-Length")?;
        response.body.resize(length.parse().with_context(|| format!("not a length: `{length}`"))?, 0);
        self.input.read_exact(&mut response.body).context("read the body")?;
        Ok(response)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.input.by_ref().take(LONGEST_LINE).read_line(&mut line).context("read the answer")?;
        ensure!(line.ends_with('\n'), "the connection ended in the answer's head, after `{line}`");
        Ok(line.trim_end().to_owned())
    }
}

/// Longest line either side reads.
pub(crate) const LONGEST_LINE: u64 = 16 * 1024;

/// Answers requests, of which `first_line` was read already, until one asks to close.
pub(crate) fn serve(
    identity: &Identity,
    first_line: String,
    (input, output): (&mut impl BufRead, &mut impl Write),
    peer: SocketAddr,
) -> io::Result<()> {
    let mut line = first_line;
    loop {
        if line.trim_end().is_empty() {
            return Ok(());
        }
        let Some(request) = Request::read(&line, input)? else {
            return output.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        let (status, body) = request.answer(identity, peer);
        let head = format!(
            "HTTP/1.1 {status}\r\nX-Server: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{}\r\n",
            identity.name,
            body.len(),
            if request.closes { "Connection: close\r\n" } else { "" },
        );
        output.write_all(&[head.as_bytes(), if request.method == "HEAD" { b"" } else { &body }].concat())?;
        if request.closes {
            return Ok(());
        }
        line.clear();
        input.take(LONGEST_LINE).read_line(&mut line)?;
    }
}

/// A request as far as the lab's server looks at it.
#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
    /// Whether the connection ends after the answer.
    closes: bool,
}

impl Request {
    /// Reads the rest of a request; `None` is one this server does not understand.
    fn read(first_line: &str, input: &mut impl BufRead) -> io::Result<Option<Self>> {
        let words: Vec<&str> = first_line.split_ascii_whitespace().collect();
        let [method, path, version] = words[..] else { return Ok(None) };
        let mut request = Self { method: method.to_owned(), path: path.to_owned(), body: Vec::new(), closes: version == "HTTP/1.0" };
        let mut length = 0;
        for _ in 0..MOST_HEADERS {
            let mut line = String::new();
            input.take(LONGEST_LINE).read_line(&mut line)?;
            if line.trim_end().is_empty() {
                request.body.resize(length, 0);
                input.read_exact(&mut request.body)?;
                return Ok(Some(request));
            }
            let Some((name, value)) = line.split_once(':') else { return Ok(None) };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => match value.parse() {
                    Ok(bytes) if bytes <= LARGEST_BODY => length = bytes,
                    _ => return Ok(None),
                },
                "transfer-encoding" => return Ok(None),
                "connection" => request.closes = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(None)
    }

    fn answer(&self, identity: &Identity, peer: SocketAddr) -> (&'static str, Vec<u8>) {
        match (self.path.as_str(), self.method.as_str()) {
            ("/healthz", _) if identity.is_well() => ("200 OK", b"well\n".to_vec()),
            ("/healthz", _) => ("503 Service Unavailable", b"sick\n".to_vec()),
            (_, "POST" | "PUT") => ("200 OK", self.body.clone()),
            _ => ("200 OK", format!("{} {peer}\n", identity.name).into_bytes()),
        }
    }
}

const MOST_HEADERS: usize = 200;

const LARGEST_BODY: usize = 16 * 1024 * 1024;
