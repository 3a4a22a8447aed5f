//! The pool of translated addresses and ports: one to one, full without harm, and given back.

use std::collections::{BTreeMap, BTreeSet};

use l4d::{datapath::Verdict, pool::Ports};
use tests::packet::{Flow, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{
    Bench, Connection, INNER, OUTER, ROUTER, Side, assert_frame, flow_of, number_of, on_bench, on_bench_with, pool_ips, server_mac,
};

const AT: &str = "tcp 10.77.0.10:80";
/// The least there is: 1024 ports on each of the bench's two addresses of IPv4.
const TINY: Ports = Ports { first: 20_000, shift: 10 };
const CAPACITY: usize = 2048;

fn client(n: u16) -> Flow {
    flow(&format!("198.18.{}.{}:{} > 10.77.0.10:80", n >> 8, n & 255, 1024 + n % 7))
}

/// Sends a client's segment; none if it was dropped.
#[track_caller]
fn speaks(bench: &Bench<'_>, outside: Flow, flags: &'static str) -> Option<Flow> {
    match bench.run(Side::Outer, &tcp(outside, flags).build()) {
        (Verdict::Redirected, frame) => Some(flow_of(&frame)),
        (verdict, _) => {
            assert_eq!(verdict, Verdict::Dropped);
            None
        }
    }
}

/// Sends a server's segment and fails unless its own client gets it.
#[track_caller]
fn answers(bench: &Bench<'_>, connection: &Connection, flags: &'static str) {
    let Connection { outside, inside } = connection;
    let reply = tcp(inside.reversed(), flags).macs(server_mac(number_of(inside.to.ip())), INNER).build();
    let (verdict, frame) = bench.run(Side::Inner, &reply);
    assert_eq!(verdict, Verdict::Redirected, "{flags} for {outside:?}");
    assert_frame(flags, &frame, &tcp(outside.reversed(), flags).macs(OUTER, ROUTER).build());
}

/// Opens a connection, if there is room for one.
#[track_caller]
fn open(bench: &Bench<'_>, outside: Flow) -> Option<Connection> {
    let connection = Connection { outside, inside: speaks(bench, outside, "S")? };
    answers(bench, &connection, "S.");
    assert_eq!(speaks(bench, outside, "."), Some(connection.inside));
    Some(connection)
}

/// Opens connections until hardly any place is left.
fn fill(bench: &Bench<'_>) -> BTreeMap<std::net::SocketAddr, Connection> {
    let mut taken = BTreeMap::new();
    for connection in (0..20_000).filter_map(|n| open(bench, client(n))) {
        let other = taken.insert(connection.inside.from, connection);
        assert_eq!(other, None, "{connection:?} has the translation of another");
    }
    taken
}

#[track_caller]
fn assert_all_go_on<'c>(bench: &Bench<'_>, connections: impl IntoIterator<Item = &'c Connection>) {
    for connection in connections {
        assert_eq!(speaks(bench, connection.outside, "P."), Some(connection.inside), "{:?}", connection.outside);
        answers(bench, connection, "P.");
    }
}

#[test]
fn full_pool_refuses_new_flows_and_keeps_established_ones() {
    on_bench_with(TINY, |bench| {
        bench.serve(AT, Forward::Nat, Choice::RoundRobin);
        let taken = fill(bench);
        assert!(taken.len() > CAPACITY * 99 / 100 && taken.len() <= CAPACITY, "{} connections of {CAPACITY}", taken.len());
        let ports: BTreeSet<u16> = taken.keys().map(|from| from.port()).collect();
        assert!(ports.iter().all(|port| (TINY.first..=TINY.last()).contains(port)), "{ports:?}");
        let full = (20_000..21_000).find(|n| bench.run(Side::Outer, &tcp(client(*n), "S").build()).0 == Verdict::Dropped).unwrap();
        bench.send(Side::Outer, &tcp(client(full), "S").build()).expect("one more", Verdict::Dropped, Reason::NatFull);
        assert_all_go_on(bench, taken.values());
        for n in 20_000..40_000 {
            for flags in ["S", "."] {
                let _dropped = speaks(bench, client(n), flags);
            }
        }
        assert_all_go_on(bench, taken.values());
    });
}

