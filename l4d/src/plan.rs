//! What the maps should hold: a pure function of the model, the servers' states and their next hops.
//!
//! `app` plans after every change, anew what changed and as before what did not, and `sync` works out the difference to what is there; nothing here
//! knows ids or places in maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use control::{
    config::{self, BackendId, DeadServer, Frontend, NoServer, ProxyOption, Transport, XdpBalance, XdpFrontend},
    fleet::View,
    server_state::Status,
};
use xdp_common::{
    flow::{TCP, UDP},
    guard::{Origin, Rule, Ruling},
    server::Hop,
    service::{Choice, Forward, OnDead, OnNone, Tracking},
    settings::Link,
};

use crate::note::Note;

/// What names a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The virtual address and port, the first of many.
    pub socket: SocketAddr,
    /// The last port.
    pub last: u16,
    /// The protocol number.
    pub protocol: u8,
}

impl ServiceKey {
    /// Names a service of one port.
    pub const fn new(socket: SocketAddr, protocol: u8) -> Self {
        Self { socket, last: socket.port(), protocol }
    }

    /// Tells whether it has many ports.
    pub const fn is_range(&self) -> bool {
        self.last != self.socket.port()
    }
}

/// Shows address and ports.
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.socket)?;
        if self.is_range() { write!(f, "-{}", self.last) } else { Ok(()) }
    }
}

/// What the maps should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The services; what did not change is shared by one plan and the next.
    pub services: BTreeMap<ServiceKey, Arc<WantedService>>,
    /// What they are guarded against.
    pub guard: WantedGuard,
    /// VLANs by lane, and the lanes of their devices by index.
    pub vlans: BTreeMap<u32, Link>,
    /// Listeners of the host that are kept from floods, and how many connections a second are believed.
    pub listeners: BTreeMap<SocketAddr, u32>,
    /// Of how many packets one is logged, as a power of two.
    pub log: Option<u32>,
}

/// Whom services are guarded against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedGuard {
    /// What is done with packets of prefixes: the first address and the length, which is that of the mapped address for IPv4.
    pub prefixes: BTreeMap<(IpAddr, u8), Rule>,
    /// New connections each source may open in a second; 0 is any number.
    pub connections: u32,
    /// Packets each source may send in a second; 0 is any number.
    pub packets: u32,
}

/// One service as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedService {
    /// The frontend it comes from.
    pub frontend: String,
    /// The backend whose servers it uses.
    pub backend: String,
    /// How packets reach a server.
    pub forward: Forward,
    /// How a server is chosen.
    pub choice: Choice,
    /// Which flows are remembered.
    pub tracking: Tracking,
    /// What becomes of connections of a dead server.
    pub on_dead: OnDead,
    /// What becomes of packets that no server can take.
    pub on_none: OnNone,
    /// The longest segment that its connections may use; none is any.
    pub mss: Option<u16>,
    /// How many slots its ring has where a hash chooses.
    pub ring: u32,
    /// Its servers in the file's order, those without new flows included.
    pub servers: Vec<WantedServer>,
}

/// One server of a service as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedServer {
    /// Where it listens.
    pub socket: SocketAddr,
    /// The way to it.
    pub way: Way,
    /// Whether established flows may go on.
    pub usable: bool,
    /// What commands set of it.
    pub note: Note,
    /// Its share of new flows; none while down, drained, or a backup that is not needed.
    pub weight: u32,
}

/// How packets get to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The next hop, all zero while unknown.
    pub hop: Hop,
    /// What tunnels say they come from.
    pub source: IpAddr,
    /// The longest packet that fits the link, or the way as configured; 0 while unknown.
    pub mtu: u16,
    /// The UDP port at which it ends tunnels.
    pub tunnel_port: u16,
}

impl Default for Way {
    fn default() -> Self {
        Self { hop: Hop::default(), source: IpAddr::V6(Ipv6Addr::UNSPECIFIED), mtu: 0, tunnel_port: 0 }
    }
}

/// What a plan was made from: services of which nothing of it changed stay as they are.
#[derive(Debug)]
pub(crate) struct Basis {
    view: Arc<View>,
    /// How often each backend had changed.
    changes: Vec<u64>,
}

