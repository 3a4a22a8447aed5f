//! What came of a single health check, in the words HAProxy's users know.

use std::fmt;
use std::time::Duration;

use crate::server_state::{Admin, Verdict};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckResult {
    /// The connection was made, and nothing more was wanted.
    Connected,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The connection was refused, or the server is not to be reached.
    ConnectFailed,
    /// TLS was agreed on, and nothing more was wanted.
    TlsAgreed,
    /// The handshake of TLS was not over in time.
    TlsTimeout,
    /// There is no TLS with the server, or it is not who it should be.
    TlsFailed,
    /// The server said what it should.
    Passed,
    /// It did, and asks to be given nothing new.
    PassedConditionally,
    /// The answer has another status than expected.
    WrongStatus,
    /// The answer did not come in time.
    ResponseTimeout,
    /// What came is no answer.
    BadResponse,
    /// An agent says nothing about the status.
    Unchanged,
    /// The connection broke.
    SocketError,
    /// The check failed for want of something on our side.
    NotProbed,
    /// Traffic failed too often in a row.
    Analyzed,
    /// The program says that the server works.
    ProgramPassed,
    /// The program did not end in time.
    ProgramTimeout,
    /// The program says that the server does not work, or it cannot be started.
    ProgramFailed,
}

impl CheckResult {
    /// The short names of all results of checks, in the order reports list them.
    pub const NAMES: [&str; 16] = [
        "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7OK", "L7OKC", "L7STS", "L7TOUT", "L7RSP", "SOCKERR", "HANA", "PROCOK",
        "PROCTOUT", "PROCERR",
    ];

    /// Returns the short name; one of [`NAMES`](Self::NAMES).
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "L4OK",
            Self::ConnectTimeout => "L4TOUT",
            Self::ConnectFailed => "L4CON",
            Self::TlsAgreed => "L6OK",
            Self::TlsTimeout => "L6TOUT",
            Self::TlsFailed => "L6RSP",
            Self::Passed => "L7OK",
            Self::PassedConditionally => "L7OKC",
            Self::WrongStatus => "L7STS",
            Self::ResponseTimeout => "L7TOUT",
            Self::BadResponse => "L7RSP",
            Self::Unchanged => "CHECKED",
            Self::SocketError | Self::NotProbed => "SOCKERR",
            Self::Analyzed => "HANA",
            Self::ProgramPassed => "PROCOK",
            Self::ProgramTimeout => "PROCTOUT",
            Self::ProgramFailed => "PROCERR",
        }
    }

    /// Returns what HAProxy says of a result besides its short name.
    pub fn description(self) -> &'static str {
        match self {
            Self::Connected => "Layer4 check passed",
            Self::ConnectTimeout => "Layer4 timeout",
            Self::ConnectFailed => "Layer4 connection problem",
            Self::TlsAgreed => "Layer6 check passed",
            Self::TlsTimeout => "Layer6 timeout",
            Self::TlsFailed => "Layer6 invalid response",
            Self::Passed => "Layer7 check passed",
            Self::PassedConditionally => "Layer7 check conditionally passed",
            Self::WrongStatus => "Layer7 wrong status",
            Self::ResponseTimeout => "Layer7 timeout",
            Self::BadResponse => "Layer7 invalid response",
            Self::Unchanged => "No status change",
            Self::SocketError | Self::NotProbed => "Socket error",
            Self::Analyzed => "Health analyze",
            Self::ProgramPassed => "External check passed",
            Self::ProgramTimeout => "External check timeout",
            Self::ProgramFailed => "External check error",
        }
    }

    /// Tells whether it came of something that took its time.
    pub fn has_duration(self) -> bool {
        self != Self::Analyzed
    }

    /// Tells whether a code belongs to the result.
    pub fn has_code(self) -> bool {
        matches!(
            self,
            Self::Passed | Self::PassedConditionally | Self::WrongStatus | Self::ProgramPassed | Self::ProgramTimeout | Self::ProgramFailed
        )
    }

    /// Returns what the result says about the server.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Connected | Self::TlsAgreed | Self::Passed | Self::ProgramPassed => Verdict::Pass,
            Self::PassedConditionally => Verdict::PassConditionally,
            Self::ConnectTimeout
            | Self::ConnectFailed
            | Self::TlsTimeout
            | Self::TlsFailed
            | Self::WrongStatus
            | Self::ResponseTimeout
            | Self::BadResponse
            | Self::SocketError
            | Self::Analyzed
            | Self::ProgramTimeout
            | Self::ProgramFailed => Verdict::Fail,
            Self::Unchanged | Self::NotProbed => Verdict::Unknown,
        }
    }
}

/// A result, how long it took, and what else is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The result.
    pub result: CheckResult,
    /// The status of the answer, or what the check says is its code; only where the result [has one](CheckResult::has_code).
    pub code: Option<u16>,
    /// From the start of the check to its result.
    pub duration: Duration,
    /// What went wrong, or what the server said; empty where the result says it all.
    pub detail: String,
}

/// Writes all of it: `L4CON Connection refused after 2ms`, `L7STS/503 Service Unavailable after 1ms`.
impl fmt::Display for CheckOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.result.name())?;
        if let Some(code) = self.code {
            write!(f, "/{code}")?;
        }
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        if self.result.has_duration() {
            write!(f, " after {}ms", self.duration.as_millis())?;
        }
        Ok(())
    }
}

/// What an agent said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentReport {
    /// What it said of the status, or why it said nothing.
    pub outcome: CheckOutcome,
    /// The weight it asks for.
    pub weighting: Option<Weighting>,
    /// The most connections it asks for.
    pub maxconn: Option<u32>,
    /// The administrative state it asks for.
    pub admin: Option<Admin>,
}

/// A weight in percent of the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighting {
    /// In percent; may be above 100.
    pub percent: u32,
}

impl AgentReport {
    /// Returns a report that asks for nothing.
    pub(crate) fn of(result: CheckResult, detail: String) -> Self {
        let outcome = CheckOutcome { result, code: None, duration: Duration::ZERO, detail };
        Self { outcome, weighting: None, maxconn: None, admin: None }
    }

    /// Returns what it says of the server: a connection that fails says nothing.
    pub(crate) fn verdict(&self) -> Verdict {
        let verdict = self.outcome.result.verdict();
        if matches!(self.outcome.result, CheckResult::Passed | CheckResult::WrongStatus) { verdict } else { Verdict::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_read_as_sentences() {
        let outcome = |result, code, detail: &str| {
            let duration = Duration::from_micros(2400);
            CheckOutcome { result, code, duration, detail: detail.to_owned() }
        };
        assert_eq!(outcome(CheckResult::ConnectFailed, None, "Connection refused").to_string(), "L4CON Connection refused after 2ms");
        assert_eq!(outcome(CheckResult::WrongStatus, Some(503), "").to_string(), "L7STS/503 after 2ms");
    }

    #[test]
    fn every_name_is_listed() {
        let all = [
            CheckResult::Connected,
            CheckResult::ConnectTimeout,
            CheckResult::ConnectFailed,
            CheckResult::TlsAgreed,
            CheckResult::TlsTimeout,
            CheckResult::TlsFailed,
            CheckResult::Passed,
            CheckResult::PassedConditionally,
            CheckResult::WrongStatus,
            CheckResult::ResponseTimeout,
            CheckResult::BadResponse,
            CheckResult::SocketError,
            CheckResult::Analyzed,
            CheckResult::ProgramPassed,
            CheckResult::ProgramTimeout,
            CheckResult::ProgramFailed,
        ];
        assert_eq!(all.map(CheckResult::name), CheckResult::NAMES);
    }
}
