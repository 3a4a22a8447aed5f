//! What both daemons share.
//!
//! [`config`] turns a file into the typed model. [`server_state`] is the pure machine of one server, [`fleet`] all servers of a configuration at run time, and
//! [`health`] probes them and [`dns`] finds those that have names. [`admin`] lets people and scripts look at them and change them.
//! [`tls`] has what TLS is spoken with. [`exposition`], [`telemetry`], [`descriptors`], [`handover`], [`mod@file`], [`socket_file`] and [`shutdown`] are what every daemon needs around that.

#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod descriptors;
pub mod dns;
pub mod exposition;
pub mod file;
pub mod fleet;
pub mod handover;
pub mod health;
pub mod server_state;
pub mod shutdown;
pub mod socket_file;
pub mod telemetry;
pub mod tls;
