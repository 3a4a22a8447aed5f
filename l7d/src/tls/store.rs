//! The certificates of one bind, and which of them a client is shown.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::config;
use control::file::{self, Kind};
use control::tls::Identity;
use rustls::SignatureAlgorithm;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::crt_list::{self, Entry};
use super::session;

/// Certificates by host name.
///
/// Invariant: never empty once it is used.
#[derive(Debug)]
pub(super) struct Store {
    keys: Vec<Arc<CertifiedKey>>,
    /// By place of the key: which of the bind's terms its clients get; 0 for its own.
    terms: Vec<usize>,
    /// Terms that lists set for some of their lines, without those of the bind itself, which come first.
    particular: Vec<config::Tls>,
    /// Places of keys by exact name, those that suit modern clients first.
    exact: HashMap<String, Vec<usize>>,
    /// As `exact`, by what follows the first label.
    wildcard: HashMap<String, Vec<usize>>,
    /// Names that a key's wildcards are not for.
    excluded: HashSet<(String, usize)>,
    /// Whether a client must name a host we know.
    strict: bool,
}

/// Reads certificate files; a file that several binds name is read once.
#[derive(Debug)]
pub(super) struct Loader<'a> {
    provider: &'a CryptoProvider,
    read: HashMap<PathBuf, Result<Identity, String>>,
}

/// What is wrong with certificate files, or doubtful.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// What makes them unusable.
    pub(super) errors: Vec<String>,
    /// What will surprise.
    pub(super) warnings: Vec<String>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(provider: &'a CryptoProvider) -> Self {
        Self { provider, read: HashMap::new() }
    }

    /// Adds the certificates of a file, or of all files of a directory.
    pub(super) fn add(&mut self, path: &Path, store: &mut Store, remarks: &mut Remarks) {
        if file::kind(path) != Kind::Directory {
            self.add_file(path, &[], 0, store, remarks);
            return;
        }
        match files_of(path) {
            Ok(files) if files.is_empty() => remarks.errors.push(format!("{}: no certificate file in it", path.display())),
            Ok(files) => files.iter().for_each(|file| self.add_file(file, &[], 0, store, remarks)),
            Err(error) => remarks.errors.push(format!("{}: {error}", path.display())),
        }
    }

    /// Adds the certificates that a list names, on terms of their own where it says so.
    pub(super) fn add_list(&mut self, path: &Path, model: &config::Tls, store: &mut Store, remarks: &mut Remarks) {
        let text = match file::read_text(path, file::LARGEST) {
            Ok(text) => text,
            Err(error) => return remarks.errors.push(format!("{}: {error}", path.display())),
        };
        for (number, entry) in crt_list::parse(&text) {
            let terms = entry.and_then(|entry| Ok((store.terms_of(model, &path.display().to_string(), &entry.settings)?, entry)));
            match terms {
                Ok((terms, Entry { file, filters, .. })) => {
                    let file = model.base().map_or(file.clone(), |base| base.join(file));
                    self.add_file(&file, &filters, terms, store, remarks);
                }
                Err(reason) => remarks.errors.push(format!("{}:{number}: {reason}", path.display())),
            }
        }
    }

    fn add_file(&mut self, path: &Path, filters: &[String], terms: usize, store: &mut Store, remarks: &mut Remarks) {
        let provider = self.provider;
        match self.read.entry(path.to_owned()).or_insert_with(|| Identity::load(path, provider)) {
            Ok(identity) => {
                remarks.warnings.extend(identity.doubt.clone());
                store.add(identity, filters, terms);
            }
            Err(reason) => remarks.errors.push(reason.clone()),
        }
    }
}

/// Returns the certificate files of a directory in the order of their names.
fn files_of(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = file::list(directory)?;
    files.retain(|path| {
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_beside = path.extension().is_some_and(|ending| BESIDE.iter().any(|beside| ending == *beside));
        !is_hidden && !is_beside && file::kind(path) == Kind::File
    });
    Ok(files)
}

