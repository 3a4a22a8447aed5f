//! What is sent on a stream: a response's head, and what follows a head in either direction.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, Response};

use crate::h2::{io_error, reset_error};
use crate::h3;

/// A client's stream that waits for its response.
#[derive(Debug)]
pub(crate) enum Responder {
    /// Of HTTP/2.
    H2(SendResponse<Bytes>),
    /// Of HTTP/3, until the response has begun.
    H3(Option<h3::Sender>),
}

/// What is sent behind a head. Dropped before its end it resets the stream.
#[derive(Debug)]
pub(crate) enum Sending {
    /// On a stream of HTTP/2.
    H2(SendStream<Bytes>),
    /// On a stream of HTTP/3.
    H3(h3::Sender),
}

impl Responder {
    /// Sends an interim response.
    ///
    /// # Errors
    /// Fails when the stream was reset, its connection ended, or the response has begun.
    pub(crate) async fn inform(&mut self, response: Response<()>) -> io::Result<()> {
        match self {
            Self::H2(respond) => respond.send_informational(response).map_err(io_error),
            Self::H3(Some(sender)) => sender.head(&response).await,
            Self::H3(None) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Sends the head of the response, behind which nothing comes if it `is_whole`.
    ///
    /// # Errors
    /// Fails when the stream was reset, its connection ended, or the response has begun.
    pub(crate) async fn respond(&mut self, response: Response<()>, is_whole: bool) -> io::Result<Sending> {
        match self {
            Self::H2(respond) => respond.send_response(response, is_whole).map(Sending::H2).map_err(io_error),
            Self::H3(place) => {
                let mut sender = place.take().ok_or(io::ErrorKind::BrokenPipe)?;
                sender.head(&response).await?;
                if is_whole {
                    sender.finish();
                }
                Ok(Sending::H3(sender))
            }
        }
    }

    /// Waits until the client resets the stream.
    pub(crate) async fn reset(&mut self) -> io::Error {
        match self {
            Self::H2(respond) => poll_fn(|cx| respond.poll_reset(cx)).await.map_or_else(io_error, reset_error),
            Self::H3(Some(sender)) => sender.stopped().await,
            Self::H3(None) => std::future::pending().await,
        }
    }

    /// Refuses a malformed request.
    pub(crate) fn refuse(self) {
        match self {
            Self::H2(mut respond) => respond.send_reset(h2::Reason::PROTOCOL_ERROR),
            Self::H3(Some(sender)) => sender.refuse(h3::MESSAGE_ERROR),
            Self::H3(None) => {}
        }
    }
}

impl Sending {
    /// Hands data to the stream as the receiver makes room for it, and returns how much it was.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn data(&mut self, bytes: Bytes, last: bool) -> io::Result<u64> {
        match self {
            Self::H2(stream) => send_data(stream, bytes, last).await,
            Self::H3(sender) => {
                let count = bytes.len() as u64;
                sender.data(bytes).await?;
                if last {
                    sender.finish();
                }
                Ok(count)
            }
        }
    }

    /// Hands data to the stream that it is to keep until the receiver makes room for it.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn push(&mut self, bytes: Bytes, last: bool) -> io::Result<()> {
        match self {
            Self::H2(stream) => stream.send_data(bytes, last).map_err(io_error),
            Self::H3(_) => self.data(bytes, last).await.map(drop),
        }
    }

    /// Ends the stream with trailers.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) async fn trailers(&mut self, fields: HeaderMap) -> io::Result<()> {
        match self {
            Self::H2(stream) => stream.send_trailers(fields).map_err(io_error),
            Self::H3(sender) => {
                sender.trailers(&fields).await?;
                sender.finish();
                Ok(())
            }
        }
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// Fails when the stream was reset or its connection ended.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::H2(stream) => stream.send_data(Bytes::new(), true).map_err(io_error),
            Self::H3(sender) => {
                sender.finish();
                Ok(())
            }
        }
    }

    /// Waits until the receiver resets the stream.
    pub(crate) async fn reset(&mut self) -> io::Error {
        match self {
            Self::H2(stream) => poll_fn(|cx| stream.poll_reset(cx)).await.map_or_else(io_error, reset_error),
            Self::H3(sender) => pin!(sender.stopped()).await,
        }
    }
}

async fn send_data(stream: &mut SendStream<Bytes>, mut bytes: Bytes, last: bool) -> io::Result<u64> {
    let whole = bytes.len() as u64;
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| {
            let room = stream.capacity();
            if room > 0 { Poll::Ready(Some(Ok(room))) } else { Poll::Ready(ready!(stream.poll_capacity(cx))) }
        });
        let Some(room) = room.await else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let part = bytes.split_to(room.map_err(io_error)?.min(bytes.len()));
        stream.send_data(part, last && bytes.is_empty()).map_err(io_error)?;
    }
    if whole == 0 && last {
        stream.send_data(bytes, true).map_err(io_error)?;
    }
    Ok(whole)
}
