//! Sockets taken over from the process before: HAProxy's `-x`, from a haproxy or from one of ours.
//!
//! A connection that the kernel has accepted for such a socket, and that nobody has picked up yet, is served by whoever has the socket;
//! and an address that cannot be shared is never free for anybody else.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context;
use control::handover::{self, Listening};
use rustix::net::{SocketAddrAny, SocketType, getsockname, sockopt};

use crate::h3;

/// Sockets that nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct Heritage(RefCell<Vec<(SocketAddrAny, Listening)>>);

impl Heritage {
    /// Takes over all that the process listens on that serves the runtime interface at `path`.
    ///
    /// # Errors
    /// Fails if it does not answer.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let all = handover::take(path).with_context(|| format!("the sockets of the process at {}", path.display()))?;
        // A haproxy has none to give.
        handover::take_seed(path).into_iter().for_each(h3::inherit);
        let named = all.into_iter().map(|one| Ok((getsockname(&one.socket)?, one))).collect::<io::Result<_>>()?;
        Ok(Self(RefCell::new(named)))
    }

    /// Returns the sockets of a kind on an address, of all interfaces or of this one.
    pub(crate) fn on(&self, (kind, address): (SocketType, &SocketAddrAny), interface: &str) -> Vec<OwnedFd> {
        let is_meant = |one: &mut (SocketAddrAny, Listening)| {
            let is_kind = || sockopt::socket_type(&one.1.socket).is_ok_and(|found| found == kind);
            one.0 == *address && one.1.interface == interface && is_kind()
        };
        self.0.borrow_mut().extract_if(.., is_meant).map(|(_, one)| one.socket).collect()
    }
}
