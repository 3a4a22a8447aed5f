//! The frames of one stream (RFC 9114 section 7): what is read waits in pieces as they came, and only heads are put together.

use std::io;

use bytes::{Buf, BufMut, Bytes};
use quinn::{ReadError, RecvStream};

use super::{Code, FRAME_ERROR, FRAME_UNEXPECTED, Fault, MAX_HEAD};

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    CancelPush,
    Settings,
    PushPromise,
    GoAway,
    MaxPushId,
    /// One of HTTP/2 that HTTP/3 must not use.
    Foreign,
    /// Anything else, which means nothing.
    Unknown,
}

pub(super) const DATA: u64 = 0;
pub(super) const HEADERS: u64 = 1;
pub(super) const SETTINGS: u64 = 4;
pub(super) const GOAWAY: u64 = 7;

impl Kind {
    fn of(number: u64) -> Self {
        match number {
            DATA => Self::Data,
            HEADERS => Self::Headers,
            3 => Self::CancelPush,
            SETTINGS => Self::Settings,
            5 => Self::PushPromise,
            GOAWAY => Self::GoAway,
            0xd => Self::MaxPushId,
            0x2 | 0x6 | 0x8 | 0x9 => Self::Foreign,
            _ => Self::Unknown,
        }
    }
}

/// The next of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Content.
    Data(Bytes),
    /// A whole frame that is not content.
    Frame(Kind, Vec<u8>),
    /// The end.
    End,
}

/// Reads the frames of a stream; whoever gives up waiting for the next may ask again.
#[derive(Debug)]
pub(super) struct Frames {
    stream: RecvStream,
    /// What was read and not used yet.
    chunk: Bytes,
    parser: Parser,
    is_over: bool,
}

impl Frames {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, chunk: Bytes::new(), parser: Parser::default(), is_over: false }
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> Result<Event, Fault> {
        loop {
            if let Some(event) = self.parser.next(&mut self.chunk)? {
                return Ok(event);
            }
            match self.stream.read_chunk(READ, true).await {
                Ok(Some(chunk)) => self.chunk = chunk.bytes,
                Ok(None) => {
                    self.is_over = true;
                    return if self.parser.is_between() {
                        Ok(Event::End)
                    } else {
                        Err(Fault::Connection(FRAME_ERROR, "stream ends inside a frame"))
                    };
                }
                Err(error) => return Err(Fault::Io(read_error(error))),
            }
        }
    }

    /// Reads the number that a stream of one direction begins with; none if it ends before.
    pub(super) async fn stream_type(&mut self) -> Result<Option<u64>, Fault> {
        let mut number = Number::default();
        loop {
            if let Some(number) = number.take(&mut self.chunk) {
                return Ok(Some(number));
            }
            match self.stream.read_chunk(READ, true).await {
                Ok(Some(chunk)) => self.chunk = chunk.bytes,
                Ok(None) => return Ok(None),
                Err(error) => return Err(Fault::Io(read_error(error))),
            }
        }
    }

    /// Waits for the end, whatever comes before.
    pub(super) async fn ignore(&mut self) {
        while let Ok(Some(_)) = self.stream.read_chunk(READ, true).await {}
    }

    /// Tells the sender not to go on, unless it has ended.
    pub(super) fn stop(&mut self, code: Code) {
        if !self.is_over {
            // It may have been reset.
            let _ = self.stream.stop(code.into());
        }
    }
}

