//! Tunnels: the packet goes whole, in a header whose every byte is known.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header};
use l4d::datapath::Verdict;
use tests::packet::{Flow, Packet, Problem, describe, error_about, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{Bench, OUTER, ROUTER, Side, TUNNEL_PORT, assert_frame, number_by_mac, on_bench, server_ip, server_mac, tunnel_source};

const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];
const SERVICES: [&str; 4] = ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80", "udp [fd77::10]:80"];
const MODES: [Forward; 2] = [Forward::Ipip, Forward::Gue];

/// Makes a packet of a flow.
type Kind = fn(Flow) -> Packet;

/// Serves all services by servers of one family.
fn serve(bench: &mut Bench<'_>, forward: Forward, choice: Choice, like: IpAddr) {
    bench.clear();
    for at in SERVICES {
        bench.serve_as(at, forward, choice, |service| {
            for (number, server) in (1..).zip(&mut service.servers) {
                server.socket = SocketAddr::new(server_ip(number, like), 80);
                server.way.source = tunnel_source(like);
            }
        });
    }
}

fn families() -> [IpAddr; 2] {
    ["10.0.0.0", "fd00::"].map(|text| text.parse().expect("an address"))
}

/// Returns the frame that should come out, but for what tells flows apart: GUE's source port and the flow label, which are read from `sent`.
fn wrapped(sent: &[u8], inner: &[u8], forward: Forward, like: IpAddr, class: u8) -> Vec<u8> {
    let number = number_by_mac(sent);
    let mut frame = [&server_mac(number).0[..], &OUTER.0, &[0, 0]].concat();
    let (protocol, header) = if inner[12] == 8 { (4, 8) } else { (41, 8) };
    let in_udp = forward == Forward::Gue;
    let protocol = IpNumber(if in_udp { 17 } else { protocol });
    let payload = inner.len() - 14 + if in_udp { header } else { 0 };
    let udp_at = match (tunnel_source(like), server_ip(number, like)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame[12..].copy_from_slice(&[8, 0]);
            let mut ip = Ipv4Header::new(payload as u16, 64, protocol, from.octets(), to.octets()).expect("it fits");
            (ip.dont_fragment, ip.identification) = (true, 0);
            (ip.dscp, ip.ecn) = ((class >> 2).try_into().expect("six bits"), (class & 3).try_into().expect("two bits"));
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut frame).expect("a vector takes all bytes");
            34
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame[12..].copy_from_slice(&[0x86, 0xdd]);
            let label = u32::from_be_bytes([0, sent[15] & 15, sent[16], sent[17]]);
            let ip = Ipv6Header {
                traffic_class: class,
                flow_label: Ipv6FlowLabel::try_new(label).expect("twenty bits"),
                payload_length: payload as u16,
                next_header: protocol,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            ip.write(&mut frame).expect("a vector takes all bytes");
            54
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!("both are like one"),
    };
    if in_udp {
        frame.extend(&sent[udp_at..udp_at + 2]);
        frame.extend(TUNNEL_PORT.to_be_bytes());
        frame.extend((payload as u16).to_be_bytes());
        // Judged by its own rules in `bench`; over IPv4 there is none.
        frame.extend(if like.is_ipv4() { &[0, 0] } else { &sent[udp_at + 6..udp_at + 8] });
    }
    frame.extend(&inner[14..]);
    frame
}

