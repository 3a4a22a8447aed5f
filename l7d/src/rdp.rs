//! The cookie in the first message of a client of the remote desktop protocol ([MS-RDPBCGR] section 2.2.1.1): who it is, or which
//! server it was told to come back to.

use std::net::{Ipv4Addr, SocketAddr};

/// What is known of a cookie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Peek<'b> {
    /// More bytes could tell.
    Partial,
    /// There is none.
    Nothing,
    /// Its value.
    Value(&'b [u8]),
}

/// Finds the cookie of a name, or of any, in the first bytes of a connection: it stands behind headers of 11 bytes.
pub(crate) fn peek<'b>(bytes: &'b [u8], name: Option<&[u8]>) -> Peek<'b> {
    let text = bytes.get(HEADERS..).unwrap_or_default();
    if bytes.first().is_some_and(|version| *version != 3) || !MARK.starts_with(&text[..text.len().min(MARK.len())]) {
        return Peek::Nothing;
    }
    let Some(line) = text.get(MARK.len()..) else { return Peek::Partial };
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Peek::Partial };
    let line = line[..end].trim_ascii_start();
    let Some(equals) = line.iter().position(|byte| *byte == b'=') else { return Peek::Nothing };
    let matches = name.is_none_or(|name| line[..equals].eq_ignore_ascii_case(name));
    if matches { Peek::Value(&line[equals + 1..]) } else { Peek::Nothing }
}

/// Reads where a server is that a value names as `ADDRESS.PORT.…`, both as numbers whose bytes are those on the wire.
pub(crate) fn address(value: &[u8]) -> Option<SocketAddr> {
    let mut numbers = str::from_utf8(value).ok()?.split('.');
    let address: u32 = numbers.next()?.parse().ok()?;
    let port: u16 = numbers.next()?.parse().ok()?;
    numbers.next()?;
    Some(SocketAddr::from((Ipv4Addr::from(address.to_le_bytes()), port.swap_bytes())))
}

/// Length of what stands before the cookie.
pub(crate) const HEADERS: usize = 11;
const MARK: &[u8] = b"Cookie:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_found_once_its_line_is_whole() {
        let bytes = b"\x03\0\0\x2f\x2a\xe0\0\0\0\0\0Cookie: mstshash=joe\r\n\x01\0\x08\0";
        assert_eq!(peek(bytes, None), Peek::Value(b"joe"));
        assert_eq!(peek(bytes, Some(b"MSTSHASH")), Peek::Value(b"joe"));
        assert_eq!(peek(bytes, Some(b"msts")), Peek::Nothing);
        for length in 0..31 {
            assert_eq!(peek(&bytes[..length], None), Peek::Partial, "{length}");
        }
        assert_eq!(peek(b"GET / HTTP/1.1\r\n", None), Peek::Nothing);
    }

    #[test]
    fn address_is_read_from_numbers_of_the_wire() {
        assert_eq!(address(b"3640205228.15629.0000"), Some("172.31.249.216:3389".parse().unwrap()));
        for text in ["", "1", "1.2", "x.1.0", "1.99999.0", "99999999999.1.0", "-1.1.0"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }
}
