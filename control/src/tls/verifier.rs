//! Whether a server is who it should be.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;

use super::client::no_name;
use super::identity::{doubt, parse};

/// Takes every server for whom it pretends to be.
#[derive(Debug)]
pub(super) struct Credulous(pub(super) Arc<CryptoProvider>);

/// Believes whom the authorities vouch for.
///
/// The name a server was asked for by SNI is compared with its certificate, or else the one that is configured, or none, as in HAProxy.
#[derive(Debug)]
pub(super) struct Strict {
    chain: Arc<WebPkiServerVerifier>,
    /// Certificates that need nobody to vouch for them: a server may show one that was not made to be an authority's.
    pinned: HashSet<Vec<u8>>,
    host: Option<ServerName<'static>>,
}

impl Strict {
    /// Trusts these authorities, but for what they have revoked.
    ///
    /// # Errors
    /// Fails if there is nobody to trust, or a list of what was revoked is broken.
    pub(super) fn new(
        (roots, crls): (RootCertStore, Vec<CertificateRevocationListDer<'static>>),
        pinned: &[Vec<u8>],
        host: Option<ServerName<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let chain = builder.with_crls(crls).enforce_revocation_expiration().build().map_err(|error| error.to_string())?;
        Ok(Self { chain, pinned: pinned.iter().cloned().collect(), host })
    }

    /// Verifies everything but the name.
    fn verify_chain(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], ocsp: &[u8], now: UnixTime) -> Result<(), Error> {
        if self.pinned.contains(leaf.as_ref()) {
            let parsed = parse(leaf).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
            return if doubt(&parsed).is_none() { Ok(()) } else { Err(Error::InvalidCertificate(CertificateError::Expired)) };
        }
        // The name comes last: whoever fails for its sake has passed everything else.
        match self.chain.verify_server_cert(leaf, others, &no_name(), ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

impl ServerCertVerifier for Strict {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_chain(end_entity, intermediates, ocsp_response, now)?;
        let name = if *server_name == no_name() { self.host.as_ref() } else { Some(server_name) };
        if let Some(name) = name {
            verify_name(end_entity, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    // A signature proves that a certificate is the server's own, which means nothing where any certificate will do.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Compares a name with the alternative names of a certificate, and with its common names.
fn verify_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let outcome = rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
    let ServerName::DnsName(host) = name else { return outcome };
    outcome.or_else(|error| {
        let parsed = parse(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if has_common_name(&parsed, host.as_ref()) { Ok(()) } else { Err(error) }
    })
}

fn has_common_name(certificate: &X509Certificate<'_>, host: &str) -> bool {
    certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).any(|pattern| is_name_of(pattern, host))
}

/// Tells whether a name, of which the first label may be a wildcard, is one for a host.
fn is_name_of(pattern: &str, host: &str) -> bool {
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) => !label.is_empty() && domain.eq_ignore_ascii_case(rest),
        (Some(_), None) => false,
        (None, _) => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_stands_for_one_label() {
        for (pattern, host, fits) in [
            ("a.example", "A.example", true),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("a.example", "b.example", false),
        ] {
            assert_eq!(is_name_of(pattern, host), fits, "{pattern} {host}");
        }
    }
}
