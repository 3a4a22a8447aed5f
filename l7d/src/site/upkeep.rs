//! What is asked of the sockets of one side of a proxy.

use control::config::{Located, Probes, ProxyOption};

use super::has;
use crate::socket::Socket;

/// What is asked of the sockets of one side of a proxy; mostly nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upkeep {
    probes: Option<Probes>,
    cuts: bool,
}

impl Upkeep {
    /// Finds it among the options of a proxy, one of which concerns this side alone.
    pub(super) fn of(options: &[Located<ProxyOption>], side: &ProxyOption, probes: Probes) -> Self {
        let asks = has(options, &ProxyOption::TcpKeepAlive) || has(options, side);
        Self { probes: asks.then_some(probes), cuts: has(options, &ProxyOption::NoLinger) }
    }

    /// Prepares a connection.
    pub(crate) fn apply(self, socket: &Socket) {
        if let Some(probes) = self.probes {
            socket.probe(probes);
        }
        if self.cuts {
            socket.cut_off();
        }
    }
}
