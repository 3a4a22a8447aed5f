//! HTTP/1 of probes: one request on a connection of its own, and its response as it comes.
//!
//! A probe is cheap because nothing more than that is done: the request is written at once, and one buffer takes the response. Nothing
//! is believed of what that says of itself; a body that is cut off is as long as it came, as HAProxy has it.

use std::io;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::connect::{self, Failure, reason};
use super::connection::Connection;
use super::http::Answer;
use crate::fleet::CheckResult;

/// A request that is sent, and its response as far as it has come.
pub(super) struct Exchange {
    connection: Connection,
    /// What has come and has not been looked at.
    seen: Vec<u8>,
    asked: Asked,
    body: Body,
    answer: Option<Answer>,
}

/// Whether a response can have a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    /// By HEAD.
    HeadAlone,
}

/// What of a body is still to come.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    /// So many bytes.
    Length(u64),
    /// What follows until the connection ends.
    Rest,
    /// The size of a chunk.
    Size,
    /// So many bytes of a chunk, and the end of its line.
    Chunk(u64),
}

impl Exchange {
    /// Sends a request, until `deadline`.
    ///
    /// # Errors
    /// What kept it from going out.
    pub(super) async fn begin(mut connection: Connection, request: &[u8], asked: Asked, deadline: Instant) -> Result<Self, Failure> {
        connect::send(&mut connection, request, deadline).await?;
        Ok(Self { connection, seen: Vec::with_capacity(USUAL), asked, body: Body::Rest, answer: None })
    }

    /// Waits for the head of the response.
    ///
    /// # Errors
    /// What came in its place.
    pub(super) async fn answer(&mut self) -> Result<&mut Answer, Failure> {
        while self.answer.is_none() {
            match head(&self.seen, self.asked)? {
                Some((length, found)) => {
                    self.seen.drain(..length);
                    // What is said meanwhile is not the answer.
                    if let Some((answer, body)) = found {
                        (self.answer, self.body) = (Some(answer), body);
                    }
                }
                None if self.seen.len() >= MOST_HEAD || self.fill().await? == 0 => return Err(foreign()),
                None => {}
            }
        }
        self.answer.as_mut().ok_or_else(foreign)
    }

    /// Waits for more of the body, and puts it behind what is there, up to `most` bytes.
    ///
    /// # Errors
    /// What came in its place.
    pub(super) async fn more(&mut self, into: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
        let before = into.len();
        loop {
            let is_over = self.body.take(&mut self.seen, into, most)? || into.len() >= most;
            if is_over || into.len() == before && self.fill().await? == 0 {
                self.answer.iter_mut().for_each(|answer| answer.is_over = true);
                return Ok(());
            }
            if into.len() > before {
                return Ok(());
            }
        }
    }

    /// Waits for bytes and returns how many came.
    async fn fill(&mut self) -> Result<usize, Failure> {
        match self.connection.receive(&mut self.seen, USUAL).await {
            Ok(count) => Ok(count),
            // TLS that is not closed in due form.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) if error.raw_os_error().is_some() => Err((CheckResult::SocketError, reason(&error))),
            Err(_) => Err(foreign()),
        }
    }
}

impl Body {
    /// Moves what is there of the body, up to `most` bytes; tells whether that was its end.
    fn take(&mut self, seen: &mut Vec<u8>, into: &mut Vec<u8>, most: usize) -> Result<bool, Failure> {
        let mut moved = |seen: &mut Vec<u8>, left: u64| {
            let count = seen.len().min(usize::try_from(left).unwrap_or(usize::MAX)).min(most.saturating_sub(into.len()));
            into.extend(seen.drain(..count));
            left - count as u64
        };
        loop {
            match self {
                Self::Rest => drop(moved(seen, u64::MAX)),
                Self::Length(left) => {
                    *left = moved(seen, *left);
                    return Ok(*left == 0);
                }
                Self::Size => {
                    let Some((size, length)) = size(seen)? else { return Ok(false) };
                    seen.drain(..length);
                    match size {
                        0 => return Ok(true),
                        size => *self = Self::Chunk(size),
                    }
                    continue;
                }
                Self::Chunk(left @ 1..) => *left = moved(seen, *left),
                Self::Chunk(_) => match seen.first_chunk() {
                    Some(b"\r\n") => {
                        seen.drain(..2);
                        *self = Self::Size;
                        continue;
                    }
                    Some(_) => return Err(foreign()),
                    None => return Ok(false),
                },
            }
            if *self != Self::Chunk(0) {
                return Ok(false);
            }
        }
    }
}

