//! Texts as JSON writes them between quotes, in ASCII.

use std::fmt::Write as _;

/// How the bytes of a text are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) struct Reading {
    /// Whether they are UTF-8; otherwise each is a character.
    utf8: bool,
    /// Whether characters that take more bytes than they need are taken.
    permissive: bool,
    /// Whether what is wrong is left out; otherwise it leaves nothing of the text.
    silent: bool,
}

impl Reading {
    /// Every byte is a character.
    pub(super) const ASCII: Self = Self { utf8: false, permissive: false, silent: true };

    /// Reads its name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (utf8, permissive, silent) = match name {
            "ascii" => return Some(Self::ASCII),
            "utf8" => (true, false, false),
            "utf8s" => (true, false, true),
            "utf8p" => (true, true, false),
            "utf8ps" => (true, true, true),
            _ => return None,
        };
        Some(Self { utf8, permissive, silent })
    }

    /// Writes a text as JSON does between quotes; none where something is wrong with it.
    pub(super) fn escape(self, mut text: &[u8]) -> Option<String> {
        let mut out = String::with_capacity(text.len() + 8);
        while let Some((first, rest)) = text.split_first() {
            let (character, rest) = if self.utf8 { next(text) } else { (Ok(u32::from(*first)), rest) };
            text = rest;
            let character = character.or_else(|fault| match fault {
                Fault::Overlong(character) if self.permissive => Ok(character),
                Fault::Overlong(_) | Fault::Bad => Err(fault),
            });
            match character {
                Ok(character) if character <= 0xffff => write(character, &mut out),
                Ok(_) | Err(_) if self.silent => {}
                Ok(_) | Err(_) => return None,
            }
        }
        Some(out)
    }
}

/// What is wrong with a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It takes more bytes than it needs.
    Overlong(u32),
    /// It is none.
    Bad,
}

/// Reads the next character, and returns what is behind it.
fn next(text: &[u8]) -> (Result<u32, Fault>, &[u8]) {
    let first = text[0];
    let wanted = match first.leading_ones() {
        0 => return (Ok(first.into()), &text[1..]),
        // It should go on with another byte, or there is none like it.
        ones @ 2..=6 => usize::try_from(ones).expect("at most 8") - 1,
        _ => 0,
    };
    let more = text[1..].iter().take(wanted).take_while(|byte| **byte & 0xc0 == 0x80).count();
    let rest = &text[1 + more..];
    if wanted == 0 || more < wanted || wanted > 3 {
        return (Err(Fault::Bad), rest);
    }
    let start = u32::from(first & (0x3f >> wanted));
    let character = text[1..=more].iter().fold(start, |value, byte| (value << 6) | u32::from(byte & 0x3f));
    let least = [0, 0x80, 0x800, 0x1_0000][wanted];
    let outcome = match character {
        0xd800..=0xdfff | 0xfffe | 0xffff | 0x11_0000.. => Err(Fault::Bad),
        character if character < least => Err(Fault::Overlong(character)),
        character => Ok(character),
    };
    (outcome, rest)
}

fn write(character: u32, out: &mut String) {
    match character {
        0x08 => out.push_str("\\b"),
        0x09 => out.push_str("\\t"),
        0x0a => out.push_str("\\n"),
        0x0c => out.push_str("\\f"),
        0x0d => out.push_str("\\r"),
        0x22 | 0x2f | 0x5c => {
            out.push('\\');
            out.extend(char::from_u32(character));
        }
        0x20..=0x7e => out.extend(char::from_u32(character)),
        _ => write!(out, "\\u{character:04x}").expect("writing to a string cannot fail"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_escaped_as_haproxy_does() {
        for (text, expected) in [
            (&b"a\"b\\c/d\te"[..], [Some("a\\\"b\\\\c\\/d\\te"); 5]),
            (b"caf\xc3\xa9", [Some("caf\\u00c3\\u00a9"), Some("caf\\u00e9"), Some("caf\\u00e9"), Some("caf\\u00e9"), Some("caf\\u00e9")]),
            (b"x\xe9y", [Some("x\\u00e9y"), None, Some("xy"), None, Some("xy")]),
            (b"\xf0\x9f\x98\x80!", [Some("\\u00f0\\u009f\\u0098\\u0080!"), None, Some("!"), None, Some("!")]),
            (b"\xc0\xafq", [Some("\\u00c0\\u00afq"), None, Some("q"), Some("\\/q"), Some("\\/q")]),
            (b"\xed\xa0\x80q", [Some("\\u00ed\\u00a0\\u0080q"), None, Some("q"), None, Some("q")]),
            (b"\xef\xbf\xbfq", [Some("\\u00ef\\u00bf\\u00bfq"), None, Some("q"), None, Some("q")]),
            (b"\xe2\x82\"", [Some("\\u00e2\\u0082\\\""), None, Some("\\\""), None, Some("\\\"")]),
            (b"\xf8\x88\x80\x80\x80q", [Some("\\u00f8\\u0088\\u0080\\u0080\\u0080q"), None, Some("q"), None, Some("q")]),
            (b"\xff\xfeq", [Some("\\u00ff\\u00feq"), None, Some("q"), None, Some("q")]),
        ] {
            for (name, expected) in ["ascii", "utf8", "utf8s", "utf8p", "utf8ps"].into_iter().zip(expected) {
                assert_eq!(Reading::parse(name).unwrap().escape(text).as_deref(), expected, "{name} {text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_becomes_one_of_json(bytes in prop::collection::vec(any::<u8>(), 0..32), name in "ascii|utf8s|utf8ps") {
            let text = Reading::parse(&name).unwrap().escape(&bytes).unwrap();
            prop_assert!(serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok(), "{text}");
        }
    }
}
