//! The steps of checks: what stands behind `tcp-check` and `http-check`, also in the native format.

use super::line::{Line, parse_word, unknown};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{
    Action, Connect, Expect, Format, HeaderPattern, Pattern, Payload, Piece, Place, Port, Request, Script, Step, TextMatch,
};
use crate::config::value::{Mistake, address, check as value, format, text, word};

/// What a line adds to a sequence.
pub(super) enum Rule {
    Step(Box<Step>),
    /// What is said beside a failure of the next step.
    Comment(String),
    DisableOn404,
    SendState,
}

/// Reads the words of one step, whose keyword is read already.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn rule(line: &mut Line, script: Script) -> Result<Rule, Diagnostic> {
    let word = line.expect("what to do")?;
    let is_http = script == Script::Http;
    let mut comment = None;
    let action = match word.as_str() {
        "comment" => return Ok(Rule::Comment(line.expect("the comment")?.value().clone())),
        "disable-on-404" if is_http => return Ok(Rule::DisableOn404),
        "send-state" if is_http => return Ok(Rule::SendState),
        "connect" => Action::Connect(connect(line, &mut comment)?),
        "send" if is_http => Action::Request(request(line, &mut comment)?),
        "send" => Action::Send(Payload::Text(Format::plain(line.expect("what to send")?.value().as_str()))),
        "send-binary" if !is_http => Action::Send(Payload::Hex(plain_hex(line)?)),
        "send-lf" if !is_http => Action::Send(Payload::Text(line.parse("what to send", format::format)?.value().clone())),
        "send-binary-lf" if !is_http => Action::Send(Payload::Hex(line.parse("what to send", format::format)?.value().clone())),
        "expect" => Action::Expect(expect(line, script, &mut comment)?),
        other if other.starts_with("set-var(") => Action::SetVariable(variable(&word, "set-var(")?, Format::sample(line)?),
        other if other.starts_with("set-var-fmt(") => {
            Action::SetVariable(variable(&word, "set-var-fmt(")?, line.parse("its value", format::format)?.value().clone())
        }
        other if other.starts_with("unset-var(") => Action::UnsetVariable(variable(&word, "unset-var(")?),
        _ => return Err(unknown(&word, &format!("`{}`", line.keyword().value()), words(script), &[])),
    };
    if matches!(action, Action::Send(_)) && line.accept("comment") {
        comment = Some(line.expect("the comment")?.value().clone());
    }
    Ok(Rule::Step(Box::new(Step { number: 0, action, comment })))
}

fn words(script: Script) -> &'static [&'static str] {
    match script {
        Script::Http => &[
            "comment",
            "connect",
            "disable-on-404",
            "expect",
            "send",
            "send-state",
            "set-var(NAME)",
            "set-var-fmt(NAME)",
            "unset-var(NAME)",
        ],
        Script::Tcp | Script::Protocol => &[
            "comment",
            "connect",
            "expect",
            "send",
            "send-binary",
            "send-binary-lf",
            "send-lf",
            "set-var(NAME)",
            "set-var-fmt(NAME)",
            "unset-var(NAME)",
        ],
    }
}

impl Format {
    /// Reads an expression as a format of nothing else.
    fn sample(line: &mut Line) -> Result<Self, Diagnostic> {
        let expression = line.parse("an expression", format::expression)?.value().clone();
        Ok(Self { pieces: vec![Piece::Sample(expression)] })
    }
}

/// Reads the name in `set-var(NAME)`.
fn variable(word: &Located<String>, keyword: &str) -> Result<String, Diagnostic> {
    let read = |text: &str| {
        let inner = text.strip_prefix(keyword).and_then(|rest| rest.strip_suffix(')'));
        let inner = inner.ok_or_else(|| Mistake::new(format!("`{text}` lacks its closing parenthesis")))?;
        if inner.contains(',') {
            return Err(Mistake::new(format!("conditions of `{keyword}` are not supported yet in checks")).at(text, inner));
        }
        format::variable_name(inner).map_err(|mistake| mistake.within(text, inner))
    };
    Ok(parse_word(word, read)?.value().clone())
}

fn plain_hex(line: &mut Line) -> Result<Format, Diagnostic> {
    Ok(Format::plain(line.parse("hexadecimal digits", value::hex)?.value().as_str()))
}