/// What a head says, and how long it is; nothing is said of one that only tells to wait.
type Head = (usize, Option<(Answer, Body)>);

/// Reads a head; none where there is more to come.
fn head(bytes: &[u8], asked: Asked) -> Result<Option<Head>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(|_| foreign())? else { return Ok(None) };
    let status = response.code.ok_or_else(foreign)?;
    if (100..200).contains(&status) && status != 101 {
        return Ok(Some((length, None)));
    }
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| foreign())?;
        headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| foreign())?);
    }
    let body = if asked == Asked::HeadAlone || matches!(status, 101 | 204 | 304) { Body::Length(0) } else { body(&headers)? };
    let reason = response.reason.unwrap_or_default().to_owned();
    let answer = Answer { status, reason, headers, trailers: None, is_over: body == Body::Length(0) };
    Ok(Some((length, Some((answer, body)))))
}

/// Returns how a body ends, RFC 9112 section 6.3.
fn body(headers: &HeaderMap) -> Result<Body, Failure> {
    if let Some(coding) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        let last = coding.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        return Ok(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") { Body::Size } else { Body::Rest });
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(Body::Rest) };
    if lengths.any(|other| other != first) {
        return Err(foreign());
    }
    let digits = first.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).map(Body::Length).ok_or_else(foreign)
}

/// Reads the line with the size of a chunk and returns that with the length of the line; none where there is more to come.
fn size(bytes: &[u8]) -> Result<Option<(u64, usize)>, Failure> {
    match httparse::parse_chunk_size(bytes) {
        Ok(httparse::Status::Complete((length, size))) => Ok(Some((size, length))),
        Ok(httparse::Status::Partial) if bytes.len() < MOST_HEAD => Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => Err(foreign()),
    }
}

fn foreign() -> Failure {
    (CheckResult::BadResponse, String::new())
}

/// The largest head of a response.
const MOST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 100;
/// What is read at a time.
const USUAL: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes a whole answer in pieces; none where it is not HTTP.
    fn read(bytes: &[u8], piece: usize) -> Option<(u16, Vec<u8>, bool)> {
        let (mut seen, mut into, mut found, mut is_over) = (Vec::new(), Vec::new(), None, false);
        for more in bytes.chunks(piece) {
            seen.extend_from_slice(more);
            while found.is_none()
                && let Some((length, said)) = head(&seen, Asked::All).ok()?
            {
                seen.drain(..length);
                found = said;
            }
            if let Some((_, body)) = &mut found {
                is_over = is_over || body.take(&mut seen, &mut into, 64).ok()?;
            }
        }
        found.map(|(answer, _)| (answer.status, into, is_over))
    }

    #[test]
    fn bodies_end_where_they_are_said_to() {
        let cases: [(&str, u16, &str, bool); 9] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", 200, "abc", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 200, "abc", false),
            ("HTTP/1.0 503 Busy\r\n\r\nabc", 503, "abc", false),
            ("HTTP/1.1 204 \r\nContent-Length: 3\r\n\r\nabc", 204, "", true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", 200, "a", true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n",
                200,
                "abc0123456789",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", 200, "abc", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n3\r\nabc\r\n", 200, "abc", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc", 200, "abc", false),
        ];
        for (text, status, body, is_over) in cases {
            for piece in [1, 2, 7, 1000] {
                assert_eq!(read(text.as_bytes(), piece), Some((status, body.into(), is_over)), "{text} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for text in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n",
        ] {
            assert_eq!(read(text.as_bytes(), 1000), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_fail(head in "(HTTP/1.[01] [1-5][0-9][0-9] (Content-Length|Transfer-Encoding): (chunked|[0-9]{1,25})\r\n\r\n)?", body in proptest::collection::vec(any::<u8>(), 0..96), piece in 1_usize..9) {
            let bytes = [head.as_bytes(), &body[..]].concat();
            if let Some((_, body, _)) = read(&bytes, piece) {
                prop_assert!(body.len() <= 64);
            }
        }

        #[test]
        fn chunks_are_read_whatever_they_hold(body in proptest::collection::vec(any::<u8>(), 0..60), piece in 1_usize..9, size in 1_usize..9) {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in body.chunks(size) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read(&bytes, piece), Some((200, body, true)));
        }
    }
}
