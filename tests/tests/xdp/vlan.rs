//! VLANs: what comes tagged is balanced as if it had no tag, and leaves with the tag of where it goes.

use l4d::datapath::Verdict;
use tests::{
    link::Mac,
    packet::{Flow, Packet, echo_request, flow, tcp, udp},
};
use xdp_common::{
    reason::Reason,
    server::Hop,
    service::{Choice, Forward, OnDead, OnNone},
};

use crate::bench::{Bench, INNER, OUTER, ROUTER, Side, assert_frame, flow_of, number_by_mac, on_bench, server_mac};

const SERVICES: [&str; 4] = ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80", "udp [fd77::10]:80"];
const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];
/// The hardware address of a VLAN's device that has another than its parent.
const OWN: Mac = Mac([2, 0, 0, 0, 0, 77]);

/// Takes the tag out of a frame and returns it.
#[track_caller]
fn untagged(frame: &[u8]) -> (u16, Vec<u8>) {
    assert_eq!(frame[12..14], [0x81, 0], "no tag");
    (u16::from_be_bytes([frame[14], frame[15]]), [&frame[..12], &frame[16..]].concat())
}

/// Puts a tag into a frame.
fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &tag.to_be_bytes(), &frame[12..]].concat()
}

fn serve(bench: &mut Bench<'_>, forward: Forward, hop: impl Fn(u8) -> Hop) {
    bench.clear();
    for at in SERVICES {
        bench.serve_as(at, forward, Choice::Source, |service| {
            (1..).zip(&mut service.servers).for_each(|(number, server)| server.way.hop = hop(number));
        });
    }
}

#[test]
fn frames_leave_for_the_vlan_of_their_server() {
    on_bench(|bench| {
        let near = bench.add_vlan(Side::Outer, 7, OUTER);
        let far = bench.add_vlan(Side::Inner, 8, OWN);
        for (forward, lane, from, verdict) in [
            (Forward::Dsr, near, OUTER, Verdict::Transmitted),
            (Forward::Dsr, far, OWN, Verdict::Redirected),
            (Forward::Nat, far, OWN, Verdict::Redirected),
            (Forward::Dnat, far, OWN, Verdict::Redirected),
            (Forward::Ipip, near, OUTER, Verdict::Transmitted),
            (Forward::Gue, far, OWN, Verdict::Redirected),
        ] {
            serve(bench, forward, |number| Hop::new(server_mac(number).0, from.0, lane.0));
            for text in FLOWS {
                let kinds: [fn(Flow) -> Packet; 3] = [|flow| tcp(flow, "S"), |flow| tcp(flow, "P.").payload(b"hello"), udp];
                for packet in kinds {
                    let what = format!("{forward:?} {text}");
                    // One that came without a tag, one of the same VLAN, and one whose tag has a priority.
                    let plain = packet(flow(text)).build();
                    let without = bench.send_freely(Side::Outer, &plain).expect(&what, verdict, Reason::Forwarded);
                    let with = bench.send_freely(Side::Outer, &tagged(&plain, 7)).expect(&what, verdict, Reason::Forwarded);
                    let urgent = bench.send_freely(Side::Outer, &tagged(&plain, 0xb007)).expect(&what, verdict, Reason::Forwarded);
                    let (tag, inner) = untagged(&without);
                    assert_eq!(tag, lane.vlan(), "{what}");
                    assert_eq!(inner[6..12], from.0, "{what}: whose address");
                    assert_frame(&what, &with, &without);
                    assert_frame(&what, &urgent, &tagged(&inner, 0xb000 | lane.vlan()));
                    number_by_mac(&inner);
                    if forward == Forward::Dsr {
                        assert_frame(&what, &inner[12..], &plain[12..]);
                    }
                    tests::checksum::assert_checksums(&inner);
                }
            }
        }
    });
}

#[test]
fn frames_leave_without_a_tag_where_their_server_has_none() {
    on_bench(|bench| {
        bench.add_vlan(Side::Outer, 7, OUTER);
        for at in SERVICES {
            bench.serve(at, Forward::Dsr, Choice::Source);
        }
        for text in FLOWS {
            let plain = tcp(flow(text), "S").build();
            let expected = bench.send(Side::Outer, &plain).expect(text, Verdict::Transmitted, Reason::Forwarded);
            // Priority tags belong to the network without VLANs.
            for tag in [7, 0x6007, 0, 0xe000] {
                let sent = bench.send_freely(Side::Outer, &tagged(&plain, tag)).expect(text, Verdict::Transmitted, Reason::Forwarded);
                assert_frame(text, &sent, &expected);
            }
        }
    });
}

