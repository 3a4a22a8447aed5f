//! Sending a packet on: rewritten as the service asks, with the next hop from the server's entry.

pub(crate) mod dsr;
pub(crate) mod nat;
mod neighbor;
mod translation;

use xdp_common::reason::Reason;

/// A packet that is ready to leave.
pub(crate) struct Sent {
    /// The interface it leaves by.
    pub(crate) interface: u32,
    /// Why it was sent.
    pub(crate) reason: Reason,
}
