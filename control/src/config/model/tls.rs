//! How TLS is spoken: with clients on a bind, with the servers of a backend.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::location::Located;

/// How TLS is ended on a bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub(in crate::config) certificates: Vec<Located<PathBuf>>,
    pub(in crate::config) crt_lists: Vec<Located<PathBuf>>,
    pub(in crate::config) alpn: Vec<String>,
    pub(in crate::config) strict_sni: bool,
    pub(in crate::config) tickets: bool,
    pub(in crate::config) early: bool,
    pub(in crate::config) fetches_ocsp: bool,
    pub(in crate::config) order: SuiteOrder,
    pub(in crate::config) base: Option<PathBuf>,
    pub(in crate::config) client: ClientAuth,
    pub(in crate::config) protocol: TlsProtocol,
}

/// Whose order of suites decides where both sides have several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SuiteOrder {
    /// Ours.
    #[default]
    Server,
    /// The client's, who knows what its processor is good at.
    Client,
}

impl Tls {
    /// Returns the PEM files, and directories of them; whether they exist is found out by who loads them.
    pub fn certificates(&self) -> &[Located<PathBuf>] {
        &self.certificates
    }

    /// Returns the files that list PEM files and the names each is for; not empty if there are no other certificates.
    pub fn crt_lists(&self) -> &[Located<PathBuf>] {
        &self.crt_lists
    }

    /// Returns the protocols offered by ALPN, best first.
    pub fn alpn(&self) -> &[String] {
        &self.alpn
    }

    /// Tells whether a client that names no known host is refused instead of given the first certificate.
    pub fn strict_sni(&self) -> bool {
        self.strict_sni
    }

    /// Tells whether clients are given tickets to resume their session with, so that we need not remember it.
    pub fn tickets(&self) -> bool {
        self.tickets
    }

    /// Tells whether clients that come back may say something before the handshake is complete (0-RTT).
    pub fn takes_early_data(&self) -> bool {
        self.early
    }

    /// Tells whether the issuers of the certificates are asked for responses about their revocation.
    pub fn fetches_ocsp(&self) -> bool {
        self.fetches_ocsp
    }

    /// Returns whose order of suites decides.
    pub fn order(&self) -> SuiteOrder {
        self.order
    }

    /// Returns where relative paths in lists of certificates begin, if not where the process runs.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// Returns the TLS of one certificate of a list: this, but for what the list says of it in the words of a bind line; `file` is the
    /// name of the list.
    ///
    /// # Errors
    /// Says what is wrong with the words.
    pub fn overruled(&self, file: &str, words: &str) -> Result<Self, String> {
        crate::config::haproxy::overrule(self, file, words)
    }

    /// Returns the same with these texts in the place of files of authorities and of what they have revoked.
    pub fn holding(&self, held: &Held) -> Self {
        let mut copy = self.clone();
        if let Some(trust) = copy.client.trust_mut() {
            held.iter().for_each(|(file, text)| trust.hold(file, text));
        }
        copy
    }

    /// Returns what is asked of the client's certificate.
    pub fn client(&self) -> &ClientAuth {
        &self.client
    }

    /// Returns what of the protocol is spoken.
    pub fn protocol(&self) -> &TlsProtocol {
        &self.protocol
    }
}

/// What a client must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing; it is not asked.
    None,
    /// A certificate that can be trusted, or none.
    Optional(Trust),
    /// A certificate that can be trusted.
    Required(Trust),
}

impl ClientAuth {
    /// Returns whose certificates are trusted, where any are asked for.
    pub fn trust(&self) -> Option<&Trust> {
        match self {
            Self::None => None,
            Self::Optional(trust) | Self::Required(trust) => Some(trust),
        }
    }

    pub(in crate::config) fn trust_mut(&mut self) -> Option<&mut Trust> {
        match self {
            Self::None => None,
            Self::Optional(trust) | Self::Required(trust) => Some(trust),
        }
    }

    /// Tells whether anything may be wrong with what a client shows.
    pub fn overlooks(&self) -> bool {
        match self {
            Self::None => false,
            Self::Optional(trust) | Self::Required(trust) => trust.overlooks(),
        }
    }
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub(in crate::config) ca: Vec<Located<PathBuf>>,
    pub(in crate::config) crl: Vec<Located<PathBuf>>,
    pub(in crate::config) own_pardon: Pardon,
    pub(in crate::config) pardon_above: Pardon,
    /// Only of files it names.
    pub(in crate::config) held: Held,
}

/// What commands have put in the place of files, in PEM.
pub type Held = BTreeMap<PathBuf, Arc<str>>;

/// What may be wrong with a certificate, in the numbers of OpenSSL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pardon {
    /// Nothing.
    #[default]
    Nothing,
    /// Any of these.
    Codes(Vec<u16>),
    /// Whatever can be overlooked.
    Everything,
}

impl Pardon {
    /// Tells whether something may be wrong.
    pub fn covers(&self, code: u16) -> bool {
        match self {
            Self::Nothing => false,
            Self::Codes(codes) => codes.contains(&code),
            Self::Everything => true,
        }
    }
}

impl Trust {
    /// Tells whether anything may be wrong.
    pub fn overlooks(&self) -> bool {
        self.own_pardon != Pardon::Nothing || self.pardon_above != Pardon::Nothing
    }

    /// Returns what may be wrong with the certificate itself.
    pub fn own_pardon(&self) -> &Pardon {
        &self.own_pardon
    }

    /// Returns what may be wrong with those above it.
    pub fn pardon_above(&self) -> &Pardon {
        &self.pardon_above
    }

    /// Returns the PEM files of the authorities, at least one; a directory stands for the files in it, `@system-ca` for those of the system.
    pub fn ca(&self) -> &[Located<PathBuf>] {
        &self.ca
    }

