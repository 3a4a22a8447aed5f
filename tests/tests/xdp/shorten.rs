//! The longest segment: SYN and SYN-ACK of services that say so ask for no more, wherever the option stands.

use l4d::datapath::Verdict;
use tests::packet::{Flow, Packet, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{Bench, INNER, Side, assert_frame, flow_of, number_of, on_bench, server_mac};

const SERVICES: [&str; 3] = ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80"];
const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:80", "[2001:db8::7]:4000 > [fd77::10]:80"];
/// What the services of these tests allow.
const MOST: u16 = 1360;

/// Options with the longest segment at every kind of place, and what they become.
fn options(asked: u16) -> Vec<Vec<u8>> {
    let [high, low] = asked.to_be_bytes();
    let mss = [2, 4, high, low];
    vec![
        mss.to_vec(),
        [&mss[..], &[4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7]].concat(),
        [&[4, 2, 1, 1][..], &mss].concat(),
        // At an odd byte.
        [&[1][..], &mss, &[1, 1, 1]].concat(),
        [&[3, 3, 7][..], &mss, &[0]].concat(),
        // The last of forty bytes.
        [&[8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 30, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 2, 1, 1][..], &mss]
            .concat(),
    ]
}

/// Builds a segment with options.
pub(crate) fn with_options(packet: Packet, options: &[u8]) -> Vec<u8> {
    let mut frame = packet.payload(options).build();
    let transport = if frame[12] == 8 { 34 } else { 54 };
    let (offset, sum) = (transport + 12, transport + 16);
    let word = |frame: &[u8], at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let before = word(&frame, offset);
    frame[offset] = ((20 + options.len()) as u8 / 4) << 4;
    // RFC 1624, equation 3.
    let mut changed = (!word(&frame, sum) & 0xffff) + (!before & 0xffff) + word(&frame, offset);
    while changed > 0xffff {
        changed = (changed & 0xffff) + (changed >> 16);
    }
    frame[sum..sum + 2].copy_from_slice(&(!(changed as u16)).to_be_bytes());
    tests::checksum::assert_checksums(&frame);
    frame
}

fn serve(bench: &mut Bench<'_>, forward: Forward, mss: Option<u16>) {
    bench.clear();
    for at in SERVICES {
        bench.serve_as(at, forward, Choice::Source, |service| service.mss = mss);
    }
}

/// Returns the options of a segment.
fn options_of(frame: &[u8]) -> &[u8] {
    &frame[if frame[12] == 8 { 54 } else { 74 }..]
}

/// Sends a segment and returns it as it left.
#[track_caller]
fn forwarded(bench: &Bench<'_>, forward: Forward, frame: &[u8]) -> Vec<u8> {
    let verdict = if forward == Forward::Dsr { Verdict::Transmitted } else { Verdict::Redirected };
    let sent = bench.send_freely(Side::Outer, frame).expect("a segment", verdict, Reason::Forwarded);
    tests::checksum::assert_checksums(&sent);
    sent
}

#[test]
fn both_sides_ask_for_no_more_than_the_service_allows() {
    on_bench(|bench| {
        for forward in [Forward::Nat, Forward::Dnat, Forward::Dsr] {
            serve(bench, forward, Some(MOST));
            for outside in FLOWS.map(flow) {
                for (asked, expected) in [(1460, MOST), (1361, MOST), (65_535, MOST), (1360, 1360), (536, 536)] {
                    for (given, wanted) in options(asked).iter().zip(options(expected)) {
                        let sent = forwarded(bench, forward, &with_options(tcp(outside, "S"), given));
                        assert_eq!(options_of(&sent), wanted, "{forward:?} {outside:?} {given:?}");
                        if forward == Forward::Dsr {
                            continue;
                        }
                        let inside = flow_of(&sent);
                        let answer = |packet: Flow| tcp(packet.reversed(), "S.").macs(server_mac(number_of(inside.to.ip())), INNER);
                        let back = bench.send_freely(Side::Inner, &with_options(answer(inside), given));
                        let back = back.expect("an answer", Verdict::Redirected, Reason::Returned);
                        tests::checksum::assert_checksums(&back);
                        assert_eq!(options_of(&back), wanted, "{forward:?} {outside:?} {given:?} back");
                    }
                }
            }
        }
    });
}

#[test]
fn nothing_else_is_touched() {
    on_bench(|bench| {
        serve(bench, Forward::Dsr, Some(MOST));
        let flow = flow(FLOWS[0]);
        let long = options(1460).remove(0);
        let broken: [&[u8]; 5] =
            [&[2, 3, 9, 9], &[9, 0, 2, 4, 9, 9, 0, 0], &[9, 1, 2, 4, 9, 9, 0, 0], &[0, 2, 4, 9, 9, 0, 0, 0], &[9, 255, 2, 4]];
        let mut cases = vec![
            ("established", with_options(tcp(flow, "."), &long)),
            ("without options", tcp(flow, "S").build()),
            ("a payload that looks like an option", tcp(flow, "S").payload(&long).build()),
            ("a datagram", udp(flow).payload(&long).build()),
        ];
        cases.extend(broken.map(|options| ("broken options", with_options(tcp(flow, "S"), options))));
        for (what, frame) in cases {
            let sent = forwarded(bench, Forward::Dsr, &frame);
            assert_frame(what, &sent[12..], &frame[12..]);
        }
        // A header that is longer than its frame.
        let mut frame = tcp(flow, "S").build();
        frame[46] = 0xf0;
        bench.send_freely(Side::Outer, &frame).expect("a header that lies", Verdict::Transmitted, Reason::Forwarded);
    });
}

#[test]
fn a_service_that_says_nothing_is_left_alone_beside_one_that_does() {
    on_bench(|bench| {
        serve(bench, Forward::Dsr, Some(MOST));
        let frame = with_options(tcp(flow(FLOWS[0]), "S"), &options(1460)[1]);
        assert_eq!(options_of(&forwarded(bench, Forward::Dsr, &frame)), options(MOST)[1]);
        bench.change(SERVICES[0], |service| service.mss = None);
        assert_eq!(options_of(&forwarded(bench, Forward::Dsr, &frame)), options(1460)[1], "its neighbour has one still");
        bench.change(SERVICES[0], |service| service.mss = Some(1000));
        assert_eq!(options_of(&forwarded(bench, Forward::Dsr, &frame)), options(1000)[1]);
        serve(bench, Forward::Dsr, None);
        assert_eq!(options_of(&forwarded(bench, Forward::Dsr, &frame)), options(1460)[1], "none has");
    });
}
