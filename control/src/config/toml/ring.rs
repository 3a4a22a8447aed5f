//! Sections `[ring.NAME]`: log lines kept in memory, and the servers they are sent on to.

use ::toml::de::DeValue;

use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::{Framing, Ring, RingServer};
use crate::config::value::{address, ring as value, text};

/// Reads a section.
pub(super) fn ring(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Ring {
    let mut ring = Ring::new(name);
    if let Some(item) = section.take("description") {
        ring.description = reader.text(&item, "What waits for the collector", text::not_empty).map(|text| text.value().clone());
    }
    ring.format = section.take("format").and_then(|item| reader.string(&item, "rfc5424"));
    if let Some(longest) = section.take("maxlen").and_then(|item| reader.integer(&item, value::LENGTHS, 1024)) {
        ring.longest = longest;
    }
    let size = section.take("size").and_then(|item| reader.size(&item, value::SIZES));
    if let Some(size) = size.and_then(|size| usize::try_from(size).ok()) {
        ring.size = size;
    }
    if let Some(item) = section.take("timeout")
        && let Some(mut inner) = reader.section(&item, "`timeout` of a ring", "{ connect = \"5s\", server = \"10s\" }")
    {
        for (key, place) in [("connect", &mut ring.connect), ("server", &mut ring.write)] {
            if let Some(period) = inner.take(key).and_then(|item| reader.period(&item)) {
                *place = period;
            }
        }
        inner.finish(reader, &[]);
    }
    if let Some(item) = section.take("server")
        && let Some(mut inner) = reader.section(&item, "`server` of a ring", "{ s1 = \"10.0.0.9:6514\" }")
    {
        ring.servers = inner.names().iter().filter_map(|item| server(reader, item)).collect();
    }
    section.finish(reader, &[]);
    ring
}

/// Reads a server: its address alone, or with how lines are told apart.
fn server(reader: &mut Reader, item: &Item<'_>) -> Option<RingServer> {
    let name = item.key.clone();
    if let DeValue::String(_) = item.value {
        let address = reader.text(item, "10.0.0.9:6514", address::endpoint)?;
        return Some(RingServer { name, address: *address, framing: Framing::Lines });
    }
    let mut inner = reader.section(item, format!("server `{}`", *name), "{ address = \"10.0.0.9:6514\", log-proto = \"octet-count\" }")?;
    let address =
        inner.require(reader, "address", "\"10.0.0.9:6514\"").and_then(|item| reader.text(&item, "10.0.0.9:6514", address::endpoint));
    let framing = inner.take("log-proto").and_then(|item| reader.text(&item, "octet-count", value::framing));
    inner.finish(reader, &[]);
    Some(RingServer { name, address: *address?, framing: framing.map_or(Framing::Lines, |framing| *framing) })
}
