//! What decides about the TLS of the clients of one bind.

use std::sync::Arc;

use control::config::{self, ClientAuth, Diagnostic};
use control::tls::{self, trusted};
use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions, UnbufferedServerConnection,
    WebPkiClientVerifier,
};

use super::layer::Layer;
use super::records::Connection;
use super::store::{Loader, Remarks, Store};

/// Accepts TLS from the clients of one bind.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// The number of the bind within its frontend, from 1, by which HAProxy's log names it.
    bind: usize,
    config: Arc<ServerConfig>,
    sessions: Sessions,
    verification: Verification,
}

/// What lets clients resume their sessions on any thread.
///
/// A resumed session is trusted as far as the one it began with, so no two binds share theirs, and a reload that changes who is
/// trusted begins anew.
#[derive(Debug, Clone)]
struct Sessions {
    tickets: Arc<dyn ProducesTickets>,
    /// For clients without tickets.
    cache: Arc<dyn StoresServerSessions>,
}

/// What clients are verified by: who must show something, and the bytes of the files that decide about it.
#[derive(Debug, PartialEq, Eq)]
struct Verification {
    model: ClientAuth,
    files: Vec<Vec<u8>>,
}

impl Acceptor {
    /// Reads everything that `model` names; says all that is wrong with it.
    pub(super) fn load(
        bind: usize,
        model: &config::Tls,
        location: &config::Location,
        before: Option<&Self>,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let errors_before = findings.len();
        let provider = Arc::new(tls::provider(model.protocol()));
        let store = store(model, &provider, findings);
        let (verifier, verification) = verifier(model.client(), &provider, findings);
        let failed = findings[errors_before..].iter().any(|finding| finding.severity() == config::Severity::Error);
        let (verifier, false) = (verifier?, failed) else { return None };
        let sessions = match before.filter(|before| before.verification == verification) {
            Some(before) => before.sessions.clone(),
            None => match Sessions::new() {
                Ok(sessions) => sessions,
                Err(error) => {
                    findings.push(Diagnostic::error(location, format!("no key for tickets: {error}")));
                    return None;
                }
            },
        };
        match server_config(model, provider, verifier, store, &sessions) {
            Ok(config) => Some(Self { bind, config: Arc::new(config), sessions, verification }),
            Err(error) => {
                findings.push(Diagnostic::error(location, format!("TLS cannot be spoken like this: {error}")));
                None
            }
        }
    }

    /// Begins the handshake with a client, whose first bytes may have been read already.
    ///
    /// # Errors
    /// Fails if the system gives no random numbers.
    pub(crate) fn begin(&self, early: &[u8]) -> Result<Layer, Error> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&self.config))?;
        Ok(Layer::new(Connection::Server(connection), early))
    }

    /// Returns the number of the bind within its frontend.
    pub(crate) fn bind(&self) -> usize {
        self.bind
    }
}

impl Sessions {
    fn new() -> Result<Self, Error> {
        Ok(Self { tickets: Ticketer::new()?, cache: ServerSessionMemoryCache::new(REMEMBERED) })
    }
}

fn server_config(
    model: &config::Tls,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    store: Store,
    sessions: &Sessions,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&tls::versions(model.protocol()))?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(store));
    config.alpn_protocols = model.alpn().iter().map(|protocol| protocol.clone().into_bytes()).collect();
    config.session_storage = Arc::clone(&sessions.cache);
    if model.tickets() {
        config.ticketer = Arc::clone(&sessions.tickets);
    }
    Ok(config)
}

/// Reads the certificates.
fn store(model: &config::Tls, provider: &CryptoProvider, findings: &mut Vec<Diagnostic>) -> Store {
    let mut store = Store::new(model);
    let mut loader = Loader::new(provider);
    let mut told = |location: &config::Location, remarks: Remarks| {
        findings.extend(remarks.errors.into_iter().map(|error| Diagnostic::error(location, error)));
        findings.extend(remarks.warnings.into_iter().map(|warning| Diagnostic::warning(location, warning)));
    };
    for path in model.certificates() {
        let mut remarks = Remarks::default();
        loader.add(path.value(), &mut store, &mut remarks);
        told(path.location(), remarks);
    }
    for path in model.crt_lists() {
        let mut remarks = Remarks::default();
        let before = store.is_empty();
        loader.add_list(path.value(), &mut store, &mut remarks);
        if before && store.is_empty() && remarks.errors.is_empty() {
            remarks.errors.push(format!("{}: no certificate in it", path.display()));
        }
        told(path.location(), remarks);
    }
    store
}

/// Reads who is trusted.
fn verifier(
    model: &ClientAuth,
    provider: &Arc<CryptoProvider>,
    findings: &mut Vec<Diagnostic>,
) -> (Option<Arc<dyn ClientCertVerifier>>, Verification) {
    let mut verification = Verification { model: model.clone(), files: Vec::new() };
    let trust = match model {
        ClientAuth::None => return (Some(Arc::new(NoClientAuth)), verification),
        ClientAuth::Optional(trust) | ClientAuth::Required(trust) => trust,
    };
    let Some((roots, crls)) = trusted(trust, &mut verification.files, findings) else { return (None, verification) };
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).with_crls(crls).enforce_revocation_expiration();
    let builder = if matches!(model, ClientAuth::Optional(_)) { builder.allow_unauthenticated() } else { builder };
    match builder.build() {
        Ok(verifier) => (Some(verifier), verification),
        Err(error) => {
            findings.extend(trust.ca().first().map(|file| Diagnostic::error(file.location(), error.to_string())));
            (None, verification)
        }
    }
}

/// Sessions remembered for clients without tickets, as many as HAProxy does.
const REMEMBERED: usize = 20_000;