fn connect(line: &mut Line, comment: &mut Option<String>) -> Result<Connect, Diagnostic> {
    let mut connect = Connect::default();
    let mut shown = Vec::new();
    while let Some(word) = line.next() {
        match word.as_str() {
            "default" => connect.defaults = true,
            "linger" => connect.linger = true,
            "send-proxy" => connect.send_proxy = true,
            "ssl" => connect.tls = true,
            "port" => {
                let port = line.expect("a port")?;
                shown.push(format!("port {}", *port));
                connect.port = Some(parse_word(&port, self::port)?.value().clone());
            }
            "addr" => {
                let address = line.parse("an address", address::ip)?;
                shown.push(format!("addr {}", *address));
                connect.address = Some(*address);
            }
            "sni" => connect.sni = Some(line.expect("the name of a host")?.value().clone()),
            "alpn" => connect.alpn = line.parse("names of protocols", text::protocols)?.value().clone(),
            "proto" => connect.version = Some(*line.parse("h1 or h2", |text| word::PROTOCOL.read(text))?),
            "comment" => *comment = Some(line.expect("the comment")?.value().clone()),
            "via-socks4" => return Err(Diagnostic::error(word.location(), "there is no SOCKS here: checks connect by themselves")),
            _ => {
                let known = ["addr", "alpn", "comment", "default", "linger", "port", "proto", "send-proxy", "sni", "ssl"];
                return Err(unknown(&word, "`connect`", &known, &[]));
            }
        }
    }
    connect.text = shown.join(" ");
    Ok(connect)
}

fn port(text: &str) -> Result<Port, Mistake> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let wrong = || Mistake::new(format!("`{text}` is not a port")).hint("1 to 65535");
        return text.parse().ok().filter(|port| *port > 0).map(Port::Number).ok_or_else(wrong);
    }
    format::expression(text).map(Port::Expression)
}

fn request(line: &mut Line, comment: &mut Option<String>) -> Result<Request, Diagnostic> {
    let mut request = Request::default();
    while let Some(word) = line.next() {
        match word.as_str() {
            "meth" => request.method = Some(line.parse("a method", value::method)?.value().clone()),
            "uri" => request.target = Some(Format::plain(line.parse("a target", value::path)?.value().as_str())),
            "uri-lf" => request.target = Some(line.parse("a target", format::format)?.value().clone()),
            "ver" => request.version = Some(*line.parse("a version", value::version)?),
            "hdr" => {
                let name = line.parse("the name of a header field", value::header_name)?;
                let field = line.parse("its value", format::format)?.value().clone();
                // What the length is follows from the body.
                if !matches!(name.as_str(), "content-length" | "transfer-encoding") {
                    request.headers.push((name.value().clone(), field));
                }
            }
            "body" => request.body = Some(Format::plain(line.expect("the body")?.value().as_str())),
            "body-lf" => request.body = Some(line.parse("the body", format::format)?.value().clone()),
            "comment" => *comment = Some(line.expect("the comment")?.value().clone()),
            _ => {
                let known = ["body", "body-lf", "comment", "hdr", "meth", "uri", "uri-lf", "ver"];
                return Err(unknown(&word, "`http-check send`", &known, &[]));
            }
        }
    }
    Ok(request)
}

/// Reads what is expected, and what is said beside a failure.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn expectation(line: &mut Line, script: Script) -> Result<(Expect, Option<String>), Diagnostic> {
    let mut comment = None;
    Ok((expect(line, script, &mut comment)?, comment))
}

fn expect(line: &mut Line, script: Script, comment: &mut Option<String>) -> Result<Expect, Diagnostic> {
    let mut expect = Expect::new(Pattern::Text(Payload::Text(Format::plain(""))));
    let mut has_pattern = false;
    while let Some(word) = line.next() {
        let text = match word.strip_prefix('!') {
            Some(rest) if !has_pattern => {
                expect.negated = true;
                rest
            }
            _ => word.as_str(),
        };
        match text {
            "" => {}
            "comment" => *comment = Some(line.expect("the comment")?.value().clone()),
            "min-recv" => expect.min_recv = line.parse("a number of bytes", value::least)?.value().to_owned(),
            "ok-status" => expect.good = *line.parse("a status", |text| word::GOOD.read(text))?,
            "error-status" => expect.bad = Some(*line.parse("a status", |text| word::BAD.read(text))?),
            "tout-status" => expect.late = *line.parse("a status", |text| word::LATE.read(text))?,
            "on-success" => expect.on_success = Some(line.parse("a text", format::format)?.value().clone()),
            "on-error" => expect.on_error = Some(line.parse("a text", format::format)?.value().clone()),
            "status-code" => expect.status_code = Some(line.parse("an expression", format::expression)?.value().clone()),
            name if !has_pattern => {
                expect.pattern = pattern(line, script, name)?.ok_or_else(|| {
                    let known: &[&str] = if script == Script::Http { &HTTP_PATTERNS } else { &TCP_PATTERNS };
                    unknown(&Located::new(name.to_owned(), word.location().clone()), "`expect`", &[known, &EXPECT].concat(), &[])
                })?;
                has_pattern = true;
            }
            _ => return Err(unknown(&word, "`expect`", &EXPECT, &[])),
        }
    }
    if !has_pattern {
        return Err(line.error("an `expect` lacks what it expects"));
    }
    Ok(expect)
}

