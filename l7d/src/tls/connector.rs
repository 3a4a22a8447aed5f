//! What begins TLS with one server.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use control::tls::{Client, Host};
use rustls::client::UnbufferedClientConnection;

use super::layer::Layer;
use super::records::Connection;

/// Begins TLS with one server.
#[derive(Debug)]
pub(crate) struct Connector {
    /// Tells it from all others the process ever had.
    id: u64,
    client: Arc<Client>,
}

impl Connector {
    /// Returns what begins TLS as `client` decides; `before` if it did so already.
    pub(super) fn new(client: Arc<Client>, before: Option<&Arc<Self>>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        match before.filter(|before| Arc::ptr_eq(&before.client, &client)) {
            Some(before) => Arc::clone(before),
            None => Arc::new(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), client }),
        }
    }

    /// Returns what decides about the TLS.
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Begins the handshake with a server that is asked for a host.
    ///
    /// # Errors
    /// Fails if no host can be called like this.
    pub(crate) fn begin(&self, host: Host<'_>) -> io::Result<Layer> {
        let name = Client::name(host).map_err(io::Error::other)?;
        let connection = UnbufferedClientConnection::new(Arc::clone(self.client.config()), name).map_err(io::Error::other)?;
        Ok(Layer::new(Connection::Client(connection), &[]))
    }

    /// Returns a number that connections share which were begun alike and for the same host, and no others; never 0.
    pub(crate) fn kinship(&self, host: Host<'_>) -> u64 {
        /// Secret, so that nobody finds a host that shares another's connections.
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        match host {
            Host::Unstated => self.id,
            // The upper half belongs to those with a host.
            Host::Named(host) => SECRET.hash_one((self.id, host)) | 1 << 63,
        }
    }
}
