//! Sections `mailers`, and what proxies have told by mail.

use super::draft::{Draft, Kind};
use super::line::{Line, unknown};
use super::proxy::idle;
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::Mailers;
use crate::config::value::{mail, text, word};

/// Keywords of the section.
pub(super) const KEYWORDS: [&str; 2] = ["mailer", "timeout"];
/// Words of `email-alert`.
pub(super) const ALERT: [&str; 5] = ["from", "level", "mailers", "myhostname", "to"];

/// Begins a section `mailers NAME`.
pub(super) fn section(line: &mut Line, others: &[Mailers]) -> Result<Mailers, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    if let Some(other) = others.iter().find(|other| other.name() == name.as_str()) {
        let error = Diagnostic::error(name.location(), format!("there is a section mailers `{name}` already"));
        return Err(error.hint(format!("{}:{}", other.location().file(), other.location().line())));
    }
    Ok(Mailers::new(name))
}

/// Reads a line of a section `mailers`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, mailers: &mut Mailers) -> Result<(), Diagnostic> {
    match keyword.as_str() {
        "mailer" => {
            let name = line.expect("its name")?;
            if mailers.list.iter().any(|other| other.name() == name.as_str()) {
                return Err(Diagnostic::error(name.location(), format!("there is a mailer `{name}` already")));
            }
            let mailer = line.parse("its address", |text| mail::mailer(&name, text))?;
            mailers.list.push(mailer.value().clone());
        }
        "timeout" => {
            let event = line.expect("`mail`")?;
            if event.as_str() != "mail" {
                return Err(unknown(&event, "`timeout` of mailers", &["mail"], &[]));
            }
            mailers.timeout = *line.period()?;
        }
        _ => return Err(unknown(keyword, "section `mailers`", &KEYWORDS, &[])),
    }
    line.finish()
}

/// Reads `email-alert WORD VALUE`.
pub(super) fn alert(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    if draft.kind == Kind::Frontend {
        idle(line, reader, "`email-alert`", draft.kind);
        return Ok(());
    }
    let what = line.expect("what is set")?;
    let alert = &mut draft.settings.proxy.alert;
    match what.as_str() {
        "from" => alert.from = Some(line.parse("an address of mail", mail::word)?),
        "level" => alert.level = Some(line.parse("a level", |text| word::SYSLOG_LEVEL.read(text))?),
        "mailers" => alert.mailers = Some(line.expect("the name of a section `mailers`")?),
        "myhostname" => alert.host = Some(line.parse("the name of a host", mail::word)?),
        "to" => alert.to = Some(line.parse("an address of mail", mail::word)?),
        _ => return Err(unknown(&what, "`email-alert`", &ALERT, &[])),
    }
    Ok(())
}
