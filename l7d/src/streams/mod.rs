//! A client's or server's streams, whether they belong to a connection of HTTP/2 or of HTTP/3.
//!
//! Heads are those of the `http` crate on both, so [`crate::h2::convert`] serves both. What a stream of either carries is an
//! [`Incoming`], what goes out a [`Sending`], and a client's stream that waits for its response a [`Responder`]. Each connection makes
//! an [`Arrival`] of a client's stream, and from there on nobody knows which it was.

mod arrival;
pub(crate) mod incoming;
mod sending;

pub(crate) use arrival::{Active, Activity, Arrival, Newcomer};
pub(crate) use incoming::Incoming;
pub(crate) use sending::{Responder, Sending};
