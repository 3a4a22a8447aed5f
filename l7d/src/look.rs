//! Looks at the beginning of a body, or waits for it, because rules want to see it; it stays where it is, for whoever passes it on.
//!
//! No more of it is seen than fits into a buffer, as in HAProxy.

use std::io;
use std::pin::pin;

use tokio::time::Instant;

use crate::buffer::{Buffer, SMALL};
use crate::deadline::Deadline;
use crate::h1::SyntaxError;
use crate::h1::body::Body;
use crate::h1::chunked::Piece;
use crate::lane::{IoFailure, flatten};
use crate::stream::Stream;
use crate::streams::Incoming;
use crate::streams::incoming::Further;

/// Where a body comes in.
#[derive(Debug)]
pub(crate) enum Inlet<'a> {
    /// By a connection of HTTP/1.
    H1 {
        /// The connection.
        stream: &'a Stream,
        /// What was read from it already.
        input: &'a mut Buffer,
        /// What is to come.
        body: &'a Body,
    },
    /// In frames.
    Stream(&'a mut Incoming),
}

/// How much is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Nothing.
    Now,
    /// So many bytes, or all if there are fewer.
    Least(u64),
    /// All of it.
    Whole,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Sight {
    /// The content, out of its framing.
    pub(crate) content: Box<[u8]>,
    /// Whether it is as much as was waited for, or fits.
    pub(crate) outcome: Result<(), IoFailure>,
}

/// Waits for the beginning of a body until the moment `end`.
///
/// # Errors
/// Fails if the body is invalid; that its sender left or took too long is told beside what was seen of it.
pub(crate) async fn look(inlet: Inlet<'_>, until: Until, end: Option<Instant>, deadline: &mut Deadline) -> Result<Sight, SyntaxError> {
    match inlet {
        Inlet::H1 { stream, input, body } => look_at_bytes(stream, input, body, (until, end), deadline).await,
        Inlet::Stream(body) => Ok(look_at_frames(body, (until, end), deadline).await),
    }
}

impl Until {
    fn is_met_by(self, seen: usize) -> bool {
        match self {
            Self::Now => true,
            Self::Least(least) => seen as u64 >= least,
            Self::Whole => false,
        }
    }
}

async fn look_at_bytes(
    stream: &Stream,
    input: &mut Buffer,
    body: &Body,
    (until, end): (Until, Option<Instant>),
    deadline: &mut Deadline,
) -> Result<Sight, SyntaxError> {
    loop {
        let (content, is_whole) = content_of(body, input.filled())?;
        if is_whole || until.is_met_by(content.len()) || input.make_room() == 0 {
            return Ok(Sight { content, outcome: Ok(()) });
        }
        let more = flatten(deadline.until(end, pin!(stream.receive_more(input))).await);
        let outcome = match more {
            Ok(1..) => continue,
            Ok(0) if matches!(body, Body::UntilClose) => Ok(()),
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Err(failure) => Err(failure),
        };
        return Ok(Sight { content, outcome });
    }
}

/// Returns what of a body is among some bytes, and whether that is all of it.
fn content_of(body: &Body, bytes: &[u8]) -> Result<(Box<[u8]>, bool), SyntaxError> {
    let Body::Chunked(decoder) = body else {
        let mut rest = body.clone();
        let count = rest.take(bytes)?;
        return Ok((bytes[..count].into(), rest.is_done()));
    };
    let (mut decoder, mut content, mut rest) = (decoder.clone(), Vec::new(), bytes);
    loop {
        let (count, is_content) = match decoder.next(rest)? {
            Piece::End => return Ok((content.into(), true)),
            Piece::Data(count) => (count, true),
            Piece::Framing(count) => (count, false),
        };
        if count == 0 {
            return Ok((content.into(), false));
        }
        if is_content {
            content.extend_from_slice(&rest[..count]);
        }
        rest = &rest[count..];
    }
}

async fn look_at_frames(body: &mut Incoming, (until, end): (Until, Option<Instant>), deadline: &mut Deadline) -> Sight {
    let mut outcome = Ok(());
    while !until.is_met_by(body.early().len()) && body.early().len() < SMALL {
        match deadline.until(end, pin!(body.look_further())).await {
            Ok(Ok(Further::More)) => {}
            Ok(Ok(Further::End)) => break,
            Ok(Err(error)) => {
                outcome = Err(error.into());
                break;
            }
            Err(elapsed) => {
                outcome = Err(elapsed.into());
                break;
            }
        }
    }
    Sight { content: body.early().into(), outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::body::Framing;

    #[test]
    fn content_is_told_from_framing_and_what_follows() {
        let seen = |framing, bytes: &[u8]| content_of(&Body::new(framing), bytes).map(|(content, is_whole)| (content.to_vec(), is_whole));
        assert_eq!(seen(Framing::Length(4), b"abcdGET").unwrap(), (b"abcd".to_vec(), true));
        assert_eq!(seen(Framing::Length(4), b"ab").unwrap(), (b"ab".to_vec(), false));
        assert_eq!(seen(Framing::None, b"GET").unwrap(), (Vec::new(), true));
        assert_eq!(seen(Framing::Chunked, b"3\r\nabc\r\n2\r\nd").unwrap(), (b"abcd".to_vec(), false));
        assert_eq!(seen(Framing::Chunked, b"3\r\nabc\r\n0\r\n\r\nGET").unwrap(), (b"abc".to_vec(), true));
        assert_eq!(seen(Framing::UntilClose, b"abc").unwrap(), (b"abc".to_vec(), false));
        assert!(seen(Framing::Chunked, b"x\r\n").is_err());
    }
}
