//! Rules and named conditions: handed on as they are written, for the rule engine to read.

use super::draft::{Draft, Kind};
use super::line::Line;
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::Acl;
use crate::config::value::rule as value;

/// Reads `acl NAME EXPRESSION`; declared again, a name stands for either.
pub(super) fn acl(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let name = line.expect("its name")?;
    let expression = line.rest().ok_or_else(|| line.error(format!("acl `{}` lacks its expression", *name)))?;
    let kind = draft.kind;
    if kind == Kind::Defaults {
        named_only(line, draft)?;
        declare(&mut draft.settings.preset.acls, &name, &expression);
        return Ok(());
    }
    let declared = if kind.has_frontend() { &draft.frontend.acls } else { &draft.backend.acls };
    let before = declared.iter().find(|acl| acl.name.value() == name.value()).and_then(|acl| acl.expressions.last());
    let fetch = |text: &str| text.split(['_', '(', ' ', '\t']).next().map(str::to_owned);
    // The same fetch once more is a longer list; another one looks as if both should hold.
    if before.is_some_and(|before| fetch(before) != fetch(&expression)) {
        reader.warn(name.location(), format!("acl `{}` is declared again", *name), "either declaration is enough: this is OR, not AND");
    }
    if kind.has_frontend() {
        declare(&mut draft.frontend.acls, &name, &expression);
    }
    if kind.has_backend() {
        declare(&mut draft.backend.acls, &name, &expression);
    }
    Ok(())
}

/// Refuses rules in defaults that cannot be asked for by name.
fn named_only(line: &Line, draft: &Draft) -> Result<(), Diagnostic> {
    if !draft.name.is_empty() {
        return Ok(());
    }
    let error = line.error(format!("`{}` has no place in section `defaults` without a name", line.keyword().value()));
    Err(error.hint("write defaults NAME, and `from NAME` where it is meant"))
}

fn declare(acls: &mut Vec<Acl>, name: &Located<String>, expression: &Located<String>) {
    match acls.iter_mut().find(|acl| acl.name.value() == name.value()) {
        Some(acl) => acl.expressions.push(expression.clone()),
        None => acls.push(Acl { name: name.clone(), expressions: vec![expression.clone()] }),
    }
}

/// Reads a rule.
pub(super) fn rule(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    if draft.kind == Kind::Defaults {
        named_only(line, draft)?;
        draft.settings.preset.rules.push(line.whole());
        return Ok(());
    }
    let rule = line.whole();
    let (is_early, is_late) = value::half(&rule);
    if draft.kind.has_frontend() && !(is_late && draft.kind.has_backend()) {
        draft.frontend.rules.push(rule.clone());
    }
    if draft.kind.has_backend() && !(is_early && draft.kind.has_frontend()) {
        draft.backend.rules.push(rule);
    }
    Ok(())
}

/// Reads `tcp-request inspect-delay TIME`, or a rule.
pub(super) fn tcp_request(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    if line.peek() != Some("inspect-delay") {
        return rule(line, draft, reader);
    }
    if !draft.kind.has_frontend() {
        return rule(line, draft, reader);
    }
    line.accept("inspect-delay");
    draft.frontend.inspect_delay = Some(line.period()?);
    Ok(())
}
