//! Speaks rtnetlink: the stream of the kernel's news, complete readings, route lookups, probes; and turns messages into [`Fact`]s.
//!
//! News and requests use two sockets, so that a flood of news that overruns the one cannot swallow an answer on the other.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums are open, and few of their variants concern us")]

use std::{io, net::IpAddr, time::Duration};

use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, VlanProtocol},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};
use rtnetlink::{
    Handle, MulticastGroup, new_connection, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
};
use rustix::io::Errno;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    Unreachable,
    schedule::Probe,
    table::{Entry, Fact, Link, Prefix, Route, Standing, Target, Vlan},
};

/// Why the kernel could not be asked or followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A socket could not be opened.
    #[error("netlink socket: {0}")]
    Open(#[from] io::Error),
    /// A request was refused, or answered with something else.
    #[error("netlink request: {0}")]
    Request(#[from] rtnetlink::Error),
    /// A request was not answered.
    #[error("netlink request: no answer within {ANSWER_TIMEOUT:?}")]
    NoAnswer,
    /// The socket's task ended.
    #[error("netlink socket: closed")]
    Closed,
    /// There is no such interface.
    #[error("interface {0}: not found")]
    NoInterface(String),
    /// The interface has no six-byte hardware address.
    #[error("interface {0}: not Ethernet")]
    NotEthernet(u32),
}

/// What the kernel tells unasked.
#[derive(Debug)]
pub(super) enum News {
    Fact(Fact),
    /// Some news were lost: everything has to be read again.
    Lost,
}

/// Returns the kernel's news from now on; it ends when the socket does.
pub(super) fn subscribe() -> Result<BoxStream<'static, News>, Error> {
    let (connection, handle, messages) = new_multicast_connection(&GROUPS)?;
    let pump = Pump::spawn(connection);
    // The handle and the pump live as long as the stream: without either the connection would end.
    let news = messages.filter_map(move |(message, _)| {
        let _alive = (&handle, &pump);
        std::future::ready(news(message))
    });
    Ok(news.boxed())
}

/// A socket for requests.
pub(super) struct Requests {
    handle: Handle,
    _pump: Pump,
}

impl Requests {
    pub(super) fn open() -> Result<Self, Error> {
        let (connection, handle, _) = new_connection()?;
        Ok(Self { handle, _pump: Pump::spawn(connection) })
    }

    /// Returns the handle for requests that only one caller makes.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reads all links and neighbours.
    pub(super) async fn facts(&self) -> Result<Vec<Fact>, Error> {
        let links = collect(self.handle.link().get().execute()).await?;
        let neighbors = collect(self.handle.neighbours().get().execute()).await?;
        let links = links.iter().filter_map(|message| link_fact(message, Presence::Here));
        Ok(links.chain(neighbors.iter().filter_map(|message| neighbor_fact(message, Presence::Here))).collect())
    }

    /// Asks where the kernel would send a packet to this address.
    pub(super) async fn route(&self, address: IpAddr) -> Result<Result<Route, Unreachable>, Error> {
        let mut request = RouteMessage::default();
        (request.header.address_family, request.header.destination_prefix_length) = match address {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        request.attributes.push(RouteAttribute::Destination(address.into()));
        match collect(self.handle.route().get(request).execute()).await {
            Ok(answers) => Ok(answers.first().map_or(Err(Unreachable::NoRoute), route)),
            Err(Error::Request(rtnetlink::Error::NetlinkError(error))) => Ok(Err(refusal(error.raw_code().saturating_abs()))),
            Err(error) => Err(error),
        }
    }

    /// Lets the kernel probe a neighbour.
    ///
    /// Confirmation puts the entry into the probing state, which asks its MAC; resolution is what `ip neigh … use` does, which asks
    /// everybody. Returns whether the kernel did: the entry may have changed meanwhile, or its link gone down.
    pub(super) async fn probe(&self, target: Target, probe: Probe) -> Result<bool, Error> {
        let request = self.handle.neighbours().add(target.ifindex, target.address).replace();
        let request = match probe {
            Probe::Confirm => request.state(NeighbourState::Probe),
            Probe::Resolve => request.state(NeighbourState::None).flags(NeighbourFlags::Use),
        };
        match timeout(ANSWER_TIMEOUT, request.execute()).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(rtnetlink::Error::NetlinkError(error))) => {
                tracing::debug!(?target, ?probe, error = %error.to_io(), "the kernel does not probe");
                Ok(false)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::NoAnswer),
        }
    }
}

