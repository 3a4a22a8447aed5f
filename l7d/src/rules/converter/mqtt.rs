//! The first packets of MQTT (3.1, 3.1.1 and 5.0): whether one is valid, and what its fields say.

use std::borrow::Cow;

/// Which packet is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Packet {
    /// The first of a client.
    Connect,
    /// The first of a server.
    Acknowledgement,
}

/// A field of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Field {
    Flags,
    ProtocolName,
    ProtocolVersion,
    ClientIdentifier,
    WillTopic,
    WillPayload,
    Username,
    Password,
    KeepAlive,
    ReasonCode,
    /// By its number; of version 5.0 only.
    Property(u8),
}

impl Packet {
    /// Reads a name or a number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "connect" | "1" => Some(Self::Connect),
            "connack" | "2" => Some(Self::Acknowledgement),
            _ => None,
        }
    }

    /// Reads the name of one of its fields, or the number of a property it may have.
    pub(super) fn field(self, text: &str) -> Option<Field> {
        let names: &[(&str, Field)] = match self {
            Self::Connect => &[
                ("flags", Field::Flags),
                ("protocol_name", Field::ProtocolName),
                ("protocol_version", Field::ProtocolVersion),
                ("client_identifier", Field::ClientIdentifier),
                ("will_topic", Field::WillTopic),
                ("will_payload", Field::WillPayload),
                ("username", Field::Username),
                ("password", Field::Password),
                ("keepalive", Field::KeepAlive),
            ],
            Self::Acknowledgement => {
                &[("flags", Field::Flags), ("protocol_version", Field::ProtocolVersion), ("reason_code", Field::ReasonCode)]
            }
        };
        let properties: &[u8] = match self {
            Self::Connect => &[1, 2, 3, 8, 9, 17, 21, 22, 23, 24, 25, 33, 34, 39],
            Self::Acknowledgement => &[17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 39, 40, 41, 42],
        };
        let named = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, field)| *field);
        named.or_else(|| text.parse().ok().filter(|number| properties.contains(number)).map(Field::Property))
    }

    fn number(self) -> u8 {
        match self {
            Self::Connect => 1,
            Self::Acknowledgement => 2,
        }
    }
}

/// Tells whether bytes begin with a valid packet that a client or a server may send first; none where more bytes must come first.
pub(super) fn is_valid(bytes: &[u8]) -> Option<bool> {
    let packet = match bytes.first()? >> 4 {
        1 => Packet::Connect,
        2 => Packet::Acknowledgement,
        _ => return Some(false).filter(|_| bytes.len() > 1),
    };
    let mut reader = Reader { left: bytes.get(1..)? };
    let length = reader.variable()?;
    reader.take(length)?;
    Some(read(bytes, packet, None).is_some())
}

/// Returns the value of a field of the packet that bytes begin with; none if it is another packet, invalid, or lacks it.
pub(super) fn value(bytes: &[u8], packet: Packet, field: Field) -> Option<Cow<'_, [u8]>> {
    read(bytes, packet, Some(field))?
}

type Found<'b> = Option<Cow<'b, [u8]>>;

/// Reads a whole packet, and returns what it says of one field.
fn read(bytes: &[u8], packet: Packet, wanted: Option<Field>) -> Option<Found<'_>> {
    let mut reader = Reader { left: bytes };
    if reader.byte()? != packet.number() << 4 {
        return None;
    }
    let length = reader.variable()?;
    let mut inside = Reader { left: reader.take(length)? };
    let found = match packet {
        Packet::Connect => connect(&mut inside, wanted),
        Packet::Acknowledgement => acknowledgement(&mut inside, wanted),
    }?;
    inside.left.is_empty().then_some(found)
}

fn connect<'b>(reader: &mut Reader<'b>, wanted: Option<Field>) -> Option<Found<'b>> {
    let mut found = None;
    let mut note = |field, value: Cow<'b, [u8]>| {
        if wanted == Some(field) {
            found = Some(value);
        }
    };
    let name = reader.text()?;
    let version = reader.byte()?;
    if !matches!((name, version), (b"MQIsdp", 3) | (b"MQTT", 4 | 5)) {
        return None;
    }
    let flags = reader.byte()?;
    let has = |bit: u8| flags & (1 << bit) != 0;
    let (will, quality, retain) = (has(2), flags >> 3 & 3, has(5));
    if has(0) || quality == 3 || (!will && (quality > 0 || retain)) || (version < 5 && has(6) && !has(7)) {
        return None;
    }
    note(Field::ProtocolName, name.into());
    note(Field::ProtocolVersion, number(version));
    note(Field::Flags, number(flags));
    note(Field::KeepAlive, number(reader.short()?));
    if version == 5 {
        properties(reader, &mut note)?;
    }
    note(Field::ClientIdentifier, reader.text()?.into());
    if will {
        if version == 5 {
            properties(reader, &mut note)?;
        }
        note(Field::WillTopic, reader.text()?.into());
        note(Field::WillPayload, reader.text()?.into());
    }
    if has(7) {
        note(Field::Username, reader.text()?.into());
    }
    if has(6) {
        note(Field::Password, reader.text()?.into());
    }
    Some(found)
}

