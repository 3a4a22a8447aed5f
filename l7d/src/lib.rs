//! The user-space proxy.
//!
//! A connection comes in by a `listener` and becomes a `session`. In mode `http` each of its requests is an `exchange`, which
//! asks `balance` for a server, waits for a slot in its `queue`, takes a connection from `upstream`, and lets `forward` stream
//! request and response; the `log` gets a line, and `stats` its numbers. In mode `tcp` the connection as a whole goes the same way, and a `tunnel` carries
//! its bytes. All of this runs on the one thread, a `worker`, that accepted the connection. `app` starts everything and swaps the
//! `site`, the configuration as the engine runs it, at a reload.
//!
//! Wire formats are pure and public, for tests and fuzzing: [`h1`] turns bytes into [`message`] and back, [`proxy_header`] and
//! [`client_hello`] read what may come before the first message; [`buffer`] lends the memory all of them work in.
#![deny(unsafe_code)]

mod admin;
mod app;
mod archive;
mod balance;
mod base64;
mod bind;
mod brand;
pub mod buffer;
mod bulk;
mod cache;
mod captures;
pub mod cli;
pub mod client_hello;
mod compress;
mod date;
mod deadline;
mod downstream;
mod error;
mod exchange;
mod explain;
mod flow;
mod forward;
mod forwarded;
pub mod h1;
mod h2;
mod h3;
mod heritage;
mod idle;
mod inherit;
mod inspect;
mod lane;
mod level;
mod life;
mod listener;
mod log;
mod look;
mod mail;
mod marked;
pub mod message;
mod otlp;
mod pace;
mod passage;
mod peer;
pub mod peers;
mod pipe;
pub mod proxy_header;
mod queue;
mod rdp;
mod reply;
mod review;
mod rules;
mod session;
mod sessions;
mod site;
mod socket;
mod stats;
mod steward;
mod stick;
mod stream;
mod streams;
mod support;
mod tcp;
mod tls;
mod trace;
mod transfer;
mod tunnel;
mod upstream;
mod version;
mod worker;
