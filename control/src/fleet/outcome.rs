//! What came of a single health check, in the words HAProxy's users know.

use std::fmt;
use std::time::Duration;

use crate::server_state::Verdict;

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
    /// The answer has an expected status.
    GoodStatus(u16),
    /// The answer has another status than expected.
    BadStatus(u16),
    /// The answer did not come in time.
    ResponseTimeout,
    /// What came is no answer.
    BadResponse,
    /// The check failed for want of something on our side.
    NotProbed,
}

impl CheckResult {
    /// The short names of all results, in the order reports list them.
    pub const NAMES: [&str; 11] = ["L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7OK", "L7STS", "L7TOUT", "L7RSP", "SOCKERR"];

    /// Returns the short name; one of [`NAMES`](Self::NAMES).
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "L4OK",
            Self::ConnectTimeout => "L4TOUT",
            Self::ConnectFailed => "L4CON",
            Self::TlsAgreed => "L6OK",
            Self::TlsTimeout => "L6TOUT",
            Self::TlsFailed => "L6RSP",
            Self::GoodStatus(_) => "L7OK",
            Self::BadStatus(_) => "L7STS",
            Self::ResponseTimeout => "L7TOUT",
            Self::BadResponse => "L7RSP",
            Self::NotProbed => "SOCKERR",
        }
    }

    /// Returns the status code of the answer.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::GoodStatus(code) | Self::BadStatus(code) => Some(code),
            Self::Connected
            | Self::ConnectTimeout
            | Self::ConnectFailed
            | Self::TlsAgreed
            | Self::TlsTimeout
            | Self::TlsFailed
            | Self::ResponseTimeout
            | Self::BadResponse
            | Self::NotProbed => None,
        }
    }

    /// Returns what the result says about the server.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Connected | Self::TlsAgreed | Self::GoodStatus(_) => Verdict::Pass,
            Self::ConnectTimeout
            | Self::ConnectFailed
            | Self::TlsTimeout
            | Self::TlsFailed
            | Self::BadStatus(_)
            | Self::ResponseTimeout
            | Self::BadResponse => Verdict::Fail,
            Self::NotProbed => Verdict::Unknown,
        }
    }
}

/// Writes the short name and the status code: `L7STS/503`.
impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => f.pad(&format!("{}/{code}", self.name())),
            None => f.pad(self.name()),
        }
    }
}

/// A result, how long it took, and what else is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The result.
    pub result: CheckResult,
    /// From the start of the check to its result.
    pub duration: Duration,
    /// What went wrong, in lower case; empty where the result says it all.
    pub detail: String,
}

/// Writes all of it: `L4CON connection refused after 2ms`.
impl fmt::Display for CheckOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.result)?;
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        write!(f, " after {}ms", self.duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_read_as_sentences() {
        let outcome = |result, detail: &str| CheckOutcome { result, duration: Duration::from_micros(2400), detail: detail.to_owned() };
        assert_eq!(outcome(CheckResult::ConnectFailed, "connection refused").to_string(), "L4CON connection refused after 2ms");
        assert_eq!(outcome(CheckResult::BadStatus(503), "").to_string(), "L7STS/503 after 2ms");
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
            CheckResult::GoodStatus(200),
            CheckResult::BadStatus(500),
            CheckResult::ResponseTimeout,
            CheckResult::BadResponse,
            CheckResult::NotProbed,
        ];
        assert_eq!(all.map(CheckResult::name), CheckResult::NAMES);
    }
}
