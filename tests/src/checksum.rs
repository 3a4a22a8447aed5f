//! Judges whether a packet is sound: every length and checksum recomputed from the bytes alone.
//!
//! Written from the RFCs with nothing shared with the balancer or with the builder of test packets, so that a mistake in either is
//! seen here. It follows VLAN tags, IPv6 extension headers, IP in IP, and the packet quoted in an ICMP error.

use crate::packet::describe;

/// Fails the test unless every checksum and length in the frame is right.
///
/// # Panics
/// Panics with what is wrong and the whole packet.
#[track_caller]
pub fn assert_checksums(frame: &[u8]) {
    if let Err(problem) = verify(frame) {
        panic!("{problem} in\n{}", describe(frame));
    }
}

/// Checks every checksum and length in an Ethernet frame; what is not IP is taken as it is.
///
/// # Errors
/// Says what is wrong first, with the value found and the one expected.
pub fn verify(frame: &[u8]) -> Result<(), String> {
    let mut at = 12;
    let mut kind = u16_at(frame, at).ok_or("frame is shorter than an Ethernet header")?;
    while matches!(kind, 0x8100 | 0x88a8) {
        at += 4;
        kind = u16_at(frame, at).ok_or("frame ends in a VLAN tag")?;
    }
    let packet = &frame[at + 2..];
    match kind {
        0x0800 => ipv4(packet, Extent::Whole),
        0x86dd => ipv6(packet, Extent::Whole),
        _ => Ok(()),
    }
}

/// How much of a packet there must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Quoted in an ICMP error, which may cut it short.
    Quoted,
}

fn ipv4(packet: &[u8], extent: Extent) -> Result<(), String> {
    let first = *packet.first().ok_or("IPv4 header is missing")?;
    if first >> 4 != 4 {
        return Err(format!("IP version is {} in an IPv4 packet", first >> 4));
    }
    let header_length = usize::from(first & 15) * 4;
    let header = packet.get(..header_length).filter(|header| header.len() >= 20).ok_or("IPv4 header is cut short")?;
    expect_sum("IPv4 header", &[header], 10)?;
    let total = usize::from(u16_at(header, 2).ok_or("IPv4 header is cut short")?);
    let payload = match packet.get(header_length..total) {
        Some(payload) => payload,
        None if extent == Extent::Quoted && total > packet.len() => return Ok(()),
        None => return Err(format!("IPv4 total length is {total} in a packet of {} bytes", packet.len())),
    };
    let is_fragment = u16_at(header, 6).is_some_and(|word| word & 0x3fff != 0);
    if is_fragment {
        return Ok(());
    }
    let protocol = header[9];
    let pseudo = [&header[12..20], &[0, protocol], &(payload.len() as u16).to_be_bytes()].concat();
    match protocol {
        1 => icmp("ICMP", &[], payload, |kind| matches!(kind, 3 | 4 | 5 | 11 | 12)),
        17 if payload.len() >= 8 && payload[6..8] == [0, 0] => udp_length(payload),
        _ => transport(protocol, &pseudo, payload),
    }
}

