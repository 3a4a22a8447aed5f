//! What is known of an exchange when its line is written.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::peer::Peer;
use crate::tls::Secured;

/// What is known of an exchange when its line is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Who the client is.
    pub(crate) client: Peer,
    /// The addresses of the connections; none where no line wants to know.
    pub(crate) ends: Ends,
    /// When the client came, or its request was first waited for.
    pub(crate) accepted: SystemTime,
    /// When the first byte of the request was there.
    pub(crate) began: SystemTime,
    /// How long everything took.
    pub(crate) steps: Steps,
    /// The name of the frontend.
    pub(crate) frontend: &'a str,
    /// The name of the backend, the frontend's where there is none.
    pub(crate) backend: &'a str,
    /// The name of the server; none if none was chosen.
    pub(crate) server: Option<&'a str>,
    /// What was agreed on with the client; none for clear text.
    pub(crate) tls: Option<Secured>,
    /// The status of the response.
    pub(crate) status: Option<u16>,
    /// Bytes from the client.
    pub(crate) received: u64,
    /// Bytes to the client.
    pub(crate) sent: u64,
    /// Who ended the exchange and in which phase, in HAProxy's letters.
    pub(crate) termination: &'static str,
    /// What became of the cookie that keeps a client with its server, in HAProxy's letters.
    pub(crate) cookies: [u8; 2],
    /// How many of everything there are.
    pub(crate) counts: Counts,
    /// The step that the line is written at, as `%OG` has it.
    pub(crate) origin: &'static str,
    /// The request line as it came; none if there was none that could be read.
    pub(crate) line: Option<&'a [u8]>,
}

/// Addresses of the connections of an exchange, beside the client's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ends {
    /// Where the client connected to.
    pub(crate) frontend: Option<SocketAddr>,
    /// Where the connection to the server came from.
    pub(crate) backend: Option<SocketAddr>,
    /// Where the server is.
    pub(crate) server: Option<SocketAddr>,
}

/// How long the steps of an exchange took; none for those that did not happen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Steps {
    /// PROXY header and TLS, of the first request of a connection.
    pub(crate) handshake: Duration,
    /// Waiting for the first byte of the request.
    pub(crate) idle: Duration,
    /// From there until the request was complete.
    pub(crate) request: Option<Duration>,
    /// Waiting for a slot.
    pub(crate) queue: Option<Duration>,
    /// Connecting.
    pub(crate) connect: Option<Duration>,
    /// Waiting for the response.
    pub(crate) response: Option<Duration>,
    /// From there until the end.
    pub(crate) data: Option<Duration>,
    /// From the first byte until the end.
    pub(crate) active: Duration,
}

/// How many of everything there were when an exchange ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Connections of the process.
    pub(crate) process: u64,
    /// Connections of the frontend.
    pub(crate) frontend: u64,
    /// Exchanges of the backend.
    pub(crate) backend: u64,
    /// Exchanges of the server.
    pub(crate) server: u64,
    /// Attempts after the first.
    pub(crate) retries: u32,
    /// Whether the last of them was on another server.
    pub(crate) redispatched: bool,
    /// Requests that left the queue of the server before this one.
    pub(crate) server_queue: u64,
    /// Requests that left the queue of the backend before this one.
    pub(crate) backend_queue: u64,
    /// The number of the exchange, of all of the process.
    pub(crate) exchange: u32,
    /// Lines the frontend has written before.
    pub(crate) lines: u64,
}
