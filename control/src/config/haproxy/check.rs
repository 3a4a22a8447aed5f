//! How servers are checked: `option httpchk`, `option tcp-check` and `http-check`.

use std::sync::Arc;

use super::draft::Draft;
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{CheckKind, HttpCheck, HttpVersion};
use crate::config::value::{Mistake, check as value, word};
use crate::config::written::{CheckSettings, CheckSwitch};

/// Reads `option httpchk [URI]`, `option httpchk METHOD URI [VERSION [HOST]]`.
pub(super) fn httpchk(line: &mut Line, draft: &mut Draft) -> Result<(), Diagnostic> {
    line.accept("httpchk");
    if line.is_negated() {
        draft.settings.check = None;
        return Ok(());
    }
    let mut check = http(draft).unwrap_or_else(plain);
    let words: Vec<_> = std::iter::from_fn(|| line.next()).collect();
    let mut words = words.into_iter();
    match (words.next(), words.next()) {
        (None, _) => {}
        (Some(uri), None) => check.path = parse_word(&uri, value::path)?.value().clone(),
        (Some(method), Some(uri)) => {
            check.method = parse_word(&method, value::method)?.value().clone();
            check.path = parse_word(&uri, value::path)?.value().clone();
        }
    }
    if let Some(version) = words.next() {
        check.version = *parse_word(&version, http_version)?;
    }
    if let Some(host) = words.next() {
        check.host = Some(parse_word(&host, value::host)?.value().clone());
    }
    if let Some(word) = words.next() {
        return Err(Diagnostic::error(word.location(), format!("`option httpchk` does not know `{}`", *word)));
    }
    keep(line, draft, CheckKind::Http(Arc::new(check)));
    Ok(())
}

/// Reads `option tcp-check`.
pub(super) fn tcp_check(line: &mut Line, draft: &mut Draft) -> Result<(), Diagnostic> {
    line.accept("tcp-check");
    keep(line, draft, CheckKind::Tcp);
    Ok(())
}

/// Reads `http-check expect …` and `http-check send …`.
pub(super) fn http_check(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let Some(mut check) = http(draft) else {
        reader.warn(&line.location(), "`http-check` has no effect without `option httpchk` before it", "add option httpchk");
        let _ = line.joined();
        return Ok(());
    };
    let word = line.expect("what to do")?;
    match word.as_str() {
        "expect" => {
            let text = line.joined().ok_or_else(|| line.error("`http-check expect` lacks what it expects"))?;
            check.expect = parse_word(&text, value::expect)?.value().clone();
        }
        "send" => send(line, &mut check)?,
        _ => return Err(unknown(&word, "`http-check`", &["expect", "send"], &LATER)),
    }
    keep(line, draft, CheckKind::Http(Arc::new(check)));
    Ok(())
}

/// Steps HAProxy has and this model has no place for.
const LATER: [&str; 6] = ["comment", "connect", "disable-on-404", "send-state", "set-var", "unset-var"];

fn send(line: &mut Line, check: &mut HttpCheck) -> Result<(), Diagnostic> {
    while let Some(word) = line.next() {
        match word.as_str() {
            "meth" => check.method = line.parse("a method", value::method)?.value().clone(),
            "uri" => check.path = line.parse("a target", value::path)?.value().clone(),
            "ver" => check.version = *line.parse("a version", http_version)?,
            "hdr" => {
                let name = line.expect("the name of a header field")?;
                if !name.eq_ignore_ascii_case("host") {
                    return Err(Diagnostic::error(name.location(), "header fields of checks other than Host are not supported yet"));
                }
                check.host = Some(line.parse("a host", value::host)?.value().clone());
            }
            _ => {
                return Err(unknown(&word, "`http-check send`", &["meth", "uri", "ver", "hdr"], &["body", "body-lf", "uri-lf", "comment"]));
            }
        }
    }
    Ok(())
}

fn http_version(text: &str) -> Result<HttpVersion, Mistake> {
    word::HTTP_VERSION.read(text.strip_prefix("HTTP/").unwrap_or(text))
}

/// Returns the HTTP check at hand: the section's own, or that of its defaults.
fn http(draft: &Draft) -> Option<HttpCheck> {
    let wider = draft.backend.defaults.check.as_ref();
    let switch = draft.settings.check.as_ref().or(wider)?;
    let (CheckSwitch::Ready(check) | CheckSwitch::On(check)) = switch else { return None };
    match check.kind.as_ref()? {
        CheckKind::Http(http) => Some(HttpCheck::clone(http)),
        CheckKind::Tcp => None,
    }
}

/// What HAProxy sends where nothing is said.
fn plain() -> HttpCheck {
    let (method, path) = ("OPTIONS".to_owned(), "/".to_owned());
    HttpCheck { method, path, host: None, version: HttpVersion::Http10, expect: value::default_expect() }
}

fn keep(line: &Line, draft: &mut Draft, kind: CheckKind) {
    let settings = CheckSettings { kind: Some(kind), ..CheckSettings::default() };
    draft.settings.check = Some(CheckSwitch::Ready(Located::new(settings, line.location())));
}
