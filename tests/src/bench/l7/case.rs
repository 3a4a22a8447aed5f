//! What is measured: each case is one kind of traffic through every proxy, with the project's target for it.

use std::time::Duration;

use super::measure::Measure;
use super::peer::Proxy;

/// One case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What the reader is told of it.
    pub(super) about: &'static str,
    pub(super) face: Face,
    pub(super) traffic: Traffic,
    /// Whether a line is written for each request, but by the proxies that are there to do without.
    pub(super) logs: bool,
    pub(super) measure: Measure,
    pub(super) goal: Goal,
}

/// What the proxies show to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    Http,
    Https,
    /// HTTP/2 without TLS.
    H2c,
    /// Bytes, in front of servers that say back what they hear.
    Echo,
    /// Bytes, in front of servers that speak HTTP.
    Bytes,
}

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Requests one after the other on open connections.
    KeepAlive { connections: usize, size: u64 },
    /// Every request on a connection of its own.
    Fresh { connections: usize, size: u64 },
    /// Requests on streams of HTTP/2 connections.
    Streams { connections: usize, streams: usize, size: u64 },
    /// Messages that come back.
    Messages { connections: usize, size: usize },
    /// Frames of a WebSocket that come back.
    Frames { connections: usize, size: usize },
    /// Requests at a fixed rate on some of the open connections.
    Paced { open: usize, active: usize, size: u64 },
    /// Connections that made one request and stay.
    Idle { connections: usize },
}

impl Traffic {
    /// Returns how many connections are open at a time.
    pub(super) fn connections(self) -> usize {
        match self {
            Self::KeepAlive { connections, .. }
            | Self::Fresh { connections, .. }
            | Self::Streams { connections, .. }
            | Self::Messages { connections, .. }
            | Self::Frames { connections, .. }
            | Self::Idle { connections } => connections,
            Self::Paced { open, .. } => open,
        }
    }
}

/// What is wanted of l7d.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Goal {
    pub(super) against: Against,
    /// The most that is good; without it the figure is only shown.
    pub(super) most: Option<f64>,
}

/// What l7d is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    /// The better of haproxy and nginx, both as they are.
    BestPeer,
    Peer(Proxy),
    /// Nothing: the figure itself has a limit.
    Itself,
}

impl Case {
    /// Returns the proxies that are measured.
    pub(super) fn proxies(&self) -> &'static [Proxy] {
        match self.goal.against {
            Against::Peer(Proxy::HaproxySplice) => &[Proxy::L7d, Proxy::Haproxy, Proxy::HaproxySplice, Proxy::Nginx],
            Against::Peer(Proxy::QuietL7d) => &[Proxy::L7d, Proxy::QuietL7d, Proxy::Haproxy, Proxy::QuietHaproxy],
            Against::BestPeer | Against::Peer(_) | Against::Itself => &[Proxy::L7d, Proxy::Haproxy, Proxy::Nginx],
        }
    }
}

/// All cases, in the order of the table.
pub(super) const CASES: [Case; 18] = [
    small("keep-alive", "small responses, 64 connections", Face::Http, KEEP_ALIVE, Some(0.92)),
    LOGS,
    small("fresh", "small responses, a connection for each", Face::Http, FRESH, Some(0.95)),
    small("tls-keep-alive", "the same over TLS, 64 connections", Face::Https, KEEP_ALIVE, Some(0.75)),
    small("tls-fresh", "a full handshake for each response", Face::Https, FRESH, Some(0.50)),
    small("h2", "8 connections of 32 streams over TLS", Face::Https, STREAMS, Some(0.90)),
    small("h2c", "the same without TLS", Face::H2c, STREAMS, None),
    small("tcp-small", "messages of 128 bytes, 64 connections", Face::Echo, Traffic::Messages { connections: 64, size: 128 }, Some(0.95)),
    small("websocket", "frames of 128 bytes, 64 connections", Face::Http, Traffic::Frames { connections: 64, size: 128 }, None),
    bulk("1m", "responses of 1 MiB, 16 connections", Face::Http, MEBIBYTE, (Proxy::HaproxySplice, 0.95)),
    bulk("100m", "responses of 100 MiB, 4 connections", Face::Http, HUNDRED, (Proxy::HaproxySplice, 0.45)),
    bulk("tls-1m", "responses of 1 MiB over TLS", Face::Https, MEBIBYTE, (Proxy::Nginx, 0.70)),
    bulk("tcp-100m", "100 MiB at a time in mode tcp", Face::Bytes, HUNDRED, (Proxy::HaproxySplice, 0.45)),
    paced("rate", "a fixed rate on 64 connections", Face::Http, 64, 64),
    paced("tls-rate", "a fixed rate on 64 connections over TLS", Face::Https, 64, 64),
    paced("active", "a fixed rate on 1 % of 10,000 connections", Face::Http, 10_000, 100),
    idle("idle", "10,000 idle connections", Face::Http, 10_000, 1.0),
    idle("tls-idle", "2,000 idle connections over TLS", Face::Https, 2_000, 12.0),
];

/// Bytes of a small response.
pub(super) const SMALL: u64 = 128;
/// Time before a run counts.
pub(super) const WARM_UP: Duration = Duration::from_millis(300);

const KEEP_ALIVE: Traffic = Traffic::KeepAlive { connections: 64, size: SMALL };
const FRESH: Traffic = Traffic::Fresh { connections: 64, size: SMALL };
const STREAMS: Traffic = Traffic::Streams { connections: 8, streams: 32, size: SMALL };
const MEBIBYTE: Traffic = Traffic::KeepAlive { connections: 16, size: 1 << 20 };
const HUNDRED: Traffic = Traffic::KeepAlive { connections: 4, size: 100 << 20 };

/// What a line for each request costs: l7d against itself, and haproxy beside it.
const LOGS: Case = Case {
    logs: true,
    goal: Goal { against: Against::Peer(Proxy::QuietL7d), most: Some(1.08) },
    ..small("logs", "small responses and a log line for each", Face::Http, KEEP_ALIVE, None)
};

const fn small(name: &'static str, about: &'static str, face: Face, traffic: Traffic, most: Option<f64>) -> Case {
    Case { name, about, face, traffic, logs: false, measure: Measure::Request, goal: Goal { against: Against::BestPeer, most } }
}

const fn bulk(name: &'static str, about: &'static str, face: Face, traffic: Traffic, (peer, most): (Proxy, f64)) -> Case {
    Case {
        name,
        about,
        face,
        traffic,
        logs: false,
        measure: Measure::Gibibyte,
        goal: Goal { against: Against::Peer(peer), most: Some(most) },
    }
}

const fn paced(name: &'static str, about: &'static str, face: Face, open: usize, active: usize) -> Case {
    let goal = Goal { against: Against::BestPeer, most: Some(1.0) };
    Case { name, about, face, traffic: Traffic::Paced { open, active, size: SMALL }, logs: false, measure: Measure::Tail, goal }
}

const fn idle(name: &'static str, about: &'static str, face: Face, connections: usize, most: f64) -> Case {
    let goal = Goal { against: Against::Itself, most: Some(most) };
    Case { name, about, face, traffic: Traffic::Idle { connections }, logs: false, measure: Measure::Connection, goal }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')));
    }

    #[test]
    fn the_peer_of_a_goal_is_measured() {
        for case in CASES {
            if let Against::Peer(peer) = case.goal.against {
                assert!(case.proxies().contains(&peer), "{}", case.name);
            }
        }
    }
}
