//! `stats` of frontends, backends and defaults: the page that clients see.

use std::time::Duration;

use super::draft::{Draft, Kind};
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use super::rules;
use crate::config::error::Diagnostic;
use crate::config::value::{text, units};

pub(super) const KNOWN: &[&str] = &[
    "admin",
    "auth",
    "enable",
    "hide-version",
    "http-request",
    "realm",
    "refresh",
    "scope",
    "show-desc",
    "show-legends",
    "show-modules",
    "show-node",
    "uri",
];

/// Reads one setting of the page, any of which switches it on.
pub(super) fn stats(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let what = line.expect("enable, uri, auth or another setting of the page")?;
    if !KNOWN.contains(&what.as_str()) {
        return Err(unknown(&what, "`stats`", KNOWN, &[]));
    }
    let page = draft.settings.proxy.stats.get_or_insert_default();
    match what.as_str() {
        "http-request" | "admin" if draft.kind == Kind::Defaults => {
            return Err(line.error(format!("`stats {}` has no place in section `defaults`", what.as_str())));
        }
        "http-request" | "admin" => return rules::rule(line, draft, reader),
        "auth" => page.accounts.push(line.parse("a name and a password", text::account)?.value().clone()),
        "hide-version" => page.hides_version = true,
        "realm" => page.realm = line.parse("a realm", text::header_text)?.value().clone(),
        "refresh" => {
            // Without a unit it is seconds, unlike other times.
            let word = line.expect("a time")?;
            let seconds = word.parse().ok().map(Duration::from_secs);
            let time = seconds.map_or_else(|| parse_word(&word, units::duration).map(|time| *time), Ok)?;
            page.refresh = Some(time).filter(|time| !time.is_zero());
        }
        "scope" => {
            let name = line.parse("the name of a proxy, or `.`", text::header_text)?.value().clone();
            page.scope.get_or_insert_default().push(name);
        }
        // There are no modules that would have columns of their own.
        "show-modules" => reader.idle(what),
        "show-legends" => page.shows_legends = true,
        "show-desc" => {
            if let Some(text) = line.joined() {
                page.description = Some(parse_word(&text, text::header_text)?.value().clone());
            }
        }
        "show-node" => {
            let name = if line.peek().is_some() { Some(line.parse("a name", text::log_word)?.value().clone()) } else { None };
            page.node = Some(name);
        }
        "uri" => page.uri = line.parse("the beginning of a target", text::request_target)?.value().clone(),
        _ => {}
    }
    Ok(())
}
