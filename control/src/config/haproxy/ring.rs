//! Sections `ring`: log lines kept in memory, and the servers they are sent on to.

use super::line::{Line, unknown};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{Framing, Ring, RingServer};
use crate::config::value::{address, ring as value, text, units};

/// Keywords of the section.
pub(super) const KEYWORDS: [&str; 6] = ["description", "format", "maxlen", "server", "size", "timeout"];

/// Begins a section `ring NAME`.
pub(super) fn section(line: &mut Line, others: &[Ring]) -> Result<Ring, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    if let Some(other) = others.iter().find(|other| other.name() == name.as_str()) {
        let error = Diagnostic::error(name.location(), format!("there is a ring `{name}` already"));
        return Err(error.hint(format!("{}:{}", other.location().file(), other.location().line())));
    }
    Ok(Ring::new(name))
}

/// Reads a line of a section `ring`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, ring: &mut Ring) -> Result<(), Diagnostic> {
    match keyword.as_str() {
        "description" => ring.description = line.joined().map(|text| text.value().clone()),
        "format" => ring.format = Some(line.expect("a format of logs")?),
        "maxlen" => ring.longest = *line.integer(value::LENGTHS)?,
        "server" => server(line, ring)?,
        "size" => ring.size = size(line)?,
        "timeout" => {
            let event = line.expect("`connect` or `server`")?;
            let period = *line.period()?;
            match event.as_str() {
                "connect" => ring.connect = period,
                "server" => ring.write = period,
                _ => return Err(unknown(&event, "`timeout` of a ring", &["connect", "server"], &[])),
            }
        }
        _ => return Err(unknown(keyword, "section `ring`", &KEYWORDS, &[("backing-file", "rings are in memory")])),
    }
    line.finish()
}

fn size(line: &mut Line) -> Result<usize, Diagnostic> {
    let size = line.parse("a size", units::size)?;
    let allowed = usize::try_from(*size).ok().filter(|_| value::SIZES.contains(size.value()));
    allowed.ok_or_else(|| {
        let message = format!("`{}` is not a size from {} to {}", *size, value::SIZES.start(), value::SIZES.end());
        Diagnostic::error(size.location(), message)
    })
}

/// Reads `server NAME ADDRESS [log-proto PROTOCOL]`.
fn server(line: &mut Line, ring: &mut Ring) -> Result<(), Diagnostic> {
    let name = line.expect("its name")?;
    if ring.servers.iter().any(|other| other.name() == name.as_str()) {
        return Err(Diagnostic::error(name.location(), format!("there is a server `{name}` already")));
    }
    let address = *line.parse("its address", address::endpoint)?;
    let mut framing = Framing::Lines;
    while let Some(word) = line.next() {
        match word.as_str() {
            "log-proto" => framing = *line.parse("a protocol", value::framing)?,
            _ => return Err(unknown(&word, "a server of a ring", &["log-proto"], &[])),
        }
    }
    ring.servers.push(RingServer { name, address, framing });
    Ok(())
}
