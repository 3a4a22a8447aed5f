//! Sections `[table.NAME]`.

use super::reader::Reader;
use super::section::Section;
use crate::config::location::Located;
use crate::config::value::table as value;
use crate::config::written::Table;

pub(super) fn table(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Table {
    let key = section.require(reader, "type", "\"ip\"").and_then(|item| reader.text(&item, "ip", value::key));
    let table = Table {
        name,
        key: key.map(|key| *key),
        size: section.require(reader, "size", "\"100k\"").and_then(|item| reader.size(&item, 1..=MOST_ENTRIES)),
        expire: section.take("expire").and_then(|item| reader.period(&item)),
        nopurge: section.take("nopurge").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        store: section.take("store").map(|item| reader.texts(&item, "conn_cur", value::stored)).unwrap_or_default(),
    };
    section.finish(reader, &["brates-factor", "peers", "recv-only", "srvkey", "write-to"]);
    table
}

/// As many as one entry of 64 bytes each fills 256 GiB with; more is surely a mistake.
const MOST_ENTRIES: u64 = 1 << 32;
