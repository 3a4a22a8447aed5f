//! One UDP socket of one thread, with all connections on it.
//!
//! The kernel hands datagrams to the sockets of an address by both ends' addresses, so a connection stays with the thread it began on
//! as long as its client keeps its address; clients that want to change theirs are told not to.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac};
use control::config::Congestion;
use quinn::congestion::{CubicConfig, NewRenoConfig};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};

use crate::site::Door;
use crate::tls::Witness;

/// One UDP socket with its connections.
#[derive(Debug)]
pub(crate) struct Endpoint {
    quinn: quinn::Endpoint,
}

impl Endpoint {
    /// Serves connections on a socket; none are accepted yet.
    ///
    /// # Errors
    /// Fails if the system does not take the socket for what it is to be.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let mut config = EndpointConfig::new(Arc::clone(&secrets().reset) as _);
        config.grease_quic_bit(true);
        let quinn = quinn::Endpoint::new(config, None, socket.into(), Arc::new(TokioRuntime))?;
        Ok(Self { quinn })
    }

    pub(super) fn quinn(&self) -> &quinn::Endpoint {
        &self.quinn
    }

    /// Lets clients in by a door.
    pub(super) fn open(&self, door: &Door) {
        let config = server_config(door);
        self.quinn.set_server_config(config.map(|(config, _)| Arc::unwrap_or_clone(config)));
    }

    /// Lets nobody in any more; who is in stays.
    pub(super) fn shut(&self) {
        self.quinn.set_server_config(None);
    }
}

/// What must be the same on all threads, so that a client is known on each of them.
struct Secrets {
    reset: Arc<hmac::Key>,
    tokens: Arc<hkdf::Prk>,
}

fn secrets() -> &'static Secrets {
    static SECRETS: OnceLock<Secrets> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let (mut reset, mut tokens) = ([0; 64], [0; 64]);
        aws_lc_rs::rand::fill(&mut reset).and_then(|()| aws_lc_rs::rand::fill(&mut tokens)).expect("the system has random numbers");
        Secrets {
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)),
            tokens: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&tokens)),
        }
    })
}

/// Returns what one connection is served by, and what it leaves to know of its handshake.
pub(super) fn server_config(door: &Door) -> Option<(Arc<ServerConfig>, Arc<Witness>)> {
    let (tls, witness) = door.acceptor()?.quic();
    // The configuration was checked to have what QUIC needs.
    let crypto = QuicServerConfig::try_from(tls).ok()?;
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::clone(&secrets().tokens) as _);
    config.migration(false);
    config.max_incoming(MOST_WAITING).incoming_buffer_size_total(WAITING_BYTES);
    config.transport_config(Arc::new(transport(door)));
    Some((Arc::new(config), witness))
}

fn transport(door: &Door) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_CLIENT_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        // A server may take longer to answer than a client waits for a sign of life.
        .keep_alive_interval(Some(IDLE / 3));
    match door.quic().congestion() {
        Congestion::Cubic => transport.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Congestion::NewReno => transport.congestion_controller_factory(Arc::new(NewRenoConfig::default())),
    };
    transport
}

/// Most concurrent streams of one connection.
const MAX_STREAMS: u32 = 100;
/// Streams of one direction: three have a meaning, and others may be tried.
const MAX_CLIENT_STREAMS: u32 = 8;
/// What a client may send ahead on one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What a client may send ahead on all streams: this bounds the memory its connection takes.
const CLIENT_WINDOW: u32 = 1 << 20;
/// What waits to be taken by a client.
const SEND_WINDOW: u64 = 1 << 20;
/// How long a connection may be without a sign of life, as in HAProxy.
const IDLE: Duration = Duration::from_secs(30);
/// Clients that wait to be let in, and what they may send meanwhile.
const MOST_WAITING: usize = 4096;
const WAITING_BYTES: u64 = 16 << 20;
