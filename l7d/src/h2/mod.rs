//! HTTP/2 on both sides: connections and streams ↔ [`crate::message`] (RFC 9113).
//!
//! [`server`] takes a client's connection and makes an exchange of each of its streams; [`client`] carries exchanges to servers, many
//! on one connection; [`convert`] turns heads into the message model and back. Frames, flow control and their limits belong to the
//! `h2` crate, hyper's own engine, used directly because hyper hides interim responses and resets.

pub(crate) mod client;
pub(crate) mod convert;
mod io;
pub(crate) mod server;
pub(crate) mod websocket;

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use control::config::H2Limits;

/// Most concurrent streams of one connection, in either direction, unless the configuration says how many a client has.
const MAX_STREAMS: u32 = 100;
/// What a peer may send ahead on one stream, unless the configuration says so.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What a client may send ahead on all streams: this bounds the memory its connection takes.
const CLIENT_WINDOW: u32 = 1 << 20;
/// What a server may send ahead on all streams: clients that share its connection must not wait for the slow ones among them.
const SERVER_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// What may wait to be written on one stream.
const SEND_BUFFER: usize = 128 * 1024;
/// Largest head, the same as that of HTTP/1.
const MAX_HEAD: u32 = 16 * 1024;

/// Largest frame, unless the configuration says so (RFC 9113 section 4.2).
const FRAME: u32 = 16 * 1024;

/// What new connections allow.
static STREAMS: AtomicU32 = AtomicU32::new(MAX_STREAMS);
static WINDOW: AtomicU32 = AtomicU32::new(STREAM_WINDOW);
static MOST_FRAME: AtomicU32 = AtomicU32::new(FRAME);

/// Lets new connections allow what the configuration says.
pub(crate) fn follow(limits: H2Limits) {
    STREAMS.store(limits.streams.unwrap_or(MAX_STREAMS), Relaxed);
    WINDOW.store(limits.window.unwrap_or(STREAM_WINDOW), Relaxed);
    MOST_FRAME.store(limits.frame.unwrap_or(FRAME), Relaxed);
}

/// Turns the code of a reset stream into an error of a connection.
pub(crate) fn reset_error(reason: h2::Reason) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, reason.to_string())
}

/// Turns an error of the engine into one of a connection.
pub(crate) fn io_error(error: h2::Error) -> std::io::Error {
    if error.is_io() { error.into_io().unwrap_or_else(|| std::io::ErrorKind::Other.into()) } else { std::io::Error::other(error) }
}
