//! Flows stay with their server, whatever happens to the ring, and leave it only when it is dead.

use std::collections::BTreeMap;

use l4d::datapath::Verdict;
use tests::packet::{Flow, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward, Tracking},
};

use crate::bench::{Bench, INNER, Side, flow_of, number_by_mac, number_of, on_bench, server_mac};

const AT: &str = "tcp 10.77.0.10:80";
const AT_V6: &str = "tcp [fd77::10]:80";

/// Returns flows from as many clients.
fn flows(at: &str, count: u16) -> Vec<Flow> {
    let to = at.split_once(' ').expect("a protocol and an address").1;
    let from = |n: u16| if to.starts_with('[') { format!("[2001:db8::{n:x}]") } else { format!("198.18.{}.{}", n >> 8, n & 255) };
    (0..count).map(|n| flow(&format!("{}:{} > {to}", from(n), 1024 + n))).collect()
}

/// Sends a segment and returns the number of the server it went to.
#[track_caller]
fn goes_to(bench: &Bench<'_>, flow: Flow, flags: &'static str) -> u8 {
    let sent = bench.send(Side::Outer, &tcp(flow, flags).build());
    assert_eq!(sent.reason, Reason::Forwarded, "{flags} of {flow:?}");
    number_by_mac(&sent.frame)
}

/// Opens connections and returns where each went.
fn open(bench: &Bench<'_>, at: &str, count: u16) -> BTreeMap<u16, (Flow, u8)> {
    let opened = flows(at, count).into_iter().map(|flow| (flow, goes_to(bench, flow, "S")));
    opened.map(|(flow, server)| (flow.from.port(), (flow, server))).collect()
}

/// Fails unless all connections are where they were.
#[track_caller]
fn assert_stay(bench: &Bench<'_>, what: &str, connections: &BTreeMap<u16, (Flow, u8)>) {
    for (flow, server) in connections.values() {
        assert_eq!(goes_to(bench, *flow, "P."), *server, "{what}: {flow:?}");
    }
}

fn add_server(bench: &mut Bench<'_>, at: &str, forward: Forward, number: u8) {
    let server = bench.server(at, forward, number);
    bench.change(at, |service| service.servers.push(server));
}

fn usable(bench: &mut Bench<'_>, at: &str, number: u8, usable: bool) {
    bench.change(at, |service| {
        let server = &mut service.servers[usize::from(number) - 1];
        (server.usable, server.weight) = (usable, u32::from(usable));
    });
}

fn weigh(bench: &mut Bench<'_>, at: &str, number: u8, weight: u32) {
    bench.change(at, |service| service.servers[usize::from(number) - 1].weight = weight);
}

#[test]
fn hashed_connections_stay_when_servers_come_and_go() {
    on_bench(|bench| {
        for at in [AT, AT_V6] {
            bench.clear();
            bench.serve(at, Forward::Dsr, Choice::Source);
            let connections = open(bench, at, 1000);
            assert_stay(bench, "unchanged", &connections);
            add_server(bench, at, Forward::Dsr, 4);
            assert_stay(bench, "a server came", &connections);
            weigh(bench, at, 2, 0);
            assert_stay(bench, "a server is drained", &connections);
            add_server(bench, at, Forward::Dsr, 5);
            assert_stay(bench, "another came", &connections);
            weigh(bench, at, 2, 1);
            assert_stay(bench, "and all are back", &connections);
        }
    });
}

#[test]
fn connections_opened_during_a_change_go_by_the_new_ring_and_stay_there() {
    on_bench(|bench| {
        for choice in [Choice::Source, Choice::Tuple] {
            bench.clear();
            bench.serve(AT, Forward::Dsr, choice);
            let before = open(bench, AT, 1000);
            add_server(bench, AT, Forward::Dsr, 4);
            // The same clients and ports again, as after a reboot.
            let after = open(bench, AT, 1000);
            let moved: Vec<u8> =
                after.iter().filter(|(port, (_, server))| before[*port].1 != *server).map(|(_, (_, server))| *server).collect();
            assert!((150..350).contains(&moved.len()), "{} of 1000 moved for a fourth server", moved.len());
            assert!(moved.iter().all(|server| *server == 4), "only to the new one");
            for (flow, server) in after.values() {
                assert_eq!(goes_to(bench, *flow, "S"), *server, "a repeated SYN meets the same server");
            }
            assert_stay(bench, "opened during the change", &after);
            weigh(bench, AT, 4, 0);
            assert_stay(bench, "after the change is taken back", &after);
        }
    });
}

