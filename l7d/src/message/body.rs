//! Where a body ends.
//!
//! The wire format decides that once, from the head ([`crate::h1::framing`]); whoever streams the body only follows it.

/// How the end of a message's body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Exactly this many bytes follow the head.
    Length(u64),
    /// The body comes in chunks, the last of which is empty.
    Chunked,
    /// The body lasts until the sender closes its side; only responses may do that.
    UntilClose,
}

impl Framing {
    /// Tells whether the head is the whole message.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}
