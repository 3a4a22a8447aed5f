//! Full NAT: exact frames both ways.

use std::{net::SocketAddr, thread};

use l4d::datapath::Verdict;
use tests::{
    checksum::assert_checksums,
    link::Mac,
    packet::{Flow, Packet, flow, tcp, udp},
};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{
    Bench, INNER, OUTER, ROUTER, SERVER_PORT, Side, assert_frame, flow_of, number_of, on_bench, pool_ips, server_ip, server_mac,
};

const SERVICES: [&str; 4] = ["tcp 10.77.0.10:80", "udp 10.77.0.10:53", "tcp [fd77::10]:80", "udp [fd77::10]:53"];
const TCP_FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];
const UDP_FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:53", "[2001:db8::7]:4000 > [fd77::10]:53"];

fn serve(bench: &mut Bench<'_>, choice: Choice) {
    for at in SERVICES {
        bench.serve(at, Forward::Nat, choice);
    }
}

/// Sends a packet through and returns how the server sees its flow, having compared the frame with the expected one.
#[track_caller]
fn goes_in(bench: &Bench<'_>, what: &str, outside: Flow, packet: impl Fn(Flow) -> Packet) -> Flow {
    let frame = bench.send(Side::Outer, &packet(outside).build()).expect(what, Verdict::Redirected, Reason::Forwarded);
    let inside = flow_of(&frame);
    let number = number_of(inside.to.ip());
    assert!(pool_ips().contains(&inside.from.ip()), "{what}: from {}", inside.from);
    assert!((16_384..32_768).contains(&inside.from.port()), "{what}: from {}", inside.from);
    let server = SocketAddr::new(server_ip(number, outside.to.ip()), SERVER_PORT);
    let expected = packet(Flow { from: inside.from, to: server }).macs(INNER, server_mac(number)).build();
    assert_frame(what, &frame, &expected);
    assert_checksums(&frame);
    inside
}

/// Sends a server's packet back and compares it with the one its client should get.
#[track_caller]
fn comes_back(bench: &Bench<'_>, what: &str, inside: Flow, outside: Flow, packet: impl Fn(Flow) -> Packet) {
    let reply = packet(inside.reversed()).macs(server_mac(number_of(inside.to.ip())), INNER).build();
    let frame = bench.send(Side::Inner, &reply).expect(what, Verdict::Redirected, Reason::Returned);
    assert_frame(what, &frame, &packet(outside.reversed()).macs(OUTER, ROUTER).build());
    assert_checksums(&frame);
}

#[test]
fn connection_is_translated_both_ways() {
    on_bench(|bench| {
        for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin] {
            bench.clear();
            serve(bench, choice);
            for outside in TCP_FLOWS.map(flow) {
                let inside = goes_in(bench, "SYN", outside, |flow| tcp(flow, "S"));
                comes_back(bench, "SYN-ACK", inside, outside, |flow| tcp(flow, "S.").sequence(99));
                let rest = [
                    ("ACK", "."),
                    ("data of odd length, its TTL and class kept", "P."),
                    ("FIN", "F."),
                    ("last ACK", "."),
                    ("late reset", "R"),
                ];
                for (what, flags) in rest {
                    let packet = |flow| tcp(flow, flags).payload(b"hello").hops(17).traffic_class(0xb9).sequence(0xffff_fff0);
                    assert_eq!(goes_in(bench, what, outside, packet), inside, "{what}");
                    comes_back(bench, what, inside, outside, packet);
                }
            }
        }
    });
}

#[test]
fn datagrams_are_translated_both_ways() {
    on_bench(|bench| {
        for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin] {
            bench.clear();
            serve(bench, choice);
            for outside in UDP_FLOWS.map(flow) {
                let mut before = None;
                for length in [0, 1, 2, 31, 512, 1400] {
                    let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
                    let packet = |flow| udp(flow).payload(&payload).hops(3);
                    let inside = goes_in(bench, "question", outside, packet);
                    comes_back(bench, "answer", inside, outside, packet);
                    assert_eq!(*before.get_or_insert(inside), inside, "the flow stays where it is");
                }
            }
        }
    });
}

#[test]
fn absent_udp_checksum_stays_absent() {
    on_bench(|bench| {
        serve(bench, Choice::Source);
        let outside = flow(UDP_FLOWS[0]);
        let without = |packet: Packet| {
            let mut frame = packet.payload(b"abc").build();
            frame[40..42].fill(0);
            frame
        };
        let frame = bench.send(Side::Outer, &without(udp(outside))).expect("question", Verdict::Redirected, Reason::Forwarded);
        let inside = flow_of(&frame);
        let mac = server_mac(number_of(inside.to.ip()));
        assert_frame("question", &frame, &without(udp(inside).macs(INNER, mac)));
        let reply = without(udp(inside.reversed()).macs(mac, INNER));
        let frame = bench.send(Side::Inner, &reply).expect("answer", Verdict::Redirected, Reason::Returned);
        assert_frame("answer", &frame, &without(udp(outside.reversed()).macs(OUTER, ROUTER)));
    });
}

