//! What the XDP program and l4d must agree on: memory layouts with their rules, limits, map names and counters.
//!
//! Everything here is pure and `no_std`; it holds no pointer and does no I/O. In the order of use:
//! [`addr`] → [`wire`], [`checksum`] → [`limits`] → [`maps`] → [`flow`], [`service`], [`server`], [`nat`], [`settings`] → [`reason`] → [`watch`].
//! The feature `user` adds the `Pod` implementations that aya's maps ask for.

#![no_std]
#![cfg_attr(not(feature = "user"), forbid(unsafe_code))]

pub mod addr;
pub mod checksum;
pub mod decap;
pub mod flow;
pub mod guard;
pub mod lane;
pub mod limits;
pub mod maps;
pub mod nat;
#[cfg(feature = "user")]
mod pod;
pub mod reason;
pub mod server;
pub mod service;
pub mod settings;
pub mod watch;
pub mod wire;

// Words of several fields are laid out for the byte order of the target `bpfel`.
const _: () = assert!(cfg!(target_endian = "little"));
