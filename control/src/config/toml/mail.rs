//! Sections `[mailers.NAME]`, and what proxies have told by mail.

use super::reader::Reader;
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::Mailers;
use crate::config::value::{mail, word};
use crate::config::written::Alert;

/// Reads a section.
pub(super) fn mailers(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Mailers {
    let mut mailers = Mailers::new(name);
    if let Some(item) = section.take("timeout")
        && let Some(mut inner) = reader.section(&item, "`timeout` of mailers", "{ mail = \"10s\" }")
    {
        if let Some(period) = inner.take("mail").and_then(|item| reader.period(&item)) {
            mailers.timeout = period;
        }
        inner.finish(reader, &[]);
    }
    if let Some(item) = section.take("mailer")
        && let Some(mut inner) = reader.section(&item, "`mailer`", "{ smtp1 = \"192.0.2.1:25\" }")
    {
        for item in inner.names() {
            let read = reader.text(&item, "192.0.2.1:25", |text| mail::mailer(&item.key, text));
            mailers.list.extend(read.map(|mailer| mailer.value().clone()));
        }
    }
    section.finish(reader, &[]);
    mailers
}

/// Reads what a proxy has told by mail.
pub(super) fn alert(reader: &mut Reader, section: &mut Section<'_>) -> Alert {
    let Some(item) = section.take("email-alert") else { return Alert::default() };
    let example = "{ mailers = \"ops\", from = \"lb@example.com\", to = \"ops@example.com\" }";
    let Some(mut inner) = reader.section(&item, "`email-alert`", example) else { return Alert::default() };
    let alert = Alert {
        mailers: inner.take("mailers").and_then(|item| reader.string(&item, "ops")),
        from: inner.take("from").and_then(|item| reader.text(&item, "lb@example.com", mail::word)),
        to: inner.take("to").and_then(|item| reader.text(&item, "ops@example.com", mail::word)),
        host: inner.take("myhostname").and_then(|item| reader.text(&item, "lb1.example.com", mail::word)),
        level: inner.take("level").and_then(|item| reader.text(&item, "notice", |text| word::SYSLOG_LEVEL.read(text))),
    };
    inner.finish(reader, &[]);
    alert
}
