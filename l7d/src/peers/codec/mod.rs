//! The words of HAProxy's peers protocol: bytes to messages and back, and nothing else.
//!
//! A connection begins with a [`hello`] of three lines and a status; then both sides send messages, each with a class, a kind and
//! perhaps a body, whose numbers are written as short as they are. What the bodies about tables say is in [`table`].

pub mod hello;
pub mod number;
pub mod table;

use table::{Definition, Update};

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// The sender wants to be taught everything.
    ResyncRequest,
    /// All was taught, by one who knew everything.
    ResyncFinished,
    /// All was taught, by one who did not know everything.
    ResyncPartial,
    /// What was taught has arrived.
    ResyncConfirm,
    /// The sender is alive.
    Heartbeat,
    /// The sender did not understand.
    ProtocolError,
    /// The sender was told more than it can take.
    SizeLimit,
    /// What the updates that follow are about.
    Define(Definition),
    /// The updates that follow are about the table the sender has defined under this number.
    Switch(u64),
    /// Updates of the table defined under a number have arrived, up to and with the one of a number.
    Acknowledge(u64, u32),
    /// An entry; what its bytes say depends on the table.
    Update(Update<'a>),
    /// Something newer than this.
    Unknown,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message, and how many bytes it takes.
    Whole(Message<'a>, usize),
    /// Less than a message.
    Partial,
}

/// Why bytes are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A message is longer than any may be.
    #[error("a message is too long")]
    TooLong,
    /// A message does not say what it must.
    #[error("a message is cut off")]
    CutOff,
    /// Nobody knows such a message.
    #[error("no such message")]
    NoSuchMessage,
}

/// The longest body that is taken; HAProxy's messages fit into 16 KiB.
pub const LONGEST: usize = 65_536;

const CONTROL: u8 = 0;
const ERROR: u8 = 1;
const TABLES: u8 = 10;

const UPDATE: u8 = 128;
const NEXT_UPDATE: u8 = 129;
const DEFINE: u8 = 130;
const SWITCH: u8 = 131;
const ACKNOWLEDGE: u8 = 132;
const TIMED_UPDATE: u8 = 133;
const NEXT_TIMED_UPDATE: u8 = 134;

/// Reads the first message of some bytes.
///
/// # Errors
/// Fails if the bytes are none.
pub fn read(bytes: &[u8]) -> Result<Frame<'_>, Malformed> {
    let [class, kind, rest @ ..] = bytes else { return Ok(Frame::Partial) };
    if *kind < 128 {
        let message = match (*class, *kind) {
            (CONTROL, 0) => Message::ResyncRequest,
            (CONTROL, 1) => Message::ResyncFinished,
            (CONTROL, 2) => Message::ResyncPartial,
            (CONTROL, 3) => Message::ResyncConfirm,
            (CONTROL, 4) => Message::Heartbeat,
            (ERROR, 0) => Message::ProtocolError,
            (ERROR, 1) => Message::SizeLimit,
            (CONTROL | ERROR | TABLES, _) => Message::Unknown,
            _ => return Err(Malformed::NoSuchMessage),
        };
        return Ok(Frame::Whole(message, 2));
    }
    let mut body = rest;
    let length = match number::take(&mut body) {
        Ok(length) => usize::try_from(length).ok().filter(|length| *length <= LONGEST).ok_or(Malformed::TooLong)?,
        Err(Malformed::CutOff) => return Ok(Frame::Partial),
        Err(error) => return Err(error),
    };
    let Some(body) = body.get(..length) else { return Ok(Frame::Partial) };
    let size = body.as_ptr().addr() - bytes.as_ptr().addr() + length;
    let message = match (*class, *kind) {
        (TABLES, UPDATE | NEXT_UPDATE | TIMED_UPDATE | NEXT_TIMED_UPDATE) => Message::Update(update(*kind, body)?),
        (TABLES, DEFINE) => Message::Define(Definition::read(body)?),
        (TABLES, SWITCH) => Message::Switch(number::take(&mut { body })?),
        (TABLES, ACKNOWLEDGE) => {
            let mut body = body;
            Message::Acknowledge(number::take(&mut body)?, fixed(&mut body)?)
        }
        (CONTROL | ERROR | TABLES, _) => Message::Unknown,
        _ => return Err(Malformed::NoSuchMessage),
    };
    Ok(Frame::Whole(message, size))
}

