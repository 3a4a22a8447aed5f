//! Frames that lie about themselves: dropped or passed, never sent on and never changed.

use l4d::datapath::Verdict;
use tests::packet::{Packet, describe, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{Bench, INNER, Side, assert_frame, flow_of, number_of, on_bench, server_mac};

const V4: &str = "192.0.2.7:4000 > 10.77.0.10:80";
const V6: &str = "[2001:db8::7]:4000 > [fd77::10]:80";

fn serve(bench: &mut Bench<'_>, forward: Forward) {
    for at in ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80", "udp [fd77::10]:80"] {
        bench.serve(at, forward, Choice::Source);
    }
}

fn packets() -> [(&'static str, Packet); 4] {
    [
        ("TCP over IPv4", tcp(flow(V4), "P.").payload(b"some data")),
        ("UDP over IPv4", udp(flow(V4)).payload(b"some data")),
        ("TCP over IPv6", tcp(flow(V6), "P.").payload(b"some data")),
        ("UDP over IPv6", udp(flow(V6)).payload(b"some data")),
    ]
}

#[track_caller]
fn dropped(bench: &Bench<'_>, side: Side, what: &str, frame: &[u8]) {
    let out = bench.send(side, frame).expect(what, Verdict::Dropped, Reason::Truncated);
    assert_frame(what, &out, frame);
}

#[test]
fn frames_cut_short_at_any_length_are_dropped() {
    on_bench(|bench| {
        for forward in Forward::ALL {
            bench.clear();
            serve(bench, forward);
            for (what, packet) in packets() {
                let whole = packet.build();
                for length in 14..whole.len() {
                    dropped(bench, Side::Outer, &format!("{what}: {length} of {} bytes", whole.len()), &whole[..length]);
                }
                let sent = bench.send(Side::Outer, &whole);
                assert_eq!(sent.reason, Reason::Forwarded, "{what}: {}", describe(&whole));
            }
        }
    });
}

#[test]
fn replies_cut_short_at_any_length_are_dropped() {
    on_bench(|bench| {
        serve(bench, Forward::Nat);
        for (what, packet) in packets() {
            let inside = flow_of(&bench.send(Side::Outer, &packet.build()).expect(what, Verdict::Redirected, Reason::Forwarded));
            let mac = server_mac(number_of(inside.to.ip()));
            let reply = if what.starts_with("TCP") { tcp(inside.reversed(), "P.") } else { udp(inside.reversed()) };
            let whole = reply.macs(mac, INNER).payload(b"some data").build();
            for length in 14..whole.len() {
                dropped(bench, Side::Inner, &format!("{what}: {length} of {} bytes", whole.len()), &whole[..length]);
            }
            bench.send(Side::Inner, &whole).expect(what, Verdict::Redirected, Reason::Returned);
        }
    });
}

#[test]
fn lengths_that_lie_are_noticed() {
    on_bench(|bench| {
        for forward in Forward::ALL {
            bench.clear();
            serve(bench, forward);
            for (what, packet) in packets() {
                let whole = packet.build();
                let (at, header) = if what.ends_with('4') { (16, 20u16) } else { (18, 0) };
                let least = header + if what.starts_with("TCP") { 20 } else { 8 };
                let true_length = u16::from_be_bytes([whole[at], whole[at + 1]]);
                let lies = [0, 1, header.saturating_sub(1), header, least - 1, true_length + 1, 1500, 0x7fff, 0x8000, 0xffff];
                for lie in lies {
                    let mut frame = whole.clone();
                    frame[at..at + 2].copy_from_slice(&lie.to_be_bytes());
                    dropped(bench, Side::Outer, &format!("{what}: length {lie} instead of {true_length}"), &frame);
                }
            }
        }
    });
}

#[test]
fn header_lengths_and_versions_that_lie_are_noticed() {
    on_bench(|bench| {
        serve(bench, Forward::Nat);
        for (what, packet) in packets() {
            let whole = packet.build();
            let lies: &[u8] =
                if what.ends_with('4') { &[0x00, 0x40, 0x41, 0x44, 0x35, 0x55, 0x60, 0xff] } else { &[0x00, 0x45, 0x50, 0x70, 0xf0] };
            for lie in lies {
                let mut frame = whole.clone();
                frame[14] = *lie;
                dropped(bench, Side::Outer, &format!("{what}: first byte {lie:#04x}"), &frame);
            }
        }
        for words in 6..=15 {
            let mut frame = tcp(flow(V4), "S").build();
            frame[14] = 0x40 | words;
            let out = bench.send(Side::Outer, &frame).expect("options", Verdict::Passed, Reason::Options);
            assert_frame("options", &out, &frame);
        }
    });
}

#[test]
fn frames_the_kernel_does_not_take_are_refused_in_words() {
    on_bench(|bench| {
        let frame = tcp(flow(V4), "S").build();
        let refusal = |interface, frame: &[u8]| bench.try_on(interface, frame).unwrap_err().to_string();
        assert_eq!(refusal(1, &frame[..13]), "trying a frame of 13 bytes on interface 1: a frame has at least 14 bytes");
        assert!(refusal(9999, &frame).starts_with("trying a frame of 54 bytes on interface 9999: "), "{}", refusal(9999, &frame));
        assert!(refusal(1, &[0; 1 << 20]).starts_with("trying a frame of 1048576 bytes on interface 1: "));
        assert_eq!(bench.try_on(1, &frame).unwrap().frame, frame, "an interface that takes no part has a verdict too");
    });
}
