//! What is inside structured texts: JSON, tokens of JSON (RFC 7519), hosts with ports, parameters, and dates.

use std::borrow::Cow;

use control::config::Diagnostic;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::json::Reading;
use super::text::{cut, decoded_url_base64, hex};
use crate::rules::argument::Call;
use crate::rules::sample::{Kind, Sample};

/// A part of a structured text, or another way to write one.
#[derive(Debug)]
pub(in crate::rules) enum Structure {
    /// The value at a path of JSON.
    Json {
        path: Path,
        kind: JsonKind,
    },
    /// The value at a path in the header of a token, or all of it.
    TokenHeader(Option<(Path, JsonKind)>),
    /// The value at a path in the payload of a token, or all of it.
    TokenPayload(Option<(Path, JsonKind)>),
    /// The host without its port.
    Host,
    /// The port behind a host, or 0.
    Port,
    /// The value of a parameter.
    Parameter {
        name: Box<[u8]>,
        delimiter: u8,
    },
    /// A date, printed in a format.
    Date {
        format: Box<str>,
        per_second: i64,
        local: bool,
    },
    /// Blocks of bytes as decimal numbers.
    Decimal {
        separator: Box<[u8]>,
        size: usize,
        truncates: bool,
    },
    /// Blocks of bytes as hexadecimal digits.
    Hexadecimal {
        separator: Box<[u8]>,
        size: usize,
        truncates: bool,
    },
    /// Base64 for URLs, without padding.
    FromUrlBase64,
    ToUrlBase64,
    /// A number of four bytes, the most significant first.
    NetworkOrder,
    /// The number that hexadecimal digits stand for.
    FromHexadecimal,
    /// Without the ends of lines.
    CutLines,
    /// As JSON writes it between quotes.
    Escaped(Reading),
}

/// What is made of a value of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum JsonKind {
    /// Whatever it is.
    Plain,
    /// Whatever it is, a truth value as one.
    Typed,
    Int,
}

/// The steps of a path into JSON.
#[derive(Debug)]
pub(in crate::rules) struct Path(Box<[Step]>);

#[derive(Debug)]
enum Step {
    Key(Box<str>),
    Index(usize),
}

/// Every name.
pub(super) const NAMES: [&str; 20] = [
    "be2dec",
    "be2hex",
    "cut_crlf",
    "hex2i",
    "host_only",
    "htonl",
    "json",
    "json_query",
    "jwt_header_query",
    "jwt_payload_query",
    "ltime",
    "ms_ltime",
    "ms_utime",
    "param",
    "port_only",
    "ub64dec",
    "ub64enc",
    "us_ltime",
    "us_utime",
    "utime",
];

impl Structure {
    /// Makes the converter of that name; none if it is no name of one.
    ///
    /// # Errors
    /// Names arguments that do not fit.
    pub(super) fn build(call: &Call<'_, '_>) -> Option<Result<Self, Diagnostic>> {
        let plain = |structure| call.at_most(0).map(|()| structure);
        Some(match call.name {
            "json_query" => json_query(call),
            "jwt_header_query" => optional_path(call).map(Self::TokenHeader),
            "jwt_payload_query" => optional_path(call).map(Self::TokenPayload),
            "host_only" => plain(Self::Host),
            "port_only" => plain(Self::Port),
            "param" => parameter(call),
            "ltime" => date(call, 1, true),
            "utime" => date(call, 1, false),
            "ms_ltime" => date(call, 1_000, true),
            "ms_utime" => date(call, 1_000, false),
            "us_ltime" => date(call, 1_000_000, true),
            "us_utime" => date(call, 1_000_000, false),
            "be2dec" => blocks(call).map(|(separator, size, truncates)| Self::Decimal { separator, size, truncates }),
            "be2hex" => blocks(call).map(|(separator, size, truncates)| Self::Hexadecimal { separator, size, truncates }),
            "ub64dec" => plain(Self::FromUrlBase64),
            "ub64enc" => plain(Self::ToUrlBase64),
            "htonl" => plain(Self::NetworkOrder),
            "hex2i" => plain(Self::FromHexadecimal),
            "cut_crlf" => plain(Self::CutLines),
            "json" => reading(call).map(Self::Escaped),
            _ => return None,
        })
    }

    pub(super) fn takes(&self) -> Kind {
        match self {
            Self::Date { .. } | Self::NetworkOrder => Kind::Int,
            Self::Decimal { .. } | Self::Hexadecimal { .. } | Self::ToUrlBase64 => Kind::Binary,
            Self::Json { .. }
            | Self::TokenHeader(_)
            | Self::TokenPayload(_)
            | Self::Host
            | Self::Port
            | Self::Parameter { .. }
            | Self::FromUrlBase64
            | Self::FromHexadecimal
            | Self::Escaped(_)
            | Self::CutLines => Kind::Text,
        }
    }

