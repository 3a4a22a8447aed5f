//! Sections `[table.NAME]`.

use super::reader::Reader;
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::ServerKey;
use crate::config::value::table as value;
use crate::config::written::Table;

pub(super) fn table(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Table {
    let peers = section.take("peers").and_then(|item| reader.string(&item, "cluster"));
    let table = Table { peers, ..settings(reader, name, &mut section) };
    section.finish(reader, &LATER);
    table
}

/// Reads a table that all peers of a section share.
pub(super) fn shared(reader: &mut Reader, name: Located<String>, peers: &Located<String>, mut section: Section<'_>) -> Table {
    let full = Located::new(format!("{}/{}", **peers, *name), name.location().clone());
    let table = Table { peers: Some(peers.clone()), shared_as: Some(format!("/{}", *name)), ..settings(reader, full, &mut section) };
    section.finish(reader, &LATER);
    table
}

const LATER: [&str; 1] = ["brates-factor"];

fn settings(reader: &mut Reader, name: Located<String>, section: &mut Section<'_>) -> Table {
    let key = section.require(reader, "type", "\"ip\"").and_then(|item| reader.text(&item, "ip", value::key));
    Table {
        key: key.map(|key| *key),
        size: section.require(reader, "size", "\"100k\"").and_then(|item| reader.size(&item, 1..=MOST_ENTRIES)),
        expire: section.take("expire").and_then(|item| reader.period(&item)),
        nopurge: section.take("nopurge").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        store: section.take("store").map(|item| reader.texts(&item, "conn_cur", value::stored)).unwrap_or_default(),
        srvkey: section.take("srvkey").and_then(|item| reader.text(&item, "addr", value::srvkey)).map_or(ServerKey::Name, |key| *key),
        write_to: section.take("write-to").and_then(|item| reader.string(&item, "clients")),
        recv_only: section.take("recv-only").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        sum_conn_cur: section.take("sum-conn-cur").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        ..Table::new(name)
    }
}

/// As many as one entry of 64 bytes each fills 256 GiB with; more is surely a mistake.
const MOST_ENTRIES: u64 = 1 << 32;
