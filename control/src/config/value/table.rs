//! Keys and contents of stick tables.

use std::time::Duration;

use super::{Mistake, units};
use crate::config::model::{ServerKey, Stored, StoredKind, TableKey};
use crate::config::suggest;

/// Reads the key of a table: `ip`, `ipv6`, `integer`, `string(32)`, `binary(16)`.
pub(in crate::config) fn key(text: &str) -> Result<TableKey, Mistake> {
    let (name, argument) = call(text)?;
    let length = |default| match argument {
        None => Ok(default),
        Some(digits) => {
            let wrong = || Mistake::new(format!("`{digits}` is not a length")).at(text, digits).hint("1 to 16384: for example string(32)");
            digits.parse().ok().filter(|length| (1..=LONGEST_KEY).contains(length)).ok_or_else(wrong)
        }
    };
    let key = match name {
        "ip" => TableKey::Ip,
        "ipv6" => TableKey::Ipv6,
        "integer" => TableKey::Integer,
        "string" => return Ok(TableKey::String(length(DEFAULT_KEY)?)),
        "binary" => return Ok(TableKey::Binary(length(DEFAULT_KEY)?)),
        _ => return Err(Mistake::new(format!("`{name}` is not a type of key")).at(text, name).hint(suggest::hint(name, &KEYS))),
    };
    match argument {
        None => Ok(key),
        Some(argument) => Err(Mistake::new(format!("`{name}` takes no argument")).at(text, argument)),
    }
}

/// Reads what tells servers apart: `name`, `addr`.
pub(in crate::config) fn srvkey(text: &str) -> Result<ServerKey, Mistake> {
    match text {
        "name" => Ok(ServerKey::Name),
        "addr" => Ok(ServerKey::Address),
        _ => Err(Mistake::new(format!("`{text}` tells no servers apart")).hint("known: name, addr")),
    }
}

/// Reads one thing the entries hold: `conn_cur`, `http_req_rate(10s)`, `gpc(4)`, `gpc_rate(4,1m)`.
pub(in crate::config) fn stored(text: &str) -> Result<Stored, Mistake> {
    let (name, argument) = call(text)?;
    let Some(kind) = StoredKind::ALL.into_iter().find(|kind| kind.name() == name) else {
        let known: Vec<&str> = StoredKind::ALL.into_iter().map(StoredKind::name).collect();
        return Err(Mistake::new(format!("`{name}` cannot be stored")).at(text, name).hint(suggest::hint(name, &known)));
    };
    let form = || Mistake::new(format!("`{text}` is not complete")).hint(format!("for example {}", example(kind)));
    let period = |text_of_period: &str| period(text_of_period).map_err(|mistake| mistake.at(text, text_of_period));
    let count = |text_of_count: &str| count(text_of_count).map_err(|mistake| mistake.at(text, text_of_count));
    match (kind.is_array(), kind.is_rate(), argument) {
        (false, false, None) => Ok(Stored { kind, count: 1, period: None }),
        (false, false, Some(argument)) => Err(Mistake::new(format!("`{name}` takes no argument")).at(text, argument)),
        (false, true, Some(argument)) => Ok(Stored { kind, count: 1, period: Some(period(argument)?) }),
        (true, false, Some(argument)) => Ok(Stored { kind, count: count(argument)?, period: None }),
        (true, true, Some(argument)) => {
            let (number, length) = argument.split_once(',').ok_or_else(form)?;
            Ok(Stored { kind, count: count(number)?, period: Some(period(length.trim_start())?) })
        }
        (_, _, None) => Err(form()),
    }
}

const KEYS: [&str; 5] = ["ip", "ipv6", "integer", "string", "binary"];
const DEFAULT_KEY: u32 = 32;
/// A key is compared on every lookup; longer ones are surely a mistake.
const LONGEST_KEY: u32 = 16_384;
const MOST_COUNTERS: u8 = 100;

/// Splits `name(argument)`.
fn call(text: &str) -> Result<(&str, Option<&str>), Mistake> {
    match text.split_once('(') {
        None => Ok((text, None)),
        Some((name, argument)) => match argument.strip_suffix(')') {
            Some(argument) => Ok((name, Some(argument))),
            None => Err(Mistake::new(format!("`{text}` lacks its closing parenthesis"))),
        },
    }
}

fn example(kind: StoredKind) -> String {
    match (kind.is_array(), kind.is_rate()) {
        (true, true) => format!("{}(4,10s)", kind.name()),
        (true, false) => format!("{}(4)", kind.name()),
        (false, _) => format!("{}(10s)", kind.name()),
    }
}

fn count(text: &str) -> Result<u8, Mistake> {
    let count = text.parse().ok().filter(|count| (1..=MOST_COUNTERS).contains(count));
    count.ok_or_else(|| Mistake::new(format!("`{text}` is not a number from 1 to {MOST_COUNTERS}")))
}

fn period(text: &str) -> Result<Duration, Mistake> {
    match units::duration(text)? {
        Duration::ZERO => Err(Mistake::new("a rate needs a period longer than zero")),
        period => Ok(period),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_their_length() {
        for (text, meant) in [
            ("ip", TableKey::Ip),
            ("ipv6", TableKey::Ipv6),
            ("integer", TableKey::Integer),
            ("string", TableKey::String(32)),
            ("string(64)", TableKey::String(64)),
            ("binary(16)", TableKey::Binary(16)),
        ] {
            assert_eq!(key(text), Ok(meant), "{text}");
        }
        for text in ["", "ipv5", "ip(4)", "string()", "string(0)", "string(x)", "string(3", "binary(99999)"] {
            assert!(key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_kind_is_read_with_what_it_needs() {
        for kind in StoredKind::ALL {
            let text = if kind.is_rate() || kind.is_array() { example(kind) } else { kind.name().to_owned() };
            let read = stored(&text).unwrap();
            assert_eq!((read.kind(), read.period().is_some(), read.count() > 1), (kind, kind.is_rate(), kind.is_array()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        for text in [
            "",
            "conn",
            "conn_cur(1)",
            "conn_rate",
            "conn_rate()",
            "conn_rate(0)",
            "conn_rate(x)",
            "gpc",
            "gpc(0)",
            "gpc(101)",
            "gpc_rate(4)",
            "gpc_rate(4,0)",
            "conn_rate(10s",
        ] {
            assert!(stored(text).is_err(), "{text}");
        }
    }
}