/// Collects the answers to a request.
pub(super) async fn collect<T>(answers: impl Stream<Item = Result<T, rtnetlink::Error>>) -> Result<Vec<T>, Error> {
    match timeout(ANSWER_TIMEOUT, answers.try_collect()).await {
        Ok(answers) => Ok(answers?),
        Err(_) => Err(Error::NoAnswer),
    }
}

/// The task that moves a socket's messages; ends with its owner.
struct Pump(JoinHandle<()>);

impl Pump {
    fn spawn(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(connection))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a message announces something or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Here,
    Gone,
}

fn news(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<News> {
    use Presence::{Gone, Here};
    let fact = match message.payload {
        NetlinkPayload::Overrun(_) => return Some(News::Lost),
        NetlinkPayload::InnerMessage(message) => match message {
            RouteNetlinkMessage::NewLink(link) => link_fact(&link, Here),
            RouteNetlinkMessage::DelLink(link) => link_fact(&link, Gone),
            RouteNetlinkMessage::NewNeighbour(neighbor) => neighbor_fact(&neighbor, Here),
            RouteNetlinkMessage::DelNeighbour(neighbor) => neighbor_fact(&neighbor, Gone),
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => Some(Fact::Route(prefix(&route)?)),
            // Of the groups subscribed to, these remain: addresses, rules, next hop objects (which arrive as an unknown kind).
            _ => Some(Fact::AllRoutes),
        },
        NetlinkPayload::Done(_) | NetlinkPayload::Error(_) | NetlinkPayload::Noop => None,
        _ => None,
    };
    fact.map(News::Fact)
}

fn link_fact(message: &LinkMessage, presence: Presence) -> Option<Fact> {
    let header = &message.header;
    // A bridge and IPv6 tell about their view of a link under their own families; leaving a bridge looks like a link's end.
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) if header.link_layer_type == LinkLayerType::Ether => address.as_slice().try_into().ok(),
        _ => None,
    });
    let up = header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    Some(Fact::Link(header.index, (presence == Presence::Here).then_some(Link { mac, up, vlan: vlan(message) })))
}

/// Returns what a link is a VLAN of.
pub(super) fn vlan(message: &LinkMessage) -> Option<Vlan> {
    let infos = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    })?;
    let parts = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(parts)) => Some(parts),
        _ => None,
    })?;
    let parent = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(parent) => Some(*parent),
        _ => None,
    })?;
    let plain = !parts.iter().any(|part| matches!(part, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q));
    let id = parts.iter().find_map(|part| match part {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    });
    Some(Vlan { parent, id: id.filter(|_| plain) })
}

fn neighbor_fact(message: &NeighbourMessage, presence: Presence) -> Option<Fact> {
    let header = &message.header;
    let ip = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6);
    if !ip || header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let standing = match header.state {
        NeighbourState::Reachable | NeighbourState::Delay => Standing::Fresh,
        NeighbourState::Probe => Standing::Probing,
        NeighbourState::Stale => Standing::Stale,
        NeighbourState::Permanent | NeighbourState::Noarp => Standing::Fixed,
        NeighbourState::Failed => Standing::Failed,
        _ => Standing::Unresolved,
    };
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(address) => address.as_slice().try_into().ok(),
        _ => None,
    });
    // A failed entry may still carry the MAC that no longer answers.
    let mac = mac.filter(|_| standing != Standing::Failed);
    let entry = (presence == Presence::Here).then_some(Entry { standing, mac });
    Some(Fact::Neighbor(Target { ifindex: header.ifindex, address }, entry))
}

fn prefix(message: &RouteMessage) -> Option<Prefix> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    Some(Prefix { address: destination.unwrap_or(unspecified), length: message.header.destination_prefix_length })
}

fn route(message: &RouteMessage) -> Result<Route, Unreachable> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Ok(Route::Local),
        RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => return Err(Unreachable::NotUnicast),
        _ => return Err(Unreachable::Forbidden),
    }
    let (mut oif, mut gateway, mut prefsrc) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::PrefSource(address) => prefsrc = ip(address),
            RouteAttribute::Encap(_) => return Err(Unreachable::Tunnel),
            _ => {}
        }
    }
    oif.map(|ifindex| Route::Via { ifindex, gateway, prefsrc }).ok_or(Unreachable::NoRoute)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// Says why a route lookup fails with this code; each type of forbidding route has its own.
fn refusal(code: i32) -> Unreachable {
    match Errno::from_raw_os_error(code) {
        Errno::NETUNREACH => Unreachable::NoRoute,
        Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL => Unreachable::Forbidden,
        _ => Unreachable::Lookup(code),
    }
}

const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

/// The kernel answers within microseconds; a lost answer never comes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
