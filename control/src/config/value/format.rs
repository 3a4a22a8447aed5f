//! Log formats and sample expressions of checks.

use super::Mistake;
use crate::config::model::{Converter, Expression, Fetch, Format, Piece};
use crate::config::suggest;

/// Reads a log format.
pub(in crate::config) fn format(text: &str) -> Result<Format, Mistake> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let (sample, length) = match after.strip_prefix('[') {
            Some(inner) => {
                let end = closing(inner).ok_or_else(|| Mistake::new("this expression is not closed by `]`").at(text, &rest[at..]))?;
                (expression(&inner[..end]).map_err(|mistake| mistake.within(text, &inner[..end]))?, end + 2)
            }
            None => variable(after).ok_or_else(|| {
                let length = after.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '{' | '}' | '+')).unwrap_or(after.len());
                let mistake = Mistake::new(format!("`{}` says nothing in a check", &rest[at..=at + length]));
                mistake.at(text, &rest[at..=at + length]).hint("known: %%, %H, %b, %pid, %s and %[expressions]")
            })?,
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal).into_bytes()));
        }
        pieces.push(Piece::Sample(sample));
        rest = &after[length..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal.into_bytes()));
    }
    Ok(Format { pieces })
}

/// Returns where an expression ends, behind all brackets within it.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' if depth == 0 => return Some(at),
            ']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Reads a variable of log formats at the beginning of a text, and tells how long it is.
fn variable(text: &str) -> Option<(Expression, usize)> {
    let known = [("pid", Fetch::ProcessId), ("H", Fetch::Hostname), ("b", Fetch::BackendName), ("s", Fetch::ServerName)];
    let length = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (name, fetch) = known.into_iter().find(|(name, _)| text[..length] == **name)?;
    Some((Expression { fetch, converters: Vec::new() }, name.len()))
}

/// Reads a sample expression: a fetch, and converters behind commas.
pub(in crate::config) fn expression(text: &str) -> Result<Expression, Mistake> {
    let parts = calls(text);
    let (first, rest) = parts.split_first().ok_or_else(|| Mistake::new("an expression is empty"))?;
    let fetch = fetch(first).map_err(|mistake| mistake.within(text, first))?;
    let converters: Result<_, _> = rest.iter().map(|part| converter(part).map_err(|mistake| mistake.within(text, part))).collect();
    Ok(Expression { fetch, converters: converters? })
}

/// Cuts an expression at the commas outside of parentheses.
fn calls(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

/// Cuts `name(arguments)`.
fn call(text: &str) -> Result<(&str, Vec<&str>), Mistake> {
    let text = text.trim();
    match text.split_once('(') {
        None => Ok((text, Vec::new())),
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(|| Mistake::new(format!("`{text}` lacks its closing parenthesis")))?;
            Ok((name, inner.split(',').map(str::trim).collect()))
        }
    }
}

fn fetch(text: &str) -> Result<Fetch, Mistake> {
    let (name, arguments) = call(text)?;
    let wrong = || Mistake::new(format!("`{name}` wants other arguments than `{text}` has"));
    match (name, &arguments[..]) {
        ("str", [text]) => Ok(Fetch::Text(text.as_bytes().to_vec())),
        ("int", [number]) => number.parse::<i64>().map(|number| Fetch::Text(number.to_string().into_bytes())).map_err(|_| wrong()),
        ("var", [name]) => variable_name(name).map(Fetch::Variable),
        ("srv_name", []) => Ok(Fetch::ServerName),
        ("be_name", []) => Ok(Fetch::BackendName),
        ("hostname", []) => Ok(Fetch::Hostname),
        ("pid", []) => Ok(Fetch::ProcessId),
        ("status" | "res.status", []) => Ok(Fetch::Status),
        ("res.len" | "rep.len", []) => Ok(Fetch::PayloadLength),
        ("res.payload" | "rep.payload", [offset, length]) => {
            let number = |text: &str| text.parse().map_err(|_| wrong());
            Ok(Fetch::Payload { offset: number(offset)?, length: number(length)? })
        }
        ("str" | "int" | "var" | "srv_name" | "be_name" | "hostname" | "pid" | "status" | "res.len" | "res.payload", _) => Err(wrong()),
        _ => Err(Mistake::new(format!("checks do not know `{name}`")).hint(suggest::hint(name, &FETCHES))),
    }
}

