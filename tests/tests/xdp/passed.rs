//! What is not ours goes on to the host, untouched and counted under its reason.

use l4d::datapath::Verdict;
use tests::{
    link::Mac,
    packet::{Flow, Packet, Piece, Problem, echo_reply, echo_request, error_about, flow, tcp, udp},
};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{Bench, INNER, ROUTER, SERVER_PORT, Side, assert_frame, flow_of, number_of, on_bench, pool_ips, server_ip, server_mac};

const V4: &str = "192.0.2.7:4000 > 10.77.0.10:80";
const V6: &str = "[2001:db8::7]:4000 > [fd77::10]:80";

fn serve(bench: &mut Bench<'_>) {
    for (at, forward) in [
        ("tcp 10.77.0.10:80", Forward::Nat),
        ("udp 10.77.0.10:80", Forward::Dsr),
        ("tcp [fd77::10]:80", Forward::Nat),
        ("udp [fd77::10]:80", Forward::Dsr),
    ] {
        bench.serve(at, forward, Choice::Source);
    }
}

#[track_caller]
fn passes(bench: &Bench<'_>, what: &str, frame: &[u8], reason: Reason) {
    let out = bench.send(Side::Outer, frame).expect(what, Verdict::Passed, reason);
    assert_frame(what, &out, frame);
}

#[test]
fn other_addresses_ports_and_protocols_are_the_hosts() {
    on_bench(|bench| {
        bench.serve("tcp 10.77.0.10:80", Forward::Nat, Choice::Source);
        bench.serve("tcp [fd77::10]:80", Forward::Dsr, Choice::RoundRobin);
        let cases = [
            ("another port", tcp(flow("192.0.2.7:4000 > 10.77.0.10:81"), "S")),
            ("another address", tcp(flow("192.0.2.7:4000 > 10.77.0.11:80"), "S")),
            ("another protocol", udp(flow("192.0.2.7:4000 > 10.77.0.10:80"))),
            ("another port of v6", tcp(flow("[2001:db8::7]:4000 > [fd77::10]:443"), "S")),
            ("another address of v6", tcp(flow("[2001:db8::7]:4000 > [fd77::11]:80"), "S")),
            ("another protocol of v6", udp(flow("[2001:db8::7]:4000 > [fd77::10]:80"))),
            ("answer to the host itself", tcp(flow("192.0.2.7:80 > 10.77.0.2:40000"), "S.")),
        ];
        for (what, packet) in cases {
            passes(bench, what, &packet.build(), Reason::NoService);
        }
    });
}

#[test]
fn frames_for_other_stations_are_left_alone() {
    on_bench(|bench| {
        serve(bench);
        for (what, to) in
            [("a neighbour", ROUTER), ("our other device", INNER), ("everyone", Mac([0xff; 6])), ("a group", Mac([1, 0, 0x5e, 0, 0, 1]))]
        {
            for text in [V4, V6] {
                passes(bench, what, &tcp(flow(text), "S").macs(ROUTER, to).build(), Reason::NotForUs);
                passes(bench, what, &udp(flow(text)).macs(ROUTER, to).build(), Reason::NotForUs);
            }
        }
    });
}

#[test]
fn what_is_not_tcp_or_udp_is_the_hosts() {
    on_bench(|bench| {
        serve(bench);
        for text in [V4, V6] {
            let ping = echo_request(flow(&text.replace("10.77.0.10", "10.77.0.11").replace("fd77::10", "fd77::11"))).build();
            let mut solicitation = echo_request(flow(text)).build();
            let (next, kind) = if text == V4 { (23, 34) } else { (20, 54) };
            solicitation[kind] = 135;
            passes(bench, "ping to another address", &ping, Reason::NotTransport);
            passes(bench, "pong", &echo_reply(flow(text)).build(), Reason::NotTransport);
            passes(bench, "neighbour solicitation", &solicitation, Reason::NotTransport);
            let about = tcp(flow(text).reversed(), ".").build();
            passes(bench, "error", &error_about(&about, flow(text).from.ip(), Problem::TooBig(1400)).build(), Reason::NotTransport);
            for protocol in [2, 4, 41, 47, 50, 51, 132, 255] {
                let mut other = tcp(flow(text), "S").build();
                other[next] = protocol;
                passes(bench, &format!("protocol {protocol}"), &other, Reason::NotTransport);
            }
        }
    });
}

