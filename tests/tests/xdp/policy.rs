//! What becomes of connections whose server is dead, and of packets that no server can take; and the choice of the less loaded server.

use l4d::datapath::Verdict;
use tests::packet::{Flow, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward, OnDead, OnNone},
};

use crate::bench::{Bench, OUTER, ROUTER, Side, flow_of, is_reset, on_bench};

const AT: [(&str, &str); 2] =
    [("tcp 10.77.0.10:80", "192.0.2.7:4000 > 10.77.0.10:80"), ("tcp [fd77::10]:80", "[2001:db8::7]:4000 > [fd77::10]:80")];

/// Fails unless a frame resets the flow it answers, with these numbers.
#[track_caller]
fn assert_reset(frame: &[u8], of: Flow, sequence: u32, acknowledgement: u32) {
    assert!(is_reset(frame));
    assert_eq!(flow_of(frame), of.reversed());
    assert_eq!((&frame[..6], &frame[6..12]), (&ROUTER.0[..], &OUTER.0[..]));
    let transport = if of.from.is_ipv4() { 34 } else { 54 };
    assert_eq!(frame.len(), transport + 20);
    let word = |at: usize| u32::from_be_bytes(frame[transport + at..transport + at + 4].try_into().expect("four bytes"));
    assert_eq!((word(4), word(8)), (sequence, acknowledgement));
    assert_eq!(frame[transport + 12] >> 4, 5);
    assert_eq!(frame[transport + 13] & 0x10 != 0, acknowledgement != 0);
}

fn kill(bench: &mut Bench<'_>, at: &str, alive: bool) {
    bench.change(at, |service| {
        service.servers.iter_mut().for_each(|server| (server.usable, server.weight) = (alive, u32::from(alive)));
    });
}

#[test]
fn connections_of_a_dead_server_are_reset_or_move() {
    on_bench(|bench| {
        for forward in [Forward::Nat, Forward::Dsr, Forward::Dnat] {
            for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin, Choice::LeastConn] {
                for on_dead in [OnDead::Reset, OnDead::Move] {
                    for (at, text) in AT {
                        bench.clear();
                        bench.serve_as(at, forward, choice, |service| service.on_dead = on_dead);
                        let (flow, what) = (flow(text), format!("{forward:?} {choice:?} {on_dead:?} {text}"));
                        for flags in ["S", "."] {
                            assert_eq!(bench.send(Side::Outer, &tcp(flow, flags).build()).reason, Reason::Forwarded, "{what}");
                        }
                        let own = (1..=3).find(|number| bench.counters(at, *number).packets == 2).expect("one server has both");
                        bench.change(at, |service| {
                            let server = &mut service.servers[usize::from(own) - 1];
                            (server.usable, server.weight) = (false, 0);
                        });
                        let data = tcp(flow, "P.").sequence(5000).payload(b"hello");
                        let judged = bench.send(Side::Outer, &data.build());
                        match on_dead {
                            OnDead::Reset => {
                                assert_eq!((judged.verdict, judged.reason), (Verdict::Transmitted, Reason::Reset), "{what}");
                                assert_reset(&judged.frame, flow, 5001, 0);
                                // A reset is not answered by one.
                                bench.send(Side::Outer, &tcp(flow, "R").build()).expect(&what, Verdict::Dropped, Reason::ServerGone);
                            }
                            OnDead::Move => assert_eq!(judged.reason, Reason::Forwarded, "{what}"),
                        }
                        // Who begins anew is served.
                        assert_eq!(bench.send(Side::Outer, &tcp(flow, "S").build()).reason, Reason::Forwarded, "{what}");
                        assert_eq!(bench.send(Side::Outer, &tcp(flow, ".").build()).reason, Reason::Forwarded, "{what}");
                    }
                }
            }
        }
    });
}

