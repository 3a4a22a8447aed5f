//! Files of patterns, which may be changed while they are used: lists for acls, and maps from patterns to values.
//!
//! A file is read once for all rules that name it. What is looked up in it is an [`Index`] for each way to compare; a change, made by
//! a rule or an administrator, reaches all of them. Changes do not outlive a reload, which reads the file anew.
//!
//! Locks: [`PatternFile`] locks its entries, and while it holds them each index in turn; an index that was never changed is read without
//! a lock.

mod chains;
mod index;
mod versions;

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use control::file;

use chains::Chains;
pub(super) use index::{Index, Way};
use versions::Coming;
pub(crate) use versions::{Named, PatternKind, Patterns, Refused};

use super::pattern::Case;

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::rules) enum FileKind {
    /// Patterns.
    List,
    /// Patterns, each with a value behind it.
    Map,
}

/// The patterns of one file, as it was read and as they were changed since.
#[derive(Debug)]
pub(in crate::rules) struct PatternFile {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    /// How many there ever were.
    count: u64,
    /// What each pattern leads to, in the order of the file.
    entries: Chains,
    indexes: Vec<(Way, Case, Arc<Index>)>,
    /// The version in force, and the last that was prepared.
    current: u32,
    next: u32,
    coming: Coming,
}

/// What a pattern leads to.
#[derive(Debug, Clone)]
pub(in crate::rules) struct Entry {
    /// Its place in the order of the file.
    pub(in crate::rules) order: u64,
    /// The line it was read from; none for one that came later.
    pub(in crate::rules) line: Option<NonZeroU32>,
    /// The value; empty in a list.
    pub(in crate::rules) value: Bytes,
}

/// A pattern that cannot be one, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rules) struct BadPattern {
    /// The line of the file; none for one that did not come from it.
    pub(in crate::rules) line: Option<NonZeroU32>,
    /// Why.
    pub(in crate::rules) reason: String,
}

impl std::fmt::Display for BadPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of the file: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl PatternFile {
    /// Reads a file.
    ///
    /// # Errors
    /// As reading.
    pub(in crate::rules) fn load(name: &str, kind: FileKind) -> io::Result<Self> {
        let text = file::read_text(Path::new(name), file::LARGEST)?;
        Ok(Self::of_text(kind, text))
    }

