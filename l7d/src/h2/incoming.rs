//! A body that comes in frames, of which the first content may have been looked at before it is passed on.

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

/// A body that comes in frames.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    /// Content that was looked at and not passed on yet.
    early: Vec<u8>,
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
    /// Returns a body of which nothing was looked at.
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, early: Vec::new() }
    }

    /// Tells whether nothing is to come, also no trailers.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.early.is_empty() && self.stream.is_end_stream()
    }

    /// Returns the content that was looked at.
    pub(crate) fn early(&self) -> &[u8] {
        &self.early
    }

    /// Waits for more content, which is kept for whoever passes it on.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn look_further(&mut self) -> Result<Further, h2::Error> {
        if self.stream.is_end_stream() {
            return Ok(Further::End);
        }
        let Some(bytes) = self.stream.data().await else { return Ok(Further::End) };
        let bytes = bytes?;
        self.stream.flow_control().release_capacity(bytes.len())?;
        self.early.extend_from_slice(&bytes);
        Ok(Further::More)
    }

    /// Waits for the next piece of content; none is the end of it, behind which there may be trailers.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        if !self.early.is_empty() {
            return Some(Ok(std::mem::take(&mut self.early).into()));
        }
        let bytes = self.stream.data().await?;
        // Released before it was passed on: the window bounds what waits here, and one piece more does no harm.
        Some(bytes.and_then(|bytes| self.stream.flow_control().release_capacity(bytes.len()).map(|()| bytes)))
    }

    /// Waits for the trailers.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn trailers(&mut self) -> Result<Option<HeaderMap>, h2::Error> {
        self.stream.trailers().await
    }
}
