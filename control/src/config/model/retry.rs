//! What makes a failed request go to a server again.

/// What makes a failed request go to a server again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// One bit for each cause in `CAUSES` and then for each status in `STATUSES`.
    bits: u32,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// The server could not be connected to.
    ConnFailure,
    /// The server closed the connection before it had said everything up to the end of a head.
    EmptyResponse,
    /// What came is no response.
    JunkResponse,
    /// No response came in time.
    ResponseTimeout,
    /// The server does not take early data. It is never sent any, so this does not happen.
    EarlyDataRejected,
    /// The response has this status.
    Status(u16),
}

impl RetryOn {
    /// Nothing does.
    pub const NEVER: Self = Self { bits: 0 };

    /// Tells whether this makes a request go to a server again.
    pub fn contains(self, cause: RetryCause) -> bool {
        self.bits & bit(cause) != 0
    }

    /// Tells whether anything does that happens after a request was sent.
    pub fn repeats_requests(self) -> bool {
        self.bits & !bit(RetryCause::ConnFailure) != 0
    }

    /// Tells whether a rejection of early data was written by itself, and not as one of all errors.
    pub(in crate::config) fn awaits_early_data(self) -> bool {
        let others = [RetryCause::EmptyResponse, RetryCause::JunkResponse, RetryCause::ResponseTimeout, RetryCause::Status(500)];
        self.contains(RetryCause::EarlyDataRejected) && !others.iter().all(|cause| self.contains(*cause))
    }

    /// Adds a cause; a status that never makes a request go again is left out.
    pub(in crate::config) fn with(self, cause: RetryCause) -> Self {
        Self { bits: self.bits | bit(cause) }
    }

    /// Adds all causes of another.
    pub(in crate::config) fn and(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits }
    }
}

/// As in HAProxy, only what happened before a request was sent.
impl Default for RetryOn {
    fn default() -> Self {
        Self::NEVER.with(RetryCause::ConnFailure)
    }
}

fn bit(cause: RetryCause) -> u32 {
    match cause {
        RetryCause::ConnFailure => 1,
        RetryCause::EmptyResponse => 1 << 1,
        RetryCause::JunkResponse => 1 << 2,
        RetryCause::ResponseTimeout => 1 << 3,
        RetryCause::EarlyDataRejected => 1 << 4,
        RetryCause::Status(status) => match RETRIED_STATUSES.iter().position(|known| *known == status) {
            Some(place) => 1 << (5 + place),
            None => 0,
        },
    }
}

/// The statuses that may make a request go again.
pub(in crate::config) const RETRIED_STATUSES: [u16; 12] = [401, 403, 404, 408, 421, 425, 429, 500, 501, 502, 503, 504];
