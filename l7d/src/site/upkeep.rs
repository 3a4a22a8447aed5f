//! What is asked of the sockets of one side of a proxy.

use control::config::{Located, ProxyOption};

use super::has;
use crate::socket::Socket;

/// What is asked of the sockets of one side of a proxy; mostly nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upkeep {
    probes: bool,
    cuts: bool,
}

impl Upkeep {
    /// Finds it among the options of a proxy, one of which concerns this side alone.
    pub(super) fn of(options: &[Located<ProxyOption>], side: &ProxyOption) -> Self {
        let probes = has(options, &ProxyOption::TcpKeepAlive) || has(options, side);
        Self { probes, cuts: has(options, &ProxyOption::NoLinger) }
    }

    /// Prepares a connection.
    pub(crate) fn apply(self, socket: &Socket) {
        if self.probes {
            socket.probe();
        }
        if self.cuts {
            socket.cut_off();
        }
    }
}
