//! The next hop of every server: which interface, from which MAC, to which MAC; followed by netlink and kept warm.
//!
//! Packets the XDP program sends never pass the kernel's neighbour code, so nothing would resolve a server's MAC, confirm it or
//! notice that it changed. This module does: `app` names the addresses with [`Neighbors::watch`], is woken by a
//! [subscription](Neighbors::subscribe) whenever an [`Outcome`] changes, and hands the outcomes to `plan`.
//!
//! [`table`] holds what is known and decides, [`schedule`] says when to probe whom; both are pure. [`netlink`] speaks with the
//! kernel, [`session`] is the loop between them. [`interface`] answers single questions about an interface.
//!
//! It changes nothing but the state of neighbour entries: routes, addresses and links belong to the host's administrator.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc};

use tokio::{sync::watch, task::JoinHandle};
use xdp_common::lane::Lane;

pub(crate) mod interface;
#[cfg(test)]
mod lab;
mod netlink;
mod schedule;
mod session;
mod table;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// The outcome of every watched address.
pub(crate) type Outcomes = Arc<HashMap<IpAddr, Outcome>>;

/// How frames reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextHop {
    /// The interface to send from; a VLAN's own, not its parent's.
    pub(crate) ifindex: u32,
    /// Where its frames are seen: the parent and the number of a VLAN.
    pub(crate) lane: Lane,
    /// The interface's MAC.
    pub(crate) source_mac: Mac,
    /// The MAC of the gateway, or of the address itself without one.
    pub(crate) mac: Mac,
    /// The router on the way, if the address is not on the link.
    pub(crate) gateway: Option<IpAddr>,
    /// The address this host would use as its own towards there.
    pub(crate) prefsrc: Option<IpAddr>,
}

/// What is known about the way to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Frames can be sent.
    Found(NextHop),
    /// The address is this host's own: the XDP program cannot send to it, the kernel's stack has to take the packet.
    Local,
    /// Not asked yet, or the first answer is still out.
    Resolving,
    /// Frames cannot be sent, until something changes.
    Unreachable(Unreachable),
}

impl Outcome {
    /// Returns the next hop if there is one.
    pub(crate) fn next_hop(&self) -> Option<&NextHop> {
        match self {
            Self::Found(hop) => Some(hop),
            Self::Local | Self::Resolving | Self::Unreachable(_) => None,
        }
    }
}

/// Why no frame can be sent to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreachable {
    /// No route leads there.
    #[error("no route")]
    NoRoute,
    /// A route of type blackhole, unreachable, prohibit or throw.
    #[error("a route forbids it")]
    Forbidden,
    /// A broadcast, anycast or multicast address.
    #[error("not a unicast address")]
    NotUnicast,
    /// The route wraps packets in another header, which only the kernel's stack does.
    #[error("the route leads into a tunnel")]
    Tunnel,
    /// The kernel gave another error code when asked for the route.
    #[error("route lookup: {}", io::Error::from_raw_os_error(*.0))]
    Lookup(i32),
    /// The interface is down or has no carrier.
    #[error("interface {0} is down")]
    LinkDown(u32),
    /// The interface has no six-byte hardware address.
    #[error("interface {0} is not Ethernet")]
    NotEthernet(u32),
    /// A VLAN within another, or one by 802.1ad.
    #[error("interface {0} is a VLAN within a VLAN, or one by 802.1ad, which the XDP program does not tag for")]
    Stacked(u32),
    /// Nobody answered for the gateway, or for the address itself.
    #[error("no answer from {address} on interface {ifindex}")]
    NoAnswer {
        /// The interface asked on.
        ifindex: u32,
        /// The address asked for.
        address: IpAddr,
    },
}

/// Follows the next hops of a changing set of addresses; the task behind it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Neighbors {
    watched: watch::Sender<Vec<IpAddr>>,
    outcomes: watch::Receiver<Outcomes>,
    task: JoinHandle<()>,
}

impl Neighbors {
    /// Starts the task that follows the kernel; it watches nothing yet.
    ///
    /// Must be called within a tokio runtime, whose threads are in the network namespace to follow.
    pub(crate) fn spawn() -> Self {
        let (watched, addresses) = watch::channel(Vec::new());
        let (sender, outcomes) = watch::channel(Outcomes::default());
        Self { watched, outcomes, task: tokio::spawn(session::follow(addresses, sender)) }
    }

    /// Replaces the set of addresses; the outcomes of those that stay are kept.
    pub(crate) fn watch(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut addresses: Vec<IpAddr> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.watched.send_if_modified(|current| {
            let changed = *current != addresses;
            *current = addresses;
            changed
        });
    }

    /// Returns a receiver that is woken at every change of an outcome, and holds all of them.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Outcomes> {
        self.outcomes.clone()
    }

    /// Returns the outcomes of the watched addresses as they are now; one that was just added may be missing still.
    pub(crate) fn snapshot(&self) -> Outcomes {
        Arc::clone(&self.outcomes.borrow())
    }

    /// Ends the task and waits for it.
    pub(crate) async fn stop(self) {
        drop(self.watched);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task that follows neighbours failed");
        }
    }
}