pub(super) const EXPECT: [&str; 8] =
    ["comment", "error-status", "min-recv", "ok-status", "on-error", "on-success", "status-code", "tout-status"];
pub(super) const HTTP_PATTERNS: [&str; 8] = ["fhdr", "hdr", "rstatus", "rstring", "status", "string", "string-lf", "!"];
pub(super) const TCP_PATTERNS: [&str; 7] = ["binary", "binary-lf", "rbinary", "rstring", "string", "string-lf", "!"];

/// Reads a pattern by its first word; none if there is no such word.
fn pattern(line: &mut Line, script: Script, name: &str) -> Result<Option<Pattern>, Diagnostic> {
    let is_http = script == Script::Http;
    Ok(Some(match name {
        "string" => Pattern::Text(Payload::Text(Format::plain(line.expect("a text")?.value().as_str()))),
        "string-lf" => Pattern::Text(Payload::Text(line.parse("a text", format::format)?.value().clone())),
        "rstring" => Pattern::Match(line.parse("a regular expression", value::regex)?.value().clone()),
        "status" if is_http => Pattern::Status(line.parse("status codes", value::statuses)?.value().clone()),
        "rstatus" if is_http => Pattern::StatusMatch(line.parse("a regular expression", value::regex)?.value().clone()),
        "hdr" | "fhdr" if is_http => Pattern::Header(header(line, name)?),
        "binary" if !is_http => Pattern::Text(Payload::Hex(plain_hex(line)?)),
        "binary-lf" if !is_http => Pattern::Text(Payload::Hex(line.parse("a text", format::format)?.value().clone())),
        "rbinary" if !is_http => Pattern::HexMatch(line.parse("a regular expression", value::regex)?.value().clone()),
        _ => return Ok(None),
    }))
}

/// Reads `{ name | name-lf } [ -m METHOD ] NAME [ { value | value-lf } [ -m METHOD ] VALUE ]`.
fn header(line: &mut Line, keyword: &str) -> Result<HeaderPattern, Diagnostic> {
    let lowered = |text: &str| text.to_ascii_lowercase();
    let name = match line.expect("name or name-lf")? {
        word if word.as_str() == "name" => text_match(line, Written::Plain, lowered)?,
        word if word.as_str() == "name-lf" => text_match(line, Written::Format, lowered)?,
        word => return Err(unknown(&word, &format!("`expect {keyword}`"), &["name", "name-lf"], &[])),
    };
    let value = if line.accept("value") {
        Some(text_match(line, Written::Plain, str::to_owned)?)
    } else if line.accept("value-lf") {
        Some(text_match(line, Written::Format, str::to_owned)?)
    } else {
        None
    };
    Ok(HeaderPattern { name, value, whole: keyword == "fhdr" })
}

/// How a text is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Plain,
    Format,
}

fn text_match(line: &mut Line, written: Written, made: impl Fn(&str) -> String) -> Result<TextMatch, Diagnostic> {
    let place = match line.accept("-m") {
        false => Place::Whole,
        true => match line.expect("a method of matching")? {
            word if word.as_str() == "reg" && written == Written::Plain => {
                return Ok(TextMatch::Match(line.parse("a regular expression", value::regex)?.value().clone()));
            }
            word => *parse_word(&word, |text| word::PLACE.read(text))?,
        },
    };
    Ok(TextMatch::Text(
        place,
        match written {
            Written::Plain => Format::plain(made(&line.expect("a text")?)),
            Written::Format => line.parse("a text", format::format)?.value().clone(),
        },
    ))
}
