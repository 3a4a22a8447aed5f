//! Answers in place of a proxy's own pages, and which responses are compressed.

use super::draft::Draft;
use super::line::{Line, parse_word};
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location};
use crate::config::model::{ErrorReply, HttpErrors};
use crate::config::value::{reply as value, text, word};
use crate::config::written::Compression;

/// Reads `errorfile STATUS FILE`.
pub(super) fn errorfile(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let status = line.parse("a status", value::status)?;
    let path = line.parse("the name of a file", text::path)?;
    draft.settings.proxy.errors.push(ErrorReply::File { status: *status, path });
    Ok(())
}

/// Reads `errorfiles SECTION [STATUS...]`.
pub(super) fn errorfiles(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let section = line.expect("the name of a section http-errors")?;
    let mut statuses = Vec::new();
    while let Some(word) = line.next() {
        statuses.push(*parse_word(&word, value::status)?);
    }
    draft.settings.proxy.errors.push(ErrorReply::Files { section, statuses });
    Ok(())
}

/// Reads `errorloc STATUS URL`, `errorloc302` and `errorloc303`.
pub(super) fn errorloc(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let code = if line.keyword().as_str() == "errorloc303" { 303 } else { 302 };
    let status = line.parse("a status", value::status)?;
    let location = line.parse("a location", value::location)?;
    draft.settings.proxy.errors.push(ErrorReply::Redirect { status: *status, location, code });
    Ok(())
}

/// Reads `http-error ARGUMENTS`.
pub(super) fn http_error(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let text = line.rest().ok_or_else(|| line.error("`http-error` lacks a status"))?;
    draft.settings.proxy.errors.push(ErrorReply::Written(text));
    Ok(())
}

/// Begins a section `http-errors NAME`.
pub(super) fn section(line: &mut Line, others: &[HttpErrors]) -> Result<HttpErrors, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    match others.iter().find(|other| other.name.value() == name.value()) {
        Some(other) => {
            let first = other.name.location();
            let error = Diagnostic::error(name.location(), format!("there is a section http-errors `{name}` already"));
            Err(error.hint(format!("{}:{}", first.file(), first.line())))
        }
        None => Ok(HttpErrors { name, files: Vec::new() }),
    }
}

/// Reads a line of a section `http-errors`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, section: &mut HttpErrors) -> Result<(), Diagnostic> {
    if keyword.as_str() != "errorfile" {
        return Err(line.error(format!("`{}` has no place in section `http-errors`", **keyword)).hint("errorfile STATUS FILE"));
    }
    let status = line.parse("a status", value::status)?;
    let path = line.parse("the name of a file", text::path)?;
    section.files.push((*status, path));
    line.finish()
}

/// Reads `compression algo CODING...`, `compression type TYPE...`, `compression offload` and `compression minsize-res SIZE`.
pub(super) fn compression(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let location = line.location();
    let found = draft.settings.proxy.compression.get_or_insert_with(|| empty(location));
    let what = line.expect("algo, type, offload or minsize-res")?;
    match what.as_str() {
        "algo" | "algo-res" => {
            found.codings.push(*line.parse("a coding", |text| word::CODING.read(text))?);
            while let Some(word) = line.next() {
                found.codings.push(*parse_word(&word, |text| word::CODING.read(text))?);
            }
        }
        "type" | "type-res" => {
            found.types.push(line.expect("a type")?.value().clone());
            while let Some(word) = line.next() {
                found.types.push(word.value().clone());
            }
        }
        "offload" => found.offload = Some(true),
        "direction" => {
            let direction = line.expect("response")?;
            if direction.as_str() != "response" {
                return Err(Diagnostic::error(direction.location(), "compression of requests is not supported yet"));
            }
        }
        "minsize-res" => found.least = Some(*line.parse("a size", crate::config::value::units::size)?),
        "algo-req" | "type-req" | "minsize-req" => {
            return Err(Diagnostic::error(what.location(), "compression of requests is not supported yet"));
        }
        other => {
            let known = ["algo", "algo-res", "type", "type-res", "offload", "direction", "minsize-res"];
            let error = Diagnostic::error(what.location(), format!("`compression` does not know `{other}`"));
            return Err(error.hint(crate::config::suggest::hint(other, &known)));
        }
    }
    Ok(())
}

fn empty(location: Location) -> Compression {
    Compression { location, codings: Vec::new(), types: Vec::new(), offload: None, least: None }
}
