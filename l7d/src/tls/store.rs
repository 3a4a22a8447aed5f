//! The certificates of one bind, and which of them a client is shown.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use control::config;
use control::file::{self, Kind};
use control::tls::Identity;
use rustls::SignatureAlgorithm;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::crt_list::{self, Entry};
use super::session;

/// Certificates by host name, which may be replaced while they are shown.
#[derive(Debug)]
pub(super) struct Store {
    content: ArcSwap<Content>,
    /// Terms that lists set for some of their lines, without those of the bind itself, which come first.
    particular: Vec<config::Tls>,
    /// Whether a client must name a host we know.
    strict: bool,
    /// Whether issuers are asked where no list says otherwise.
    fetches_ocsp: bool,
    /// Where the bind stands.
    place: String,
}

/// A store while its files are read.
#[derive(Debug)]
pub(super) struct Draft {
    content: Content,
    particular: Vec<config::Tls>,
    strict: bool,
    fetches_ocsp: bool,
    place: String,
}

/// What is shown to whom.
///
/// Invariant: never empty once it is used.
#[derive(Debug, Default)]
struct Content {
    lines: Vec<Line>,
    /// Places of lines by exact name, those that suit modern clients first.
    exact: HashMap<String, Vec<usize>>,
    /// As `exact`, by what follows the first label.
    wildcard: HashMap<String, Vec<usize>>,
    /// Names that a line's wildcards are not for.
    excluded: HashSet<(String, usize)>,
}

/// A certificate that is shown.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The file.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) identity: Identity,
    /// The names it is for, if not those in it.
    pub(super) filters: Vec<String>,
    /// Which of the bind's terms its clients get; 0 for its own.
    terms: usize,
    /// The list that names it.
    pub(super) list: Option<Listed>,
    /// Whether its issuer is asked for responses about its revocation.
    pub(super) fetches_ocsp: bool,
}

