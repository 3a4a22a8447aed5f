//! Sections `log-forward`: log lines of others, where they come in and where they go.

use super::line::{Line, unknown};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::LogForward;
use crate::config::value::{address, text};

/// Keywords of the section.
pub(super) const KEYWORDS: [&str; 6] = ["backlog", "bind", "dgram-bind", "log", "maxconn", "timeout"];

/// Begins a section `log-forward NAME`.
pub(super) fn section(line: &mut Line, others: &[LogForward]) -> Result<LogForward, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    if let Some(other) = others.iter().find(|other| other.name() == name.as_str()) {
        let error = Diagnostic::error(name.location(), format!("there is a section log-forward `{name}` already"));
        return Err(error.hint(format!("{}:{}", other.location().file(), other.location().line())));
    }
    Ok(LogForward::new(name))
}

/// Reads a line of a section `log-forward`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, section: &mut LogForward) -> Result<(), Diagnostic> {
    match keyword.as_str() {
        "backlog" => section.backlog = Some(*line.integer(1..=u16::MAX)?),
        "bind" => section.binds.push(line.parse("an address", address::endpoint)?),
        "dgram-bind" => section.datagrams.push(line.parse("an address", address::endpoint)?),
        "log" => {
            let target = line.joined().ok_or_else(|| line.error("`log` lacks its target"))?;
            section.logging.targets.push(target);
        }
        "maxconn" => section.maxconn = *line.integer(1..=1_000_000)?,
        "timeout" => {
            let event = line.expect("`client`")?;
            match event.as_str() {
                "client" => section.patience = Some(*line.period()?),
                _ => return Err(unknown(&event, "`timeout` of a section log-forward", &["client"], &[])),
            }
        }
        _ => return Err(unknown(keyword, "section `log-forward`", &KEYWORDS, &[])),
    }
    line.finish()
}
