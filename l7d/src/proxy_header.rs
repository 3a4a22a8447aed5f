//! The PROXY protocol, versions 1 and 2: who really is at the other end of a connection.
//!
//! A header stands before everything else, on connections that come in from another proxy and on connections to servers that ask for
//! it. Pure and in both directions; whether a peer may send one is the listener's decision. Of the extensions (TLVs) the checksum is
//! made and verified, and rules may look at the others.

mod checksum;

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header says about the connection it stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoints {
    /// Nothing: the sender speaks for itself, or for a peer whose address has no place here.
    Unknown,
    /// The sender relays a connection between these two.
    Relayed {
        /// The client.
        source: SocketAddr,
        /// The address the client connected to; of the same family.
        destination: SocketAddr,
    },
}

/// The outcome of reading a header that has no fault so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// The header is not complete.
    Partial,
    /// The header is complete.
    Complete {
        /// What it says.
        endpoints: Endpoints,
        /// How many bytes it took.
        length: usize,
    },
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The connection begins with something else.
    #[error("connection does not begin with a PROXY header")]
    Absent,
    /// The line of version 1 is not one of its forms.
    #[error("PROXY v1 line is malformed")]
    Line,
    /// The line of version 1 is longer than it may be.
    #[error("PROXY v1 line is longer than {MAX_LINE} bytes")]
    LineTooLong,
    /// The version or command is unknown.
    #[error("PROXY v2 version or command 0x{0:02x} is unknown")]
    Command(u8),
    /// The address family or transport is unknown.
    #[error("PROXY v2 address family 0x{0:02x} is unknown")]
    Family(u8),
    /// The addresses or extensions do not fit into the announced length.
    #[error("PROXY v2 length {0} is too short for what it holds")]
    Length(u16),
    /// The header is not what its sender made the checksum of.
    #[error("PROXY v2 checksum is wrong")]
    Checksum,
}

/// Reads a header of either version from the beginning of `bytes`.
///
/// # Errors
/// Refuses whatever cannot become a valid header any more.
pub fn decode(bytes: &[u8]) -> Result<Decoded, ProxyHeaderError> {
    if begins_alike(bytes, SIGNATURE) {
        decode_v2(bytes)
    } else if begins_alike(bytes, LINE_START) {
        decode_v1(bytes)
    } else {
        Err(ProxyHeaderError::Absent)
    }
}

/// Returns the extensions of a whole header, each with its kind; none of version 1.
pub(crate) fn extensions(header: &[u8]) -> &[u8] {
    let is_v2 = header.starts_with(SIGNATURE);
    let addresses = match header.get(V2_HEADER - 3) {
        Some(&FAMILY_TCP4) => 12,
        Some(&FAMILY_TCP6) => 36,
        _ => return &[],
    };
    header.get(V2_HEADER + addresses..).filter(|_| is_v2).unwrap_or_default()
}

/// Returns what an extension of a kind says, the first where there are several.
pub(crate) fn extension(mut extensions: &[u8], kind: u8) -> Option<&[u8]> {
    while let [found, high, low, rest @ ..] = extensions {
        let (value, behind) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if *found == kind {
            return Some(value);
        }
        extensions = behind;
    }
    None
}

/// Appends a header of version 1.
pub fn encode_v1(endpoints: &Endpoints, out: &mut Vec<u8>) {
    let line = match endpoints {
        Endpoints::Relayed { source, destination } => {
            let (source, destination) = one_family(*source, *destination);
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let mut line = format!("PROXY {family} {} {}", source.ip(), destination.ip());
            write!(line, " {} {}\r\n", source.port(), destination.port()).expect("a string takes any text");
            line
        }
        Endpoints::Unknown => "PROXY UNKNOWN\r\n".to_owned(),
    };
    out.extend_from_slice(line.as_bytes());
}

