//! The guard: prefixes, and how fast one source may be.

use std::net::IpAddr;

use l4d::{datapath::Verdict, plan::WantedGuard};
use tests::packet::{flow, tcp, udp};
use xdp_common::{
    guard::{
        Origin, Rule,
        Ruling::{self, Allow, Deny},
    },
    reason::Reason,
    service::{Choice, Forward},
};

use crate::bench::{Bench, Judged, Side, on_bench};

const SERVICES: [&str; 4] = ["tcp 10.77.0.10:80", "udp 10.77.0.10:80", "tcp [fd77::10]:80", "udp [fd77::10]:80"];

fn serve(bench: &mut Bench<'_>) {
    SERVICES.into_iter().for_each(|at| bench.serve(at, Forward::Dsr, Choice::RoundRobin));
}

fn prefixes<const N: usize>(rulings: [(&str, Ruling); N]) -> WantedGuard {
    let prefixes = rulings.map(|(text, ruling)| {
        let (address, length) = text.split_once('/').expect("a prefix");
        let address: IpAddr = address.parse().expect("an address");
        let length: u8 = length.parse().expect("a length");
        ((address, if address.is_ipv4() { length + 96 } else { length }), Rule { ruling, origin: Origin::File })
    });
    WantedGuard { prefixes: prefixes.into(), ..WantedGuard::default() }
}

fn ask(bench: &Bench<'_>, client: &str, flags: &'static str) -> Judged {
    let vip = if client.contains(':') { "[fd77::10]" } else { "10.77.0.10" };
    let from = if client.contains(':') { format!("[{client}]") } else { client.to_owned() };
    bench.send(Side::Outer, &tcp(flow(&format!("{from}:4000 > {vip}:80")), flags).build())
}

#[test]
fn longest_prefix_rules() {
    on_bench(|bench| {
        serve(bench);
        bench.guard(prefixes([
            ("198.51.100.0/24", Deny),
            ("198.51.100.128/25", Allow),
            ("198.51.100.200/32", Deny),
            ("2001:db8:bad::/48", Deny),
            ("2001:db8:bad:1::/64", Allow),
        ]));
        let cases = [
            ("198.51.99.255", Reason::Forwarded),
            ("198.51.100.0", Reason::Denied),
            ("198.51.100.127", Reason::Denied),
            ("198.51.100.128", Reason::Forwarded),
            ("198.51.100.200", Reason::Denied),
            ("198.51.101.0", Reason::Forwarded),
            ("2001:db8:bad::1", Reason::Denied),
            ("2001:db8:bad:1::1", Reason::Forwarded),
            ("2001:db8:bae::1", Reason::Forwarded),
        ];
        for (client, reason) in cases {
            assert_eq!(ask(bench, client, "S").reason, reason, "{client}");
        }
        // An established connection ends as well, and so it does for datagrams.
        assert_eq!(ask(bench, "198.51.100.1", "P.").reason, Reason::Denied);
        let datagram = udp(flow("198.51.100.1:4000 > 10.77.0.10:80")).build();
        bench.send(Side::Outer, &datagram).expect("datagram", Verdict::Dropped, Reason::Denied);
        // What is for no service is the host's, whoever sent it.
        let other = tcp(flow("198.51.100.1:4000 > 10.77.0.10:22"), "S").build();
        bench.send(Side::Outer, &other).expect("the host's", Verdict::Passed, Reason::NoService);

        bench.guard(prefixes([("198.51.100.0/25", Deny)]));
        assert_eq!(ask(bench, "198.51.100.1", "S").reason, Reason::Denied);
        assert_eq!(ask(bench, "198.51.100.200", "S").reason, Reason::Forwarded);
        assert_eq!(ask(bench, "2001:db8:bad::1", "S").reason, Reason::Forwarded);
        bench.guard(WantedGuard::default());
        assert_eq!(ask(bench, "198.51.100.1", "S").reason, Reason::Forwarded);
    });
}

#[test]
fn everybody_can_be_denied_but_a_few() {
    on_bench(|bench| {
        serve(bench);
        bench.guard(prefixes([("0.0.0.0/0", Deny), ("192.0.2.7/32", Allow)]));
        assert_eq!(ask(bench, "192.0.2.7", "S").reason, Reason::Forwarded);
        assert_eq!(ask(bench, "192.0.2.8", "S").reason, Reason::Denied);
        assert_eq!(ask(bench, "2001:db8::1", "S").reason, Reason::Forwarded, "the other family is not meant");
    });
}

#[test]
fn a_source_may_open_so_many_connections_in_a_second() {
    on_bench(|bench| {
        serve(bench);
        bench.guard(WantedGuard { connections: 20, ..prefixes([("192.0.2.99/32", Allow)]) });
        for client in ["192.0.2.1", "2001:db8::1"] {
            // Within the second that a burst may take; more of them while that lasts can only be admitted late.
            let admitted = (0..60).filter(|_| ask(bench, client, "S").reason == Reason::Forwarded).count();
            assert!((19..=45).contains(&admitted), "{client}: {admitted}");
            // Where the machine is busy, one of them may be a twentieth of a second late.
            assert!((0..20).any(|_| ask(bench, client, "S").reason == Reason::TooManyConnections));
            assert_eq!(ask(bench, client, "P.").reason, Reason::Forwarded, "established connections go on");
        }
        assert_eq!(ask(bench, "192.0.2.2", "S").reason, Reason::Forwarded, "another source is another matter");
        assert!((0..20).any(|_| ask(bench, "2001:db8::2", "S").reason == Reason::TooManyConnections), "one /64 is one source");
        assert!((0..60).all(|_| ask(bench, "192.0.2.99", "S").reason == Reason::Forwarded), "allowed ones are not counted");
    });
}

#[test]
fn a_source_may_send_so_many_packets_in_a_second() {
    on_bench(|bench| {
        serve(bench);
        bench.guard(WantedGuard { packets: 50, ..WantedGuard::default() });
        let datagram = udp(flow("192.0.2.1:4000 > 10.77.0.10:80")).build();
        let admitted = (0..150).filter(|_| bench.send(Side::Outer, &datagram).reason == Reason::Forwarded).count();
        assert!((49..=110).contains(&admitted), "{admitted}");
        // Where the machine is busy, one of them may be a fiftieth of a second late.
        let late = |send: &dyn Fn() -> Judged| (0..20).map(|_| send()).find(|judged| judged.reason != Reason::Forwarded);
        late(&|| bench.send(Side::Outer, &datagram)).expect("too fast").expect("too fast", Verdict::Dropped, Reason::TooManyPackets);
        let other = late(&|| ask(bench, "192.0.2.1", "P.")).map(|judged| judged.reason);
        assert_eq!(other, Some(Reason::TooManyPackets), "all of its packets count");
        std::thread::sleep(std::time::Duration::from_millis(200));
        bench.send(Side::Outer, &datagram).expect("slower", Verdict::Transmitted, Reason::Forwarded);
    });
}

#[test]
fn many_sources_do_not_stand_in_each_others_way() {
    on_bench(|bench| {
        serve(bench);
        bench.guard(WantedGuard { connections: 5, ..WantedGuard::default() });
        for n in 0..5000 {
            let client = format!("198.18.{}.{}", n / 250, n % 250);
            assert_eq!(ask(bench, &client, "S").reason, Reason::Forwarded, "{client}");
        }
    });
}