    fn of_text(kind: FileKind, text: impl Into<String>) -> Self {
        // Patterns and values are slices of it.
        let whole = Bytes::from(text.into());
        let text = str::from_utf8(&whole).unwrap_or_default();
        let mut content = Content { entries: Chains::with_capacity(memchr::memchr_iter(b'\n', &whole).count()), ..Content::default() };
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start_matches([' ', '\t']).trim_end_matches('\r');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = match kind {
                FileKind::List => (line, ""),
                FileKind::Map => line.split_once([' ', '\t']).unwrap_or((line, "")),
            };
            let value = value.trim_matches([' ', '\t']);
            let entry = content.next_entry(whole.slice_ref(value.as_bytes()), NonZeroU32::new(number));
            content.entries.insert(whole.slice_ref(key.as_bytes()), entry);
        }
        Self { content: Mutex::new(content) }
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns every pattern with its value, in the order of the file.
    pub(in crate::rules) fn entries(&self) -> Vec<(Bytes, Entry)> {
        self.content().entries.in_order().into_iter().map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// Returns the index for a way to compare, made at the first call.
    ///
    /// # Errors
    /// Names the first line that cannot be compared so.
    pub(in crate::rules) fn index(&self, way: Way, case: Case) -> Result<Arc<Index>, BadPattern> {
        let mut content = self.content();
        if let Some((_, _, index)) = content.indexes.iter().find(|(of, fold, _)| (*of, *fold) == (way, case)) {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(Index::new(way, case, &content.entries.in_order())?);
        content.indexes.push((way, case, Arc::clone(&index)));
        Ok(index)
    }

    /// Adds a pattern with its value, whether or not it is there already.
    ///
    /// # Errors
    /// Says why it cannot be compared the way the rules do.
    pub(in crate::rules) fn add(&self, key: &[u8], value: &[u8]) -> Result<(), BadPattern> {
        let mut content = self.content();
        for (_, _, index) in &content.indexes {
            index.check(key)?;
        }
        let (key, entry) = (Bytes::copy_from_slice(key), content.next_entry(Bytes::copy_from_slice(value), None));
        content.entries.insert(key.clone(), entry.clone());
        for (_, _, index) in &content.indexes {
            index.insert(&key, &entry);
        }
        Ok(())
    }

    /// Gives a pattern another value, and adds it if it is not there.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(in crate::rules) fn put(&self, key: &[u8], value: &[u8]) -> Result<(), BadPattern> {
        if self.set(key, value) { Ok(()) } else { self.add(key, value) }
    }

    /// Gives a pattern another value, wherever it stands; tells whether it is there.
    fn set(&self, key: &[u8], value: &[u8]) -> bool {
        let mut content = self.content();
        let content = &mut *content;
        let (found, _) = content.entries.each(key, |entry| {
            if *entry.value != *value {
                entry.value = Bytes::copy_from_slice(value);
                content.indexes.iter().for_each(|(_, _, index)| index.set(key, entry));
            }
            true
        });
        found > 0
    }

    /// Takes a pattern out, wherever it stands; tells whether it was there.
    pub(in crate::rules) fn remove(&self, key: &[u8]) -> bool {
        let mut content = self.content();
        let found = content.entries.each(key, |_| false).0 > 0;
        if found {
            content.indexes.iter().for_each(|(_, _, index)| index.remove(key));
        }
        found
    }
}

impl Content {
    /// Returns the entry that comes behind all others.
    fn next_entry(&mut self, value: Bytes, line: Option<NonZeroU32>) -> Entry {
        let entry = Entry { order: self.count, line, value };
        self.count += 1;
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::rules::sample::Sample;

    fn found(map: &PatternFile, way: Way, text: &str) -> Option<String> {
        let index = map.index(way, Case::Kept).unwrap();
        index.value(&Sample::text(text.as_bytes())).map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn each_way_finds_what_it_should() {
        let map = PatternFile::of_text(FileKind::Map, "# c\n/a one\n/a/b two \n\tx.org  three\norg four\n7 five\n8:10 six\n\n/a again\n");
        let cases = [
            (Way::Str, "/a", Some("one")),
            (Way::Str, "/a/", None),
            (Way::Beg, "/a/b/c", Some("two")),
            (Way::Beg, "/a/c", Some("one")),
            (Way::End, "www.x.org", Some("three")),
            (Way::End, "y.org", Some("four")),
            (Way::Sub, "c/a/b", Some("one")),
            (Way::Dom, "www.x.org", Some("three")),
            (Way::Dom, "www.org.net", Some("four")),
            (Way::Dir, "/c/a/d", Some("one")),
            (Way::Dir, "/c/aa/d", None),
        ];
        for (way, text, expected) in cases {
            assert_eq!(found(&map, way, text).as_deref(), expected, "{way:?} {text}");
        }
        assert_eq!(map.index(Way::Int, Case::Kept).unwrap_err().line.map(NonZeroU32::get), Some(2));
        let numbers = PatternFile::of_text(FileKind::Map, "7 five\n8:10 six\n9 no");
        for (number, expected) in [(7, Some("five")), (9, Some("six")), (11, None)] {
            let value = numbers.index(Way::Int, Case::Kept).unwrap().value(&Sample::Int(number)).map(std::borrow::Cow::into_owned);
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{number}");
        }
        let networks = PatternFile::of_text(FileKind::Map, "10.0.0.0/8 all\n10.1.0.0/16 some\n::1 six\n");
        for (address, expected) in [("10.2.0.1", Some("all")), ("10.1.0.1", Some("some")), ("::1", Some("six")), ("11.0.0.1", None)] {
            let sample = Sample::Address(address.parse::<IpAddr>().unwrap());
            let value = networks.index(Way::Ip, Case::Kept).unwrap().value(&sample).map(std::borrow::Cow::into_owned);
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{address}");
        }
    }

    #[test]
    fn changes_reach_every_index() {
        let map = PatternFile::of_text(FileKind::Map, "a 1\nb 2\na 3\n");
        for way in [Way::Str, Way::Beg, Way::End, Way::Sub, Way::Dom, Way::Reg] {
            let map = PatternFile::of_text(FileKind::Map, "a 1\nb 2\na 3\n");
            assert_eq!(found(&map, way, "a").as_deref(), Some("1"), "{way:?}");
            map.put(b"a", b"4").unwrap();
            map.put(b"c", b"5").unwrap();
            assert_eq!((found(&map, way, "a").as_deref(), found(&map, way, "c").as_deref()), (Some("4"), Some("5")), "{way:?}");
            assert!(map.remove(b"a") && !map.remove(b"a"));
            assert_eq!((found(&map, way, "a"), found(&map, way, "b").as_deref()), (None, Some("2")), "{way:?}");
        }
        map.add(b"(", b"x").unwrap();
        assert!(map.index(Way::Reg, Case::Kept).is_err());
        assert!(map.remove(b"(") && map.index(Way::Reg, Case::Kept).is_ok());
        assert_eq!(map.add(b"(", b"x").unwrap_err().line, None);
        let keys: Vec<_> = map.entries().iter().map(|(key, entry)| (key.to_vec(), entry.value.to_vec())).collect();
        assert_eq!(keys, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec()), (b"a".to_vec(), b"3".to_vec())]);
    }

    #[test]
    fn a_hundred_thousand_lines_are_read_and_changed_at_once() {
        let text: String = (0..100_000).map(|number| format!("host{number}.example backend{}\n", number % 7)).collect();
        let map = PatternFile::of_text(FileKind::Map, text);
        for round in 0..10_000_u32 {
            assert_eq!(found(&map, Way::Str, "host99999.example").as_deref(), Some("backend4"));
            map.put(format!("new{round}").as_bytes(), b"x").unwrap();
        }
        assert_eq!(found(&map, Way::Str, "new9999").as_deref(), Some("x"));
    }
}
