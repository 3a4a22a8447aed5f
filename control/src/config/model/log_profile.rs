//! Profiles: what the lines for some targets look like, by what they tell.

use crate::config::location::{Located, Location};

/// A step of an exchange that a line may be written at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStep {
    /// The client is there; in mode http with the head of a request.
    Accept,
    /// The request went through the rules of the frontend.
    Request,
    /// There is a connection to a server.
    Connect,
    /// The head of the response went through all rules.
    Response,
    /// The end.
    Close,
}

impl LogStep {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Accept, Self::Request, Self::Connect, Self::Response, Self::Close];
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A step.
    At(LogStep),
    /// An exchange that failed.
    Error,
    /// Whatever nothing else is said of.
    Any,
}

/// What the lines for some targets look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProfile {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) tag: Option<Located<String>>,
    /// Invariant: one for each occasion at most.
    pub(in crate::config) lines: Vec<ProfileLine>,
}

/// What the lines on one occasion look like; what it does not say is as it is without the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileLine {
    pub(in crate::config) occasion: Occasion,
    pub(in crate::config) dropped: bool,
    pub(in crate::config) format: Option<Located<String>>,
    pub(in crate::config) structured: Option<Located<String>>,
}

impl LogProfile {
    /// Begins a profile of which nothing is known but its name.
    pub(in crate::config) fn new(name: Located<String>) -> Self {
        Self { name, tag: None, lines: Vec::new() }
    }

    /// Takes what is said of an occasion; of several times the last one counts.
    pub(in crate::config) fn set(&mut self, line: ProfileLine) {
        self.lines.retain(|known| known.occasion != line.occasion);
        self.lines.push(line);
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is named.
    pub fn location(&self) -> &Location {
        self.name.location()
    }

    /// Returns the name of the program in the headers of lines, where that differs.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_ref().map(|tag| tag.as_str())
    }

    /// Returns what is said of occasions.
    pub fn lines(&self) -> &[ProfileLine] {
        &self.lines
    }
}

impl ProfileLine {
    /// Begins with an occasion of which nothing is said.
    pub(in crate::config) fn new(occasion: Occasion) -> Self {
        Self { occasion, dropped: false, format: None, structured: None }
    }

    /// Returns what it is about.
    pub fn occasion(&self) -> Occasion {
        self.occasion
    }

    /// Tells whether there is no line at all.
    pub fn is_dropped(&self) -> bool {
        self.dropped
    }

    /// Returns what the line looks like, where that differs.
    pub fn format(&self) -> Option<&Located<String>> {
        self.format.as_ref()
    }

    /// Returns what goes into the structured data of RFC 5424, where that differs.
    pub fn structured(&self) -> Option<&Located<String>> {
        self.structured.as_ref()
    }
}
