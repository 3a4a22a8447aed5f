//! What may come before the first message: PROXY headers and the first message of TLS.

use l7d::client_hello::{self, Peek};
use l7d::proxy_header::{self, Decoded, Endpoints};

use super::{Seed, fuzz};

const LINES: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET /",
    b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
    b"PROXY UNKNOWN ffff::1 whatever 1\r\nx",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x01\x02\x03\x04rest",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\xc0\0\x02\x01\xc0\0\x02\x02\x01\x02\x03\x04\x04\0\x02ab\x05\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb\0\x50\x01\xbb",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
];
const WORDS: &[&[u8]] =
    &[b"\r\n", b"\n", b" ", b"0", b"65536", b"::", b".", b"TCP4", b"TCP6", b"UNKNOWN", b"\0", b"\xff", b"\x21", b"\x11"];

#[test]
fn proxy_headers() {
    fuzz(200_000, LINES, WORDS, |bytes, seed| {
        let part = seed.below(bytes.len() + 1);
        match proxy_header::decode(bytes) {
            Ok(Decoded::Complete { endpoints, length }) => {
                assert!(length > 0 && length <= bytes.len());
                assert_eq!(proxy_header::decode(&bytes[..length]), proxy_header::decode(bytes), "what follows takes part");
                if part < length {
                    assert_eq!(proxy_header::decode(&bytes[..part]), Ok(Decoded::Partial));
                }
                for encode in [proxy_header::encode_v1, proxy_header::encode_v2] {
                    let mut wire = Vec::new();
                    encode(&endpoints, &mut wire);
                    let Ok(Decoded::Complete { endpoints: again, length }) = proxy_header::decode(&wire) else { panic!("{wire:?}") };
                    assert_eq!((canonical(&again), length), (canonical(&endpoints), wire.len()));
                }
            }
            Ok(Decoded::Partial) => assert_eq!(proxy_header::decode(&bytes[..part]), Ok(Decoded::Partial)),
            // What is refused stays refused, whatever comes behind it.
            Err(error) => assert_eq!(proxy_header::decode(&[bytes, &[seed.byte()]].concat()), Err(error)),
        }
    });
}

/// Mapped and plain IPv4 addresses are the same, which is all that a way through both formats may change.
fn canonical(endpoints: &Endpoints) -> Option<[(std::net::IpAddr, u16); 2]> {
    match endpoints {
        Endpoints::Unknown => None,
        Endpoints::Relayed { source, destination } => {
            Some([source, destination].map(|address| (address.ip().to_canonical(), address.port())))
        }
    }
}

/// A client hello for `a.example` with two protocols, in records of at most `size` bytes.
fn hello(size: usize) -> Vec<u8> {
    let name = b"\0\0\0\x0e\0\x0c\0\0\x09a.example";
    let protocols = b"\0\x10\0\x0e\0\x0c\x02h2\x08http/1.1";
    let extensions = [&name[..], protocols].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    let record = |part: &[u8]| [&[22, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
    message.chunks(size).map(record).collect::<Vec<_>>().concat()
}

#[test]
fn client_hellos() {
    let good = [hello(1000), hello(40), hello(1)];
    let Ok(Peek::Complete(seen)) = client_hello::peek(&good[0]) else { panic!("the corpus is not valid") };
    assert_eq!(seen.server_name.as_deref(), Some("a.example"));
    let corpus: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
    let words: &[&[u8]] = &[b"\0", b"\0\0", b"\xff\xff", b"\x16\x03\x01", b"\0\x10", b"a", b".", b"\x01", b"\x40\0"];
    fuzz(200_000, &corpus, words, |bytes, seed: &mut Seed| {
        let part = seed.below(bytes.len() + 1);
        match client_hello::peek(bytes) {
            Ok(Peek::Complete(hello)) => {
                assert_eq!(
                    client_hello::peek(&[bytes, &[seed.byte()]].concat()),
                    Ok(Peek::Complete(hello.clone())),
                    "what follows takes part"
                );
                if let Some(name) = hello.server_name {
                    assert!(!name.is_empty() && name.len() <= bytes.len() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
                }
                assert!(hello.protocols.iter().map(Vec::len).sum::<usize>() <= bytes.len());
            }
            Ok(Peek::Partial) => assert_eq!(client_hello::peek(&bytes[..part]), Ok(Peek::Partial)),
            Err(error) => assert_eq!(client_hello::peek(&[bytes, &[seed.byte()]].concat()), Err(error)),
        }
    });
}
