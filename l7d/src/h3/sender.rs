//! The response on a client's stream.

use std::future::Future;
use std::io;

use bytes::Bytes;
use http::{HeaderMap, Response};
use quinn::{SendStream, StoppedError, VarInt, WriteError};

use super::frame::{DATA, put_number};
use super::{Code, INTERNAL_ERROR, REQUEST_CANCELLED, head};

/// The sending half of a stream. Dropped before its end it resets the stream, so that what is cut short is not taken for whole.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: SendStream,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Begun,
    Over,
}

impl Sender {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream, state: State::Fresh }
    }

    /// Sends a head.
    pub(crate) async fn head(&mut self, response: &Response<()>) -> io::Result<()> {
        if !response.status().is_informational() {
            self.state = State::Begun;
        }
        self.stream.write_chunk(head::response(response).into()).await.map_err(write_error)
    }

    /// Sends content, as the client makes room for it.
    pub(crate) async fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut start = Vec::with_capacity(FRAME_START);
        put_number(DATA, &mut start);
        put_number(bytes.len() as u64, &mut start);
        self.stream.write_all_chunks(&mut [start.into(), bytes]).await.map_err(write_error)
    }

    /// Sends trailers.
    pub(crate) async fn trailers(&mut self, fields: &HeaderMap) -> io::Result<()> {
        self.stream.write_chunk(head::trailer_section(fields).into()).await.map_err(write_error)
    }

    /// Ends the stream.
    pub(crate) fn finish(&mut self) {
        self.state = State::Over;
        // It may have been stopped.
        let _ = self.stream.finish();
    }

    /// Resets the stream of a request that is not served.
    pub(crate) fn refuse(mut self, code: Code) {
        self.state = State::Over;
        let _ = self.stream.reset(code.into());
    }

    /// Waits until the client does not want the response any more.
    pub(crate) async fn stopped(&self) -> io::Error {
        match self.stream.stopped().await {
            Ok(Some(code)) => io::Error::new(io::ErrorKind::ConnectionReset, format!("stopped with code {:#x}", code.into_inner())),
            Ok(None) => std::future::pending().await,
            Err(error) => io::Error::new(io::ErrorKind::ConnectionReset, error),
        }
    }

    /// Returns what waits until the client has all that was sent, or wants no more of it.
    pub(super) fn settled(&self) -> impl Future<Output = Result<Option<VarInt>, StoppedError>> + use<> {
        self.stream.stopped()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let code = match self.state {
            State::Over => return,
            State::Fresh => REQUEST_CANCELLED,
            State::Begun => INTERNAL_ERROR,
        };
        let _ = self.stream.reset(code.into());
    }
}

fn write_error(error: WriteError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Longest kind and length of a frame.
const FRAME_START: usize = 9;
