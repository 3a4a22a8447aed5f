//! A stream of bytes as the engine of HTTP/2 wants it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::Buffer;
use crate::stream::Stream;

/// A connection, and what was read from it already.
#[derive(Debug)]
pub(super) struct Io<S> {
    pub(super) stream: S,
    pub(super) early: Option<Buffer>,
    pub(super) backlog: Rc<Backlog>,
}

/// What is known of bytes that the peer does not take.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waits: Cell<bool>,
    written: Cell<u64>,
}

impl Backlog {
    /// Tells whether bytes wait for the peer to make room.
    pub(super) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// Returns how many bytes were written.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    fn note(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.waits.set(outcome.is_pending());
        if let Poll::Ready(Ok(count)) = outcome {
            self.written.set(self.written.get() + count as u64);
        }
        outcome
    }
}

impl<S: Deref<Target = Stream> + Unpin> AsyncRead for Io<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut bytes = match self.early.take() {
            Some(early) => early,
            None => {
                ready!(self.stream.poll_readable(cx))?;
                let mut bytes = Buffer::take();
                ready!(self.stream.poll_read(cx, bytes.tail()))?;
                bytes
            }
        };
        let count = bytes.len().min(out.remaining());
        out.put_slice(&bytes.filled()[..count]);
        bytes.consume(count);
        self.early = Some(bytes).filter(|bytes| !bytes.is_empty());
        Poll::Ready(Ok(()))
    }
}

impl<S: Deref<Target = Stream> + Unpin> AsyncWrite for Io<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.backlog.note(self.stream.poll_write(cx, &[IoSlice::new(bytes)]))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.backlog.note(self.stream.poll_write(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}
