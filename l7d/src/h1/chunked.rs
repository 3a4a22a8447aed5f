//! Follows a chunked body through the buffers it arrives in (RFC 9112 section 7.1).
//!
//! The decoder keeps no bytes: it says how far a piece of input is valid and what it is, so the bytes can be passed on as they are
//! or have their framing taken off. Sizes, line ends and trailers are checked; a trailer may not carry what decides about framing.

use super::{Fault, SyntaxError};
use crate::message::headers::{Known, is_field_byte, is_token};

/// The place reached in a chunked body.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    /// Bytes of the body seen so far, for the offset of an error.
    position: usize,
    /// Bytes since the last chunk data that were not data.
    overhead: usize,
    /// The beginning of the current trailer's name, as much as the longest refused name needs.
    name: [u8; LONGEST_NAME],
    name_length: usize,
}

/// What the next bytes of the input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// This many bytes of framing: sizes, line ends, trailers.
    Framing(usize),
    /// This many bytes of content.
    Data(usize),
    /// The body is over; nothing of the input was used.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    Size {
        value: u64,
        digits: u8,
    },
    /// White space between a size and what follows it.
    SizePadding {
        value: u64,
    },
    Extension {
        value: u64,
    },
    /// Before the LF of a size line.
    SizeLineFeed {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCarriageReturn,
    DataLineFeed,
    /// Before a trailer field or the empty line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    End,
}

impl Decoder {
    /// Starts at the first byte of a body.
    pub fn new() -> Self {
        Self { state: State::SizeStart, position: 0, overhead: 0, name: [0; LONGEST_NAME], name_length: 0 }
    }

    /// Tells whether the last byte of the body has been seen.
    pub fn is_finished(&self) -> bool {
        self.state == State::End
    }

    /// Tells whether the last chunk has been seen, so that the next framing bytes are trailer fields and the line that ends them.
    pub fn is_in_trailers(&self) -> bool {
        match self.state {
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLineFeed | State::LastLineFeed => true,
            State::SizeStart
            | State::Size { .. }
            | State::SizePadding { .. }
            | State::Extension { .. }
            | State::SizeLineFeed { .. }
            | State::Data { .. }
            | State::DataCarriageReturn
            | State::DataLineFeed
            | State::End => false,
        }
    }

    /// Returns what the beginning of `input` is and moves behind it; `Framing(0)` asks for more input.
    ///
    /// # Errors
    /// Names the byte of the body that makes it invalid; the decoder must not be used afterwards.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, SyntaxError> {
        let mut used = 0;
        while self.state != State::End && used < input.len() {
            if let State::Data { left } = self.state {
                return Ok(if used > 0 { Piece::Framing(used) } else { self.data(left, input.len()) });
            }
            let ends_chunks = matches!(self.state, State::SizeLineFeed { value: 0 });
            self.step(input[used])?;
            used += 1;
            if ends_chunks {
                break;
            }
        }
        Ok(if used == 0 && self.state == State::End { Piece::End } else { Piece::Framing(used) })
    }

    /// Moves over as much of `input` as belongs to the body and returns its length, for passing it on unchanged.
    ///
    /// # Errors
    /// Names the byte of the body that makes it invalid; the decoder must not be used afterwards.
    pub fn pass(&mut self, input: &[u8]) -> Result<usize, SyntaxError> {
        let mut used = 0;
        while used < input.len() {
            match self.next(&input[used..])? {
                Piece::Framing(count) | Piece::Data(count) => used += count,
                Piece::End => break,
            }
        }
        Ok(used)
    }

    fn data(&mut self, left: u64, available: usize) -> Piece {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - count as u64;
        self.state = if left == 0 { State::DataCarriageReturn } else { State::Data { left } };
        self.position = self.position.saturating_add(count);
        self.overhead = 0;
        Piece::Data(count)
    }

    /// Moves over one byte that is not content.
    fn step(&mut self, byte: u8) -> Result<(), SyntaxError> {
        self.overhead += 1;
        let next = if self.overhead > MAX_OVERHEAD { Err(Fault::ChunkOverhead) } else { self.follow(byte) };
        self.state = next.map_err(|fault| SyntaxError { offset: self.position, found: Some(byte), fault })?;
        self.position = self.position.saturating_add(1);
        Ok(())
    }

    fn follow(&mut self, byte: u8) -> Result<State, Fault> {
        match self.state {
            State::SizeStart => first_digit(byte),
            State::Size { value, digits } => size(value, digits, byte),
            State::SizePadding { value } => after_size(value, byte),
            State::Extension { value } => extension(value, byte),
            State::SizeLineFeed { value: 0 } => line_feed(byte, State::TrailerStart),
            State::SizeLineFeed { value } => line_feed(byte, State::Data { left: value }),
            State::DataCarriageReturn if byte == b'\r' => Ok(State::DataLineFeed),
            State::DataLineFeed if byte == b'\n' => Ok(State::SizeStart),
            State::DataCarriageReturn | State::DataLineFeed => Err(Fault::ChunkEnd),
            State::TrailerStart => self.trailer_start(byte),
            State::TrailerName => self.trailer_name(byte),
            State::TrailerValue => trailer_value(byte),
            State::TrailerLineFeed => line_feed(byte, State::TrailerStart),
            State::LastLineFeed => line_feed(byte, State::End),
            State::Data { .. } | State::End => Ok(self.state),
        }
    }

    fn trailer_start(&mut self, byte: u8) -> Result<State, Fault> {
        self.name_length = 0;
        match byte {
            b'\r' => Ok(State::LastLineFeed),
            b'\n' => Err(Fault::BareLineFeed),
            b' ' | b'\t' => Err(Fault::Folding),
            b':' => Err(Fault::FieldName),
            _ => self.trailer_name(byte),
        }
    }

    fn trailer_name(&mut self, byte: u8) -> Result<State, Fault> {
        match byte {
            b':' => self.check_name(),
            b' ' | b'\t' => Err(Fault::SpaceBeforeColon),
            _ if is_token(byte) => {
                if let Some(slot) = self.name.get_mut(self.name_length) {
                    *slot = byte;
                }
                self.name_length = self.name_length.saturating_add(1);
                Ok(State::TrailerName)
            }
            _ => Err(Fault::FieldName),
        }
    }

    fn check_name(&self) -> Result<State, Fault> {
        match self.name.get(..self.name_length) {
            Some(name) if !may_trail(name) => Err(Fault::Trailer),
            _ => Ok(State::TrailerValue),
        }
    }
}

