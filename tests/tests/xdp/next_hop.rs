//! Next hops: from the server's entry, from the client's last packet, from the kernel's routing table when neither is known.

use l4d::datapath::Verdict;
use tests::{
    link::{self, Mac},
    packet::{flow, tcp},
};
use xdp_common::{
    reason::Reason,
    server::Hop,
    service::{Choice, Forward},
};

use crate::bench::{Bench, INNER, OUTER, ROUTER, Side, assert_frame, flow_of, number_by_mac, number_of, on_bench, server_ip, server_mac};

const SERVICES: [&str; 2] = ["tcp 10.77.0.10:80", "tcp [fd77::10]:80"];
const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];

/// Takes the next hops of all servers of a service away.
fn forget_hops(bench: &mut Bench<'_>, at: &str) {
    bench.change(at, |service| service.servers.iter_mut().for_each(|server| server.way.hop = Hop::default()));
}

/// Gives the host routes and neighbours, and lets it forward.
pub(crate) fn make_routes(bench: &Bench<'_>) {
    for family in ["ipv4", "ipv6"] {
        bench.namespace.sysctl(&format!("net/{family}/conf/all/forwarding"), "1").expect("the key exists");
    }
    let mut commands = "address add 10.77.1.1/24 dev eth1\naddress add fd77:1::1/64 dev eth1 nodad\n".to_owned();
    for like in ["10.0.0.0", "fd77::"].map(|text| text.parse().expect("an address")) {
        for number in 1..=3 {
            commands += &format!("neighbor replace {} lladdr {} nud permanent dev eth1\n", server_ip(number, like), server_mac(number));
        }
    }
    link::batch(bench.namespace, &commands).expect("the devices are ours");
}

#[test]
fn unknown_next_hop_without_a_route_drops() {
    on_bench(|bench| {
        for forward in [Forward::Nat, Forward::Dsr] {
            bench.clear();
            for (at, flow) in SERVICES.into_iter().zip(FLOWS.map(flow)) {
                bench.serve(at, forward, Choice::Source);
                forget_hops(bench, at);
                bench.send(Side::Outer, &tcp(flow, "S").build()).expect(at, Verdict::Dropped, Reason::NoNextHop);
            }
        }
    });
}

#[test]
fn unknown_next_hop_is_taken_from_the_routing_table() {
    on_bench(|bench| {
        make_routes(bench);
        for forward in [Forward::Nat, Forward::Dsr] {
            bench.clear();
            for (at, outside) in SERVICES.into_iter().zip(FLOWS.map(flow)) {
                bench.serve(at, forward, Choice::Source);
                forget_hops(bench, at);
                let sent = bench.send(Side::Outer, &tcp(outside, "S").build()).expect(at, Verdict::Redirected, Reason::Forwarded);
                let number = number_by_mac(&sent);
                let inside = flow_of(&sent);
                if forward == Forward::Nat {
                    assert_eq!(number_of(inside.to.ip()), number, "{at}");
                }
                assert_frame(at, &sent, &tcp(inside, "S").macs(INNER, server_mac(number)).build());
            }
        }
    });
}

#[test]
fn replies_leave_to_the_station_that_sent_the_last_packet() {
    on_bench(|bench| {
        for (at, outside) in SERVICES.into_iter().zip(FLOWS.map(flow)) {
            bench.serve(at, Forward::Nat, Choice::Source);
            let routers = [ROUTER, Mac([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]), Mac([0, 0, 0x5e, 0, 1, 7]), ROUTER];
            for router in routers {
                let sent = bench.send(Side::Outer, &tcp(outside, "P.").macs(router, OUTER).build());
                let inside = flow_of(&sent.expect(at, Verdict::Redirected, Reason::Forwarded));
                let reply = tcp(inside.reversed(), "P.").macs(server_mac(number_of(inside.to.ip())), INNER).build();
                let back = bench.send(Side::Inner, &reply).expect(at, Verdict::Redirected, Reason::Returned);
                assert_frame(at, &back, &tcp(outside.reversed(), "P.").macs(OUTER, router).build());
            }
        }
    });
}

#[test]
fn replies_leave_by_the_device_the_client_is_on() {
    on_bench(|bench| {
        bench.serve(SERVICES[0], Forward::Nat, Choice::Source);
        let outside = flow("10.77.1.99:4000 > 10.77.0.10:80");
        let client = Mac([2, 0, 0, 0, 2, 99]);
        let sent = bench.send(Side::Inner, &tcp(outside, "S").macs(client, INNER).build());
        let inside = flow_of(&sent.expect("a client beside the servers", Verdict::Transmitted, Reason::Forwarded));
        let reply = tcp(inside.reversed(), "S.").macs(server_mac(number_of(inside.to.ip())), INNER).build();
        let back = bench.send(Side::Inner, &reply).expect("the answer", Verdict::Transmitted, Reason::Returned);
        assert_frame("the answer", &back, &tcp(outside.reversed(), "S.").macs(INNER, client).build());
    });
}

#[test]
fn more_stations_than_are_remembered_are_found_by_the_routing_table() {
    on_bench(|bench| {
        bench.serve(SERVICES[0], Forward::Nat, Choice::Source);
        let mac = |n: u16| Mac([2, 0, 0, 3, (n >> 8) as u8, n as u8]);
        let mut unknown = 0;
        for n in 0..8192u16 {
            let outside = flow(&format!("10.77.1.{}:{} > 10.77.0.10:80", 100 + n % 100, 1024 + n));
            let inside = flow_of(&bench.run(Side::Outer, &tcp(outside, "S").macs(mac(n), OUTER).build()).1);
            let reply = tcp(inside.reversed(), "S.").macs(server_mac(number_of(inside.to.ip())), INNER).build();
            match bench.run(Side::Inner, &reply) {
                (Verdict::Redirected, frame) => assert_frame("known", &frame, &tcp(outside.reversed(), "S.").macs(OUTER, mac(n)).build()),
                (verdict, _) => {
                    assert_eq!(verdict, Verdict::Dropped);
                    unknown += 1;
                }
            }
        }
        assert!((4096..6000).contains(&unknown), "{unknown} of 8192 stations were not remembered");
        assert_eq!(bench.reasons()["no_next_hop"], unknown);

        make_routes(bench);
        link::batch(bench.namespace, &format!("neighbor replace 10.77.1.200 lladdr {} nud permanent dev eth1\n", mac(9000))).unwrap();
        let outside = flow("10.77.1.200:4000 > 10.77.0.10:80");
        let strangers = (9000..9100).filter(|n| {
            let inside = flow_of(&bench.run(Side::Outer, &tcp(outside, "P.").macs(mac(*n), OUTER).build()).1);
            let reply = tcp(inside.reversed(), "P.").macs(server_mac(number_of(inside.to.ip())), INNER).build();
            // The routing table knows another way than the one the packet came by.
            let (verdict, frame) = bench.run(Side::Inner, &reply);
            verdict == Verdict::Transmitted && frame == tcp(outside.reversed(), "P.").macs(INNER, mac(9000)).build()
        });
        assert!(strangers.count() > 50);
    });
}
