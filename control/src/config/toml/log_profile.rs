//! Sections `[log-profile.NAME]`: what the lines for some targets look like.

use ::toml::de::DeValue;

use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::{LogProfile, ProfileLine};
use crate::config::value::word;

/// Reads a section.
pub(super) fn log_profile(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> LogProfile {
    let mut profile = LogProfile::new(name);
    profile.tag = super::log::tag(reader, &mut section);
    if let Some(item) = section.take("on")
        && let Some(mut inner) = reader.section(&item, "`on` of a log-profile", "{ close = \"%ci %ST\" }")
    {
        inner.names().iter().filter_map(|item| line(reader, item)).for_each(|line| profile.set(line));
    }
    section.finish(reader, &[]);
    profile
}

/// Reads what is said of one occasion: a format alone, or more.
fn line(reader: &mut Reader, item: &Item<'_>) -> Option<ProfileLine> {
    let occasion = reader.parse(&item.key, |text| word::OCCASION.read(text))?;
    let mut line = ProfileLine::new(*occasion);
    if let DeValue::String(_) = item.value {
        line.format = reader.string(item, "%ci %ST");
        return Some(line);
    }
    let mut inner = reader.section(item, format!("`on` of `{}`", *item.key), "{ format = \"%ci %ST\", sd = \"[x@1 s=\\\"%s\\\"]\" }")?;
    line.dropped = inner.take("drop").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    line.format = inner.take("format").and_then(|item| reader.string(&item, "%ci %ST"));
    line.structured = inner.take("sd").and_then(|item| reader.string(&item, "[x@1 s=\"%s\"]"));
    inner.finish(reader, &[]);
    Some(line)
}