impl Basis {
    /// Notes what is planned from; to be called before that is read.
    pub(crate) fn of(view: &Arc<View>) -> Self {
        let changes = view.config().backends().iter().map(|backend| view.changes(backend.id())).collect();
        Self { view: Arc::clone(view), changes }
    }

    /// Tells whether the servers of a backend are as they were.
    fn agrees(&self, now: &Self, backend: BackendId) -> bool {
        Arc::ptr_eq(&self.view, &now.view) && self.changes[backend.index()] == now.changes[backend.index()]
    }
}

/// Plans the maps anew, out of nothing.
pub fn plan(view: &Arc<View>, way: impl Fn(IpAddr) -> Way, note: impl Fn(&config::Server) -> Note) -> Wanted {
    replan(&Basis::of(view), None, way, note)
}

/// Plans the maps, given what was planned while `way` and `note` said the same of servers that did not change.
pub(crate) fn replan(
    now: &Basis,
    before: Option<(&Basis, &Wanted)>,
    way: impl Fn(IpAddr) -> Way,
    note: impl Fn(&config::Server) -> Note,
) -> Wanted {
    let view = &now.view;
    let xdp = view.config().xdp();
    let log = xdp.and_then(config::Xdp::packet_log).map(|packets| packets.next_power_of_two().ilog2());
    let mut wanted = Wanted { guard: xdp.map(guard).unwrap_or_default(), log, ..Wanted::default() };
    for frontend in view.config().frontends() {
        let Some(xdp) = frontend.xdp() else { continue };
        let before = before.filter(|(basis, _)| basis.agrees(now, xdp.backend())).map(|(_, wanted)| wanted);
        for key in service_keys(frontend) {
            let same = before.and_then(|wanted| wanted.services.get(&key)).cloned();
            wanted.services.insert(key, same.unwrap_or_else(|| Arc::new(service(view, frontend, xdp, key, &way, &note))));
        }
    }
    wanted
}

/// Returns the listeners of the host that are to be kept from floods: those of frontends that user space serves, on each of the host's addresses
/// where they take them all.
pub(crate) fn listeners(config: &config::Config, host: &[IpAddr]) -> BTreeMap<SocketAddr, u32> {
    let Some(rate) = config.xdp().and_then(config::Xdp::syn_cookies) else { return BTreeMap::new() };
    let user_space = config.frontends().iter().filter(|frontend| frontend.xdp().is_none());
    let mut listeners = BTreeMap::new();
    for bind in user_space.flat_map(Frontend::binds) {
        let Some(inet) = bind.address().inet().filter(|inet| inet.transport() == Transport::Tcp) else { continue };
        let takes = |address: &IpAddr| address.is_ipv4() == inet.ip().is_ipv4() || address.is_ipv4() && !bind.v6only();
        let own: Vec<IpAddr> = match inet.ip() {
            all if all.is_unspecified() => host.iter().copied().filter(takes).collect(),
            one => vec![one],
        };
        let sockets = inet.sockets().flat_map(|socket| own.iter().map(move |address| SocketAddr::new(*address, socket.port())));
        listeners.extend(sockets.map(|socket| (socket, rate)));
    }
    listeners
}

fn guard(xdp: &config::Xdp) -> WantedGuard {
    let rule = |ruling| Rule { ruling, origin: Origin::File };
    let denied = xdp.deny().iter().map(|prefix| (prefix_key(prefix), rule(Ruling::Deny)));
    let allowed = xdp.allow().iter().map(|prefix| (prefix_key(prefix), rule(Ruling::Allow)));
    WantedGuard {
        prefixes: denied.chain(allowed).collect(),
        connections: xdp.source_connections().unwrap_or_default(),
        packets: xdp.source_packets().unwrap_or_default(),
    }
}

/// Returns a prefix as the maps have it: the first address, and the length that is its own within the mapped addresses.
pub(crate) fn prefix_key(prefix: &config::Prefix) -> (IpAddr, u8) {
    (prefix.address(), prefix.length() + if prefix.address().is_ipv4() { 96 } else { 0 })
}

/// Tells whether all addresses of a prefix are among those of another.
pub(crate) fn holds(outer: (IpAddr, u8), inner: (IpAddr, u8)) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let beyond = 128u32.saturating_sub(outer.1.into());
    outer.1 <= inner.1 && (bits(outer.0) ^ bits(inner.0)).checked_shr(beyond).unwrap_or(0) == 0
}