    pub(super) fn makes(&self) -> Kind {
        match self {
            Self::Port
            | Self::FromHexadecimal
            | Self::Json { kind: JsonKind::Int, .. }
            | Self::TokenHeader(Some((_, JsonKind::Int)))
            | Self::TokenPayload(Some((_, JsonKind::Int))) => Kind::Int,
            Self::NetworkOrder | Self::FromUrlBase64 => Kind::Binary,
            Self::Json { kind: JsonKind::Plain | JsonKind::Typed, .. }
            | Self::TokenHeader(_)
            | Self::TokenPayload(_)
            | Self::Host
            | Self::Parameter { .. }
            | Self::Date { .. }
            | Self::Decimal { .. }
            | Self::Hexadecimal { .. }
            | Self::ToUrlBase64
            | Self::Escaped(_)
            | Self::CutLines => Kind::Text,
        }
    }

    pub(super) fn of<'v>(&self, sample: Sample<'v>) -> Option<Sample<'v>> {
        Some(match self {
            Self::Json { path, kind } => path.value(&sample.to_bytes(), *kind)?,
            Self::TokenHeader(path) => token(&sample.to_bytes(), 0, path.as_ref())?,
            Self::TokenPayload(path) => token(&sample.to_bytes(), 1, path.as_ref())?,
            Self::Host => cut(sample, |text| 0..host_end(text)),
            Self::Port => {
                let bytes = sample.to_bytes();
                let port = bytes.get(host_end(&bytes) + 1..).and_then(|port| str::from_utf8(port).ok()?.parse().ok());
                Sample::Int(port.unwrap_or(0))
            }
            Self::Parameter { name, delimiter } => {
                let bytes = sample.to_bytes();
                let found = bytes.split(|byte| byte == delimiter).find_map(|pair| {
                    let rest = pair.strip_prefix(&**name)?;
                    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"=") }
                });
                Sample::own(found?.to_vec())
            }
            Self::Date { format, per_second, local } => Sample::own(printed(sample.to_int()?, format, *per_second, *local)?.into_bytes()),
            Self::Decimal { separator, size, truncates } => {
                let number = |block: &[u8]| block.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)).to_string().into_bytes();
                joined(&sample.to_bytes(), separator, (*size, *truncates), number)
            }
            Self::Hexadecimal { separator, size, truncates } => joined(&sample.to_bytes(), separator, (*size, *truncates), hex),
            Self::FromUrlBase64 => Sample::Binary(decoded_url_base64(&sample.to_bytes())?.into()),
            Self::ToUrlBase64 => Sample::own(super::text::url_base64(&sample.to_bytes())),
            Self::NetworkOrder => {
                let low = u32::try_from(sample.to_int()? & i64::from(u32::MAX)).ok()?;
                Sample::Binary(Cow::Owned(low.to_be_bytes().to_vec()))
            }
            Self::FromHexadecimal => Sample::Int(i64::from_str_radix(str::from_utf8(&sample.to_bytes()).ok()?, 16).ok()?),
            Self::Escaped(reading) => Sample::own(reading.escape(&sample.to_bytes())?.into_bytes()),
            Self::CutLines => cut(sample, |text| 0..text.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(text.len())),
        })
    }
}

/// Reads how the bytes of a text are read.
fn reading(call: &Call<'_, '_>) -> Result<Reading, Diagnostic> {
    call.at_most(1)?;
    let Some(argument) = call.optional(0) else { return Ok(Reading::ASCII) };
    let wrong = || call.error_in(argument, format!("`{}` is not an encoding", argument.text)).hint("ascii, utf8, utf8s, utf8p or utf8ps");
    Reading::parse(&argument.text).ok_or_else(wrong)
}

/// Finds where the port of a host begins, with the colon.
fn host_end(text: &[u8]) -> usize {
    let from = if text.first() == Some(&b'[') { text.iter().position(|byte| *byte == b']').unwrap_or(text.len()) } else { 0 };
    text[from..].iter().position(|byte| *byte == b':').map_or(text.len(), |colon| from + colon)
}

/// Prints blocks of bytes; a last one that is shorter only if it need not be whole.
fn joined(bytes: &[u8], separator: &[u8], (size, truncates): (usize, bool), print: impl Fn(&[u8]) -> Vec<u8>) -> Sample<'static> {
    let blocks = bytes.chunks(size).filter(|block| !truncates || block.len() == size);
    Sample::own(blocks.map(print).collect::<Vec<_>>().join(separator))
}

fn printed(value: i64, format: &str, per_second: i64, local: bool) -> Option<String> {
    let time = Timestamp::from_microsecond(value.checked_mul(1_000_000 / per_second)?).ok()?;
    let zone = if local { TimeZone::system() } else { TimeZone::UTC };
    jiff::fmt::strtime::format(format, &time.to_zoned(zone)).ok()
}

/// Looks into a part of a token: its header or its payload.
fn token(text: &[u8], part: usize, path: Option<&(Path, JsonKind)>) -> Option<Sample<'static>> {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
    let json = decoded_url_base64(parts.get(part).filter(|_| parts.len() == 3)?)?;
    match path {
        Some((path, kind)) => path.value(&json, *kind),
        None => Some(Sample::own(json)),
    }
}

