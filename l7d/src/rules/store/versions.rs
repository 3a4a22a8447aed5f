//! What administrators see of the patterns of a file, and change: one by one, or all in one step by a version prepared beside the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{BadPattern, Chains, Content, Entry, FileKind, Index, PatternFile, Way};
use crate::rules::pattern::Case;
use crate::rules::sample::Sample;

/// The patterns of one file, for the administrator.
#[derive(Debug, Clone)]
pub(crate) struct Patterns {
    /// The file.
    pub(crate) name: String,
    /// Whether values stand behind its patterns.
    pub(crate) kind: PatternKind,
    /// Who uses it, and where.
    pub(crate) used: String,
    pub(in crate::rules) file: Arc<PatternFile>,
}

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatternKind {
    /// Patterns.
    Acl,
    /// Patterns, each with a value behind it.
    Map,
}

/// How many patterns there are, and which versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The version in force.
    pub(crate) current: u32,
    /// The last that was prepared.
    pub(crate) next: u32,
    /// Patterns of all versions.
    pub(crate) entries: usize,
}

/// A pattern as it is listed.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// What it can be named by.
    pub(crate) reference: u64,
    /// The pattern.
    pub(crate) key: Bytes,
    /// The value; empty in a list.
    pub(crate) value: Bytes,
}

/// What a pattern is named by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Named<'n> {
    /// Itself, wherever it stands.
    Key(&'n str),
    /// Its place in the list.
    Reference(u64),
}

/// Why a pattern is not added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It cannot be compared the way the rules do.
    Bad(String),
    /// Its version was not prepared.
    Future,
}

/// What one way to look things up finds.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// The way, in HAProxy's words.
    pub(crate) way: &'static str,
    /// Whether upper and lower case differ.
    pub(crate) is_sensitive: bool,
    /// Whether that does not take going through all patterns.
    pub(crate) is_indexed: bool,
    /// The pattern that matches, and its value.
    pub(crate) found: Option<(String, String)>,
}

/// A pattern and its value.
type Pair = (Bytes, Bytes);

/// Patterns of versions that are not in force.
pub(super) type Coming = BTreeMap<u32, Vec<Pair>>;

impl From<FileKind> for PatternKind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::List => Self::Acl,
            FileKind::Map => Self::Map,
        }
    }
}

impl Patterns {
    /// Returns how many patterns there are, and which versions.
    pub(crate) fn counts(&self) -> Counts {
        let content = self.file.content();
        let coming: usize = content.coming.values().map(Vec::len).sum();
        Counts { current: content.current, next: content.next, entries: content.entries.len() + coming }
    }

    /// Lists a version; none is the one in force.
    pub(crate) fn list(&self, version: Option<u32>) -> Vec<Listed> {
        let content = self.file.content();
        if let Some(version) = version.filter(|version| *version != content.current) {
            let coming = content.coming.get(&version).into_iter().flatten();
            return (1..).zip(coming).map(|(place, (key, value))| listed(place, key, value)).collect();
        }
        drop(content);
        self.file.entries().iter().map(|(key, entry)| listed(entry.order + 1, key, &entry.value)).collect()
    }

