//! Moves the content of a body between two connections whose framings differ, one piece at a time.
//!
//! Where both sides frame alike, [`crate::lane`] passes the bytes on unread. Here each piece is taken out of its framing and put into
//! the other; the next is asked for when the last was taken, so a slow receiver holds up the sender. Trailers come along.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::buffer::Buffer;
use crate::cache::Recording;
use crate::compress::Coder;
use crate::deadline::Deadline;
use crate::flow::Flow;
use crate::h1::body::Body;
use crate::h1::chunked;
use crate::lane::{IoFailure, RelayError, flatten};
use crate::message::headers::is_field_byte;
use crate::stream::Stream;
use crate::streams::{Incoming, Sending};

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// A connection of HTTP/1.
    H1 {
        /// The connection.
        stream: &'a Stream,
        /// What was read from it already.
        buffer: &'a mut Buffer,
        /// What is still to come.
        body: &'a mut Body,
    },
    /// A stream of HTTP/2 or HTTP/3.
    Stream(&'a mut Incoming),
    /// Memory, which has all of it.
    Held(Bytes),
}

/// Where a body goes.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    /// A connection of HTTP/1.
    H1 {
        /// The connection.
        stream: &'a Stream,
        /// What must be sent before the body: the head.
        pending: Buffer,
        /// How the body is framed there.
        coding: Coding,
    },
    /// A stream of HTTP/2 or HTTP/3.
    Stream(&'a mut Sending),
}

/// How a body is framed in HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// By its length, or by the end of the connection.
    Plain,
    /// In chunks.
    Chunked,
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    /// Where it comes from.
    pub(crate) from: Source<'a>,
    /// How long the sender may be silent.
    pub(crate) from_limit: Option<Duration>,
    /// Where it goes.
    pub(crate) to: Sink<'a>,
    /// How long the receiver may take nothing.
    pub(crate) to_limit: Option<Duration>,
    /// What compresses it on the way.
    pub(crate) coder: Option<Coder>,
    /// What takes it down as it comes.
    pub(crate) recording: Option<Recording>,
}

#[derive(Debug)]
enum Piece {
    Data { bytes: Bytes, last: bool },
    Trailers(HeaderMap),
    End,
}

