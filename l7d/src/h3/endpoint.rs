//! One UDP socket of one thread, with all connections on it.
//!
//! The kernel hands datagrams to the sockets of an address by both ends' addresses, so a connection stays with the thread it began on
//! as long as its client keeps its address; clients that want to change theirs are told not to. Once nobody is let in any more the
//! socket is given up, and who is still there is served by sockets of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::{hkdf, hmac};
use control::config::{Congestion, Global};
use control::handover::Seed;
use quinn::congestion::{CubicConfig, NewRenoConfig};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tracing::warn;

use super::NO_ERROR;
use super::parted::{Flow, Parted};
use crate::bind::Spec;
use crate::site::Door;
use crate::tls::Witness;

/// One UDP socket with its connections.
#[derive(Debug)]
pub(crate) struct Endpoint {
    quinn: quinn::Endpoint,
    local: SocketAddr,
    /// Whom it serves, each by how many connections.
    flows: RefCell<HashMap<Flow, usize>>,
}

thread_local! {
    static ENDPOINTS: RefCell<Vec<Weak<Endpoint>>> = RefCell::default();
}

/// What new connections allow.
static STREAMS: AtomicU32 = AtomicU32::new(MAX_STREAMS);
/// In milliseconds.
static IDLE: AtomicU32 = AtomicU32::new(LONGEST_SILENCE);
static RETRY_THRESHOLD: AtomicU32 = AtomicU32::new(MOST_HALF_OPEN);

/// Lets new connections allow what the configuration says.
pub(crate) fn follow(global: &Global) {
    let limits = global.quic();
    SECRETS.store(Arc::new(match global.cluster_secret() {
        Some(secret) => Secrets::of(secret.as_bytes()),
        None => Secrets::of(&seed()),
    }));
    STREAMS.store(limits.streams.unwrap_or(MAX_STREAMS), Relaxed);
    IDLE.store(limits.idle.map_or(LONGEST_SILENCE, |idle| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX)), Relaxed);
    RETRY_THRESHOLD.store(limits.retry_threshold.unwrap_or(MOST_HALF_OPEN), Relaxed);
}

/// Returns how many handshakes may be incomplete before clients must prove their addresses.
pub(super) fn retry_threshold() -> u32 {
    RETRY_THRESHOLD.load(Relaxed)
}

/// Ends all connections of this thread, whose clients would otherwise wait for what does not come.
pub(crate) async fn say_farewell() {
    let endpoints: Vec<_> = ENDPOINTS.take().iter().filter_map(Weak::upgrade).collect();
    endpoints.iter().for_each(|endpoint| endpoint.quinn.close(NO_ERROR.into(), b""));
    if !endpoints.is_empty() {
        flush().await;
    }
}

/// Lets the engine send what it was told last: it runs on this thread, too, and the thread may end with this task.
pub(super) async fn flush() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

impl Endpoint {
    /// Serves connections on a socket; none are accepted yet.
    ///
    /// # Errors
    /// Fails if the system does not take the socket for what it is to be.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Rc<Self>> {
        let mut config = EndpointConfig::new(Arc::clone(&SECRETS.load().reset) as _);
        config.grease_quic_bit(true);
        let quinn = quinn::Endpoint::new(config, None, socket.into(), Arc::new(TokioRuntime))?;
        let endpoint = Rc::new(Self { local: quinn.local_addr()?, quinn, flows: RefCell::default() });
        ENDPOINTS.with_borrow_mut(|endpoints| {
            endpoints.retain(|endpoint| endpoint.strong_count() > 0);
            endpoints.push(Rc::downgrade(&endpoint));
        });
        Ok(endpoint)
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Remembers where a client is, for as long as the answer lives.
    pub(super) fn attend(self: &Rc<Self>, client: &Incoming) -> Attendance {
        let flow = Flow { client: client.remote_address(), ours: client.local_ip().unwrap_or(self.local.ip()) };
        *self.flows.borrow_mut().entry(flow).or_default() += 1;
        Attendance { endpoint: Rc::clone(self), flow }
    }

