//! From the model and this machine to a [`Setup`]: interfaces that exist, source addresses, ports that the host does not use.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

use control::config::{Config, Frontend, Located, Location, Xdp};
use tracing::info;
use xdp_common::{
    lane::Lane,
    limits::{FLOW_WAYS, LINE_SLOTS, RING_LINES},
};

use crate::{
    datapath::{Interface, Rings, Setup},
    neighbor::interface::{self, VlanDevice, interface_addresses, interface_index, interface_link, vlan_devices},
    plan::{listeners, service_keys},
    pool::{self, Pool, Ports},
};

/// Why this machine cannot carry out the configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is nothing for l4d in it.
    #[error("the configuration has no [xdp] section: there is nothing for l4d to do")]
    NoXdp,
    /// An interface is missing or unusable.
    #[error("{}: interface `{}`: {error}", .name.location(), **.name)]
    Interface {
        /// Its name, where it is written.
        name: Located<String>,
        /// What is wrong with it.
        error: interface::Error,
    },
    /// Its index has no place beside the number of a VLAN.
    #[error("{}: interface `{}` has index {index}, l4d takes indices below 1048576 only: a device made soon after boot has one", .name.location(), **.name)]
    Index {
        /// Its name, where it is written.
        name: Located<String>,
        /// Its index.
        index: u32,
    },
    /// Full NAT needs an address of this family.
    #[error(
        "frontend {frontend} forwards by nat, but there is no {family} source address: set `source-addresses` in [xdp], or give an interface one"
    )]
    NoSource {
        /// The frontend.
        frontend: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// The host would not know the cookies that are made for it.
    #[error("{location}: `syn-cookies` needs a host that takes cookies at any time: `sysctl net.ipv4.tcp_syncookies=2`")]
    Cookies {
        /// Where the section begins.
        location: Location,
    },
    /// Listeners that are kept from floods would crowd services out of their table.
    #[error("{location}: `syn-cookies` keeps at most {MOST_LISTENERS} ports from floods, and frontends without `xdp` bind {ports}")]
    Listeners {
        /// Where the section begins.
        location: Location,
        /// How many ports they bind, for each family.
        ports: usize,
    },
    /// The pool cannot be made.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// Translated ports would meet the host's own connections.
    #[error(
        "source-ports {first}-{last} overlap the ports this host uses for its own connections ({local_first}-{local_last}) on {address}: \
         set other `source-ports` in [xdp], `source-addresses` the host does not use, or `sysctl net.ipv4.ip_local_port_range`"
    )]
    Ports {
        /// First translated port.
        first: u16,
        /// Last translated port.
        last: u16,
        /// First port of the host.
        local_first: u16,
        /// Last port of the host.
        local_last: u16,
        /// The address both would use.
        address: IpAddr,
    },
}

/// Gathers what the data plane is made with.
///
/// # Errors
/// What this machine lacks.
pub(crate) async fn gather(config: &Config) -> Result<Setup, Error> {
    let xdp = config.xdp().ok_or(Error::NoXdp)?;
    let interfaces = find_interfaces(xdp).await?;
    let host = host_addresses(xdp, &interfaces).await?;
    let pool = make_pool(config, xdp, &host)?;
    require_cookies(config)?;
    require_sources(config, &pool)?;
    note_foreign_services(config);
    Ok(Setup {
        pin: (**xdp.pin()).clone(),
        interfaces,
        mode: xdp.mode(),
        rings: rings(config),
        flows: xdp.flows().next_power_of_two().max(FLOW_WAYS as u32),
        hash_key: xdp.hash_key(),
        host,
        pool,
    })
}

/// Returns how many slots all rings shall have, rather than what is there.
pub(crate) fn rings(config: &Config) -> Rings {
    if let Some(slots) = config.xdp().and_then(Xdp::rings) {
        return Rings::Exactly(slots.next_multiple_of(LINE_SLOTS as u32));
    }
    let slots = |frontend: &Frontend| {
        let size = frontend.xdp().map_or(0, |xdp| u64::from(xdp.ring()));
        size * service_keys(frontend).count() as u64
    };
    // As much again for what a reload may bring.
    let needed = 2 * config.frontends().iter().map(slots).sum::<u64>();
    let needed = u32::try_from(needed).unwrap_or(MOST_SLOTS).min(MOST_SLOTS).next_multiple_of(LINE_SLOTS as u32);
    Rings::AtFirst(needed.max(RING_LINES * LINE_SLOTS as u32))
}

/// As many slots as l4d makes by itself: 1 GiB of them.
const MOST_SLOTS: u32 = 1 << 28;

async fn find_interfaces(xdp: &Xdp) -> Result<Vec<Interface>, Error> {
    let mut interfaces = Vec::new();
    for name in xdp.interfaces() {
        let failed = |error| Error::Interface { name: name.clone(), error };
        let index = interface_index(name).await.map_err(failed)?;
        let (address, mtu) = interface_link(index).await.map_err(failed)?;
        if Lane(index).vlan() != 0 {
            return Err(Error::Index { name: name.clone(), index });
        }
        interfaces.push(Interface { name: (**name).clone(), index, address, mtu });
    }
    Ok(interfaces)
}

