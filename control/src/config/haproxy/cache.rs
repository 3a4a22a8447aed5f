//! Sections `cache`: where answers of servers are kept.

use std::time::Duration;

use super::line::{Line, unknown};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::Cache;
use crate::config::value::text;

/// Keywords of the section.
pub(super) const KEYWORDS: [&str; 5] = ["max-age", "max-object-size", "max-secondary-entries", "process-vary", "total-max-size"];

/// Begins a section `cache NAME`.
pub(super) fn section(line: &mut Line, others: &[Cache]) -> Result<Cache, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    if let Some(other) = others.iter().find(|other| other.name.value() == name.value()) {
        let error = Diagnostic::error(name.location(), format!("there is a cache `{name}` already"));
        return Err(error.hint(format!("{}:{}", other.location().file(), other.location().line())));
    }
    Ok(Cache::new(name))
}

/// Reads a line of a section `cache`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, cache: &mut Cache) -> Result<(), Diagnostic> {
    match keyword.as_str() {
        "max-age" => cache.max_age = Duration::from_secs(u64::from(*line.integer(1..=LONGEST)?)),
        "max-object-size" => cache.largest = Some(line.integer(1..=u64::from(u32::MAX))?),
        "max-secondary-entries" => cache.variants = *line.integer(1..=u32::MAX)?,
        "process-vary" => {
            let word = line.expect("`on` or `off`")?;
            cache.varies = match word.as_str() {
                "on" => true,
                "off" => false,
                _ => return Err(unknown(&word, "`process-vary`", &["off", "on"], &[])),
            };
        }
        "total-max-size" => cache.size = u64::from(*line.integer(1..=LARGEST)?) << 20,
        _ => return Err(unknown(keyword, "section `cache`", &KEYWORDS, &[])),
    }
    line.finish()
}

/// The largest cache, in megabytes.
const LARGEST: u32 = 4095;
/// The longest time an answer is kept, in seconds.
const LONGEST: u32 = i32::MAX.unsigned_abs();
