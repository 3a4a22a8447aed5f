//! Packets in words.

use std::{fmt::Write, net::IpAddr, time::Duration};

use serde_json::{Value, json};
use xdp_common::flow::{TCP, UDP};

use super::packet::{Frame, Packet};
use crate::datapath::protocol_name;

/// Ethernet's type of a VLAN's tag, of a provider's tag, of IPv4 and of IPv6.
const VLAN: u16 = 0x8100;
const PROVIDER_VLAN: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// TCP's flags as tcpdump writes them.
const FLAGS: [(u8, char); 8] = [(2, 'S'), (1, 'F'), (4, 'R'), (8, 'P'), (32, 'U'), (64, 'E'), (128, 'W'), (16, '.')];

/// What a frame's headers say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heads {
    vlan: Option<u16>,
    /// Source, destination and protocol number.
    network: Option<(IpAddr, IpAddr, u8)>,
    ports: Option<(u16, u16)>,
    flags: Option<u8>,
    /// Ethernet's type of what is not IP.
    ethertype: u16,
}

/// Says a packet in one line.
pub(super) fn line(packet: &Packet) -> String {
    let (arrived, left) = (Heads::of(&packet.arrived.bytes), Heads::of(&packet.left.bytes));
    let mut text = format!("{} {} {}", clock(packet.time), packet.arrived.name, arrived.said());
    let _never_fails = write!(text, ", {} bytes: {}, {}", packet.arrived.length, packet.verdict, packet.reason.name());
    if packet.is_sent() {
        let _never_fails = match left == arrived {
            // Servers that answer by themselves see the packet as it came; only the station differs.
            true => write!(text, " > {}", station(&packet.left)),
            false => write!(text, " > {}", left.said()),
        };
        if packet.left.interface != packet.arrived.interface {
            let _never_fails = write!(text, " by {}", packet.left.name);
        }
    }
    text
}

/// Says it for programs.
pub(super) fn json(packet: &Packet) -> Value {
    let side = |frame: &Frame| {
        let heads = Heads::of(&frame.bytes);
        let (network, ports) = (heads.network, heads.ports);
        json!({
            "interface": frame.name,
            "length": frame.length,
            "vlan": heads.vlan,
            "protocol": network.map(|(_, _, protocol)| protocol_name(protocol)),
            "source": network.map(|(source, _, _)| source.to_string()),
            "source_port": ports.map(|(source, _)| source),
            "destination": network.map(|(_, destination, _)| destination.to_string()),
            "destination_port": ports.map(|(_, destination)| destination),
            "station": station(frame),
        })
    };
    json!({
        "time": packet.time.as_secs_f64(),
        "verdict": packet.verdict.to_string(),
        "reason": packet.reason.name(),
        "arrived": side(&packet.arrived),
        "left": packet.is_sent().then(|| side(&packet.left)),
    })
}

impl Heads {
    /// Reads headers as far as they go.
    fn of(frame: &[u8]) -> Self {
        let mut heads = Self::default();
        let Some(mut ethertype) = word(frame, 12) else { return heads };
        let mut at = 14;
        if matches!(ethertype, VLAN | PROVIDER_VLAN) {
            heads.vlan = word(frame, 14).map(|tag| tag & 0xfff);
            (ethertype, at) = (word(frame, 16).unwrap_or_default(), 18);
        }
        heads.ethertype = ethertype;
        let packet = frame.get(at..).unwrap_or_default();
        match ethertype {
            IPV4 => heads.v4(packet),
            IPV6 => heads.v6(packet),
            _ => {}
        }
        heads
    }

