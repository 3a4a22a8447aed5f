//! How servers' names become addresses, and the sections of servers of the DNS that are asked.

use super::backend::last;
use super::{Resolver, dangling};
use crate::config::location::Located;
use crate::config::model::{Family, InitAddress, Naming, Resolvers};
use crate::config::value::naming;
use crate::config::written::{self, ServerSettings};
use crate::file;

/// Returns the sections, after a look at each.
pub(super) fn sections(resolver: &mut Resolver) -> Vec<Resolvers> {
    let sections = std::mem::take(&mut resolver.resolvers);
    for section in sections.iter().filter(|section| section.nameservers.is_empty()) {
        let message = format!("resolvers `{}` has no nameserver", section.name());
        resolver.warning(section.location(), message, "nobody is ever asked");
    }
    sections
}

/// Makes the part of a server that is about its name.
pub(super) fn naming(resolver: &mut Resolver, server: &written::Server, layers: &[&ServerSettings]) -> Naming {
    let resolvers = last(layers, |settings| settings.naming.resolvers.clone());
    if let Some(name) = &resolvers {
        find(resolver, name);
    }
    let service = server.address.as_ref().and_then(|address| Some((address, address.named()?.service()?)));
    if let Some((address, service)) = service.filter(|_| resolvers.is_none()) {
        let message = format!("`{service}` is a service, and nobody is asked for its records");
        resolver.error(address.location(), message, "write resolvers = \"NAME\"");
    }
    Naming {
        resolvers,
        init: last(layers, |settings| settings.naming.init.clone()).unwrap_or_else(|| vec![InitAddress::Last, InitAddress::Libc]),
        prefer: last(layers, |settings| settings.naming.prefer).unwrap_or(Family::V6),
        networks: last(layers, |settings| settings.naming.networks.clone()).unwrap_or_default(),
        options: last(layers, |settings| settings.naming.options).unwrap_or_default(),
    }
}

/// Checks that there is such a section; that of the system need not be written.
fn find(resolver: &mut Resolver, name: &Located<String>) {
    if resolver.resolvers.iter().any(|known| known.name() == name.as_str()) {
        return;
    }
    let of_system = || naming::system(&file::read_text(SYSTEM.as_ref(), LARGEST).unwrap_or_default());
    let nameservers = if name.as_str() == DEFAULT { of_system() } else { Vec::new() };
    if !nameservers.is_empty() {
        return resolver.resolvers.push(Resolvers { nameservers, ..Resolvers::new(name.clone()) });
    }
    let known: Vec<_> = resolver.resolvers.iter().map(|known| known.name.clone()).collect();
    let diagnostic = dangling("section resolvers", name, &known);
    resolver.found.push(diagnostic);
}

/// The section that asks whom the system asks, where it is not written otherwise.
const DEFAULT: &str = "default";
const SYSTEM: &str = "/etc/resolv.conf";
const LARGEST: usize = 64 << 10;
