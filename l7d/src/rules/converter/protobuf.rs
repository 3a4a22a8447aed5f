//! Fields of messages in protocol buffers, bare or as gRPC frames them.

use crate::rules::sample::{Kind, Sample};

/// Which field is meant, and how its bytes are read.
#[derive(Debug)]
pub(in crate::rules) struct Field {
    /// The numbers of the fields it is in, and its own last.
    path: Box<[u32]>,
    kind: Option<Number>,
}

/// How the bytes of a number are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Bool,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
}

/// The value of a field as it is on the wire.
enum Value<'b> {
    Varint(u64, &'b [u8]),
    Bits64(&'b [u8; 8]),
    Bytes(&'b [u8]),
    Bits32(&'b [u8; 4]),
}

impl Field {
    /// Reads numbers with dots between them, and the name of a type.
    pub(super) fn parse(path: &str, kind: Option<&str>) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|number| (1..1 << 29).contains(number));
        let path = path.split('.').map(number).collect::<Option<_>>().ok_or(format!("`{path}` is not the number of a field"))?;
        let kind = match kind {
            None => None,
            Some(name) => Some(Number::parse(name).ok_or(format!("`{name}` is not a type: {}", NUMBERS.map(|(name, _)| name).join(", ")))?),
        };
        Ok(Self { path, kind })
    }

    pub(super) fn makes(&self) -> Kind {
        if self.kind.is_some() { Kind::Int } else { Kind::Binary }
    }

    /// Finds it in a message.
    pub(super) fn find(&self, message: &[u8]) -> Option<Sample<'static>> {
        let (last, outer) = self.path.split_last()?;
        let mut message = message;
        for number in outer {
            let Value::Bytes(inner) = field(message, *number)? else { return None };
            message = inner;
        }
        let value = field(message, *last)?;
        match self.kind {
            Some(kind) => kind.read(&value).map(Sample::Int),
            None => Some(Sample::Binary(value.raw().to_vec().into())),
        }
    }

    /// Finds it in the first message of gRPC that has it; compressed ones are passed over.
    pub(super) fn find_framed(&self, mut stream: &[u8]) -> Option<Sample<'static>> {
        loop {
            let (head, rest) = stream.split_first_chunk::<5>()?;
            let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).ok()?;
            let (message, rest) = rest.split_at_checked(length)?;
            if head[0] == 0
                && let Some(found) = self.find(message)
            {
                return Some(found);
            }
            stream = rest;
        }
    }
}

const NUMBERS: [(&str, Number); 14] = [
    ("int32", Number::Int32),
    ("int64", Number::Int64),
    ("uint32", Number::Uint32),
    ("uint64", Number::Uint64),
    ("sint32", Number::Sint32),
    ("sint64", Number::Sint64),
    ("bool", Number::Bool),
    ("enum", Number::Int32),
    ("fixed32", Number::Fixed32),
    ("fixed64", Number::Fixed64),
    ("sfixed32", Number::Sfixed32),
    ("sfixed64", Number::Sfixed64),
    ("float", Number::Float),
    ("double", Number::Double),
];

