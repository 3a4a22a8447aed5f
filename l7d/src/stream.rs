//! Reading, writing and relaying bytes of one connection, each wait within its time.
//!
//! Where large bodies are relayed the kernel moves them through a pipe; what it moves and why is left to [`crate::forward`] and
//! [`crate::tunnel`].

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::ready;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::buffer::Buffer;
use crate::deadline::{Deadline, Elapsed};
use crate::h1::SyntaxError;
use crate::h1::body::Body;
use crate::h1::chunked::{Decoder, Piece};
use crate::pipe::Pipe;

/// How reading or writing fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IoFailure {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("timed out")]
    Elapsed(#[from] Elapsed),
}

/// One direction of an exchange: where bytes come from, where they go, and how long each may take.
#[derive(Debug)]
pub(crate) struct Lane<'a, 'f, 't> {
    /// The sender's connection.
    pub(crate) from: &'a mut ReadHalf<'f>,
    /// How long the sender may be silent.
    pub(crate) from_limit: Option<Duration>,
    /// The receiver's connection.
    pub(crate) to: &'a mut WriteHalf<'t>,
    /// How long the receiver may take nothing.
    pub(crate) to_limit: Option<Duration>,
}

/// How relaying a body fails.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// The sender failed or left too early.
    From(IoFailure),
    /// The receiver failed.
    To(IoFailure),
    /// The body is invalid.
    Syntax(SyntaxError),
}

/// Waits for bytes and returns them in a buffer, which is empty at the end of the stream; holds no buffer while waiting.
///
/// # Errors
/// As reading.
pub(crate) async fn receive(read: &mut ReadHalf<'_>) -> io::Result<Buffer> {
    poll_fn(|cx| {
        ready!(read.as_ref().poll_read_ready(cx))?;
        let mut buffer = Buffer::take();
        let outcome = pin!(read.read_buf(buffer.tail())).poll(cx);
        outcome.map_ok(|_| buffer)
    })
    .await
}

/// Reads more bytes into a buffer that has room, and returns how many; 0 is the end of the stream.
///
/// # Errors
/// As reading.
pub(crate) async fn receive_more(read: &mut ReadHalf<'_>, buffer: &mut Buffer) -> io::Result<usize> {
    buffer.make_room();
    read.read_buf(buffer.tail()).await
}

/// Writes two pieces, with one call if the receiver takes it all.
///
/// # Errors
/// As writing.
pub(crate) async fn send(write: &mut WriteHalf<'_>, first: &[u8], second: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < first.len() && !second.is_empty() {
        match write.write_vectored(&[IoSlice::new(&first[sent..]), IoSlice::new(second)]).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => sent += count,
        }
    }
    let in_second = sent.saturating_sub(first.len());
    write.write_all(first.get(sent..).unwrap_or_default()).await?;
    write.write_all(&second[in_second..]).await
}

