//! Names of the DNS, servers that are asked for them, and what servers take of their answers.

use std::net::SocketAddr;

use super::{Mistake, address};
use crate::config::model::{Carrier, Family, InitAddress, NamedAddress, Nameserver, NamingOptions, Prefix};
use crate::config::suggest;

/// Brings a name to the form in which it is asked for: in lower case, without a dot at its end; none if it cannot be one.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let good = |label: &str| (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(is_plain);
    (name.len() <= LONGEST_NAME && name.split('.').all(good)).then(|| name.to_ascii_lowercase())
}

/// Tells whether a byte may stand in a label; others would be ambiguous with dots between them.
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Reads the name of a machine, or of a service, which begins with an underscore.
pub(in crate::config) fn named(host: &str, port: Option<u16>) -> Result<NamedAddress, Mistake> {
    if canonical(host).is_none() {
        return Err(
            Mistake::new(format!("`{host}` cannot be a name")).hint("labels of up to 63 letters, digits, - and _ with dots between")
        );
    }
    let is_service = host.starts_with('_');
    let (service, host) = if is_service { (Some(host.to_owned()), None) } else { (None, Some(host.to_owned())) };
    Ok(NamedAddress { service, host, port, ..NamedAddress::default() })
}

/// Reads `ipv4` or `ipv6`.
pub(in crate::config) fn family(text: &str) -> Result<Family, Mistake> {
    match text {
        "ipv4" => Ok(Family::V4),
        "ipv6" => Ok(Family::V6),
        _ => Err(Mistake::new(format!("`{text}` is not a family of addresses")).hint("ipv4 or ipv6")),
    }
}

/// Reads where the first address comes from: `last`, `libc`, `none` or an address.
pub(in crate::config) fn init(text: &str) -> Result<InitAddress, Mistake> {
    Ok(match text {
        "last" => InitAddress::Last,
        "libc" => InitAddress::Libc,
        "none" => InitAddress::None,
        _ => {
            InitAddress::Ip(address::ip(text).map_err(|_| {
                Mistake::new(format!("`{text}` is no place to find an address in")).hint("last, libc, none or an IP address")
            })?)
        }
    })
}

/// Reads what HAProxy's words put in lists with commas between.
pub(in crate::config) fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, Mistake>) -> Result<Vec<T>, Mistake> {
    text.split(',').map(|part| read(part).map_err(|mistake| mistake.at(text, part))).collect()
}

/// Reads networks with commas between.
pub(in crate::config) fn networks(text: &str) -> Result<Vec<Prefix>, Mistake> {
    list(text, address::prefix)
}

/// Takes in an option of `resolve-opts`.
pub(in crate::config) fn option(options: NamingOptions, text: &str) -> Result<NamingOptions, Mistake> {
    Ok(match text {
        "allow-dup-ip" => NamingOptions { allow_duplicates: true, ..options },
        "prevent-dup-ip" => NamingOptions { allow_duplicates: false, ..options },
        "ignore-weight" => NamingOptions { ignore_weight: true, ..options },
        _ => {
            let known = ["allow-dup-ip", "prevent-dup-ip", "ignore-weight"];
            return Err(Mistake::new(format!("`{text}` is no option of resolution")).hint(suggest::hint(text, &known)));
        }
    })
}

/// Reads the address of a server of the DNS: `10.0.0.1:53`, `udp@[fd00::1]:53`, `tcp@10.0.0.1`.
pub(in crate::config) fn nameserver(name: &str, text: &str) -> Result<Nameserver, Mistake> {
    let (prefix, rest) = text.split_once('@').map_or(("udp", text), |(prefix, rest)| (prefix, rest));
    let carrier = match prefix {
        "udp" | "udp4" | "udp6" | "ipv4" | "ipv6" => Carrier::Udp,
        "tcp" | "tcp4" | "tcp6" => Carrier::Tcp,
        other => return Err(Mistake::new(format!("`{other}@` is no way to ask")).at(text, other).hint(NAMESERVER_FORM)),
    };
    let bare = rest.parse().ok().or_else(|| rest.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    let address: Option<SocketAddr> = bare.map(|ip| SocketAddr::new(ip, PORT)).or_else(|| rest.parse().ok());
    let address = address.filter(|address| !address.ip().is_unspecified() && !address.ip().is_multicast() && address.port() > 0);
    let address =
        address.ok_or_else(|| Mistake::new(format!("`{rest}` is not the address of a server")).at(text, rest).hint(NAMESERVER_FORM))?;
    Ok(Nameserver { name: name.to_owned(), address, carrier })
}

/// Reads the servers that `/etc/resolv.conf` names.
pub(in crate::config) fn system(text: &str) -> Vec<Nameserver> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    words.filter_map(|word| nameserver(word, word).ok()).collect()
}

const LONGEST_LABEL: usize = 63;
/// Without the dot at the end.
const LONGEST_NAME: usize = 253;
const PORT: u16 = 53;
const NAMESERVER_FORM: &str = "for example 10.0.0.1:53, udp@[fd00::1]:53 or tcp@10.0.0.1:53";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_to_one_form() {
        assert_eq!(canonical("App.Example.").as_deref(), Some("app.example"));
        assert_eq!(canonical("_http._tcp.x").as_deref(), Some("_http._tcp.x"));
        for name in ["", ".", "a..b", "a b", &"a".repeat(64), &"a.".repeat(128)] {
            assert_eq!(canonical(name), None, "{name:?}");
        }
    }

    #[test]
    fn nameservers_are_read_in_every_form() {
        for (text, meant, carrier) in [
            ("10.0.0.1", "10.0.0.1:53", Carrier::Udp),
            ("10.0.0.1:5353", "10.0.0.1:5353", Carrier::Udp),
            ("udp@[fd00::1]:54", "[fd00::1]:54", Carrier::Udp),
            ("[fd00::1]", "[fd00::1]:53", Carrier::Udp),
            ("fd00::1", "[fd00::1]:53", Carrier::Udp),
            ("tcp@10.0.0.1:53", "10.0.0.1:53", Carrier::Tcp),
        ] {
            let read = nameserver("n", text).map(|nameserver| (nameserver.address.to_string(), nameserver.carrier));
            assert_eq!(read, Ok((meant.to_owned(), carrier)), "{text}");
        }
        for text in ["", "x", "10.0.0.1:0", "0.0.0.0:53", "quic@10.0.0.1", "10.0.0.1:x"] {
            assert!(nameserver("n", text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_systems_file_is_read_as_far_as_it_says_something() {
        let found =
            system("# x\nsearch example\nnameserver 10.0.0.1\nnameserver\nnameserver fd00::1%eth0\noptions rotate\n nameserver 10.0.0.2\n");
        assert_eq!(found.iter().map(Nameserver::name).collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
    }
}
