//! Peers: where each of them is, and how TLS is spoken with it.

use std::net::SocketAddr;

use super::backend::last;
use super::{Resolver, log, tls};
use crate::config::location::Located;
use crate::config::model::{Peer, PeerAddress, Peers, ServerSource};
use crate::config::written::{self, ProxySwitch};

pub(super) fn peers(resolver: &mut Resolver, written: &written::Peers) -> Peers {
    let members = written.members.iter().map(|member| peer(resolver, written, member)).collect();
    let logging = log::of_peers(resolver, &written.log);
    let (binds, disabled, shards) = (written.binds.clone(), written.disabled, written.shards);
    Peers { name: written.name.clone(), members, binds, disabled, shards, logging }
}

fn peer(resolver: &mut Resolver, peers: &written::Peers, written: &written::Peer) -> Peer {
    let server = &written.server;
    let address = server.address.as_ref().and_then(|address| match (address.ip(), address.port(), address.unix()) {
        (Some(ip), Some(port), _) => Some(Located::new(PeerAddress::Inet(SocketAddr::new(ip, port)), address.location().clone())),
        (.., Some(unix)) => Some(Located::new(PeerAddress::Unix(unix.clone()), address.location().clone())),
        _ => {
            resolver.error(address.location(), format!("peer `{}` needs a port", server.name), "for example 10.0.0.2:1024");
            None
        }
    });
    let layers = [&peers.default_server, &server.settings];
    // Who has no address is this process, which does not connect to itself.
    let tls = address.as_ref().and_then(|_| tls::tls(resolver, server, &layers, None));
    if let Some(sni) = tls.as_ref().and_then(|tls| tls.sni()) {
        resolver.error(sni.location(), "peers are not asked for a host", "leave out `sni`");
    }
    let shard = written.shard.as_ref().map_or(0, |shard| {
        if **shard > peers.shards {
            let message = format!("shard {} of peer `{}` is none of {}, and means nothing", **shard, server.name, peers.shards);
            resolver.warning(shard.location(), message, "write `shards` into the section, or leave out `shard`");
            return 0;
        }
        **shard
    });
    let source = last(&layers, |settings| settings.source.clone());
    if let Some(source) = source.as_ref().filter(|source| source.value().guise().is_some()) {
        let message = format!("peer `{}` is asked on behalf of no client, and sees this host", server.name);
        resolver.error(source.location(), message, "leave out `usesrc`");
    }
    let source = source.map(|source| source.value().clone());
    if let Some((source, address)) = source.as_ref().and_then(ServerSource::ip).zip(address.as_ref())
        && let PeerAddress::Inet(inet) = address.value()
        && source.is_ipv4() != inet.is_ipv4()
    {
        let message = format!("peer `{}` is of another family than its source {source}", server.name);
        resolver.error(address.location(), message, "write a source of its own for the peer");
    }
    let send_proxy = match last(&layers, |settings| settings.send_proxy) {
        Some(ProxySwitch::On(version)) => Some(version),
        Some(ProxySwitch::Off) | None => None,
    };
    Peer { name: server.name.clone(), address, bind: written.bind.clone(), tls, source, send_proxy, shard }
}