    /// Gives up the socket, so that it takes from nobody else what comes to the address; who is in stays.
    pub(super) async fn part(&self, spec: &Spec) {
        let flows: Vec<_> = self.flows.borrow().keys().copied().collect();
        let parted = Parted::open(self.local, flows.into_iter(), |ours, client| spec.open_to(ours, client));
        let outcome = parted.and_then(|(parted, failed)| match failed {
            Some((number, error)) => Err(io::Error::new(error.kind(), format!("no socket of their own for {number} clients: {error}"))),
            None => Ok(Arc::new(parted)),
        });
        let switch = async |parted: Arc<Parted>| {
            self.quinn.rebind_abstract(Arc::clone(&parted) as _)?;
            // What has come by the old one is still read.
            tokio::time::sleep(GRACE).await;
            // The second time the old one is let go, which is otherwise kept until something comes by a new one.
            self.quinn.rebind_abstract(parted)
        };
        let outcome = match outcome {
            Ok(parted) => switch(parted).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            warn!("{spec}: the socket is kept until its clients have left, and takes datagrams from the next process: {error}");
        }
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

/// A client's place among those that an endpoint serves.
pub(super) struct Attendance {
    endpoint: Rc<Endpoint>,
    flow: Flow,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut flows = self.endpoint.flows.borrow_mut();
        if let Some(count) = flows.get_mut(&self.flow) {
            *count -= 1;
            if *count == 0 {
                flows.remove(&self.flow);
            }
        }
    }
}

/// What must be the same on all threads, and for as long as clients may come back to another process, so that a client is known there.
struct Secrets {
    reset: Arc<hmac::Key>,
    tokens: Arc<hkdf::Prk>,
}

static SECRETS: LazyLock<ArcSwap<Secrets>> = LazyLock::new(|| ArcSwap::from_pointee(Secrets::of(&seed())));
static SEED: OnceLock<Seed> = OnceLock::new();

/// Returns what the secrets are made from where the configuration says nothing of it.
pub(crate) fn seed() -> Seed {
    *SEED.get_or_init(|| {
        let mut seed = [0; _];
        aws_lc_rs::rand::fill(&mut seed).expect("the system has random numbers");
        seed
    })
}

/// Takes over what the process before has made its secrets from; does nothing once there are some.
pub(crate) fn inherit(seed: Seed) {
    let _ = SEED.set(seed);
}

impl Secrets {
    fn of(seed: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA512, seed);
        let [reset, tokens] = ["QUIC stateless reset", "QUIC address tokens"].map(|use_of| hmac::sign(&key, use_of.as_bytes()));
        Self {
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())),
            tokens: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(tokens.as_ref())),
        }
    }
}

/// Returns what one connection is served by, and what it leaves to know of its handshake.
pub(super) fn server_config(door: &Door) -> Option<(Arc<ServerConfig>, Arc<Witness>)> {
    let (tls, witness) = door.acceptor()?.quic();
    // The configuration was checked to have what QUIC needs.
    let crypto = QuicServerConfig::try_from(tls).ok()?;
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::clone(&SECRETS.load().tokens) as _);
    config.migration(false);
    config.max_incoming(MOST_WAITING).incoming_buffer_size_total(WAITING_BYTES);
    config.transport_config(Arc::new(transport(door)));
    Some((Arc::new(config), witness))
}

fn transport(door: &Door) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IDLE.load(Relaxed);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS.load(Relaxed)))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_CLIENT_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
        // A server may take longer to answer than a client waits for a sign of life.
        .keep_alive_interval(Some(Duration::from_millis((idle / 3).max(1).into())));
    match door.quic().congestion() {
        Congestion::Cubic => transport.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Congestion::NewReno => transport.congestion_controller_factory(Arc::new(NewRenoConfig::default())),
    };
    transport
}

/// How long the socket that was given up is still read from.
const GRACE: Duration = Duration::from_millis(20);
/// Most concurrent streams of one connection, unless the configuration says so; here and below as in HAProxy.
const MAX_STREAMS: u32 = 100;
/// Streams of one direction: three have a meaning, and others may be tried.
const MAX_CLIENT_STREAMS: u32 = 8;
/// What a client may send ahead on one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What a client may send ahead on all streams: this bounds the memory its connection takes.
const CLIENT_WINDOW: u32 = 1 << 20;
/// What waits to be taken by a client.
const SEND_WINDOW: u64 = 1 << 20;
/// How long a connection may be without a sign of life, in milliseconds.
const LONGEST_SILENCE: u32 = 30_000;
/// Handshakes that may be incomplete.
const MOST_HALF_OPEN: u32 = 100;
/// Clients that wait to be let in, and what they may send meanwhile.
const MOST_WAITING: usize = 4096;
const WAITING_BYTES: u64 = 16 << 20;