    fn v4(&mut self, packet: &[u8]) {
        let Some((head, _)) = packet.split_first_chunk::<20>() else { return };
        let part = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&head[at..at + 4]).expect("four bytes"));
        self.network = Some((part(12), part(16), head[9]));
        let is_later_part = u16::from_be_bytes([head[6], head[7]]) & 0x1fff != 0;
        if !is_later_part {
            self.transport(head[9], packet.get(usize::from(head[0] & 15) * 4..).unwrap_or_default());
        }
    }

    fn v6(&mut self, packet: &[u8]) {
        let Some((head, rest)) = packet.split_first_chunk::<40>() else { return };
        let part = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&head[at..at + 16]).expect("sixteen bytes"));
        self.network = Some((part(8), part(24), head[6]));
        self.transport(head[6], rest);
    }

    fn transport(&mut self, protocol: u8, segment: &[u8]) {
        if matches!(protocol, TCP | UDP) {
            self.ports = word(segment, 0).zip(word(segment, 2));
            self.flags = segment.get(13).copied().filter(|_| protocol == TCP);
        }
    }

    fn said(&self) -> String {
        let mut text = self.vlan.map_or_else(String::new, |vlan| format!("vlan {vlan} "));
        let Some((source, destination, protocol)) = self.network else {
            let _never_fails = write!(text, "ethertype {:#06x}", self.ethertype);
            return text;
        };
        let ports = self.ports.map_or((None, None), |(source, destination)| (Some(source), Some(destination)));
        let (source, destination) = (end(source, ports.0), end(destination, ports.1));
        let _never_fails = write!(text, "{} {source} > {destination}", protocol_name(protocol));
        if let Some(flags) = self.flags {
            let flags: String = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| *letter).collect();
            let _never_fails = write!(text, " [{flags}]");
        }
        text
    }
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

/// Returns the station a frame is for.
fn station(frame: &Frame) -> String {
    let bytes: Vec<String> = frame.bytes.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// Returns the time of day in UTC.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, time.subsec_micros())
}

/// Returns two bytes as a number.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xdp_common::reason::Reason;

    use super::*;
    use crate::datapath::Verdict;

    const STATIONS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];

    fn tcp(destination: [u8; 4]) -> Vec<u8> {
        let mut frame = [&STATIONS[..], &[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 9], &destination].concat();
        frame.extend([0x10, 0x92, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12]);
        frame
    }

    fn packet(arrived: Vec<u8>, left: Vec<u8>, leaves_by: u32, verdict: Verdict, reason: Reason) -> Packet {
        let frame = |interface: u32, bytes: Vec<u8>| Frame { interface, name: format!("eth{interface}"), length: 60, bytes };
        let time = Duration::new(86_400 * 3 + 3_725, 42_000);
        let (arrived, left) = (frame(0, arrived), frame(leaves_by, left));
        Packet { time, ended: time, arrived, left, reason, verdict, code: 3 }
    }

    #[test]
    fn a_line_says_both_sides() {
        let sent = packet(tcp([10, 0, 0, 1]), tcp([10, 0, 2, 3]), 1, Verdict::Redirected, Reason::Forwarded);
        let said = "01:02:05.000042 eth0 tcp 10.0.0.9:4242 > 10.0.0.1:80 [S.], 60 bytes: redirected, forwarded";
        assert_eq!(line(&sent), format!("{said} > tcp 10.0.0.9:4242 > 10.0.2.3:80 [S.] by eth1"));
        let same = packet(tcp([10, 0, 0, 1]), tcp([10, 0, 0, 1]), 0, Verdict::Transmitted, Reason::Forwarded);
        assert!(line(&same).ends_with("60 bytes: transmitted, forwarded > 02:00:00:00:00:01"), "{}", line(&same));
        let passed = packet(tcp([10, 0, 0, 1]), tcp([10, 0, 0, 1]), 0, Verdict::Passed, Reason::NoService);
        assert!(line(&passed).ends_with("60 bytes: passed, no_service"), "{}", line(&passed));
    }

    #[test]
    fn tags_and_other_protocols_are_said() {
        let mut tagged = tcp([10, 0, 0, 1]);
        tagged.splice(12..12, [0x81, 0, 0x20, 7]);
        assert_eq!(Heads::of(&tagged).said(), "vlan 7 tcp 10.0.0.9:4242 > 10.0.0.1:80 [S.]");
        let mut arp = STATIONS.to_vec();
        arp.extend([8, 6, 0, 1]);
        assert_eq!(Heads::of(&arp).said(), "ethertype 0x0806");
        let mut tunnel = tcp([10, 0, 0, 1]);
        tunnel[23] = 4;
        assert_eq!(Heads::of(&tunnel).said(), "protocol 4 10.0.0.9 > 10.0.0.1");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_said(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            let packet = packet(bytes.clone(), bytes, 0, Verdict::Dropped, Reason::Truncated);
            prop_assert!(line(&packet).contains("dropped, truncated"));
            prop_assert!(json(&packet).is_object());
        }
    }
}
