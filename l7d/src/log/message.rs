//! A line of somebody else's log: its parts, and the same line with another header.
//!
//! What is read is what syslog daemons send: the header of RFC 3164 with or without the name of the host, that of RFC 5424, a number
//! alone, or nothing. A part that is not there is not made up, but for what the new header cannot be without.

use std::io::Write as _;
use std::ops::Range;
use std::time::SystemTime;

use super::target::{Header, Target};
use crate::date;
use crate::level::Level;

/// A line and where its parts are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// All of it.
    whole: &'a [u8],
    /// Facility and level in one number.
    priority: Option<u8>,
    stamp: Option<Stamp<'a>>,
    host: Option<&'a [u8]>,
    /// The name of the program.
    tag: Option<&'a [u8]>,
    process: Option<&'a [u8]>,
    /// The kind of message, in RFC 5424.
    kind: Option<&'a [u8]>,
    structured: Option<&'a [u8]>,
    text: &'a [u8],
}

/// When a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp<'a> {
    /// As RFC 3164 writes it: 15 bytes.
    Old(&'a [u8]),
    /// As RFC 5424 does.
    Iso(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Reads a line, which may have its end; nothing is so wrong that it is no message.
    pub(super) fn parse(line: &'a [u8]) -> Self {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
        let whole = &line[..line.iter().rposition(|byte| !is_end(byte)).map_or(0, |last| last + 1)];
        let (priority, rest) = priority(whole).map_or((None, whole), |(number, rest)| (Some(number), rest));
        let bare = Self { whole, priority, stamp: None, host: None, tag: None, process: None, kind: None, structured: None, text: rest };
        match rest.strip_prefix(b"1 ") {
            Some(rest) if priority.is_some() => modern(rest, &bare).unwrap_or(bare),
            _ => old(rest, &bare).unwrap_or(bare),
        }
    }

    /// Returns the level, which is the gravest one where there is none.
    pub(super) fn level(&self) -> Level {
        Level::numbered(self.priority.unwrap_or(0) & 7)
    }

    /// Writes it as a target wants it, without the end of a line; lines without a number get the target's facility.
    pub(super) fn write(&self, target: &Target, out: &mut Vec<u8>) {
        let priority = self.priority.unwrap_or_else(|| target.priority(Level::numbered(0)));
        let written = match target.header {
            Header::Usual => out.write_all(self.whole),
            Header::Raw => out.write_all(self.text),
            Header::Short => write!(out, "<{}>", priority & 7).and_then(|()| out.write_all(self.text)),
            Header::Priority => write!(out, "<{priority}>").and_then(|()| out.write_all(self.text)),
            Header::Timed => write!(out, "<{}>", priority & 7).map(|()| self.write_iso(out)),
            Header::Iso => {
                self.write_iso(out);
                Ok(())
            }
            Header::Local => write!(out, "<{priority}>").map(|()| self.write_old(None, out)),
            Header::Rfc3164 => write!(out, "<{priority}>").map(|()| self.write_old(Some(self.host.unwrap_or(b"localhost")), out)),
            Header::Rfc5424 => write!(out, "<{priority}>1 ").map(|()| self.write_modern(out)),
        };
        written.expect("a vector takes everything");
        out.truncate(target.longest);
    }

    fn write_iso(&self, out: &mut Vec<u8>) {
        self.write_stamp(out);
        out.push(b' ');
        out.extend_from_slice(self.text);
    }

    /// Writes the date of RFC 5424.
    fn write_stamp(&self, out: &mut Vec<u8>) {
        match self.stamp {
            Some(Stamp::Iso(stamp)) => out.extend_from_slice(stamp),
            Some(Stamp::Old(stamp)) => out.extend_from_slice(&modernised(stamp)),
            None => write!(out, "{}", date::Iso(SystemTime::now())).expect("a vector takes everything"),
        }
    }

    fn write_old(&self, host: Option<&[u8]>, out: &mut Vec<u8>) {
        match self.stamp {
            Some(Stamp::Old(stamp)) => out.extend_from_slice(stamp),
            Some(Stamp::Iso(stamp)) => out.extend_from_slice(&aged(stamp).unwrap_or_else(now)),
            None => out.extend_from_slice(&now()),
        }
        out.push(b' ');
        if let Some(host) = host {
            out.extend_from_slice(host);
            out.push(b' ');
        }
        if let Some(tag) = self.tag {
            out.extend_from_slice(tag);
            if let Some(process) = self.process {
                [b"[" as &[u8], process, b"]"].iter().for_each(|part| out.extend_from_slice(part));
            }
            out.extend_from_slice(b": ");
        }
        out.extend_from_slice(self.text);
    }

    fn write_modern(&self, out: &mut Vec<u8>) {
        self.write_stamp(out);
        for part in [self.host, self.tag, self.process, self.kind, self.structured] {
            out.push(b' ');
            out.extend_from_slice(part.unwrap_or(b"-"));
        }
        out.push(b' ');
        out.extend_from_slice(self.text);
    }
}

fn now() -> Vec<u8> {
    date::Syslog(SystemTime::now()).to_string().into_bytes()
}

/// Reads `<NUMBER>`.
fn priority(line: &[u8]) -> Option<(u8, &[u8])> {
    let end = line.iter().take(5).position(|byte| *byte == b'>')?;
    let digits = line[..end].strip_prefix(b"<")?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok().filter(|number| *number < 192)?;
    Some((number, &line[end + 1..]))
}

/// Reads what stands behind `<NUMBER>1 `.
fn modern<'a>(rest: &'a [u8], bare: &Message<'a>) -> Option<Message<'a>> {
    let mut at = 0;
    let mut word = || {
        let word = until(rest, at, |byte| byte == b' ')?;
        at = word.end + 1;
        Some(&rest[word])
    };
    let [stamp, host, tag, process, kind] = [word()?, word()?, word()?, word()?, word()?];
    let behind = &rest[at..];
    let end = structured_end(behind)?;
    let known = |part: &'a [u8]| (part != b"-").then_some(part);
    Some(Message {
        stamp: known(stamp).map(Stamp::Iso),
        host: known(host),
        tag: known(tag),
        process: known(process),
        kind: known(kind),
        structured: known(&behind[..end]),
        text: behind[end..].strip_prefix(b" ").unwrap_or_default(),
        whole: bare.whole,
        priority: bare.priority,
    })
}

/// Returns where the structured data at the beginning ends: it is `-`, or elements in brackets, whose values may have any of them.
fn structured_end(text: &[u8]) -> Option<usize> {
    if text.first() == Some(&b'-') {
        return Some(1);
    }
    let (mut at, mut is_quoted) = (0, false);
    while text.get(at) == Some(&b'[') {
        loop {
            at += 1;
            match text.get(at)? {
                b'\\' if is_quoted => at += 1,
                b'"' => is_quoted = !is_quoted,
                b']' if !is_quoted => break,
                _ => {}
            }
        }
        at += 1;
    }
    (at > 0 && matches!(text.get(at), None | Some(b' '))).then_some(at)
}

/// Reads the header of RFC 3164, whose host may be missing.
fn old<'a>(rest: &'a [u8], bare: &Message<'a>) -> Option<Message<'a>> {
    let stamp = rest.get(..15).filter(|stamp| is_old(stamp))?;
    let rest = rest[15..].strip_prefix(b" ")?;
    let first = until(rest, 0, |byte| byte == b' ').unwrap_or(0..rest.len());
    // A word that ends so is no host.
    let (host, behind) = match rest[first.clone()].ends_with(b":") {
        true => (None, rest),
        false => (Some(&rest[first.clone()]), rest.get(first.end + 1..).unwrap_or_default()),
    };
    let (tag, process, text) = tagged(behind).map_or((None, None, behind), |(tag, process, text)| (Some(tag), process, text));
    Some(Message {
        stamp: Some(Stamp::Old(stamp)),
        host,
        tag,
        process,
        text,
        whole: bare.whole,
        priority: bare.priority,
        kind: None,
        structured: None,
    })
}

/// The name of a program, the number of its process, and what it says.
type Tagged<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// Reads `TAG: TEXT` or `TAG[PROCESS]: TEXT`.
fn tagged(text: &[u8]) -> Option<Tagged<'_>> {
    let head = until(text, 0, |byte| byte == b' ').unwrap_or(0..text.len());
    let (word, behind) = (text[head.clone()].strip_suffix(b":")?, text.get(head.end + 1..).unwrap_or_default());
    match word.strip_suffix(b"]").and_then(|word| Some((word, word.iter().position(|byte| *byte == b'[')?))) {
        Some((word, at)) => Some((&word[..at], Some(&word[at + 1..]), behind)),
        None => Some((word, None, behind)),
    }
}

