//! A target of log lines as a configuration writes it: `127.0.0.1:514 len 4096 format rfc5424 sample 1:10 local0 info`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Range;
use std::path::PathBuf;

use control::config::{Diagnostic, Located, suggest};

use crate::level::Level;

/// A target of log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where lines go.
    pub(super) place: Place,
    /// What stands before a line.
    pub(super) header: Header,
    /// Longest line, its header included but not its end.
    pub(super) longest: usize,
    /// Which lines go there; all where none is said.
    pub(super) sample: Option<Sample>,
    /// Who syslog takes for the sender, by number.
    pub(super) facility: u8,
    /// Lines of lesser levels are left out.
    pub(super) least: Level,
    /// Graver lines are sent with this level.
    pub(super) gravest: Level,
    /// The profile of its lines.
    pub(super) profile: Option<String>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Datagrams to an address.
    Udp(SocketAddr),
    /// Datagrams to a Unix socket.
    Unix(PathBuf),
    /// A connection.
    Tcp(SocketAddr),
    /// The ring of a name.
    Ring(String),
}

/// What stands before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// That of RFC 3164, with the name of the host if there is one to show.
    Usual,
    /// That of RFC 3164 without the name of the host.
    Local,
    /// That of RFC 3164.
    Rfc3164,
    /// That of RFC 5424.
    Rfc5424,
    /// Facility and level in one number.
    Priority,
    /// The level.
    Short,
    /// The level and the date.
    Timed,
    /// The date.
    Iso,
    /// Nothing.
    Raw,
}

impl Header {
    /// Returns the one of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        HEADERS.iter().find(|(known, _)| *known == name).map(|(_, header)| *header)
    }
}

/// Which lines of so many go to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// Counted from 1, in order.
    ranges: Vec<(u32, u32)>,
    /// Of how many.
    pub(super) size: u32,
}

impl Sample {
    /// Tells whether the line of this number, from 0, is one of them.
    pub(super) fn takes(&self, number: u32) -> bool {
        let place = number % self.size + 1;
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&place))
    }
}

/// What is wrong with a target, and with which part of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    part: Range<usize>,
    message: String,
    hint: String,
}

impl Fault {
    /// Makes it an error about the target written here.
    pub(crate) fn into_diagnostic(self, target: &Located<String>) -> Diagnostic {
        Diagnostic::error(&target.location().part(target, self.part), self.message).hint(self.hint)
    }
}

/// The words of a target, each with its place.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

/// A word and where it stands.
type Word<'a> = (&'a str, Range<usize>);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<Word<'a>> {
        let rest = &self.text[self.at..];
        let start = self.at + rest.find(|c: char| !c.is_ascii_whitespace())?;
        let end = self.text[start..].find(|c: char| c.is_ascii_whitespace()).map_or(self.text.len(), |length| start + length);
        self.at = end;
        Some((&self.text[start..end], start..end))
    }

    fn value(&mut self, of: &str, example: &str) -> Result<Word<'a>, Fault> {
        let end = self.text.len();
        self.next().ok_or_else(|| Fault {
            part: 0..end,
            message: format!("`{of}` lacks its value"),
            hint: format!("for example {of} {example}"),
        })
    }
}

impl Target {
    /// Returns the number by which syslog names the facility and a level.
    pub(super) fn priority(&self, level: Level) -> u8 {
        self.facility * 8 + level as u8
    }

    /// Returns the ring lines go to, by name.
    pub(crate) fn ring(&self) -> Option<&str> {
        match &self.place {
            Place::Ring(name) => Some(name),
            Place::Stdout | Place::Stderr | Place::Udp(_) | Place::Unix(_) | Place::Tcp(_) => None,
        }
    }

