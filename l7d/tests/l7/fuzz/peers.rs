//! What peers say to each other.

use control::config::StoredKind;
use l7d::peers::codec::hello::{Greeting, Hello, Status};
use l7d::peers::codec::{Frame, LONGEST, Malformed, Message, read};

use super::fuzz;

/// As Debian's haproxy says it.
const MESSAGES: &[&[u8]] = &[
    b"\x0a\x82\x17\x03\x03str\x06\x21\xf0\xf1\xfe\x70\xf0\x97\x1c\x16\x02\x17\x03\x18\x03\xf0\xe2\x03",
    b"\x0a\x82\x0c\x07\x01s\x04\x04\xf1\xf1\xfe\0\xf0\x97\x1c",
    b"\x0a\x80\x26\0\0\0\x02\x06/hello\0\0\0\0\0\0\xf5\xed\x81\xa7\x11\0\0\xf5\xed\x81\xa7\x11\0\0\xf5\xed\x81\xa7\x11\0\0",
    b"\x0a\x85\x14\0\0\0\x04\0\0\xd1\xca\x09127.0.0.1\0\0",
    b"\x0a\x86\x09\0\0\xd1\xca\x03abc\x05\0\x01\0\x04\x0a\x84\x05\x03\0\0\0\x02\x0a\x83\x01\x03",
    b"\0\0\0\x01\0\x02\0\x03\0\x04\x01\0\x01\x01",
];
const WORDS: &[&[u8]] = &[b"\0", b"\x0a\x82", b"\x0a\x81\x05", b"\xf0", b"\xff\xff\xff", b"\x7f", b"\x80\x80", b"\0\x04", b"\xf0\x97\x1c"];

#[test]
fn messages_of_peers() {
    fuzz(200_000, MESSAGES, WORDS, |bytes, seed| {
        let (mut rest, mut definition) = (bytes, None);
        for _ in 0..=bytes.len() {
            let part = seed.below(rest.len() + 1);
            match read(rest) {
                Ok(Frame::Whole(message, size)) => {
                    assert!(size >= 2 && size <= rest.len() && size <= LONGEST + 12);
                    assert_eq!(read(&rest[..size]), read(rest), "what follows takes part");
                    if part < size {
                        assert!(matches!(read(&rest[..part]), Ok(Frame::Partial) | Err(Malformed::TooLong)));
                    }
                    let mut again = Vec::new();
                    message.write(&mut again);
                    if message != Message::Unknown {
                        assert_eq!(read(&again), Ok(Frame::Whole(message.clone(), again.len())), "{message:?}");
                    }
                    match (message, &definition) {
                        (Message::Define(new), _) => {
                            assert!(new.items.iter().all(|item| item.count <= 100));
                            definition = Some(new);
                        }
                        (Message::Update(update), Some(of)) => {
                            if let Ok(entry) = of.entry(update.entry) {
                                let held: usize = of
                                    .items
                                    .iter()
                                    .filter(|item| item.kind != StoredKind::ServerKey)
                                    .map(|item| usize::from(item.count))
                                    .sum();
                                assert!(entry.values.len() == held && entry.key.len() <= update.entry.len());
                            }
                        }
                        _ => {}
                    }
                    rest = &rest[size..];
                }
                Ok(Frame::Partial) => return assert_eq!(read(&rest[..part]), Ok(Frame::Partial)),
                Err(_) => return,
            }
        }
        assert!(rest.is_empty());
    });
}

const HELLOS: &[&[u8]] = &[b"HAProxyS 2.1\nme\nha 8564 1\nrest", b"HAProxyS 2.0\r\nb\r\na 1 0\r\n", b"200\n", b"504\n\0"];

#[test]
fn first_words_of_peers() {
    let words: &[&[u8]] = &[b"\n", b" ", b"HAProxyS ", b"2.1", b"\xff", b"0", b"."];
    fuzz(100_000, HELLOS, words, |bytes, seed| {
        let part = seed.below(bytes.len() + 1);
        if let Greeting::Whole(hello, size) = Hello::read(bytes) {
            assert_eq!(Hello::read(&bytes[..size]), Greeting::Whole(hello, size));
            if part < size {
                assert_eq!(Hello::read(&bytes[..part]), Greeting::Partial);
            }
        }
        if let Greeting::Whole(status, size) = Status::read(bytes) {
            assert!(size <= bytes.len() && status.code() >= 200);
        }
    });
}
