//! One direction of an exchange in HTTP/1 on both sides: the body goes from one connection to the other as it is.
//!
//! Where large bodies are relayed the kernel moves them through a pipe; what is relayed and why is left to [`crate::forward`].

use std::io;
use std::pin::pin;
use std::time::Duration;

use crate::buffer::Buffer;
use crate::bulk::Bulk;
use crate::deadline::{Deadline, Elapsed};
use crate::flow::Flow;
use crate::h1::SyntaxError;
use crate::h1::body::Body;
use crate::pipe::Pipe;
use crate::socket::Socket;
use crate::stream::Stream;

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
pub(crate) struct Lane<'a> {
    /// The sender's connection.
    pub(crate) from: &'a Stream,
    /// How long the sender may be silent.
    pub(crate) from_limit: Option<Duration>,
    /// The receiver's connection.
    pub(crate) to: &'a Stream,
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

impl Lane<'_> {
    /// Relays the rest of a body as it is; `buffer` holds what was read of it already, and at the end what came behind it.
    ///
    /// # Errors
    /// Fails where either side does, takes too long, or the body is invalid; `sent` counts what the receiver got.
    pub(crate) async fn relay(
        &mut self,
        body: &mut Body,
        buffer: &mut Buffer,
        deadline: &mut Deadline,
        sent: &Flow,
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
            sent.add(count as u64);
            buffer.consume(count);
        }
        buffer.shrink();
        Ok(())
    }

    /// Reads into an empty buffer, a larger one if the last read filled it.
    async fn refill(&mut self, buffer: &mut Buffer, deadline: &mut Deadline) -> Result<usize, RelayError> {
        if buffer.was_filled() {
            buffer.grow();
        }
        let read = deadline.within(self.from_limit, pin!(self.from.receive_more(buffer))).await;
        flatten(read).map_err(RelayError::From)
    }

    async fn give(&mut self, bytes: &[u8], deadline: &mut Deadline) -> Result<(), RelayError> {
        let written = deadline.within(self.to_limit, pin!(self.to.send(bytes))).await;
        flatten(written).map_err(RelayError::To)
    }

    /// Returns both sockets if what they carry are the bodies themselves, which the kernel may move.
    fn bare(&self) -> Option<(&Socket, &Socket)> {
        self.from.bare().zip(self.to.bare())
    }

    /// Lets the kernel move a body of known length, or one that lasts until close, for as long as it is worth it.
    async fn splice(&mut self, body: &mut Body, deadline: &mut Deadline, sent: &Flow) -> Result<Spliced, RelayError> {
        let Some((from, to)) = self.bare() else { return Ok(Spliced::Some) };
        let mut from = Bulk::announced(from);
        while is_worth_splicing(body) {
            // The pipe is taken once there is something to fill it with; short of descriptors, copying has to do.
            flatten(deadline.within(self.from_limit, pin!(from.readable())).await).map_err(RelayError::From)?;
            let Ok(mut pipe) = Pipe::take() else { return Ok(Spliced::Some) };
            let most = if let Body::Length(left) = body { *left } else { u64::MAX };
            match from.fill(&mut pipe, most) {
                Ok(0) => return end_of_stream(body).map(|()| Spliced::All),
                Ok(count) => body.skip(count as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(RelayError::From(error.into())),
            }
            while pipe.held() > 0 {
                let draining = to.when_writable(|to| pipe.drain(to));
                sent.add(flatten(deadline.within(self.to_limit, pin!(draining)).await).map_err(RelayError::To)? as u64);
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
