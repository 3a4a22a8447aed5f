//! Layer 4 daemon: loads the XDP program and keeps its maps true.
//!
//! From configuration to packets: `setup` looks at the machine → [`datapath`] loads and attaches → [`plan`] says what the maps should hold →
//! [`sync`] works out the difference to [`tables`], what they do hold → [`datapath`] carries it out. `kernel` repeats the last three whenever a server's state,
//! a next hop (`neighbor`) or the file changes, or a command (`admin`) says so; `app` tells it. `maglev` and `ring` decide who owns which slot.

mod admin;
mod advice;
mod app;
mod capture;
pub mod cli;
pub mod datapath;
mod decap;
mod doctor;
mod explain;
pub mod flows;
mod kernel;
mod listing;
mod maglev;
mod manager;
mod metrics;
mod neighbor;
pub mod note;
pub mod plan;
pub mod pool;
mod preview;
mod ranges;
mod reach;
mod ring;
mod setup;
mod status;
pub mod sync;
pub mod tables;
mod top;
