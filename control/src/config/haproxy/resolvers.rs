//! Sections `resolvers`: servers of the DNS, and how they are asked.

use super::line::{Line, unknown};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::Resolvers;
use crate::config::value::{naming, text};
use crate::file;

/// Keywords of the section.
const KEYWORDS: [&str; 6] = ["accepted_payload_size", "hold", "nameserver", "parse-resolv-conf", "resolve_retries", "timeout"];

/// Begins a section `resolvers NAME`.
pub(super) fn section(line: &mut Line, others: &[Resolvers]) -> Result<Resolvers, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    if let Some(other) = others.iter().find(|other| other.name.value() == name.value()) {
        let error = Diagnostic::error(name.location(), format!("there is a section resolvers `{name}` already"));
        return Err(error.hint(format!("{}:{}", other.location().file(), other.location().line())));
    }
    Ok(Resolvers::new(name))
}

/// Reads a line of a section `resolvers`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, section: &mut Resolvers) -> Result<(), Diagnostic> {
    match keyword.as_str() {
        "accepted_payload_size" => section.payload = *line.integer(512..=u16::MAX)?,
        "hold" => hold(line, section)?,
        "nameserver" => nameserver(line, section)?,
        "parse-resolv-conf" => {
            let read = file::read_text(SYSTEM.as_ref(), LARGEST).map_err(|error| line.error(format!("{SYSTEM}: {error}")))?;
            for nameserver in naming::system(&read) {
                if section.nameservers.iter().all(|other| other.name != nameserver.name) {
                    section.nameservers.push(nameserver);
                }
            }
        }
        "resolve_retries" => section.retries = *line.integer(1..=MOST_RETRIES)?,
        "timeout" => {
            let event = line.expect("`resolve` or `retry`")?;
            let period = *line.period()?;
            match event.as_str() {
                "resolve" => section.resolve = period,
                "retry" => section.retry = period,
                _ => return Err(unknown(&event, "`timeout` of resolvers", &["resolve", "retry"], &[])),
            }
        }
        _ => return Err(unknown(keyword, "section `resolvers`", &KEYWORDS, &[])),
    }
    line.finish()
}

fn nameserver(line: &mut Line, section: &mut Resolvers) -> Result<(), Diagnostic> {
    let name = line.expect("its name")?;
    if section.nameservers.iter().any(|other| other.name == *name.value()) {
        return Err(Diagnostic::error(name.location(), format!("there is a nameserver `{name}` already")));
    }
    let nameserver = line.parse("its address", |text| naming::nameserver(&name, text))?;
    section.nameservers.push(nameserver.value().clone());
    Ok(())
}

fn hold(line: &mut Line, section: &mut Resolvers) -> Result<(), Diagnostic> {
    let status = line.expect("a status")?;
    let period = *line.duration()?;
    let hold = &mut section.hold;
    *match status.as_str() {
        "nx" => &mut hold.nx,
        "obsolete" => &mut hold.obsolete,
        "other" => &mut hold.other,
        "refused" => &mut hold.refused,
        "timeout" => &mut hold.timeout,
        "valid" => &mut hold.valid,
        _ => return Err(unknown(&status, "`hold`", &["nx", "obsolete", "other", "refused", "timeout", "valid"], &[])),
    } = period;
    Ok(())
}

const SYSTEM: &str = "/etc/resolv.conf";
const LARGEST: usize = 64 << 10;
const MOST_RETRIES: u32 = 100;
