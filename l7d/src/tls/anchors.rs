//! The files of authorities, and of what they have revoked, that a configuration names, and what takes their place while it is in force.
//!
//! What is put in the place of a file here is a change of the configuration, which [`crate::app`] carries out; here it is made ready.
//! A reload reads the files again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::config::{Config, Trust};
use control::tls::{authorities, revocations};
use rustls::RootCertStore;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// All files, and what is made ready.
#[derive(Debug, Default)]
pub(crate) struct Anchors(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, File>,
    /// What is to take the place of a file's content, of each kind one.
    changes: BTreeMap<Kind, (PathBuf, Content)>,
}

/// What a file is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Certificates of authorities.
    Ca,
    /// What they have revoked.
    Crl,
}

#[derive(Debug)]
struct File {
    kind: Kind,
    /// In DER, one after the other.
    parts: Vec<Vec<u8>>,
}

/// What is to take the place of a file's content.
#[derive(Debug, Clone)]
struct Content {
    text: Arc<str>,
    parts: Vec<Vec<u8>>,
}

/// A file, or a change of one, as it is listed.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// How many certificates or lists there are in it.
    pub(crate) count: usize,
}

impl Kind {
    /// Returns HAProxy's letters for it.
    pub(crate) fn letters(self) -> &'static str {
        match self {
            Self::Ca => "CA",
            Self::Crl => "CRL",
        }
    }

    /// Reads a text; none where it is of no use.
    fn parse(self, path: &Path, text: &str) -> Option<Content> {
        let parts = match self {
            Self::Ca => {
                let found = authorities(path, Some(text)).ok()?;
                let mut roots = RootCertStore::empty();
                found.iter().try_for_each(|certificate| roots.add(certificate.clone())).ok()?;
                found.iter().map(|certificate| certificate.to_vec()).collect()
            }
            Self::Crl => {
                let found = revocations(path, Some(text)).ok()?;
                found.iter().try_for_each(|list| CertificateRevocationList::from_der(list).map(drop)).ok()?;
                found
            }
        };
        Some(Content { text: text.into(), parts })
    }
}

