//! SYN cookies: who opens one connection of too many with a listener of the host is answered by the program, and nobody else is.

use l4d::datapath::Verdict;
use tests::packet::{flow, tcp, udp};
use xdp_common::reason::Reason;

use crate::{
    bench::{Bench, Side, on_bench},
    shorten::with_options,
};

const LISTENERS: [&str; 2] = ["10.77.0.10:443", "[fd77::10]:443"];
const FLOWS: [&str; 2] = ["192.0.2.7:4000 > 10.77.0.10:443", "[2001:db8::7]:4000 > [fd77::10]:443"];
/// What Linux asks for.
const OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
/// A connection a second, which is less than any test opens.
const RATE: u32 = 1;

fn listen(bench: &mut Bench<'_>) {
    bench.clear();
    bench.listen(LISTENERS.map(|socket| (socket.parse().expect("a socket"), RATE)));
}

/// Opens connections until they are too many.
fn exhaust(bench: &Bench<'_>, outside: &str) {
    let outcome = |_| bench.send_freely(Side::Outer, &with_options(tcp(flow(outside), "S"), &OPTIONS)).reason;
    let outcomes: Vec<Reason> = (0..4).map(outcome).collect();
    assert!(outcomes.contains(&Reason::NoService) && outcomes.ends_with(&[Reason::Cookie]), "{outside}: {outcomes:?}");
}

#[test]
fn one_connection_of_too_many_is_answered_by_a_cookie() {
    on_bench(|bench| {
        listen(bench);
        for outside in FLOWS {
            exhaust(bench, outside);
            let mut cookies = Vec::new();
            for (options, least, most) in [(&OPTIONS[..], 1300, 1460), (&[], 536, 1220), (&[2, 4, 0xff, 0xff], 1300, 8960)] {
                let segment = with_options(tcp(flow(outside), "S").sequence(0xffff_ffff), options);
                let answer = bench.send_freely(Side::Outer, &segment).expect("an answer", Verdict::Transmitted, Reason::Cookie);
                tests::checksum::assert_checksums(&answer);
                let (addresses, transport) = if segment[12] == 8 { (26, 34) } else { (22, 54) };
                let address = (transport - addresses) / 2;
                let swapped =
                    |from: usize, length: usize| [&segment[from + length..from + 2 * length], &segment[from..from + length]].concat();
                assert_eq!(answer[..12], swapped(0, 6), "to the station it came from");
                assert_eq!(answer[addresses..transport], swapped(addresses, address));
                let (segment, answer) = (&segment[transport..], &answer[transport..]);
                assert_eq!(answer[..4], [&segment[2..4], &segment[..2]].concat());
                assert_eq!((answer[8..12].to_vec(), answer[12] >> 4, answer[13]), (vec![0; 4], 6, 0x12), "the number after all is none");
                assert_eq!((answer.len(), &answer[20..22]), (24, &[2, 4][..]));
                let size = u16::from_be_bytes([answer[22], answer[23]]);
                assert!((least..=most).contains(&size), "{outside}: segments of {size} bytes for {options:?}");
                cookies.push(answer[4..8].to_vec());
            }
            assert_ne!(cookies[0], cookies[1], "the longest segment is hidden in the cookie");
        }
    });
}

#[test]
fn all_else_is_left_to_the_host() {
    on_bench(|bench| {
        listen(bench);
        for outside in FLOWS {
            exhaust(bench, outside);
            let flow = flow(outside);
            let elsewhere = |port| {
                let mut flow = flow;
                flow.to.set_port(port);
                flow
            };
            let mut longer = with_options(tcp(flow, "S"), &OPTIONS);
            let transport = if longer[12] == 8 { 34 } else { 54 };
            longer[transport + 12] = 0xf0;
            let cases = [
                ("established", tcp(flow, ".").build()),
                ("both flags", tcp(flow, "S.").build()),
                ("opening and ending", tcp(flow, "SF").build()),
                ("opening and resetting", tcp(flow, "SR").build()),
                ("another port", tcp(elsewhere(444), "S").build()),
                ("a datagram", udp(flow).build()),
                ("a header that is longer than its frame", longer),
            ];
            for (what, frame) in cases {
                assert_eq!(bench.send(Side::Outer, &frame).reason, Reason::NoService, "{what}");
            }
        }
        bench.listen([]);
        for outside in FLOWS {
            assert_eq!(bench.send(Side::Outer, &tcp(flow(outside), "S").build()).reason, Reason::NoService, "no listener any more");
        }
    });
}