/// Tells whether a field of this name may come behind a body: not one that frames, routes or concerns the connection.
pub(crate) fn may_trail(name: &[u8]) -> bool {
    Known::recognise(name) == Known::Other
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

fn first_digit(byte: u8) -> Result<State, Fault> {
    hex(byte).map(|value| State::Size { value, digits: 1 }).ok_or(Fault::ChunkSize)
}

fn size(value: u64, digits: u8, byte: u8) -> Result<State, Fault> {
    match hex(byte) {
        // Sixteen digits fill a u64.
        Some(digit) if digits < 16 => Ok(State::Size { value: value << 4 | digit, digits: digits + 1 }),
        Some(_) => Err(Fault::ChunkSize),
        None => after_size(value, byte),
    }
}

fn after_size(value: u64, byte: u8) -> Result<State, Fault> {
    match byte {
        b'\r' => Ok(State::SizeLineFeed { value }),
        b'\n' => Err(Fault::BareLineFeed),
        b';' => Ok(State::Extension { value }),
        b' ' | b'\t' => Ok(State::SizePadding { value }),
        _ => Err(Fault::ChunkSize),
    }
}

fn extension(value: u64, byte: u8) -> Result<State, Fault> {
    match byte {
        b'\r' => Ok(State::SizeLineFeed { value }),
        b'\n' => Err(Fault::BareLineFeed),
        _ if is_field_byte(byte) => Ok(State::Extension { value }),
        _ => Err(Fault::ChunkExtension),
    }
}

fn trailer_value(byte: u8) -> Result<State, Fault> {
    match byte {
        b'\r' => Ok(State::TrailerLineFeed),
        b'\n' => Err(Fault::BareLineFeed),
        _ if is_field_byte(byte) => Ok(State::TrailerValue),
        _ => Err(Fault::ControlByte),
    }
}

fn line_feed(byte: u8, next: State) -> Result<State, Fault> {
    if byte == b'\n' { Ok(next) } else { Err(Fault::BareCarriageReturn) }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// Most bytes of framing in a row: a generous extension, or all trailers together.
const MAX_OVERHEAD: usize = 16 * 1024;
/// Length of `transfer-encoding`, the longest name that is looked for.
const LONGEST_NAME: usize = 17;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a body that arrives in pieces; returns its content and what followed it.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), SyntaxError> {
        let (mut decoder, mut content, mut rest) = (Decoder::new(), Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            while !input.is_empty() {
                match decoder.next(input)? {
                    Piece::Framing(count) => input = &input[count..],
                    Piece::Data(count) => {
                        content.extend_from_slice(&input[..count]);
                        input = &input[count..];
                    }
                    Piece::End => {
                        rest.extend_from_slice(input);
                        break;
                    }
                }
            }
        }
        Ok((content, rest))
    }

    #[test]
    fn content_is_found_between_sizes_extensions_and_trailers() {
        let body = b"4;name=\"va;lue\"\r\nWiki\r\n00005 \r\npedia\r\nA ;x\r\n0123456789\r\n0\r\nExpires: never\r\nX:\r\n\r\nGET /";
        assert_eq!(decode(&[body]).unwrap(), (b"Wikipedia0123456789".to_vec(), b"GET /".to_vec()));
    }

    #[test]
    fn faults_are_found_at_their_byte() {
        let cases: &[(&str, &[u8], usize, Fault)] = &[
            ("no size", b"\r\nabc", 0, Fault::ChunkSize),
            ("signed size", b"+3\r\nabc", 0, Fault::ChunkSize),
            ("prefixed size", b"0x3\r\nabc", 1, Fault::ChunkSize),
            ("space before the size", b" 3\r\nabc", 0, Fault::ChunkSize),
            ("size of seventeen digits", b"10000000000000000\r\n", 16, Fault::ChunkSize),
            ("two sizes", b"3 3\r\n", 2, Fault::ChunkSize),
            ("LF after the size", b"3\nabc\r\n", 1, Fault::BareLineFeed),
            ("LF after an extension", b"3;a\nabc\r\n", 3, Fault::BareLineFeed),
            ("CR in an extension", b"3;a\rb\r\n", 4, Fault::BareCarriageReturn),
            ("NUL in an extension", b"3;\0\r\n", 2, Fault::ChunkExtension),
            ("data longer than its size", b"3\r\nabcd\r\n", 6, Fault::ChunkEnd),
            ("LF after the data", b"3\r\nabc\n0\r\n", 6, Fault::ChunkEnd),
            ("CR without LF after the data", b"3\r\nabc\rX", 7, Fault::ChunkEnd),
            ("LF as the last line", b"0\r\n\n", 3, Fault::BareLineFeed),
            ("CR without LF at the end", b"0\r\n\rX", 4, Fault::BareCarriageReturn),
            ("folded trailer", b"0\r\nA: b\r\n c\r\n", 9, Fault::Folding),
            ("space before the colon", b"0\r\nA : b\r\n", 4, Fault::SpaceBeforeColon),
            ("trailer without a colon", b"0\r\nGET / HTTP/1.1\r\n", 6, Fault::SpaceBeforeColon),
            ("trailer without a name", b"0\r\n: b\r\n", 3, Fault::FieldName),
            ("NUL in a trailer", b"0\r\nA: \0\r\n", 6, Fault::ControlByte),
            ("LF in a trailer", b"0\r\nA: b\n", 7, Fault::BareLineFeed),
            ("length in a trailer", b"0\r\nContent-Length: 5\r\n", 17, Fault::Trailer),
            ("coding in a trailer", b"0\r\ntransfer-encoding: chunked\r\n", 20, Fault::Trailer),
            ("host in a trailer", b"0\r\nA: b\r\nHOST: h\r\n", 13, Fault::Trailer),
            ("connection in a trailer", b"0\r\nConnection: close\r\n", 13, Fault::Trailer),
            ("upgrade in a trailer", b"0\r\nupgrade: h2c\r\n", 10, Fault::Trailer),
            ("coding wish in a trailer", b"0\r\nTE: gzip\r\n", 5, Fault::Trailer),
        ];
        for (description, body, offset, fault) in cases {
            let error = decode(&[body]).expect_err(description);
            assert_eq!((error.offset, error.found, error.fault), (*offset, Some(body[*offset]), *fault), "{description}");
        }
    }

    #[test]
    fn longest_size_is_accepted() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.next(b"ffffffffffffffff\r\nabc"), Ok(Piece::Framing(18)));
        assert_eq!(decoder.next(b"abc"), Ok(Piece::Data(3)));
        assert_eq!(decoder.state, State::Data { left: u64::MAX - 3 });
    }

    #[test]
    fn endless_framing_is_refused() {
        let mut extension = b"3;".to_vec();
        extension.resize(MAX_OVERHEAD + 1, b'x');
        assert_eq!(decode(&[&extension]).unwrap_err().fault, Fault::ChunkOverhead);
        let trailers = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(MAX_OVERHEAD / 6 + 1)].concat();
        assert_eq!(decode(&[&trailers]).unwrap_err().fault, Fault::ChunkOverhead);
    }

    #[test]
    fn passing_on_stops_behind_the_body() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.pass(b"1\r\na\r\n0\r\n\r\nGET"), Ok(11));
        assert!(decoder.is_finished());
        assert_eq!(decoder.pass(b"GET"), Ok(0));
    }

    fn body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6).prop_map(|chunks| {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nTrailer: yes\r\n\r\n");
            (chunks.concat(), wire)
        })
    }

    proptest! {
        #[test]
        fn every_division_of_a_body_decodes_alike((content, wire) in body(), cut in 1usize..40) {
            let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
            prop_assert_eq!(decode(&pieces).unwrap(), (content, Vec::new()));
        }

        #[test]
        fn every_division_fails_alike((_, mut wire) in body(), cut in 1usize..40, at in any::<prop::sample::Index>(), byte: u8) {
            let at = at.index(wire.len());
            wire[at] = byte;
            let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
            prop_assert_eq!(decode(&pieces), decode(&[&wire]));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&[&bytes]);
            let _ = Decoder::new().pass(&bytes);
        }
    }
}
