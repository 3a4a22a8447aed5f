//! What a record tells of a request that is traced.

use std::time::{Instant, SystemTime};

use super::Record;
use crate::message::head::RequestHead;
use crate::otlp::{self, Asked, Outcome};
use crate::site::{Backend, Frontend, Server};

impl Record<'_> {
    /// Tells the server which trace its part belongs to, where there are traces.
    pub(crate) fn trace(&mut self, head: &mut RequestHead) {
        otlp::tell(head, &mut self.span);
    }

    /// Hands over the span of a request that has ended, if it has one.
    pub(super) fn end_span(&mut self, frontend: &Frontend, ended: Instant) {
        let Some(span) = self.span.take() else { return };
        let now = SystemTime::now();
        let date = |at: Instant| now.checked_sub(ended.saturating_duration_since(at)).unwrap_or(SystemTime::UNIX_EPOCH);
        let asked = |(server, began): (&Server, Instant)| Asked {
            name: server.name().to_owned(),
            address: server.model().ip().map(|ip| ip.to_string()),
            port: server.model().port(),
            began: date(began),
        };
        span.end(Outcome {
            frontend: frontend.name().to_owned(),
            backend: self.backend.map(Backend::name).map(str::to_owned),
            server: self.server.zip(self.queued).map(asked),
            client: self.client.inet().map(|client| client.ip().to_canonical().to_string()),
            scheme: if self.tls.is_some() { "https" } else { "http" },
            status: self.status,
            termination: self.termination,
            retries: self.retries,
            steps: self.steps(ended),
            began: date(self.start),
            ended: now,
        });
    }
}
