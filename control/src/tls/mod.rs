//! What TLS is spoken with: certificates, authorities and parameters, as a configuration names them and as rustls wants them.
//!
//! Everything is read from its files once; what is wrong with any of them is told by name. [`Client`] decides about TLS with a server,
//! for traffic and for checks alike. Connections belong to those who make them.

mod client;
mod identity;
mod suites;
mod trust;
mod verifier;

pub use client::{Client, Host};
pub use identity::{Identity, Pem};
pub use suites::{name as suite_name, provider, versions};
pub use trust::{authorities, revocations, trusted};