/// Appends a header of version 2 without extensions.
pub fn encode_v2(endpoints: &Endpoints, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let Endpoints::Relayed { source, destination } = endpoints else {
        out.extend_from_slice(&[COMMAND_LOCAL, FAMILY_UNSPECIFIED, 0, 0]);
        return;
    };
    match one_family(*source, *destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            out.extend_from_slice(&[COMMAND_PROXY, FAMILY_TCP4, 0, 12]);
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
        }
        (source, destination) => {
            out.extend_from_slice(&[COMMAND_PROXY, FAMILY_TCP6, 0, 36]);
            out.extend_from_slice(&as_v6(source.ip()).octets());
            out.extend_from_slice(&as_v6(destination.ip()).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

/// Appends a header of version 2 that carries its own checksum.
pub fn encode_v2_with_checksum(endpoints: &Endpoints, out: &mut Vec<u8>) {
    let start = out.len();
    encode_v2(endpoints, out);
    out.extend_from_slice(&[EXTENSION_CHECKSUM, 0, 4, 0, 0, 0, 0]);
    let header = &mut out[start..];
    let body = u16::try_from(header.len() - V2_HEADER).expect("two addresses and a checksum are short");
    header[V2_HEADER - 2..V2_HEADER].copy_from_slice(&body.to_be_bytes());
    // Made of the header with zeros where it will stand.
    let sum = checksum::crc32c(header).to_be_bytes();
    let place = header.len() - sum.len();
    header[place..].copy_from_slice(&sum);
}

/// Tells whether `bytes` begins with `start`, or may yet.
fn begins_alike(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(found, wanted)| found == wanted)
}

fn decode_v1(bytes: &[u8]) -> Result<Decoded, ProxyHeaderError> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE { Ok(Decoded::Partial) } else { Err(ProxyHeaderError::LineTooLong) };
    };
    let line = bytes[..end].strip_suffix(b"\r").and_then(|line| str::from_utf8(line).ok()).ok_or(ProxyHeaderError::Line)?;
    let endpoints = v1_endpoints(line).ok_or(ProxyHeaderError::Line)?;
    Ok(Decoded::Complete { endpoints, length: end + 1 })
}

fn v1_endpoints(line: &str) -> Option<Endpoints> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // The rest of such a line is to be ignored.
        return Some(Endpoints::Unknown);
    }
    let (source, destination) = match family {
        "TCP4" => (v1_ip::<Ipv4Addr>(words.next()?)?, v1_ip::<Ipv4Addr>(words.next()?)?),
        "TCP6" => (v1_ip::<Ipv6Addr>(words.next()?)?, v1_ip::<Ipv6Addr>(words.next()?)?),
        _ => return None,
    };
    let (source_port, destination_port) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    words.next().is_none().then(|| Endpoints::Relayed {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn v1_ip<A: std::str::FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<A>().ok().map(Into::into)
}

fn v1_port(word: &str) -> Option<u16> {
    // `parse` would take a sign and leading zeros.
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if is_plain { word.parse().ok() } else { None }
}

fn decode_v2(bytes: &[u8]) -> Result<Decoded, ProxyHeaderError> {
    let Some((header, rest)) = bytes.split_at_checked(V2_HEADER) else {
        return Ok(Decoded::Partial);
    };
    let [command, family, high, low] = [header[12], header[13], header[14], header[15]];
    if !matches!(command, COMMAND_LOCAL | COMMAND_PROXY) {
        return Err(ProxyHeaderError::Command(command));
    }
    let size = u16::from_be_bytes([high, low]);
    let Some(body) = rest.get(..usize::from(size)) else {
        return Ok(Decoded::Partial);
    };
    let (endpoints, extensions) = v2_endpoints(command, family, body).map_err(|error| error.unwrap_or(ProxyHeaderError::Length(size)))?;
    let whole = &bytes[..V2_HEADER + usize::from(size)];
    check_extensions(whole, extensions).map_err(|error| error.unwrap_or(ProxyHeaderError::Length(size)))?;
    Ok(Decoded::Complete { endpoints, length: V2_HEADER + usize::from(size) })
}

/// Reads the addresses and returns what follows them; an error without a value is a body too short for them.
fn v2_endpoints(command: u8, family: u8, body: &[u8]) -> Result<(Endpoints, &[u8]), Option<ProxyHeaderError>> {
    Ok(match family {
        // A sender that speaks for itself may put anything here; it is to be skipped unread.
        _ if command == COMMAND_LOCAL => (Endpoints::Unknown, &[]),
        FAMILY_TCP4 => {
            let (part, rest) = body.split_first_chunk::<12>().ok_or(None)?;
            let [a, b, c, d, e, f, g, h, ports @ ..] = *part;
            (relayed(Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), ports), rest)
        }
        FAMILY_TCP6 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(None)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(None)?;
            let (ports, rest) = rest.split_first_chunk::<4>().ok_or(None)?;
            (relayed(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), *ports), rest)
        }
        FAMILY_UNSPECIFIED | FAMILY_UNIX => (Endpoints::Unknown, &[]),
        other => return Err(Some(ProxyHeaderError::Family(other))),
    })
}

