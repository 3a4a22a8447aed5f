//! The certificates that a configuration names, by their files, and their replacement while they are shown: the next handshake has the
//! new one. What is replaced here is read from the files again at a reload.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::tls::Identity;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::store::{Line, Listed, Store};
use super::{crt_list, ocsp};

/// The certificates of all binds.
#[derive(Debug)]
pub(crate) struct Certificates {
    stores: Vec<Arc<Store>>,
    provider: CryptoProvider,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By file; none while nothing was put into it.
    files: BTreeMap<PathBuf, Option<Identity>>,
    /// What is to take the place of a file's content.
    change: Option<(PathBuf, Identity)>,
}

/// A certificate file as it is looked at.
pub(crate) struct Shown {
    /// Nothing while nothing was put into it.
    pub(crate) identity: Option<Identity>,
    /// Whether a bind shows it.
    pub(crate) is_used: bool,
}

/// A line of a list as it is looked at.
pub(crate) struct ListLine {
    /// The certificate file.
    pub(crate) path: PathBuf,
    /// The number of the line.
    pub(crate) number: usize,
    /// What it says of the TLS of its clients.
    pub(crate) settings: String,
    /// The names it is for.
    pub(crate) filters: Vec<String>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Certificates {
    /// Returns those that these stores show.
    pub(super) fn new(stores: Vec<Arc<Store>>) -> Self {
        let lines = stores.iter().flat_map(|store| store.lines());
        let files = lines.map(|line| (line.path, Some(line.identity))).collect();
        let provider = aws_lc_rs::default_provider();
        Self { stores, provider, state: Mutex::new(State { files, change: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        self.stores.iter().flat_map(|store| store.lines())
    }

    fn uses(&self, path: &Path) -> usize {
        self.lines().filter(|line| line.path == path).count()
    }

    /// Lists the file that is being changed, and all files.
    pub(crate) fn list(&self) -> (Option<PathBuf>, Vec<PathBuf>) {
        let state = self.state();
        (state.change.as_ref().map(|(path, _)| path.clone()), state.files.keys().cloned().collect())
    }

    /// Returns until when each certificate in use is valid, in seconds since 1970.
    pub(crate) fn ends(&self) -> Vec<(PathBuf, i64)> {
        let mut ends: Vec<(PathBuf, i64)> = self
            .lines()
            .filter_map(|line| {
                let leaf = line.identity.key.cert.first()?;
                let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
                Some((line.path, certificate.validity().not_after.timestamp()))
            })
            .collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Returns what is in a file, or with a star before its name what is to be put into it.
    pub(crate) fn show(&self, name: &str) -> Option<Shown> {
        let state = self.state();
        if let Some(name) = name.strip_prefix('*') {
            let (_, identity) = state.change.as_ref().filter(|(path, _)| path == Path::new(name))?;
            return Some(Shown { identity: Some(identity.clone()), is_used: false });
        }
        let identity = state.files.get(Path::new(name))?.clone();
        Some(Shown { identity, is_used: self.uses(Path::new(name)) > 0 })
    }

    /// Returns the certificates that are shown, by file.
    pub(super) fn in_use(&self) -> BTreeMap<PathBuf, Identity> {
        self.lines().map(|line| (line.path, line.identity)).collect()
    }

    /// Returns the certificates whose issuers are asked for responses about their revocation.
    pub(super) fn fetching(&self) -> BTreeMap<PathBuf, Identity> {
        self.lines().filter(|line| line.fetches_ocsp).map(|line| (line.path, line.identity)).collect()
    }

    /// Shows a response with the certificate of a file, or none; does nothing once another certificate is there.
    pub(super) fn staple(&self, path: &Path, leaf: &CertificateDer<'_>, response: Option<&[u8]>) {
        let mut state = self.state();
        let Some(Some(identity)) = state.files.get_mut(path) else { return };
        if identity.key.cert.first() != Some(leaf) || identity.key.ocsp.as_deref() == response {
            return;
        }
        let mut key = CertifiedKey::clone(&identity.key);
        key.ocsp = response.map(<[u8]>::to_vec);
        identity.key = Arc::new(key);
        self.stores.iter().for_each(|store| {
            store.replace(path, identity);
        });
    }

    /// Makes ready what is to take the place of a file's content.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn set(&self, name: &str, text: &str) -> Result<String, String> {
        let (path, mut state) = (Path::new(name), self.state());
        if let Some((other, _)) = state.change.as_ref().filter(|(other, _)| other != path) {
            let about = format!("The ongoing transaction is about '{}' but you are trying to set '{name}'", other.display());
            return Err(format!("{about}\nCan't update {name}!\n"));
        }
        let Some(present) = state.files.get(path) else {
            return Err(format!("Can't replace a certificate which is not referenced by the configuration!\nCan't update {name}!\n"));
        };
        let begun = state.change.as_ref().map(|(_, identity)| identity);
        let identity = Identity::parse(path, text, begun.or(present.as_ref()), &self.provider).map_err(|reason| {
            let missing = text.contains("-----BEGIN CERTIFICATE-----");
            let what = if missing { format!("{reason}.") } else { format!("unable to load certificate from file '{name}'.") };
            format!("{what}\nCan't load the payload\nCan't update {name}!\n")
        })?;
        let what = if state.change.is_some() { "updated" } else { "created" };
        state.change = Some((path.to_owned(), identity));
        Ok(format!("Transaction {what} for certificate {name}!\n"))
    }

    /// Puts what was made ready into its file, and shows it from now on.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn commit(&self, name: &str) -> Result<String, String> {
        let mut state = self.state();
        match state.change.take() {
            None => Err(format!("No ongoing transaction! !\nCan't commit {name}!\n")),
            Some((path, identity)) if path == Path::new(name) => {
                let uses: usize = self.stores.iter().map(|store| store.replace(&path, &identity)).sum();
                state.files.insert(path, Some(identity));
                ocsp::nudge();
                Ok(format!("Committing {name}{}\nSuccess!\n", ".".repeat(uses)))
            }
            Some((path, identity)) => {
                let about = format!("The ongoing transaction is about '{}' but you are trying to set '{name}'", path.display());
                state.change = Some((path, identity));
                Err(format!("{about}\nCan't commit {name}!\n"))
            }
        }
    }

    /// Forgets what was made ready.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn abort(&self, name: &str) -> Result<String, String> {
        let mut state = self.state();
        match &state.change {
            None => Err("No ongoing transaction!\n".to_owned()),
            Some((path, _)) if path == Path::new(name) => {
                state.change = None;
                Ok(format!("Transaction aborted for certificate '{name}'!\n"))
            }
            Some((path, _)) => Err(format!(
                "The ongoing transaction is about '{}' but you are trying to abort a transaction for '{name}'\n",
                path.display()
            )),
        }
    }

    /// Makes room for a certificate that no file has.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn create(&self, name: &str) -> Result<String, String> {
        let mut state = self.state();
        if state.files.contains_key(Path::new(name)) {
            return Err(format!("Certificate '{name}' already exists!\n"));
        }
        state.files.insert(name.into(), None);
        Ok(format!("New empty certificate store '{name}'!\n"))
    }

    /// Forgets a certificate that nobody shows.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn delete(&self, name: &str) -> Result<String, String> {
        let mut state = self.state();
        let refuse = |why: &str| Err(format!("Can't remove the certificate: certificate '{name}' {why}!\n\n"));
        if !state.files.contains_key(Path::new(name)) {
            return refuse("doesn't exist");
        }
        if self.uses(Path::new(name)) > 0 {
            return refuse("in use, can't be deleted");
        }
        state.files.remove(Path::new(name));
        Ok(format!("Certificate '{name}' deleted!\n"))
    }