#[test]
fn what_is_not_ip_is_the_hosts() {
    on_bench(|bench| {
        serve(bench);
        let mut arp = tcp(flow(V4), "S").build()[..42].to_vec();
        arp[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        passes(bench, "address resolution", &arp, Reason::NotIp);
        for (what, kind) in [("spanning tree", [0, 38]), ("link discovery", [0x88, 0xcc]), ("PPPoE", [0x88, 0x64]), ("MPLS", [0x88, 0x47])]
        {
            let mut frame = tcp(flow(V4), "S").build();
            frame[12..14].copy_from_slice(&kind);
            passes(bench, what, &frame, Reason::NotIp);
        }
        for text in [V4, V6] {
            passes(bench, "tagged", &tcp(flow(text), "S").vlan(7).build(), Reason::Vlan);
            passes(bench, "tagged", &udp(flow(text)).vlan(7).build(), Reason::Vlan);
        }
    });
}

#[test]
fn fragments_and_options_are_the_hosts() {
    on_bench(|bench| {
        serve(bench);
        for text in [V4, V6] {
            let kinds: [fn(Flow) -> Packet; 2] = [|flow| tcp(flow, "P."), udp];
            for packet in kinds {
                for piece in [Piece::First, Piece::Middle, Piece::Last] {
                    let frame = packet(flow(text)).payload(&[7; 64]).fragment(piece).build();
                    passes(bench, &format!("{piece:?}"), &frame, Reason::Fragment);
                }
                let options: &[u8] = if text == V4 { &[1, 1, 1, 1] } else { &[1, 4, 0, 0, 0, 0] };
                passes(bench, "options", &packet(flow(text)).options(options).build(), Reason::Options);
            }
        }
        for header in [0, 43, 60] {
            let mut frame = tcp(flow(V6), "S").build();
            frame[20] = header;
            passes(bench, &format!("extension header {header}"), &frame, Reason::Options);
        }
    });
}

#[test]
fn ipv6_packets_cannot_pose_as_ipv4() {
    on_bench(|bench| {
        serve(bench);
        bench.serve("udp 10.77.0.11:80", Forward::Nat, Choice::Source);
        let known = bench.send(Side::Outer, &tcp(flow(V4), "S").build()).expect("a flow of IPv4", Verdict::Redirected, Reason::Forwarded);
        let inside = flow_of(&known);
        let cases = [
            "[::ffff:192.0.2.7]:4000 > [fd77::10]:80",
            "[::ffff:192.0.2.7]:4000 > [::ffff:10.77.0.10]:80",
            "[::ffff:192.0.2.7]:4000 > [::ffff:10.77.0.11]:80",
            "[2001:db8::7]:4000 > [::ffff:10.77.0.10]:80",
        ];
        for text in cases {
            passes(bench, text, &tcp(flow(text), "S").build(), Reason::NoService);
            passes(bench, text, &udp(flow(text)).payload(b"x").build(), Reason::NoService);
        }
        let reply = format!("[::ffff:{}]:{} > [::ffff:{}]:{}", inside.to.ip(), inside.to.port(), inside.from.ip(), inside.from.port());
        let frame = tcp(flow(&reply), "S.").macs(server_mac(number_of(inside.to.ip())), INNER).build();
        let out = bench.send(Side::Inner, &frame).expect("a reply", Verdict::Passed, Reason::NoService);
        assert_frame("a reply", &out, &frame);
    });
}

#[test]
fn strangers_cannot_answer_in_a_servers_place() {
    on_bench(|bench| {
        serve(bench);
        for (text, pool) in [(V4, pool_ips()[0]), (V6, pool_ips()[2])] {
            let sent = bench.send(Side::Outer, &tcp(flow(text), "S").build()).expect(text, Verdict::Redirected, Reason::Forwarded);
            let inside = flow_of(&sent);
            let number = number_of(inside.to.ip());
            let stranger = server_ip(number % 3 + 1, pool);
            let answer = |from: String, to: String| tcp(flow(&format!("{from} > {to}")), "S.").macs(server_mac(number), INNER).build();
            let at = |ip: std::net::IpAddr, port| std::net::SocketAddr::new(ip, port).to_string();
            let free = if inside.from.port() == 20_000 { 20_001 } else { 20_000 };
            let cases = [
                ("another server", answer(at(stranger, SERVER_PORT), inside.from.to_string())),
                ("another port of the server", answer(at(inside.to.ip(), 22), inside.from.to_string())),
                ("a port nobody has", answer(inside.to.to_string(), at(inside.from.ip(), free))),
                ("another protocol", udp(inside.reversed()).macs(server_mac(number), INNER).build()),
                ("a port that is never translated", answer(inside.to.to_string(), at(inside.from.ip(), 80))),
            ];
            for (what, frame) in cases {
                let out = bench.send(Side::Inner, &frame).expect(what, Verdict::Passed, Reason::NoService);
                assert_frame(what, &out, &frame);
            }
            let right = tcp(inside.reversed(), "S.").macs(server_mac(number), INNER).build();
            bench.send(Side::Inner, &right).expect("the server", Verdict::Redirected, Reason::Returned);
        }
    });
}