fn relayed(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Endpoints {
    Endpoints::Relayed {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Checks that the extensions at the end of `header` fill their place exactly, and the checksum if there is one; an error without a
/// value is a place too small for them.
fn check_extensions(header: &[u8], mut rest: &[u8]) -> Result<(), Option<ProxyHeaderError>> {
    while !rest.is_empty() {
        let ([kind, high, low], behind) = rest.split_first_chunk::<3>().ok_or(None)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, behind_value) = behind.split_at_checked(length).ok_or(None)?;
        if *kind == EXTENSION_CHECKSUM && !checksum::is_right(header, header.len() - behind.len(), value) {
            return Err(Some(ProxyHeaderError::Checksum));
        }
        rest = behind_value;
    }
    Ok(())
}

/// Brings both addresses to one family, which the format wants: mapped IPv4 becomes plain, and plain becomes mapped beside IPv6.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    match (plain(source), plain(destination)) {
        (source, destination) if source.is_ipv4() == destination.is_ipv4() => (source, destination),
        (source, destination) => {
            (SocketAddr::new(as_v6(source.ip()).into(), source.port()), SocketAddr::new(as_v6(destination.ip()).into(), destination.port()))
        }
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Room for the longest header that is made here.
pub(crate) const LONGEST: usize = MAX_LINE;
/// Longest line of version 1, CR LF included.
const MAX_LINE: usize = 107;
/// Signature, command, family and length of version 2.
const V2_HEADER: usize = 16;
const COMMAND_LOCAL: u8 = 0x20;
const COMMAND_PROXY: u8 = 0x21;
const FAMILY_UNSPECIFIED: u8 = 0x00;
const FAMILY_TCP4: u8 = 0x11;
const FAMILY_TCP6: u8 = 0x21;
const FAMILY_UNIX: u8 = 0x31;
const EXTENSION_CHECKSUM: u8 = 0x03;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn between(source: &str, destination: &str) -> Endpoints {
        Endpoints::Relayed { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    #[test]
    fn v1_lines_are_read() {
        let cases: [(&[u8], Endpoints); 4] = [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", between("192.0.2.1:56324", "192.0.2.2:443")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", between("[2001:db8::1]:1", "[::1]:65535")),
            (b"PROXY UNKNOWN\r\n", Endpoints::Unknown),
            (b"PROXY UNKNOWN ffff::1 whatever 1\r\n", Endpoints::Unknown),
        ];
        for (line, endpoints) in cases {
            let wire = [line, b"GET /"].concat();
            assert_eq!(decode(&wire), Ok(Decoded::Complete { endpoints, length: line.len() }));
        }
    }

    #[test]
    fn malformed_v1_lines_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 ::1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY \r\n",
            "PROXY TCP4 \u{e9} 192.0.2.2 1 2\r\n",
        ] {
            assert_eq!(decode(line.as_bytes()), Err(ProxyHeaderError::Line), "{line:?}");
        }
        assert_eq!(decode(&[b"PROXY UNKNOWN".as_slice(), &[b'x'; 100]].concat()), Err(ProxyHeaderError::LineTooLong));
    }

    #[test]
    fn other_bytes_are_no_header() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"PROXX", b"\r\n\r\n\0\r\nQUIX", b"\x16\x03\x01"] {
            assert_eq!(decode(bytes), Err(ProxyHeaderError::Absent), "{bytes:?}");
        }
    }

    #[test]
    fn v2_extensions_are_stepped_over() {
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187];
        let wire = v2(COMMAND_PROXY, FAMILY_TCP4, &[&addresses[..], &[0x04, 0, 2, 9, 9, 0xe0, 0, 0]].concat());
        let expected = Decoded::Complete { endpoints: between("192.0.2.1:80", "192.0.2.2:443"), length: wire.len() };
        assert_eq!(decode(&wire), Ok(expected));
        let cut = v2(COMMAND_PROXY, FAMILY_TCP4, &[&addresses[..], &[0x04, 0, 3, 9, 9]].concat());
        assert_eq!(decode(&cut), Err(ProxyHeaderError::Length(17)));
    }

    #[test]
    fn checksum_is_that_of_haproxy_and_a_wrong_one_is_refused() {
        // Sent by haproxy 2.6 with `send-proxy-v2 proxy-v2-options crc32c`.
        let theirs = b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x13\x7f\0\0\x01\x7f\0\0M\xc5\xae\x1bm\x03\0\x04\xb1\x05\xddL";
        let endpoints = between("127.0.0.1:50606", "127.0.0.77:7021");
        let mut ours = Vec::new();
        encode_v2_with_checksum(&endpoints, &mut ours);
        assert_eq!(ours, theirs);
        assert_eq!(decode(theirs), Ok(Decoded::Complete { endpoints, length: theirs.len() }));
        for place in [16, theirs.len() - 1] {
            let mut wrong = theirs.to_vec();
            wrong[place] ^= 1;
            assert_eq!(decode(&wrong), Err(ProxyHeaderError::Checksum));
        }
        let mut local = Vec::new();
        encode_v2_with_checksum(&Endpoints::Unknown, &mut local);
        assert_eq!(local, b"\r\n\r\n\0\r\nQUIT\n \0\0\x07\x03\0\x04\xa9\xb8~\x8f");
    }

    #[test]
    fn v2_local_and_unix_say_nothing_about_the_client() {
        for wire in [v2(COMMAND_LOCAL, 0xff, b"any"), v2(COMMAND_PROXY, FAMILY_UNSPECIFIED, b""), v2(COMMAND_PROXY, FAMILY_UNIX, &[0; 216])]
        {
            assert_eq!(decode(&wire), Ok(Decoded::Complete { endpoints: Endpoints::Unknown, length: wire.len() }));
        }
    }

    #[test]
    fn malformed_v2_headers_are_refused() {
        assert_eq!(decode(&v2(0x11, FAMILY_TCP4, &[0; 12])), Err(ProxyHeaderError::Command(0x11)));
        assert_eq!(decode(&v2(COMMAND_PROXY, 0x12, &[0; 12])), Err(ProxyHeaderError::Family(0x12)));
        assert_eq!(decode(&v2(COMMAND_PROXY, FAMILY_TCP4, &[0; 11])), Err(ProxyHeaderError::Length(11)));
        assert_eq!(decode(&v2(COMMAND_PROXY, FAMILY_TCP6, &[0; 35])), Err(ProxyHeaderError::Length(35)));
    }

    #[test]
    fn mixed_families_are_sent_as_v6() {
        let mixed = between("192.0.2.1:1", "[2001:db8::1]:2");
        let (mut line, mut binary) = (Vec::new(), Vec::new());
        encode_v1(&mixed, &mut line);
        encode_v2(&mixed, &mut binary);
        assert_eq!(String::from_utf8(line).unwrap(), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
        assert!(
            matches!(decode(&binary), Ok(Decoded::Complete { endpoints, .. }) if endpoints == between("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"))
        );
        let mapped = between("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2");
        let mut line = Vec::new();
        encode_v1(&mapped, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    }

    fn endpoints() -> impl Strategy<Value = Endpoints> {
        let v4 = (any::<(Ipv4Addr, u16)>(), any::<(Ipv4Addr, u16)>())
            .prop_map(|(source, destination)| Endpoints::Relayed { source: source.into(), destination: destination.into() });
        let v6 = (any::<(Ipv6Addr, u16)>(), any::<(Ipv6Addr, u16)>())
            .prop_filter("mapped addresses travel as IPv4", |(source, _)| source.0.to_ipv4_mapped().is_none())
            .prop_map(|(source, destination)| Endpoints::Relayed { source: source.into(), destination: destination.into() });
        prop_oneof![v4, v6, Just(Endpoints::Unknown)]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(endpoints in endpoints(), behind in prop::collection::vec(any::<u8>(), 0..8)) {
            for encode in [encode_v1, encode_v2] {
                let mut wire = Vec::new();
                encode(&endpoints, &mut wire);
                let length = wire.len();
                for end in 0..length {
                    prop_assert_eq!(decode(&wire[..end]), Ok(Decoded::Partial));
                }
                wire.extend_from_slice(&behind);
                prop_assert_eq!(decode(&wire), Ok(Decoded::Complete { endpoints, length }));
            }
        }

        #[test]
        fn damaged_headers_never_panic(endpoints in endpoints(), at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
            for encode in [encode_v1, encode_v2] {
                let mut wire = Vec::new();
                encode(&endpoints, &mut wire);
                let at = at.index(wire.len());
                wire[at] = byte;
                let _ = decode(&wire[..cut.index(wire.len())]);
                let _ = decode(&wire);
            }
        }
    }
}