impl Anchors {
    /// Returns the files that a configuration names, for servers and for binds.
    pub(super) fn of<'t>(config: &'t Config, binds: impl Iterator<Item = &'t Trust>) -> Self {
        let mut files = BTreeMap::new();
        for trust in binds.chain(config.trusts_of_servers()) {
            // What cannot be read has been told of already.
            for file in trust.ca() {
                let read = || authorities(file.value(), None).unwrap_or_default().iter().map(|part| part.to_vec()).collect();
                files.entry(file.value().clone()).or_insert_with(|| File { kind: Kind::Ca, parts: read() });
            }
            for file in trust.crl() {
                let read = || revocations(file.value(), None).unwrap_or_default();
                files.entry(file.value().clone()).or_insert_with(|| File { kind: Kind::Crl, parts: read() });
            }
        }
        Self(Mutex::new(State { files, changes: BTreeMap::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists what is made ready, and all files of a kind.
    pub(crate) fn list(&self, kind: Kind) -> (Option<Listed>, Vec<Listed>) {
        let state = self.state();
        let change = state.changes.get(&kind).map(|(path, content)| Listed { path: path.clone(), count: content.parts.len() });
        let files = state.files.iter().filter(|(_, file)| file.kind == kind);
        (change, files.map(|(path, file)| Listed { path: path.clone(), count: file.parts.len() }).collect())
    }

    /// Returns what is in a file, in DER, or with a star before its name what is to be put into it.
    pub(crate) fn show(&self, kind: Kind, name: &str) -> Option<Vec<Vec<u8>>> {
        let state = self.state();
        match name.strip_prefix('*') {
            Some(name) => state.changes.get(&kind).filter(|(path, _)| path == Path::new(name)).map(|(_, content)| content.parts.clone()),
            None => state.files.get(Path::new(name)).filter(|file| file.kind == kind).map(|file| file.parts.clone()),
        }
    }

    /// Makes room for a file that there is not yet.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn create(&self, kind: Kind, name: &str) -> Result<String, String> {
        let mut state = self.state();
        if state.files.contains_key(Path::new(name)) {
            return Err(format!("{} file '{name}' already exists!\n", kind.letters()));
        }
        state.files.insert(name.into(), File { kind, parts: Vec::new() });
        Ok(format!("New {} file created '{name}'!\n", kind.letters()))
    }

    /// Makes ready what is to take the place of a file's content.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn set(&self, kind: Kind, name: &str, text: &str) -> Result<String, String> {
        let (path, letters, mut state) = (Path::new(name), kind.letters(), self.state());
        let refuse = |why: &str| Err(format!("{why}\nCan't update {name}!\n"));
        let begun = state.changes.get(&kind).map(|(path, _)| path.clone());
        if let Some(other) = begun.as_ref().filter(|other| *other != path) {
            return refuse(&format!("The ongoing transaction is about '{}' but you are trying to set '{name}'", other.display()));
        }
        if state.files.get(path).is_none_or(|file| file.kind != kind) {
            return refuse(&format!("Can't replace a {letters} file which is not referenced by the configuration!"));
        }
        let Some(content) = kind.parse(path, text) else { return refuse("Invalid payload") };
        state.changes.insert(kind, (path.to_owned(), content));
        let what = if begun.is_some() { "updated" } else { "created" };
        Ok(format!("transaction {what} for {letters} {name}!\n"))
    }

    /// Returns the text that is to take the place of a file.
    ///
    /// # Errors
    /// What HAProxy says where there is none.
    pub(crate) fn ready(&self, kind: Kind, name: &str) -> Result<Arc<str>, String> {
        match self.state().changes.get(&kind) {
            None => Err(format!("No ongoing transaction! !\nCan't commit {name}!\n")),
            Some((path, content)) if path == Path::new(name) => Ok(Arc::clone(&content.text)),
            Some((path, _)) => {
                let about = format!("The ongoing transaction is about '{}' but you are trying to set '{name}'", path.display());
                Err(format!("{about}\nCan't commit {name}!\n"))
            }
        }
    }

    /// Notes that what was made ready has taken the place of its file.
    pub(crate) fn done(&self, kind: Kind) {
        let mut state = self.state();
        if let Some((path, Content { parts, .. })) = state.changes.remove(&kind) {
            state.files.insert(path, File { kind, parts });
        }
    }

    /// Forgets what was made ready.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn abort(&self, kind: Kind, name: &str) -> Result<String, String> {
        let mut state = self.state();
        match state.changes.get(&kind) {
            None => Err("No ongoing transaction!\n".to_owned()),
            Some((path, _)) if path == Path::new(name) => {
                state.changes.remove(&kind);
                Ok(format!("Transaction aborted for certificate '{name}'!\n"))
            }
            Some((path, _)) => Err(format!(
                "The ongoing transaction is about '{}' but you are trying to abort a transaction for '{name}'\n",
                path.display()
            )),
        }
    }

    /// Forgets a file that decides about nothing.
    ///
    /// # Errors
    /// What HAProxy says of it.
    pub(crate) fn delete(&self, kind: Kind, name: &str, uses: usize) -> Result<String, String> {
        let (letters, mut state) = (kind.letters(), self.state());
        let refuse = |why: &str| Err(format!("Can't remove the {letters} file: {letters} file '{name}' {why}!\n\n"));
        if state.files.get(Path::new(name)).is_none_or(|file| file.kind != kind) {
            return refuse("doesn't exist");
        }
        if uses > 0 {
            return refuse("in use, can't be deleted");
        }
        state.files.remove(Path::new(name));
        Ok(format!("{letters} file '{name}' deleted!\n"))
    }
}
