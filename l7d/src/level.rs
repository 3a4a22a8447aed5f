//! How much a line of the log matters, as syslog counts it.

/// How much a line of the log matters; lesser ones come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The system is unusable.
    Emergency,
    /// Something must be done at once.
    Alert,
    /// Something has failed that others need.
    Critical,
    /// Something has failed.
    Error,
    /// Something will fail if nothing is done.
    Warning,
    /// Something that happens seldom.
    Notice,
    /// What happens all the time.
    Information,
    /// What only developers want to know.
    Debug,
}

impl Level {
    /// All of them, the gravest first.
    const ALL: [(&str, Self); 8] = [
        ("emerg", Self::Emergency),
        ("alert", Self::Alert),
        ("crit", Self::Critical),
        ("err", Self::Error),
        ("warning", Self::Warning),
        ("notice", Self::Notice),
        ("info", Self::Information),
        ("debug", Self::Debug),
    ];

    /// Returns the level of a number, of which all beyond the last are the last.
    pub(crate) fn numbered(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).map_or(Self::Debug, |(_, level)| *level)
    }

    /// Returns the level of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }

    /// Returns the names of all, the gravest first.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }
}
