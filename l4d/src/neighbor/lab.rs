//! Tests against the kernel: two network namespaces, a veth pair between them, this side followed. They need root.

use std::{
    fs::{self, File},
    net::IpAddr,
    os::fd::AsFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{runtime::Builder, sync::watch, time::timeout};

use super::{
    Mac, Neighbors, Outcome, Outcomes, Unreachable,
    interface::{interface_addresses, interface_index, interface_link},
    netlink::Error,
};

const OURS: Mac = [2, 0, 0, 0, 0, 1];
const THEIRS: Mac = [2, 0, 0, 0, 0, 2];
const OTHER: Mac = [2, 0, 0, 0, 0, 3];
const PROMPT: Duration = Duration::from_secs(1);
/// For what the kernel needs some unanswered probes to find out, at the pace set below.
const PATIENT: Duration = Duration::from_secs(5);

/// A network namespace that is removed on drop.
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("l4d-neighbor-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        Self(name)
    }

    /// Moves the calling thread into the namespace, for good.
    fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Runs during the unwinding of a failed test too, so it must not panic.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs a command, in the namespace of the calling thread.
fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a test works with: its thread is at 10.0.0.1 and fd00::1, the peer at 10.0.0.2 and fd00::2.
struct Lab {
    peer: String,
    neighbors: Neighbors,
    outcomes: watch::Receiver<Outcomes>,
}

/// Runs a test in a namespace of its own; `before` prepares it when the link is up and nothing is followed yet.
fn lab<F: Future<Output = ()>>(before: impl FnOnce() + Send, test: impl FnOnce(Lab) -> F + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let (here, there) = (Namespace::new(), Namespace::new());
    let body = || {
        here.enter();
        let peer = there.0.clone();
        connect(&peer);
        before();
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let neighbors = Neighbors::spawn();
            let outcomes = neighbors.subscribe();
            test(Lab { peer, neighbors, outcomes }).await;
        });
    };
    thread::scope(|scope| scope.spawn(body).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
}

