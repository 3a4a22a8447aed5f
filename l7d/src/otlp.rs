//! Spans of requests, for a collector of OpenTelemetry: the trace of a client goes on, or one begins, and servers are told.
//!
//! A request looks at one number whether there is anything to do. What is sampled becomes two spans when it ends: the exchange with the
//! client, and in it the one with the server. They wait in a bounded queue for the [`Exporter`], which sends them by the hundreds; traffic
//! never waits for it, and what finds no room is counted.

mod context;
mod encode;
mod export;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::SystemTime;

use control::config::{Otlp, OtlpSample};

pub(crate) use export::{Exporter, counts};

use context::{Parent, Trace};

use crate::message::head::RequestHead;
use crate::message::headers::Known;
use crate::rules::Steps;

/// How many requests of a million get a span, and one more; 0 where there are no spans.
static SAMPLE: AtomicU32 = AtomicU32::new(0);

/// How much of a text that a client chose is kept.
const LONGEST: usize = 1024;

/// Lets new requests have spans as the configuration says.
pub(crate) fn follow(otlp: &Otlp) {
    let sample = if otlp.endpoint().is_some() { otlp.sample().millionths() + 1 } else { 0 };
    SAMPLE.store(sample, Relaxed);
}

/// A request that is traced.
#[derive(Debug)]
pub(crate) struct Span {
    trace: Trace,
    /// The exchange with the client.
    own: u64,
    /// The exchange with the server.
    inner: u64,
    method: String,
    target: String,
    host: String,
    agent: Option<String>,
    version: &'static str,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) frontend: String,
    pub(crate) backend: Option<String>,
    pub(crate) server: Option<Asked>,
    pub(crate) client: Option<String>,
    pub(crate) scheme: &'static str,
    pub(crate) status: Option<u16>,
    pub(crate) termination: &'static str,
    pub(crate) retries: u32,
    pub(crate) steps: Steps,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
}

/// The server that was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) port: Option<u16>,
    /// When there was a server with room.
    pub(crate) began: SystemTime,
}

/// A request that has ended.
#[derive(Debug)]
struct Ended {
    span: Span,
    outcome: Outcome,
}

impl Ended {
    /// Returns how many spans it becomes.
    fn spans(&self) -> u64 {
        if self.outcome.server.is_some() { 2 } else { 1 }
    }
}

/// Begins the span of a request, if it gets one.
pub(crate) fn begin(head: &RequestHead) -> Option<Box<Span>> {
    let sample = SAMPLE.load(Relaxed).checked_sub(1)?;
    Some(Box::new(Span::of(head, Trace::of(Parent::of(head), || is_sampled(sample))?)))
}

/// Tells the server which trace its part belongs to. What rules made of the client's part counts; who gets no span is told so.
pub(crate) fn tell(head: &mut RequestHead, span: &mut Option<Box<Span>>) {
    let Some(sample) = SAMPLE.load(Relaxed).checked_sub(1) else { return };
    let parent = Parent::of(head);
    if let Some(traced) = span
        && traced.trace.parent() != parent.map(Parent::span)
    {
        match Trace::of(parent, || is_sampled(sample)) {
            Some(trace) => traced.trace = trace,
            None => *span = None,
        }
    }
    let value = match (&span, parent) {
        (Some(span), _) => span.trace.header(span.inner),
        (None, Some(_)) => return,
        (None, None) => context::unsampled(),
    };
    head.headers.remove("traceparent");
    if parent.is_none() {
        // The state of a trace that nobody can follow means nothing (W3C Trace Context, section 4.3).
        head.headers.remove("tracestate");
    }
    // A head that is full goes without.
    let _ = head.headers.append(b"traceparent", value.as_bytes());
}

fn is_sampled(sample: u32) -> bool {
    fastrand::u32(..OtlpSample::ALL) < sample
}

impl Span {
    fn of(head: &RequestHead, trace: Trace) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).into_owned();
        Self {
            trace,
            own: fastrand::u64(1..),
            inner: fastrand::u64(1..),
            method: text(head.method_text()),
            target: text(head.target()),
            host: text(head.headers.known(Known::Host).next().unwrap_or_default()),
            agent: head.headers.all("user-agent").next().map(text),
            version: head.version().as_str(),
        }
    }

    /// Hands it over to who sends it.
    pub(crate) fn end(self, outcome: Outcome) {
        export::queue(Ended { span: self, outcome });
    }
}
