//! One request and response model for every protocol version.
//!
//! A message is a [`head`] with its [`headers`], and a [`body::Framing`] that says where its body ends. Wire formats fill and print
//! it; nothing that decides about a message sees which version it arrived in.

pub mod body;
pub mod head;
pub mod headers;
pub mod target;
