//! The key `compression` of frontends, backends and defaults.

use super::reader::Reader;
use super::section::Section;
use crate::config::value::{text, word};
use crate::config::written::Compression;

/// Settings HAProxy has for compression and this model has no place for: all of them concern requests.
const LATER: [&str; 4] = ["algo-req", "direction", "minsize-req", "type-req"];

pub(super) fn compression(reader: &mut Reader, section: &mut Section<'_>) -> Option<Compression> {
    let title = format!("`compression` of {}", section.title());
    let item = section.take("compression")?;
    let mut inner = reader.section(&item, title, "{ algo = [\"gzip\"] }")?;
    let codings = inner.take("algo").map(|item| reader.texts(&item, "gzip", |text| word::CODING.read(text))).unwrap_or_default();
    let types = inner.take("type").map(|item| reader.texts(&item, "text/html", text::not_empty)).unwrap_or_default();
    let compression = Compression {
        location: item.key.location().clone(),
        codings: codings.iter().map(|coding| *coding.value()).collect(),
        types: types.into_iter().map(|name| name.value().clone()).collect(),
        offload: inner.take("offload").and_then(|item| reader.boolean(&item)),
        least: inner.take("minsize-res").and_then(|item| reader.size(&item, 0..=MOST_LEAST)),
    };
    inner.finish(reader, &LATER);
    Some(compression)
}

/// More than any response that is compressed while somebody waits for it.
const MOST_LEAST: u64 = 1 << 40;
