//! What rings are said in.

use super::Mistake;
use crate::config::model::Framing;
use crate::config::suggest;

/// Reads how a stream of lines tells where they end.
pub(in crate::config) fn framing(text: &str) -> Result<Framing, Mistake> {
    let found = Framing::NAMES.iter().find(|(name, _)| *name == text).map(|(_, framing)| *framing);
    let names = Framing::NAMES.map(|(name, _)| name);
    found.ok_or_else(|| Mistake::new(format!("`{text}` is not a protocol of logs")).hint(suggest::hint(text, &names)))
}

/// How many bytes of lines a ring may keep.
pub(in crate::config) const SIZES: std::ops::RangeInclusive<u64> = 1024..=1 << 30;
/// How many bytes of a line a ring may keep.
pub(in crate::config) const LENGTHS: std::ops::RangeInclusive<usize> = 80..=65_535;
