//! A look at the first message of a TLS client, without taking part in the conversation.
//!
//! Reads the server name and the protocols a client asks for, so that a connection can be routed before anything is decrypted. Pure;
//! it takes the bytes as they arrived and leaves them for whoever speaks TLS. It checks structure, not cryptography.

/// What a client asks for in its first message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The version the client offers in the field that all versions have; TLS 1.3 says 1.2 there (RFC 8446 section 4.1.2).
    pub version: u16,
    /// The name of the server the client wants (SNI), in lower case.
    pub server_name: Option<String>,
    /// The application protocols the client offers (ALPN), in its order.
    pub protocols: Vec<Vec<u8>>,
}

/// The outcome of looking at bytes that have no fault so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// The message is not complete.
    Partial,
    /// The message is complete.
    Complete(ClientHello),
}

/// Why there is no client hello to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientHelloError {
    /// The connection does not begin with a TLS handshake record.
    #[error("connection does not begin with a TLS handshake")]
    NotTls,
    /// The first handshake message is another one.
    #[error("first TLS message is of type {0}, not a client hello")]
    OtherMessage(u8),
    /// The message is longer than is worth waiting for.
    #[error("client hello of {0} bytes is too long")]
    TooLong(usize),
    /// The parts of the message do not fit into it.
    #[error("client hello is malformed")]
    Malformed,
}

/// Reads the client hello at the beginning of `bytes`, which may be spread over several records.
///
/// # Errors
/// Refuses whatever cannot become a valid client hello any more.
pub fn peek(bytes: &[u8]) -> Result<Peek, ClientHelloError> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        if let Some(length) = message_length(&message)?
            && let Some(body) = message.get(HANDSHAKE_HEADER..HANDSHAKE_HEADER + length)
        {
            return body_of(body).map(Peek::Complete).ok_or(ClientHelloError::Malformed);
        }
        let Some((fragment, behind)) = record(rest)? else {
            return Ok(Peek::Partial);
        };
        message.extend_from_slice(fragment);
        if fragment.len() < behind.wanted {
            // Enough of an unfinished record may be there already.
            rest = &[];
        } else {
            rest = behind.bytes;
        }
    }
}

/// What follows a record: its bytes, and how many the record itself announced.
struct Behind<'a> {
    wanted: usize,
    bytes: &'a [u8],
}

/// Returns the payload of the first record, as far as it has arrived.
fn record(bytes: &[u8]) -> Result<Option<(&[u8], Behind<'_>)>, ClientHelloError> {
    let known = bytes.len().min(2);
    if bytes[..known] != [RECORD_HANDSHAKE, 3][..known] {
        return Err(ClientHelloError::NotTls);
    }
    let Some((header, payload)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    let wanted = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if wanted == 0 || wanted > MAX_RECORD {
        return Err(ClientHelloError::NotTls);
    }
    if payload.is_empty() {
        return Ok(None);
    }
    let (fragment, behind) = payload.split_at(wanted.min(payload.len()));
    Ok(Some((fragment, Behind { wanted, bytes: behind })))
}

/// Returns the length that the handshake header announces, if that header has arrived.
fn message_length(message: &[u8]) -> Result<Option<usize>, ClientHelloError> {
    match *message {
        [HANDSHAKE_CLIENT_HELLO, high, middle, low, ..] => {
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if length > MAX_MESSAGE { Err(ClientHelloError::TooLong(length)) } else { Ok(Some(length)) }
        }
        [] | [HANDSHAKE_CLIENT_HELLO, ..] => Ok(None),
        [other, ..] => Err(ClientHelloError::OtherMessage(other)),
    }
}

/// Reads the message behind the handshake header (RFC 8446 section 4.1.2); `None` if a part does not fit.
fn body_of(bytes: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(bytes);
    let version = body.number16()?;
    body.take(RANDOM)?;
    body.block8()?; // session id
    body.block16()?; // cipher suites
    body.block8()?; // compression methods
    let mut hello = ClientHello { version, ..ClientHello::default() };
    if body.0.is_empty() {
        return Some(hello); // extensions came with TLS 1.0's RFC 3546
    }
    let mut extensions = Reader(body.block16()?);
    let (mut named, mut offered) = (Times::Never, Times::Never);
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let value = extensions.block16()?;
        match kind {
            EXTENSION_SERVER_NAME => {
                named.once()?;
                hello.server_name = server_name(value)?;
            }
            EXTENSION_PROTOCOLS => {
                offered.once()?;
                hello.protocols = protocols(value)?;
            }
            _ => {}
        }
    }
    body.0.is_empty().then_some(hello)
}

/// How often something came that may come once: of two names, the server might take the other (RFC 8446 section 4.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Never,
    Once,
}

impl Times {
    /// Notes that it came; `None` if it came before.
    fn once(&mut self) -> Option<()> {
        (std::mem::replace(self, Self::Once) == Self::Never).then_some(())
    }
}

/// Reads the server name extension (RFC 6066 section 3); the outer `None` is a malformed one.
fn server_name(value: &[u8]) -> Option<Option<String>> {
    let mut list = Reader(Reader(value).block16()?);
    let (mut host, mut named) = (None, Times::Never);
    while !list.0.is_empty() {
        let kind = list.take(1)?[0];
        let name = list.block16()?;
        if kind == NAME_HOST {
            named.once()?;
            let is_host = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic());
            host = Some(str::from_utf8(name).ok().filter(|_| is_host)?.to_ascii_lowercase());
        }
    }
    Some(host)
}

