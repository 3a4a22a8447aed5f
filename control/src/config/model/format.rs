//! Texts of checks that are put together when they are needed: log formats and sample expressions, as far as checks know them.
//!
//! The language of rules lives in l7d; checks also run in l4d, and have no request to ask about, so theirs is a small part of it.

/// A text with places that are filled in when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub(in crate::config) pieces: Vec<Piece>,
}

impl Format {
    /// Makes a text without such places.
    pub(in crate::config) fn plain(text: impl Into<Vec<u8>>) -> Self {
        Self { pieces: vec![Piece::Text(text.into())] }
    }

    /// Returns the text, if nothing in it is filled in.
    pub fn as_plain(&self) -> Option<&[u8]> {
        match &self.pieces[..] {
            [] => Some(&[]),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the pieces in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

/// A part of a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes as they are.
    Text(Vec<u8>),
    /// What an expression says.
    Sample(Expression),
}

/// A fetch and what is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub(in crate::config) fetch: Fetch,
    pub(in crate::config) converters: Vec<Converter>,
}

impl Expression {
    /// Returns where the value comes from.
    pub fn fetch(&self) -> &Fetch {
        &self.fetch
    }

    /// Returns what is made of it, in order.
    pub fn converters(&self) -> &[Converter] {
        &self.converters
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// A constant.
    Text(Vec<u8>),
    /// A variable of the check, by its name with the scope.
    Variable(String),
    /// The name of the server.
    ServerName,
    /// The name of the backend.
    BackendName,
    /// The name of this host.
    Hostname,
    /// The number of the process.
    ProcessId,
    /// Bytes of what the server said: from where, and how many; 0 takes all.
    Payload {
        /// How many bytes are left out before it.
        offset: usize,
        /// How many are taken; 0 for all there are.
        length: usize,
    },
    /// How many bytes the server said.
    PayloadLength,
    /// The status of the server's response.
    Status,
}

/// What is made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converter {
    /// A part of it: from where, and how many bytes if not all.
    Bytes(usize, Option<usize>),
    /// Hexadecimal digits.
    Hex,
    /// In small letters.
    Lower,
    /// In capitals.
    Upper,
    /// The number of its bytes.
    Length,
    /// Up to the end of its first line.
    CutCrLf,
    /// Without the blanks before it.
    TrimStart,
    /// Up to the first zero byte.
    Text,
}
