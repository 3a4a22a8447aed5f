//! The body of a request, behind its head.

use std::io;

use bytes::Bytes;
use http::HeaderMap;
use quinn::{Connection, RecvStream};

use super::frame::{Event, Frames, Kind};
use super::{FRAME_UNEXPECTED, Fault, MESSAGE_ERROR, NO_ERROR, head};

/// The body of a request. Dropped before its end it tells the client to stop sending.
#[derive(Debug)]
pub(crate) struct Body {
    frames: Frames,
    connection: Connection,
    state: State,
    /// How much is still to come of what the client has declared.
    left: Option<u64>,
}

#[derive(Debug)]
enum State {
    Head,
    Content,
    /// Trailers have come, and their end is awaited.
    Ending(HeaderMap),
    Trailers(HeaderMap),
    End,
}

impl Body {
    /// Returns a stream of which nothing has come.
    pub(super) fn new(stream: RecvStream, connection: Connection) -> Self {
        Self { frames: Frames::new(stream), connection, state: State::Head, left: None }
    }

    /// Waits for the head.
    pub(super) async fn head(&mut self) -> Result<http::request::Parts, Fault> {
        let parts = match self.frames.next().await? {
            Event::Frame(Kind::Headers, block) => head::request(&block)?,
            Event::Data(_) | Event::Frame(..) => return Err(Fault::Connection(FRAME_UNEXPECTED, "frame before the head of a request")),
            Event::End => return Err(Fault::Message(super::REQUEST_INCOMPLETE, "request without a head")),
        };
        let length = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        self.left = length.and_then(|length| length.parse().ok());
        self.state = State::Content;
        Ok(parts)
    }

    /// Tells whether the client has declared how much there will be.
    pub(super) fn has_length(&self) -> bool {
        self.left.is_some()
    }

    /// Tells whether nothing is to come, also no trailers.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Waits for the next piece of content; none is the end of it, behind which there may be trailers.
    pub(crate) async fn data(&mut self) -> Option<io::Result<Bytes>> {
        if !matches!(self.state, State::Content | State::Ending(_)) {
            return None;
        }
        match self.next().await {
            Ok(bytes) => bytes.map(Ok),
            Err(fault) => {
                self.state = State::End;
                if let Fault::Connection(code, what) = fault {
                    self.connection.close(code.into(), what.as_bytes());
                } else {
                    self.frames.stop(MESSAGE_ERROR);
                }
                Some(Err(fault.into_io()))
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let event = self.frames.next().await?;
            match (&mut self.state, event) {
                (State::Ending(fields), Event::End) => self.state = State::Trailers(std::mem::take(fields)),
                (State::Ending(_), _) => return Err(Fault::Connection(FRAME_UNEXPECTED, "frame behind trailers")),
                (_, Event::End) => self.state = State::End,
                (_, Event::Data(bytes)) => return self.count(bytes).map(Some),
                (_, Event::Frame(Kind::Headers, block)) => {
                    self.state = State::Ending(head::trailers(&block)?);
                    continue;
                }
                (_, Event::Frame(..)) => return Err(Fault::Connection(FRAME_UNEXPECTED, "frame that requests do not have")),
            }
            return match self.left {
                Some(1..) => Err(Fault::Message(MESSAGE_ERROR, "less content than declared")),
                Some(0) | None => Ok(None),
            };
        }
    }

    /// Checks content against what the client has declared.
    fn count(&mut self, bytes: Bytes) -> Result<Bytes, Fault> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes.len() as u64).ok_or(Fault::Message(MESSAGE_ERROR, "more content than declared"))?;
        }
        Ok(bytes)
    }

    /// Returns the trailers, behind the end of the content.
    pub(crate) async fn trailers(&mut self) -> io::Result<Option<HeaderMap>> {
        while let Some(bytes) = self.data().await {
            bytes?;
        }
        match std::mem::replace(&mut self.state, State::End) {
            State::Trailers(fields) => Ok(Some(fields)),
            State::Head | State::Content | State::Ending(_) | State::End => Ok(None),
        }
    }

    /// Tells the client why its request is not read on.
    pub(super) fn stop(&mut self, code: super::Code) {
        self.frames.stop(code);
        self.state = State::End;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.is_end() {
            self.frames.stop(NO_ERROR);
        }
    }
}
