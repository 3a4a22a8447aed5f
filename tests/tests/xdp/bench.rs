//! The bench: the loaded program with services of our choice, and frames put before it.
//!
//! Two devices as in a balancer with two arms. Servers of `nat` services are behind the inner one, so that their packets are redirected; those of `dsr`
//! services are beside the clients, so that theirs leave as they came. Nothing is attached: no frame is ever on a wire.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use l4d::{
    datapath::{AttachMode, Datapath, Error, Interface, Outcome, Rings, ServerCounters, Setup, Verdict},
    note::Note,
    plan::{ServiceKey, Wanted, WantedGuard, WantedServer, WantedService, Way},
    pool::{Pool, Ports},
    sync,
    tables::Tables,
};
use tests::{
    link::{self, End, Mac},
    netns::Netns,
    packet::{Flow, describe},
};
use xdp_common::{
    flow::{TCP, UDP},
    lane::Lane,
    limits::{LINE_SLOTS, RING_LINES, RING_SLOTS},
    reason::Reason,
    server::{Hop, Load},
    service::{Choice, Forward, OnDead, OnNone, Tracking},
    settings::Link,
    wire::{ACK, RST, SYN},
};

/// The router that clients are behind; test packets come from it unless they say otherwise.
pub(crate) const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// Our device towards clients; test packets are for it unless they say otherwise.
pub(crate) const OUTER: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Our device towards the servers of `nat` services.
pub(crate) const INNER: Mac = Mac([2, 0, 0, 0, 0, 18]);
/// Servers of each service.
pub(crate) const SERVERS: u8 = 3;
/// Where servers of `nat` services listen.
pub(crate) const SERVER_PORT: u16 = 8080;

/// Where a frame arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the clients.
    Outer,
    /// From the servers.
    Inner,
}

/// Returns a server's hardware address.
pub(crate) fn server_mac(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, number])
}

/// Returns a server's address in the family of `like`.
pub(crate) fn server_ip(number: u8, like: IpAddr) -> IpAddr {
    let text = if like.is_ipv4() { format!("10.77.1.1{number}") } else { format!("fd77:1::1{number}") };
    text.parse().expect("an address")
}

/// Returns what tunnels come from, in the family of `like`.
pub(crate) fn tunnel_source(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { "10.77.1.1" } else { "fd77:1::1" }.parse().expect("an address")
}

/// Where servers end tunnels over UDP.
pub(crate) const TUNNEL_PORT: u16 = 6080;

/// Returns the number of the server with an address.
#[track_caller]
pub(crate) fn number_of(ip: IpAddr) -> u8 {
    (1..=9).find(|number| server_ip(*number, ip) == ip).unwrap_or_else(|| panic!("{ip} is no server"))
}

/// Returns the number of the server a frame is addressed to by its hardware address.
#[track_caller]
pub(crate) fn number_by_mac(frame: &[u8]) -> u8 {
    (1..=9).find(|number| server_mac(*number).0 == frame[..6]).unwrap_or_else(|| panic!("to no server:\n{}", describe(frame)))
}

/// Returns the source addresses of the bench's pool.
pub(crate) fn pool_ips() -> [IpAddr; 3] {
    ["10.77.1.2", "10.77.1.3", "fd77:1::2"].map(|text| text.parse().expect("an address"))
}

/// Reads from whom to whom a frame goes that has neither options nor extension headers.
pub(crate) fn flow_of(frame: &[u8]) -> Flow {
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).expect("four bytes"));
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).expect("sixteen bytes"));
    let (from, to, ports) = if frame[12] == 8 { (v4(26), v4(30), 34) } else { (v6(22), v6(38), 54) };
    Flow { from: SocketAddr::new(from, port(ports)), to: SocketAddr::new(to, port(ports + 2)) }
}

/// Fails unless two frames are the same, and shows both.
#[track_caller]
pub(crate) fn assert_frame(what: &str, found: &[u8], expected: &[u8]) {
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected).unwrap_or(expected.len());
    assert!(found == expected, "{what}: differs at byte {at}; expected\n{}\nfound\n{}", describe(expected), describe(found));
}

