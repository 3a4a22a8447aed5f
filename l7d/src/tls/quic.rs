//! What is left to know of a handshake inside QUIC, whose engine tells little of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SupportedCipherSuite};

use super::layer::Secured;
use super::pardon::Faults;
use super::session::{Session, Shown};
use super::store::Store;

/// Stands by at one handshake, and remembers what was decided.
#[derive(Debug)]
pub(crate) struct Witness {
    store: Arc<Store>,
    tickets: Arc<dyn ProducesTickets>,
    provider: Arc<CryptoProvider>,
    /// Whether the client's order of suites counts for less than ours.
    ours_first: bool,
    seen: OnceLock<Seen>,
    is_resumed: AtomicBool,
}

#[derive(Debug)]
struct Seen {
    shown: Shown,
    cipher: CipherSuite,
}

impl Witness {
    pub(super) fn new(config: &ServerConfig, store: &Arc<Store>) -> Self {
        Self {
            store: Arc::clone(store),
            tickets: Arc::clone(&config.ticketer),
            provider: Arc::clone(config.crypto_provider()),
            ours_first: config.ignore_client_order,
            seen: OnceLock::new(),
            is_resumed: AtomicBool::new(false),
        }
    }

    /// Returns the cipher suite that both sides take, as rustls decides it.
    fn cipher(&self, offered: &[CipherSuite]) -> Option<CipherSuite> {
        let ours = || self.provider.cipher_suites.iter().filter(|suite| suite.tls13().is_some()).map(SupportedCipherSuite::suite);
        if self.ours_first {
            ours().find(|suite| offered.contains(suite))
        } else {
            offered.iter().copied().find(|suite| ours().any(|own| own == *suite))
        }
    }

    /// Tells whether the client goes on with an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed.load(Ordering::Relaxed)
    }

    /// Returns what was agreed on, in the words of OpenSSL.
    pub(crate) fn secured(&self) -> Option<Secured> {
        let cipher = self.seen.get()?.cipher;
        Some(Secured { version: "TLSv1.3", cipher: control::tls::suite_name(cipher) })
    }

    /// Returns all that rules may know, with what the client has shown.
    pub(crate) fn session(&self, peer: Vec<CertificateDer<'static>>) -> Option<Session> {
        Some(Session {
            secured: self.secured()?,
            alpn: Some(b"h3".to_vec()),
            is_resumed: self.is_resumed(),
            peer,
            shown: self.seen.get().map(|seen| Shown::clone(&seen.shown)),
            faults: Faults::default(),
        })
    }
}

impl ResolvesServerCert for Witness {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.store.find(&hello)?;
        if let Some(cipher) = self.cipher(hello.cipher_suites()) {
            // A second hello is answered with the same.
            let _ = self.seen.set(Seen { shown: Shown { key: Arc::clone(&key), host: hello.server_name().map(str::to_owned) }, cipher });
        }
        Some(key)
    }
}

impl ProducesTickets for Witness {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.tickets.decrypt(cipher);
        self.is_resumed.fetch_or(plain.is_some(), Ordering::Relaxed);
        plain
    }
}
