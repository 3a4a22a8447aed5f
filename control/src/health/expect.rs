//! Whether what a server said is what a check wants; pure.

use http::HeaderMap;

use super::connect::Failure;
use super::format::{Scope, hex};
use crate::config::{Bad, Expect, Good, HeaderPattern, Late, Pattern, Payload, Place, Step, TextMatch};
use crate::fleet::CheckResult;

/// How much of an answer is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// More may come.
    Part,
    /// There will be no more, or no more is looked at.
    All,
}

/// What is said of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// More is needed.
    Wait,
    Good,
    Bad,
}

/// Judges the bytes of the scope.
pub(super) fn judge(expect: &Expect, scope: &Scope<'_>, extent: Extent) -> Judgement {
    let seen = &scope.payload;
    let is_all = extent == Extent::All;
    // What does not fit yet says nothing, and where a shorter text is looked for than is waited for, its length will do.
    let least = match (expect.pattern(), expect.min_recv()) {
        (Pattern::Text(payload), least) => {
            let length = scope.payload(payload).map_or(0, |text| text.len());
            least.filter(|least| *least > 0).map_or(length, |least| least.min(length))
        }
        (_, least) => least.unwrap_or(0),
    };
    if seen.len() < least && !is_all {
        return Judgement::Wait;
    }
    match (is_found(expect.pattern(), scope), expect.negated()) {
        (true, true) => Judgement::Bad,
        (true, false) => Judgement::Good,
        (false, _) if !is_all && expect.min_recv().is_none_or(|least| seen.len() < least) => Judgement::Wait,
        (false, true) => Judgement::Good,
        (false, false) => Judgement::Bad,
    }
}

