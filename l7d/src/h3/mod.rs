//! HTTP/3 to clients: connections and streams of QUIC ↔ the types of `http` (RFC 9114).
//!
//! QUIC itself is quinn's, whose streams are used directly, so that what a client sends is read no faster than it is wanted, and each
//! wait can be given up. [`listener`] accepts connections on one UDP socket and [`server`] makes an exchange of each of their streams;
//! [`frame`] takes streams apart and is the only one to read foreign bytes, with [`qpack`] for heads.

mod body;
mod control;
mod endpoint;
mod frame;
mod head;
pub(crate) mod listener;
mod parted;
mod qpack;
mod sender;
mod server;

pub(crate) use body::Body;
pub(crate) use endpoint::{Endpoint, follow, inherit, say_farewell, seed};
pub(crate) use sender::Sender;

use std::io;

use quinn::VarInt;

/// A code that says why a stream or a connection ends (RFC 9114 section 8.1, RFC 9204 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u32);

const NO_ERROR: Code = Code(0x100);
const INTERNAL_ERROR: Code = Code(0x102);
const STREAM_CREATION_ERROR: Code = Code(0x103);
const CLOSED_CRITICAL_STREAM: Code = Code(0x104);
const FRAME_UNEXPECTED: Code = Code(0x105);
const FRAME_ERROR: Code = Code(0x106);
const SETTINGS_ERROR: Code = Code(0x109);
const MISSING_SETTINGS: Code = Code(0x10a);
const REQUEST_REJECTED: Code = Code(0x10b);
const REQUEST_CANCELLED: Code = Code(0x10c);
const REQUEST_INCOMPLETE: Code = Code(0x10d);
pub(crate) const MESSAGE_ERROR: Code = Code(0x10e);
const DECOMPRESSION_FAILED: Code = Code(0x200);

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code.0)
    }
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// It was reset, or its connection ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What it holds is invalid, which ends the stream.
    #[error("{1}")]
    Message(Code, &'static str),
    /// What it holds is invalid, which ends the connection.
    #[error("{1}")]
    Connection(Code, &'static str),
    /// A head is too large.
    #[error("head is too large")]
    TooLarge,
}

impl Fault {
    /// Makes it an error of a connection.
    fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            Self::Message(..) | Self::Connection(..) | Self::TooLarge => io::Error::new(io::ErrorKind::InvalidData, self.to_string()),
        }
    }
}

/// Largest head, the same as that of HTTP/1.
const MAX_HEAD: usize = 16 * 1024;
