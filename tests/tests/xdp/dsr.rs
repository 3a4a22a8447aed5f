//! Direct server return: only hardware addresses change.

use l4d::datapath::Verdict;
use tests::packet::{Flow, Packet, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward, Tracking},
};

use crate::bench::{OUTER, Side, assert_frame, number_by_mac, on_bench, server_mac};

/// Makes a packet of a flow.
type Kind = fn(Flow) -> Packet;

const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];

#[test]
fn only_hardware_addresses_change() {
    let kinds: [(&str, Kind); 5] = [
        ("SYN", |flow| tcp(flow, "S")),
        ("data", |flow| tcp(flow, "P.").payload(b"hello").hops(1).traffic_class(0x2e)),
        ("FIN", |flow| tcp(flow, "F.")),
        ("datagram", |flow| udp(flow).payload(b"question")),
        ("empty datagram", |flow| udp(flow).hops(255)),
    ];
    on_bench(|bench| {
        for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin] {
            bench.clear();
            for at in ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80", "udp [fd77::10]:80"] {
                bench.serve(at, Forward::Dsr, choice);
            }
            for flow in FLOWS.map(flow) {
                for (what, packet) in kinds {
                    let frame = bench.send(Side::Outer, &packet(flow).build()).expect(what, Verdict::Transmitted, Reason::Forwarded);
                    let number = number_by_mac(&frame);
                    assert_frame(what, &frame, &packet(flow).macs(OUTER, server_mac(number)).build());
                }
            }
        }
    });
}

#[test]
fn unfinished_checksums_pass_as_they_are() {
    on_bench(|bench| {
        bench.serve("udp 10.77.0.10:80", Forward::Dsr, Choice::Tuple);
        let mut frame = udp(flow(FLOWS[0])).payload(b"abc").build();
        frame[40..42].fill(0);
        let sent = bench.send(Side::Outer, &frame).expect("no checksum", Verdict::Transmitted, Reason::Forwarded);
        assert_frame("no checksum", &sent[12..], &frame[12..]);
    });
}

#[test]
fn counters_tell_connections_and_remembered_datagram_flows() {
    on_bench(|bench| {
        bench.serve("tcp 10.77.0.10:80", Forward::Dsr, Choice::Source);
        bench.serve("udp 10.77.0.10:80", Forward::Dsr, Choice::Source);
        bench.change("udp 10.77.0.10:80", |service| service.tracking = Tracking::Always);
        let mut tcp_to = [0; 4];
        let mut udp_to = [0; 4];
        for client in 0..50 {
            let flow = flow(&format!("192.0.2.{client}:4000 > 10.77.0.10:80"));
            for (packet, counts) in [(tcp(flow, "S"), &mut tcp_to), (udp(flow), &mut udp_to)] {
                let sent = bench.send(Side::Outer, &packet.build()).expect("first", Verdict::Transmitted, Reason::Forwarded);
                counts[usize::from(number_by_mac(&sent))] += 1;
            }
            for packet in [tcp(flow, "."), tcp(flow, "F."), udp(flow)] {
                bench.send(Side::Outer, &packet.build()).expect("more", Verdict::Transmitted, Reason::Forwarded);
            }
        }
        for number in 1..=3 {
            let (connections, flows) = (tcp_to[usize::from(number)], udp_to[usize::from(number)]);
            let found = bench.counters("tcp 10.77.0.10:80", number);
            assert_eq!((found.flows, found.packets, found.bytes), (connections, 3 * connections, 3 * 54 * connections), "server {number}");
            let found = bench.counters("udp 10.77.0.10:80", number);
            assert_eq!((found.flows, found.packets, found.bytes), (flows, 2 * flows, 2 * 42 * flows), "server {number}");
            assert!(connections > 0 && flows == connections, "the same source hash on both services");
        }
    });
}