/// Reads the protocol list (RFC 7301 section 3.1).
fn protocols(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(Reader(value).block16()?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(list.block8().filter(|name| !name.is_empty())?.to_vec());
    }
    Some(protocols)
}

/// Bytes that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    /// Takes a block behind a length of one byte.
    fn block8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    /// Takes a block behind a length of two bytes.
    fn block16(&mut self) -> Option<&'a [u8]> {
        let length = self.number16()?;
        self.take(usize::from(length))
    }
}

const RECORD_HEADER: usize = 5;
const RECORD_HANDSHAKE: u8 = 22;
/// Longest payload of a record that is not encrypted (RFC 8446 section 5.1).
const MAX_RECORD: usize = 1 << 14;
const HANDSHAKE_HEADER: usize = 4;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
/// Longest hello waited for; clients with post-quantum key shares send about 2 kB.
const MAX_MESSAGE: usize = 15 * 1024;
const RANDOM: usize = 32;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_PROTOCOLS: u16 = 16;
const NAME_HOST: u8 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block8(bytes: &[u8]) -> Vec<u8> {
        [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn block16(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes(), block16(value).as_slice()].concat()
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut body = [&[3, 3], &[7; 32][..], &block8(&[9; 32]), &block16(&[0x13, 1]), &block8(&[0])].concat();
        body.extend_from_slice(&block16(&extensions.concat()));
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE_CLIENT_HELLO], &length[1..], &body].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[RECORD_HANDSHAKE, 3, 1][..], &block16(part)].concat()).collect()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(EXTENSION_SERVER_NAME, &block16(&[&[NAME_HOST], block16(name).as_slice()].concat()))
    }

    fn alpn(names: &[&[u8]]) -> Vec<u8> {
        extension(EXTENSION_PROTOCOLS, &block16(&names.iter().flat_map(|name| block8(name)).collect::<Vec<_>>()))
    }

    #[test]
    fn name_and_protocols_are_found_across_records() {
        let hello = message(&[extension(43, &[2, 3, 4]), sni(b"WWW.Example.org"), alpn(&[b"h2", b"http/1.1"])]);
        let expected = ClientHello {
            version: 0x303,
            server_name: Some("www.example.org".to_owned()),
            protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        for size in [1, 3, 50, 10_000] {
            let wire = records(&hello, size);
            assert_eq!(peek(&wire), Ok(Peek::Complete(expected.clone())), "records of {size} bytes");
            for end in 0..wire.len() {
                assert_eq!(peek(&wire[..end]), Ok(Peek::Partial), "{end} bytes of records of {size}");
            }
        }
    }

    #[test]
    fn hello_without_extensions_asks_for_nothing() {
        assert_eq!(peek(&records(&message(&[]), 500)), Ok(Peek::Complete(ClientHello { version: 0x303, ..ClientHello::default() })));
        let mut old = message(&[]);
        old.truncate(old.len() - 2);
        old[3] -= 2;
        assert_eq!(peek(&records(&old, 500)), Ok(Peek::Complete(ClientHello { version: 0x303, ..ClientHello::default() })));
    }

    #[test]
    fn other_beginnings_are_told_apart() {
        assert_eq!(peek(b"GET / HTTP/1.1\r\n"), Err(ClientHelloError::NotTls));
        assert_eq!(peek(&[RECORD_HANDSHAKE, 2]), Err(ClientHelloError::NotTls));
        assert_eq!(peek(&[RECORD_HANDSHAKE, 3, 1, 0xff, 0xff]), Err(ClientHelloError::NotTls));
        assert_eq!(peek(&records(&[2, 0, 0, 0], 9)), Err(ClientHelloError::OtherMessage(2)));
        assert_eq!(peek(&records(&[HANDSHAKE_CLIENT_HELLO, 1, 0, 0], 9)), Err(ClientHelloError::TooLong(65_536)));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let mut behind = message(&[sni(b"a")]);
        behind.push(0);
        behind[3] += 1;
        for (description, hello) in [
            ("bytes behind the extensions", behind),
            ("empty name", message(&[sni(b"")])),
            ("name with a space", message(&[sni(b"a b")])),
            ("name list cut", message(&[extension(EXTENSION_SERVER_NAME, &[0, 9, 0])])),
            ("empty protocol", message(&[alpn(&[b""])])),
            ("extension cut", message(&[vec![0, 16, 0]])),
            ("two names", message(&[sni(b"a"), sni(b"b")])),
            ("two names in one list", message(&[extension(EXTENSION_SERVER_NAME, &block16(b"\0\0\x01a\0\0\x01b"))])),
            ("two lists of protocols", message(&[alpn(&[b"h2"]), alpn(&[b"h2"])])),
        ] {
            assert_eq!(peek(&records(&hello, 500)), Err(ClientHelloError::Malformed), "{description}");
        }
    }

    proptest! {
        #[test]
        fn damaged_hellos_never_panic(at in any::<prop::sample::Index>(), byte: u8, size in 1usize..200) {
            let mut wire = records(&message(&[sni(b"example.org"), alpn(&[b"h2"])]), size);
            let at = at.index(wire.len());
            wire[at] = byte;
            for end in 0..=wire.len() {
                let _ = peek(&wire[..end]);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = peek(&bytes);
            let _ = peek(&[&[RECORD_HANDSHAKE, 3, 1, 0, 200][..], &bytes].concat());
        }
    }
}
