//! HTTP/2 on both sides: connections and streams ↔ [`crate::message`] (RFC 9113).
//!
//! [`server`] takes a client's connection and makes an exchange of each of its streams; [`client`] carries exchanges to servers, many
//! on one connection; [`convert`] turns heads into the message model and back. Frames, flow control and their limits belong to the
//! `h2` crate, hyper's own engine, used directly because hyper hides interim responses and resets.

pub(crate) mod client;
pub(crate) mod convert;
pub(crate) mod incoming;
mod io;
pub(crate) mod server;
pub(crate) mod websocket;

/// Most concurrent streams of one connection, in either direction.
const MAX_STREAMS: u32 = 100;
/// What a peer may send ahead on one stream.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What a client may send ahead on all streams: this bounds the memory its connection takes.
const CLIENT_WINDOW: u32 = 1 << 20;
/// What a server may send ahead on all streams: clients that share its connection must not wait for the slow ones among them.
const SERVER_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// What may wait to be written on one stream.
const SEND_BUFFER: usize = 128 * 1024;
/// Largest head, the same as that of HTTP/1.
const MAX_HEAD: u32 = 16 * 1024;

/// Turns the code of a reset stream into an error of a connection.
pub(crate) fn reset_error(reason: h2::Reason) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, reason.to_string())
}

/// Turns an error of the engine into one of a connection.
pub(crate) fn io_error(error: h2::Error) -> std::io::Error {
    if error.is_io() { error.into_io().unwrap_or_else(|| std::io::ErrorKind::Other.into()) } else { std::io::Error::other(error) }
}