/// Returns where a server listens for a service: at port 0 where it has the client's of many.
pub(crate) fn socket_for(server: &config::Server, key: &ServiceKey) -> Option<SocketAddr> {
    server.address_for(if key.is_range() { 0 } else { key.socket.port() })
}

/// Returns the server of a backend that listens there for a service.
pub(crate) fn server_at<'a>(
    config: &'a config::Config,
    backend: BackendId,
    key: &ServiceKey,
    socket: SocketAddr,
) -> Option<&'a config::Server> {
    config.servers_of(backend).iter().find(|server| socket_for(server, key) == Some(socket))
}

/// Returns where a server of a backend listens as the file says it: with port 0 where it keeps the client's.
pub(crate) fn as_written(config: &config::Config, backend: BackendId, socket: SocketAddr) -> SocketAddr {
    let written = config.servers_of(backend).iter().find(|server| server.address_for(socket.port()) == Some(socket));
    written.and_then(|server| server.address_for(0)).unwrap_or(socket)
}

/// Returns the addresses of all servers the kernel tier needs next hops for.
pub fn server_addresses(config: &config::Config) -> Vec<IpAddr> {
    let backends = config.frontends().iter().filter_map(Frontend::xdp).map(XdpFrontend::backend);
    let mut addresses: Vec<_> = backends.flat_map(|backend| config.servers_of(backend)).filter_map(config::Server::ip).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Returns the services of a frontend: one for each bind.
pub fn service_keys(frontend: &Frontend) -> impl Iterator<Item = ServiceKey> + '_ {
    let sockets = frontend.binds().iter().filter_map(|bind| bind.address().inet());
    sockets.map(|inet| {
        let protocol = match inet.transport() {
            Transport::Tcp => TCP,
            Transport::Udp | Transport::Quic => UDP,
        };
        let ports = inet.ports();
        ServiceKey { socket: SocketAddr::new(inet.ip(), ports.first()), last: ports.last(), protocol }
    })
}

fn service(
    view: &View,
    frontend: &Frontend,
    xdp: &XdpFrontend,
    key: ServiceKey,
    way: &impl Fn(IpAddr) -> Way,
    note: &impl Fn(&config::Server) -> Note,
) -> WantedService {
    let config = view.config();
    let choice = match xdp.balance() {
        XdpBalance::Source => Choice::Source,
        XdpBalance::Tuple => Choice::Tuple,
        XdpBalance::RoundRobin => Choice::RoundRobin,
        XdpBalance::LeastConn => Choice::LeastConn,
    };
    let always = !choice.is_hash() || key.protocol == UDP && xdp.track();
    let written = config.servers_of(xdp.backend());
    let ways: Vec<Way> = written.iter().map(|server| server.ip().map_or_else(Way::default, way)).collect();
    let shares = shares(view, xdp.backend(), &ways);
    let crosses = matches!(xdp.forward(), config::Forward::Ipip | config::Forward::Gue);
    let mut taken = BTreeSet::new();
    let any_named = written.iter().any(|server| server.address().named().is_some());
    let servers = written.iter().zip(ways).zip(shares).filter_map(|((server, way), weight)| {
        let socket = socket_for(server, &key).filter(|socket| crosses || socket.is_ipv4() == key.socket.is_ipv4())?;
        // Names may lead two servers to one place, where there is but one machine.
        if any_named && !taken.insert(socket) && server.address().named().is_some() {
            return None;
        }
        let usable = view.status(server.id()) != Status::Down;
        Some(WantedServer { socket, way: tunnelled(xdp, way), usable, note: note(server), weight })
    });
    WantedService {
        frontend: frontend.name().to_owned(),
        backend: config.backend(xdp.backend()).name().to_owned(),
        forward: forward(xdp.forward()),
        choice,
        tracking: if always { Tracking::Always } else { Tracking::WhereChanged },
        on_dead: match xdp.dead_server() {
            DeadServer::Move => OnDead::Move,
            DeadServer::Reset => OnDead::Reset,
        },
        on_none: match xdp.no_server() {
            NoServer::Drop => OnNone::Drop,
            NoServer::Reset => OnNone::Reset,
        },
        mss: xdp.mss(),
        ring: xdp.ring(),
        servers: servers.collect(),
    }
}

