//! Destination NAT: the server sees the client itself, and its replies come from the service.

use std::net::SocketAddr;

use l4d::datapath::Verdict;
use tests::packet::{Flow, Packet, Problem, error_about, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{Bench, INNER, OUTER, ROUTER, SERVER_PORT, Side, assert_frame, flow_of, number_of, on_bench, server_ip, server_mac};
use crate::next_hop::make_routes;

const SERVICES: [&str; 4] = ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80", "udp [fd77::10]:80"];
const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];

/// Makes a packet of a flow.
type Kind = fn(Flow) -> Packet;

fn serve(bench: &mut Bench<'_>, choice: Choice) {
    bench.clear();
    SERVICES.into_iter().for_each(|at| bench.serve(at, Forward::Dnat, choice));
}

/// Sends a client's packet and returns its flow as the server sees it.
#[track_caller]
fn goes_in(bench: &Bench<'_>, outside: Flow, packet: Kind) -> Flow {
    let frame = bench.send(Side::Outer, &packet(outside).build()).expect("in", Verdict::Redirected, Reason::Forwarded);
    let inside = flow_of(&frame);
    let number = number_of(inside.to.ip());
    let to = SocketAddr::new(server_ip(number, outside.to.ip()), SERVER_PORT);
    assert_frame("in", &frame, &packet(Flow { from: outside.from, to }).macs(INNER, server_mac(number)).build());
    inside
}

#[track_caller]
fn comes_back(bench: &Bench<'_>, outside: Flow, inside: Flow, packet: Kind) {
    let reply = packet(inside.reversed()).macs(server_mac(number_of(inside.to.ip())), INNER).build();
    let frame = bench.send(Side::Inner, &reply).expect("back", Verdict::Redirected, Reason::Returned);
    assert_frame("back", &frame, &packet(outside.reversed()).macs(OUTER, ROUTER).build());
}

#[test]
fn destination_is_translated_and_replies_find_back() {
    let kinds: [Kind; 4] = [
        |flow| tcp(flow, "S"),
        |flow| tcp(flow, "P.").payload(b"hello").hops(17).traffic_class(0xb9),
        |flow| udp(flow).payload(b"odd"),
        udp,
    ];
    on_bench(|bench| {
        for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin, Choice::LeastConn] {
            serve(bench, choice);
            for outside in FLOWS.map(flow) {
                for kind in kinds {
                    let inside = goes_in(bench, outside, kind);
                    comes_back(bench, outside, inside, kind);
                }
            }
        }
        // A server's other ports are its own, and so is everything once the service is gone.
        let other = |port| flow(&format!("10.77.1.11:{port} > 192.0.2.7:4000"));
        let stray = |port| tcp(other(port), "S.").macs(server_mac(1), INNER).build();
        bench.send(Side::Inner, &stray(22)).expect("another port", Verdict::Passed, Reason::NoService);
        bench.clear();
        bench.send(Side::Inner, &stray(SERVER_PORT)).expect("no service", Verdict::Passed, Reason::NoService);
    });
}

#[test]
fn ranges_keep_the_port_both_ways() {
    on_bench(|bench| {
        bench.serve_as("tcp 10.77.0.10:8000-8999", Forward::Dnat, Choice::Source, |service| {
            service.servers.iter_mut().for_each(|server| server.socket.set_port(0));
        });
        let outside = flow("192.0.2.7:4000 > 10.77.0.10:8123");
        let sent = bench.send(Side::Outer, &tcp(outside, "S").build()).expect("in", Verdict::Redirected, Reason::Forwarded);
        let inside = flow_of(&sent);
        assert_eq!((inside.from, inside.to.port()), (outside.from, 8123));
        comes_back(bench, outside, inside, |flow| tcp(flow, "S."));
    });
}

#[test]
fn answers_to_the_hosts_own_checks_are_the_hosts() {
    on_bench(|bench| {
        serve(bench, Choice::Source);
        make_routes(bench);
        // Where the host forwards nothing, the routing table says so instead of whose the address is.
        for forwarding in ["1", "0"] {
            for (family, own) in [("ipv4", "10.77.1.11:8080 > 10.77.1.1:40000"), ("ipv6", "[fd77:1::11]:8080 > [fd77:1::1]:40000")] {
                bench.namespace.sysctl(&format!("net/{family}/conf/all/forwarding"), forwarding).expect("the key exists");
                for kind in [|flow| tcp(flow, "S."), udp as Kind] {
                    let answer = kind(flow(own)).macs(server_mac(1), INNER).build();
                    let passed = bench.send(Side::Inner, &answer).expect(own, Verdict::Passed, Reason::NoService);
                    assert_frame(own, &passed, &answer);
                }
            }
        }
    });
}

#[test]
fn errors_reach_the_server_and_the_client_in_their_own_terms() {
    on_bench(|bench| {
        serve(bench, Choice::Source);
        for outside in FLOWS.map(flow) {
            let inside = goes_in(bench, outside, |flow| tcp(flow, "S"));
            let number = number_of(inside.to.ip());
            let router = if outside.from.is_ipv4() { "203.0.113.9" } else { "2001:db8:9::9" }.parse().unwrap();
            // Longer than errors quote: what they quote of it keeps the checksum that it had.
            // About a reply, from beyond us.
            let about = tcp(outside.reversed(), "P.").payload(&[7; 1300]).build();
            let error = error_about(&about, router, Problem::TooBig(1400)).build();
            let relayed = bench.send(Side::Outer, &error).expect("to the server", Verdict::Redirected, Reason::Relayed).frame_quote();
            assert_eq!(relayed, (inside.to.ip(), inside.reversed()));
            // About what we sent, from before the server.
            let about = tcp(inside, "P.").payload(&[7; 1300]).build();
            let error = error_about(&about, router, Problem::PortUnreachable).macs(server_mac(number), INNER).build();
            let judged = bench.send(Side::Inner, &error);
            // The bench's client is behind a router that the routing table does not know.
            assert!(matches!(judged.reason, Reason::Relayed | Reason::NoNextHop), "{:?}", judged.reason);
        }
    });
}

trait Quote {
    /// Returns to whom an ICMP error goes, and the flow of the packet it quotes.
    fn frame_quote(&self) -> (std::net::IpAddr, Flow);
}

impl Quote for Vec<u8> {
    fn frame_quote(&self) -> (std::net::IpAddr, Flow) {
        let (header, to) = if self[12] == 8 { (20, flow_of(self).to.ip()) } else { (40, flow_of(self).to.ip()) };
        let mut quoted = self[..14].to_vec();
        quoted.extend_from_slice(&self[14 + header + 8..]);
        (to, flow_of(&quoted))
    }
}
