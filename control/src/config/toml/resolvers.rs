//! Sections `[resolvers.NAME]`, and what servers say of their names.

use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{NamingOptions, Resolvers};
use crate::config::value::naming;
use crate::config::written::NamingSettings;
use crate::file;

/// Reads a section.
pub(super) fn resolvers(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Resolvers {
    let mut resolvers = Resolvers::new(name);
    nameservers(reader, &mut section, &mut resolvers);
    if let Some(payload) = section.take("accepted-payload-size").and_then(|item| reader.integer(&item, 512..=u16::MAX, 4096)) {
        resolvers.payload = payload;
    }
    if let Some(retries) = section.take("resolve-retries").and_then(|item| reader.integer(&item, 1..=MOST_RETRIES, 3)) {
        resolvers.retries = retries;
    }
    if let Some(item) = section.take("timeout")
        && let Some(mut inner) = reader.section(&item, "`timeout` of resolvers", "{ resolve = \"1s\", retry = \"1s\" }")
    {
        for (key, place) in [("resolve", &mut resolvers.resolve), ("retry", &mut resolvers.retry)] {
            if let Some(period) = inner.take(key).and_then(|item| reader.period(&item)) {
                *place = period;
            }
        }
        inner.finish(reader, &[]);
    }
    if let Some(item) = section.take("hold")
        && let Some(mut inner) = reader.section(&item, "`hold`", "{ valid = \"10s\", obsolete = \"30s\" }")
    {
        let hold = &mut resolvers.hold;
        let places = [
            ("valid", &mut hold.valid),
            ("nx", &mut hold.nx),
            ("refused", &mut hold.refused),
            ("timeout", &mut hold.timeout),
            ("other", &mut hold.other),
            ("obsolete", &mut hold.obsolete),
        ];
        for (key, place) in places {
            if let Some(period) = inner.take(key).and_then(|item| reader.duration(&item)) {
                *place = period;
            }
        }
        inner.finish(reader, &[]);
    }
    section.finish(reader, &[]);
    resolvers
}

fn nameservers(reader: &mut Reader, section: &mut Section<'_>, resolvers: &mut Resolvers) {
    if let Some(item) = section.take("nameserver")
        && let Some(mut inner) = reader.section(&item, "`nameserver`", "{ dns1 = \"10.0.0.1:53\" }")
    {
        for item in inner.names() {
            let read = reader.text(&item, "10.0.0.1:53", |text| naming::nameserver(&item.key, text));
            resolvers.nameservers.extend(read.map(|nameserver| nameserver.value().clone()));
        }
    }
    let of_system = section.take("parse-resolv-conf").filter(|item| reader.boolean(item) == Some(true));
    if let Some(item) = of_system {
        match file::read_text(SYSTEM.as_ref(), LARGEST) {
            Err(error) => reader.push(Diagnostic::error(&item.location, format!("{SYSTEM}: {error}"))),
            Ok(text) => resolvers.nameservers.extend(naming::system(&text)),
        }
    }
}

/// Reads how the name of a server becomes an address.
pub(super) fn settings(reader: &mut Reader, section: &mut Section<'_>) -> NamingSettings {
    let options = section.take("resolve-opts").map(|item| options(reader, &item));
    NamingSettings {
        resolvers: section.take("resolvers").and_then(|item| reader.string(&item, "dns")),
        init: section.take("init-addr").map(|item| values(reader.texts(&item, "libc", naming::init))),
        prefer: section.take("resolve-prefer").and_then(|item| reader.text(&item, "ipv4", naming::family)).map(|family| *family.value()),
        networks: section.take("resolve-net").map(|item| values(reader.texts(&item, "10.0.0.0/8", crate::config::value::address::prefix))),
        options,
    }
}

fn options(reader: &mut Reader, item: &Item<'_>) -> NamingOptions {
    let mut options = NamingOptions::default();
    for element in reader.list(item) {
        if let Some(read) = reader.text(&element, "allow-dup-ip", |text| naming::option(options, text)) {
            options = *read.value();
        }
    }
    options
}

fn values<T: Clone>(found: Vec<Located<T>>) -> Vec<T> {
    found.into_iter().map(|found| found.value().clone()).collect()
}

const SYSTEM: &str = "/etc/resolv.conf";
const LARGEST: usize = 64 << 10;
const MOST_RETRIES: u32 = 100;