impl Lane<'_, '_, '_> {
    /// Relays the rest of a body as it is; `buffer` holds what was read of it already, and at the end what came behind it.
    ///
    /// # Errors
    /// Fails where either side does, takes too long, or the body is invalid; `sent` counts what the receiver got.
    pub(crate) async fn relay(
        &mut self,
        body: &mut Body,
        buffer: &mut Buffer,
        deadline: &mut Deadline,
        sent: &mut u64,
    ) -> Result<(), RelayError> {
        while !body.is_done() {
            if buffer.is_empty() {
                if is_worth_splicing(body) && self.splice(body, deadline, sent).await? == Spliced::All {
                    break;
                }
                if self.refill(buffer, deadline).await? == 0 {
                    return end_of_stream(body);
                }
            }
            let count = body.take(buffer.filled()).map_err(RelayError::Syntax)?;
            self.give(&buffer.filled()[..count], deadline).await?;
            *sent += count as u64;
            buffer.consume(count);
        }
        buffer.shrink();
        Ok(())
    }

    /// Relays the content of a chunked body without its framing.
    ///
    /// # Errors
    /// As [`Self::relay`].
    pub(crate) async fn relay_content(
        &mut self,
        decoder: &mut Decoder,
        buffer: &mut Buffer,
        deadline: &mut Deadline,
        sent: &mut u64,
    ) -> Result<(), RelayError> {
        loop {
            match decoder.next(buffer.filled()).map_err(RelayError::Syntax)? {
                Piece::End => return Ok(()),
                Piece::Data(count) => {
                    self.give(&buffer.filled()[..count], deadline).await?;
                    *sent += count as u64;
                    buffer.consume(count);
                }
                Piece::Framing(count) => {
                    buffer.consume(count);
                    if !decoder.is_finished() && buffer.is_empty() && self.refill(buffer, deadline).await? == 0 {
                        return Err(RelayError::From(IoFailure::Io(io::ErrorKind::UnexpectedEof.into())));
                    }
                }
            }
        }
    }

    /// Reads into an empty buffer, a larger one if the last read filled it.
    async fn refill(&mut self, buffer: &mut Buffer, deadline: &mut Deadline) -> Result<usize, RelayError> {
        if buffer.was_filled() {
            buffer.grow();
        }
        let read = deadline.within(self.from_limit, pin!(receive_more(self.from, buffer))).await;
        flatten(read).map_err(RelayError::From)
    }

    async fn give(&mut self, bytes: &[u8], deadline: &mut Deadline) -> Result<(), RelayError> {
        let written = deadline.within(self.to_limit, pin!(self.to.write_all(bytes))).await;
        flatten(written).map_err(RelayError::To)
    }

    /// Lets the kernel move a body of known length, or one that lasts until close, for as long as it is worth it.
    async fn splice(&mut self, body: &mut Body, deadline: &mut Deadline, sent: &mut u64) -> Result<Spliced, RelayError> {
        let (from, to): (&TcpStream, &TcpStream) = (self.from.as_ref(), self.to.as_ref());
        while is_worth_splicing(body) {
            flatten(deadline.within(self.from_limit, pin!(from.readable())).await).map_err(RelayError::From)?;
            // Short of descriptors, copying has to do.
            let Ok(mut pipe) = Pipe::take() else { return Ok(Spliced::Some) };
            let most = if let Body::Length(left) = body { *left } else { u64::MAX };
            match from.try_io(Interest::READABLE, || pipe.fill(from, most)) {
                Ok(0) => return end_of_stream(body).map(|()| Spliced::All),
                Ok(count) => body.skip(count as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(RelayError::From(error.into())),
            }
            while pipe.held() > 0 {
                let draining = to.async_io(Interest::WRITABLE, || pipe.drain(to));
                *sent += flatten(deadline.within(self.to_limit, pin!(draining)).await).map_err(RelayError::To)? as u64;
            }
        }
        Ok(if body.is_done() { Spliced::All } else { Spliced::Some })
    }
}

/// How much of a body was spliced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spliced {
    All,
    Some,
}

/// Joins the two ways a timed operation fails.
pub(crate) fn flatten<T>(outcome: Result<io::Result<T>, Elapsed>) -> Result<T, IoFailure> {
    Ok(outcome??)
}

fn is_worth_splicing(body: &Body) -> bool {
    match body {
        Body::Length(left) => *left > WORTH_SPLICING,
        Body::Done | Body::Chunked(_) | Body::UntilClose => false,
    }
}

/// Judges the end of the sender's stream: the end of the body, or too early.
fn end_of_stream(body: &mut Body) -> Result<(), RelayError> {
    if matches!(body, Body::UntilClose) {
        *body = Body::Done;
        return Ok(());
    }
    Err(RelayError::From(IoFailure::Io(io::ErrorKind::UnexpectedEof.into())))
}

/// Remaining length from which two calls to splice are cheaper than copying.
const WORTH_SPLICING: u64 = 64 * 1024;
