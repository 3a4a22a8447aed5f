//! Ports for the proxies, below those that the kernel gives to the connections of clients.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// Returns an address of the loopback interface that nobody listens on, another one each time.
///
/// # Errors
/// Fails if all ports are taken.
pub(super) fn unused() -> Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(STRIDE);
    let candidate = |_| {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + u16::try_from(number).expect("below the number of ports")))
    };
    (0..COUNT).map(candidate).find(|address| TcpListener::bind(address).is_ok()).context("no port of 127.0.0.1 is free")
}

/// The first port and how many follow; Linux gives those from 32768 to outgoing connections.
const FIRST: u16 = 10_000;
const COUNT: u32 = 22_000;
/// Keeps processes that run at the same time apart.
const STRIDE: u32 = 97;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let (first, second) = (unused().unwrap(), unused().unwrap());
        assert_ne!(first, second);
        assert!(first.ip().is_loopback() && (FIRST..32_768).contains(&first.port()), "{first}");
    }
}
