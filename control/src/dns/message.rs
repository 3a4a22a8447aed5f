//! Messages of the DNS (RFC 1035, 2782, 3596, 6891): questions out, answers in. Pure; what comes from the network is bounded by its length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::value::naming::is_plain;

/// What is asked of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The machines of a service.
    Srv,
}

/// A machine of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// The name of the machine, in lower case.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// Its share of the traffic, as the record has it.
    pub(super) weight: u16,
    /// Its address, where the answer brought it along.
    pub(super) ip: Option<IpAddr>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Addresses, each once, in the order of the answer; at least one.
    Addresses(Vec<IpAddr>),
    /// Machines of a service; at least one.
    Services(Vec<Service>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no such name.
    NoName,
    /// The name has no such records.
    NoRecord,
    /// The server refuses to answer.
    Refused,
    /// It did not fit into a datagram.
    Truncated,
    /// Nothing came in time.
    Timeout,
    /// The server could not be reached.
    Unreachable,
    /// The server failed, or does not understand.
    Failed,
    /// It is no answer, or not to this question.
    Invalid,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The number the answer has to repeat.
    pub(super) id: u16,
    /// The name, in lower case and without a dot at its end.
    pub(super) name: String,
    /// What is asked.
    pub(super) kind: Kind,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// Writes a question by the number of its kind; the answer may have `payload` bytes in a datagram.
pub(crate) fn query(id: u16, name: &str, kind: u16, payload: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + name.len() + 17);
    // Recursion is wanted; one question, one additional record.
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 1] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(0));
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    // The name of an OPT record is the root, its class the size of datagrams.
    out.push(0);
    out.extend_from_slice(&TYPE_OPT.to_be_bytes());
    out.extend_from_slice(&payload.to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    out
}

impl Question {
    /// Writes the question; the answer may have `payload` bytes in a datagram.
    pub(super) fn encode(&self, payload: u16) -> Vec<u8> {
        query(self.id, &self.name, self.kind.code(), payload)
    }

    /// Reads the answer to this question.
    ///
    /// # Errors
    /// Why it has none.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Answer, Fault> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags) = (reader.word()?, reader.word()?);
        let [questions, answers, authorities, additionals] = [reader.word()?, reader.word()?, reader.word()?, reader.word()?];
        if id != self.id || flags & IS_ANSWER == 0 || flags & OPCODE != 0 {
            return Err(Fault::Invalid);
        }
        let code = flags & 15;
        match questions {
            // Who does not understand a question need not repeat it.
            0 if code != 0 => {}
            1 => {
                let (name, kind, class) = (reader.name()?, reader.word()?, reader.word()?);
                if name != self.name || kind != self.kind.code() || class != CLASS_IN {
                    return Err(Fault::Invalid);
                }
            }
            _ => return Err(Fault::Invalid),
        }
        match code {
            0 if flags & IS_TRUNCATED != 0 => return Err(Fault::Truncated),
            0 => {}
            3 => return Err(Fault::NoName),
            5 => return Err(Fault::Refused),
            _ => return Err(Fault::Failed),
        }
        let records = reader.records(answers)?;
        let _ = reader.records(authorities)?;
        // What is only helpful may be damaged.
        let more = reader.records(additionals).unwrap_or_default();
        self.answer(&records, &more).ok_or(Fault::NoRecord)
    }

    fn answer(&self, records: &[Record], more: &[Record]) -> Option<Answer> {
        let mut name = self.name.as_str();
        for _ in 0..MOST_ALIASES {
            let alias = records.iter().find_map(|record| match &record.data {
                Data::Alias(target) if record.name == name => Some(target.as_str()),
                Data::Alias(_) | Data::Address(_) | Data::Service(_) | Data::Other => None,
            });
            let Some(alias) = alias else { break };
            name = alias;
        }
        let own = records.iter().filter(|record| record.name == name);
        if self.kind == Kind::Srv {
            let mut services: Vec<Service> = Vec::new();
            for record in own {
                let Data::Service(service) = &record.data else { continue };
                if services.len() < MOST
                    && !service.host.is_empty()
                    && services.iter().all(|known| (&known.host, known.port) != (&service.host, service.port))
                {
                    services.push(Service { ip: address_of(&service.host, more), ..service.clone() });
                }
            }
            return (!services.is_empty()).then_some(Answer::Services(services));
        }
        let mut addresses = Vec::new();
        for record in own {
            if let Data::Address(ip) = record.data
                && ip.is_ipv4() == (self.kind == Kind::A)
                && addresses.len() < MOST
                && !addresses.contains(&ip)
            {
                addresses.push(ip);
            }
        }
        (!addresses.is_empty()).then_some(Answer::Addresses(addresses))
    }
}

