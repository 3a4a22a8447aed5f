//! What is written about the traffic of a proxy, and where it goes.

use super::LogStep;
use crate::config::location::Located;

/// What is written about the traffic of a proxy, and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    pub(in crate::config) targets: Vec<Located<String>>,
    pub(in crate::config) line: Option<LineFormat>,
    pub(in crate::config) error_line: Option<Located<String>>,
    pub(in crate::config) structured: Option<Located<String>>,
    pub(in crate::config) tag: Option<Located<String>>,
    pub(in crate::config) steps: Option<Vec<LogStep>>,
}

/// What a line about a request or a connection looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// As `option httplog` says.
    Http,
    /// As `option httplog clf` says.
    HttpClf,
    /// As `option httpslog` says.
    Https,
    /// As `option tcplog` says.
    Tcp,
    /// As a text with variables and expressions says.
    Text(Located<String>),
}

impl Logging {
    /// Returns where lines go, as written.
    pub fn targets(&self) -> &[Located<String>] {
        &self.targets
    }

    /// Returns the names of the profiles that targets have.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| {
            let mut words = target.split_ascii_whitespace();
            words.find(|word| *word == "profile").and_then(|_| words.next())
        })
    }

    /// Tells whether a line is written at a step.
    pub fn is_at(&self, step: LogStep) -> bool {
        self.steps.as_ref().map_or(step == LogStep::Close, |steps| steps.contains(&step))
    }

    /// Returns what lines look like; none where only new connections are told of.
    pub fn line(&self) -> Option<&LineFormat> {
        self.line.as_ref()
    }

    /// Returns what lines about failures look like, where that differs.
    pub fn error_line(&self) -> Option<&Located<String>> {
        self.error_line.as_ref()
    }

    /// Returns what goes into the structured data of RFC 5424.
    pub fn structured(&self) -> Option<&Located<String>> {
        self.structured.as_ref()
    }

    /// Returns the name of the program in the headers of lines, where it is not the daemon's own.
    pub fn tag(&self) -> Option<&Located<String>> {
        self.tag.as_ref()
    }
}