/// Builds a bench, runs a test on it and takes it down.
pub(crate) fn on_bench(test: impl FnOnce(&mut Bench<'_>) + Send) {
    on_bench_with(Ports::SHARED, test);
}

/// As [`on_bench`], with other translated ports.
pub(crate) fn on_bench_with(ports: Ports, test: impl FnOnce(&mut Bench<'_>) + Send) {
    let namespace = Netns::new("xdp").expect("root may make a namespace");
    link::connect(&End::new(&namespace, "eth0").mac(OUTER), &End::new(&namespace, "client0").mac(ROUTER)).expect("the names are free");
    link::connect(&End::new(&namespace, "eth1").mac(INNER), &End::new(&namespace, "server0")).expect("the names are free");
    // The kernel looks for the arriving interface in the namespace of the calling thread.
    namespace.run(|| {
        let pins = Pins(PathBuf::from("/sys/fs/bpf").join(namespace.name()));
        let mut bench = Bench::new(&namespace, &pins, ports);
        test(&mut bench);
    });
}

/// A directory of pins, removed when dropped.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        // Not by `detach`: a process that another test starts holds our lock from its fork to its exec.
        let removed = std::fs::remove_dir_all(&self.0);
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}

/// What became of a frame.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    pub(crate) frame: Vec<u8>,
}

impl Judged {
    /// Returns the frame, or fails if it was judged otherwise.
    #[track_caller]
    pub(crate) fn expect(self, what: &str, verdict: Verdict, reason: Reason) -> Vec<u8> {
        assert!(
            (self.verdict, self.reason) == (verdict, reason),
            "{what}: {:?} {:?}\n{}",
            self.verdict,
            self.reason,
            describe(&self.frame)
        );
        self.frame
    }
}

/// A translated connection both ends of which have taken part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// As the client sees it.
    pub(crate) outside: Flow,
    /// As the server sees it.
    pub(crate) inside: Flow,
}

/// The program under test.
pub(crate) struct Bench<'a> {
    pub(crate) namespace: &'a Netns,
    datapath: Datapath,
    tables: Tables,
    wanted: Wanted,
    outer: u32,
    inner: u32,
}

impl<'a> Bench<'a> {
    fn new(namespace: &'a Netns, pins: &Pins, ports: Ports) -> Self {
        let [outer, inner] = ["eth0", "eth1"].map(|device| index_of(namespace, device));
        let setup = Setup {
            pin: pins.0.clone(),
            interfaces: vec![
                Interface { name: "eth0".into(), index: outer, address: OUTER.0, mtu: 1500 },
                Interface { name: "eth1".into(), index: inner, address: INNER.0, mtu: 1500 },
            ],
            mode: AttachMode::Native,
            rings: Rings::AtFirst(RING_LINES * LINE_SLOTS as u32),
            flows: 1 << 16,
            hash_key: Some(*b"a key for tests."),
            host: Vec::new(),
            pool: Pool::new(pool_ips(), ports).expect("three addresses fit"),
        };
        let datapath = Datapath::load(&setup).expect("the kernel takes the program");
        let tables = datapath.maps().tables();
        Self { namespace, datapath, tables, wanted: Wanted::default(), outer, inner }
    }

    /// Takes all services away, and with them all flows.
    pub(crate) fn clear(&mut self) {
        self.wanted.services.clear();
        self.sync();
    }

    /// Adds a service, written as `tcp 10.77.0.10:80`, with three servers.
    pub(crate) fn serve(&mut self, at: &str, forward: Forward, choice: Choice) {
        self.serve_as(at, forward, choice, |_| {});
    }

    /// As [`Bench::serve`], changed before it is first put in place.
    pub(crate) fn serve_as(&mut self, at: &str, forward: Forward, choice: Choice, change: impl FnOnce(&mut WantedService)) {
        let key = service_key(at);
        let mut service = WantedService {
            frontend: at.into(),
            backend: at.into(),
            forward,
            choice,
            tracking: if choice.is_hash() { Tracking::WhereChanged } else { Tracking::Always },
            on_dead: OnDead::Move,
            on_none: OnNone::Drop,
            mss: None,
            ring: RING_SLOTS,
            servers: (1..=SERVERS).map(|number| self.server(at, forward, number)).collect(),
        };
        change(&mut service);
        self.wanted.services.insert(key, service.into());
        self.sync();
    }