    /// Returns the PEM files of what they have revoked; none means that nobody asks.
    pub fn crl(&self) -> &[Located<PathBuf>] {
        &self.crl
    }

    /// Tells whether a file decides about it.
    pub fn names(&self, file: &Path) -> bool {
        self.ca.iter().chain(&self.crl).any(|named| named.value() == file)
    }

    /// Returns what a command has put in the place of a file, in PEM.
    pub fn held(&self, file: &Path) -> Option<&str> {
        self.held.get(file).map(|text| &**text)
    }

    pub(in crate::config) fn hold(&mut self, file: &Path, text: &Arc<str>) {
        if self.names(file) {
            self.held.insert(file.to_owned(), Arc::clone(text));
        }
    }
}

/// How TLS is spoken with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    pub(in crate::config) verify: ServerAuth,
    pub(in crate::config) sni: Option<Located<String>>,
    pub(in crate::config) verify_host: Option<Located<String>>,
    pub(in crate::config) certificate: Option<Located<PathBuf>>,
    pub(in crate::config) alpn: Vec<String>,
    pub(in crate::config) resumption: bool,
    pub(in crate::config) tickets: bool,
    pub(in crate::config) protocol: TlsProtocol,
}

impl ServerTls {
    /// Returns the same with other protocols on offer, if there are any.
    pub(crate) fn offering(&self, alpn: Vec<String>) -> Self {
        Self { alpn: if alpn.is_empty() { self.alpn.clone() } else { alpn }, ..self.clone() }
    }

    /// Returns what the server must show.
    pub fn verify(&self) -> &ServerAuth {
        &self.verify
    }

    /// Returns the expression of the name the server is asked for, and which its certificate must bear, as written.
    pub fn sni(&self) -> Option<&Located<String>> {
        self.sni.as_ref()
    }

    /// Returns the name its certificate must bear where it is asked for none.
    pub fn verify_host(&self) -> Option<&Located<String>> {
        self.verify_host.as_ref()
    }

    /// Returns the PEM file of the certificate we show.
    pub fn certificate(&self) -> Option<&Located<PathBuf>> {
        self.certificate.as_ref()
    }

    /// Returns the protocols offered by ALPN, best first.
    pub fn alpn(&self) -> &[String] {
        &self.alpn
    }

    /// Tells whether sessions are resumed.
    pub fn resumption(&self) -> bool {
        self.resumption
    }

    /// Tells whether sessions of TLS 1.2 are resumed by tickets, too.
    pub fn tickets(&self) -> bool {
        self.tickets
    }

    /// Returns what of the protocol is spoken.
    pub fn protocol(&self) -> &TlsProtocol {
        &self.protocol
    }
}

/// What a server must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAuth {
    /// Anything.
    None,
    /// A certificate that can be trusted.
    Required(Trust),
}

impl ServerAuth {
    /// Returns whose certificates are trusted, where it matters.
    pub fn trust(&self) -> Option<&Trust> {
        match self {
            Self::None => None,
            Self::Required(trust) => Some(trust),
        }
    }

    pub(in crate::config) fn trust_mut(&mut self) -> Option<&mut Trust> {
        match self {
            Self::None => None,
            Self::Required(trust) => Some(trust),
        }
    }
}

/// What of TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProtocol {
    pub(in crate::config) min: TlsVersion,
    pub(in crate::config) max: TlsVersion,
    pub(in crate::config) ciphers: Option<Vec<CipherSuite>>,
    pub(in crate::config) ciphersuites: Option<Vec<CipherSuite>>,
    pub(in crate::config) curves: Option<Vec<Curve>>,
}

impl TlsProtocol {
    /// Returns the oldest version spoken.
    pub fn min(&self) -> TlsVersion {
        self.min
    }

    /// Returns the newest version spoken.
    pub fn max(&self) -> TlsVersion {
        self.max
    }

    /// Returns the suites of version 1.2, best first; none leaves the choice to the engine.
    pub fn ciphers(&self) -> Option<&[CipherSuite]> {
        self.ciphers.as_deref()
    }

    /// Returns the suites of version 1.3, best first; none leaves the choice to the engine.
    pub fn ciphersuites(&self) -> Option<&[CipherSuite]> {
        self.ciphersuites.as_deref()
    }

    /// Returns the groups keys are exchanged in, best first; none leaves the choice to the engine.
    pub fn curves(&self) -> Option<&[Curve]> {
        self.curves.as_deref()
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// A way to encrypt: those with forward secrecy and authenticated encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherSuite {
    /// Version 1.3 with AES-128-GCM.
    Aes128,
    /// Version 1.3 with AES-256-GCM.
    Aes256,
    /// Version 1.3 with ChaCha20-Poly1305.
    ChaCha20,
    /// Version 1.2 with an ECDSA certificate and AES-128-GCM.
    EcdsaAes128,
    /// Version 1.2 with an ECDSA certificate and AES-256-GCM.
    EcdsaAes256,
    /// Version 1.2 with an ECDSA certificate and ChaCha20-Poly1305.
    EcdsaChaCha20,
    /// Version 1.2 with an RSA certificate and AES-128-GCM.
    RsaAes128,
    /// Version 1.2 with an RSA certificate and AES-256-GCM.
    RsaAes256,
    /// Version 1.2 with an RSA certificate and ChaCha20-Poly1305.
    RsaChaCha20,
}

/// A group keys are exchanged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// X25519.
    X25519,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// X25519 together with ML-KEM-768, which withstands quantum computers.
    X25519MlKem768,
    /// NIST P-256 together with ML-KEM-768.
    P256MlKem768,
}
