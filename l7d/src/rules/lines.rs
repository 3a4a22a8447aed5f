//! What the lines of a frontend look like: for every target, or for those that have a profile.

use control::config::{self, Diagnostic, LogProfile, Mode, Occasion};

use super::Format;
use super::names::Names;

/// The formats of the lines of a frontend.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Of every exchange; none where only new connections are told of.
    usual: Option<Format>,
    /// Of exchanges that failed, where that differs.
    error: Option<Format>,
    /// Of the structured data of RFC 5424.
    structured: Option<Format>,
    /// For targets with a profile, by its place in the configuration; none where no target has it.
    profiles: Box<[Option<Profile>]>,
}

/// The formats for targets with a profile.
type Profile = Box<[(Occasion, Change)]>;

/// What a profile makes of a line.
#[derive(Debug)]
enum Change {
    /// There is none.
    Dropped,
    /// Other formats, where it has any.
    Formats { line: Option<Format>, structured: Option<Format> },
}

/// What one line looks like, and its structured data.
pub(crate) type Chosen<'a> = (&'a Format, Option<&'a Format>);

impl Lines {
    /// Reads formats; returns what is wrong with some of them, too.
    pub(super) fn of(model: &config::Logging, profiles: &[LogProfile], (names, mode): (&mut Names, Mode)) -> (Self, Vec<Diagnostic>) {
        let mut errors = Vec::new();
        let mut keep = |read: Result<Format, Diagnostic>| read.map_err(|error| errors.push(error)).ok();
        let usual = model.line().and_then(|line| keep(Format::of_lines(line, names, mode)));
        let error = model.error_line().and_then(|line| keep(Format::of_line(line, names, mode)));
        let structured = model.structured().and_then(|line| keep(Format::of_line(line, names, mode)));
        let mut change = |line: &config::ProfileLine| {
            let formats = Change::Formats {
                line: line.format().and_then(|format| keep(Format::of_lines(&config::LineFormat::Text(format.clone()), names, mode))),
                structured: line.structured().and_then(|format| keep(Format::of_line(format, names, mode))),
            };
            (line.occasion(), if line.is_dropped() { Change::Dropped } else { formats })
        };
        let profiles = profiles.iter().map(|profile| {
            let is_used = model.profiles().any(|name| name == profile.name());
            is_used.then(|| profile.lines().iter().map(&mut change).collect())
        });
        let profiles = profiles.collect();
        (Self { usual, error, structured, profiles }, errors)
    }

    /// Returns what a line for targets of a profile looks like, on the first of these occasions that is known; none if there is no line.
    pub(crate) fn choose(&self, profile: Option<usize>, occasions: &[Occasion]) -> Option<Chosen<'_>> {
        let usual = self.error.as_ref().filter(|_| occasions.contains(&Occasion::Error)).or(self.usual.as_ref());
        let profile = profile.and_then(|place| self.profiles.get(place)?.as_ref());
        let find = |profile: &'_ Profile, wanted: &Occasion| profile.iter().position(|(occasion, _)| occasion == wanted);
        let change = profile.and_then(|profile| Some(&profile[occasions.iter().find_map(|wanted| find(profile, wanted))?].1));
        match change {
            None => Some((usual?, self.structured.as_ref())),
            Some(Change::Dropped) => None,
            Some(Change::Formats { line, structured }) => {
                Some((line.as_ref().or(usual)?, structured.as_ref().or(self.structured.as_ref())))
            }
        }
    }

    /// Tells whether any shows addresses of connections beside the client's.
    pub(crate) fn asks_ends(&self) -> bool {
        self.all().any(Format::asks_ends)
    }

    /// Tells whether any numbers exchanges or lines.
    pub(crate) fn asks_numbers(&self) -> bool {
        self.all().any(Format::asks_numbers)
    }

    fn all(&self) -> impl Iterator<Item = &Format> {
        let own = [&self.usual, &self.error, &self.structured].into_iter().flatten();
        let changes = self.profiles.iter().flatten().flat_map(|profile| profile.iter().map(|(_, change)| change));
        own.chain(
            changes
                .flat_map(|change| match change {
                    Change::Dropped => [None, None],
                    Change::Formats { line, structured } => [line.as_ref(), structured.as_ref()],
                })
                .flatten(),
        )
    }
}
