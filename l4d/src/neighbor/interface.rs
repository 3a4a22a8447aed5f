//! Single questions about an interface, each asked over its own short-lived socket.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums are open, and few of their variants concern us")]

use std::net::IpAddr;

use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
};
use rustix::io::Errno;
use xdp_common::lane::Lane;

pub(crate) use super::netlink::Error;
use super::{
    Mac,
    netlink::{Requests, collect, vlan},
};

/// Returns the index of the interface of this name.
///
/// # Errors
///
/// If there is none, or the kernel cannot be asked.
pub(crate) async fn interface_index(name: &str) -> Result<u32, Error> {
    let requests = Requests::open()?;
    let request = requests.handle().link().get().match_name(name);
    Ok(only(collect(request.execute()).await, name)?.header.index)
}

/// Returns the MAC of an interface and its MTU.
///
/// # Errors
///
/// If it has no MAC, there is no such interface, or the kernel cannot be asked.
pub(crate) async fn interface_link(ifindex: u32) -> Result<(Mac, u16), Error> {
    let requests = Requests::open()?;
    let request = requests.handle().link().get().match_index(ifindex);
    let link = only(collect(request.execute()).await, &ifindex.to_string())?;
    mac(&link).map(|mac| (mac, mtu(&link))).ok_or(Error::NotEthernet(ifindex))
}

fn mac(link: &LinkMessage) -> Option<Mac> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) if link.header.link_layer_type == LinkLayerType::Ether => address.as_slice().try_into().ok(),
        _ => None,
    })
}

fn mtu(link: &LinkMessage) -> u16 {
    let mtu = link.attributes.iter().find_map(|attribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None });
    // Longer packets than a length field can say do not exist.
    mtu.map_or(0, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// A VLAN with a device of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VlanDevice {
    /// The device's index.
    pub(crate) ifindex: u32,
    /// Where its frames are seen.
    pub(crate) lane: Lane,
    /// The device's MAC.
    pub(crate) mac: Mac,
    /// Its MTU.
    pub(crate) mtu: u16,
}

/// Returns the VLANs of some interfaces, those aside that are VLANs within VLANs or tagged by 802.1ad.
///
/// # Errors
///
/// If the kernel cannot be asked.
pub(crate) async fn vlan_devices(parents: &[u32]) -> Result<Vec<VlanDevice>, Error> {
    let requests = Requests::open()?;
    let links = collect(requests.handle().link().get().execute()).await?;
    Ok(links.iter().filter_map(vlan_device).filter(|vlan| parents.contains(&vlan.lane.interface())).collect())
}

fn vlan_device(message: &LinkMessage) -> Option<VlanDevice> {
    let vlan = vlan(message)?;
    let lane = Lane::tagged(vlan.parent, vlan.id?)?;
    let up = message.header.flags.contains(LinkFlags::Up);
    up.then_some(VlanDevice { ifindex: message.header.index, lane, mac: mac(message)?, mtu: mtu(message) })
}

/// Returns the addresses of an interface that packets to other networks may carry as their source, in the kernel's order.
///
/// # Errors
///
/// If the kernel cannot be asked.
pub(crate) async fn interface_addresses(ifindex: u32) -> Result<Vec<IpAddr>, Error> {
    let requests = Requests::open()?;
    let request = requests.handle().address().get().set_link_index_filter(ifindex);
    Ok(collect(request.execute()).await?.iter().filter_map(source_address).collect())
}

fn only(links: Result<Vec<LinkMessage>, Error>, name: &str) -> Result<LinkMessage, Error> {
    let missing = || Error::NoInterface(name.to_owned());
    match links {
        Ok(links) => links.into_iter().next().ok_or_else(missing),
        Err(Error::Request(rtnetlink::Error::NetlinkError(error)))
            if Errno::from_raw_os_error(error.raw_code().saturating_abs()) == Errno::NODEV =>
        {
            Err(missing())
        }
        Err(error) => Err(error),
    }
}

fn source_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    // On a point-to-point link the address is the peer's, and the local one is our own.
    let ip = local.or(address)?;
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    // Among IPv6 addresses the secondary ones are the temporary ones, which the kernel replaces after some hours.
    let temporary = ip.is_ipv6() && flags.contains(AddressFlags::Secondary);
    (message.header.scope == AddressScope::Universe && !flags.intersects(unusable) && !temporary).then_some(ip)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoData, InfoKind, InfoVlan, LinkInfo, VlanProtocol};

    use super::*;

    fn message(ip: &str, scope: AddressScope, flags: AddressFlags) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.scope = scope;
        message.attributes = vec![AddressAttribute::Address(ip.parse().unwrap()), AddressAttribute::Flags(flags)];
        message
    }

    #[test]
    fn only_lasting_global_addresses_are_sources() {
        let none = AddressFlags::empty();
        for (what, ip, scope, flags, expected) in [
            ("global", "192.0.2.1", AddressScope::Universe, AddressFlags::Permanent, true),
            ("second of a prefix", "192.0.2.2", AddressScope::Universe, AddressFlags::Secondary, true),
            ("global IPv6", "2001:db8::1", AddressScope::Universe, none, true),
            ("link-local", "fe80::1", AddressScope::Link, none, false),
            ("loopback", "127.0.0.1", AddressScope::Host, none, false),
            ("temporary", "2001:db8::2", AddressScope::Universe, AddressFlags::Secondary, false),
            ("not yet checked", "2001:db8::3", AddressScope::Universe, AddressFlags::Tentative, false),
            ("a duplicate", "2001:db8::4", AddressScope::Universe, AddressFlags::Dadfailed, false),
            ("on its way out", "2001:db8::5", AddressScope::Universe, AddressFlags::Deprecated, false),
        ] {
            let address = source_address(&message(ip, scope, flags));
            assert_eq!(address, expected.then(|| ip.parse().unwrap()), "{what}");
        }
    }

    #[test]
    fn vlans_with_one_tag_of_their_own_have_a_lane() {
        let link = |protocol, id| {
            let mut link = LinkMessage::default();
            (link.header.index, link.header.flags, link.header.link_layer_type) = (9, LinkFlags::Up, LinkLayerType::Ether);
            let parts = vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)];
            link.attributes = vec![
                LinkAttribute::Link(4),
                LinkAttribute::Mtu(1496),
                LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(parts))]),
            ];
            link
        };
        let device = |id| VlanDevice { ifindex: 9, lane: Lane::tagged(4, id).unwrap(), mac: [2, 0, 0, 0, 0, 1], mtu: 1496 };
        assert_eq!(vlan_device(&link(VlanProtocol::Ieee8021Q, 20)), Some(device(20)));
        assert_eq!(vlan_device(&link(VlanProtocol::Ieee8021Ad, 20)), None, "tags that the program does not put on");
        let mut plain = link(VlanProtocol::Ieee8021Q, 20);
        plain.attributes.pop();
        assert_eq!(vlan_device(&plain), None, "no VLAN");
        let mut down = link(VlanProtocol::Ieee8021Q, 20);
        down.header.flags = LinkFlags::empty();
        assert_eq!(vlan_device(&down), None, "a device that is down");
    }

    #[test]
    fn own_end_of_a_point_to_point_link_is_the_source() {
        let mut message = message("192.0.2.9", AddressScope::Universe, AddressFlags::Permanent);
        message.attributes.push(AddressAttribute::Local("192.0.2.1".parse().unwrap()));
        assert_eq!(source_address(&message), Some("192.0.2.1".parse().unwrap()));
    }
}
