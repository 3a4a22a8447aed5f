//! One certificate with its chain and key, read from PEM files as administrators keep them.
//!
//! A file holds the chain and the key in any order, or the key lies beside it in `FILE.key`, or with `.key` in place of its ending. A
//! response about its revocation lies beside it in `FILE.ocsp`. The certificate that belongs to the key is the leaf, wherever it stands.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::file;

/// A certificate that can be shown, and what it is for.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The chain, leaf first, with the key and the response about revocation.
    pub key: Arc<CertifiedKey>,
    /// Host names in lower case, some with a wildcard as first label.
    pub names: Vec<String>,
    /// Why it will not be trusted now, although it can be shown.
    pub doubt: Option<String>,
}

impl Identity {
    /// Reads a certificate with its chain and key.
    ///
    /// # Errors
    /// Says which file is wrong and how.
    pub fn load(path: &Path, provider: &CryptoProvider) -> Result<Self, String> {
        Self::of(path, Pem::read(path)?, provider)
    }

    /// Reads a certificate from a text in the place of a file; it need not hold the key if that is the one of the certificate `before`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(path: &Path, text: &str, before: Option<&Self>, provider: &CryptoProvider) -> Result<Self, String> {
        let pem = Pem::parse(path, text.as_bytes())?;
        let (true, Some(before)) = (pem.keys.is_empty(), before) else { return Self::of(path, pem, provider) };
        Self::with_key(path, pem.certificates, Arc::clone(&before.key.key))
    }

    fn of(path: &Path, mut pem: Pem, provider: &CryptoProvider) -> Result<Self, String> {
        if pem.certificates.is_empty() {
            return Err(format!("{}: no certificate in it", path.display()));
        }
        let (key, key_file) = match pem.keys.pop() {
            Some(key) => (key, path.to_owned()),
            None if pem.is_encrypted => return Err(encrypted(path)),
            None => key_beside(path)?,
        };
        if !pem.keys.is_empty() {
            return Err(format!("{}: more than one private key in it", key_file.display()));
        }
        let key = provider.key_provider.load_private_key(key).map_err(|error| format!("{}: {error}", key_file.display()))?;
        let mut identity = Self::with_key(path, pem.certificates, key)?;
        if let Some(response) = ocsp_beside(path)? {
            let mut key = CertifiedKey::clone(&identity.key);
            key.ocsp = Some(response);
            identity.key = Arc::new(key);
        }
        Ok(identity)
    }

    fn with_key(path: &Path, certificates: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Result<Self, String> {
        let chain = chain(certificates, &*key).map_err(|reason| format!("{}: {reason}", path.display()))?;
        let leaf = parse(&chain[0]).map_err(|reason| format!("{}: {reason}", path.display()))?;
        let (names, doubt) = (names(&leaf), doubt(&leaf).map(|doubt| format!("{}: {doubt}", path.display())));
        Ok(Self { key: Arc::new(CertifiedKey::new(chain, key)), names, doubt })
    }
}

/// What a PEM file holds of what we look for.
#[derive(Debug, Default)]
pub struct Pem {
    /// Certificates in the order of the file.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Private keys.
    pub keys: Vec<PrivateKeyDer<'static>>,
    /// Lists of what was revoked.
    pub crls: Vec<Vec<u8>>,
    is_encrypted: bool,
}

impl Pem {
    /// Reads a file.
    ///
    /// # Errors
    /// Fails if it cannot be read or is no PEM, with the file named.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::parse(path, &file::read(path, LARGEST).map_err(|error| format!("{}: {}", path.display(), reason(&error)))?)
    }

    /// Reads a text in the place of a file.
    ///
    /// # Errors
    /// Fails if it is no PEM, with the file named.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        let mut pem = Self { is_encrypted: bytes.windows(MARK.len()).any(|window| window == MARK), ..Self::default() };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            let (kind, der) = section.map_err(|error| format!("{}: {error}", path.display()))?;
            match kind {
                SectionKind::Certificate => pem.certificates.push(der.into()),
                SectionKind::PrivateKey => pem.keys.push(PrivateKeyDer::Pkcs8(der.into())),
                SectionKind::RsaPrivateKey if pem.is_encrypted => {}
                SectionKind::RsaPrivateKey => pem.keys.push(PrivateKeyDer::Pkcs1(der.into())),
                SectionKind::EcPrivateKey if pem.is_encrypted => {}
                SectionKind::EcPrivateKey => pem.keys.push(PrivateKeyDer::Sec1(der.into())),
                SectionKind::Crl => pem.crls.push(der),
                SectionKind::PublicKey | SectionKind::Csr | SectionKind::EchConfigList | _ => {}
            }
        }
        Ok(pem)
    }
}