#[test]
fn replies_return_to_the_vlan_their_client_came_from() {
    on_bench(|bench| {
        bench.add_vlan(Side::Outer, 7, OUTER);
        let far = bench.add_vlan(Side::Inner, 8, INNER);
        for forward in [Forward::Nat, Forward::Dnat] {
            serve(bench, forward, |number| Hop::new(server_mac(number).0, INNER.0, far.0));
            for text in FLOWS {
                let asked = tagged(&tcp(flow(text), "S").build(), 7);
                let sent = bench.send_freely(Side::Outer, &asked).expect(text, Verdict::Redirected, Reason::Forwarded);
                let (_, inner) = untagged(&sent);
                let number = number_by_mac(&inner);
                let reply = tcp(flow_of(&inner).reversed(), "S.").macs(server_mac(number), INNER).build();
                let back = bench.send_freely(Side::Inner, &tagged(&reply, 8)).expect(text, Verdict::Redirected, Reason::Returned);
                let (tag, back) = untagged(&back);
                assert_eq!(tag, 7, "{forward:?} {text}");
                assert_frame(text, &back, &tcp(flow(text).reversed(), "S.").macs(OUTER, ROUTER).build());
            }
        }
    });
}

#[test]
fn answers_of_our_own_go_back_by_the_vlan() {
    on_bench(|bench| {
        bench.add_vlan(Side::Outer, 7, OWN);
        for at in SERVICES {
            bench.serve_as(at, Forward::Dsr, Choice::Source, |service| {
                (service.on_none, service.on_dead) = (OnNone::Reset, OnDead::Reset);
                service.servers.clear();
            });
        }
        for text in FLOWS {
            for (what, packet, reason) in [("echo", echo_request(flow(text)), Reason::Echo), ("reset", tcp(flow(text), "S"), Reason::Reset)]
            {
                let frame = tagged(&packet.macs(ROUTER, OWN).build(), 7);
                let answer = bench.send_freely(Side::Outer, &frame).expect(what, Verdict::Transmitted, reason);
                let (tag, answer) = untagged(&answer);
                assert_eq!((tag, &answer[..12]), (7, &[ROUTER.0, OWN.0].concat()[..]), "{what}");
                tests::checksum::assert_checksums(&answer);
            }
        }
    });
}

#[test]
fn what_the_host_gets_has_its_tag_still() {
    on_bench(|bench| {
        serve(bench, Forward::Nat, |number| Hop::new(server_mac(number).0, INNER.0, 3));
        bench.add_vlan(Side::Outer, 7, OUTER);
        let frame = |text: &str| tcp(flow(text), "S").build();
        let (ours, other) = (frame(FLOWS[0]), frame("192.0.2.7:4000 > 10.77.0.99:80"));
        let arp = [&ours[..12], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &ours[22..42]].concat();
        let stranger = tcp(flow(FLOWS[0]), "S").macs(ROUTER, OWN).build();
        let mut provider = tagged(&ours, 7);
        provider[12..14].copy_from_slice(&[0x88, 0xa8]);
        for (what, frame, reason) in [
            ("no service", tagged(&other, 0xb007), Reason::NoService),
            ("another station", tagged(&stranger, 7), Reason::NotForUs),
            ("address resolution", tagged(&arp, 7), Reason::NotIp),
            ("no device", tagged(&ours, 9), Reason::Vlan),
            ("two tags", tagged(&tagged(&ours, 7), 7), Reason::Vlan),
            ("a provider's tag", provider, Reason::Vlan),
            ("a provider's tag without", tagged(&ours[..40], 0xfff), Reason::Vlan),
        ] {
            let out = bench.send_freely(Side::Outer, &frame).expect(what, Verdict::Passed, reason);
            assert_frame(what, &out, &frame);
            // Nothing of it is remembered for the next frame.
            let next = bench.send(Side::Outer, &other).expect(what, Verdict::Passed, Reason::NoService);
            assert_frame(what, &next, &other);
        }
        bench.remove_vlans();
        let out = bench.send_freely(Side::Outer, &tagged(&ours, 7)).expect("no VLANs", Verdict::Passed, Reason::Vlan);
        assert_frame("no VLANs", &out, &tagged(&ours, 7));
    });
}

#[test]
fn the_guard_knows_tagged_frames() {
    on_bench(|bench| {
        let lane = bench.add_vlan(Side::Outer, 7, OUTER);
        serve(bench, Forward::Dsr, |number| Hop::new(server_mac(number).0, OUTER.0, lane.0));
        let plain = tcp(flow(FLOWS[0]), "S").build();
        bench.guard(l4d::plan::WantedGuard { connections: 1000, ..Default::default() });
        let sent = bench.send_freely(Side::Outer, &tagged(&plain, 7)).expect("slow enough", Verdict::Transmitted, Reason::Forwarded);
        assert_eq!(untagged(&sent).0, 7);
        let (verdict, _) = bench.run(Side::Outer, &plain);
        assert_eq!(verdict, Verdict::Transmitted);
    });
}
