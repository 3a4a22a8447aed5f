//! Asks a responder of OCSP, by plain HTTP as all of them speak it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Outcome;

/// Where a responder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Responder {
    authority: String,
    path: String,
}

impl Responder {
    /// Reads an address such as `http://ocsp.example.com/x`; nothing else than HTTP is spoken.
    pub(super) fn read(address: &str) -> Option<Self> {
        let uri: http::Uri = address.parse().ok()?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { authority: authority.as_str().to_owned(), path })
    }

    /// Asks it, and returns what it says.
    ///
    /// # Errors
    /// What came of it instead, and why.
    pub(super) async fn ask(&self, question: &[u8]) -> Result<Vec<u8>, (Outcome, String)> {
        match timeout(PATIENCE, self.exchange(question)).await {
            Ok(Ok(answer)) => read(&answer),
            Ok(Err(error)) => Err((Outcome::Http, format!("{}: {error}", self.authority))),
            Err(_) => Err((Outcome::Http, format!("{}: no answer in time", self.authority))),
        }
    }

    async fn exchange(&self, question: &[u8]) -> std::io::Result<Vec<u8>> {
        let has_port = self.authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let place = if has_port { self.authority.clone() } else { format!("{}:80", self.authority) };
        let mut stream = TcpStream::connect(place).await?;
        // By the older version, so that the answer ends with the connection and comes in one piece.
        let head = format!(
            "POST {} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/ocsp-request\r\nAccept: application/ocsp-response\r\nContent-Length: {}\r\n\r\n",
            self.path,
            self.authority,
            question.len()
        );
        stream.write_all(&[head.as_bytes(), question].concat()).await?;
        let mut answer = Vec::new();
        let mut limited = stream.take(LARGEST);
        loop {
            match limited.read_buf(&mut answer).await {
                Ok(0) => return Ok(answer),
                Ok(_) if is_whole(&answer) => return Ok(answer),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the status, how long the head is, and how long the body where it says so.
fn head(answer: &[u8]) -> Option<(u16, usize, Option<usize>)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(answer).ok()? else { return None };
    let body = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    Some((response.code?, length, body.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok())))
}

fn is_whole(answer: &[u8]) -> bool {
    head(answer).is_some_and(|(_, head, body)| body.is_some_and(|body| answer.len() - head >= body))
}

fn read(answer: &[u8]) -> Result<Vec<u8>, (Outcome, String)> {
    match head(answer) {
        Some((200, head, body)) => {
            let content = &answer[head..];
            Ok(content[..body.unwrap_or(content.len()).min(content.len())].to_vec())
        }
        Some((status, ..)) => Err((Outcome::Http, format!("the responder answers with {status}"))),
        None => Err((Outcome::Http, "what came is no answer of HTTP".to_owned())),
    }
}

/// How long a responder may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Far more than an answer takes.
const LARGEST: u64 = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responders_speak_plain_http() {
        let read = |text| Responder::read(text).map(|responder| (responder.authority, responder.path));
        assert_eq!(read("http://ocsp.example.com"), Some(("ocsp.example.com".to_owned(), "/".to_owned())));
        assert_eq!(read("http://[::1]:81/a?b"), Some(("[::1]:81".to_owned(), "/a?b".to_owned())));
        assert_eq!((read("https://a.test/"), read("ldap://a.test"), read("/x")), (None, None, None));
    }

    #[test]
    fn answers_are_as_long_as_they_say() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").ok().as_deref(), Some(&b"ab"[..]));
        assert_eq!(read(b"HTTP/1.0 200 OK\r\n\r\nabc").ok().as_deref(), Some(&b"abc"[..]));
        assert!(read(b"HTTP/1.0 404 No\r\n\r\nabc").is_err() && read(b"what").is_err());
    }
}
