//! On what it depends whether a variable is set: the conditions behind its name.

use crate::rules::sample::Sample;
use crate::rules::view::{Lifetime, VariableId, View};

/// On what it depends whether a variable is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum When {
    /// It is there, or not; those of the process always are.
    Exists(bool),
    /// The new value is a text without a byte, or anything else.
    Empty(bool),
    /// It has a value, or none.
    Set(bool),
    /// Its value is greater than the new one, as far as both are numbers.
    Greater,
    /// Its value is less than the new one, as far as both are numbers.
    Less,
}

/// Conditions by their names.
const NAMES: [(&str, When); 8] = [
    ("ifexists", When::Exists(true)),
    ("ifnotexists", When::Exists(false)),
    ("ifempty", When::Empty(true)),
    ("ifnotempty", When::Empty(false)),
    ("ifset", When::Set(true)),
    ("ifnotset", When::Set(false)),
    ("ifgt", When::Greater),
    ("iflt", When::Less),
];

impl When {
    /// Returns the condition of a name.
    ///
    /// # Errors
    /// Says that there is none.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, when)| *when);
        found.ok_or_else(|| format!("`{name}` is no condition of a variable: {}", NAMES.map(|(known, _)| known).join(", ")))
    }

    /// Tells whether it holds for a variable that is to get a value.
    pub(super) fn holds(self, view: &View<'_>, id: VariableId, value: &Sample<'_>) -> bool {
        let numbers = || match (view.variable(id), value) {
            (Some(Sample::Int(before)), Sample::Int(value)) => Some((before, *value)),
            _ => None,
        };
        match self {
            Self::Exists(wanted) => wanted == (id.lifetime == Lifetime::Process || view.variable(id).is_some()),
            Self::Empty(wanted) => wanted == matches!(value, Sample::Text(text) | Sample::Binary(text) if text.is_empty()),
            Self::Set(wanted) => wanted == view.variable(id).is_some(),
            Self::Greater => numbers().is_none_or(|(before, value)| before > value),
            Self::Less => numbers().is_none_or(|(before, value)| before < value),
        }
    }
}