fn ipv6(packet: &[u8], extent: Extent) -> Result<(), String> {
    let header = packet.get(..40).ok_or("IPv6 header is cut short")?;
    if header[0] >> 4 != 6 {
        return Err(format!("IP version is {} in an IPv6 packet", header[0] >> 4));
    }
    let length = usize::from(u16_at(header, 4).ok_or("IPv6 header is cut short")?);
    let mut payload = match packet.get(40..40 + length) {
        Some(payload) => payload,
        None if extent == Extent::Quoted => return Ok(()),
        None => return Err(format!("IPv6 payload length is {length} with {} bytes there", packet.len() - 40)),
    };
    let mut protocol = header[6];
    while matches!(protocol, 0 | 43 | 44 | 60) {
        if protocol == 44 && u16_at(payload, 2).is_some_and(|word| word & 0xfff9 != 0) {
            return Ok(());
        }
        let size = match (protocol, payload.get(1)) {
            (44, _) => 8,
            (_, Some(&units)) => (usize::from(units) + 1) * 8,
            (_, None) => return Err("IPv6 extension header is missing".to_owned()),
        };
        protocol = payload[0];
        payload = payload.get(size..).ok_or("IPv6 extension header is cut short")?;
    }
    let pseudo = [&header[8..40], &(payload.len() as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat();
    match protocol {
        58 => icmp("ICMPv6", &pseudo, payload, |kind| kind < 128),
        17 if payload.len() >= 8 && payload[6..8] == [0, 0] => Err("UDP checksum is zero, which IPv6 forbids".to_owned()),
        _ => transport(protocol, &pseudo, payload),
    }
}

fn transport(protocol: u8, pseudo: &[u8], segment: &[u8]) -> Result<(), String> {
    match protocol {
        4 => ipv4(segment, Extent::Whole),
        41 => ipv6(segment, Extent::Whole),
        6 => {
            let data_offset = segment.get(12).map(|byte| usize::from(byte >> 4) * 4);
            if !data_offset.is_some_and(|offset| (20..=segment.len()).contains(&offset)) {
                return Err(format!("TCP data offset is {data_offset:?} in a segment of {} bytes", segment.len()));
            }
            expect_sum("TCP", &[pseudo, segment], 16)
        }
        17 => {
            udp_length(segment)?;
            expect_sum("UDP", &[pseudo, segment], 6)
        }
        _ => Ok(()),
    }
}

fn udp_length(datagram: &[u8]) -> Result<(), String> {
    match u16_at(datagram, 4) {
        Some(length) if datagram.len() >= 8 && usize::from(length) == datagram.len() => Ok(()),
        length => Err(format!("UDP length is {length:?} in a datagram of {} bytes", datagram.len())),
    }
}

fn icmp(name: &str, pseudo: &[u8], message: &[u8], is_error: impl Fn(u8) -> bool) -> Result<(), String> {
    if message.len() < 8 {
        return Err(format!("{name} message has only {} bytes", message.len()));
    }
    expect_sum(name, &[pseudo, message], 2)?;
    if !is_error(message[0]) {
        return Ok(());
    }
    let quoted = &message[8..];
    let inner = if pseudo.is_empty() { ipv4(quoted, Extent::Quoted) } else { ipv6(quoted, Extent::Quoted) };
    inner.map_err(|problem| format!("quoted in {name}: {problem}"))
}

/// Compares the checksum at `at` in the last part with the one that all parts give.
fn expect_sum(name: &str, parts: &[&[u8]], at: usize) -> Result<(), String> {
    let [before @ .., last] = parts else { return Ok(()) };
    let found = u16_at(last, at).ok_or_else(|| format!("{name} header is cut short"))?;
    let mut cleared = last.to_vec();
    cleared[at..at + 2].fill(0);
    let sum: u64 = before.iter().copied().chain([cleared.as_slice()]).map(words).sum();
    let mut expected = !fold(sum);
    if name == "UDP" && expected == 0 {
        // RFC 768: zero means that there is none, so it is sent as its other representation.
        expected = 0xffff;
    }
    if found == expected {
        return Ok(());
    }
    Err(format!("{name} checksum is {found:#06x}, expected {expected:#06x}"))
}

/// Adds up 16-bit words, an odd byte at the end counting as the upper half of one.
fn words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{self, Piece, Problem, flow};

    const V4: &str = "10.77.0.100:4000 > 10.77.0.10:80";
    const V6: &str = "[fd77::100]:4000 > [fd77::10]:80";

    /// Frames of every kind, each with a description.
    fn frames() -> Vec<(String, Vec<u8>)> {
        let mut frames = Vec::new();
        for (text, options) in [(V4, &[1, 1, 1, 1][..]), (V6, &[1, 4, 0, 0, 0, 0])] {
            let flow = flow(text);
            let kinds = [
                ("SYN", packet::tcp(flow, "S")),
                ("data of odd length", packet::tcp(flow, "P.").payload(b"hello")),
                ("datagram", packet::udp(flow).payload(b"question").traffic_class(0xb9)),
                ("ping", packet::echo_request(flow).payload(b"abc")),
                ("pong", packet::echo_reply(flow.reversed())),
                ("options", packet::tcp(flow, "S").options(options)),
                ("VLAN", packet::udp(flow).vlan(7)),
            ];
            let built = kinds.map(|(what, packet)| (format!("{what} {text}"), packet.build()));
            for (what, frame) in &built {
                let problems = [Problem::TooBig(1400), Problem::PortUnreachable, Problem::TimeExceeded];
                for problem in problems {
                    let error = packet::error_about(frame, flow.to.ip(), problem).build();
                    frames.push((format!("{problem:?} about {what}"), error));
                }
            }
            frames.extend(built);
        }
        frames
    }

    #[test]
    fn built_packets_are_sound() {
        for (what, frame) in frames() {
            assert_eq!(verify(&frame), Ok(()), "{what}\n{}", describe(&frame));
        }
    }

    #[test]
    fn any_changed_byte_of_addresses_and_payload_is_noticed() {
        for (what, frame) in frames().into_iter().filter(|(what, _)| what.starts_with("data")) {
            let addresses = if what.contains('[') { 22..54 } else { 26..34 };
            for at in addresses.chain(frame.len() - 25..frame.len()) {
                let mut damaged = frame.clone();
                damaged[at] ^= 0x10;
                assert!(verify(&damaged).is_err(), "{what}: byte {at}");
            }
        }
    }

    #[test]
    fn truncated_packet_is_noticed_at_every_length() {
        for (what, frame) in frames() {
            for length in 0..frame.len() {
                assert!(verify(&frame[..length]).is_err(), "{what}: {length} of {} bytes", frame.len());
            }
        }
    }

    #[test]
    fn published_example_is_accepted() {
        // The IPv4 header that textbooks compute (sum 0xb861), before a datagram that has no checksum.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        let mut datagram = [0; 0x73 - 20];
        datagram[5] = 0x73 - 20;
        let frame = [&[0; 12][..], &[8, 0], &header, &datagram].concat();
        assert_eq!(verify(&frame), Ok(()));
    }

    #[test]
    fn absent_udp_checksum_is_legal_only_in_ipv4() {
        for (text, legal) in [(V4, true), (V6, false)] {
            let mut frame = packet::udp(flow(text)).payload(b"x").build();
            let at = frame.len() - 3;
            frame[at..at + 2].fill(0);
            assert_eq!(verify(&frame).is_ok(), legal, "{text}");
        }
    }

    #[test]
    fn damage_in_a_quoted_packet_is_noticed() {
        let quoted = packet::udp(flow(V4)).payload(b"x").build();
        let mut error = packet::error_about(&quoted, flow(V4).to.ip(), Problem::PortUnreachable).build();
        // The first byte of the quoted source, and the outer checksum that goes with it.
        error[14 + 20 + 8 + 12] += 1;
        let at = 14 + 20 + 2;
        let outer = u16_at(&error, at).unwrap() - 0x100;
        error[at..at + 2].copy_from_slice(&outer.to_be_bytes());
        assert!(verify(&error).unwrap_err().starts_with("quoted in ICMP: IPv4 header checksum"), "{:?}", verify(&error));
    }

    #[test]
    fn fragments_are_judged_by_their_ip_header_only() {
        for text in [V4, V6] {
            for piece in [Piece::First, Piece::Middle, Piece::Last] {
                let frame = packet::udp(flow(text)).payload(&[7; 64]).fragment(piece).build();
                assert_eq!(verify(&frame), Ok(()), "{piece:?} {text}");
            }
        }
    }

    #[test]
    fn packet_inside_a_packet_is_judged_too() {
        let inner = packet::tcp(flow(V4), "S").build();
        let mut outer = packet::udp(flow("[fd77::1]:1 > [fd77::2]:2")).build()[..54].to_vec();
        outer[18..20].copy_from_slice(&(inner.len() as u16 - 14).to_be_bytes());
        outer[20] = 4;
        outer.extend(&inner[14..]);
        assert_eq!(verify(&outer), Ok(()));
        let last = outer.len() - 1;
        outer[last] ^= 1;
        assert!(verify(&outer).unwrap_err().starts_with("TCP checksum"));
    }
}