fn update(kind: u8, mut body: &[u8]) -> Result<Update<'_>, Malformed> {
    let number = if matches!(kind, UPDATE | TIMED_UPDATE) { Some(fixed(&mut body)?) } else { None };
    let left = if matches!(kind, TIMED_UPDATE | NEXT_TIMED_UPDATE) { Some(fixed(&mut body)?) } else { None };
    Ok(Update { number, left, entry: body })
}

/// Takes a number of four bytes.
fn fixed(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    let (first, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::CutOff)?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*first))
}

impl Message<'_> {
    /// Writes the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::ResyncRequest => out.extend([CONTROL, 0]),
            Self::ResyncFinished => out.extend([CONTROL, 1]),
            Self::ResyncPartial => out.extend([CONTROL, 2]),
            Self::ResyncConfirm => out.extend([CONTROL, 3]),
            Self::Heartbeat => out.extend([CONTROL, 4]),
            Self::ProtocolError => out.extend([ERROR, 0]),
            Self::SizeLimit => out.extend([ERROR, 1]),
            Self::Define(definition) => framed(DEFINE, out, |body| definition.write(body)),
            Self::Switch(table) => framed(SWITCH, out, |body| number::put(*table, body)),
            Self::Acknowledge(table, update) => framed(ACKNOWLEDGE, out, |body| {
                number::put(*table, body);
                body.extend(update.to_be_bytes());
            }),
            Self::Update(update) => {
                let kind = match (update.number, update.left) {
                    (Some(_), None) => UPDATE,
                    (None, None) => NEXT_UPDATE,
                    (Some(_), Some(_)) => TIMED_UPDATE,
                    (None, Some(_)) => NEXT_TIMED_UPDATE,
                };
                framed(kind, out, |body| {
                    body.extend(update.number.map(u32::to_be_bytes).into_iter().flatten());
                    body.extend(update.left.map(u32::to_be_bytes).into_iter().flatten());
                    body.extend_from_slice(update.entry);
                });
            }
            Self::Unknown => {}
        }
    }
}

/// Writes a message about tables.
fn framed(kind: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    write(&mut body);
    out.extend([TABLES, kind]);
    number::put(body.len() as u64, out);
    out.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn what_haproxy_says_is_understood_and_said_again() {
        // As Debian's haproxy 2.6 says it.
        let define = hex("0a 82 17 03 03 73 74 72 06 21 f0 f1 fe 70 f0 97 1c 16 02 17 03 18 03 f0 e2 03");
        let Ok(Frame::Whole(Message::Define(definition), size)) = read(&define) else { panic!() };
        assert_eq!((size, definition.number, definition.name.as_str(), definition.expire), (define.len(), 3, "str", 60_000));
        let mut again = Vec::new();
        Message::Define(definition).write(&mut again);
        assert_eq!(again, define);
    }

    #[test]
    fn whatever_is_cut_off_is_waited_for() {
        let mut bytes = Vec::new();
        Message::Acknowledge(300, 7).write(&mut bytes);
        Message::Update(Update { number: Some(9), left: Some(1000), entry: b"entry" }).write(&mut bytes);
        let (Frame::Whole(first, size), whole) = (read(&bytes).unwrap(), bytes.clone()) else { panic!() };
        assert_eq!(first, Message::Acknowledge(300, 7));
        assert!((0..size).all(|end| read(&whole[..end]) == Ok(Frame::Partial)));
        let second = read(&whole[size..]).unwrap();
        assert_eq!(
            second,
            Frame::Whole(Message::Update(Update { number: Some(9), left: Some(1000), entry: b"entry" }), whole.len() - size)
        );
    }

    #[test]
    fn no_message_is_longer_than_can_be_taken() {
        let mut bytes = vec![TABLES, UPDATE];
        number::put(LONGEST as u64 + 1, &mut bytes);
        assert_eq!(read(&bytes), Err(Malformed::TooLong));
        assert_eq!(read(&[7, 0]), Err(Malformed::NoSuchMessage));
        assert_eq!(read(&[0, 9]), Ok(Frame::Whole(Message::Unknown, 2)));
    }
}
