//! Addresses that two frontends want.

use std::collections::HashMap;

use super::{Resolver, place, proxy};
use crate::config::model::{Bind, BindAddress, PortRange, Transport, UnixAddress};
use crate::config::written::Frontend;

/// Reports each address that is bound twice.
pub(super) fn compare(resolver: &mut Resolver, frontends: &[Frontend]) {
    let mut taken: HashMap<Key<'_>, Vec<(&Frontend, &Bind)>> = HashMap::new();
    let is_served = |frontend: &&Frontend| !proxy::is_disabled(&frontend.defaults.proxy, &frontend.proxy);
    for frontend in frontends.iter().filter(is_served) {
        for bind in &frontend.binds {
            let is_quic = bind.address().inet().is_some_and(|inet| inet.transport() == Transport::Quic);
            if is_quic && bind.tls().is_some_and(|tls| tls.client().overlooks()) {
                let message = "nothing can be overlooked in certificates on QUIC, whose engine does not tell of whose they are";
                resolver.error(bind.location(), message, "leave crt-ignore-err and ca-ignore-err to a bind over TCP");
            }
            let others = taken.entry(Key::of(bind)).or_default();
            let in_the_way = |owner: &Frontend, other: &Bind| overlap(bind, other) && !(in_kernel(frontend, owner) && nested(bind, other));
            if let Some((owner, other)) = others.iter().find(|(owner, other)| in_the_way(owner, other)) {
                let message = format!("bind {} is taken by frontend `{}`", bind.address(), owner.name);
                let hint = format!("{} in {}", other.address(), place(other.location()));
                resolver.error(bind.location(), message, hint);
            } else {
                others.push((frontend, bind));
            }
        }
    }
}

/// What binds must share to be in each other's way.
#[derive(PartialEq, Eq, Hash)]
enum Key<'b> {
    Inet(std::net::IpAddr, Option<&'b str>),
    Unix(&'b UnixAddress),
    Inherited(u16),
}

impl<'b> Key<'b> {
    fn of(bind: &'b Bind) -> Self {
        match bind.address() {
            BindAddress::Inet(inet) => Self::Inet(inet.ip(), bind.interface().map(|interface| interface.as_str())),
            BindAddress::Unix(address) => Self::Unix(address),
            BindAddress::Inherited(number) => Self::Inherited(*number),
        }
    }
}

fn in_kernel(one: &Frontend, other: &Frontend) -> bool {
    one.xdp.is_some() && other.xdp.is_some()
}

/// Tells whether all ports of one bind are among those of the other, which has more: the kernel tier gives them to the one with fewer.
fn nested(one: &Bind, other: &Bind) -> bool {
    let (Some(one), Some(other)) = (one.address().inet(), other.address().inet()) else { return false };
    let (one, other) = (one.ports(), other.ports());
    let holds = |outer: PortRange, inner: PortRange| outer.first() <= inner.first() && inner.last() <= outer.last();
    one != other && (holds(one, other) || holds(other, one))
}

fn overlap(one: &Bind, other: &Bind) -> bool {
    match (one.address(), other.address()) {
        (BindAddress::Inet(one), BindAddress::Inet(other)) => one.overlaps(other),
        (one, other) => one == other,
    }
}