#[test]
fn connections_of_a_dead_server_move_and_the_others_stay() {
    on_bench(|bench| {
        for (choice, what) in [(Choice::Source, "source"), (Choice::Tuple, "tuple"), (Choice::RoundRobin, "round robin")] {
            bench.clear();
            bench.serve(AT, Forward::Dsr, choice);
            let connections = open(bench, AT, 300);
            assert_stay(bench, what, &connections);
            usable(bench, AT, 2, false);
            let mut now = BTreeMap::new();
            for (port, (flow, server)) in &connections {
                let new = goes_to(bench, *flow, "P.");
                assert_ne!(new, 2, "{what}: {flow:?} went to the dead server");
                assert!(new == *server || *server == 2, "{what}: {flow:?} left living server {server} for {new}");
                now.insert(*port, (*flow, new));
            }
            assert_stay(bench, "after the move", &now);
            if choice == Choice::RoundRobin {
                usable(bench, AT, 2, true);
                assert_stay(bench, "after the server came back", &now);
            }
        }
    });
}

#[test]
fn connections_survive_a_death_elsewhere_during_a_change() {
    on_bench(|bench| {
        bench.serve(AT, Forward::Dsr, Choice::Source);
        let connections = open(bench, AT, 1000);
        add_server(bench, AT, Forward::Dsr, 4);
        usable(bench, AT, 4, false);
        assert_stay(bench, "the new server died at once", &connections);
        usable(bench, AT, 1, false);
        for (flow, server) in connections.values() {
            let now = goes_to(bench, *flow, "P.");
            assert!(if *server == 1 { now == 2 || now == 3 } else { now == *server }, "{flow:?} of {server} went to {now}");
        }
    });
}

#[test]
fn round_robin_takes_turns_and_connections_stay() {
    on_bench(|bench| {
        for at in [AT, AT_V6] {
            bench.clear();
            bench.serve(at, Forward::Dsr, Choice::RoundRobin);
            let connections = open(bench, at, 300);
            for number in 1..=3 {
                assert_eq!(connections.values().filter(|(_, server)| *server == number).count(), 100, "server {number}");
            }
            for (flow, server) in connections.values() {
                assert_eq!(goes_to(bench, *flow, "S"), *server, "a repeated SYN meets the same server");
            }
            assert_stay(bench, "established", &connections);
            add_server(bench, at, Forward::Dsr, 4);
            weigh(bench, at, 1, 0);
            assert_stay(bench, "a server came, another is drained", &connections);
        }
    });
}

#[test]
fn round_robin_gives_a_reused_port_a_turn_of_its_own() {
    on_bench(|bench| {
        bench.serve(AT, Forward::Dsr, Choice::RoundRobin);
        // One more than fills the turns, so that everyone's next turn is another server's.
        let connections = open(bench, AT, 31);
        assert_stay(bench, "established", &connections);
        for (flow, server) in connections.values() {
            assert_eq!(goes_to(bench, *flow, "S"), *server, "a SYN that anyone may have forged does not move {flow:?}");
            assert_eq!(goes_to(bench, *flow, "F."), *server);
        }
        let again = open(bench, AT, 31);
        assert!(again.iter().all(|(port, (_, server))| connections[port].1 != *server), "{again:?}");
        assert_stay(bench, "opened again", &again);
    });
}

#[test]
fn tracked_datagram_flows_stay() {
    on_bench(|bench| {
        for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin] {
            bench.clear();
            let at = "udp 10.77.0.10:53";
            bench.serve(at, Forward::Dsr, choice);
            bench.change(at, |service| service.tracking = Tracking::Always);
            let server_of = |bench: &Bench<'_>, flow| number_by_mac(&bench.send(Side::Outer, &udp(flow).build()).frame);
            let before: Vec<_> = flows(at, 500).into_iter().map(|flow| (flow, server_of(bench, flow))).collect();
            add_server(bench, at, Forward::Dsr, 4);
            weigh(bench, at, 1, 0);
            for (flow, server) in &before {
                assert_eq!(server_of(bench, *flow), *server, "{flow:?}");
            }
        }
    });
}