async fn host_addresses(xdp: &Xdp, interfaces: &[Interface]) -> Result<Vec<IpAddr>, Error> {
    let mut addresses = Vec::new();
    for (interface, name) in interfaces.iter().zip(xdp.interfaces()) {
        let failed = |error| Error::Interface { name: name.clone(), error };
        let vlans = vlan_devices(&[interface.index]).await.map_err(failed)?;
        addresses.extend(addresses_of(&[interface.index], &vlans).await.map_err(failed)?);
    }
    Ok(addresses)
}

/// Returns the addresses of interfaces and of their VLANs.
pub(crate) async fn addresses_of(interfaces: &[u32], vlans: &[VlanDevice]) -> Result<Vec<IpAddr>, interface::Error> {
    let mut addresses = Vec::new();
    for index in interfaces.iter().copied().chain(vlans.iter().map(|vlan| vlan.ifindex)) {
        addresses.extend(interface_addresses(index).await?);
    }
    Ok(addresses)
}

fn make_pool(config: &Config, xdp: &Xdp, host: &[IpAddr]) -> Result<Pool, Error> {
    let configured: Vec<IpAddr> = xdp.source_addresses().iter().map(|address| **address).collect();
    let virtual_addresses: Vec<IpAddr> = config.frontends().iter().filter(|f| f.xdp().is_some()).flat_map(service_ips).collect();
    let addresses: Vec<IpAddr> = if configured.is_empty() {
        host.iter().filter(|address| !virtual_addresses.contains(address)).copied().collect()
    } else {
        configured
    };
    let shared = addresses.iter().find(|address| host.contains(address)).copied();
    let (local_first, local_last) = local_ports();
    let ports = match xdp.source_ports() {
        Some(range) => Ports { first: range.first(), shift: range.count().ilog2() },
        None if shared.is_some_and(|_| Ports::DEDICATED.overlaps(local_first, local_last)) => Ports::SHARED,
        None => Ports::DEDICATED,
    };
    if let Some(address) = shared
        && ports.overlaps(local_first, local_last)
    {
        return Err(Error::Ports { first: ports.first, last: ports.last(), local_first, local_last, address });
    }
    let pool = Pool::new(addresses, ports)?;
    let listed: Vec<String> = pool.addresses().map(|address| address.to_string()).collect();
    info!("nat: {} flows at most, from {} ports {}-{}", pool.capacity(), listed.join(" "), ports.first, ports.last());
    Ok(pool)
}

fn service_ips(frontend: &Frontend) -> impl Iterator<Item = IpAddr> + '_ {
    service_keys(frontend).map(|key| key.socket.ip())
}

fn require_sources(config: &Config, pool: &Pool) -> Result<(), Error> {
    for frontend in config.frontends() {
        let nat = frontend.xdp().is_some_and(|xdp| xdp.forward() == control::config::Forward::Nat);
        if let Some(ip) = service_ips(frontend).find(|ip| nat && !pool.serves(*ip)) {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(Error::NoSource { frontend: frontend.name().to_owned(), family });
        }
    }
    Ok(())
}

/// As many ports are kept from floods: they share a table with services.
const MOST_LISTENERS: usize = 1024;

/// Refuses cookies for more ports than there is room for, and where the host's own would not be given at any time: it takes none while it
/// does not give any.
///
/// # Errors
/// [`Error::Listeners`], [`Error::Cookies`].
pub(crate) fn require_cookies(config: &Config) -> Result<(), Error> {
    let Some(xdp) = config.xdp().filter(|xdp| xdp.syn_cookies().is_some()) else { return Ok(()) };
    let ports = listeners(config, &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]).len();
    if ports > MOST_LISTENERS {
        return Err(Error::Listeners { location: xdp.location().clone(), ports });
    }
    let always = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").is_ok_and(|text| text.trim() == "2");
    if always { Ok(()) } else { Err(Error::Cookies { location: xdp.location().clone() }) }
}

/// Says which service addresses this host does not answer for, since their packets must be routed here by other means.
fn note_foreign_services(config: &Config) {
    let accelerated = config.frontends().iter().filter(|frontend| frontend.xdp().is_some());
    let services: BTreeSet<IpAddr> = accelerated.flat_map(service_ips).collect();
    // Only an address of this host can be bound to.
    for ip in services.into_iter().filter(|ip| UdpSocket::bind((*ip, 0)).is_err()) {
        info!(
            "{ip} is no address of this host: packets for it must be routed here, or `ip address add {ip} dev INTERFACE` makes this host answer for it"
        );
    }
}

/// Returns the range of ports the host takes for its own connections; Linux's default where it cannot be read.
fn local_ports() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => (first, last),
        _ => (32_768, 60_999),
    }
}
