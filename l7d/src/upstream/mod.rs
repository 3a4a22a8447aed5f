//! From a backend to a connection with one of its servers.
//!
//! [`pursuit`] finds a server and decides what follows a failure, [`connect`] opens a connection, [`pool`] keeps those that may serve
//! again. The loop around them belongs to the caller.

mod attempts;
pub(crate) mod connect;
pub(crate) mod pool;
pub(crate) mod pursuit;
mod reserve;

pub(crate) use attempts::Redispatch;
pub(crate) use reserve::NoServer;