#[test]
fn packets_go_whole_in_either_family() {
    let kinds: [(&str, Kind, u8); 5] = [
        ("SYN", |flow| tcp(flow, "S"), 0),
        ("data", |flow| tcp(flow, "P.").payload(b"hello").hops(1).traffic_class(0x2e), 0x2e),
        ("FIN", |flow| tcp(flow, "F."), 0),
        ("datagram", |flow| udp(flow).payload(b"question").traffic_class(0xb9), 0xb9),
        ("full", |flow| tcp(flow, ".").payload(&[7; 1380]), 0),
    ];
    on_bench(|bench| {
        for like in families() {
            for forward in MODES {
                for choice in [Choice::Tuple, Choice::RoundRobin] {
                    serve(bench, forward, choice, like);
                    for flow in FLOWS.map(flow) {
                        for (what, packet, class) in kinds {
                            let what = format!("{what} by {forward:?} to {like}");
                            let inner = packet(flow).build();
                            let sent = bench.send(Side::Outer, &inner).expect(&what, Verdict::Transmitted, Reason::Forwarded);
                            assert_frame(&what, &sent, &wrapped(&sent, &inner, forward, like, class));
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn what_tells_flows_apart_stays_with_a_flow() {
    on_bench(|bench| {
        serve(bench, Forward::Gue, Choice::Source, families()[0]);
        let port = |client: u16, flags| {
            let flow = flow(&format!("192.0.2.7:{client} > 10.77.0.10:80"));
            let sent = bench.send(Side::Outer, &tcp(flow, flags).build()).expect("sent", Verdict::Transmitted, Reason::Forwarded);
            u16::from_be_bytes([sent[34], sent[35]])
        };
        let ports: std::collections::BTreeSet<u16> = (4000..4100).map(|client| port(client, "S")).collect();
        assert!(ports.len() > 90 && ports.iter().all(|port| *port >= 0xc000), "{ports:?}");
        assert_eq!(port(4000, "S"), port(4000, "P."));
    });
}

#[test]
fn datagrams_without_checksum_pass_through_every_tunnel() {
    on_bench(|bench| {
        for like in families() {
            for forward in MODES {
                serve(bench, forward, Choice::Tuple, like);
                let mut inner = udp(flow(FLOWS[0])).payload(b"abc").build();
                inner[40..42].fill(0);
                let sent = bench.send(Side::Outer, &inner).expect("no checksum", Verdict::Transmitted, Reason::Forwarded);
                assert_frame("no checksum", &sent, &wrapped(&sent, &inner, forward, like, 0));
            }
        }
    });
}

#[test]
fn padding_of_short_frames_is_no_part_of_the_packet() {
    on_bench(|bench| {
        serve(bench, Forward::Ipip, Choice::Tuple, families()[0]);
        let mut padded = tcp(flow(FLOWS[0]), ".").build();
        padded.resize(60, 0);
        let sent = bench.send(Side::Outer, &padded).expect("padded", Verdict::Transmitted, Reason::Forwarded);
        assert_eq!((sent.len(), &sent[16..18]), (80, &[0, 60][..]), "{}", describe(&sent));
    });
}

#[test]
fn packets_too_long_for_the_tunnel_are_answered() {
    on_bench(|bench| {
        for like in families() {
            for forward in MODES {
                serve(bench, forward, Choice::Source, like);
                let longest = 1500 - forward.overhead(like.is_ipv4());
                for (flow, headers) in FLOWS.map(flow).into_iter().zip([40, 60]) {
                    let fits = tcp(flow, "P.").payload(&vec![1; usize::from(longest - headers)]).build();
                    bench.send(Side::Outer, &fits).expect("just fits", Verdict::Transmitted, Reason::Forwarded);
                    let long = tcp(flow, "P.").payload(&vec![1; usize::from(longest - headers) + 1]).build();
                    let sent = bench.send(Side::Outer, &long).expect("too long", Verdict::Transmitted, Reason::TooBig);
                    let quoted = if flow.from.is_ipv4() { 14 + 64 } else { 14 + 128 };
                    let mut expected =
                        error_about(&long, flow.to.ip(), Problem::TooBig(longest)).payload(&long[14..quoted]).macs(OUTER, ROUTER).build();
                    if flow.from.is_ipv4() {
                        // The test kit numbers its packets and forbids fragments.
                        expected[18..22].fill(0);
                        expected[24..26].copy_from_slice(&sent[24..26]);
                    }
                    assert_frame("error", &sent, &expected);
                }
            }
        }
    });
}

#[test]
fn without_a_source_or_a_way_nothing_is_sent() {
    on_bench(|bench| {
        for forward in MODES {
            serve(bench, forward, Choice::Source, families()[0]);
            for at in SERVICES {
                bench.change(at, |service| service.servers.iter_mut().for_each(|server| server.way = Default::default()));
            }
            for flow in FLOWS.map(flow) {
                bench.send(Side::Outer, &tcp(flow, "S").build()).expect("no way", Verdict::Dropped, Reason::NoNextHop);
            }
        }
    });
}
