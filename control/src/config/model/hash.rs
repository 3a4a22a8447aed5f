//! How what a choice sticks to is hashed, and how the hash finds a server.

/// How a hash finds a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashType {
    pub(in crate::config) method: HashMethod,
    pub(in crate::config) function: HashFunction,
    pub(in crate::config) avalanche: bool,
}

/// How a server is found by a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashMethod {
    /// By its remainder: very even, and most of it moves when a server comes or goes.
    MapBased,
    /// So that only the share of a server moves when it comes or goes.
    Consistent,
}

/// How bytes become a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// That of the sdbm library.
    Sdbm,
    /// Daniel Bernstein's, times 33.
    Djb2,
    /// One that is little affected by regular input.
    Wt6,
    /// The checksum of Ethernet.
    Crc32,
    /// The bytes are a decimal number already.
    None,
}

impl HashType {
    /// Returns how a server is found.
    pub fn method(&self) -> HashMethod {
        self.method
    }

    /// Returns how bytes become a number.
    pub fn function(&self) -> HashFunction {
        self.function
    }

    /// Tells whether the bits of the number are mixed once more.
    pub fn avalanche(&self) -> bool {
        self.avalanche
    }
}

impl Default for HashType {
    fn default() -> Self {
        Self { method: HashMethod::MapBased, function: HashFunction::Sdbm, avalanche: false }
    }
}
