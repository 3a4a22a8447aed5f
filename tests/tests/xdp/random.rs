//! Hundreds of thousands of random frames: whatever comes, the program ends in order and breaks nothing.

use std::collections::BTreeMap;

use tests::packet::{Flow, Piece, echo_request, flow, tcp, udp};
use xdp_common::{
    reason::Reason,
    server::Hop,
    service::{Choice, Forward},
};

use crate::bench::{Bench, Class, INNER, OUTER, Side, assert_sound, class, flow_of, number_of, on_bench, server_mac, verdict_class};

/// Frames of one run; a thousand of them are judged together.
const BATCHES: usize = 250;
const BATCH: usize = 1000;

/// A generator that gives the same numbers in every run.
struct Random(u64);

impl Random {
    /// Returns the next number (SplitMix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below a limit.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

const SERVICES: [(&str, &str, Forward, Choice); 13] = [
    ("tcp", "10.77.0.10:80", Forward::Nat, Choice::Source),
    ("udp", "10.77.0.10:53", Forward::Nat, Choice::RoundRobin),
    ("tcp", "[fd77::10]:80", Forward::Nat, Choice::RoundRobin),
    ("udp", "[fd77::10]:53", Forward::Nat, Choice::Tuple),
    ("tcp", "10.77.0.11:80", Forward::Dsr, Choice::Source),
    ("udp", "10.77.0.11:53", Forward::Dsr, Choice::RoundRobin),
    ("tcp", "[fd77::11]:80", Forward::Dsr, Choice::RoundRobin),
    ("udp", "[fd77::11]:53", Forward::Dsr, Choice::Tuple),
    ("tcp", "10.77.0.12:80", Forward::Nat, Choice::Tuple),
    ("tcp", "10.77.0.13:80", Forward::Ipip, Choice::Source),
    ("udp", "10.77.0.13:53", Forward::Gue, Choice::RoundRobin),
    ("tcp", "[fd77::13]:80", Forward::Gue, Choice::Tuple),
    ("udp", "[fd77::13]:53", Forward::Ipip, Choice::Source),
];

/// Listeners of the host that are kept from floods.
const LISTENERS: [&str; 2] = ["10.77.0.14:443", "[fd77::14]:443"];

fn serve(bench: &mut Bench<'_>) {
    bench.listen(LISTENERS.map(|socket| (socket.parse().expect("a socket"), 1)));
    for (protocol, to, forward, choice) in SERVICES {
        bench.serve(&format!("{protocol} {to}"), forward, choice);
    }
    // Servers that cannot be reached, and a ring under change.
    bench.change("tcp 10.77.0.12:80", |service| {
        service.servers[0].way.hop = Hop::default();
        service.servers[1].usable = false;
        service.servers[2].weight = 0;
    });
    bench.change("udp [fd77::10]:53", |service| service.servers.clear());
    let server = bench.server("tcp 10.77.0.11:80", Forward::Dsr, 4);
    bench.change("tcp 10.77.0.11:80", |service| service.servers.push(server));
}

/// Returns a client's valid frame.
fn asked(random: &mut Random) -> Vec<u8> {
    let (protocol, to) = match random.below(SERVICES.len() + 1) {
        0 => ("tcp", *random.of(&LISTENERS)),
        service => (SERVICES[service - 1].0, SERVICES[service - 1].1),
    };
    let n = random.below(4000);
    let from = if to.starts_with('[') { format!("[2001:db8::{n:x}]") } else { format!("198.18.{}.{}", n >> 8, n & 255) };
    let flow = flow(&format!("{from}:{} > {to}", 1024 + random.below(4)));
    let payload = random.below(1460);
    let payload = random.bytes(if payload > 700 { payload } else { payload % 8 });
    let flags = *random.of(&["S", "S", ".", "P.", "F.", "R", "R.", "SF", "S."]);
    let packet = if protocol == "tcp" { tcp(flow, flags) } else { udp(flow) };
    let packet = packet.payload(&payload).hops(random.next() as u8).traffic_class(random.next() as u8);
    match random.below(40) {
        0 => packet.vlan(7).build(),
        1 => packet.fragment(*random.of(&[Piece::First, Piece::Middle, Piece::Last])).build(),
        2 => packet.options(if to.starts_with('[') { &[1, 4, 0, 0, 0, 0] } else { &[1; 8] }).build(),
        3 => echo_request(flow).payload(&payload).build(),
        _ => packet.build(),
    }
}

/// Returns a server's valid frame for a flow it has seen.
fn answered(random: &mut Random, (protocol, inside): (u8, Flow)) -> Vec<u8> {
    let flags = *random.of(&["S.", ".", "P.", "F.", "R."]);
    let flow = inside.reversed();
    let packet = if protocol == 6 { tcp(flow, flags) } else { udp(flow) };
    let payload = random.below(300);
    packet.macs(server_mac(number_of(inside.to.ip())), INNER).payload(&random.bytes(payload)).build()
}

/// Damages a frame, or does not.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    match random.below(10) {
        0 => {
            for _ in 0..=random.below(8) {
                let at = random.below(frame.len());
                frame[at] = random.next() as u8;
            }
        }
        1 => {
            for _ in 0..=random.below(3) {
                let at = 12 + random.below(frame.len().min(74) - 12);
                frame[at] ^= 1 << random.below(8);
            }
        }
        2 => frame.truncate(14 + random.below(frame.len() - 13)),
        3 => {
            let more = random.below(1515 - frame.len().min(1514));
            let tail = random.bytes(more);
            frame.extend(tail);
        }
        4 => {
            // A field of interest gets a value of interest.
            let at = *random.of(&[12, 14, 16, 17, 18, 19, 20, 23, 26, 40, 46, 47, 58, 66]);
            if let Some(byte) = frame.get_mut(at) {
                *byte = *random.of(&[0, 1, 4, 5, 6, 8, 17, 0x40, 0x44, 0x45, 0x46, 0x60, 0x7f, 0x80, 0xff]);
            }
        }
        _ => {}
    }
    frame.truncate(1514);
}