#[test]
fn flows_of_living_servers_are_never_reset() {
    on_bench(|bench| {
        const AT: &str = "tcp 10.77.0.10:80";
        bench.serve_as(AT, Forward::Dsr, Choice::Source, |service| service.on_dead = OnDead::Reset);
        let flows: Vec<Flow> = (0..200).map(|n| flow(&format!("198.18.0.{n}:4000 > 10.77.0.10:80"))).collect();
        let owner = |bench: &Bench<'_>, flow: Flow, flags| bench.send(Side::Outer, &tcp(flow, flags).build());
        let before: Vec<Vec<u8>> = flows.iter().map(|flow| owner(bench, *flow, "S").frame[..6].to_vec()).collect();
        bench.change(AT, |service| (service.servers[1].usable, service.servers[1].weight) = (false, 0));
        for (flow, mac) in flows.iter().zip(&before) {
            let judged = owner(bench, *flow, ".");
            let dead = mac[5] == 2;
            assert_eq!(judged.reason, if dead { Reason::Reset } else { Reason::Forwarded }, "{flow:?}");
            assert!(dead || judged.frame[..6] == mac[..], "{flow:?}");
        }
        bench.change(AT, |service| (service.servers[1].usable, service.servers[1].weight) = (true, 1));
        for (flow, mac) in flows.iter().zip(&before).filter(|(_, mac)| mac[5] != 2) {
            assert_eq!(owner(bench, *flow, ".").frame[..6], mac[..], "{flow:?}");
        }
    });
}

#[test]
fn without_servers_clients_are_told_or_not() {
    on_bench(|bench| {
        for (on_none, forward) in
            [OnNone::Drop, OnNone::Reset].into_iter().flat_map(|policy| [Forward::Nat, Forward::Dsr].map(|forward| (policy, forward)))
        {
            for (at, text) in AT {
                bench.clear();
                bench.serve_as(at, forward, Choice::Source, |service| service.on_none = on_none);
                kill(bench, at, false);
                let flow = flow(text);
                let judged = bench.send(Side::Outer, &tcp(flow, "S").sequence(77).build());
                match on_none {
                    OnNone::Drop => assert_eq!((judged.verdict, judged.reason), (Verdict::Dropped, Reason::NoServer)),
                    OnNone::Reset => {
                        assert_eq!((judged.verdict, judged.reason), (Verdict::Transmitted, Reason::Reset));
                        assert_reset(&judged.frame, flow, 0, 78);
                    }
                }
                kill(bench, at, true);
                assert_eq!(bench.send(Side::Outer, &tcp(flow, "S").build()).reason, Reason::Forwarded);
            }
        }
        bench.serve_as("udp 10.77.0.10:80", Forward::Nat, Choice::Source, |service| service.on_none = OnNone::Reset);
        kill(bench, "udp 10.77.0.10:80", false);
        bench.send(Side::Outer, &udp(flow(AT[0].1)).build()).expect("datagram", Verdict::Dropped, Reason::NoServer);
    });
}

#[test]
fn the_server_with_fewer_flows_for_its_weight_is_chosen() {
    const AT: &str = "tcp 10.77.0.10:80";
    on_bench(|bench| {
        bench.serve(AT, Forward::Nat, Choice::LeastConn);
        let open = |bench: &Bench<'_>, first: u16, count: u16| {
            (first..first + count).for_each(|n| {
                let flow = flow(&format!("198.18.{}.{}:4000 > 10.77.0.10:80", n >> 8, n & 255));
                assert_eq!(bench.send(Side::Outer, &tcp(flow, "S").build()).reason, Reason::Forwarded);
            });
            [1, 2, 3].map(|number| bench.counters(AT, number).flows)
        };
        // What was given counts at once, so that a burst is even.
        let even = open(bench, 0, 600);
        assert!(even.iter().all(|flows| (180..=220).contains(flows)), "{even:?}");
        // One that is far behind gets all it is drawn for: five of nine.
        (1..=3).for_each(|number| bench.load(AT, number, if number == 2 { 0 } else { 10_000 }, 1));
        let after = open(bench, 600, 900);
        let share = after[1] - even[1];
        assert!((430..=570).contains(&share), "{share} of 900");
        // Thrice the weight bears thrice the flows: it is the lighter one with twice as many.
        bench.change(AT, |service| service.servers[0].weight = 2);
        (1..=3).for_each(|number| bench.load(AT, number, 1000, if number == 1 { 2 } else { 1 }));
        let last = open(bench, 1500, 300);
        assert!(last[0] - after[0] > 180, "{last:?} after {after:?}");
    });
}
