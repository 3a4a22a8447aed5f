//! Lookups in maps: a file of patterns, each with a value.

use std::num::NonZeroU32;
use std::sync::Arc;

use control::config::Diagnostic;

use crate::rules::argument::Call;
use crate::rules::names::Names;
use crate::rules::pattern::Case;
use crate::rules::sample::{Kind, Sample};
use crate::rules::store::{FileKind, Index, Way};

/// A lookup in a map.
#[derive(Debug)]
pub(in crate::rules) struct Map {
    index: Arc<Index>,
    takes: Kind,
    makes: Kind,
    /// What stands for a value where nothing matches.
    default: Option<Sample<'static>>,
}

/// Every name but for the type of the values.
pub(super) const NAMES: [(&str, Way, Kind); 12] = [
    ("map", Way::Str, Kind::Text),
    ("map_beg", Way::Beg, Kind::Text),
    ("map_dir", Way::Dir, Kind::Text),
    ("map_dom", Way::Dom, Kind::Text),
    ("map_end", Way::End, Kind::Text),
    ("map_int", Way::Int, Kind::Int),
    ("map_ip", Way::Ip, Kind::Address),
    ("map_len", Way::Len, Kind::Text),
    ("map_reg", Way::Reg, Kind::Text),
    ("map_regm", Way::RegGroups, Kind::Text),
    ("map_str", Way::Str, Kind::Text),
    ("map_sub", Way::Sub, Kind::Text),
];

const TYPES: [(&str, Kind); 3] = [("_str", Kind::Text), ("_int", Kind::Int), ("_ip", Kind::Address)];

impl Map {
    /// Makes the lookup of that name; none if it is no name of one.
    ///
    /// # Errors
    /// Says why the file cannot be read, or which line of it does not fit.
    pub(super) fn build(call: &Call<'_, '_>, names: &mut Names) -> Option<Result<Self, Diagnostic>> {
        let (way, takes, makes) = form(call.name)?;
        Some(Self::with(call, names, (way, takes, makes)))
    }

    fn with(call: &Call<'_, '_>, names: &mut Names, (way, takes, makes): (Way, Kind, Kind)) -> Result<Self, Diagnostic> {
        call.at_most(2)?;
        let name = call.required(0, "the name of a file")?;
        let file = names.patterns(&name.text, FileKind::Map).map_err(|message| call.error_in(name, message))?;
        let index = file.index(way, Case::Kept).map_err(|bad| call.error_in(name, bad.to_string()))?;
        let valued = if makes == Kind::Text { Vec::new() } else { file.entries() };
        for (_, entry) in &valued {
            if read(makes, &entry.value).is_none() {
                let line = entry.line.map_or(0, NonZeroU32::get);
                let message = format!("line {line} of the file: `{}` is not {}", entry.value.escape_ascii(), makes.name());
                return Err(call.error_in(name, message));
            }
        }
        let default = match call.arguments.get(1) {
            None => None,
            Some(argument) => {
                let wrong = || call.error_in(argument, format!("`{}` is not {}", argument.text, makes.name()));
                Some(read(makes, argument.text.as_bytes()).ok_or_else(wrong)?)
            }
        };
        Ok(Self { index, takes, makes, default })
    }

    pub(super) fn takes(&self) -> Kind {
        self.takes
    }

    pub(super) fn makes(&self) -> Kind {
        self.makes
    }

    pub(super) fn find<'v>(&'v self, sample: &Sample<'_>) -> Option<Sample<'v>> {
        match self.index.value(sample) {
            Some(value) if self.makes == Kind::Text => Some(Sample::Text(value)),
            Some(value) => read(self.makes, &value),
            None => self.default.as_ref().map(Sample::borrowed),
        }
    }
}

fn form(name: &str) -> Option<(Way, Kind, Kind)> {
    let known = |name: &str| NAMES.iter().find(|(known, _, _)| *known == name).map(|(_, way, takes)| (*way, *takes));
    if let Some((way, takes)) = known(name) {
        return Some((way, takes, Kind::Text));
    }
    let (base, makes) = TYPES.iter().find_map(|(suffix, makes)| Some((name.strip_suffix(suffix)?, *makes)))?;
    let (way, takes) = known(base).filter(|_| base != "map")?;
    Some((way, takes, makes))
}

fn read(kind: Kind, value: &[u8]) -> Option<Sample<'static>> {
    let text = || str::from_utf8(value).ok();
    match kind {
        Kind::Int | Kind::Bool => text()?.parse().ok().map(Sample::Int),
        Kind::Address => text()?.parse().ok().map(Sample::Address),
        Kind::Any | Kind::Text | Kind::Binary => Some(Sample::own(value.to_vec())),
    }
}
