//! What decides about the TLS of the clients of one bind.

use std::iter;
use std::path::Path;
use std::sync::Arc;

use control::config::{self, ClientAuth, Diagnostic, Held, SuiteOrder, Trust};
use control::tls::{self, trusted};
use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions,
    UnbufferedServerConnection, WebPkiClientVerifier,
};

use super::layer::{Layer, Secured};
use super::pardon::{Faults, Lenient};
use super::quic::Witness;
use super::records::Connection;
use super::session::{Session, Shown};
use super::store::{Draft, Loader, Remarks, Store};

/// Accepts TLS from the clients of one bind.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// What HAProxy's log calls the bind: its name, or its number within its frontend, from 1.
    bind: String,
    /// The bind's own terms, and those that lists of certificates set for some of their names.
    terms: Vec<Terms>,
    store: Arc<Store>,
}

/// On what terms TLS is spoken with a client.
#[derive(Debug)]
struct Terms {
    config: Arc<ServerConfig>,
    sessions: Sessions,
    verification: Verification,
}

/// What lets clients resume their sessions on any thread.
///
/// A resumed session is trusted as far as the one it began with, so only terms that trust the same clients share theirs, no two binds do, and a
/// reload that changes who is trusted begins anew.
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
        bind: String,
        model: &config::Tls,
        location: &config::Location,
        before: Option<&Self>,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let errors_before = findings.len();
        let store = Arc::new(store(model, location, &tls::provider(model.protocol()), findings));
        let mut all: Vec<Terms> = Vec::new();
        for (number, model) in iter::once(model).chain(store.particular()).enumerate() {
            let old = before.map_or(&[][..], |before| &before.terms).iter().chain(&all);
            let terms = Terms::load(model, &store, location, old, findings);
            // Numbers must not shift; what is missing was reported.
            debug_assert!(terms.is_some() || findings.len() > errors_before, "terms {number}");
            all.extend(terms);
        }
        let failed = findings[errors_before..].iter().any(|finding| finding.severity() == config::Severity::Error);
        (!failed).then_some(Self { bind, terms: all, store })
    }

    /// Returns what shows the same certificates and trusts clients as `model` says, with these texts in the place of files; none if it
    /// does so already.
    pub(super) fn trusting(
        &self,
        (model, held): (&config::Tls, &Held),
        location: &config::Location,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let models: Vec<_> = iter::once(model.clone()).chain(self.store.particular().iter().map(|model| model.holding(held))).collect();
        if models.iter().zip(&self.terms).all(|(model, terms)| *model.client() == terms.verification.model) {
            return None;
        }
        let mut all: Vec<Terms> = Vec::new();
        for model in &models {
            let terms = Terms::load(model, &self.store, location, self.terms.iter().chain(&all), findings)?;
            all.push(terms);
        }
        Some(Self { bind: self.bind.clone(), terms: all, store: Arc::clone(&self.store) })
    }

    /// Returns whom clients must be trusted by, with each of the certificates.
    pub(super) fn trusts(&self) -> impl Iterator<Item = &Trust> {
        self.terms.iter().filter_map(|terms| terms.verification.model.trust())
    }

    /// Tells whether a file decides about who is trusted, be it with some of the certificates only.
    pub(super) fn names(&self, file: &Path) -> bool {
        self.trusts().any(|trust| trust.names(file))
    }

    /// Tells whether it depends on the host a client asks for on what terms TLS is spoken.
    pub(crate) fn is_particular(&self) -> bool {
        self.terms.len() > 1
    }

    /// Begins the handshake with a client that asks for a host, if it does, and whose first bytes may have been read already.
    ///
    /// # Errors
    /// Fails if the system gives no random numbers.
    pub(crate) fn begin(&self, host: Option<&str>, early: &[u8]) -> Result<Layer, Error> {
        let number = if self.is_particular() { self.store.terms_for(host) } else { 0 };
        let terms = &self.terms[number];
        let connection = UnbufferedServerConnection::new(Arc::clone(&terms.config))?;
        Ok(Layer::new(Connection::Server(connection), early))
    }

    /// Returns what would be known of a client that asks for a host and shows certificates, had it agreed on what most agree on.
    pub(crate) fn imagine(&self, host: Option<&str>, peer: Vec<CertificateDer<'static>>) -> Session {
        let key = self.store.choose(host, |_| true);
        Session {
            secured: Secured { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" },
            alpn: None,
            is_resumed: false,
            peer,
            shown: key.map(|key| Shown { key, host: host.map(str::to_owned) }),
            faults: Faults::default(),
        }
    }

    /// Returns the certificates.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns what rustls goes by where the bind has no lists of certificates with terms of their own.
    pub(crate) fn config(&self) -> &Arc<ServerConfig> {
        &self.terms[0].config
    }

    /// Returns what rustls goes by for one connection of QUIC, and what it leaves to know of it.
    pub(crate) fn quic(&self) -> (ServerConfig, Arc<Witness>) {
        let mut config = ServerConfig::clone(&self.terms[0].config);
        let witness = Arc::new(Witness::new(&config, &self.store));
        config.alpn_protocols = vec![b"h3".to_vec()];
        config.cert_resolver = Arc::clone(&witness) as _;
        if config.ticketer.enabled() {
            config.ticketer = Arc::clone(&witness) as _;
        }
        // What the cache resumes would go unnoticed; tickets do the same.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        (config, witness)
    }

    /// Returns what HAProxy's log calls the bind.
    pub(crate) fn bind(&self) -> &str {
        &self.bind
    }
}