    /// Returns the profile of its lines, by name.
    pub(crate) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// Reads a target as the configuration writes it.
    ///
    /// # Errors
    /// Says which word is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let mut words = Words { text, at: 0 };
        let place = words.next().ok_or_else(|| fault(0..text.len(), "log target is empty", "for example 127.0.0.1:514 local0"))?;
        let place = place_of(place)?;
        let (mut header, mut longest, mut sample, mut profile) = (None, None, None, None);
        let mut rest = Vec::new();
        while let Some(word) = words.next() {
            match word.0 {
                "len" => longest = Some(length(words.value("len", "4096")?)?),
                "format" => header = Some(header_of(words.value("format", "rfc5424")?)?),
                "profile" => profile = Some(words.value("profile", "audit")?.0.to_owned()),
                "sample" => sample = Some(sample_of(words.value("sample", "1:10")?)?),
                _ => {
                    rest.push(word);
                    rest.extend(std::iter::from_fn(|| words.next()));
                }
            }
        }
        let is_stream = matches!(place, Place::Stdout | Place::Stderr);
        let mut rest = rest.into_iter();
        let facility = match rest.next() {
            Some(word) => facility(word)?,
            // Streams of one's own have readers that know the sender.
            None if is_stream => 16,
            None => return Err(fault(0..text.len(), "log target lacks its facility", "for example local0")),
        };
        let plain = if is_stream && text.split_ascii_whitespace().count() == 1 { Header::Raw } else { Header::Usual };
        let least = rest.next().map_or(Ok(Level::Debug), level)?;
        let gravest = rest.next().map_or(Ok(Level::Emergency), level)?;
        match rest.next() {
            Some((word, part)) => Err(fault(part, format!("a log target ends before `{word}`"), "facility, level, least level")),
            None => {
                let header = header.unwrap_or(plain);
                let longest = longest.unwrap_or(LONGEST);
                Ok(Self { place, header, longest, sample, facility, least, gravest, profile })
            }
        }
    }
}

/// Checks what a ring says of its lines.
///
/// # Errors
/// Says what there is instead.
pub(crate) fn check_format(format: &Located<String>) -> Result<(), Diagnostic> {
    header_of((format.value(), 0..format.len())).map(drop).map_err(|fault| fault.into_diagnostic(format))
}

fn fault(part: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Fault {
    Fault { part, message: message.into(), hint: hint.into() }
}

fn place_of((word, part): Word<'_>) -> Result<Place, Fault> {
    let (kind, address) = word.split_once('@').unwrap_or(("", word));
    match (kind, address) {
        ("", "stdout") | ("fd", "1") => return Ok(Place::Stdout),
        ("", "stderr") | ("fd", "2") => return Ok(Place::Stderr),
        ("" | "unix", path) if path.starts_with('/') => return Ok(Place::Unix(PathBuf::from(path))),
        ("ring", name) if !name.is_empty() => return Ok(Place::Ring(name.to_owned())),
        _ => {}
    }
    let socket = || {
        let known = if ends_with_port(address) { address.to_owned() } else { format!("{address}:{SYSLOG}") };
        let mut found = known.to_socket_addrs().ok()?;
        found.next()
    };
    let wrong = || fault(part.clone(), format!("`{word}` is no address of a log"), "address:port, /path of a socket, stdout or stderr");
    match kind {
        "" | "ipv4" | "ipv6" | "udp" | "udp4" | "udp6" => socket().map(Place::Udp).ok_or_else(wrong),
        "tcp" | "tcp4" | "tcp6" => socket().map(Place::Tcp).ok_or_else(wrong),
        "abns" | "fd" | "backend" => Err(fault(part, format!("l7d cannot log to `{kind}@` yet"), "address:port or a path")),
        _ => Err(wrong()),
    }
}

/// Tells whether a port is said; one of IPv6 stands behind a bracket.
fn ends_with_port(address: &str) -> bool {
    match address.rsplit_once(':') {
        Some((host, port)) => {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']'))
        }
        None => false,
    }
}

fn length((word, part): Word<'_>) -> Result<usize, Fault> {
    let length = word.parse().ok().filter(|length| (SHORTEST..=MOST).contains(length));
    length.ok_or_else(|| fault(part, format!("`{word}` is no length of a line"), format!("{SHORTEST} to {MOST}")))
}

fn header_of((word, part): Word<'_>) -> Result<Header, Fault> {
    Header::named(word).ok_or_else(|| fault(part, format!("`{word}` is not a format of logs"), suggest::hint(word, &headers())))
}

fn headers() -> Vec<&'static str> {
    HEADERS.iter().map(|(name, _)| *name).collect()
}

