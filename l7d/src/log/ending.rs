//! What became of a request, in a line for who watches.

use std::fmt;
use std::time::Duration;

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(super) backend: Option<String>,
    pub(super) server: Option<String>,
    pub(super) status: Option<u16>,
    /// In HAProxy's letters.
    pub(super) termination: &'static str,
    pub(super) time: Duration,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "status {status}")?,
            None => f.write_str("no answer")?,
        }
        match (&self.backend, &self.server) {
            (Some(backend), Some(server)) => write!(f, " by server {backend}/{server}")?,
            (Some(backend), None) => write!(f, " in backend {backend}, without a server")?,
            (None, _) => f.write_str(" without a backend")?,
        }
        let micros = self.time.as_micros();
        write!(f, " after {}.{:03} ms (termination state {})", micros / 1000, micros % 1000, self.termination)
    }
}
