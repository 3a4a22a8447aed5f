//! What a proxy writes about its traffic: `log`, `log-format` and what belongs to them.

use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{LogStep, UniqueId};
use crate::config::value::{text, word};
use crate::config::written::Logging;

/// Reads the settings of a frontend or of the defaults.
pub(super) fn logging(reader: &mut Reader, section: &mut Section<'_>) -> Logging {
    Logging {
        targets: section.take("log").map(|item| reader.texts(&item, "127.0.0.1:514 local0", text::not_empty)),
        format: format(reader, section, "log-format", "%ci:%cp [%tr] %ft %b/%s %ST %B"),
        error_format: format(reader, section, "error-log-format", "%ci:%cp [%tr] %ft %ts"),
        structured: format(reader, section, "log-format-sd", "[exampleSDID@1234 backend=\\\"%b\\\"]"),
        tag: tag(reader, section),
        steps: section.take("log-steps").map(|item| steps(reader, &item)),
    }
}

/// Reads at which steps of an exchange lines are written: some of them, or `all`.
fn steps(reader: &mut Reader, item: &Item<'_>) -> Vec<LogStep> {
    if item.value.as_str() == Some("all") {
        return LogStep::ALL.to_vec();
    }
    reader.texts(item, "close", |text| word::LOG_STEP.read(text)).into_iter().map(|step| *step).collect()
}

/// Reads the name of the program that headers of lines show.
pub(super) fn tag(reader: &mut Reader, section: &mut Section<'_>) -> Option<Located<String>> {
    section.take("log-tag").and_then(|item| reader.text(&item, "edge", text::log_word))
}

/// Reads whether headers of lines name this host, and which name that is if not its own.
pub(super) fn host(reader: &mut Reader, item: &Item<'_>) -> Option<Option<String>> {
    match item.value.as_bool() {
        Some(on) => on.then_some(None),
        None => reader.text(item, "edge1", text::log_word).map(|name| Some(name.value().clone())),
    }
}

/// Reads how exchanges get a name of their own.
pub(super) fn unique_id(reader: &mut Reader, section: &mut Section<'_>) -> UniqueId {
    UniqueId {
        format: format(reader, section, "unique-id-format", "%{+X}o %ci:%cp_%fi:%fp_%Ts_%rt:%pid"),
        header: section.take("unique-id-header").and_then(|item| reader.text(&item, "X-Request-Id", text::not_empty)),
    }
}

fn format(reader: &mut Reader, section: &mut Section<'_>, key: &'static str, example: &str) -> Option<Located<String>> {
    section.take(key).and_then(|item| reader.string(&item, example))
}

/// Refuses what only frontends have.
pub(super) fn refuse(reader: &mut Reader, section: &mut Section<'_>) {
    for key in ["log-format", "error-log-format", "log-format-sd", "log-steps"] {
        if let Some(item) = section.take(key) {
            let diagnostic = Diagnostic::error(item.key.location(), format!("`{key}` has no effect in {}", section.title()));
            reader.push(diagnostic.hint("set it in the frontend or in [defaults]"));
        }
    }
}
