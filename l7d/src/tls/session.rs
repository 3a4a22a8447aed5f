//! What rules may know of the TLS of one connection.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::layer::Secured;
use super::pardon::Faults;

/// What was agreed on in one handshake, and what both sides have shown.
#[derive(Debug)]
pub(crate) struct Session {
    /// The version and the cipher.
    pub(crate) secured: Secured,
    /// The protocol that is spoken inside.
    pub(crate) alpn: Option<Vec<u8>>,
    /// Whether it goes on with what an earlier handshake agreed on.
    pub(crate) is_resumed: bool,
    /// What the peer has shown, its own certificate first.
    pub(crate) peer: Vec<CertificateDer<'static>>,
    /// What was shown to a client, and the host it asked for.
    pub(crate) shown: Option<Shown>,
    /// What of the peer's certificates was overlooked.
    pub(crate) faults: Faults,
}

/// What was shown to a client.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// The certificates with their key.
    pub(crate) key: Arc<CertifiedKey>,
    /// The host it asked for.
    pub(crate) host: Option<String>,
}

thread_local! {
    /// What was chosen in the step of a handshake at hand: whoever chooses does not know for which connection it is.
    static CHOSEN: RefCell<Option<Shown>> = const { RefCell::new(None) };
}

/// Notes what a client is shown.
pub(super) fn choose(key: &Arc<CertifiedKey>, host: Option<&str>) {
    CHOSEN.set(Some(Shown { key: Arc::clone(key), host: host.map(str::to_owned) }));
}

/// Returns what was chosen since this was last asked.
pub(super) fn take_chosen() -> Option<Shown> {
    CHOSEN.take()
}
