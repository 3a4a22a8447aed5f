//! Which responses are compressed, and how.

/// How content is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all; for tests.
    Identity,
    /// As RFC 1952 has it.
    Gzip,
    /// As RFC 1950 has it.
    Deflate,
    /// As RFC 1951 has it, which some old clients take `deflate` for.
    RawDeflate,
}

/// What a proxy compresses, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    pub(in crate::config) codings: Vec<Coding>,
    pub(in crate::config) types: Vec<String>,
    pub(in crate::config) offload: bool,
    pub(in crate::config) least: u64,
}

impl Compression {
    /// Returns the codings in the order they were written; none leaves the choice to the other proxy of an exchange.
    pub fn codings(&self) -> &[Coding] {
        &self.codings
    }

    /// Returns how the types of compressed responses begin; none if all are.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// Tells whether servers are kept from compressing.
    pub fn offload(&self) -> bool {
        self.offload
    }

    /// Returns the length of the shortest body that is compressed, in bytes, where lengths are known.
    pub fn least(&self) -> u64 {
        self.least
    }
}