    /// Describes a server of a service.
    pub(crate) fn server(&self, at: &str, forward: Forward, number: u8) -> WantedServer {
        let key = service_key(at);
        let socket = key.socket;
        let own_port = if key.is_range() { 0 } else { socket.port() };
        let (port, hop) = match forward {
            Forward::Nat | Forward::Dnat => (SERVER_PORT, Hop::new(server_mac(number).0, INNER.0, self.inner)),
            Forward::Dsr | Forward::Ipip | Forward::Gue => (own_port, Hop::new(server_mac(number).0, OUTER.0, self.outer)),
        };
        let socket = SocketAddr::new(server_ip(number, socket.ip()), port);
        let way = Way { hop, source: tunnel_source(socket.ip()), mtu: 1500, tunnel_port: TUNNEL_PORT };
        WantedServer { socket, way, usable: true, note: Note::default(), weight: 1 }
    }

    /// Changes a service as the daemon would after a reload or a failed check.
    pub(crate) fn change(&mut self, at: &str, change: impl FnOnce(&mut WantedService)) {
        change(Arc::make_mut(self.wanted.services.get_mut(&service_key(at)).expect("the service was added")));
        self.sync();
    }

    /// Gives an interface a VLAN with a device of its own, and returns its lane.
    pub(crate) fn add_vlan(&mut self, side: Side, id: u16, address: Mac) -> Lane {
        let interface = self.interface(side);
        let lane = Lane::tagged(interface, id).expect("a number of a VLAN");
        let device = 100 + u32::from(id);
        self.wanted.vlans.insert(lane.0, Link::new(address.0, device));
        self.wanted.vlans.insert(device, Link::new(address.0, lane.0));
        self.sync();
        lane
    }

    /// Takes all VLANs away.
    pub(crate) fn remove_vlans(&mut self) {
        self.wanted.vlans.clear();
        self.sync();
    }

    fn interface(&self, side: Side) -> u32 {
        match side {
            Side::Outer => self.outer,
            Side::Inner => self.inner,
        }
    }

    /// Keeps other listeners of the host from floods.
    pub(crate) fn listen(&mut self, listeners: impl IntoIterator<Item = (SocketAddr, u32)>) {
        self.wanted.listeners = listeners.into_iter().collect();
        self.sync();
    }

    /// Puts up another guard.
    pub(crate) fn guard(&mut self, guard: WantedGuard) {
        self.wanted.guard = guard;
        self.sync();
    }

    fn sync(&mut self) {
        let synced = sync::sync(&mut self.tables, &self.wanted);
        assert!(synced.refused.is_empty(), "{:?}", synced.refused);
        self.datapath.apply(&synced.ops);
    }

    /// Puts a frame before the program; every rule that holds for all frames is checked here.
    #[track_caller]
    pub(crate) fn send(&self, side: Side, frame: &[u8]) -> Judged {
        let before = self.reasons();
        let (verdict, out) = self.run(side, frame);
        let after = self.reasons();
        let counted: Vec<Reason> =
            Reason::ALL.iter().flat_map(|reason| vec![*reason; (after[reason.name()] - before[reason.name()]) as usize]).collect();
        let [reason] = counted[..] else { panic!("counted {counted:?} for one frame\n{}", describe(frame)) };
        assert_eq!(verdict_class(verdict), class(reason), "{verdict} as {reason:?}:\n{}", describe(frame));
        assert_sound(verdict, frame, &out);
        Judged { verdict, reason, frame: out }
    }