/// Returns the range from a place to a byte that ends it.
fn until(text: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> Option<Range<usize>> {
    let length = text.get(at..)?.iter().position(|byte| ends(*byte))?;
    Some(at..at + length)
}

/// Tells whether these 15 bytes are a date such as `Nov  9 12:16:14`.
fn is_old(stamp: &[u8]) -> bool {
    let is_place = |place: usize, byte: u8| match place {
        3 | 6 => byte == b' ',
        4 => byte == b' ' || byte.is_ascii_digit(),
        9 | 12 => byte == b':',
        0..3 => byte.is_ascii_alphabetic(),
        _ => byte.is_ascii_digit(),
    };
    stamp.len() == 15 && stamp.iter().enumerate().all(|(place, byte)| is_place(place, *byte)) && month(&stamp[..3]).is_some()
}

fn month(name: &[u8]) -> Option<usize> {
    MONTHS.iter().position(|month| month.as_bytes() == name)
}

/// Writes a date of RFC 3164 as RFC 5424 does, in this year, and with a zone that says that none is known.
fn modernised(stamp: &[u8]) -> Vec<u8> {
    let today = date::Iso(SystemTime::now()).to_string();
    let text = String::from_utf8_lossy(stamp);
    let month = month(&stamp[..3]).unwrap_or(0) + 1;
    format!("{}-{month:02}-{}T{}-00:00", &today[..4], text[4..6].replace(' ', "0"), &text[7..15]).into_bytes()
}

/// Writes a date of RFC 5424 as RFC 3164 does.
fn aged(stamp: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(stamp).ok()?;
    let month: usize = text.get(5..7)?.parse().ok()?;
    let day: u8 = text.get(8..10)?.parse().ok()?;
    let time = text
        .get(11..19)
        .filter(|time| time.bytes().enumerate().all(|(at, byte)| if at % 3 == 2 { byte == b':' } else { byte.is_ascii_digit() }))?;
    let month = MONTHS.get(month.checked_sub(1)?)?;
    Some(format!("{month} {day:2} {time}").into_bytes())
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &[u8], format: &str) -> String {
        let target = Target::parse(&format!("127.0.0.1:1 format {format} local3")).unwrap();
        let mut out = Vec::new();
        Message::parse(line).write(&target, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_line_without_a_host_keeps_its_tag() {
        let line = b"<29>Nov  9 12:16:14 app[77]: hello";
        assert_eq!(written(line, "local"), "<29>Nov  9 12:16:14 app[77]: hello");
        assert_eq!(written(line, "rfc3164"), "<29>Nov  9 12:16:14 localhost app[77]: hello");
        assert!(written(line, "rfc5424").ends_with("-11-09T12:16:14-00:00 - app 77 - - hello"));
    }

    #[test]
    fn structured_data_ends_where_it_says() {
        for (text, end) in [("- x", Some(1)), ("[a b=\"c]\\\"]\"][d] x", Some(16)), ("[a x", None), ("[a]x", None), ("x", None), ("", None)]
        {
            assert_eq!(structured_end(text.as_bytes()), end, "{text}");
        }
    }

    #[test]
    fn nothing_makes_it_fail() {
        let pieces: [&[u8]; 12] =
            [b"<29>", b"<999>", b"1 ", b"-", b" ", b"Nov 29 12:16:14", b"2026-13-99T99:99:99Z", b"[a b=\"", b"\\", b"]", b":", b"\xff"];
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut line = Vec::new();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                line.extend_from_slice(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
            }
            for format in ["rfc3164", "rfc5424", "local", "raw", "short", "priority", "iso", "timed"] {
                let _ = written(&line, format);
            }
        }
    }
}
