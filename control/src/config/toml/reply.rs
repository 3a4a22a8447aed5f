//! Answers in place of a proxy's own pages, and sections `[http-errors.NAME]`.

use std::path::PathBuf;

use super::reader::Reader;
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::{ErrorReply, HttpErrors};
use crate::config::value::{reply as value, text};

/// Reads every answer a proxy gives in place of its own pages; what names one status alone counts more than what names many.
pub(super) fn errors(reader: &mut Reader, section: &mut Section<'_>) -> Vec<ErrorReply> {
    let mut found = Vec::new();
    if let Some(item) = section.take("errorfiles") {
        for files in reader.texts(&item, "site 503", value::files) {
            let name = Located::new(files.section.clone(), files.location().clone());
            found.push(ErrorReply::Files { section: name, statuses: files.statuses.clone() });
        }
    }
    for (key, code) in [("errorloc", 302), ("errorloc302", 302), ("errorloc303", 303)] {
        let pages = by_status(reader, section, key, "\"/sorry\"", value::location);
        found.extend(pages.into_iter().map(|(status, location)| ErrorReply::Redirect { status, location, code }));
    }
    found.extend(files(reader, section).into_iter().map(|(status, path)| ErrorReply::File { status, path }));
    if let Some(item) = section.take("http-error") {
        let example = "status 503 content-type text/plain string \\\"back soon\\\"";
        found.extend(reader.texts(&item, example, text::not_empty).into_iter().map(ErrorReply::Written));
    }
    found
}

pub(super) fn http_errors(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> HttpErrors {
    let files = files(reader, &mut section);
    section.finish(reader, &[]);
    HttpErrors { name, files }
}

fn files(reader: &mut Reader, section: &mut Section<'_>) -> Vec<(u16, Located<PathBuf>)> {
    by_status(reader, section, "errorfile", "\"/etc/l7d/errors/503.http\"", text::path)
}

/// Reads a table whose keys are statuses.
fn by_status<T>(
    reader: &mut Reader,
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    parse: impl Fn(&str) -> Result<T, crate::config::value::Mistake>,
) -> Vec<(u16, Located<T>)> {
    let title = format!("`{key}` of {}", section.title());
    let Some(item) = section.take(key) else { return Vec::new() };
    let Some(mut inner) = reader.section(&item, title, &format!("{{ 503 = {example} }}")) else { return Vec::new() };
    let mut found = Vec::new();
    for item in inner.names() {
        let status = reader.parse(&item.key, value::status);
        let value = reader.text(&item, example.trim_matches('"'), &parse);
        found.extend(status.map(|status| *status.value()).zip(value));
    }
    found
}