    /// Adds a pattern to a version; none is the one in force.
    ///
    /// # Errors
    /// Says why it is refused.
    pub(crate) fn add(&self, version: Option<u32>, key: &str, value: &str) -> Result<(), Refused> {
        let bad = |bad: BadPattern| Refused::Bad(bad.to_string());
        let mut content = self.file.content();
        let Some(version) = version.filter(|version| *version != content.current) else {
            drop(content);
            return self.file.add(key.as_bytes(), value.as_bytes()).map_err(bad);
        };
        if version > content.next {
            return Err(Refused::Future);
        }
        content.indexes.iter().try_for_each(|(_, _, index)| index.check(key.as_bytes())).map_err(bad)?;
        // One that has gone by takes nothing any more.
        if version > content.current {
            content
                .coming
                .entry(version)
                .or_default()
                .push((Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes())));
        }
        Ok(())
    }

    /// Gives patterns of the version in force another value, and tells whether there were any.
    pub(crate) fn set(&self, named: Named<'_>, value: &str) -> bool {
        self.key_of(named).is_some_and(|key| self.file.set(&key, value.as_bytes()))
    }

    /// Takes patterns out of the version in force, and tells whether there were any.
    pub(crate) fn remove(&self, named: Named<'_>) -> bool {
        self.key_of(named).is_some_and(|key| self.file.remove(&key))
    }

    fn key_of(&self, named: Named<'_>) -> Option<Bytes> {
        match named {
            Named::Key(key) => Some(Bytes::copy_from_slice(key.as_bytes())),
            Named::Reference(reference) => {
                let place = |entry: &Entry| reference_of(entry.order + 1) == reference;
                self.file.entries().into_iter().find(|(_, entry)| place(entry)).map(|(key, _)| key)
            }
        }
    }

    /// Takes all patterns out of a version; none is the one in force.
    pub(crate) fn clear(&self, version: Option<u32>) {
        let mut content = self.file.content();
        match version.filter(|version| *version != content.current) {
            Some(version) => drop(content.coming.remove(&version)),
            None => content.renew(Vec::new()),
        }
    }

    /// Begins a version, and returns its number.
    pub(crate) fn prepare(&self) -> u32 {
        let mut content = self.file.content();
        content.next += 1;
        content.next
    }

    /// Puts a version in force in one step; tells whether it was prepared and did not go by.
    pub(crate) fn commit(&self, version: u32) -> bool {
        let mut content = self.file.content();
        if version <= content.current || version > content.next {
            return false;
        }
        let patterns = content.coming.remove(&version).unwrap_or_default();
        content.coming.retain(|coming, _| *coming > version);
        content.current = version;
        content.renew(patterns);
        true
    }

    /// Looks a text up in every way that rules do.
    pub(crate) fn look_up(&self, text: &str) -> Vec<Lookup> {
        let indexes = self.file.content().indexes.clone();
        let entries = self.file.entries();
        let found = |index: &Index| {
            let order = index.order_of(&Sample::text(text.as_bytes()))?;
            let (key, entry) = entries.iter().find(|(_, entry)| entry.order == order)?;
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((shown(key), shown(&entry.value)))
        };
        let look = |(way, case, index): &(Way, Case, Arc<Index>)| Lookup {
            way: way.name(),
            is_sensitive: *case == Case::Kept,
            is_indexed: matches!((way, case), (Way::Str | Way::Beg, Case::Kept) | (Way::Ip, _)),
            found: found(index),
        };
        indexes.iter().map(look).collect()
    }
}

fn listed(place: u64, key: &Bytes, value: &Bytes) -> Listed {
    Listed { reference: reference_of(place), key: key.clone(), value: value.clone() }
}

fn reference_of(place: u64) -> u64 {
    place << 4
}

impl Content {
    /// Replaces everything; whoever looks something up meets the old patterns or the new ones.
    fn renew(&mut self, patterns: Vec<Pair>) {
        self.entries = Chains::with_capacity(patterns.len());
        for (key, value) in patterns {
            let entry = self.next_entry(value, None);
            self.entries.insert(key, entry);
        }
        let all = self.entries.in_order();
        self.indexes.iter().for_each(|(_, _, index)| index.renew(&all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_takes_the_place_of_another_in_one_step() {
        let file = Arc::new(PatternFile::of_text(FileKind::Map, "a 1\nb 2\n"));
        let patterns = Patterns { name: String::new(), kind: PatternKind::Map, used: String::new(), file: Arc::clone(&file) };
        let index = file.index(Way::Str, Case::Kept).unwrap();
        let value = |key: &str| index.value(&Sample::text(key.as_bytes())).map(|value| String::from_utf8(value.into_owned()).unwrap());
        assert_eq!(patterns.add(Some(1), "c", "3"), Err(Refused::Future));
        assert_eq!((patterns.prepare(), patterns.prepare()), (1, 2));
        assert_eq!((patterns.add(Some(1), "c", "3"), patterns.add(Some(2), "a", "9")), (Ok(()), Ok(())));
        assert_eq!((value("a").as_deref(), value("c")), (Some("1"), None));
        assert_eq!(patterns.counts(), Counts { current: 0, next: 2, entries: 4 });
        assert!(patterns.commit(2) && !patterns.commit(1) && !patterns.commit(2) && !patterns.commit(3));
        assert_eq!((value("a").as_deref(), value("b"), value("c")), (Some("9"), None, None));
        let reference = patterns.list(None)[0].reference;
        assert!(patterns.set(Named::Reference(reference), "10") && !patterns.set(Named::Key("b"), "1"));
        assert_eq!(value("a").as_deref(), Some("10"));
        assert!(patterns.remove(Named::Reference(reference)) && !patterns.remove(Named::Reference(reference)));
        patterns.add(None, "d", "4").unwrap();
        patterns.clear(None);
        assert_eq!((value("d"), patterns.counts()), (None, Counts { current: 2, next: 2, entries: 0 }));
    }
}