/// Endings of files that lie beside a certificate and are none.
const BESIDE: [&str; 5] = ["key", "ocsp", "issuer", "sctl", "dh"];

impl Store {
    /// Returns a store without certificates for a bind like this.
    pub(super) fn new(model: &config::Tls) -> Self {
        let (exact, wildcard, excluded) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { keys: Vec::new(), terms: Vec::new(), particular: Vec::new(), exact, wildcard, excluded, strict: model.strict_sni() }
    }

    /// Returns the number of the terms that a line of a list sets.
    fn terms_of(&mut self, model: &config::Tls, file: &str, settings: &str) -> Result<usize, String> {
        if settings.is_empty() {
            return Ok(0);
        }
        let terms = model.overruled(file, settings)?;
        let known = self.particular.iter().position(|known| *known == terms);
        let index = known.unwrap_or_else(|| {
            self.particular.push(terms);
            self.particular.len() - 1
        });
        Ok(index + 1)
    }

    /// Returns the terms that lists set for some of their lines; those of number 1 come first.
    pub(super) fn particular(&self) -> &[config::Tls] {
        &self.particular
    }

    /// Returns the number of the terms of whoever asks for a host.
    pub(super) fn terms_for(&self, host: Option<&str>) -> usize {
        let places = host.map(|host| self.places(host)).unwrap_or_default();
        let place = places.first().copied().unwrap_or(0);
        self.terms.get(place).copied().unwrap_or(0)
    }

    /// Adds a certificate for the names in it, or for those that `filters` tell instead.
    fn add(&mut self, identity: &Identity, filters: &[String], terms: usize) {
        let place = self.keys.len();
        self.keys.push(Arc::clone(&identity.key));
        self.terms.push(terms);
        let (excluded, wanted): (Vec<_>, Vec<_>) = filters.iter().partition(|filter| filter.starts_with('!'));
        let names = if wanted.is_empty() { identity.names.iter().collect() } else { wanted };
        for name in names {
            let places = match name.strip_prefix("*.") {
                Some(rest) => self.wildcard.entry(rest.to_owned()).or_default(),
                None => self.exact.entry(name.clone()).or_default(),
            };
            let rank = |place: usize| u8::from(self.keys[place].key.algorithm() == SignatureAlgorithm::RSA);
            let at = places.partition_point(|other| rank(*other) <= rank(place));
            if !places.contains(&place) {
                places.insert(at, place);
            }
        }
        self.excluded.extend(excluded.into_iter().map(|name| (name[1..].to_owned(), place)));
    }

    /// Tells whether there is no certificate.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the places of the keys for a host, in the order of preference.
    fn places(&self, host: &str) -> Vec<usize> {
        if let Some(places) = self.exact.get(host) {
            return places.clone();
        }
        let rest = host.split_once('.').map_or("", |(_, rest)| rest);
        let places = self.wildcard.get(rest).into_iter().flatten().copied();
        places.filter(|place| self.excluded.is_empty() || !self.excluded.contains(&(host.to_owned(), *place))).collect()
    }

    /// Returns the key for a host that suits the client; the first one if it names no host we know, unless we are strict.
    fn choose(&self, host: Option<&str>, suits: impl Fn(&CertifiedKey) -> bool) -> Option<&Arc<CertifiedKey>> {
        let lower = host.map(str::to_ascii_lowercase);
        let places = lower.map(|host| self.places(&host)).unwrap_or_default();
        let of_host = || places.iter().filter_map(|place| self.keys.get(*place));
        if let Some(key) = of_host().find(|key| suits(key)).or_else(|| of_host().next()) {
            return Some(key);
        }
        if self.strict { None } else { self.keys.first() }
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let suits = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let key = self.choose(hello.server_name(), suits)?;
        session::choose(key, hello.server_name());
        Some(Arc::clone(key))
    }
}
