//! Keywords of where clients arrive.

use super::bind as words;
use super::draft::Draft;
use super::line::Line;
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::value::text;

pub(super) fn bind(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let defaults = draft.tls.as_ref().unwrap_or_else(|| reader.bind_tls()).clone();
    let binds = words::binds(line, defaults, reader)?;
    draft.frontend.binds.extend(binds);
    Ok(())
}

pub(super) fn default_backend(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.default_backend = Some(line.expect("the name of a backend")?);
    Ok(())
}

pub(super) fn maxconn(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let maxconn = *line.integer(0..=u32::MAX)?;
    draft.settings.maxconn = Some(maxconn).filter(|maxconn| *maxconn > 0);
    Ok(())
}

pub(super) fn backlog(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let backlog = *line.integer(0..=u32::MAX)?;
    draft.settings.backlog = Some(backlog).filter(|backlog| *backlog > 0);
    Ok(())
}

pub(super) fn rate_limit(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    if !line.accept("sessions") {
        return Err(line.error_at_next("`rate-limit` lacks `sessions`").hint("for example rate-limit sessions 100"));
    }
    draft.settings.rate_limit = Some(*line.integer(0..=u32::MAX)?);
    Ok(())
}

pub(super) fn monitor_uri(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.frontend.monitor_uri = Some(line.parse("a target", text::request_target)?);
    Ok(())
}
