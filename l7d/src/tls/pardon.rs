//! Certificates of clients with something wrong that is to be overlooked: they are taken, and rules are told what it is.
//!
//! rustls says what is wrong first; OpenSSL, in whose numbers the configuration speaks, goes on and says where in the chain. What is
//! certain from the certificates themselves is told in its words, and everything else ends the handshake as ever. That the client has
//! the key of its certificate is proved in any case.

use std::cell::Cell;
use std::sync::Arc;

use control::config::{Pardon, Trust};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// What is wrong with the certificates of a client that was let in all the same, in the numbers of OpenSSL; 0 is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// What is wrong with its own certificate first.
    pub(crate) own: u16,
    /// What is wrong first with those above it.
    pub(crate) above: u16,
    /// How far above that is.
    pub(crate) depth: u16,
    /// What is wrong last.
    pub(crate) last: u16,
}

thread_local! {
    /// What was overlooked in the step of a handshake at hand: the verifier does not know for which connection it is.
    static OVERLOOKED: Cell<Option<Faults>> = const { Cell::new(None) };
}

/// Returns what was overlooked since this was last asked.
pub(super) fn take_overlooked() -> Option<Faults> {
    OVERLOOKED.take()
}

/// Verifies as another does, but for what is to be overlooked.
#[derive(Debug)]
pub(super) struct Lenient {
    strict: Arc<dyn ClientCertVerifier>,
    own: Pardon,
    above: Pardon,
}

impl Lenient {
    /// Returns a verifier that overlooks what a bind wants overlooked; the one at hand if that is nothing.
    pub(super) fn over(strict: Arc<dyn ClientCertVerifier>, trust: &Trust) -> Arc<dyn ClientCertVerifier> {
        if !trust.overlooks() {
            return strict;
        }
        Arc::new(Self { strict, own: trust.own_pardon().clone(), above: trust.pardon_above().clone() })
    }

    /// Returns all that is wrong, as [`faults`] does.
    ///
    /// Whoever is out of date has not been asked for an issuer yet: that is looked at as of a moment at which all were valid.
    fn faults(
        &self,
        error: &CertificateError,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<Vec<(u16, u16)>> {
        let dated = faults(error, own, above, now)?;
        if !dated.iter().any(|(code, _)| matches!(*code, NOT_YET_VALID | EXPIRED)) {
            return Some(dated);
        }
        let then = common_moment(own, above)?;
        match self.strict.verify_client_cert(own, above, then) {
            Ok(_) => Some(dated),
            Err(Error::InvalidCertificate(other)) => {
                let mut all = faults(&other, own, above, then)?;
                all.extend(dated);
                Some(all)
            }
            Err(_) => None,
        }
    }

    /// Tells whether all that is wrong is to be overlooked.
    fn overlooks(&self, faults: &[(u16, u16)]) -> bool {
        faults.iter().all(|(code, depth)| if *depth == 0 { self.own.covers(*code) } else { self.above.covers(*code) })
    }
}

impl ClientCertVerifier for Lenient {
    fn offer_client_auth(&self) -> bool {
        self.strict.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.strict.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        OVERLOOKED.set(None);
        let error = match self.strict.verify_client_cert(end_entity, intermediates, now) {
            Err(Error::InvalidCertificate(error)) => error,
            other => return other,
        };
        match self.faults(&error, end_entity, intermediates, now) {
            Some(faults) if self.overlooks(&faults) => {
                let first = |is_own: bool| faults.iter().find(|(_, depth)| (*depth == 0) == is_own).copied().unwrap_or_default();
                let (above, depth) = first(false);
                let last = faults.last().map_or(0, |(code, _)| *code);
                OVERLOOKED.set(Some(Faults { own: first(true).0, above, depth, last }));
                Ok(ClientCertVerified::assertion())
            }
            _ => Err(Error::InvalidCertificate(error)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Returns what OpenSSL would say is wrong, each with how far above the client's own certificate; none where that is not certain.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here is not overlooked, whatever rustls comes to know")]
fn faults(error: &CertificateError, own: &CertificateDer<'_>, above: &[CertificateDer<'_>], now: UnixTime) -> Option<Vec<(u16, u16)>> {
    let all: Vec<_> =
        std::iter::once(own).chain(above).map(|der| X509Certificate::from_der(der).ok().map(|(_, read)| read)).collect::<Option<_>>()?;
    match error {
        CertificateError::UnknownIssuer => Some(without_issuer(&all)),
        // An authority of its own, which rustls takes amiss before it looks for another.
        CertificateError::Other(_) if all[0].subject().as_raw() == all[0].issuer().as_raw() => Some(without_issuer(&all)),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            let now = i64::try_from(now.as_secs()).ok()?;
            let at = |read: &X509Certificate<'_>| match read.validity() {
                validity if validity.not_after.timestamp() < now => Some(EXPIRED),
                validity if validity.not_before.timestamp() > now => Some(NOT_YET_VALID),
                _ => None,
            };
            let (depth, code) = all.iter().enumerate().find_map(|(depth, read)| Some((depth, at(read)?)))?;
            Some(vec![(code, u16::try_from(depth).ok()?)])
        }
        _ => None,
    }
}

/// Returns a moment at which all certificates were valid; none if there never was one.
fn common_moment(own: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Option<UnixTime> {
    let (mut from, mut to) = (0, i64::MAX);
    for der in std::iter::once(own).chain(above) {
        let (_, read) = X509Certificate::from_der(der).ok()?;
        from = from.max(read.validity().not_before.timestamp());
        to = to.min(read.validity().not_after.timestamp());
    }
    let from = u64::try_from(from).ok().filter(|_| from <= to)?;
    Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(from)))
}

/// Returns what is wrong with a chain that ends at nobody who is trusted.
fn without_issuer(all: &[X509Certificate<'_>]) -> Vec<(u16, u16)> {
    let mut at = &all[0];
    for depth in 0..u16::try_from(all.len()).unwrap_or(u16::MAX) {
        if at.subject().as_raw() == at.issuer().as_raw() {
            return vec![(if depth == 0 { SELF_SIGNED } else { SELF_SIGNED_ABOVE }, depth)];
        }
        match all[1..].iter().find(|other| other.subject().as_raw() == at.issuer().as_raw()) {
            Some(next) => at = next,
            None if depth == 0 => return vec![(NO_ISSUER, 0), (NO_FIRST_ISSUER, 0)],
            None => return vec![(NO_ISSUER, depth)],
        }
    }
    vec![(NO_ISSUER, u16::try_from(all.len()).unwrap_or(u16::MAX))]
}

const NOT_YET_VALID: u16 = 9;
const EXPIRED: u16 = 10;
const SELF_SIGNED: u16 = 18;
const SELF_SIGNED_ABOVE: u16 = 19;
const NO_ISSUER: u16 = 20;
const NO_FIRST_ISSUER: u16 = 21;