fn connect(peer: &str) {
    // Without duplicate address detection IPv6 is ready at once.
    run("sysctl -qw net.ipv6.conf.default.accept_dad=0");
    run(&format!("ip netns exec {peer} sysctl -qw net.ipv6.conf.default.accept_dad=0"));
    run(&format!("ip link add near address 02:00:00:00:00:01 type veth peer name far address 02:00:00:00:00:02 netns {peer}"));
    for (netns, link, host) in [(String::new(), "near", 1), (format!("-n {peer}"), "far", 2)] {
        run(&format!("ip {netns} link set {link} up"));
        run(&format!("ip {netns} addr add 10.0.0.{host}/24 dev {link}"));
        run(&format!("ip {netns} addr add fd00::{host}/64 dev {link} nodad"));
    }
    for family in ["ipv4", "ipv6"] {
        fs::write(format!("/proc/sys/net/{family}/neigh/near/retrans_time_ms"), "100").unwrap();
    }
    // The kernel ignores a second announcement within this time.
    fs::write("/proc/sys/net/ipv4/neigh/near/locktime", "0").unwrap();
    run(&format!("ip netns exec {peer} sysctl -qw net.ipv4.conf.far.arp_notify=1"));
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Lab {
    /// Waits until the outcome of an address passes, and returns it.
    async fn until(&mut self, address: &str, limit: Duration, pass: impl Fn(&Outcome) -> bool) -> Outcome {
        let address = ip(address);
        let wait = self.outcomes.wait_for(|outcomes| outcomes.get(&address).is_some_and(&pass));
        let done = timeout(limit, wait).await.map(|outcomes| outcomes.unwrap()[&address].clone());
        done.unwrap_or_else(|_| panic!("{address} is {:?} after {limit:?}", self.neighbors.snapshot().get(&address)))
    }

    async fn until_mac(&mut self, address: &str, limit: Duration, mac: Mac) {
        self.until(address, limit, |outcome| outcome.next_hop().is_some_and(|hop| hop.mac == mac)).await;
    }
}

/// Waits until the kernel's entry of an address shows a word.
async fn until_entry(address: &str, word: &str) {
    let deadline = Instant::now() + PATIENT;
    loop {
        let entry = run(&format!("ip neigh show {address} dev near"));
        if entry.contains(word) {
            return;
        }
        assert!(Instant::now() < deadline, "{entry:?} lacks {word}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns how many messages the netlink sockets of this namespace had no room for.
fn dropped_news() -> u32 {
    let sockets = fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    sockets.lines().skip(1).map(|line| line.split_whitespace().nth(8).unwrap().parse::<u32>().unwrap()).sum()
}

#[test]
fn peer_is_resolved_without_traffic_in_both_families() {
    lab(
        || (),
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.2"), ip("fd00::2"), ip("10.0.0.1"), ip("192.0.2.1"), ip("10.0.0.255")]);
            for (address, own) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
                let outcome = lab.until(address, PROMPT, |outcome| outcome.next_hop().is_some()).await;
                let hop = outcome.next_hop().unwrap();
                assert_eq!((hop.mac, hop.source_mac, hop.gateway, hop.prefsrc), (THEIRS, OURS, None, Some(ip(own))));
                assert_eq!(hop.ifindex, interface_index("near").await.unwrap());
            }
            lab.until("10.0.0.1", PROMPT, |outcome| *outcome == Outcome::Local).await;
            lab.until("192.0.2.1", PROMPT, |outcome| *outcome == Outcome::Unreachable(Unreachable::NoRoute)).await;
            lab.until("10.0.0.255", PROMPT, |outcome| *outcome == Outcome::Unreachable(Unreachable::NotUnicast)).await;
            timeout(PROMPT, lab.neighbors.stop()).await.expect("the task ends");
        },
    );
}

#[test]
fn routes_are_followed_as_they_come_and_go() {
    lab(
        || (),
        async |mut lab| {
            lab.neighbors.watch([ip("192.0.2.1"), ip("2001:db8::1")]);
            for (address, prefix, gateway) in [("192.0.2.1", "192.0.2.0/24", "10.0.0.2"), ("2001:db8::1", "2001:db8::/32", "fd00::2")] {
                let no_route = |outcome: &Outcome| *outcome == Outcome::Unreachable(Unreachable::NoRoute);
                lab.until(address, PROMPT, no_route).await;
                run(&format!("ip route add {prefix} via {gateway}"));
                let outcome = lab.until(address, PROMPT, |outcome| outcome.next_hop().is_some()).await;
                assert_eq!(outcome.next_hop().map(|hop| (hop.mac, hop.gateway)), Some((THEIRS, Some(ip(gateway)))));
                run(&format!("ip route add prohibit {address}"));
                lab.until(address, PROMPT, |outcome| *outcome == Outcome::Unreachable(Unreachable::Forbidden)).await;
                run(&format!("ip route del prohibit {address}"));
                lab.until_mac(address, PROMPT, THEIRS).await;
                run(&format!("ip route del {prefix}"));
                lab.until(address, PROMPT, no_route).await;
            }
        },
    );
}

#[test]
fn announced_mac_and_own_mac_are_noticed() {
    lab(
        || (),
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.2")]);
            lab.until_mac("10.0.0.2", PROMPT, THEIRS).await;
            run(&format!("ip -n {} link set far address 02:00:00:00:00:03", lab.peer));
            lab.until_mac("10.0.0.2", PROMPT, OTHER).await;
            run("ip link set near address 02:00:00:00:00:09");
            lab.until("10.0.0.2", PROMPT, |outcome| outcome.next_hop().is_some_and(|hop| hop.source_mac[5] == 9)).await;
        },
    );
}

#[test]
fn link_down_and_up_is_noticed() {
    lab(
        || (),
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.2")]);
            lab.until_mac("10.0.0.2", PROMPT, THEIRS).await;
            let unreachable = |outcome: &Outcome| matches!(outcome, Outcome::Unreachable(_));
            run(&format!("ip -n {} link set far down", lab.peer));
            lab.until("10.0.0.2", PROMPT, |outcome| matches!(outcome, Outcome::Unreachable(Unreachable::LinkDown(_)))).await;
            run(&format!("ip -n {} link set far up", lab.peer));
            lab.until_mac("10.0.0.2", PROMPT, THEIRS).await;
            run("ip link set near down");
            lab.until("10.0.0.2", PROMPT, unreachable).await;
            run("ip link set near up");
            lab.until_mac("10.0.0.2", PROMPT, THEIRS).await;
            run("ip link del near");
            lab.until("10.0.0.2", PROMPT, |outcome| *outcome == Outcome::Unreachable(Unreachable::NoRoute)).await;
        },
    );
}