impl Transfer<'_> {
    /// Moves everything; `sent` counts the bytes of content and framing that the receiver got.
    ///
    /// # Errors
    /// Fails where either side does, takes too long, or the body is invalid.
    pub(crate) async fn run(mut self, deadline: &mut Deadline, sent: &Flow) -> Result<(), RelayError> {
        loop {
            let piece = {
                let mut next = pin!(self.from.next());
                match poll_once(next.as_mut()).await {
                    Poll::Ready(piece) => piece?,
                    Poll::Pending => {
                        // What the sender has said so far may be all that it says for long.
                        if let Some(bytes) = self.coder.as_mut().and_then(Coder::flush) {
                            let piece = Piece::Data { bytes, last: false };
                            sent.add(timed(deadline, self.to_limit, pin!(self.to.give(piece))).await.map_err(RelayError::To)?);
                        }
                        sent.add(timed(deadline, self.to_limit, pin!(self.to.flush())).await.map_err(RelayError::To)?);
                        let piece = deadline.within(self.from_limit, pin!(self.to.unless_reset(next))).await;
                        piece.map_err(|elapsed| RelayError::From(elapsed.into()))??
                    }
                }
            };
            if let Some(recording) = &mut self.recording {
                match &piece {
                    Piece::Data { bytes, .. } => recording.add(bytes),
                    // What is behind the content is not kept.
                    Piece::Trailers(_) => recording.spoil(),
                    Piece::End => {}
                }
            }
            let is_last = !matches!(piece, Piece::Data { last: false, .. });
            // What has come whole is kept before the client has all of it, and may ask again.
            if let Some(recording) = self.recording.take_if(|_| is_last) {
                recording.finish();
            }
            let pieces = match &mut self.coder {
                None => [Some(piece), None],
                Some(coder) => press(coder, piece),
            };
            for piece in pieces.into_iter().flatten() {
                sent.add(timed(deadline, self.to_limit, pin!(self.to.give(piece))).await.map_err(RelayError::To)?);
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Compresses a piece, of which nothing may be left for now; trailers are no part of the content, and follow it.
fn press(coder: &mut Coder, piece: Piece) -> [Option<Piece>; 2] {
    let data = |bytes: Bytes, last: bool| (last || !bytes.is_empty()).then_some(Piece::Data { bytes, last });
    match piece {
        Piece::Data { bytes, last } => [data(coder.press(bytes, last), last), None],
        Piece::End => [data(coder.press(Bytes::new(), true), true), None],
        Piece::Trailers(fields) => [data(coder.press(Bytes::new(), true), false), Some(Piece::Trailers(fields))],
    }
}

async fn timed(
    deadline: &mut Deadline,
    limit: Option<Duration>,
    work: Pin<&mut impl Future<Output = io::Result<u64>>>,
) -> Result<u64, IoFailure> {
    flatten(deadline.within(limit, work).await)
}

async fn poll_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await
}

impl Source<'_> {
    async fn next(&mut self) -> Result<Piece, RelayError> {
        match self {
            Self::H1 { stream, buffer, body } => next_of_h1(stream, buffer, body).await,
            Self::Stream(stream) => next_of_stream(stream).await.map_err(|error| RelayError::From(error.into())),
            Self::Held(left) => {
                let bytes = left.split_to(left.len().min(SLICE));
                Ok(Piece::Data { last: left.is_empty(), bytes })
            }
        }
    }
}

async fn next_of_h1(stream: &Stream, buffer: &mut Buffer, body: &mut Body) -> Result<Piece, RelayError> {
    let mut trailers = Vec::new();
    loop {
        let taken = match body {
            Body::Done => return Ok(Piece::End),
            Body::Chunked(decoder) => {
                let in_trailers = decoder.is_in_trailers();
                match decoder.next(buffer.filled()).map_err(RelayError::Syntax)? {
                    chunked::Piece::End => {
                        *body = Body::Done;
                        return Ok(if trailers.len() > EMPTY_LINE { Piece::Trailers(trailer_fields(&trailers)) } else { Piece::End });
                    }
                    chunked::Piece::Data(count) => count,
                    chunked::Piece::Framing(count) => {
                        if in_trailers {
                            trailers.extend_from_slice(&buffer.filled()[..count]);
                        }
                        buffer.consume(count);
                        0
                    }
                }
            }
            Body::Length(_) | Body::UntilClose => body.take(buffer.filled()).map_err(RelayError::Syntax)?,
        };
        if taken > 0 {
            return Ok(Piece::Data { bytes: cut(buffer, taken), last: body.is_done() });
        }
        let finished = matches!(body, Body::Chunked(decoder) if decoder.is_finished());
        if buffer.is_empty() && !finished {
            let count = stream.receive_more(buffer).await.map_err(|error| RelayError::From(error.into()))?;
            match (count, &*body) {
                (0, Body::UntilClose) => *body = Body::Done,
                (0, _) => return Err(RelayError::From(IoFailure::Io(io::ErrorKind::UnexpectedEof.into()))),
                _ => {}
            }
        }
    }
}

/// Takes the first bytes of a buffer, with its memory if they are all of them.
fn cut(buffer: &mut Buffer, count: usize) -> Bytes {
    if count == buffer.len() && count > WORTH_MOVING {
        return Bytes::from_owner(std::mem::replace(buffer, Buffer::take()));
    }
    let bytes = Bytes::copy_from_slice(&buffer.filled()[..count]);
    buffer.consume(count);
    bytes
}

/// Reads trailer lines that the decoder has found valid.
fn trailer_fields(lines: &[u8]) -> HeaderMap {
    let fields = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    });
    let mut map = HeaderMap::new();
    fields.for_each(|(name, value)| {
        map.append(name, value);
    });
    map
}

