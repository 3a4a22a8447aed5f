//! Who is trusted: authorities, and what they have revoked.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::identity::Pem;
use crate::config::{Diagnostic, Trust};
use crate::file::{self, Kind};

/// Reads authorities and what they have revoked; `files` gets their bytes.
pub fn trusted(
    trust: &Trust,
    files: &mut Vec<Vec<u8>>,
    findings: &mut Vec<Diagnostic>,
) -> Option<(RootCertStore, Vec<CertificateRevocationListDer<'static>>)> {
    let (mut roots, mut crls) = (RootCertStore::empty(), Vec::new());
    let errors_before = findings.len();
    for path in trust.ca() {
        match authorities(path.value(), trust.held(path.value())).and_then(|found| add(path.value(), found, &mut roots)) {
            Ok(bytes) => files.extend(bytes),
            Err(reason) => findings.push(Diagnostic::error(path.location(), reason)),
        }
    }
    for path in trust.crl() {
        match revocations(path.value(), trust.held(path.value())) {
            Ok(found) => {
                files.extend(found.iter().cloned());
                crls.extend(found.into_iter().map(CertificateRevocationListDer::from));
            }
            Err(reason) => findings.push(Diagnostic::error(path.location(), reason)),
        }
    }
    (findings.len() == errors_before).then_some((roots, crls))
}

/// Reads the lists of a file of what was revoked, or of a text in its place.
///
/// # Errors
/// Says what is wrong with the file.
pub fn revocations(path: &Path, held: Option<&str>) -> Result<Vec<Vec<u8>>, String> {
    let pem = held.map_or_else(|| Pem::read(path), |text| Pem::parse(path, text.as_bytes()))?;
    if pem.crls.is_empty() { Err(format!("{}: no revocation list in it", path.display())) } else { Ok(pem.crls) }
}

/// Reads the certificates of a file, of all files of a directory, or of the system; or of a text in their place.
///
/// # Errors
/// Says what is wrong with which file.
pub fn authorities(path: &Path, held: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    if let Some(text) = held {
        return certificates(path, Pem::parse(path, text.as_bytes())?);
    }
    if path == Path::new(SYSTEM) {
        return of_system();
    }
    if file::kind(path) != Kind::Directory {
        return of_file(path);
    }
    let mut files = file::list(path).map_err(|error| format!("{}: {error}", path.display()))?;
    files.retain(|file| is_certificate_file(file));
    let mut all = Vec::new();
    for file in &files {
        all.extend(of_file(file)?);
    }
    if all.is_empty() { Err(format!("{}: no certificate file in it", path.display())) } else { Ok(all) }
}

fn is_certificate_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && path.extension().is_some_and(|ending| ["pem", "crt", "cer"].iter().any(|known| ending == *known))
}

fn of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates(path, Pem::read(path)?)
}

fn certificates(path: &Path, pem: Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    if pem.certificates.is_empty() { Err(format!("{}: no certificate in it", path.display())) } else { Ok(pem.certificates) }
}

fn of_system() -> Result<Vec<CertificateDer<'static>>, String> {
    match SYSTEM_FILES.iter().map(Path::new).find(|path| file::kind(path) == Kind::File) {
        Some(path) => of_file(path),
        None => Err(format!("{SYSTEM}: this system keeps its authorities in none of {}", SYSTEM_FILES.join(", "))),
    }
}

/// Returns the bytes of what was added.
fn add(path: &Path, certificates: Vec<CertificateDer<'static>>, roots: &mut RootCertStore) -> Result<Vec<Vec<u8>>, String> {
    let bytes = certificates.iter().map(|certificate| certificate.to_vec()).collect();
    if path == Path::new(SYSTEM) {
        // Some of a hundred authorities are always older than what can be read here.
        roots.add_parsable_certificates(certificates);
        return Ok(bytes);
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(bytes)
}

/// Stands for the authorities the system trusts.
const SYSTEM: &str = "@system-ca";
/// Where systems keep them, in one file.
const SYSTEM_FILES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];