    /// Does as [`Bench::send`] where frames may change as usual ones must not: by tags and by options.
    #[track_caller]
    pub(crate) fn send_freely(&self, side: Side, frame: &[u8]) -> Judged {
        let before = self.reasons();
        let (verdict, frame) = self.run(side, frame);
        let after = self.reasons();
        let counted: Vec<Reason> = Reason::ALL.iter().copied().filter(|reason| after[reason.name()] != before[reason.name()]).collect();
        let [reason] = counted[..] else { panic!("counted {counted:?} for one frame\n{}", describe(&frame)) };
        assert_eq!(verdict_class(verdict), class(reason), "{verdict} as {reason:?}:\n{}", describe(&frame));
        Judged { verdict, reason, frame }
    }

    /// Puts a frame before the program without asking for its reason.
    #[track_caller]
    pub(crate) fn run(&self, side: Side, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let outcome = self.try_on(self.interface(side), frame).expect("the kernel takes the frame");
        (outcome.verdict, outcome.frame)
    }

    /// Puts a frame before the program as one that arrived on any interface.
    pub(crate) fn try_on(&self, interface: u32, frame: &[u8]) -> Result<Outcome, Error> {
        self.datapath.trial()?.run(interface, frame)
    }

    /// Tells the program how many flows a server has.
    pub(crate) fn load(&self, at: &str, number: u8, flows: u32, weight: u32) {
        self.datapath.maps().set_load(self.id(at, number), Load::new(flows, weight));
    }

    fn id(&self, at: &str, number: u8) -> u16 {
        let key = service_key(at);
        let ip = server_ip(number, key.socket.ip());
        self.tables.servers_of(&key).into_iter().find(|server| server.socket.ip() == ip).expect("a server of the service").id
    }

    /// Returns the counts by reason.
    pub(crate) fn reasons(&self) -> BTreeMap<&'static str, u64> {
        self.datapath.maps().reasons().expect("a map of ours").into_iter().map(|(reason, count)| (reason.name(), count)).collect()
    }

    /// Returns what a server was given.
    pub(crate) fn counters(&self, at: &str, number: u8) -> ServerCounters {
        self.datapath.maps().server_counters(self.id(at, number)).expect("a map of ours")
    }
}

fn index_of(namespace: &Netns, device: &str) -> u32 {
    let output = namespace.command("ip").args(["-o", "link", "show", "dev", device]).output().expect("the lab has `ip`");
    let text = String::from_utf8(output.stdout).expect("`ip` writes text");
    text.split(':').next().and_then(|index| index.parse().ok()).unwrap_or_else(|| panic!("no index in `{text}`"))
}

fn service_key(at: &str) -> ServiceKey {
    let (protocol, socket) = at.split_once(' ').expect("a protocol and an address");
    let protocol = match protocol {
        "tcp" => TCP,
        "udp" => UDP,
        other => panic!("no protocol is called {other}"),
    };
    // Many ports are written `10.77.0.10:8000-8999`.
    let (socket, last) = socket.rsplit_once('-').map_or((socket, None), |(socket, last)| (socket, Some(last)));
    let key = ServiceKey::new(socket.parse().expect("tests write addresses rightly"), protocol);
    ServiceKey { last: last.map_or(key.last, |last| last.parse().expect("a port")), ..key }
}

/// What a verdict means for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Sent,
    Passed,
    Dropped,
    Failed,
}

pub(crate) fn verdict_class(verdict: Verdict) -> Class {
    match verdict {
        Verdict::Aborted => Class::Failed,
        Verdict::Dropped => Class::Dropped,
        Verdict::Passed => Class::Passed,
        Verdict::Transmitted | Verdict::Redirected => Class::Sent,
    }
}

pub(crate) fn class(reason: Reason) -> Class {
    if reason.passes() {
        Class::Passed
    } else if matches!(
        reason,
        Reason::Forwarded | Reason::Returned | Reason::TooBig | Reason::Echo | Reason::Relayed | Reason::Reset | Reason::Cookie
    ) {
        Class::Sent
    } else if matches!(reason, Reason::Internal) {
        Class::Failed
    } else {
        Class::Dropped
    }
}