impl Terms {
    /// Reads who is trusted; sessions go on where that is the same as with one of the `others`.
    fn load<'t>(
        model: &config::Tls,
        store: &Arc<Store>,
        location: &config::Location,
        mut others: impl Iterator<Item = &'t Self>,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let provider = Arc::new(tls::provider(model.protocol()));
        let (verifier, verification) = verifier(model.client(), &provider, findings);
        let sessions = match others.find(|other| other.verification == verification) {
            Some(other) => Ok(other.sessions.clone()),
            None => Sessions::new(),
        };
        let config = sessions.and_then(|sessions| {
            let Some(verifier) = verifier else { return Ok(None) };
            Ok(Some((server_config(model, provider, verifier, Arc::clone(store), &sessions)?, sessions)))
        });
        match config {
            Ok(config) => config.map(|(config, sessions)| Self { config: Arc::new(config), sessions, verification }),
            Err(error) => {
                findings.push(Diagnostic::error(location, format!("TLS cannot be spoken like this: {error}")));
                None
            }
        }
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
    store: Arc<Store>,
    sessions: &Sessions,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&tls::versions(model.protocol()))?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(store);
    config.ignore_client_order = model.order() == SuiteOrder::Server;
    config.alpn_protocols = model.alpn().iter().map(|protocol| protocol.clone().into_bytes()).collect();
    let overlooks = model.client().overlooks();
    // What was overlooked is known of the handshake alone that has shown it.
    config.session_storage = if overlooks { Arc::new(NoServerSessionStorage {}) } else { Arc::clone(&sessions.cache) };
    if model.takes_early_data() && !overlooks {
        // Whoever listened could send the same again. What is remembered here resumes once, whichever thread is asked; a ticket would do
        // as often as it is shown.
        config.max_early_data_size = MOST_EARLY_DATA;
        config.send_half_rtt_data = true;
    } else if model.tickets() && !overlooks {
        config.ticketer = Arc::clone(&sessions.tickets);
    }
    Ok(config)
}

/// Reads the certificates.
fn store(model: &config::Tls, location: &config::Location, provider: &CryptoProvider, findings: &mut Vec<Diagnostic>) -> Store {
    let mut store = Draft::new(model, location);
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
        loader.add_list(path.value(), model, &mut store, &mut remarks);
        if before && store.is_empty() && remarks.errors.is_empty() {
            remarks.errors.push(format!("{}: no certificate in it", path.display()));
        }
        told(path.location(), remarks);
    }
    store.finish()
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
        Ok(verifier) => (Some(Lenient::over(verifier, trust)), verification),
        Err(error) => {
            findings.extend(trust.ca().first().map(|file| Diagnostic::error(file.location(), error.to_string())));
            (None, verification)
        }
    }
}

/// How many bytes a client may send before its handshake is complete, as many as with HAProxy.
const MOST_EARLY_DATA: u32 = 15_360;
/// Sessions remembered for clients without tickets, as many as HAProxy does.
const REMEMBERED: usize = 20_000;