/// Returns the data plane's word for a way to forward.
pub(crate) const fn forward(forward: config::Forward) -> Forward {
    match forward {
        config::Forward::Nat => Forward::Nat,
        config::Forward::Dsr => Forward::Dsr,
        config::Forward::Ipip => Forward::Ipip,
        config::Forward::Gue => Forward::Gue,
        config::Forward::Dnat => Forward::Dnat,
    }
}

/// Returns a way with what the frontend says of its tunnels.
fn tunnelled(xdp: &XdpFrontend, way: Way) -> Way {
    let mtu = match (xdp.tunnel_mtu(), way.mtu) {
        (Some(configured), 0) => configured,
        (Some(configured), link) => configured.min(link),
        (None, link) => link,
    };
    Way { mtu, tunnel_port: xdp.tunnel_port(), ..way }
}

/// Returns the shares of new flows that the servers of a backend take: all that are up, or else the first backup that is, or all of
/// them if so configured.
fn shares(view: &View, backend: BackendId, ways: &[Way]) -> Vec<u32> {
    let config = view.config();
    let servers = config.servers_of(backend);
    let up = |backup| move |server: &config::Server| if server.backup() == backup { view.effective_weight(server.id()) } else { 0 };
    let mut shares: Vec<u32> = servers.iter().map(up(false)).collect();
    if shares.iter().all(|share| *share == 0) {
        shares = servers.iter().map(up(true)).collect();
        let all = config.backend(backend).options().iter().any(|option| matches!(**option, ProxyOption::AllBackups));
        if !all && let Some(first) = shares.iter().position(|share| *share > 0) {
            shares[first + 1..].fill(0);
        }
    }
    // New flows wait for nobody's next hop while there are servers whose next hop is known.
    let has_hop = |way: &Way| way.hop.interface != 0;
    if shares.iter().zip(ways).any(|(share, way)| *share > 0 && has_hop(way)) {
        shares.iter_mut().zip(ways).filter(|(_, way)| !has_hop(way)).for_each(|(share, _)| *share = 0);
    }
    shares
}

#[cfg(test)]
mod tests {
    use control::{config::Config, fleet::Fleet, server_state::Admin};

    use super::*;

    const FILE: &str = r#"
[xdp]
interfaces = ["eth0"]
[frontend.web]
mode = "tcp"
bind = ["10.0.0.1:80-81", "udp@10.0.0.1:53"]
xdp = { forward = "nat" }
default-backend = "web"
[frontend.user-space]
mode = "tcp"
bind = "10.0.0.1:82"
default-backend = "web"
[backend.web]
mode = "tcp"
balance = "roundrobin"
check = { tcp = {} }
[backend.web.server]
one = { address = "10.0.1.1:8080", weight = 2 }
two = "10.0.1.2:8080"
spare1 = { address = "10.0.1.3:8080", backup = true }
spare2 = { address = "10.0.1.4:8080", backup = true }
"#;

    const OTHER: &str = r#"
[frontend.other]
mode = "tcp"
bind = "10.0.0.1:90"
xdp = { forward = "dsr" }
default-backend = "other"
[backend.other]
mode = "tcp"
server.one = "10.0.1.5:90"
"#;

    fn hop(ip: IpAddr) -> Way {
        let IpAddr::V4(v4) = ip else { panic!("all servers are of IPv4") };
        Way { hop: Hop::new([0, 0, 0, 0, 0, v4.octets()[3]], [0; 6], 2), mtu: 1500, ..Way::default() }
    }

    fn fleet() -> Fleet {
        Fleet::new(Arc::new(Config::parse("l4d.toml", FILE).unwrap()))
    }

    fn set(fleet: &Fleet, server: &str, admin: Admin) {
        let view = fleet.view();
        fleet.set_admin(&view, view.config().server_named("web", server).unwrap().id(), admin);
    }

    fn weights(fleet: &Fleet, hop: impl Fn(IpAddr) -> Way) -> Vec<u32> {
        plan(&fleet.view(), hop, |_| Note::default()).services.values().next().unwrap().servers.iter().map(|server| server.weight).collect()
    }

