//! Files that hold a whole response, as HAProxy's `errorfile` has them: read and checked at load, kept as the parts of a reply.

use std::path::Path;
use std::sync::Arc;

use control::file;

use crate::h1::framing;
use crate::h1::parse::{self, Parsed};
use crate::message::body::Framing;
use crate::message::head::{Method, ResponseHead, Version};
use crate::message::headers::{Field, Known};

/// A response that was read from a file.
#[derive(Debug)]
pub(crate) enum ErrorFile {
    /// The file is empty: nothing is said, and the connection closes.
    Silence,
    /// It holds this.
    Response(Box<FileResponse>),
}

/// The parts of a response that was read from a file.
#[derive(Debug)]
pub(crate) struct FileResponse {
    head: ResponseHead,
    pub(super) body: Arc<[u8]>,
    /// Whether the connection closes behind it, because the file says so or does not say how long the body is.
    pub(super) closes: bool,
}

impl ErrorFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let bytes = file::read(path, LARGEST).map_err(|error| error.to_string())?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(Self::Silence);
        }
        let (head, body) = split(bytes).ok_or("it holds no whole response: the empty line behind its header is missing")?;
        let parsed = parse::response(&head).map_err(|error| format!("it holds no valid response: {error}"))?;
        let Parsed::Complete { head, .. } = parsed else {
            return Err("it holds no whole response".to_owned());
        };
        let closes = match framing::response(&head, Method::Other) {
            Err(error) => return Err(format!("it holds no valid response: {error}")),
            Ok(Framing::Chunked) => return Err("its body is in chunks: write it as it is".to_owned()),
            Ok(Framing::Length(length)) if length != body.len() as u64 => {
                return Err(format!("its Content-Length is {length}, and its body has {} bytes", body.len()));
            }
            Ok(Framing::None) if !body.is_empty() && matches!(head.status(), 204 | 304) => {
                return Err(format!("a response with status {} has no body", head.status()));
            }
            Ok(Framing::UntilClose) => true,
            Ok(Framing::None | Framing::Length(_)) => head.headers.lists(Known::Connection, "close"),
        };
        if head.status() < 200 {
            return Err(format!("status {} is not that of a final response", head.status()));
        }
        Ok(Self::Response(Box::new(FileResponse { head, body: body.into(), closes })))
    }
}

impl FileResponse {
    /// Returns a copy of the head, to be sent.
    pub(super) fn head(&self) -> ResponseHead {
        let mut head = ResponseHead::of(Version::Http11, self.head.status(), self.head.reason());
        for Field { name, value, .. } in self.head.headers.iter() {
            head.headers.append(name, value).expect("it was parsed");
        }
        head
    }
}

/// Splits a file into its head, with the line ends of a message whatever those of the file are, and its body.
fn split(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut head = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        // Empty lines before the first are no end of anything.
        if line.is_empty() && head.is_empty() {
            continue;
        }
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
        if line.is_empty() {
            return Some((head, rest));
        }
    }
}

/// Longest response that is kept in memory.
const LARGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_response_is_refused() {
        for text in [
            "<html></html>",
            "<html>\n\n</html>",
            "HTTP/1.1 503 x\r\nA: b\r\n",
            "HTTP/1.1 503 x\r\nContent-Length: 3\r\n\r\nhello",
            "HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 101 x\r\n\r\n",
            "HTTP/1.1 204 x\r\n\r\nbody",
            "HTTP/1.1 503 x\r\nA : b\r\n\r\n",
            "\n",
        ] {
            assert!(ErrorFile::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_response_is_kept_with_its_fields_and_its_body() {
        let file = ErrorFile::parse(b"\nHTTP/1.0 503 Busy now\nA: b\nA: c\n\nhello\n\n").unwrap();
        let ErrorFile::Response(response) = file else { panic!("silence") };
        let head = response.head();
        assert_eq!((head.status(), head.reason()), (503, &b"Busy now"[..]));
        assert_eq!(head.headers.all("a").collect::<Vec<_>>(), [b"b", b"c"]);
        assert_eq!((&response.body[..], response.closes), (&b"hello\n\n"[..], true));
        assert!(matches!(ErrorFile::parse(b""), Ok(ErrorFile::Silence)));
    }
}
