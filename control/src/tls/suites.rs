//! What the configuration calls versions, suites and curves, in rustls' terms.

use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::config::{CipherSuite, Curve, TlsProtocol, TlsVersion};

/// Returns the cryptography that `protocol` allows.
pub fn provider(protocol: &TlsProtocol) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(curves) = protocol.curves() {
        provider.kx_groups = curves.iter().map(|curve| group(*curve)).collect();
    }
    let wanted = |suites: Option<&[CipherSuite]>, version| match suites {
        Some(suites) => suites.iter().map(|name| cipher(*name)).collect::<Vec<_>>(),
        None => provider.cipher_suites.iter().copied().filter(|suite| suite.version() == version).collect(),
    };
    provider.cipher_suites = [wanted(protocol.ciphersuites(), &TLS13), wanted(protocol.ciphers(), &TLS12)].concat();
    provider
}

/// Returns the versions that `protocol` allows.
pub fn versions(protocol: &TlsProtocol) -> Vec<&'static SupportedProtocolVersion> {
    match (protocol.min(), protocol.max()) {
        (TlsVersion::V1_2, TlsVersion::V1_2) => vec![&TLS12],
        (TlsVersion::V1_2, TlsVersion::V1_3) => vec![&TLS13, &TLS12],
        (TlsVersion::V1_3, _) => vec![&TLS13],
    }
}

fn cipher(name: CipherSuite) -> SupportedCipherSuite {
    match name {
        CipherSuite::Aes128 => suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Aes256 => suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::ChaCha20 => suite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes128 => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256 => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChaCha20 => suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128 => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256 => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChaCha20 => suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

/// Returns OpenSSL's name of a suite.
pub fn name(suite: rustls::CipherSuite) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == suite).map_or("", |(_, name)| name)
}

fn group(curve: Curve) -> &'static dyn SupportedKxGroup {
    match curve {
        Curve::X25519 => kx_group::X25519,
        Curve::P256 => kx_group::SECP256R1,
        Curve::P384 => kx_group::SECP384R1,
        Curve::X25519MlKem768 => kx_group::X25519MLKEM768,
        Curve::P256MlKem768 => kx_group::SECP256R1MLKEM768,
    }
}

const NAMES: [(rustls::CipherSuite, &str); 9] = [
    (rustls::CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (rustls::CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
    (rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"),
    (rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"),
    (rustls::CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"),
];