fn read_error(error: ReadError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Takes bytes apart.
#[derive(Debug, Default)]
struct Parser {
    kind: Number,
    length: Number,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    Kind,
    Length(Kind),
    Data(u64),
    Frame(Kind, u64, Vec<u8>),
    Unknown(u64),
}

impl Parser {
    fn is_between(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Returns the next event; none if that takes more than there is in `chunk`.
    fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Event>, Fault> {
        loop {
            match &mut self.state {
                State::Between if chunk.is_empty() => return Ok(None),
                State::Between => self.state = State::Kind,
                State::Kind => {
                    let Some(number) = self.kind.take(chunk) else { return Ok(None) };
                    self.state = State::Length(Kind::of(number));
                }
                State::Length(kind) => {
                    let Some(length) = self.length.take(chunk) else { return Ok(None) };
                    self.state = begun(*kind, length)?;
                }
                State::Data(left) | State::Unknown(left) if *left == 0 => self.state = State::Between,
                State::Data(left) => {
                    let count = chunk.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    return Ok((count > 0).then(|| Event::Data(chunk.split_to(count))));
                }
                State::Unknown(left) => {
                    let count = chunk.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    chunk.advance(count);
                    if count == 0 {
                        return Ok(None);
                    }
                }
                State::Frame(kind, left, bytes) => {
                    let count = chunk.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    bytes.extend_from_slice(&chunk.split_to(count));
                    if *left > 0 {
                        return Ok(None);
                    }
                    let event = Event::Frame(*kind, std::mem::take(bytes));
                    self.state = State::Between;
                    return Ok(Some(event));
                }
            }
        }
    }
}

/// Returns what a frame of this length begins with.
fn begun(kind: Kind, length: u64) -> Result<State, Fault> {
    let is_long = length > MAX_HEAD as u64;
    match kind {
        Kind::Data => Ok(State::Data(length)),
        Kind::Unknown => Ok(State::Unknown(length)),
        Kind::Foreign => Err(Fault::Connection(FRAME_UNEXPECTED, "frame of HTTP/2")),
        Kind::Headers if is_long => Err(Fault::TooLarge),
        Kind::CancelPush | Kind::Settings | Kind::PushPromise | Kind::GoAway | Kind::MaxPushId if is_long => {
            Err(Fault::Connection(FRAME_ERROR, "frame is too long"))
        }
        Kind::Headers | Kind::CancelPush | Kind::Settings | Kind::PushPromise | Kind::GoAway | Kind::MaxPushId => {
            Ok(State::Frame(kind, length, Vec::new()))
        }
    }
}

/// A number as QUIC writes it (RFC 9000 section 16), of which a part may have come.
#[derive(Debug, Default)]
struct Number {
    value: u64,
    have: usize,
    want: usize,
}

impl Number {
    /// Takes bytes until it is complete.
    fn take(&mut self, chunk: &mut Bytes) -> Option<u64> {
        while !chunk.is_empty() {
            let byte = chunk.get_u8();
            if self.have == 0 {
                self.want = 1 << (byte >> 6);
                self.value = u64::from(byte & 0x3f);
            } else {
                self.value = self.value << 8 | u64::from(byte);
            }
            self.have += 1;
            if self.have == self.want {
                self.have = 0;
                return Some(self.value);
            }
        }
        None
    }
}

/// Reads a number and returns it with what follows.
pub(super) fn number(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    Some(number[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
}

/// Writes a number.
pub(super) fn put_number(number: u64, out: &mut Vec<u8>) {
    match number {
        0..0x40 => out.push(u8::try_from(number).expect("six bits")),
        0x40..0x4000 => out.put_u16(u16::try_from(number).expect("14 bits") | 0x4000),
        0x4000..0x4000_0000 => out.put_u32(u32::try_from(number).expect("30 bits") | 0x8000_0000),
        _ => out.put_u64(number | 0xc000_0000_0000_0000),
    }
}

/// How much is read at once.
const READ: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds bytes in pieces of one size.
    fn events(bytes: &[u8], size: usize) -> Result<(Vec<Event>, bool), Fault> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for piece in bytes.chunks(size.max(1)) {
            let mut chunk = Bytes::copy_from_slice(piece);
            while let Some(event) = parser.next(&mut chunk)? {
                match (event, events.last_mut()) {
                    (Event::Data(more), Some(Event::Data(before))) => *before = [&before[..], &more].concat().into(),
                    (event, _) => events.push(event),
                }
            }
            assert!(chunk.is_empty());
        }
        Ok((events, parser.is_between()))
    }

    #[test]
    fn frames_are_told_apart_wherever_they_are_cut() {
        let bytes = [&[1, 2, 9, 9, 0x40, 0x21, 3, 7, 7, 7, 0, 0, 0, 0x40, 3, b'a', b'b', b'c', 7, 1][..], &[4]].concat();
        for size in 1..=bytes.len() {
            let (events, is_between) = events(&bytes, size).unwrap();
            assert!(is_between);
            let wanted =
                [Event::Frame(Kind::Headers, vec![9, 9]), Event::Data(Bytes::from_static(b"abc")), Event::Frame(Kind::GoAway, vec![4])];
            assert_eq!(events, wanted, "{size}");
        }
    }

    #[test]
    fn what_is_too_long_or_of_http_2_is_refused() {
        assert!(matches!(events(&[1, 0x80, 1, 0, 0], 1), Err(Fault::TooLarge)));
        assert!(matches!(events(&[4, 0x80, 1, 0, 0], 1), Err(Fault::Connection(FRAME_ERROR, _))));
        assert!(matches!(events(&[8, 0], 1), Err(Fault::Connection(FRAME_UNEXPECTED, _))));
        assert!(!events(&[0, 5, 1], 9).unwrap().1, "inside a frame");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
            let (one, other) = (events(&bytes, size), events(&bytes, 1000));
            match (one, other) {
                (Ok(one), Ok(other)) => prop_assert_eq!(one, other),
                (one, other) => prop_assert!(one.is_err() && other.is_err()),
            }
        }

        #[test]
        fn numbers_are_read_as_written(value in 0u64..1 << 62) {
            let mut bytes = Vec::new();
            put_number(value, &mut bytes);
            prop_assert_eq!(number(&mut &bytes[..]), Some(value));
            prop_assert_eq!(Number::default().take(&mut Bytes::from(bytes)), Some(value));
        }
    }
}
