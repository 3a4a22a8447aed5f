//! The certificate of the proxies: ECDSA P-256, signed by itself, made anew by `openssl` for every run.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::peer::find;
use crate::requirements::output_of;
use crate::scratch::Scratch;

/// The files that proxies and clients read.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    /// The certificate alone.
    pub(super) chain: PathBuf,
    /// The private key alone.
    pub(super) key: PathBuf,
    /// One after the other in one file.
    pub(super) both: PathBuf,
}

impl Certificate {
    /// Makes key and certificate in a directory.
    ///
    /// # Errors
    /// Fails if `openssl` is missing or refuses.
    pub(super) fn new(scratch: &Scratch) -> Result<Self> {
        let request = scratch.write("certificate.cnf", REQUEST)?;
        let [chain, key] = ["certificate.pem", "key.pem"].map(|name| scratch.path().join(name));
        let mut openssl = Command::new(find("openssl")?);
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-config"]);
        openssl.arg(request).arg("-out").arg(&chain).arg("-keyout").arg(&key);
        output_of(&mut openssl).context("make a certificate")?;
        let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
        let both = scratch.write("both.pem", read(&chain)? + &read(&key)?)?;
        Ok(Self { chain, key, both })
    }
}

/// The name in the certificate, which clients ask for.
pub(super) const NAME: &str = "bench.test";

/// Not an authority, because clients would not take one from a server.
const REQUEST: &str = "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = extensions\n[name]\nCN = bench.test\n\
     [extensions]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\nsubjectAltName = DNS:bench.test\n";
