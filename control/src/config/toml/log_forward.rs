//! Sections `[log-forward.NAME]`: log lines of others, where they come in and where they go.

use super::reader::Reader;
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::LogForward;
use crate::config::value::{address, text};

/// Reads a section.
pub(super) fn log_forward(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> LogForward {
    let mut forward = LogForward::new(name);
    for (key, place) in [("bind", &mut forward.binds), ("dgram-bind", &mut forward.datagrams)] {
        if let Some(item) = section.take(key) {
            *place = reader.texts(&item, "0.0.0.0:514", address::endpoint);
        }
    }
    if let Some(item) = section.take("log") {
        forward.logging.targets = reader.texts(&item, "192.0.2.9:514 local0", text::not_empty);
    }
    if let Some(maxconn) = section.take("maxconn").and_then(|item| reader.integer(&item, 1..=1_000_000, 10)) {
        forward.maxconn = maxconn;
    }
    forward.backlog = section.take("backlog").and_then(|item| reader.integer(&item, 1..=u16::MAX, 128));
    if let Some(item) = section.take("timeout")
        && let Some(mut inner) = reader.section(&item, "`timeout` of a section log-forward", "{ client = \"10s\" }")
    {
        forward.patience = inner.take("client").and_then(|item| reader.period(&item));
        inner.finish(reader, &[]);
    }
    section.finish(reader, &[]);
    forward
}