fn is_found(pattern: &Pattern, scope: &Scope<'_>) -> bool {
    let seen = &scope.payload;
    match pattern {
        Pattern::Text(payload) => scope.payload(payload).is_some_and(|text| contains(seen, &text)),
        Pattern::Match(regex) => regex.is_match(seen),
        Pattern::HexMatch(regex) => regex.is_match(hex(seen).as_bytes()),
        Pattern::Status(_)
        | Pattern::StatusMatch(_)
        | Pattern::Header(_)
        | Pattern::MySql { .. }
        | Pattern::Ldap
        | Pattern::Grpc
        | Pattern::Dns
        | Pattern::Quic => false,
    }
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

/// Tells whether a status is what is wanted; none where the pattern is not about one.
pub(super) fn has_status(expect: &Expect, status: u16) -> Option<bool> {
    let found = match expect.pattern() {
        Pattern::Status(set) => set.contains(status),
        Pattern::StatusMatch(regex) => regex.is_match(status.to_string().as_bytes()),
        Pattern::Header(_)
        | Pattern::Text(_)
        | Pattern::Match(_)
        | Pattern::HexMatch(_)
        | Pattern::MySql { .. }
        | Pattern::Ldap
        | Pattern::Grpc
        | Pattern::Dns
        | Pattern::Quic => {
            return None;
        }
    };
    Some(found != expect.negated())
}

/// Tells whether header fields are what is wanted; none where the pattern is not about them.
pub(super) fn has_header(expect: &Expect, headers: &HeaderMap, scope: &Scope<'_>) -> Option<bool> {
    let Pattern::Header(pattern) = expect.pattern() else { return None };
    let found = headers.iter().any(|(name, value)| {
        agrees(pattern.name(), name.as_str().as_bytes(), scope)
            && pattern.value().is_none_or(|wanted| has_value(pattern, wanted, value.as_bytes(), scope))
    });
    Some(found != expect.negated())
}

fn has_value(pattern: &HeaderPattern, wanted: &TextMatch, value: &[u8], scope: &Scope<'_>) -> bool {
    if pattern.whole() {
        return agrees(wanted, value, scope);
    }
    value.split(|byte| *byte == b',').any(|element| agrees(wanted, element.trim_ascii(), scope))
}

fn agrees(wanted: &TextMatch, text: &[u8], scope: &Scope<'_>) -> bool {
    match wanted {
        TextMatch::Match(regex) => regex.is_match(text),
        TextMatch::Text(place, format) => {
            let wanted = scope.fill(format);
            match place {
                Place::Whole => text == wanted,
                Place::Start => text.starts_with(&wanted),
                Place::End => text.ends_with(&wanted),
                Place::Anywhere => contains(text, &wanted),
            }
        }
    }
}

/// Returns what a success is.
pub(super) fn good(expect: &Expect) -> CheckResult {
    match expect.good() {
        Good::Layer4 => CheckResult::Connected,
        Good::Layer6 => CheckResult::TlsAgreed,
        Good::Layer7 => CheckResult::Passed,
        Good::Conditional => CheckResult::PassedConditionally,
    }
}

/// Returns what a failure is, where the pattern itself would make it `usual`.
pub(super) fn bad(expect: &Expect, usual: CheckResult) -> CheckResult {
    match expect.bad() {
        None => usual,
        Some(Bad::Layer4) => CheckResult::ConnectFailed,
        Some(Bad::Layer6) => CheckResult::TlsFailed,
        Some(Bad::Layer7) => CheckResult::BadResponse,
        Some(Bad::Status) => CheckResult::WrongStatus,
        Some(Bad::Conditional) => CheckResult::PassedConditionally,
    }
}

/// Returns what silence is.
pub(super) fn late(expect: &Expect) -> CheckResult {
    match expect.late() {
        Late::Layer4 => CheckResult::ConnectTimeout,
        Late::Layer6 => CheckResult::TlsTimeout,
        Late::Layer7 => CheckResult::ResponseTimeout,
    }
}

/// Says that a response is not what is wanted.
pub(super) fn unwanted_response(expect: &Expect, step: &Step, scope: &Scope<'_>, usual: (CheckResult, &str)) -> Failure {
    let text = expect.on_error().map_or_else(|| usual.1.to_owned(), |format| scope.text(format));
    (bad(expect, usual.0), remarked(text, step))
}

/// Says that bytes are not what is wanted.
pub(super) fn unwanted_bytes(expect: &Expect, step: &Step, scope: &Scope<'_>) -> Failure {
    let text = match expect.on_error() {
        _ if scope.payload.is_empty() => format!("TCPCHK got an empty response at step {}", step.number()),
        Some(format) => scope.text(format),
        None => {
            let verdict = if expect.negated() { "matched unwanted content" } else { "did not match content" };
            format!("TCPCHK {verdict} {} at step {}", content(expect.pattern()), step.number())
        }
    };
    (bad(expect, CheckResult::BadResponse), remarked(text, step))
}

fn remarked(text: String, step: &Step) -> String {
    match step.comment() {
        Some(comment) => format!("{text} comment: {comment}").trim_start().to_owned(),
        None => text,
    }
}

fn content(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Text(Payload::Text(format)) => match format.as_plain() {
            Some(text) => format!("'{}'", String::from_utf8_lossy(text)),
            None => "(log-format string)".to_owned(),
        },
        Pattern::Text(Payload::Hex(format)) if format.as_plain().is_some() => "(binary)".to_owned(),
        Pattern::Text(Payload::Hex(_)) => "(log-format binary)".to_owned(),
        Pattern::Match(_) => "(regex)".to_owned(),
        Pattern::HexMatch(_) => "(binary regex)".to_owned(),
        Pattern::Status(_)
        | Pattern::StatusMatch(_)
        | Pattern::Header(_)
        | Pattern::MySql { .. }
        | Pattern::Ldap
        | Pattern::Grpc
        | Pattern::Dns
        | Pattern::Quic => "(response)".to_owned(),
    }
}

/// Names a pattern as it stands in the words about a step.
pub(super) fn wanted(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Text(Payload::Text(format)) if format.as_plain().is_some() => format!("string {}", content(pattern)),
        Pattern::Text(Payload::Hex(format)) if format.as_plain().is_some() => {
            format!("binary '{}'", String::from_utf8_lossy(format.as_plain().unwrap_or_default()))
        }
        Pattern::Text(_)
        | Pattern::Match(_)
        | Pattern::HexMatch(_)
        | Pattern::Status(_)
        | Pattern::StatusMatch(_)
        | Pattern::Header(_)
        | Pattern::MySql { .. }
        | Pattern::Ldap
        | Pattern::Grpc
        | Pattern::Dns
        | Pattern::Quic => content(pattern).trim_matches(['(', ')']).to_owned(),
    }
}
