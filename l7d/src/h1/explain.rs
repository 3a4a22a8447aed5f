//! Finds the byte that makes a head invalid.
//!
//! [`super::parse`] only learns that a head is wrong; this slower second look, taken once per refused connection, says where. A
//! property test holds the two to the same verdict.

use super::parse::most_fields;
use super::{Fault, SyntaxError};
use crate::message::headers::{is_field_byte, is_token};

/// Returns the first fault of a request head that was refused.
pub(super) fn request(bytes: &[u8]) -> SyntaxError {
    let mut scan = Scan { bytes, at: 0 };
    scan.empty_lines()
        .and_then(|()| scan.request_line())
        .and_then(|()| scan.fields())
        .err()
        .and_then(Stop::fault)
        .unwrap_or_else(|| unknown(bytes))
}

/// Returns the first fault of a response head that was refused.
pub(super) fn response(bytes: &[u8]) -> SyntaxError {
    let mut scan = Scan { bytes, at: 0 };
    scan.status_line().and_then(|()| scan.fields()).err().and_then(Stop::fault).unwrap_or_else(|| unknown(bytes))
}

fn unknown(bytes: &[u8]) -> SyntaxError {
    SyntaxError::at(bytes, 0, Fault::Malformed)
}

/// Why a scan ended before the end of the head.
enum Stop {
    EndOfInput,
    Fault(SyntaxError),
}

impl Stop {
    fn fault(self) -> Option<SyntaxError> {
        match self {
            Self::EndOfInput => None,
            Self::Fault(error) => Some(error),
        }
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::EndOfInput)
    }

    fn fail<T>(&self, fault: Fault) -> Result<T, Stop> {
        Err(Stop::Fault(SyntaxError::at(self.bytes, self.at, fault)))
    }

    /// Steps over the bytes that `accept` takes and returns how many there were.
    fn skip(&mut self, accept: impl Fn(u8) -> bool) -> usize {
        let run = self.bytes[self.at..].iter().take_while(|byte| accept(**byte)).count();
        self.at += run;
        run
    }

    fn expect(&mut self, text: &[u8], fault: Fault) -> Result<(), Stop> {
        for wanted in text {
            if self.peek()? != *wanted {
                return self.fail(fault);
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Steps over the end of a line; `otherwise` is the fault of a byte that is no line end at all.
    fn line_end(&mut self, otherwise: Fault) -> Result<(), Stop> {
        match self.peek()? {
            b'\r' => {}
            b'\n' => return self.fail(Fault::BareLineFeed),
            _ => return self.fail(otherwise),
        }
        self.at += 1;
        if self.peek()? != b'\n' {
            self.at -= 1;
            return self.fail(Fault::BareCarriageReturn);
        }
        self.at += 1;
        Ok(())
    }

    fn empty_lines(&mut self) -> Result<(), Stop> {
        while matches!(self.peek()?, b'\r' | b'\n') {
            self.line_end(Fault::Method)?;
        }
        Ok(())
    }

    fn request_line(&mut self) -> Result<(), Stop> {
        if self.skip(is_token) == 0 {
            self.peek()?;
            return self.fail(Fault::Method);
        }
        self.expect(b" ", Fault::Method)?;
        if self.skip(|byte| (0x21..0x7f).contains(&byte)) == 0 {
            self.peek()?;
            return self.fail(Fault::Target);
        }
        if matches!(self.peek()?, b'\r' | b'\n') {
            return self.fail(Fault::Version);
        }
        self.expect(b" ", Fault::Target)?;
        self.version()?;
        self.line_end(Fault::Version)
    }

    fn status_line(&mut self) -> Result<(), Stop> {
        self.version()?;
        self.expect(b" ", Fault::Version)?;
        for place in 0..3 {
            let digit = self.peek()?;
            if !digit.is_ascii_digit() || (place == 0 && digit == b'0') {
                return self.fail(Fault::Status);
            }
            self.at += 1;
        }
        match self.peek()? {
            b' ' => self.skip(is_field_byte),
            b'\r' | b'\n' => 0,
            _ => return self.fail(Fault::Status),
        };
        self.line_end(Fault::ControlByte)
    }

    fn version(&mut self) -> Result<(), Stop> {
        self.expect(b"HTTP/1.", Fault::Version)?;
        if !matches!(self.peek()?, b'0' | b'1') {
            return self.fail(Fault::Version);
        }
        self.at += 1;
        Ok(())
    }

    fn fields(&mut self) -> Result<(), Stop> {
        for _ in 0..=most_fields() {
            match self.peek()? {
                b'\r' | b'\n' => return self.line_end(Fault::FieldName),
                b' ' | b'\t' => return self.fail(Fault::Folding),
                _ => self.field()?,
            }
        }
        // Whatever comes next is one too many, and may not have come yet.
        Err(Stop::Fault(SyntaxError { offset: self.at, found: None, fault: Fault::TooManyFields }))
    }

    fn field(&mut self) -> Result<(), Stop> {
        let length = self.skip(is_token);
        match self.peek()? {
            b':' if length > 0 => self.at += 1,
            b' ' | b'\t' => return self.fail(Fault::SpaceBeforeColon),
            _ => return self.fail(Fault::FieldName),
        }
        self.skip(is_field_byte);
        self.line_end(Fault::ControlByte)
    }
}
