//! Where answers of servers are kept, to be given once more.

use std::time::Duration;

use crate::config::location::{Located, Location};

/// A section `cache`.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(in crate::config) name: Located<String>,
    /// In bytes; 0 until it was said.
    pub(in crate::config) size: u64,
    /// In bytes; none for a part of the size.
    pub(in crate::config) largest: Option<Located<u64>>,
    pub(in crate::config) max_age: Duration,
    pub(in crate::config) varies: bool,
    pub(in crate::config) variants: u32,
}

impl Cache {
    /// Begins one that says nothing but its name.
    pub(in crate::config) fn new(name: Located<String>) -> Self {
        Self { name, size: 0, largest: None, max_age: Duration::from_secs(60), varies: false, variants: 10 }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::config) fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns how many bytes all of it may take.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many bytes one answer may take.
    pub fn largest(&self) -> u64 {
        self.largest.as_ref().map_or(self.size / PARTS, |largest| *largest.value())
    }

    /// Returns how long an answer is kept at most.
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Tells whether answers are kept that are not the same for everybody.
    pub fn varies(&self) -> bool {
        self.varies
    }

    /// Returns how many answers to the same question are kept that differ by who asks.
    pub fn variants(&self) -> u32 {
        self.variants
    }
}

/// Which part of a cache one answer may take, unless something else is said.
const PARTS: u64 = 256;