async fn next_of_stream(stream: &mut Incoming) -> io::Result<Piece> {
    if let Some(bytes) = stream.data().await {
        return Ok(Piece::Data { bytes: bytes?, last: stream.is_end_stream() });
    }
    Ok(stream.trailers().await?.map_or(Piece::End, Piece::Trailers))
}

impl Sink<'_> {
    /// Waits for the next piece unless the receiver resets the stream it would go to.
    async fn unless_reset(&mut self, mut next: Pin<&mut impl Future<Output = Result<Piece, RelayError>>>) -> Result<Piece, RelayError> {
        let Self::Stream(stream) = self else { return next.await };
        let mut reset = pin!(stream.reset());
        poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(piece) => Poll::Ready(piece),
            Poll::Pending => reset.as_mut().poll(cx).map(|error| Err(RelayError::To(error.into()))),
        })
        .await
    }

    /// Sends what must go before the next piece although that is not there yet.
    async fn flush(&mut self) -> io::Result<u64> {
        match self {
            Self::H1 { stream, pending, .. } if !pending.is_empty() => {
                stream.send(pending.filled()).await?;
                let count = pending.len() as u64;
                pending.clear();
                Ok(count)
            }
            Self::H1 { .. } | Self::Stream(_) => Ok(0),
        }
    }

    async fn give(&mut self, piece: Piece) -> io::Result<u64> {
        match self {
            Self::H1 { stream, pending, coding } => {
                let framed = Framed::of(&piece, *coding);
                stream.send_pieces([pending.filled(), &framed.before, framed.content, &framed.behind]).await?;
                let count = pending.len() + framed.before.len() + framed.content.len() + framed.behind.len();
                pending.clear();
                Ok(count as u64)
            }
            Self::Stream(stream) => match piece {
                Piece::Data { bytes, last } => stream.data(bytes, last).await,
                Piece::Trailers(fields) => stream.trailers(fields).await.map(|()| 0),
                Piece::End => stream.finish().map(|()| 0),
            },
        }
    }
}

/// A piece as HTTP/1 sends it.
struct Framed<'a> {
    before: Vec<u8>,
    content: &'a [u8],
    behind: Vec<u8>,
}

impl<'a> Framed<'a> {
    fn of(piece: &'a Piece, coding: Coding) -> Self {
        let (before, content, behind): (Vec<u8>, &[u8], Vec<u8>) = match (coding, piece) {
            (Coding::Plain, Piece::Data { bytes, .. }) => (Vec::new(), bytes, Vec::new()),
            (Coding::Plain, Piece::Trailers(_) | Piece::End) => (Vec::new(), &[], Vec::new()),
            (Coding::Chunked, Piece::Data { bytes, last }) if bytes.is_empty() => (Vec::new(), &[], last_chunk(*last, b"")),
            (Coding::Chunked, Piece::Data { bytes, last }) => {
                (format!("{:x}\r\n", bytes.len()).into_bytes(), bytes, last_chunk(*last, b"\r\n"))
            }
            (Coding::Chunked, Piece::End) => (Vec::new(), &[], b"0\r\n\r\n".to_vec()),
            (Coding::Chunked, Piece::Trailers(fields)) => (Vec::new(), &[], trailer_lines(fields)),
        };
        Self { before, content, behind }
    }
}

fn last_chunk(last: bool, end: &[u8]) -> Vec<u8> {
    [end, if last { b"0\r\n\r\n" } else { b"" }].concat()
}

/// Prints trailers; what HTTP/1 cannot carry, or must not see there, stays behind.
fn trailer_lines(fields: &HeaderMap) -> Vec<u8> {
    let mut lines = b"0\r\n".to_vec();
    for (name, value) in fields {
        if chunked::may_trail(name.as_str().as_bytes()) && value.as_bytes().iter().all(|byte| is_field_byte(*byte)) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines.extend_from_slice(b"\r\n");
    lines
}

/// How much of what is in memory is given at a time, so that a receiver has its time for each part.
const SLICE: usize = 64 * 1024;
/// Length of the line that ends trailers.
const EMPTY_LINE: usize = 2;
/// From this length on it is cheaper to give the memory away than to copy it.
const WORTH_MOVING: usize = 1024;