/// Returns a frame of random bytes that is for us and says it is IP.
fn noise(random: &mut Random, side: Side) -> Vec<u8> {
    let length = 14 + random.below(1501);
    let mut frame = random.bytes(length);
    if random.below(4) > 0 {
        frame[..6].copy_from_slice(if side == Side::Outer { &OUTER.0 } else { &INNER.0 });
        frame[12..14].copy_from_slice(random.of::<[u8; 2]>(&[[8, 0], [0x86, 0xdd]]));
        if let Some(byte) = frame.get_mut(14) {
            *byte = *random.of(&[0x45, 0x45, 0x46, 0x60, 0x60, 0x00]);
        }
    }
    frame
}

#[test]
fn random_frames_break_nothing() {
    on_bench(|bench| {
        serve(bench);
        let mut random = Random(20_260_101);
        let mut seen: Vec<(u8, Flow)> = Vec::new();
        let mut verdicts: BTreeMap<Class, u64> = BTreeMap::new();
        for _ in 0..BATCHES {
            for _ in 0..BATCH {
                let side = if random.below(3) == 0 { Side::Inner } else { Side::Outer };
                let mut frame = match (random.below(8), side) {
                    (0, _) => noise(&mut random, side),
                    (_, Side::Inner) if !seen.is_empty() => {
                        let flow = *random.of(&seen);
                        answered(&mut random, flow)
                    }
                    _ => asked(&mut random),
                };
                mutate(&mut random, &mut frame);
                let (verdict, out) = bench.run(side, &frame);
                assert_sound(verdict, &frame, &out);
                *verdicts.entry(verdict_class(verdict)).or_default() += 1;
                if verdict == l4d::datapath::Verdict::Redirected && side == Side::Outer && seen.len() < 5000 {
                    seen.push((if out[12] == 8 { out[23] } else { out[20] }, flow_of(&out)));
                }
            }
            assert_eq!(counted(bench), verdicts, "verdicts and reasons");
        }
        let reasons = bench.reasons();
        for (reason, count) in &reasons {
            let expected = !["internal", "contended", "nat_full", "no_headroom", "relayed", "reset", "server_gone"].contains(reason);
            // Nobody is guarded against here.
            let expected = expected && !["denied", "too_many_packets", "too_many_connections"].contains(reason);
            assert!(!expected || *count > 0, "the generator never meets {reason}: {reasons:?}");
        }
        assert!(verdicts[&Class::Sent] > (BATCHES * BATCH / 3) as u64, "{reasons:?}");
    });
}

/// Returns the counts of reasons by what they mean for a frame.
fn counted(bench: &Bench<'_>) -> BTreeMap<Class, u64> {
    let reasons = bench.reasons();
    let mut classes = BTreeMap::new();
    for reason in Reason::ALL {
        if reasons[reason.name()] > 0 {
            *classes.entry(class(*reason)).or_default() += reasons[reason.name()];
        }
    }
    classes
}