fn address_of(host: &str, records: &[Record]) -> Option<IpAddr> {
    records.iter().filter(|record| record.name == host).find_map(|record| match record.data {
        Data::Address(ip) => Some(ip),
        Data::Alias(_) | Data::Service(_) | Data::Other => None,
    })
}

struct Record {
    name: String,
    data: Data,
}

enum Data {
    Address(IpAddr),
    Alias(String),
    Service(Service),
    Other,
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Fault> {
        let taken = self.bytes.get(self.at..self.at + count).ok_or(Fault::Invalid)?;
        self.at += count;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u16, Fault> {
        Ok(self.take(2)?.iter().fold(0, |word, byte| word << 8 | u16::from(*byte)))
    }

    /// Reads a name in lower case, without a dot at its end.
    ///
    /// Each jump goes to before where the last one went to, so a loop ends, and the bound of a name's length ends it soon.
    fn name(&mut self) -> Result<String, Fault> {
        let (mut name, mut at, mut limit, mut after) = (String::new(), self.at, self.at, None);
        loop {
            let length = *self.bytes.get(at).ok_or(Fault::Invalid)?;
            match length {
                0 => break,
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(length)).ok_or(Fault::Invalid)?;
                    if !label.iter().copied().all(is_plain) || name.len() + label.len() + 1 > LONGEST_NAME {
                        return Err(Fault::Invalid);
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                    at += 1 + usize::from(length);
                }
                192.. => {
                    let low = *self.bytes.get(at + 1).ok_or(Fault::Invalid)?;
                    let target = usize::from(length & 63) << 8 | usize::from(low);
                    if target >= limit {
                        return Err(Fault::Invalid);
                    }
                    after.get_or_insert(at + 2);
                    (at, limit) = (target, target);
                }
                64..=191 => return Err(Fault::Invalid),
            }
        }
        self.at = after.unwrap_or(at + 1);
        Ok(name)
    }

    fn records(&mut self, count: u16) -> Result<Vec<Record>, Fault> {
        (0..count).map(|_| self.record()).collect()
    }

    fn record(&mut self) -> Result<Record, Fault> {
        let (name, kind, class) = (self.name()?, self.word()?, self.word()?);
        self.take(4)?;
        let length = usize::from(self.word()?);
        let start = self.at;
        let data = match (kind, class) {
            (1, CLASS_IN) => Data::Address(Ipv4Addr::from(self.array::<4>()?).into()),
            (28, CLASS_IN) => Data::Address(Ipv6Addr::from(self.array::<16>()?).into()),
            (5, CLASS_IN) => Data::Alias(self.name()?),
            (33, CLASS_IN) => {
                let (_priority, weight, port) = (self.word()?, self.word()?, self.word()?);
                Data::Service(Service { host: self.name()?, port, weight, ip: None })
            }
            _ => {
                self.take(length)?;
                Data::Other
            }
        };
        if self.at - start != length {
            return Err(Fault::Invalid);
        }
        Ok(Record { name, data })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| Fault::Invalid)
    }
}