fn acknowledgement<'b>(reader: &mut Reader<'b>, wanted: Option<Field>) -> Option<Found<'b>> {
    let mut found = None;
    let mut note = |field, value: Cow<'b, [u8]>| {
        if wanted == Some(field) {
            found = Some(value);
        }
    };
    let (flags, reason) = (reader.byte()?, reader.byte()?);
    if flags > 1 {
        return None;
    }
    // Only version 5 has anything behind that.
    let version: u8 = if reader.left.is_empty() { 4 } else { 5 };
    note(Field::Flags, number(flags));
    note(Field::ReasonCode, number(reason));
    note(Field::ProtocolVersion, number(version));
    if version == 5 {
        properties(reader, &mut note)?;
    }
    Some(found)
}

/// Reads a list of properties.
fn properties<'b>(reader: &mut Reader<'b>, note: &mut impl FnMut(Field, Cow<'b, [u8]>)) -> Option<()> {
    let length = reader.variable()?;
    let mut inside = Reader { left: reader.take(length)? };
    while !inside.left.is_empty() {
        let id = inside.byte()?;
        let value = match id {
            1 | 23 | 25 | 36 | 37 | 40..=42 => number(inside.byte()?),
            19 | 33 | 34 => number(inside.short()?),
            2 | 17 | 24 | 39 => number(u32::from_be_bytes(inside.take(4)?.try_into().ok()?)),
            3 | 8 | 9 | 18 | 21 | 22 | 26 | 28 | 31 => inside.text()?.into(),
            // What a user says, which nobody can ask for.
            38 => {
                inside.text()?;
                inside.text()?;
                continue;
            }
            _ => return None,
        };
        note(Field::Property(id), value);
    }
    Some(())
}

fn number<'b>(value: impl Into<u64>) -> Cow<'b, [u8]> {
    value.into().to_string().into_bytes().into()
}

/// Bytes that are read from the first on.
struct Reader<'b> {
    left: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, left) = self.left.split_at_checked(count)?;
        self.left = left;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Reads a number of as many bytes as it needs, four at most.
    fn variable(&mut self) -> Option<usize> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Reads text or bytes behind their length.
    fn text(&mut self) -> Option<&'b [u8]> {
        let length = self.short()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONNECT: &[u8] = b"\x10\x1d\x00\x04MQTT\x04\xce\x00\x0a\x00\x02id\x00\x01t\x00\x03pay\x00\x01u\x00\x02pw";

    #[test]
    fn fields_are_found() {
        for (name, expected) in [
            ("protocol_name", &b"MQTT"[..]),
            ("Protocol_Version", b"4"),
            ("flags", b"206"),
            ("keepalive", b"10"),
            ("client_identifier", b"id"),
            ("will_topic", b"t"),
            ("will_payload", b"pay"),
            ("username", b"u"),
            ("password", b"pw"),
        ] {
            let field = Packet::Connect.field(name).unwrap();
            assert_eq!(value(CONNECT, Packet::Connect, field).as_deref(), Some(expected), "{name}");
        }
        assert_eq!((is_valid(CONNECT), is_valid(&CONNECT[..CONNECT.len() - 1])), (Some(true), None));
        let five = b"\x20\x09\x00\x00\x06\x13\x00\x0a\x24\x01\x2a";
        assert_eq!(is_valid(five), Some(false), "a property is cut off");
        let five = b"\x20\x08\x01\x00\x05\x13\x00\x0a\x24\x01";
        let field = |text| Packet::Acknowledgement.field(text).unwrap();
        assert_eq!(value(five, Packet::Acknowledgement, field("19")).as_deref(), Some(&b"10"[..]));
        assert_eq!(value(five, Packet::Acknowledgement, field("protocol_version")).as_deref(), Some(&b"5"[..]));
        assert_eq!(value(five, Packet::Acknowledgement, field("42")), None);
        assert!(Packet::Connect.field("reason_code").is_none() && Packet::Connect.field("38").is_none() && Packet::parse("3").is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..64), kind in 1_u8..3) {
            let bytes = [&[kind << 4][..], &bytes].concat();
            is_valid(&bytes);
        }
    }
}