    #[test]
    fn each_bind_of_an_accelerated_frontend_is_a_service() {
        let services = plan(&fleet().view(), hop, |_| Note::default()).services;
        let keys: Vec<_> = services.iter().map(|(key, service)| (key.protocol, key.socket.port(), key.last, service.tracking)).collect();
        assert_eq!(keys, [(UDP, 53, 53, Tracking::Always), (TCP, 80, 81, Tracking::Always)]);
    }

    #[test]
    fn backups_serve_when_nobody_else_does_and_one_at_a_time() {
        let fleet = fleet();
        assert_eq!(weights(&fleet, hop), [32, 16, 0, 0]);
        set(&fleet, "one", Admin::Maint);
        assert_eq!(weights(&fleet, hop), [0, 16, 0, 0]);
        set(&fleet, "two", Admin::Drain);
        assert_eq!(weights(&fleet, hop), [0, 0, 16, 0]);
        set(&fleet, "spare1", Admin::Maint);
        assert_eq!(weights(&fleet, hop), [0, 0, 0, 16]);
    }

    #[test]
    fn what_did_not_change_is_planned_once() {
        let file = format!("{FILE}{OTHER}");
        let fleet = Fleet::new(Arc::new(Config::parse("l4d.toml", &file).unwrap()));
        let note = |_: &config::Server| Note::default();
        let basis = Basis::of(&fleet.view());
        let first = replan(&basis, None, hop, note);
        set(&fleet, "one", Admin::Maint);
        let changed = Basis::of(&fleet.view());
        let second = replan(&changed, Some((&basis, &first)), hop, note);
        assert_eq!(second, plan(&fleet.view(), hop, note), "as planned out of nothing");
        let shared =
            |(key, service): (&ServiceKey, &Arc<WantedService>)| (service.backend.clone(), Arc::ptr_eq(service, &first.services[key]));
        let expected = [("web", false), ("web", false), ("other", true)].map(|(backend, shared)| (backend.to_owned(), shared));
        assert_eq!(second.services.iter().map(shared).collect::<Vec<_>>(), expected);
        // What a command asks for counts as a change, though nothing that is shown differs.
        set(&fleet, "one", Admin::Maint);
        assert!(!changed.agrees(&Basis::of(&fleet.view()), fleet.config().backend_named("web").unwrap().id()));
    }

    #[test]
    fn listeners_of_user_space_are_kept_from_floods() {
        let file = FILE
            .replace("interfaces", "syn-cookies = 7\ninterfaces")
            .replace("bind = \"10.0.0.1:82\"", "bind = [\"*:82\", \"[fd00::1]:83\", \"[::]:84\"]");
        let host = ["10.9.0.1", "fd09::1"].map(|ip| ip.parse().unwrap());
        let listeners = listeners(&Config::parse("l4d.toml", &file).unwrap(), &host);
        let sockets: Vec<String> = listeners.keys().map(ToString::to_string).collect();
        assert_eq!(sockets, ["10.9.0.1:82", "10.9.0.1:84", "[fd00::1]:83", "[fd09::1]:84"]);
        assert!(listeners.values().all(|rate| *rate == 7));
        assert!(super::listeners(&Config::parse("l4d.toml", FILE).unwrap(), &host).is_empty());
    }

    #[test]
    fn prefixes_hold_longer_ones() {
        let key = |text: &str, length| (text.parse::<IpAddr>().unwrap(), length);
        assert!(holds(key("10.0.0.0", 104), key("10.1.2.3", 128)) && holds(key("::", 0), key("10.1.2.3", 128)));
        assert!(!holds(key("10.0.0.0", 104), key("11.0.0.0", 128)) && !holds(key("10.1.2.3", 128), key("10.0.0.0", 104)));
        assert!(holds(key("fd00::", 8), key("fd12::1", 128)) && !holds(key("fd00::", 16), key("fd12::1", 128)));
    }

    #[test]
    fn new_flows_go_where_the_next_hop_is_known() {
        let fleet = fleet();
        let not_one = |ip| if ip == IpAddr::from([10, 0, 1, 1]) { Way::default() } else { hop(ip) };
        assert_eq!(weights(&fleet, not_one), [0, 16, 0, 0]);
        assert_eq!(weights(&fleet, |_| Way::default()), [32, 16, 0, 0], "with none known the routing table is asked for each packet");
    }
}
