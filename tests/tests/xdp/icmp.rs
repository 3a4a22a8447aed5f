//! ICMP: echo requests answered, errors sent on to whom they concern.

use std::net::{IpAddr, SocketAddr};

use l4d::datapath::Verdict;
use tests::packet::{Flow, Problem, echo_reply, echo_request, error_about, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{Bench, INNER, OUTER, ROUTER, Side, assert_frame, flow_of, number_by_mac, number_of, on_bench, server_mac};

const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];
const SERVICES: [&str; 4] = ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80", "udp [fd77::10]:80"];
const PROBLEMS: [Problem; 3] = [Problem::TooBig(1400), Problem::PortUnreachable, Problem::TimeExceeded];

fn serve(bench: &mut Bench<'_>, forward: Forward, choice: Choice) {
    bench.clear();
    SERVICES.into_iter().for_each(|at| bench.serve(at, forward, choice));
}

/// Returns the address of a router on the way, in the family of `like`.
fn router(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { "203.0.113.9" } else { "2001:db8:9::9" }.parse().expect("an address")
}

#[test]
fn echo_requests_to_service_addresses_are_answered() {
    on_bench(|bench| {
        for forward in [Forward::Nat, Forward::Ipip] {
            serve(bench, forward, Choice::RoundRobin);
            for flow in FLOWS.map(flow) {
                for payload in [&b""[..], b"x", &[0xa5; 1400]] {
                    // The kit takes identifier and number from the ports of the sender and the receiver.
                    let ask = echo_request(flow).payload(payload).hops(3).build();
                    let sent = bench.send(Side::Outer, &ask).expect("ping", Verdict::Transmitted, Reason::Echo);
                    let mut expected =
                        echo_reply(Flow { from: SocketAddr::new(flow.to.ip(), 4000), to: SocketAddr::new(flow.from.ip(), 80) })
                            .payload(payload)
                            .macs(OUTER, ROUTER)
                            .build();
                    expected[20..22].copy_from_slice(&sent[20..22]);
                    assert_frame("pong", &sent, &expected);
                }
            }
        }
        bench.clear();
        let ask = echo_request(flow(FLOWS[0])).build();
        bench.send(Side::Outer, &ask).expect("ping without a service", Verdict::Passed, Reason::NotTransport);
    });
}

#[test]
fn echo_requests_cut_short_are_dropped() {
    on_bench(|bench| {
        serve(bench, Forward::Nat, Choice::RoundRobin);
        for flow in FLOWS.map(flow) {
            let whole = echo_request(flow).payload(b"payload").build();
            let headers = if flow.from.is_ipv4() { 34 } else { 54 };
            for length in headers..whole.len() {
                bench.send(Side::Outer, &whole[..length]).expect("cut short", Verdict::Dropped, Reason::Truncated);
            }
        }
    });
}

#[test]
fn errors_about_direct_answers_reach_the_server_of_the_flow() {
    on_bench(|bench| {
        for forward in [Forward::Dsr, Forward::Ipip, Forward::Gue] {
            for choice in [Choice::Source, Choice::RoundRobin] {
                serve(bench, forward, choice);
                for outside in FLOWS.map(flow) {
                    let opened = bench.send(Side::Outer, &tcp(outside, "S").build()).expect("SYN", Verdict::Transmitted, Reason::Forwarded);
                    let server = number_by_mac(&opened);
                    let answer = tcp(outside.reversed(), "P.").payload(&[7; 600]).build();
                    for problem in PROBLEMS {
                        let error = error_about(&answer, router(outside.to.ip()), problem).build();
                        let what = format!("{problem:?} by {forward:?} {choice:?}");
                        let sent = bench.send(Side::Outer, &error).expect(&what, Verdict::Transmitted, Reason::Relayed);
                        assert_eq!(number_by_mac(&sent), server, "{what}");
                        assert!(sent.ends_with(&error[14..]), "{what}: as it came, whatever is put before it");
                        assert_eq!(sent.len() - error.len(), usize::from(forward.overhead(outside.to.is_ipv4())), "{what}");
                    }
                }
            }
        }
    });
}

