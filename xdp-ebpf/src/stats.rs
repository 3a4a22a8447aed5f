//! Counts: one per packet by reason, and packets, bytes and flows per server.

use crate::{maps, parse::Flow};
use xdp_common::{flow::ServerId, reason::Reason};

/// Whether a packet began a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    Known,
}

/// Counts what became of a packet.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    maps::count(reason);
}

/// Counts a packet given to a server.
#[inline(always)]
pub(crate) fn count_server(server: ServerId, flow: &Flow, age: Age) {
    maps::count_server(server.0, flow.length, flows(age));
}

/// Returns how many flows a packet of this age begins.
#[inline(always)]
pub(crate) fn flows(age: Age) -> u64 {
    u64::from(age == Age::New)
}