#[test]
fn ended_connections_give_their_places_back_first() {
    on_bench_with(TINY, |bench| {
        for ending in ["both sides close", "the client resets", "the server resets"] {
            bench.clear();
            bench.serve(AT, Forward::Nat, Choice::RoundRobin);
            let taken = fill(bench);
            let (ended, living): (Vec<Connection>, Vec<Connection>) =
                taken.values().partition(|connection| connection.inside.from.port() % 2 == 0);
            for connection in &ended {
                match ending {
                    "the client resets" => assert!(speaks(bench, connection.outside, "R").is_some()),
                    "the server resets" => answers(bench, connection, "R"),
                    _ => {
                        answers(bench, connection, "F.");
                        assert!(speaks(bench, connection.outside, "F.").is_some());
                        answers(bench, connection, ".");
                    }
                }
            }
            let free: BTreeSet<_> = ended.iter().map(|connection| connection.inside.from).collect();
            let new: Vec<Connection> = (30_000..30_500).filter_map(|n| open(bench, client(n))).collect();
            // Each finds a place in one of two buckets of which half is free, and the 500 are half of what is free.
            assert!(new.len() > 470, "{ending}: only {} of 500 found a place", new.len());
            for connection in &new {
                let from = connection.inside.from;
                assert!(free.contains(&from) || !taken.contains_key(&from), "{ending}: {from} belongs to a living connection");
            }
            assert_all_go_on(bench, living.iter().chain(&new));
        }
    });
}

#[test]
fn half_closed_connections_keep_their_places() {
    on_bench_with(TINY, |bench| {
        bench.serve(AT, Forward::Nat, Choice::RoundRobin);
        let taken = fill(bench);
        for connection in taken.values() {
            if connection.inside.from.port() % 2 == 0 {
                assert!(speaks(bench, connection.outside, "F.").is_some());
            } else {
                answers(bench, connection, "F.");
            }
        }
        for n in 30_000..31_000 {
            let _dropped = speaks(bench, client(n), "S");
        }
        assert_all_go_on(bench, taken.values());
    });
}

#[test]
fn connection_opened_again_after_its_end_is_a_new_one() {
    on_bench(|bench| {
        bench.serve(AT, Forward::Nat, Choice::RoundRobin);
        let before = open(bench, client(1)).unwrap();
        assert!(speaks(bench, before.outside, "F.").is_some());
        answers(bench, &before, "F.");
        let after = open(bench, client(1)).unwrap();
        assert_eq!(after.inside.from, before.inside.from, "the place is the flow's own");
        assert_ne!(after.inside.to, before.inside.to, "the turn is the next server's");
        assert_all_go_on(bench, [&after]);
    });
}

#[test]
fn translation_is_one_to_one() {
    on_bench(|bench| {
        let services = [
            ("tcp", "10.77.0.10:80"),
            ("udp", "10.77.0.10:80"),
            ("tcp", "10.77.0.11:80"),
            ("tcp", "[fd77::10]:80"),
            ("udp", "[fd77::10]:80"),
        ];
        for (protocol, to) in services {
            bench.serve(&format!("{protocol} {to}"), Forward::Nat, Choice::Source);
        }
        let mut taken: BTreeMap<std::net::SocketAddr, (&str, Connection)> = BTreeMap::new();
        // Clients that differ from each other in the address only, the port only, the service only.
        for n in 0..1600u16 {
            for (protocol, to) in services {
                let from = if to.starts_with('[') { format!("[2001:db8::{:x}]", n / 40) } else { format!("198.18.0.{}", n / 40) };
                let outside = flow(&format!("{from}:{} > {to}", 1024 + n % 40));
                let inside = flow_of(&bench.run(Side::Outer, &segment(protocol, outside).build()).1);
                assert!(pool_ips().contains(&inside.from.ip()));
                let connection = Connection { outside, inside };
                comes_back(bench, protocol, &connection);
                assert_eq!(flow_of(&bench.run(Side::Outer, &segment(protocol, outside).build()).1), inside);
                let other = taken.insert(inside.from, (protocol, connection));
                assert!(other.is_none(), "{connection:?} has the translation of {other:?}");
            }
        }
        assert_eq!(taken.len(), 8000);
        for (protocol, connection) in taken.values().rev() {
            comes_back(bench, protocol, connection);
        }
    });
}

fn segment(protocol: &str, flow: Flow) -> tests::packet::Packet {
    if protocol == "tcp" { tcp(flow, "P.").payload(b"x") } else { udp(flow).payload(b"x") }
}

#[track_caller]
fn comes_back(bench: &Bench<'_>, protocol: &str, Connection { outside, inside }: &Connection) {
    let reply = segment(protocol, inside.reversed()).macs(server_mac(number_of(inside.to.ip())), INNER).build();
    let (verdict, frame) = bench.run(Side::Inner, &reply);
    assert_eq!(verdict, Verdict::Redirected, "{protocol} for {outside:?}");
    assert_frame(protocol, &frame, &segment(protocol, outside.reversed()).macs(OUTER, ROUTER).build());
}
