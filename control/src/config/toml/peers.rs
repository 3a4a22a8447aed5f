//! Sections `[peers.NAME]`.

use ::toml::de::DeValue;

use super::reader::{Item, Reader};
use super::section::Section;
use super::{connection, frontend, table, tls};
use crate::config::location::Located;
use crate::config::value::{address, text};
use crate::config::written::{Peer, Peers, Server, ServerSettings, Table};

/// Reads a section, and the tables that stand in it.
pub(super) fn peers(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> (Peers, Vec<Table>) {
    let binds = section.take("bind").map(|item| reader.list(&item).iter().filter_map(|element| frontend::bind(reader, element)).collect());
    let default_server = section.take("default-server").and_then(|item| {
        let mut inner = reader.section(&item, "`default-server`", "{ tls = { ca = \"/etc/l7d/ca.pem\" } }")?;
        let settings = settings(reader, &mut inner);
        inner.finish(reader, &[]);
        Some(settings)
    });
    let members = members(reader, &mut section);
    let disabled = section.take("disabled").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let shared = section.named(reader, "table");
    let tables = shared.into_iter().map(|(table, section)| table::shared(reader, table, &name, section)).collect();
    let shards = section.take("shards").and_then(|item| reader.integer(&item, 1..=65_536, 3)).unwrap_or(0);
    let log = section.take("log").map(|item| reader.texts(&item, "127.0.0.1:514 local0", text::not_empty)).unwrap_or_default();
    section.finish(reader, &[]);
    let (binds, default_server) = (binds.unwrap_or_default(), default_server.unwrap_or_default());
    (Peers { name, default_server, members, binds, disabled, shards, log }, tables)
}

fn members(reader: &mut Reader, section: &mut Section<'_>) -> Vec<Peer> {
    let Some(item) = section.require(reader, "peer", "{ node1 = \"10.0.0.1:1024\" }") else { return Vec::new() };
    let Some(mut inner) = reader.section(&item, "`peer`", "{ node1 = \"10.0.0.1:1024\" }") else { return Vec::new() };
    let mut members = Vec::new();
    for item in inner.names() {
        if reader.name(&item.key, "a peer") {
            members.extend(member(reader, item));
        }
    }
    members
}

fn member(reader: &mut Reader, item: Item<'_>) -> Option<Peer> {
    let (at, own_bind, shard, settings) = match item.value {
        DeValue::String(_) => (Some(item.clone()), None, None, ServerSettings::default()),
        DeValue::Table(_) => {
            let mut section = reader.section(&item, format!("peer `{}`", *item.key), "{ … }")?;
            let at = section.take("address");
            let own_bind = section.take("bind").and_then(|item| frontend::bind(reader, &item));
            let shard = section.take("shard").and_then(|item| {
                let number = reader.integer(&item, 0..=65_536, 1)?;
                Some(Located::new(number, item.location))
            });
            let settings = settings(reader, &mut section);
            section.finish(reader, &[]);
            (at, own_bind, shard, settings)
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
            reader.wrong(&item, "an address or a table", &format!("{} = \"10.0.0.1:1024\"", *item.key));
            return None;
        }
    };
    let place = at.as_ref().and_then(|item| reader.text(item, "10.0.0.1:1024", address::peer));
    let located = place.map(|place| (place.location().clone(), place.value().clone()));
    let (address, bind) = match located {
        Some((at, (address, bind))) => (Some(Located::new(address, at.clone())), Some(frontend::plain_bind(Located::new(bind, at)))),
        None => (None, None),
    };
    let bind = own_bind.or(bind);
    Some(Peer { server: Server { name: item.key, address, settings }, bind, shard })
}

/// Reads how a peer is connected to.
fn settings(reader: &mut Reader, section: &mut Section<'_>) -> ServerSettings {
    let (source, send_proxy) = (connection::source(reader, section), connection::send_proxy(reader, section));
    ServerSettings { tls: tls::server(reader, section), source, send_proxy, ..ServerSettings::default() }
}
