//! The first words of a connection: who speaks to whom, and whether that is welcome.

/// What who connects says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The lesser number of the version, of which the greater is always 2.
    pub minor: u32,
    /// Who is spoken to.
    pub to: String,
    /// Who speaks.
    pub from: String,
    /// The process that speaks.
    pub process: u32,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Welcome.
    Succeeded,
    /// Not now.
    TryAgain,
    /// This was no hello.
    ProtocolError,
    /// No such version is spoken here.
    BadVersion,
    /// Nobody here is called like that.
    NotMe,
    /// Nobody who is called like that is known here.
    NotYou,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Greeting<T> {
    /// All of it, and how many bytes it takes.
    Whole(T, usize),
    /// Less than that.
    Partial,
    /// Something else: what is answered.
    Refused(Status),
}

/// The newest version spoken here: 2 and this.
pub const MINOR: u32 = 1;

const PROTOCOL: &str = "HAProxyS";
/// Longer names would be none that a configuration can have.
const LONGEST: usize = 1024;
/// Lines of a hello.
const LINES: usize = 3;

impl Hello {
    /// Reads a hello.
    pub fn read(bytes: &[u8]) -> Greeting<Self> {
        let mut lines = Vec::with_capacity(LINES);
        let mut start = 0;
        while lines.len() < LINES {
            let rest = bytes.get(start..).unwrap_or_default();
            let Some(length) = memchr::memchr(b'\n', rest) else {
                return if rest.len() > LONGEST { Greeting::Refused(Status::ProtocolError) } else { Greeting::Partial };
            };
            let Some(line) = str::from_utf8(&rest[..length]).ok().filter(|_| length <= LONGEST) else {
                return Greeting::Refused(Status::ProtocolError);
            };
            // What is wrong with the first line is said before there is another.
            if lines.is_empty()
                && let Err(status) = version(line)
            {
                return Greeting::Refused(status);
            }
            lines.push(line.trim_end_matches('\r'));
            start += length + 1;
        }
        let mut words = lines[2].split(' ');
        let (from, process) = (words.next().unwrap_or_default(), words.next().and_then(|word| word.parse().ok()));
        match (version(lines[0]), process) {
            (Ok(minor), Some(process)) => Greeting::Whole(Self { minor, to: lines[1].to_owned(), from: from.to_owned(), process }, start),
            (Err(status), _) => Greeting::Refused(status),
            (Ok(_), None) => Greeting::Refused(Status::ProtocolError),
        }
    }

    /// Writes the hello.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { minor, to, from, process } = self;
        out.extend(format!("{PROTOCOL} 2.{minor}\n{to}\n{from} {process} 1\n").bytes());
    }
}

/// Reads the first line: the minor version.
fn version(line: &str) -> Result<u32, Status> {
    let version =
        line.trim_end_matches('\r').strip_prefix(PROTOCOL).and_then(|rest| rest.strip_prefix(' ')).ok_or(Status::ProtocolError)?;
    let (major, minor) = version.split_once('.').ok_or(Status::BadVersion)?;
    let minor = minor.parse().map_err(|_| Status::BadVersion)?;
    if major == "2" { Ok(minor) } else { Err(Status::BadVersion) }
}

impl Status {
    const ALL: [Self; 6] = [Self::Succeeded, Self::TryAgain, Self::ProtocolError, Self::BadVersion, Self::NotMe, Self::NotYou];

    /// Returns the number it has on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Succeeded => 200,
            Self::TryAgain => 300,
            Self::ProtocolError => 501,
            Self::BadVersion => 502,
            Self::NotMe => 503,
            Self::NotYou => 504,
        }
    }

    /// Reads a status.
    pub fn read(bytes: &[u8]) -> Greeting<Self> {
        let Some(length) = memchr::memchr(b'\n', bytes) else {
            return if bytes.len() > LONGEST { Greeting::Refused(Self::ProtocolError) } else { Greeting::Partial };
        };
        let code = str::from_utf8(&bytes[..length]).ok().and_then(|line| line.trim_end_matches('\r').parse().ok());
        let status = code.and_then(|code: u16| Self::ALL.into_iter().find(|status| status.code() == code));
        status.map_or(Greeting::Refused(Self::ProtocolError), |status| Greeting::Whole(status, length + 1))
    }

    /// Writes the status.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend(format!("{}\n", self.code()).bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellos_are_read_as_they_are_written() {
        let hello = Hello { minor: 1, to: "b".to_owned(), from: "a".to_owned(), process: 4711 };
        let mut bytes = Vec::new();
        hello.write(&mut bytes);
        assert_eq!(bytes, b"HAProxyS 2.1\nb\na 4711 1\n");
        let length = bytes.len();
        assert!((0..length).all(|end| Hello::read(&bytes[..end]) == Greeting::Partial));
        bytes.push(0);
        assert_eq!(Hello::read(&bytes), Greeting::Whole(hello, length));
    }

    #[test]
    fn what_is_no_hello_is_answered_by_a_reason() {
        for (text, status) in [
            ("GET / HTTP/1.0\n", Status::ProtocolError),
            ("HAProxyS 3.0\n", Status::BadVersion),
            ("HAProxyS 2\n", Status::BadVersion),
            ("HAProxyS 2.1\nb\na\n", Status::ProtocolError),
            ("HAProxyS 2.1\nb\na x 1\n", Status::ProtocolError),
        ] {
            assert_eq!(Hello::read(text.as_bytes()), Greeting::Refused(status), "{text}");
        }
        assert_eq!(Hello::read(&[b'x'; 2000]), Greeting::Refused(Status::ProtocolError));
        assert_eq!(Status::read(b"200\n"), Greeting::Whole(Status::Succeeded, 4));
        assert_eq!(Status::read(b"999\n"), Greeting::Refused(Status::ProtocolError));
    }
}
