//! Sections `[cache.NAME]`: where answers of servers are kept.

use super::reader::Reader;
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::Cache;

/// Reads a section.
pub(super) fn cache(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Cache {
    let mut cache = Cache::new(name);
    if let Some(size) = section.take("total-max-size").and_then(|item| reader.size(&item, 1 << 20..=LARGEST)) {
        cache.size = size;
    }
    if let Some(item) = section.take("max-object-size") {
        let largest = reader.size(&item, 1..=u64::from(u32::MAX));
        cache.largest = largest.map(|largest| Located::new(largest, item.location.clone()));
    }
    if let Some(age) = section.take("max-age").and_then(|item| reader.period(&item)) {
        cache.max_age = age;
    }
    if let Some(varies) = section.take("process-vary").and_then(|item| reader.boolean(&item)) {
        cache.varies = varies;
    }
    if let Some(variants) = section.take("max-secondary-entries").and_then(|item| reader.integer(&item, 1..=u32::MAX, 10)) {
        cache.variants = variants;
    }
    section.finish(reader, &[]);
    cache
}

/// The largest cache, in bytes.
const LARGEST: u64 = 4095 << 20;
