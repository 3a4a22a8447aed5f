//! Where log lines go: standard output or error as they are, or a syslog server over UDP (RFC 3164).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::SystemTime;

use control::config::Config;

use super::date;
use super::writer::{self, Stream};

/// One place log lines go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A syslog server.
    Syslog {
        /// Its address.
        address: SocketAddr,
        /// Facility and severity in one number.
        priority: u8,
    },
}

/// The targets of a frontend that logs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    outputs: Vec<Arc<Output>>,
}

#[derive(Debug)]
enum Output {
    Stream(Stream),
    Syslog { socket: UdpSocket, priority: u8 },
}

impl Target {
    /// Reads a target as the configuration writes it: `stdout format raw local0`, `192.0.2.1:514 local0 info`.
    ///
    /// # Errors
    /// Says which word is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let place = words.next().ok_or("log target is empty")?;
        let words: Vec<&str> = words.collect();
        match place {
            "stdout" | "stderr" => match words.as_slice() {
                [] | [_] | ["format", "raw", ..] => Ok(if place == "stdout" { Self::Stdout } else { Self::Stderr }),
                _ => Err(format!("l7d writes only `format raw` to {place} yet")),
            },
            _ => {
                let address =
                    place.parse().map_err(|_| format!("l7d cannot log to `{place}` yet: only stdout, stderr and address:port"))?;
                let words = words.strip_prefix(&["format", "rfc3164"]).unwrap_or(&words);
                Ok(Self::Syslog { address, priority: priority(words)? })
            }
        }
    }

    fn open(&self) -> io::Result<Output> {
        match self {
            Self::Stdout => Ok(Output::Stream(Stream::Stdout)),
            Self::Stderr => Ok(Output::Stream(Stream::Stderr)),
            Self::Syslog { address, priority } => {
                let any: SocketAddr = if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Ok(Output::Syslog { socket, priority: *priority })
            }
        }
    }
}

/// Reads `facility`, or `facility level` where the level only bounds what is sent: requests are of level info.
fn priority(words: &[&str]) -> Result<u8, String> {
    let [facility, levels @ ..] = words else { return Err("log target lacks its facility, for example local0".to_owned()) };
    let facility = place(&FACILITIES, facility).ok_or_else(|| format!("`{facility}` is not a facility"))?;
    for level in levels {
        let level_number = place(&LEVELS, level).ok_or_else(|| format!("`{level}` is not a level"))?;
        if level_number < INFO {
            return Err(format!("a target of level `{level}` would get no line of a request"));
        }
    }
    Ok(facility * 8 + INFO)
}

fn place(names: &[&str], wanted: &str) -> Option<u8> {
    names.iter().position(|name| *name == wanted).and_then(|place| u8::try_from(place).ok())
}

impl Log {
    /// Opens the targets of a configuration; one it does not understand was refused before.
    ///
    /// # Errors
    /// Fails if the system has no socket for one.
    pub(crate) fn of(config: &Config) -> io::Result<Self> {
        let targets: Vec<_> = config.global().log().iter().filter_map(|target| Target::parse(target.value()).ok()).collect();
        Self::open(&targets)
    }

    fn open(targets: &[Target]) -> io::Result<Self> {
        let outputs: io::Result<_> = targets.iter().map(|target| target.open().map(Arc::new)).collect();
        Ok(Self { outputs: outputs? })
    }

    /// Tells whether there is any target.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Writes a line to every target; one that cannot take it at once loses it, because no client should wait for a log.
    pub(crate) fn write(&self, mut line: String) {
        if line.len() > LONGEST {
            line.truncate(line.floor_char_boundary(LONGEST));
        }
        let Some((last, others)) = self.outputs.split_last() else { return };
        others.iter().for_each(|output| output.write(line.clone()));
        last.write(line);
    }
}

impl Output {
    fn write(&self, line: String) {
        match self {
            Self::Stream(stream) => writer::write(*stream, line),
            Self::Syslog { socket, priority } => {
                let packet = format!("<{priority}>{} l7d[{}]: {line}", date::Syslog(SystemTime::now()), std::process::id());
                let send = || socket.send(packet.as_bytes());
                // What an earlier packet met with is told by the next call, which then sends nothing.
                let sent = send().or_else(|error| if error.kind() == io::ErrorKind::ConnectionRefused { send() } else { Err(error) });
                if sent.is_err() {
                    writer::drop_line();
                }
            }
        }
    }
}

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2", "ftp", "ntp", "audit", "alert", "cron2",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const INFO: u8 = 6;
/// Longest line; HAProxy's default.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_written() {
        let syslog = |priority| Ok(Target::Syslog { address: "127.0.0.1:514".parse().unwrap(), priority });
        let cases = [
            ("stdout format raw local0", Ok(Target::Stdout)),
            ("stderr", Ok(Target::Stderr)),
            ("127.0.0.1:514 local0", syslog(134)),
            ("127.0.0.1:514 format rfc3164 daemon debug", syslog(30)),
            ("127.0.0.1:514 local0 info info", syslog(134)),
        ];
        for (text, expected) in cases {
            assert_eq!(Target::parse(text), expected, "{text}");
        }
        for text in ["", "stdout format json", "/dev/log local0", "127.0.0.1:514", "127.0.0.1:514 local9", "127.0.0.1:514 local0 err"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn syslog_packet_has_priority_date_and_tag() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let log = Log::open(&[Target::Syslog { address: server.local_addr().unwrap(), priority: 134 }]).unwrap();
        log.write("hello".to_owned());
        let mut packet = [0; 200];
        let count = server.recv(&mut packet).unwrap();
        let text = String::from_utf8_lossy(&packet[..count]).into_owned();
        assert!(text.starts_with("<134>") && text.ends_with(&format!(" l7d[{}]: hello", std::process::id())), "{text}");
    }
}
