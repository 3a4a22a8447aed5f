//! What the formats and expressions of checks say; pure.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::config::{Converter, Expression, Fetch, Format, Payload, Piece};

/// What formats can ask about.
#[derive(Default)]
pub(super) struct Scope<'s> {
    pub(super) backend: &'s str,
    pub(super) server: &'s str,
    pub(super) variables: BTreeMap<String, Vec<u8>>,
    /// What the server said last.
    pub(super) payload: Vec<u8>,
    /// The status of its response.
    pub(super) status: Option<u16>,
}

impl Scope<'_> {
    /// Returns what a format says.
    pub(super) fn fill(&self, format: &Format) -> Vec<u8> {
        let mut filled = Vec::new();
        for piece in format.pieces() {
            match piece {
                Piece::Text(text) => filled.extend_from_slice(text),
                Piece::Sample(expression) => filled.extend(self.sample(expression)),
            }
        }
        filled
    }

    /// Returns what a format says, as a text.
    pub(super) fn text(&self, format: &Format) -> String {
        String::from_utf8_lossy(&self.fill(format)).into_owned()
    }

    /// Returns bytes to be sent or found; none where hexadecimal digits are wanted and there are none.
    pub(super) fn payload(&self, payload: &Payload) -> Option<Vec<u8>> {
        match payload {
            Payload::Text(format) => Some(self.fill(format)),
            Payload::Hex(format) => bytes(&self.fill(format)),
        }
    }

    /// Returns the number an expression says.
    pub(super) fn number(&self, expression: &Expression) -> Option<u16> {
        std::str::from_utf8(&self.sample(expression)).ok()?.trim().parse().ok()
    }

    fn sample(&self, expression: &Expression) -> Vec<u8> {
        let value = match expression.fetch() {
            Fetch::Text(text) => text.clone(),
            Fetch::Variable(name) => self.variables.get(name).cloned().unwrap_or_default(),
            Fetch::ServerName => self.server.as_bytes().to_vec(),
            Fetch::BackendName => self.backend.as_bytes().to_vec(),
            Fetch::Hostname => hostname().as_bytes().to_vec(),
            Fetch::ProcessId => std::process::id().to_string().into_bytes(),
            Fetch::Payload { offset, length } => part(&self.payload, *offset, (*length > 0).then_some(*length)),
            Fetch::PayloadLength => self.payload.len().to_string().into_bytes(),
            Fetch::Status => self.status.map(|status| status.to_string().into_bytes()).unwrap_or_default(),
        };
        expression.converters().iter().fold(value, |value, converter| match converter {
            Converter::Bytes(offset, length) => part(&value, *offset, *length),
            Converter::Hex => hex(&value).into_bytes(),
            Converter::Lower => value.to_ascii_lowercase(),
            Converter::Upper => value.to_ascii_uppercase(),
            Converter::Length => value.len().to_string().into_bytes(),
            Converter::CutCrLf => value.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default().to_vec(),
            Converter::TrimStart => value.trim_ascii_start().to_vec(),
            Converter::Text => value.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
        })
    }
}

fn part(bytes: &[u8], offset: usize, length: Option<usize>) -> Vec<u8> {
    let rest = bytes.get(offset..).unwrap_or_default();
    rest[..length.unwrap_or(rest.len()).min(rest.len())].to_vec()
}

/// Returns the hexadecimal digits of bytes, in capitals.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])).collect()
}

/// Returns the bytes of hexadecimal digits.
fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Returns the name of this host.
pub(crate) fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_bytes_and_come_back() {
        assert_eq!(bytes(b"00ffA5").as_deref(), Some(&[0, 255, 0xa5][..]));
        assert_eq!(hex(&[0, 255, 0xa5]), "00FFA5");
        for text in ["0", "0g", "zz", "+1"] {
            assert_eq!(bytes(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn parts_lie_within_what_there_is() {
        for (offset, length, expected) in [(0, None, "abc"), (1, Some(1), "b"), (2, Some(9), "c"), (9, None, "")] {
            assert_eq!(part(b"abc", offset, length), expected.as_bytes());
        }
    }
}