/// Returns a payload that gives the datagrams of a flow a sum of zero, which is sent as 0xffff.
fn payload_for_zero(flow: Flow) -> [u8; 2] {
    let at = if flow.to.is_ipv4() { 40 } else { 60 };
    let frame = udp(flow).payload(&[0, 0]).build();
    let payload = [frame[at], frame[at + 1]];
    let frame = udp(flow).payload(&payload).build();
    assert_eq!(frame[at..at + 2], [0xff, 0xff], "the payload was chosen for that");
    payload
}

#[test]
fn udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    on_bench(|bench| {
        serve(bench, Choice::Source);
        for outside in UDP_FLOWS.map(flow) {
            let inside = goes_in(bench, "first", outside, udp);
            for (what, flow) in [("out", inside), ("in", outside), ("back out", outside.reversed()), ("back in", inside.reversed())] {
                let payload = payload_for_zero(flow);
                let packet = |flow| udp(flow).payload(&payload);
                assert_eq!(goes_in(bench, what, outside, packet), inside);
                comes_back(bench, what, inside, outside, packet);
            }
        }
    });
}

#[test]
fn damaged_checksums_are_not_repaired() {
    on_bench(|bench| {
        serve(bench, Choice::Source);
        for (outside, places) in [(TCP_FLOWS[0], [24, 50]), (UDP_FLOWS[0], [24, 40]), (TCP_FLOWS[1], [70, 70]), (UDP_FLOWS[1], [60, 60])] {
            for at in places {
                let mut frame = if TCP_FLOWS.contains(&outside) { tcp(flow(outside), "S") } else { udp(flow(outside)) }.build();
                frame[at] ^= 0x40;
                let sent = bench.send(Side::Outer, &frame).expect("damaged", Verdict::Redirected, Reason::Forwarded);
                assert!(tests::checksum::verify(&sent).is_err(), "byte {at} of {outside}");
            }
        }
    });
}

#[test]
fn padding_of_short_frames_is_kept() {
    on_bench(|bench| {
        serve(bench, Choice::Source);
        let mut frame = udp(flow(UDP_FLOWS[0])).payload(b"x").build();
        frame.resize(60, 0xee);
        let sent = bench.send(Side::Outer, &frame).expect("padded", Verdict::Redirected, Reason::Forwarded);
        assert_eq!(sent[43..], [0xee; 17]);
        assert_checksums(&sent);
    });
}

#[test]
fn counters_tell_packets_bytes_and_flows_of_each_server() {
    on_bench(|bench| {
        bench.serve(SERVICES[0], Forward::Nat, Choice::RoundRobin);
        let mut expected = [(0, 0, 0); 4];
        for client in 0..12 {
            let outside = flow(&format!("192.0.2.{client}:4000 > 10.77.0.10:80"));
            let inside = goes_in(bench, "SYN", outside, |flow| tcp(flow, "S"));
            goes_in(bench, "SYN again", outside, |flow| tcp(flow, "S"));
            comes_back(bench, "SYN-ACK", inside, outside, |flow| tcp(flow, "S."));
            goes_in(bench, "data", outside, |flow| tcp(flow, "P.").payload(&[0; 100]));
            let (packets, bytes, flows) = &mut expected[usize::from(number_of(inside.to.ip()))];
            (*packets, *bytes, *flows) = (*packets + 3, *bytes + 54 + 54 + 154, *flows + 1);
        }
        for number in 1..=3 {
            let found = bench.counters(SERVICES[0], number);
            assert_eq!((found.packets, found.bytes, found.flows), expected[usize::from(number)], "server {number}");
            assert_eq!(found.flows, 4, "round robin gives each its share");
        }
    });
}

#[test]
fn a_flow_is_found_while_another_cpu_renews_it() {
    on_bench(|bench| {
        serve(bench, Choice::RoundRobin);
        let bench = &*bench;
        for outside in TCP_FLOWS.map(flow) {
            let inside = goes_in(bench, "SYN", outside, |flow| tcp(flow, "S"));
            let reply = tcp(inside.reversed(), "P.").macs(server_mac(number_of(inside.to.ip())), INNER).build();
            // Each packet comes from another station than the last one, which is noted for the replies.
            let packets = [ROUTER, Mac([2, 0, 0, 0, 0, 3])].map(|router| tcp(outside, "P.").macs(router, OUTER).build());
            thread::scope(|scope| {
                scope.spawn(|| {
                    bench.namespace.run(|| {
                        for packet in packets.iter().cycle().take(20_000) {
                            let (verdict, frame) = bench.run(Side::Outer, packet);
                            assert_eq!((verdict, flow_of(&frame)), (Verdict::Redirected, inside));
                        }
                    });
                });
                for _ in 0..20_000 {
                    assert_eq!(bench.run(Side::Inner, &reply).0, Verdict::Redirected);
                }
            });
        }
    });
}