fn sample_of((word, part): Word<'_>) -> Result<Sample, Fault> {
    let wrong = || fault(part.clone(), format!("`{word}` is no sample"), "which of how many: for example 1:10 or 2-3,8-11:11");
    let (ranges, size) = word.split_once(':').ok_or_else(wrong)?;
    let size: u32 = size.parse().ok().filter(|size| *size > 0).ok_or_else(wrong)?;
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        (1 <= first && first <= last && last <= size).then_some((first, last))
    };
    let ranges: Option<Vec<_>> = ranges.split(',').map(range).collect();
    Ok(Sample { ranges: ranges.ok_or_else(wrong)?, size })
}

fn facility((word, part): Word<'_>) -> Result<u8, Fault> {
    let number = FACILITIES.iter().position(|name| *name == word).and_then(|place| u8::try_from(place).ok());
    number.ok_or_else(|| fault(part, format!("`{word}` is not a facility"), suggest::hint(word, &FACILITIES)))
}

fn level((word, part): Word<'_>) -> Result<Level, Fault> {
    let names: Vec<&str> = Level::names().collect();
    Level::named(word).ok_or_else(|| fault(part, format!("`{word}` is not a level"), suggest::hint(word, &names)))
}

const HEADERS: [(&str, Header); 8] = [
    ("local", Header::Local),
    ("rfc3164", Header::Rfc3164),
    ("rfc5424", Header::Rfc5424),
    ("priority", Header::Priority),
    ("short", Header::Short),
    ("timed", Header::Timed),
    ("iso", Header::Iso),
    ("raw", Header::Raw),
];
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2", "ftp", "ntp", "audit", "alert", "cron2",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// The port of syslog.
const SYSLOG: u16 = 514;
/// Longest line where nothing is said; HAProxy's default.
const LONGEST: usize = 1024;
const SHORTEST: usize = 80;
const MOST: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_written() {
        let target = |text: &str| Target::parse(text).unwrap();
        let plain = target("127.0.0.1:514 local0");
        assert_eq!((&plain.place, plain.header, plain.facility), (&Place::Udp("127.0.0.1:514".parse().unwrap()), Header::Usual, 16));
        assert_eq!((plain.longest, plain.least, plain.gravest), (1024, Level::Debug, Level::Emergency));
        assert_eq!(target("127.0.0.1 local0"), plain);
        assert_eq!(target("udp@[::1]:1514 local0").place, Place::Udp("[::1]:1514".parse().unwrap()));
        assert_eq!(target("tcp@127.0.0.1:601 user").place, Place::Tcp("127.0.0.1:601".parse().unwrap()));
        assert_eq!(target("/dev/log daemon").place, Place::Unix("/dev/log".into()));
        assert_eq!((target("stdout").header, target("stdout local0").header), (Header::Raw, Header::Usual));
        let full = target("stderr len 200 format rfc5424 sample 1,3-4:5 auth notice err");
        assert_eq!((full.longest, full.header, full.facility), (200, Header::Rfc5424, 4));
        assert_eq!((full.least, full.gravest), (Level::Notice, Level::Error));
        let sample = full.sample.unwrap();
        assert_eq!((0..10).filter(|number| sample.takes(*number)).collect::<Vec<_>>(), [0, 2, 3, 5, 7, 8]);
    }

    #[test]
    fn what_is_no_target_is_told_with_its_place() {
        let cases = [
            ("", ""),
            ("127.0.0.1:514", "127.0.0.1:514"),
            ("127.0.0.1:514 local9", "local9"),
            ("127.0.0.1:514 local0 information", "information"),
            ("127.0.0.1:514 local0 info info info", "info"),
            ("127.0.0.1:514 len 10 local0", "10"),
            ("127.0.0.1:514 format xml local0", "xml"),
            ("127.0.0.1:514 sample 0:3 local0", "0:3"),
            ("127.0.0.1:514 sample 1:0 local0", "1:0"),
            ("stdout format", "stdout format"),
            ("abns@x local0", "abns@x"),
        ];
        for (text, part) in cases {
            let fault = Target::parse(text).unwrap_err();
            assert_eq!(&text[fault.part], part, "{text}");
        }
    }
}