/// Returns what the system says without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Reads the key from the file beside the certificate.
fn key_beside(path: &Path) -> Result<(PrivateKeyDer<'static>, PathBuf), String> {
    for file in [with_ending(path, ".key"), path.with_extension("key")] {
        if file != path && file::kind(&file) == file::Kind::File {
            let mut pem = Pem::read(&file)?;
            return match pem.keys.pop() {
                Some(key) => Ok((key, file)),
                None if pem.is_encrypted => Err(encrypted(&file)),
                None => Err(format!("{}: no private key in it", file.display())),
            };
        }
    }
    Err(format!("{}: no private key in it, and no file {} beside it", path.display(), with_ending(path, ".key").display()))
}

fn encrypted(path: &Path) -> String {
    format!("{}: the private key is encrypted, and nobody is there to type its passphrase", path.display())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Puts the certificate of this key first, then each behind the one it has signed; others keep their order at the end.
fn chain(mut certificates: Vec<CertificateDer<'static>>, key: &dyn SigningKey) -> Result<Vec<CertificateDer<'static>>, String> {
    let wanted = key.public_key().ok_or("the private key does not tell its public key")?;
    let mut leaf = None;
    for (place, certificate) in certificates.iter().enumerate() {
        if parse(certificate)?.public_key().raw == wanted.as_ref() {
            leaf = leaf.or(Some(place));
        }
    }
    let leaf = leaf.ok_or("the private key belongs to no certificate in it")?;
    let mut chain = vec![certificates.remove(leaf)];
    while let Some(place) = issuer_of(&chain[chain.len() - 1], &certificates)? {
        chain.push(certificates.remove(place));
    }
    chain.append(&mut certificates);
    Ok(chain)
}

fn issuer_of(certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<Option<usize>, String> {
    let certificate = parse(certificate)?;
    for (place, other) in others.iter().enumerate() {
        if parse(other)?.subject().as_raw() == certificate.issuer().as_raw() {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

pub(super) fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, String> {
    X509Certificate::from_der(certificate)
        .map(|(_, certificate)| certificate)
        .map_err(|error| format!("a certificate in it is broken: {error}"))
}

/// Returns the host names a certificate is for: the alternative names and the common name, as in HAProxy.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    names.extend(certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(str::to_ascii_lowercase));
    names.sort();
    names.dedup();
    names
}

/// Returns why a certificate will not be trusted now.
pub(super) fn doubt(certificate: &X509Certificate<'_>) -> Option<String> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if validity.not_after.timestamp() < now {
        return Some(format!("the certificate has expired on {}", validity.not_after));
    }
    (validity.not_before.timestamp() > now).then(|| format!("the certificate is not valid before {}", validity.not_before))
}

/// Reads the response about revocation from the file beside the certificate, if there is one.
fn ocsp_beside(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let file = with_ending(path, ".ocsp");
    let bytes = match file::read(&file, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {}", file.display(), reason(&error))),
    };
    if is_successful(&bytes) { Ok(Some(bytes)) } else { Err(format!("{}: not a successful OCSP response in DER", file.display())) }
}

/// Tells whether this is a sequence that begins with the status `successful` (RFC 6960 section 4.2.1).
fn is_successful(response: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = response else { return false };
    let length_bytes = if *length < 0x80 { 0 } else { usize::from(*length & 0x7f) };
    rest.get(length_bytes..).is_some_and(|content| content.starts_with(&[0x0a, 1, 0]))
}

/// Far more than the longest chain, or list of revoked certificates, takes.
const LARGEST: usize = 64 << 20;
/// Stands in every encrypted key, old format or new.
const MARK: &[u8] = b"ENCRYPTED";
