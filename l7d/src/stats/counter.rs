//! What is counted.

/// One number that a thread keeps about a frontend, a backend, a server or the process.
///
/// Those that every exchange touches stand first, so that they share cache lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Requests of HTTP.
    Requests,
    /// Bytes from the client.
    BytesIn,
    /// Bytes to the client.
    BytesOut,
    /// Connections of a frontend; exchanges of a backend; attempts to use a server.
    Sessions,
    /// Exchanges under way on this thread.
    Current,
    /// Most that were under way at a time.
    CurrentMost,
    /// When the last exchange began, in seconds after the meter was made, and one more; 0 is never.
    LastSession,
    /// Connections to a server that are open now.
    Open,
    /// Those of them that wait for their second request.
    IdleNew,
    /// Those of them that wait and have served more than one.
    IdleProven,
    /// Those of them that wait for their own client.
    IdleOwn,
    /// Most that were open and did not wait, in the present interval of the pool.
    UsedMost,
    /// How many it is reckoned to need.
    Needed,
    /// Times a server was chosen.
    Selected,
    /// Connections to servers that served once more.
    Reuses,
    /// Connections to servers that were attempted.
    Connects,
    /// Responses of class 2xx.
    Status2xx,
    /// Exchanges whose times were noted.
    Timed,
    /// Sum of recent times in the queue, in microseconds.
    QueueTime,
    /// Sum of recent times to connect.
    ConnectTime,
    /// Sum of recent times to the head of the response.
    ResponseTime,
    /// Sum of recent times from first to last.
    TotalTime,
    /// Longest time in the queue, in microseconds.
    QueueTimeMost,
    /// Longest time to connect.
    ConnectTimeMost,
    /// Longest time to the head of the response.
    ResponseTimeMost,
    /// Longest time from first to last.
    TotalTimeMost,
    /// Responses of class 1xx.
    Status1xx,
    /// Responses of class 3xx.
    Status3xx,
    /// Responses of class 4xx.
    Status4xx,
    /// Responses of class 5xx.
    Status5xx,
    /// Exchanges that ended without a response, or with one of no class.
    StatusOther,
    /// Requests that were invalid, cut off or too late.
    RequestErrors,
    /// Exchanges that found no server to connect to.
    ConnectErrors,
    /// Responses that were invalid, cut off or too late.
    ResponseErrors,
    /// Connections attempted anew on the same server.
    Retries,
    /// Connections attempted anew on another server; the server left behind counts.
    Redispatches,
    /// Transfers that the client ended early.
    ClientAborts,
    /// Transfers that the server ended early.
    ServerAborts,
    /// Requests that a rule refused.
    DeniedRequests,
    /// Responses that a rule refused.
    DeniedResponses,
    /// Times a cache was asked.
    CacheLookups,
    /// Times it had the answer.
    CacheHits,
    /// Bytes of bodies before they were compressed.
    CompressedIn,
    /// Bytes of bodies after they were compressed.
    CompressedOut,
    /// Responses that were compressed.
    CompressedResponses,
    /// Requests that the frontend answered itself as it was told to.
    Intercepted,
    /// Connections that a rule refused as they came.
    DeniedConnections,
    /// Connections that a rule refused once they were ready to be served.
    DeniedSessions,
    /// Changes to messages that could not be made.
    FailedRewrites,
    /// Exchanges that failed because of that.
    InternalErrors,
}

impl Counter {
    /// Those that remember the highest number.
    pub(super) const HIGHS: [Self; 5] =
        [Self::CurrentMost, Self::QueueTimeMost, Self::ConnectTimeMost, Self::ResponseTimeMost, Self::TotalTimeMost];

    /// Those that only grow.
    pub(super) const SUMS: [Self; 32] = [
        Self::Requests,
        Self::BytesIn,
        Self::BytesOut,
        Self::Sessions,
        Self::Selected,
        Self::Reuses,
        Self::Connects,
        Self::Status2xx,
        Self::Status1xx,
        Self::Status3xx,
        Self::Status4xx,
        Self::Status5xx,
        Self::StatusOther,
        Self::RequestErrors,
        Self::ConnectErrors,
        Self::ResponseErrors,
        Self::Retries,
        Self::Redispatches,
        Self::ClientAborts,
        Self::ServerAborts,
        Self::DeniedRequests,
        Self::DeniedResponses,
        Self::CacheLookups,
        Self::CacheHits,
        Self::CompressedIn,
        Self::CompressedOut,
        Self::CompressedResponses,
        Self::Intercepted,
        Self::DeniedConnections,
        Self::DeniedSessions,
        Self::FailedRewrites,
        Self::InternalErrors,
    ];

    /// How many there are.
    pub(super) const COUNT: usize = Self::InternalErrors as usize + 1;

    /// Returns the counter of responses with this status.
    pub(crate) fn of_status(status: Option<u16>) -> Self {
        match status.map_or(0, |status| status / 100) {
            1 => Self::Status1xx,
            2 => Self::Status2xx,
            3 => Self::Status3xx,
            4 => Self::Status4xx,
            5 => Self::Status5xx,
            _ => Self::StatusOther,
        }
    }
}

/// A part of the life of an exchange, whose time is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// Waiting for a slot of a server.
    Queue,
    /// Connecting to it.
    Connect,
    /// Waiting for its response.
    Response,
    /// From first to last.
    Total,
}

impl Span {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Queue, Self::Connect, Self::Response, Self::Total];

    /// Returns the counters of the sum and of the longest.
    pub(super) fn counters(self) -> (Counter, Counter) {
        match self {
            Self::Queue => (Counter::QueueTime, Counter::QueueTimeMost),
            Self::Connect => (Counter::ConnectTime, Counter::ConnectTimeMost),
            Self::Response => (Counter::ResponseTime, Counter::ResponseTimeMost),
            Self::Total => (Counter::TotalTime, Counter::TotalTimeMost),
        }
    }
}

/// How long each part of an exchange took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Waiting for a slot of a server.
    pub(crate) queue: u64,
    /// Connecting to it.
    pub(crate) connect: u64,
    /// Waiting for its response.
    pub(crate) response: u64,
    /// From first to last.
    pub(crate) total: u64,
}

impl Times {
    pub(super) fn of(self, span: Span) -> u64 {
        match span {
            Span::Queue => self.queue,
            Span::Connect => self.connect,
            Span::Response => self.response,
            Span::Total => self.total,
        }
    }
}