/// Where a list names a certificate.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// The list.
    pub(super) path: PathBuf,
    /// The line.
    pub(super) number: usize,
    /// What it says of the TLS of its clients.
    pub(super) settings: String,
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
    pub(super) fn add(&mut self, path: &Path, store: &mut Draft, remarks: &mut Remarks) {
        if file::kind(path) != Kind::Directory {
            self.add_file(path, (0, Vec::new(), None), store, remarks);
            return;
        }
        match files_of(path) {
            Ok(files) if files.is_empty() => remarks.errors.push(format!("{}: no certificate file in it", path.display())),
            Ok(files) => files.iter().for_each(|file| self.add_file(file, (0, Vec::new(), None), store, remarks)),
            Err(error) => remarks.errors.push(format!("{}: {error}", path.display())),
        }
    }

    /// Adds the certificates that a list names, on terms of their own where it says so.
    pub(super) fn add_list(&mut self, path: &Path, model: &config::Tls, store: &mut Draft, remarks: &mut Remarks) {
        let text = match file::read_text(path, file::LARGEST) {
            Ok(text) => text,
            Err(error) => return remarks.errors.push(format!("{}: {error}", path.display())),
        };
        for (number, entry) in crt_list::parse(&text) {
            let terms = entry.and_then(|entry| Ok((store.terms_of(model, &path.display().to_string(), &entry.settings)?, entry)));
            match terms {
                Ok((terms, Entry { file, filters, settings })) => {
                    let file = model.base().map_or(file.clone(), |base| base.join(file));
                    let listed = Listed { path: path.to_owned(), number, settings };
                    self.add_file(&file, (terms, filters, Some(listed)), store, remarks);
                }
                Err(reason) => remarks.errors.push(format!("{}:{number}: {reason}", path.display())),
            }
        }
    }

    fn add_file(
        &mut self,
        path: &Path,
        (terms, filters, list): (usize, Vec<String>, Option<Listed>),
        store: &mut Draft,
        remarks: &mut Remarks,
    ) {
        let provider = self.provider;
        match self.read.entry(path.to_owned()).or_insert_with(|| Identity::load(path, provider)) {
            Ok(identity) => {
                remarks.warnings.extend(identity.doubt.clone());
                let (path, identity) = (path.to_owned(), identity.clone());
                let own = terms.checked_sub(1).and_then(|place| store.particular.get(place));
                let fetches_ocsp = own.map_or(store.fetches_ocsp, config::Tls::fetches_ocsp);
                store.content.add(Line { path, identity, filters, terms, list, fetches_ocsp });
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

impl Draft {
    /// Returns a store without certificates for a bind like this, which stands there.
    pub(super) fn new(model: &config::Tls, location: &config::Location) -> Self {
        let place = format!("{}:{}", location.file(), location.line());
        let (strict, fetches_ocsp) = (model.strict_sni(), model.fetches_ocsp());
        Self { content: Content::default(), particular: Vec::new(), strict, fetches_ocsp, place }
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

    /// Tells whether there is no certificate.
    pub(super) fn is_empty(&self) -> bool {
        self.content.lines.is_empty()
    }

    /// Returns the store.
    pub(super) fn finish(self) -> Store {
        let Self { content, particular, strict, fetches_ocsp, place } = self;
        Store { content: ArcSwap::from_pointee(content), particular, strict, fetches_ocsp, place }
    }
}

impl Content {
    fn of(lines: Vec<Line>) -> Self {
        let mut content = Self::default();
        lines.into_iter().for_each(|line| content.add(line));
        content
    }

    /// Adds a certificate for the names in it, or for those that its filters tell instead.
    fn add(&mut self, line: Line) {
        let place = self.lines.len();
        self.lines.push(line);
        let lines = &self.lines;
        let Line { identity, filters, .. } = &lines[place];
        let (excluded, wanted): (Vec<_>, Vec<_>) = filters.iter().partition(|filter| filter.starts_with('!'));
        let names = if wanted.is_empty() { identity.names.iter().collect() } else { wanted };
        for name in names {
            let places = match name.strip_prefix("*.") {
                Some(rest) => self.wildcard.entry(rest.to_owned()).or_default(),
                None => self.exact.entry(name.clone()).or_default(),
            };
            let rank = |place: usize| u8::from(lines[place].identity.key.key.algorithm() == SignatureAlgorithm::RSA);
            let at = places.partition_point(|other| rank(*other) <= rank(place));
            if !places.contains(&place) {
                places.insert(at, place);
            }
        }
        self.excluded.extend(excluded.into_iter().map(|name| (name[1..].to_owned(), place)));
    }

    /// Returns the places of the lines for a host, in the order of preference.
    fn places(&self, host: &str) -> Vec<usize> {
        if let Some(places) = self.exact.get(host) {
            return places.clone();
        }
        let rest = host.split_once('.').map_or("", |(_, rest)| rest);
        let places = self.wildcard.get(rest).into_iter().flatten().copied();
        places.filter(|place| self.excluded.is_empty() || !self.excluded.contains(&(host.to_owned(), *place))).collect()
    }
}

impl Store {
    /// Returns the terms that lists set for some of their lines; those of number 1 come first.
    pub(super) fn particular(&self) -> &[config::Tls] {
        &self.particular
    }

    /// Returns where the bind stands.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Returns the number of the terms of whoever asks for a host.
    pub(super) fn terms_for(&self, host: Option<&str>) -> usize {
        let content = self.content.load();
        let places = host.map(|host| content.places(host)).unwrap_or_default();
        let place = places.first().copied().unwrap_or(0);
        content.lines.get(place).map_or(0, |line| line.terms)
    }

    /// Returns all that is shown.
    pub(super) fn lines(&self) -> Vec<Line> {
        self.content.load().lines.clone()
    }

    /// Shows another certificate wherever that of a file is shown, and tells in how many places that is.
    pub(super) fn replace(&self, path: &Path, identity: &Identity) -> usize {
        let mut lines = self.lines();
        let places = lines.iter_mut().filter(|line| line.path == path).map(|line| line.identity = identity.clone()).count();
        if places > 0 {
            self.content.store(Arc::new(Content::of(lines)));
        }
        places
    }

    /// Shows one more certificate, on the bind's own terms.
    pub(super) fn add(&self, path: &Path, identity: &Identity, filters: Vec<String>, list: Listed) {
        let mut lines = self.lines();
        lines.push(Line {
            path: path.to_owned(),
            identity: identity.clone(),
            filters,
            terms: 0,
            list: Some(list),
            fetches_ocsp: self.fetches_ocsp,
        });
        self.content.store(Arc::new(Content::of(lines)));
    }

    /// Shows what a line of a list names no longer; the first certificate of a bind stays.
    pub(super) fn remove(&self, list: &Path, number: usize) {
        let mut lines = self.lines();
        lines.retain(|line| line.list.as_ref().is_none_or(|listed| listed.path != list || listed.number != number));
        if !lines.is_empty() {
            self.content.store(Arc::new(Content::of(lines)));
        }
    }

    /// Returns the key for a host that suits the client; the first one if it names no host we know, unless we are strict.
    pub(super) fn choose(&self, host: Option<&str>, suits: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let content = self.content.load();
        let lower = host.map(str::to_ascii_lowercase);
        let places = lower.map(|host| content.places(&host)).unwrap_or_default();
        let of_host = || places.iter().filter_map(|place| content.lines.get(*place)).map(|line| &line.identity.key);
        if let Some(key) = of_host().find(|key| suits(key)).or_else(|| of_host().next()) {
            return Some(Arc::clone(key));
        }
        if self.strict { None } else { content.lines.first().map(|line| Arc::clone(&line.identity.key)) }
    }
}

impl Store {
    /// Returns what suits a client.
    pub(super) fn find(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let suits = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.choose(hello.server_name(), suits)
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.find(&hello)?;
        session::choose(&key, hello.server_name());
        Some(key)
    }
}
