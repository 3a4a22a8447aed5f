//! Sections `log-profile`: what the lines for some targets look like.

use super::line::{Line, unknown};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{LogProfile, ProfileLine};
use crate::config::value::{text, word};

/// Keywords of the section.
pub(super) const KEYWORDS: [&str; 2] = ["log-tag", "on"];

/// Begins a section `log-profile NAME`.
pub(super) fn section(line: &mut Line, others: &[LogProfile]) -> Result<LogProfile, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    if let Some(other) = others.iter().find(|other| other.name() == name.as_str()) {
        let error = Diagnostic::error(name.location(), format!("there is a log-profile `{name}` already"));
        return Err(error.hint(format!("{}:{}", other.location().file(), other.location().line())));
    }
    Ok(LogProfile::new(name))
}

/// Reads a line of a section `log-profile`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, profile: &mut LogProfile) -> Result<(), Diagnostic> {
    match keyword.as_str() {
        "log-tag" => profile.tag = Some(line.parse("a name", text::log_word)?),
        "on" => profile.set(on(line)?),
        _ => return Err(unknown(keyword, "section `log-profile`", &KEYWORDS, &[])),
    }
    line.finish()
}

/// Reads `on OCCASION [drop] [format FORMAT] [sd FORMAT]`.
fn on(line: &mut Line) -> Result<ProfileLine, Diagnostic> {
    let occasion = *line.parse("a step", |text| word::OCCASION.read(text))?;
    let mut read = ProfileLine::new(occasion);
    if line.peek().is_none() {
        return Err(line.error("`on` lacks what there is to say").hint("drop, format or sd"));
    }
    while let Some(word) = line.next() {
        match word.as_str() {
            "drop" => read.dropped = true,
            "format" => read.format = Some(line.expect("a format")?),
            "sd" => read.structured = Some(line.expect("a format")?),
            _ => return Err(unknown(&word, "`on`", &["drop", "format", "sd"], &[])),
        }
    }
    Ok(read)
}
