//! How servers are checked: `option httpchk` and the like, `http-check` and `tcp-check`.

use super::draft::Draft;
use super::line::{Line, parse_word, unknown};
use super::protocol;
use super::reader::Reader;
use super::sequence;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{Format, Request, Script};
use crate::config::value::{check as value, text};
use crate::config::written::{CheckOption, External};

/// Reads `option NAME …` where the name is that of a kind of check; returns whether it is.
pub(super) fn option(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<bool, Diagnostic> {
    if line.is_negated() {
        return refused(line);
    }
    if protocol::option(line, draft)? {
        return Ok(true);
    }
    let option = match line.peek() {
        Some("httpchk") => httpchk(line, reader)?,
        Some("tcp-check") => {
            line.accept("tcp-check");
            CheckOption::Tcp
        }
        Some("external-check") => {
            line.accept("external-check");
            CheckOption::External(line.location(), External::default())
        }
        Some("udp-check") => {
            line.accept("udp-check");
            CheckOption::Udp(line.location())
        }
        Some("spop-check") => return Err(line.error_at_next("there are no agents of stream processing here, so none is checked")),
        Some(_) | None => return Ok(false),
    };
    draft.settings.checks.option = Some(option);
    Ok(true)
}

/// Refuses `no` before the option of a check; returns that it is another option.
fn refused(line: &Line) -> Result<bool, Diagnostic> {
    const CHECKS: [&str; 13] = [
        "dns-check",
        "external-check",
        "grpc-check",
        "httpchk",
        "ldap-check",
        "mysql-check",
        "pgsql-check",
        "quic-check",
        "redis-check",
        "smtpchk",
        "ssl-hello-chk",
        "tcp-check",
        "udp-check",
    ];
    if line.peek().is_some_and(|word| CHECKS.contains(&word)) {
        return Err(line.error("`no` cannot stand before the option of a check").hint("the last of these options counts"));
    }
    Ok(false)
}

/// Reads `httpchk [URI]`, `httpchk METHOD URI [VERSION [HOST]]`.
fn httpchk(line: &mut Line, reader: &mut Reader) -> Result<CheckOption, Diagnostic> {
    line.accept("httpchk");
    let mut request = Request::default();
    let (first, second) = (line.next(), line.next());
    let (method, uri) = if second.is_some() { (first, second) } else { (None, first) };
    if let Some(method) = method {
        request.method = Some(parse_word(&method, value::method)?.value().clone());
    }
    if let Some(uri) = uri {
        request.target = Some(Format::plain(parse_word(&uri, value::path)?.value().as_str()));
    }
    if let Some(version) = line.next() {
        hidden(&version, &mut request, reader)?;
    }
    if let Some(host) = line.next() {
        request.headers.push(("host".to_owned(), Format::plain(parse_word(&host, value::host)?.value().as_str())));
    }
    if let Some(word) = line.next() {
        return Err(Diagnostic::error(word.location(), format!("`option httpchk` does not know `{}`", *word)));
    }
    Ok(CheckOption::Http(request))
}

/// Reads a version, and the header fields and the body that old files hide behind it.
fn hidden(written: &Located<String>, request: &mut Request, reader: &mut Reader) -> Result<(), Diagnostic> {
    let Some((version, rest)) = written.split_once("\r\n") else {
        request.version = Some(*parse_word(written, value::version)?);
        return Ok(());
    };
    reader.warn(written.location(), "header fields are hidden behind the version", "write http-check send hdr …");
    let at = |text: &str| Located::new(text.to_owned(), written.location().clone());
    request.version = Some(*parse_word(&at(version), value::version)?);
    let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            return Err(Diagnostic::error(written.location(), format!("`{line}` is not a header field")));
        };
        let name = parse_word(&at(name.trim()), value::header_name)?.value().clone();
        if !matches!(name.as_str(), "content-length" | "transfer-encoding") {
            request.headers.push((name, Format::plain(value.trim())));
        }
    }
    request.body = Some(body).filter(|body| !body.is_empty()).map(Format::plain);
    Ok(())
}

/// Reads a line `external-check …`.
pub(super) fn external_check(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let word = line.expect("`command` or `path`")?;
    let external = &mut draft.settings.checks.external;
    match word.as_str() {
        "command" => external.command = Some(line.parse("a program", text::path)?),
        "path" => external.path = Some(line.expect("directories")?),
        _ => return Err(unknown(&word, "`external-check`", &["command", "path"], &[])),
    }
    Ok(())
}

/// Reads a line `http-check …`.
pub(super) fn http_check(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    sequence::push(line, &mut draft.settings.checks.http, Script::Http)
}

/// Reads a line `tcp-check …`.
pub(super) fn tcp_check(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    sequence::push(line, &mut draft.settings.checks.tcp, Script::Tcp)
}
