//! A stream of bytes as the engine of HTTP/2 wants it.

use std::cell::{Cell, RefCell};
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
    complaints: RefCell<Option<Complaints>>,
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

    /// Counts, from the first byte on, what the peer is told that it did wrong.
    pub(super) fn count_complaints(&self) {
        *self.complaints.borrow_mut() = Some(Complaints::default());
    }

    /// Hands out how many complaints there were since the last time.
    pub(super) fn take_complaints(&self) -> u32 {
        self.complaints.borrow_mut().as_mut().map_or(0, |complaints| std::mem::take(&mut complaints.count))
    }

    fn note(&self, outcome: Poll<io::Result<usize>>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.waits.set(outcome.is_pending());
        if let Poll::Ready(Ok(count)) = outcome {
            self.written.set(self.written.get() + count as u64);
            if let Some(complaints) = &mut *self.complaints.borrow_mut() {
                complaints.follow(pieces, count);
            }
        }
        outcome
    }
}

/// Follows the frames that go out, among which are those by which the engine, on its own, resets streams that the peer uses wrongly.
#[derive(Debug, Default)]
struct Complaints {
    /// The head of a frame, and the code of one that resets a stream, as far as it went.
    head: [u8; HEAD + CODE],
    have: usize,
    /// How much of the frame is of no interest.
    skip: usize,
    count: u32,
}

impl Complaints {
    /// Looks at so many bytes, which were written.
    fn follow(&mut self, pieces: &[IoSlice<'_>], mut count: usize) {
        for piece in pieces {
            let written = count.min(piece.len());
            count -= written;
            let mut bytes = &piece[..written];
            while !bytes.is_empty() {
                bytes = &bytes[self.step(bytes)..];
            }
        }
    }

    /// Looks at the first of some bytes, and returns how many that were.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            return skipped;
        }
        let taken = (self.wanted() - self.have).min(bytes.len());
        self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        if self.have == self.wanted() {
            let [a, b, c, kind, .., code] = self.head;
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
            self.skip = length.saturating_sub(self.have - HEAD);
            self.count += u32::from(kind == RST_STREAM && self.have > HEAD && FAULTS.contains(&code));
            self.have = 0;
        }
        taken
    }

    fn wanted(&self) -> usize {
        if self.have >= HEAD && self.head[KIND] == RST_STREAM { HEAD + CODE } else { HEAD }
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
        let pieces = [IoSlice::new(bytes)];
        self.backlog.note(self.stream.poll_write(cx, &pieces), &pieces)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.backlog.note(self.stream.poll_write(cx, pieces), pieces)
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

/// How long the head of a frame is, and where in it its kind stands (RFC 9113 section 4.1).
const HEAD: usize = 9;
const KIND: usize = 3;
/// How long the code of an error is.
const CODE: usize = 4;
const RST_STREAM: u8 = 3;
/// The last bytes of codes that blame the peer: a fault in the protocol, in flow control, in what is closed, in a length, in compression, in
/// measure (RFC 9113 section 7).
const FAULTS: [u8; 6] = [1, 3, 5, 6, 9, 11];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_found_however_the_bytes_are_cut() {
        let frame = |kind: u8, payload: &[u8]| [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, 0, 0, 0, 0, 1], payload].concat();
        let bytes = [
            frame(4, &[]),
            frame(RST_STREAM, &[0, 0, 0, 1]),
            frame(0, &[3; 40]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            frame(6, &[0, 0, 0, 1, 0, 0, 0, 1]),
            frame(RST_STREAM, &[0, 0, 0, 11]),
        ]
        .concat();
        for size in 1..bytes.len() {
            let mut complaints = Complaints::default();
            for piece in bytes.chunks(size) {
                let (one, other) = piece.split_at(piece.len() / 2);
                complaints.follow(&[IoSlice::new(one), IoSlice::new(other), IoSlice::new(&[9; 9])], piece.len());
            }
            assert_eq!(complaints.count, 2, "{size}");
        }
    }
}