const FETCHES: [&str; 10] =
    ["be_name", "hostname", "int(N)", "pid", "res.len", "res.payload(OFFSET,LENGTH)", "srv_name", "status", "str(TEXT)", "var(check.NAME)"];

fn converter(text: &str) -> Result<Converter, Mistake> {
    let (name, arguments) = call(text)?;
    let wrong = || Mistake::new(format!("`{name}` wants other arguments than `{text}` has"));
    let number = |text: &str| text.parse().map_err(|_| wrong());
    match (name, &arguments[..]) {
        ("bytes", [offset]) => Ok(Converter::Bytes(number(offset)?, None)),
        ("bytes", [offset, length]) => Ok(Converter::Bytes(number(offset)?, Some(number(length)?))),
        ("cut_crlf", []) => Ok(Converter::CutCrLf),
        ("hex", []) => Ok(Converter::Hex),
        ("length", []) => Ok(Converter::Length),
        ("lower", []) => Ok(Converter::Lower),
        ("upper", []) => Ok(Converter::Upper),
        ("bytes" | "cut_crlf" | "hex" | "length" | "lower" | "upper", _) => Err(wrong()),
        _ => Err(Mistake::new(format!("checks do not know the converter `{name}`")).hint(suggest::hint(name, &CONVERTERS))),
    }
}

const CONVERTERS: [&str; 6] = ["bytes", "cut_crlf", "hex", "length", "lower", "upper"];

/// Checks the name of a variable, with its scope.
pub(in crate::config) fn variable_name(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.split_once('.') {
        Some(("check" | "sess", name)) if !name.is_empty() && name.chars().all(allowed) => Ok(text.to_owned()),
        Some(("proc", _)) => {
            Err(Mistake::new(format!("`{text}`: checks share no variables with the process")).hint("use the scope check or sess"))
        }
        _ => Err(Mistake::new(format!("`{text}` is not a variable of checks")).hint("for example check.port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_cut_into_text_and_samples() {
        let format = format("GET /%s?%[var(check.a),bytes(1,2),hex]%%\r\n").unwrap();
        let sample = |fetch, converters| Piece::Sample(Expression { fetch, converters });
        let expected = [
            Piece::Text(b"GET /".to_vec()),
            sample(Fetch::ServerName, vec![]),
            Piece::Text(b"?".to_vec()),
            sample(Fetch::Variable("check.a".to_owned()), vec![Converter::Bytes(1, Some(2)), Converter::Hex]),
            Piece::Text(b"%\r\n".to_vec()),
        ];
        assert_eq!(format.pieces, expected);
    }

    #[test]
    fn what_checks_cannot_say_is_refused_by_name() {
        let cases = [
            ("%[src]", "checks do not know `src`"),
            ("%ci", "`%ci` says nothing in a check"),
            ("%[int(a)]", "`int` wants other arguments"),
            ("%[int(1)", "this expression is not closed"),
            ("%[int(1),md5]", "checks do not know the converter `md5`"),
            ("%[var(txn.a)]", "`txn.a` is not a variable of checks"),
            ("%[var(proc.a)]", "checks share no variables"),
            ("%", "`%` says nothing"),
            ("%[]", "checks do not know ``"),
            ("%ä", "says nothing"),
        ];
        for (text, message) in cases {
            let mistake = format(text).unwrap_err();
            assert!(mistake.message().contains(message), "{text}: {}", mistake.message());
        }
    }
}
