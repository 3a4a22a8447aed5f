//! Spans as OTLP has them in JSON, with the attributes of OpenTelemetry's conventions for HTTP; what these have no name for is `l7d.…`.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Asked, Ended, Outcome, Span};

/// Kinds of spans, by OTLP's numbers.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// What OTLP calls a span that failed.
const ERROR: u8 = 2;

/// Methods that a span is named after; whatever else a client says is `_OTHER`.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Writes a request with the spans of these exchanges.
pub(super) fn request(batch: &[Ended], service: &str) -> Vec<u8> {
    let mut spans = Vec::new();
    for Ended { span, outcome } in batch {
        spans.push(server_span(span, outcome));
        spans.extend(outcome.server.as_ref().map(|server| client_span(span, outcome, server)));
    }
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", service)] },
        "scopeSpans": [{ "scope": { "name": "l7d", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] });
    body.to_string().into_bytes()
}

/// The exchange with the client.
fn server_span(span: &Span, outcome: &Outcome) -> Value {
    let mut attributes = common(span, outcome, 500);
    let (path, query) = span.target.split_once('?').map_or((&*span.target, None), |(path, query)| (path, Some(query)));
    let (host, port) = place(&span.host);
    attributes.extend([text("url.path", path), text("url.scheme", outcome.scheme), text("server.address", host)]);
    attributes.extend(port.map(|port| number("server.port", port.into())));
    attributes.extend([text("l7d.frontend", &outcome.frontend), text("l7d.termination", outcome.termination)]);
    attributes.push(number("l7d.retries", outcome.retries.into()));
    let more = [
        ("url.query", query),
        ("client.address", outcome.client.as_deref()),
        ("user_agent.original", span.agent.as_deref()),
        ("l7d.backend", outcome.backend.as_deref()),
        ("l7d.server", outcome.server.as_ref().map(|server| &*server.name)),
    ];
    attributes.extend(more.into_iter().filter_map(|(name, value)| Some(text(name, value?))));
    let steps = [
        ("l7d.time.request", outcome.steps.request),
        ("l7d.time.queue", outcome.steps.queue),
        ("l7d.time.connect", outcome.steps.connect),
        ("l7d.time.response", outcome.steps.response),
        ("l7d.time.data", outcome.steps.data),
    ];
    attributes.extend(steps.into_iter().filter_map(|(name, took)| Some(seconds(name, took?))));
    let mut written = json!({
        "traceId": format!("{:032x}", span.trace.id()),
        "spanId": format!("{:016x}", span.own),
        "name": method(span).0,
        "kind": SERVER,
        "startTimeUnixNano": nanos(outcome.began),
        "endTimeUnixNano": nanos(outcome.ended),
        "attributes": attributes,
        "status": status(outcome, 500),
    });
    if let Some(parent) = span.trace.parent() {
        written["parentSpanId"] = json!(format!("{parent:016x}"));
    }
    written
}

/// The exchange with the server.
fn client_span(span: &Span, outcome: &Outcome, server: &Asked) -> Value {
    let mut attributes = common(span, outcome, 400);
    attributes.extend(server.address.as_deref().map(|address| text("server.address", address)));
    attributes.extend(server.port.map(|port| number("server.port", port.into())));
    if outcome.retries > 0 {
        attributes.push(number("http.request.resend_count", outcome.retries.into()));
    }
    json!({
        "traceId": format!("{:032x}", span.trace.id()),
        "spanId": format!("{:016x}", span.inner),
        "parentSpanId": format!("{:016x}", span.own),
        "name": method(span).0,
        "kind": CLIENT,
        "startTimeUnixNano": nanos(server.began),
        "endTimeUnixNano": nanos(outcome.ended),
        "attributes": attributes,
        "status": status(outcome, 400),
    })
}

/// What both spans say, where a status of so much and more is a failure.
fn common(span: &Span, outcome: &Outcome, failure: u16) -> Vec<Value> {
    let (method, original) = method(span);
    let mut attributes = vec![text("http.request.method", method)];
    attributes.extend(original.map(|original| text("http.request.method_original", original)));
    attributes.push(text("network.protocol.version", span.version.trim_start_matches("HTTP/")));
    match outcome.status {
        Some(status) => {
            attributes.push(number("http.response.status_code", status.into()));
            attributes.extend((status >= failure).then(|| text("error.type", &status.to_string())));
        }
        None => attributes.push(text("error.type", outcome.termination)),
    }
    attributes
}

fn method(span: &Span) -> (&'static str, Option<&str>) {
    METHODS.into_iter().find(|known| *known == span.method).map_or(("_OTHER", Some(&span.method)), |known| (known, None))
}

fn status(outcome: &Outcome, failure: u16) -> Value {
    if outcome.status.is_none_or(|status| status >= failure) { json!({ "code": ERROR }) } else { json!({}) }
}

/// Takes a host apart that may have a port.
fn place(host: &str) -> (&str, Option<u16>) {
    let split = host.rsplit_once(':').and_then(|(name, port)| Some((name, Some(port.parse().ok()?))));
    split.unwrap_or((host, None))
}

fn text(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// Whole numbers of 64 bits are texts in JSON of protocol buffers.
fn number(name: &str, value: u64) -> Value {
    json!({ "key": name, "value": { "intValue": value.to_string() } })
}

fn seconds(name: &str, value: Duration) -> Value {
    json!({ "key": name, "value": { "doubleValue": value.as_secs_f64() } })
}

fn nanos(at: SystemTime) -> String {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
