//! Single questions about an interface, each asked over its own short-lived socket.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums are open, and few of their variants concern us")]

use std::net::IpAddr;

use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkLayerType, LinkMessage},
};
use rustix::io::Errno;

pub(crate) use super::netlink::Error;
use super::{
    Mac,
    netlink::{Requests, collect},
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
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) if link.header.link_layer_type == LinkLayerType::Ether => address.as_slice().try_into().ok(),
        _ => None,
    });
    let mtu = link.attributes.iter().find_map(|attribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None });
    // Longer packets than a length field can say do not exist.
    let mtu = mtu.map_or(0, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
    mac.map(|mac| (mac, mtu)).ok_or(Error::NotEthernet(ifindex))
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
    fn own_end_of_a_point_to_point_link_is_the_source() {
        let mut message = message("192.0.2.9", AddressScope::Universe, AddressFlags::Permanent);
        message.attributes.push(AddressAttribute::Local("192.0.2.1".parse().unwrap()));
        assert_eq!(source_address(&message), Some("192.0.2.1".parse().unwrap()));
    }
}
