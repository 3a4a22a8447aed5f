//! An answer that a cache has, on its way to the client.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;

use super::client_failed;
use crate::buffer::Buffer;
use crate::compress::Coder;
use crate::downstream::{Downstream, Wire};
use crate::error::ExchangeError;
use crate::flow::Flow;
use crate::h1::encode::{self, Connection};
use crate::h2::convert;
use crate::lane::{RelayError, flatten};
use crate::message::head::{ResponseHead, Version};
use crate::message::headers::Known;
use crate::transfer::{Coding, Sink, Source, Transfer};

/// An answer that is there as a whole.
pub(crate) struct Held {
    /// As rules have left it.
    pub(crate) head: ResponseHead,
    /// Empty where none is sent.
    pub(crate) body: Bytes,
    /// What compresses the body.
    pub(crate) coder: Option<Coder>,
    /// What is said about the client's connection.
    pub(crate) connection: Connection,
}

impl Held {
    /// Gives it to a client that may be silent for so long; `sent` counts the bytes it got.
    ///
    /// # Errors
    /// Fails if the client does.
    pub(crate) async fn give(mut self, client: &mut Downstream<'_>, limit: Option<Duration>, sent: &Flow) -> Result<(), ExchangeError> {
        let deadline = &mut *client.deadline;
        let mut sending;
        let is_empty = self.body.is_empty();
        let to = match &mut client.wire {
            Wire::H1 { stream, .. } => {
                let mut pending = Buffer::take();
                let coding = self.frame();
                encode::response(&self.head, self.connection, pending.tail());
                Sink::H1 { stream, pending, coding: if is_empty { Coding::Plain } else { coding } }
            }
            Wire::Stream(stream) => {
                let response = convert::response(&self.head).map_err(ExchangeError::Untranslatable)?;
                let begun = deadline.within(limit, pin!(stream.respond.respond(response, is_empty))).await;
                sending = flatten(begun).map_err(client_failed)?;
                if is_empty {
                    return Ok(());
                }
                Sink::Stream(&mut sending)
            }
        };
        let transfer =
            Transfer { from: Source::Held(self.body), from_limit: None, to, to_limit: limit, coder: self.coder, recording: None };
        transfer.run(deadline, sent).await.map_err(|error| match error {
            RelayError::To(failure) | RelayError::From(failure) => client_failed(failure),
            RelayError::Syntax(error) => ExchangeError::DownloadInvalid(error),
        })
    }

    /// Returns how the body is framed in HTTP/1, which the head of an answer that came in frames does not say.
    fn frame(&mut self) -> Coding {
        let has = |known| self.head.headers.known(known).next().is_some();
        if has(Known::TransferEncoding) {
            return Coding::Chunked;
        }
        if self.head.version() == Version::Http2 && !has(Known::ContentLength) && self.head.status() != 304 {
            self.head.headers.append(b"content-length", self.body.len().to_string().as_bytes()).expect("digits");
        }
        Coding::Plain
    }
}
