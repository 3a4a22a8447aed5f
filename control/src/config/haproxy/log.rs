//! `log`, `log-format` and what belongs to them.

use super::draft::{Draft, Kind};
use super::line::{Line, parse_word};
use super::proxy::idle;
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::LogStep;
use crate::config::value::{text, word};
use crate::config::written::Global;

/// Reads a target, `log global`, or `no log`.
pub(super) fn target(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let targets = draft.settings.proxy.log.targets.get_or_insert_default();
    if line.is_negated() {
        targets.clear();
        return Ok(());
    }
    let target = line.joined().ok_or_else(|| line.error("`log` lacks its target"))?;
    targets.push(target);
    Ok(())
}

/// Reads what lines look like.
pub(super) fn format(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    if let Some(format) = front(line, draft, reader)? {
        // Of a format and an option the last one counts.
        draft.settings.proxy.options.retain(|switch| !switch.option.is_log_format());
        draft.settings.proxy.log.format = Some(format);
    }
    Ok(())
}

/// Reads what lines about failures look like.
pub(super) fn error_format(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    if let Some(format) = front(line, draft, reader)? {
        draft.settings.proxy.log.error_format = Some(format);
    }
    Ok(())
}

/// Reads what the structured data of RFC 5424 is.
pub(super) fn structured(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    if let Some(format) = front(line, draft, reader)? {
        draft.settings.proxy.log.structured = Some(format);
    }
    Ok(())
}

/// Reads at which steps of an exchange lines are written: `accept,close`, or `all`.
pub(super) fn steps(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let written = line.expect("steps")?;
    if draft.kind == Kind::Backend {
        idle(line, reader, "`log-steps`", draft.kind);
        return Ok(());
    }
    let one = |name: &str| parse_word(&written, |_| word::LOG_STEP.read(name)).map(|step| *step);
    draft.settings.proxy.log.steps = Some(match written.as_str() {
        "all" => LogStep::ALL.to_vec(),
        names => names.split(',').map(one).collect::<Result<_, _>>()?,
    });
    Ok(())
}

/// Reads the name of the program in headers.
pub(super) fn tag(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.proxy.log.tag = Some(line.parse("a name", text::log_word)?);
    Ok(())
}

/// Reads the name of the program in headers, for all proxies.
pub(super) fn global_tag(line: &mut Line, global: &mut Global, _: &mut Reader) -> Result<(), Diagnostic> {
    global.log_tag = Some(line.parse("a name", text::log_word)?);
    Ok(())
}

/// Reads that headers name this host, and perhaps how.
pub(super) fn send_hostname(line: &mut Line, global: &mut Global, _: &mut Reader) -> Result<(), Diagnostic> {
    let name = if line.peek().is_some() { Some(line.parse("a name", text::log_word)?.value().clone()) } else { None };
    global.log_host = Some(name);
    Ok(())
}

/// Reads the format of lines, which only frontends have.
fn front(line: &mut Line, draft: &Draft, reader: &mut Reader) -> Result<Option<Located<String>>, Diagnostic> {
    let format = line.expect("a format")?;
    if draft.kind == Kind::Backend {
        let what = format!("`{}`", line.keyword().value());
        idle(line, reader, &what, draft.kind);
        return Ok(None);
    }
    Ok(Some(format))
}

/// Reads what the names of exchanges look like.
pub(super) fn unique_id_format(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let lacking = line.error("`unique-id-format` lacks its format");
    draft.settings.proxy.unique_id.format = Some(line.joined().ok_or(lacking)?);
    Ok(())
}

/// Reads which header field tells servers the name of an exchange.
pub(super) fn unique_id_header(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.proxy.unique_id.header = Some(line.expect("the name of a header field")?);
    Ok(())
}