#[test]
fn silence_is_reported_and_ended_by_an_answer() {
    lab(
        || (),
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.3"), ip("fd00::3")]);
            for address in ["10.0.0.3", "fd00::3"] {
                let silent = |outcome: &Outcome| matches!(outcome, Outcome::Unreachable(Unreachable::NoAnswer { .. }));
                lab.until(address, PATIENT, silent).await;
                run(&format!("ip -n {} addr add {address}/128 dev far", lab.peer).replace("10.0.0.3/128", "10.0.0.3/32"));
                lab.until_mac(address, PATIENT, THEIRS).await;
            }
        },
    );
}

#[test]
fn stale_entry_is_confirmed_and_a_wrong_one_replaced() {
    lab(
        || {
            run("ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev near nud stale");
            run("ip neigh add fd00::2 lladdr 02:00:00:00:00:77 dev near nud stale");
        },
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.2"), ip("fd00::2")]);
            lab.until_mac("10.0.0.2", PROMPT, THEIRS).await;
            until_entry("10.0.0.2", "REACHABLE").await;
            lab.until_mac("fd00::2", PATIENT, THEIRS).await;
        },
    );
}

#[test]
fn flushed_entry_is_resolved_again_without_an_outage() {
    lab(
        || (),
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.2")]);
            lab.until_mac("10.0.0.2", PROMPT, THEIRS).await;
            lab.outcomes.mark_unchanged();
            run("ip neigh flush all");
            until_entry("10.0.0.2", "REACHABLE").await;
            assert!(!lab.outcomes.has_changed().unwrap());
        },
    );
}

#[test]
fn permanent_entry_is_used_and_stays_permanent() {
    lab(
        || _ = run("ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:77 dev near nud permanent"),
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.2")]);
            lab.until_mac("10.0.0.2", PROMPT, [2, 0, 0, 0, 0, 0x77]).await;
            until_entry("10.0.0.2", "PERMANENT").await;
        },
    );
}

#[test]
fn flood_of_news_ends_in_the_right_outcome() {
    lab(
        || (),
        async |mut lab| {
            lab.neighbors.watch([ip("10.0.0.2"), ip("192.0.2.1")]);
            lab.until_mac("10.0.0.2", PROMPT, THEIRS).await;
            // On the only thread of the runtime, so that nothing is read meanwhile and the socket overflows.
            let routes: String = (0..4000).map(|i| format!("route add 198.18.{}.{}/32 dev near\n", i / 256, i % 256)).collect();
            let file = std::env::temp_dir().join(format!("{}-routes", lab.peer));
            fs::write(
                &file,
                routes + "route add 192.0.2.1/32 via 10.0.0.2\nneigh replace 10.0.0.2 lladdr 02:00:00:00:00:03 dev near nud permanent\n",
            )
            .unwrap();
            run(&format!("ip -batch {}", file.display()));
            fs::remove_file(&file).unwrap();
            assert!(dropped_news() > 0, "the flood was too small");
            lab.until_mac("192.0.2.1", PATIENT, OTHER).await;
            lab.until_mac("10.0.0.2", PATIENT, OTHER).await;
        },
    );
}

#[test]
fn interfaces_answer_questions() {
    lab(
        || (),
        async |_lab| {
            let near = interface_index("near").await.unwrap();
            assert_eq!(interface_link(near).await.unwrap(), (OURS, 1500));
            assert_eq!(interface_addresses(near).await.unwrap(), [ip("10.0.0.1"), ip("fd00::1")]);
            let lo = interface_index("lo").await.unwrap();
            assert!(matches!(interface_link(lo).await, Err(Error::NotEthernet(_))));
            assert!(matches!(interface_index("none").await, Err(Error::NoInterface(_))));
            assert!(matches!(interface_link(near + 100).await, Err(Error::NoInterface(_))));
        },
    );
}