impl Path {
    /// Reads a path: `$.key.other[2]`.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(key) = rest.strip_prefix('.') {
                let end = key.find(['.', '[']).unwrap_or(key.len());
                let (key, behind) = key.split_at(end);
                steps.push(Step::Key(Some(key).filter(|key| !key.is_empty())?.into()));
                rest = behind;
            } else {
                let (index, behind) = rest.strip_prefix('[')?.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                rest = behind;
            }
        }
        Some(Self(steps.into()))
    }

    fn value(&self, text: &[u8], kind: JsonKind) -> Option<Sample<'static>> {
        let document: Value = serde_json::from_slice(text).ok()?;
        let found = self.0.iter().try_fold(&document, |value, step| match step {
            Step::Key(key) => value.get(&**key),
            Step::Index(index) => value.get(*index),
        })?;
        match (found, kind) {
            (Value::Number(number), JsonKind::Int) => number.as_i64().or_else(|| whole(number.as_f64()?)).map(Sample::Int),
            (_, JsonKind::Int) | (Value::Null, JsonKind::Plain | JsonKind::Typed) => None,
            (Value::Number(number), JsonKind::Plain | JsonKind::Typed) => {
                Some(number.as_i64().map_or_else(|| Sample::own(number.to_string().into_bytes()), Sample::Int))
            }
            (Value::Bool(value), JsonKind::Typed) => Some(Sample::Bool(*value)),
            (Value::Bool(value), JsonKind::Plain) => Some(Sample::text(if *value { b"true" } else { b"false" })),
            (Value::String(text), JsonKind::Plain | JsonKind::Typed) => Some(Sample::own(text.clone().into_bytes())),
            (Value::Array(_) | Value::Object(_), JsonKind::Plain | JsonKind::Typed) => Some(Sample::own(found.to_string().into_bytes())),
        }
    }
}

/// Returns a number without what stands behind its point.
fn whole(number: f64) -> Option<i64> {
    number.trunc().to_string().parse().ok()
}

fn path(call: &Call<'_, '_>) -> Result<Path, Diagnostic> {
    let text = call.required(0, "a path such as '$.key'")?;
    Path::parse(&text.text).ok_or_else(|| call.error_in(text, format!("`{}` is not a path", text.text)).hint("for example $.key[0].other"))
}

fn optional_path(call: &Call<'_, '_>) -> Result<Option<(Path, JsonKind)>, Diagnostic> {
    if call.optional(0).is_none() { call.at_most(1).map(|()| None) } else { path_and_kind(call).map(Some) }
}

fn path_and_kind(call: &Call<'_, '_>) -> Result<(Path, JsonKind), Diagnostic> {
    call.at_most(2)?;
    let kind = match call.optional(1).map(|kind| (kind.text.as_str(), kind)) {
        None if call.name == "json_query" => JsonKind::Plain,
        None => JsonKind::Typed,
        Some(("int", _)) => JsonKind::Int,
        Some((other, argument)) => return Err(call.error_in(argument, format!("`{other}` is not int"))),
    };
    Ok((path(call)?, kind))
}

fn json_query(call: &Call<'_, '_>) -> Result<Structure, Diagnostic> {
    path_and_kind(call).map(|(path, kind)| Structure::Json { path, kind })
}

fn parameter(call: &Call<'_, '_>) -> Result<Structure, Diagnostic> {
    call.at_most(2)?;
    let name = call.required(0, "the name of a parameter")?.text.as_bytes().into();
    let delimiter = match call.optional(1) {
        None => b'&',
        Some(argument) => match argument.text.as_bytes() {
            [byte] => *byte,
            _ => return Err(call.error_in(argument, "the delimiter is a single character")),
        },
    };
    Ok(Structure::Parameter { name, delimiter })
}

fn date(call: &Call<'_, '_>, per_second: i64, local: bool) -> Result<Structure, Diagnostic> {
    call.at_most(2)?;
    let format = call.required(0, "a format such as %Y-%m-%d")?;
    if printed(0, &format.text, 1, false).is_none() {
        return Err(call.error_in(format, format!("`{}` is not a format of dates", format.text)));
    }
    let offset = call.number(1, 0)?;
    if offset != 0 {
        return Err(call.error("offsets of dates are not supported yet").hint("add() before it does the same"));
    }
    Ok(Structure::Date { format: format.text.as_str().into(), per_second, local })
}

fn blocks(call: &Call<'_, '_>) -> Result<(Box<[u8]>, usize, bool), Diagnostic> {
    call.at_most(3)?;
    let separator = call.optional(0).map_or(&b""[..], |separator| separator.text.as_bytes()).into();
    let size = call.number(1, if call.name == "be2hex" { 1 } else { 2 })?;
    let most = if call.name == "be2hex" { 1024 } else { 8 };
    let size = usize::try_from(size).ok().filter(|size| (1..=most).contains(size));
    let size = size.ok_or_else(|| call.error(format!("blocks have 1 to {most} bytes")))?;
    Ok((separator, size, call.optional(2).is_some()))
}