#[test]
fn errors_about_flows_nobody_knows_are_the_hosts() {
    on_bench(|bench| {
        for (forward, choice) in [(Forward::Nat, Choice::Source), (Forward::Dsr, Choice::RoundRobin), (Forward::Gue, Choice::RoundRobin)] {
            serve(bench, forward, choice);
            for outside in FLOWS.map(flow) {
                let answer = tcp(outside.reversed(), ".").build();
                let error = error_about(&answer, router(outside.to.ip()), Problem::TooBig(1400)).build();
                let out = bench.send(Side::Outer, &error).expect("unknown flow", Verdict::Passed, Reason::NotTransport);
                assert_frame("unknown flow", &out, &error);
                // An error belongs to the sender of what it quotes.
                bench.send(Side::Outer, &tcp(outside, "S").build());
                let mut stray = error_about(&answer, router(outside.to.ip()), Problem::TooBig(1400)).build();
                let quoted = if outside.from.is_ipv4() { 54 + 3 } else { 70 + 15 };
                stray[quoted] ^= 1;
                bench.send(Side::Outer, &stray).expect("of another sender", Verdict::Passed, Reason::NotTransport);
            }
        }
    });
}

#[test]
fn errors_about_translated_packets_are_translated_both_ways() {
    on_bench(|bench| {
        serve(bench, Forward::Nat, Choice::Source);
        for outside in FLOWS.map(flow) {
            for over_udp in [false, true] {
                let segment = |flow: Flow| if over_udp { udp(flow).payload(&[7; 1300]) } else { tcp(flow, "P.").payload(&[7; 1300]) };
                let begun = bench.send(Side::Outer, &segment(outside).build()).expect("begun", Verdict::Redirected, Reason::Forwarded);
                let inside = flow_of(&begun);
                let number = number_of(inside.to.ip());
                let answered = segment(inside.reversed()).macs(server_mac(number), INNER).build();
                let answer = bench.send(Side::Inner, &answered).expect("answer", Verdict::Redirected, Reason::Returned);
                for problem in PROBLEMS {
                    let what = format!("{problem:?} of {outside:?}");
                    // The client's side complains about what we sent to the client.
                    let error = error_about(&answer, router(outside.to.ip()), problem).build();
                    let sent = bench.send(Side::Outer, &error).expect(&what, Verdict::Redirected, Reason::Relayed);
                    let expected = error_about(&answered, inside.from.ip(), problem).macs(INNER, server_mac(number)).build();
                    assert_same_but_sums(&what, &sent, &expected);
                    // The server's side complains about what we sent to the server.
                    let error = error_about(&begun, router(outside.to.ip()), problem).macs(server_mac(number), INNER).build();
                    let sent = bench.send(Side::Inner, &error).expect(&what, Verdict::Redirected, Reason::Relayed);
                    let expected = error_about(&segment(outside).build(), outside.to.ip(), problem).macs(OUTER, ROUTER).build();
                    assert_same_but_sums(&what, &sent, &expected);
                }
            }
        }
    });
}

/// Compares two errors but for the checksums that depend on the quoted transport checksum, which stays as it was.
#[track_caller]
fn assert_same_but_sums(what: &str, found: &[u8], expected: &[u8]) {
    let v4 = found[12] == 8;
    let (icmp, transport, protocol) = if v4 { (34, 62, found[51]) } else { (54, 102, found[68]) };
    let quoted = transport + if protocol == 6 { 16 } else { 6 };
    let mut blind = [found.to_vec(), expected.to_vec()];
    for frame in &mut blind {
        frame[icmp + 2..icmp + 4].fill(0);
        frame[quoted..quoted + 2].fill(0);
    }
    assert_frame(what, &blind[0], &blind[1]);
}

#[test]
fn errors_follow_flows_whose_ring_slot_changed() {
    on_bench(|bench| {
        let at = SERVICES[0];
        bench.serve(at, Forward::Dsr, Choice::Source);
        let outside = flow(FLOWS[0]);
        let opened = bench.send(Side::Outer, &tcp(outside, "S").build()).expect("SYN", Verdict::Transmitted, Reason::Forwarded);
        let server = number_by_mac(&opened);
        bench.change(at, |service| service.servers[usize::from(server) - 1].weight = 0);
        let answer = tcp(outside.reversed(), ".").build();
        let error = error_about(&answer, router(outside.to.ip()), Problem::TooBig(1400)).build();
        let sent = bench.send(Side::Outer, &error).expect("too big", Verdict::Transmitted, Reason::Relayed);
        assert_eq!(number_by_mac(&sent), server);
    });
}
