//! Services of many ports: the narrowest takes a packet, and one of the port itself comes before all.

use std::net::SocketAddr;

use l4d::datapath::Verdict;
use tests::packet::{flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{INNER, OUTER, ROUTER, Side, assert_frame, flow_of, number_of, on_bench, server_mac};

#[test]
fn the_narrowest_service_takes_a_packet() {
    on_bench(|bench| {
        let services = [
            "tcp 10.77.0.10:80",
            "tcp 10.77.0.10:8000-8999",
            "tcp 10.77.0.10:8500-8509",
            "tcp 10.77.0.10:8505",
            "tcp 10.77.0.10:1-65535",
            "tcp 10.77.0.11:100-199",
            "udp 10.77.0.10:53-54",
            "tcp [fd77::10]:1-65535",
            "tcp [fd77::10]:443",
        ];
        services.into_iter().for_each(|at| bench.serve(at, Forward::Dsr, Choice::Source));
        let cases = [
            ("10.77.0.10:80", 0),
            ("10.77.0.10:8000", 1),
            ("10.77.0.10:8999", 1),
            ("10.77.0.10:8499", 1),
            ("10.77.0.10:8500", 2),
            ("10.77.0.10:8509", 2),
            ("10.77.0.10:8505", 3),
            ("10.77.0.10:1", 4),
            ("10.77.0.10:65535", 4),
            ("10.77.0.10:7999", 4),
            ("10.77.0.10:9000", 4),
            ("10.77.0.11:100", 5),
            ("10.77.0.11:199", 5),
            ("[fd77::10]:1", 7),
            ("[fd77::10]:443", 8),
        ];
        let counts =
            |bench: &crate::bench::Bench<'_>| services.map(|at| (1..=3).map(|number| bench.counters(at, number).packets).sum::<u64>());
        for (to, expected) in cases {
            let from = if to.starts_with('[') { "[2001:db8::7]:4000" } else { "192.0.2.7:4000" };
            let before = counts(bench);
            bench.send(Side::Outer, &tcp(flow(&format!("{from} > {to}")), "S").build()).expect(to, Verdict::Transmitted, Reason::Forwarded);
            let grown = counts(bench).into_iter().zip(before).position(|(after, before)| after > before);
            assert_eq!(grown, Some(expected), "{to}");
        }
        for to in ["10.77.0.11:99", "10.77.0.11:200", "10.77.0.12:8000"] {
            let packet = tcp(flow(&format!("192.0.2.7:4000 > {to}")), "S").build();
            bench.send(Side::Outer, &packet).expect(to, Verdict::Passed, Reason::NoService);
        }
        for (to, reason) in [("10.77.0.10:53", Reason::Forwarded), ("10.77.0.10:55", Reason::NoService)] {
            assert_eq!(bench.send(Side::Outer, &udp(flow(&format!("192.0.2.7:4000 > {to}"))).build()).reason, reason, "{to}");
        }
        // Nobody is what leads to the ranges.
        let nobody = tcp(flow("192.0.2.7:4000 > 10.77.0.11:0"), "S").build();
        bench.send(Side::Outer, &nobody).expect("port 0", Verdict::Passed, Reason::NoService);
        bench.clear();
        let gone = tcp(flow("192.0.2.7:4000 > 10.77.0.10:8000"), "S").build();
        bench.send(Side::Outer, &gone).expect("gone", Verdict::Passed, Reason::NoService);
    });
}

#[test]
fn translated_ranges_keep_the_port_or_have_one_and_replies_find_back() {
    const AT: &str = "tcp 10.77.0.10:8000-8999";
    on_bench(|bench| {
        for own in [0, 8080] {
            bench.clear();
            bench.serve_as(AT, Forward::Nat, Choice::RoundRobin, |service| {
                service.servers.iter_mut().for_each(|server| server.socket.set_port(own));
            });
            for port in [8000, 8123, 8999] {
                let outside = flow(&format!("192.0.2.7:{port} > 10.77.0.10:{port}"));
                let sent = bench.send(Side::Outer, &tcp(outside, "S").build()).expect("SYN", Verdict::Redirected, Reason::Forwarded);
                let inside = flow_of(&sent);
                assert_eq!(inside.to.port(), if own == 0 { port } else { own });
                let number = number_of(inside.to.ip());
                let reply = tcp(inside.reversed(), "S.").macs(server_mac(number), INNER).build();
                let returned = bench.send(Side::Inner, &reply).expect("reply", Verdict::Redirected, Reason::Returned);
                assert_frame("reply", &returned, &tcp(outside.reversed(), "S.").macs(OUTER, ROUTER).build());
                let other = SocketAddr::new(inside.to.ip(), inside.to.port() + 1);
                let stray = tests::packet::Flow { from: other, to: inside.from };
                let stray = tcp(stray, ".").macs(server_mac(number), INNER).build();
                assert_eq!(bench.send(Side::Inner, &stray).reason, Reason::NoService, "from another port of the server");
            }
        }
    });
}

#[test]
fn ranges_change_and_flows_of_others_stay() {
    on_bench(|bench| {
        bench.serve("tcp 10.77.0.10:1-65535", Forward::Dsr, Choice::RoundRobin);
        let syn = tcp(flow("192.0.2.7:4000 > 10.77.0.10:7000"), "S").build();
        let data = tcp(flow("192.0.2.7:4000 > 10.77.0.10:7000"), ".").build();
        let first = bench.send(Side::Outer, &syn).expect("SYN", Verdict::Transmitted, Reason::Forwarded);
        for at in ["tcp 10.77.0.10:6000-6999", "tcp 10.77.0.10:7001-7100", "tcp 10.77.0.10:80", "tcp 10.77.0.11:1-65535"] {
            bench.serve(at, Forward::Dsr, Choice::Source);
            let next = bench.send(Side::Outer, &data).expect(at, Verdict::Transmitted, Reason::Forwarded);
            assert_eq!(next[..6], first[..6], "{at}");
        }
    });
}