const HEADER: usize = 12;
/// In bytes on the wire.
const LONGEST_NAME: usize = 255;
const MOST_ALIASES: usize = 16;
/// How many records of an answer are looked at.
const MOST: usize = 1024;
const RECURSION_DESIRED: u16 = 0x0100;
const IS_ANSWER: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const IS_TRUNCATED: u16 = 0x0200;
const CLASS_IN: u16 = 1;
const TYPE_OPT: u16 = 41;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(kind: Kind) -> Question {
        Question { id: 7, name: "app.example".to_owned(), kind }
    }

    /// An answer with this code and these records, each with a name that points at the question's.
    fn answer(question: &Question, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question.encode(512);
        bytes.truncate(bytes.len() - 11);
        bytes[2..4].copy_from_slice(&(IS_ANSWER | flags).to_be_bytes());
        bytes[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        bytes[10..12].copy_from_slice(&[0, 0]);
        for (kind, data) in records {
            bytes.extend_from_slice(&[192, 12]);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&[0, 1, 0, 0, 0, 9]);
            bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    #[test]
    fn addresses_come_once_each_in_the_order_of_the_answer() {
        let question = question(Kind::A);
        let bytes = answer(&question, 0, &[(1, &[10, 0, 0, 2]), (1, &[10, 0, 0, 1]), (16, b"xy"), (1, &[10, 0, 0, 2])]);
        let wanted = vec![IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 1])];
        assert_eq!(question.decode(&bytes), Ok(Answer::Addresses(wanted)));
    }

    #[test]
    fn services_have_port_weight_and_host() {
        let question = question(Kind::Srv);
        let bytes = answer(&question, 0, &[(33, b"\0\x01\0\x40\x1f\x90\x02S1\xc0\x0c")]);
        let service = Service { host: "s1.app.example".to_owned(), port: 8080, weight: 64, ip: None };
        assert_eq!(question.decode(&bytes), Ok(Answer::Services(vec![service])));
    }

    #[test]
    fn faults_are_told_apart() {
        let question = question(Kind::A);
        let of = |flags, records: &[(u16, &[u8])]| question.decode(&answer(&question, flags, records));
        assert_eq!(of(3, &[]), Err(Fault::NoName));
        assert_eq!(of(5, &[]), Err(Fault::Refused));
        assert_eq!(of(2, &[]), Err(Fault::Failed));
        assert_eq!(of(0, &[]), Err(Fault::NoRecord));
        assert_eq!(of(IS_TRUNCATED, &[]), Err(Fault::Truncated));
        assert_eq!(of(0, &[(1, &[1, 2, 3])]), Err(Fault::Invalid), "an address of three bytes");
        let other = Question { id: 8, ..question.clone() };
        assert_eq!(other.decode(&answer(&question, 0, &[])), Err(Fault::Invalid), "another number");
        let other = Question { name: "b.example".to_owned(), ..question.clone() };
        assert_eq!(other.decode(&answer(&question, 3, &[])), Err(Fault::Invalid), "another name");
        assert_eq!(question.decode(&question.encode(512)), Err(Fault::Invalid), "the question itself");
    }

    #[test]
    fn aliases_are_followed_and_loops_end() {
        let question = question(Kind::A);
        let bytes = answer(&question, 0, &[(5, b"\xc0\x0c")]);
        assert_eq!(question.decode(&bytes), Err(Fault::NoRecord), "an alias of itself");
        let mut bytes = answer(&question, 0, &[(5, b"\x01b\0")]);
        bytes[7] = 2;
        bytes.extend_from_slice(b"\x01b\0\0\x01\0\x01\0\0\0\x09\0\x04\x0a\0\0\x05");
        assert_eq!(question.decode(&bytes), Ok(Answer::Addresses(vec![[10, 0, 0, 5].into()])));
    }

    #[test]
    fn names_that_point_forward_or_at_themselves_are_refused() {
        let question = question(Kind::A);
        let end = answer(&question, 0, &[]).len();
        for target in [end, end + 1, end + 2, 0x3fff] {
            let mut bytes = answer(&question, 0, &[(1, &[10, 0, 0, 1])]);
            bytes[end..end + 2].copy_from_slice(&(0xc000 | u16::try_from(target).unwrap()).to_be_bytes());
            assert_eq!(question.decode(&bytes), Err(Fault::Invalid), "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for kind in [Kind::A, Kind::Aaaa, Kind::Srv] {
                let _ = question(kind).decode(&bytes);
            }
        }

        #[test]
        fn no_damage_does_harm(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8), cut in any::<proptest::sample::Index>()) {
            let question = question(Kind::Srv);
            let mut bytes = answer(&question, 0, &[(33, b"\0\x01\0\x40\x1f\x90\x02S1\xc0\x0c"), (5, b"\xc0\x0c"), (1, &[1, 2, 3, 4])]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = question.decode(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = question.decode(&bytes);
        }
    }
}