impl Number {
    fn parse(name: &str) -> Option<Self> {
        NUMBERS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    /// Reads a value that is on the wire as this type is.
    fn read(self, value: &Value<'_>) -> Option<i64> {
        Some(match (self, value) {
            (Self::Int32, Value::Varint(bits, _)) => i64::from(low(*bits).cast_signed()),
            (Self::Int64 | Self::Uint64 | Self::Uint32 | Self::Bool, Value::Varint(bits, _)) => bits.cast_signed(),
            (Self::Sint32, Value::Varint(bits, _)) => {
                let bits = low(*bits);
                i64::from((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
            }
            (Self::Sint64, Value::Varint(bits, _)) => (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed(),
            (Self::Fixed64 | Self::Sfixed64, Value::Bits64(bytes)) => i64::from_le_bytes(**bytes),
            (Self::Double, Value::Bits64(bytes)) => whole(f64::from_le_bytes(**bytes))?,
            (Self::Fixed32, Value::Bits32(bytes)) => u32::from_le_bytes(**bytes).into(),
            (Self::Sfixed32, Value::Bits32(bytes)) => i32::from_le_bytes(**bytes).into(),
            (Self::Float, Value::Bits32(bytes)) => whole(f32::from_le_bytes(**bytes).into())?,
            (_, Value::Varint(..) | Value::Bits64(_) | Value::Bytes(_) | Value::Bits32(_)) => return None,
        })
    }
}

fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).expect("the other bits are gone")
}

/// Cuts off what is behind the point.
fn whole(value: f64) -> Option<i64> {
    format!("{:.0}", value.trunc()).parse().ok()
}

impl<'b> Value<'b> {
    fn raw(&self) -> &'b [u8] {
        match self {
            Self::Varint(_, bytes) | Self::Bytes(bytes) => bytes,
            Self::Bits64(bytes) => &bytes[..],
            Self::Bits32(bytes) => &bytes[..],
        }
    }
}

/// Finds the first field of a number in a message.
fn field(mut message: &[u8], wanted: u32) -> Option<Value<'_>> {
    loop {
        let (tag, _, rest) = varint(message)?;
        let (value, rest) = match tag & 7 {
            0 => {
                let (bits, raw, rest) = varint(rest)?;
                (Value::Varint(bits, raw), rest)
            }
            1 => rest.split_first_chunk().map(|(bytes, rest)| (Value::Bits64(bytes), rest))?,
            2 => {
                let (length, _, rest) = varint(rest)?;
                let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Value::Bytes(bytes), rest)
            }
            5 => rest.split_first_chunk().map(|(bytes, rest)| (Value::Bits32(bytes), rest))?,
            _ => return None,
        };
        if tag >> 3 == u64::from(wanted) {
            return Some(value);
        }
        message = rest;
    }
}

/// Reads a number of up to ten bytes; returns it, its bytes, and what is behind them.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (raw, rest) = bytes.split_at(end);
    let value = raw.iter().rev().fold(0_u64, |value, byte| (value << 7) | u64::from(byte & 0x7f));
    Some((value, raw, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(path: &str, kind: Option<&str>, message: &[u8]) -> Option<i64> {
        Field::parse(path, kind).unwrap().find(message).and_then(|sample| sample.to_int())
    }

    #[test]
    fn every_type_is_read() {
        let message = b"\x08\x96\x01\x10\x03\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x25\xfe\xff\xff\xff\x29\x02\0\0\0\0\0\0\0\x35\0\0\x20\x41\x39\0\0\0\0\0\0\xf8\xbf";
        for (path, kind, expected) in [
            ("1", "int32", Some(150)),
            ("1", "bool", Some(150)),
            ("2", "sint32", Some(-2)),
            ("2", "sint64", Some(-2)),
            ("3", "int32", Some(-1)),
            ("3", "int64", Some(-1)),
            ("3", "uint32", Some(-1)),
            ("4", "sfixed32", Some(-2)),
            ("4", "fixed32", Some(0xffff_fffe)),
            ("5", "fixed64", Some(2)),
            ("6", "float", Some(10)),
            ("7", "double", Some(-1)),
            ("1", "float", None),
            ("9", "int32", None),
            ("1.1", "int32", None),
        ] {
            assert_eq!(find(path, Some(kind), message), expected, "{path} {kind}");
        }
        for (path, kind) in [("0", None), ("1.x", None), ("", None), ("1", Some("string"))] {
            assert!(Field::parse(path, kind).is_err(), "{path} {kind:?}");
        }
    }

    #[test]
    fn frames_and_messages_are_opened() {
        let inner = b"\x12\x04\x08\x05\x10\x07";
        let framed = [&b"\0\0\0\0\x06"[..], inner].concat();
        let field = Field::parse("2.2", Some("int32")).unwrap();
        assert_eq!(field.find_framed(&framed).and_then(|sample| sample.to_int()), Some(7));
        let raw = Field::parse("2", None).unwrap().find(inner).unwrap();
        assert_eq!(raw.to_binary().as_ref(), b"\x08\x05\x10\x07");
        assert!(field.find_framed(&framed[..9]).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let field = Field::parse("1.2", Some("double")).unwrap();
            field.find(&bytes);
            field.find_framed(&bytes);
        }
    }
}