    /// Names all lists.
    pub(crate) fn lists(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = self.lines().filter_map(|line| line.list.map(|list| list.path)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Returns the lines of a list; nothing if there is none.
    pub(crate) fn list_lines(&self, name: &str) -> Vec<ListLine> {
        let of_list = |line: Line| {
            let list = line.list.filter(|list| list.path == Path::new(name))?;
            Some(ListLine { path: line.path, number: list.number, settings: list.settings, filters: line.filters })
        };
        // Every bind that names the list shows all of it.
        let lines = self.stores.iter().map(|store| store.lines().into_iter().filter_map(of_list).collect::<Vec<_>>());
        lines.into_iter().find(|lines| !lines.is_empty()).unwrap_or_default()
    }

    /// Adds a line to a list.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn add_line(&self, name: &str, text: &str) -> Result<String, String> {
        let refuse = |why: String| Err(format!("Can't edit the crt-list: {why}!\n"));
        let lines = self.list_lines(name);
        let Some(last) = lines.iter().map(|line| line.number).max() else { return refuse(format!("crt-list '{name}' does not exist")) };
        let entry = match crt_list::parse(text).next() {
            Some((_, Ok(entry))) => entry,
            Some((_, Err(reason))) => return refuse(reason),
            None => return refuse("there is no line".to_owned()),
        };
        let file = entry.file.display().to_string();
        if !entry.settings.is_empty() {
            return refuse("a line with settings of its own takes a reload".to_owned());
        }
        let state = self.state();
        let identity = match state.files.get(&entry.file) {
            Some(Some(identity)) => identity,
            Some(None) => return refuse(format!("certificate '{file}' is empty")),
            None => return refuse(format!("certificate '{file}' does not exist")),
        };
        for store in self.stores.iter().filter(|store| names_list(store, name)) {
            let listed = Listed { path: name.into(), number: last + 1, settings: String::new() };
            store.add(&entry.file, identity, entry.filters.clone(), listed);
        }
        ocsp::nudge();
        Ok(format!("Inserting certificate '{file}' in crt-list '{name}'.\nSuccess!\n"))
    }

    /// Takes a line out of a list: the one of a file, or of a file and a number.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn remove_line(&self, name: &str, which: &str) -> Result<String, String> {
        let refuse = |why: String| Err(format!("Can't delete the entry: {why}!\n"));
        let (file, number) = match which.rsplit_once(':').and_then(|(file, number)| Some((file, number.parse::<usize>().ok()?))) {
            Some((file, number)) => (file, Some(number)),
            None => (which, None),
        };
        let lines = self.list_lines(name);
        if lines.is_empty() {
            return refuse(format!("crt-list '{name}' does not exist"));
        }
        let meant = lines.iter().filter(|line| line.path == Path::new(file) && number.is_none_or(|number| line.number == number));
        let numbers: Vec<usize> = meant.map(|line| line.number).collect();
        let number = match numbers[..] {
            [] => return refuse(format!("certificate '{file}' does not exist")),
            [number] => number,
            _ => {
                let all = numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                let which = "in several entries, please specify a line number preceded by colons";
                return refuse(format!("found the certificate '{file}' {which} ({all})"));
            }
        };
        let users: Vec<&Arc<Store>> = self.stores.iter().filter(|store| names_list(store, name)).collect();
        let is_first = |store: &&&Arc<Store>| {
            let first = store.lines().into_iter().next().and_then(|line| line.list);
            first.is_some_and(|list| list.path == Path::new(name) && list.number == number)
        };
        let bound: String = users.iter().filter(is_first).map(|store| format!("\t- {}\n", store.place())).collect();
        if !bound.is_empty() {
            let why = "cannot be deleted, it is used as default certificate by the following frontends:";
            return Err(format!("Can't delete the entry: certificate '{file}' {why}\n{bound}\n"));
        }
        users.iter().for_each(|store| store.remove(Path::new(name), number));
        Ok(format!("Entry '{file}' deleted in crtlist '{name}'!\n"))
    }
}

fn names_list(store: &Arc<Store>, name: &str) -> bool {
    store.lines().iter().any(|line| line.list.as_ref().is_some_and(|list| list.path == Path::new(name)))
}