/// Fails if a frame was changed where it must not be, or was sent with checksums it did not have before.
#[track_caller]
pub(crate) fn assert_sound(verdict: Verdict, before: &[u8], after: &[u8]) {
    match verdict_class(verdict) {
        Class::Failed => panic!("aborted by\n{}", describe(before)),
        Class::Passed => assert_frame("passed", after, before),
        Class::Dropped => {}
        Class::Sent if is_reset(after) && !is_reset(before) => tests::checksum::assert_checksums(after),
        Class::Sent if flags_of(before) == Some(SYN) && flags_of(after) == Some(SYN | ACK) => tests::checksum::assert_checksums(after),
        Class::Sent if after.len() > before.len() && after.ends_with(&before[14..]) => assert_wrapped(before, after),
        Class::Sent if after.len() != before.len() => assert_reported(before, after),
        Class::Sent => {
            let changed = (0..before.len()).filter(|at| before[*at] != after[*at]);
            let touched = changed.filter(|at| !may_change(before, *at)).collect::<Vec<_>>();
            assert!(touched.is_empty(), "bytes {touched:?} changed in\n{}\nto\n{}", describe(before), describe(after));
            if tests::checksum::verify(before).is_ok() {
                tests::checksum::assert_checksums(after);
            }
        }
    }
}

/// Fails unless a frame is one of a tunnel with all of another in it.
#[track_caller]
fn assert_wrapped(before: &[u8], after: &[u8]) {
    let overhead = after.len() - before.len();
    assert!([20, 28, 40, 48].contains(&overhead), "{overhead} bytes were put before\n{}", describe(before));
    assert_eq!(after[12..14], if overhead < 40 { [8, 0] } else { [0x86, 0xdd] }, "{}", describe(after));
    if tests::checksum::verify(before).is_ok() && !is_unsummed(before) {
        tests::checksum::assert_checksums(after);
    }
}

/// Fails unless a frame is an error about another, to the sender of that.
#[track_caller]
fn assert_reported(before: &[u8], after: &[u8]) {
    let (addresses, quoted, ip) = if before[12] == 8 { (26..30, 42, 30..34) } else { (22..38, 62, 38..54) };
    assert_eq!(after[ip], before[addresses], "to another:\n{}", describe(after));
    assert!(before[14..].starts_with(&after[quoted..]), "quotes what was not said:\n{}", describe(after));
    // What was damaged is quoted with its damage.
    if tests::checksum::verify(before).is_ok() {
        tests::checksum::assert_checksums(after);
    }
}

/// Tells whether a frame is a TCP segment that resets.
pub(crate) fn is_reset(frame: &[u8]) -> bool {
    flags_of(frame).is_some_and(|flags| flags & RST != 0)
}

/// Returns the flags that say what a TCP segment is.
fn flags_of(frame: &[u8]) -> Option<u8> {
    let (transport, protocol) = if frame[12] == 8 { (34, frame[23]) } else { (54, frame[20]) };
    frame.get(transport + 13).filter(|_| protocol == TCP).map(|flags| flags & (SYN | ACK | RST))
}

/// Tells whether a frame is a datagram without checksum, which a tunnel over IPv6 repeats.
fn is_unsummed(frame: &[u8]) -> bool {
    frame[12] == 8 && frame[23] == UDP && frame[40..42] == [0, 0]
}

/// Tells whether forwarding may change a byte: hardware addresses, addresses, ports and checksums.
fn may_change(frame: &[u8], at: usize) -> bool {
    let (addresses, transport, protocol) = if frame[12] == 8 { (24..34, 34, frame[23]) } else { (22..54, 54, frame[20]) };
    if protocol == 1 || protocol == 58 {
        // Type, checksum and hops of an echo; addresses, header checksum and ports of what an error quotes.
        let hops = if protocol == 1 { 22 } else { 21 };
        let quoted = if protocol == 1 { 52..66 } else { 70..106 };
        return at < 12
            || at == hops
            || addresses.contains(&at)
            || at == transport
            || [2, 3].contains(&(at - transport))
            || quoted.contains(&at);
    }
    let checksum = transport + if protocol == TCP { 16 } else { 6 };
    at < 12 || addresses.contains(&at) || (transport..transport + 4).contains(&at) || (checksum..checksum + 2).contains(&at)
}
