//! What expressions yield, and how one type is read as another.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// The type of a sample, as far as it is known before there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only known when there is a sample: a variable's.
    Any,
    Bool,
    Int,
    Address,
    Text,
    Binary,
}

impl Kind {
    /// Returns what messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Any => "a value of any type",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Address => "an address",
            Self::Text => "a string",
            Self::Binary => "a block of bytes",
        }
    }
}

/// A value found in a connection or message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sample<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// An address without a port.
    Address(IpAddr),
    /// Text, which need not be UTF-8.
    Text(Cow<'a, [u8]>),
    /// Bytes that are not text.
    Binary(Cow<'a, [u8]>),
}

impl<'a> Sample<'a> {
    /// Returns borrowed text.
    pub(super) fn text(text: &'a [u8]) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Returns text of its own.
    pub(super) fn own(text: Vec<u8>) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// Returns the type.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Address(_) => Kind::Address,
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// Returns a sample that borrows from this one.
    pub(super) fn borrowed(&'a self) -> Self {
        match self {
            Self::Bool(value) => Self::Bool(*value),
            Self::Int(value) => Self::Int(*value),
            Self::Address(value) => Self::Address(*value),
            Self::Text(text) => Self::Text(Cow::Borrowed(text)),
            Self::Binary(bytes) => Self::Binary(Cow::Borrowed(bytes)),
        }
    }

    /// Returns a sample that borrows nothing.
    pub(super) fn into_owned(self) -> Sample<'static> {
        match self {
            Self::Bool(value) => Sample::Bool(value),
            Self::Int(value) => Sample::Int(value),
            Self::Address(value) => Sample::Address(value),
            Self::Text(text) => Sample::Text(Cow::Owned(text.into_owned())),
            Self::Binary(bytes) => Sample::Binary(Cow::Owned(bytes.into_owned())),
        }
    }

    /// Reads it as a number; of text the leading digits count.
    pub(super) fn to_int(&self) -> Option<i64> {
        match self {
            Self::Bool(value) => Some(i64::from(*value)),
            Self::Int(value) => Some(*value),
            Self::Address(IpAddr::V4(address)) => Some(i64::from(u32::from(*address))),
            Self::Address(IpAddr::V6(_)) | Self::Binary(_) => None,
            Self::Text(text) => leading_number(text),
        }
    }

    /// Reads it as a truth value: every number but zero is true.
    pub(super) fn to_bool(&self) -> Option<bool> {
        self.to_int().map(|value| value != 0)
    }

    /// Reads it as an address.
    pub(super) fn to_address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Int(value) => u32::try_from(*value).ok().map(|value| Ipv4Addr::from(value).into()),
            Self::Text(text) => str::from_utf8(text).ok()?.parse().ok(),
            Self::Bool(_) | Self::Binary(_) => None,
        }
    }

    /// Reads it as bytes, printing what is none.
    pub(super) fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => Cow::Borrowed(bytes),
            Self::Bool(_) | Self::Int(_) | Self::Address(_) => {
                let mut out = Vec::new();
                self.write(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Reads it as bytes, of which numbers have eight and addresses as many as on the wire.
    pub(super) fn to_binary(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => Cow::Borrowed(bytes),
            Self::Bool(value) => Cow::Owned(i64::from(*value).to_be_bytes().into()),
            Self::Int(value) => Cow::Owned(value.to_be_bytes().into()),
            Self::Address(IpAddr::V4(address)) => Cow::Owned(address.octets().into()),
            Self::Address(IpAddr::V6(address)) => Cow::Owned(address.octets().into()),
        }
    }

    /// Reads it as bytes, keeping what it borrows.
    pub(super) fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
            Self::Bool(_) | Self::Int(_) | Self::Address(_) => {
                let mut out = Vec::new();
                self.write(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Appends it as text.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => out.extend_from_slice(bytes),
            Self::Bool(value) => out.push(b'0' + u8::from(*value)),
            Self::Int(value) => write!(out, "{value}").expect("a vector takes everything"),
            Self::Address(address) => write!(out, "{address}").expect("a vector takes everything"),
        }
    }
}

/// Returns the number a text begins with, which is 0 where it begins with none, and as large as can be where it is larger; none if there
/// is no text.
fn leading_number(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text.split_first()? {
        (b'-', rest) => (-1, rest),
        (b'+', rest) => (1, rest),
        _ => (1, text),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_as_the_others_that_make_sense() {
        let address = Sample::Address("10.0.0.1".parse().unwrap());
        assert_eq!(address.to_int(), Some(0x0a00_0001));
        let numbers = ["12x", "-7", "--7", "x", "+5", "99999999999999999999", ""].map(|text| Sample::text(text.as_bytes()).to_int());
        assert_eq!(numbers, [Some(12), Some(-7), Some(0), Some(0), Some(5), Some(i64::MAX), None]);
        assert_eq!(address.to_bytes().as_ref(), b"10.0.0.1");
        assert_eq!(Sample::Int(0x0a00_0001).to_address(), address.to_address());
        assert_eq!(Sample::text(b"10.0.0.1").to_address(), address.to_address());
        assert_eq!(Sample::text(b"12 apples").to_int(), Some(12));
        assert_eq!((Sample::Bool(true).to_int(), Sample::Bool(true).to_bytes().as_ref()), (Some(1), &b"1"[..]));
        assert_eq!((Sample::Int(-5).to_bytes().as_ref(), Sample::Int(-5).to_bool()), (&b"-5"[..], Some(true)));
    }
}