#[test]
fn translated_connections_stay_until_their_server_dies() {
    on_bench(|bench| {
        for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin] {
            bench.clear();
            bench.serve(AT, Forward::Nat, choice);
            let send = |bench: &Bench<'_>, outside, flags| {
                flow_of(&bench.send(Side::Outer, &tcp(outside, flags).build()).expect(flags, Verdict::Redirected, Reason::Forwarded))
            };
            let connections: Vec<(Flow, Flow)> = flows(AT, 300).into_iter().map(|flow| (flow, send(bench, flow, "S"))).collect();
            add_server(bench, AT, Forward::Nat, 4);
            weigh(bench, AT, 3, 0);
            for (outside, inside) in &connections {
                for flags in ["S", ".", "P."] {
                    assert_eq!(send(bench, *outside, flags), *inside, "{flags} of {outside:?}");
                }
            }
            usable(bench, AT, 2, false);
            for (outside, inside) in &connections {
                let now = send(bench, *outside, "P.");
                assert_eq!(now.from, inside.from, "the translation is the flow's own");
                assert!(
                    if number_of(inside.to.ip()) == 2 { number_of(now.to.ip()) != 2 } else { now == *inside },
                    "{outside:?} at {now:?}"
                );
                assert_eq!(send(bench, *outside, "P."), now, "a flow moves once");
            }
        }
    });
}

#[test]
fn late_words_of_a_dead_server_reach_nobody() {
    on_bench(|bench| {
        bench.serve(AT, Forward::Nat, Choice::RoundRobin);
        let outside = flow("192.0.2.7:4000 > 10.77.0.10:80");
        let send = |flags| flow_of(&bench.send(Side::Outer, &tcp(outside, flags).build()).frame);
        let inside = send("S");
        let number = number_of(inside.to.ip());
        usable(bench, AT, number, false);
        let late = tcp(inside.reversed(), "P.").macs(server_mac(number), INNER).build();
        bench.send(Side::Inner, &late).expect("before the flow moved", Verdict::Redirected, Reason::Returned);
        let moved = flow_of(&bench.send(Side::Outer, &tcp(outside, "P.").build()).frame);
        assert_ne!(moved.to, inside.to);
        bench.send(Side::Inner, &late).expect("after the flow moved", Verdict::Passed, Reason::NoService);
    });
}

#[test]
fn without_servers_packets_are_dropped_and_drained_ones_keep_their_connections() {
    on_bench(|bench| {
        for forward in [Forward::Nat, Forward::Dsr] {
            for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin] {
                bench.clear();
                bench.serve(AT, forward, choice);
                let known = flow("192.0.2.7:4000 > 10.77.0.10:80");
                let other = flow("192.0.2.8:4000 > 10.77.0.10:80");
                let what = format!("{forward:?} {choice:?}");
                let send = |bench: &Bench<'_>, flow, flags| bench.send(Side::Outer, &tcp(flow, flags).build());
                let server = send(bench, known, "S");
                bench.change(AT, |service| service.servers.iter_mut().for_each(|server| server.weight = 0));
                let still = send(bench, known, "P.");
                assert_eq!(still.reason, Reason::Forwarded, "{what}: drained servers keep their flows");
                assert_eq!(number_by_mac(&still.frame), number_by_mac(&server.frame), "{what}");
                send(bench, other, "S").expect(&what, Verdict::Dropped, Reason::NoServer);
                bench.change(AT, |service| service.servers.iter_mut().for_each(|server| server.usable = false));
                for (flow, flags) in [(known, "P."), (known, "S"), (other, "S"), (other, ".")] {
                    send(bench, flow, flags).expect(&what, Verdict::Dropped, Reason::NoServer);
                }
                bench.change(AT, |service| service.servers.clear());
                send(bench, other, "S").expect(&what, Verdict::Dropped, Reason::NoServer);
            }
        }
    });
}
