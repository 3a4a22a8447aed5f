//! The lines that the program logs of some packets, put into words.

use std::net::IpAddr;

use aya_log::EbpfLogger;
use control::shutdown::Shutdown;
use log::{Log, Metadata, Record};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::{info, warn};
use xdp_common::{
    flow::{TCP, UDP},
    reason::Reason,
    wire::{ICMP, ICMPV6},
};

/// Takes lines from the kernel to the daemon's own log.
pub(super) struct PacketLog;

/// The lines of a loaded program.
pub struct Lines(EbpfLogger<PacketLog>);

impl Lines {
    /// Takes the lines of an object.
    pub(super) fn of(ebpf: &mut aya::Ebpf) -> Result<Self, aya_log::Error> {
        EbpfLogger::init_with_logger(ebpf, PacketLog).map(Self)
    }

    /// Logs lines as they come, until the daemon stops.
    pub async fn run(self, mut shutdown: Shutdown) {
        // SAFETY: a logger holds its ring open until it is dropped, and always names the same.
        let lines = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) };
        let mut lines = match lines {
            Ok(lines) => lines,
            Err(error) => return warn!("no packets will be logged: {error}"),
        };
        loop {
            tokio::select! {
                ready = lines.readable_mut() => {
                    let Ok(mut ready) = ready else { return };
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                () = shutdown.begun() => return,
            }
        }
    }
}

impl Log for PacketLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        match said(&line) {
            Some(text) => info!(target: "packets", "{text}"),
            None => warn!(target: "packets", "{line}"),
        }
    }

    fn flush(&self) {}
}

/// Puts a line of numbers into words: protocol, source, its port, destination, its port, bytes, interface and reason.
fn said(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let [protocol, source, from, destination, to, length, interface, reason] = words.as_slice() else { return None };
    let reason = Reason::ALL.get(reason.parse::<usize>().ok()?)?.name();
    let end = |address: &str, port: &str| {
        let ip = address.parse::<IpAddr>().ok()?.to_canonical();
        Some(match (port, ip) {
            ("0", ip) => ip.to_string(),
            (port, IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            (port, ip) => format!("{ip}:{port}"),
        })
    };
    let (source, destination) = (end(source, from)?, end(destination, to)?);
    let protocol = protocol_name(protocol.parse().ok()?);
    Some(format!("{protocol} {source} > {destination}, {length} bytes by interface {interface}: {reason}"))
}

/// Returns what a protocol number in IP is called.
pub(crate) fn protocol_name(protocol: u8) -> String {
    match protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        // Zeros are noted of what is not IP.
        0 => "other".to_owned(),
        number => format!("protocol {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_words() {
        let text = said("6 ::ffff:10.0.0.9 4242 ::ffff:10.0.0.1 80 74 3 0");
        assert_eq!(text.as_deref(), Some("tcp 10.0.0.9:4242 > 10.0.0.1:80, 74 bytes by interface 3: forwarded"));
        let text = said(&format!("58 2001:db8::1 0 2001:db8::2 0 118 4 {}", Reason::Echo as u32));
        assert_eq!(text.as_deref(), Some("icmpv6 2001:db8::1 > 2001:db8::2, 118 bytes by interface 4: echo"));
        let text = said(&format!("17 2001:db8::1 53 ::ffff:10.0.0.1 443 60 2 {}", Reason::NoService as u32));
        assert_eq!(text.as_deref(), Some("udp [2001:db8::1]:53 > 10.0.0.1:443, 60 bytes by interface 2: no_service"));
    }

    #[test]
    fn what_is_not_such_a_line_is_left_as_it_is() {
        for line in ["", "6", "6 x 1 y 2 3 4 0", "6 ::1 1 ::1 2 3 4 999", "6 ::1 1 ::1 2 3 4 0 1"] {
            assert_eq!(said(line), None, "{line}");
        }
    }
}
