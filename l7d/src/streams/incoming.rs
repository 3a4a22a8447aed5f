//! A body that comes in frames, of which the first content may have been looked at before it is passed on.

use std::io;

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use crate::h2::io_error;
use crate::h3;

/// A body that comes in frames.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Stream,
    /// Content that was looked at and not passed on yet.
    early: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    H2(RecvStream),
    H3(Box<h3::Body>),
}

/// What looking further brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Further {
    /// More content.
    More,
    /// The end of it.
    End,
}

impl Incoming {
    /// Returns the body of a stream of HTTP/2.
    pub(crate) fn h2(stream: RecvStream) -> Self {
        Self { stream: Stream::H2(stream), early: Vec::new() }
    }

    /// Returns the body of a stream of HTTP/3.
    pub(crate) fn h3(body: h3::Body) -> Self {
        Self { stream: Stream::H3(Box::new(body)), early: Vec::new() }
    }

    /// Tells whether nothing is to come, also no trailers.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.early.is_empty() && self.stream.is_end()
    }

    /// Returns the content that was looked at.
    pub(crate) fn early(&self) -> &[u8] {
        &self.early
    }

    /// Waits for more content, which is kept for whoever passes it on.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn look_further(&mut self) -> io::Result<Further> {
        if self.stream.is_end() {
            return Ok(Further::End);
        }
        let Some(bytes) = self.stream.data().await else { return Ok(Further::End) };
        self.early.extend_from_slice(&bytes?);
        Ok(Further::More)
    }

    /// Waits for the next piece of content; none is the end of it, behind which there may be trailers.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn data(&mut self) -> Option<io::Result<Bytes>> {
        if !self.early.is_empty() {
            return Some(Ok(std::mem::take(&mut self.early).into()));
        }
        self.stream.data().await
    }

    /// Waits for the trailers.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn trailers(&mut self) -> io::Result<Option<HeaderMap>> {
        match &mut self.stream {
            Stream::H2(stream) => stream.trailers().await.map_err(io_error),
            Stream::H3(body) => body.trailers().await,
        }
    }
}

impl Stream {
    fn is_end(&self) -> bool {
        match self {
            Self::H2(stream) => stream.is_end_stream(),
            Self::H3(body) => body.is_end(),
        }
    }

    async fn data(&mut self) -> Option<io::Result<Bytes>> {
        match self {
            Self::H2(stream) => {
                let bytes = stream.data().await?;
                // Released before it was passed on: the window bounds what waits here, and one piece more does no harm.
                let bytes = bytes.and_then(|bytes| stream.flow_control().release_capacity(bytes.len()).map(|()| bytes));
                Some(bytes.map_err(io_error))
            }
            Self::H3(body) => body.data().await,
        }
    }
}
