//! Sending a packet on: rewritten as the service asks, with the next hop from the server's entry.

pub(crate) mod direct;
pub(crate) mod dnat;
mod dsr;
pub(crate) mod nat;
pub(crate) mod neighbor;
mod translation;
pub(crate) mod tunnel;

use xdp_common::{maps::Stage, reason::Reason};

/// A packet that is ready to leave.
pub(crate) struct Sent {
    /// The [`Lane`](xdp_common::lane::Lane) it leaves by.
    pub(crate) interface: u32,
    /// Why it was sent.
    pub(crate) reason: Reason,
}

/// What is to be done with a packet.
pub(crate) enum Step {
    /// It is ready to leave.
    Sent(Sent),
    /// Another program goes on with it.
    Onward(Stage),
}
