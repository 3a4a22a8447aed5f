//! Names and paths: texts with a form of their own that stay texts.

use std::path::PathBuf;

use super::address::port_range;
use super::{Mistake, address, word};
use crate::config::model::{Capability, Pardon, PortRange, Tracked};

/// Checks the name of a network interface.
pub(in crate::config) fn interface(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':');
    if (1..=LONGEST_INTERFACE).contains(&text.len()) && text.chars().all(allowed) && !matches!(text, "." | "..") {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{}` cannot be the name of an interface", text))
        .hint("at most 15 characters, no space, colon or slash: for example eth0"))
}

/// Reads the name of a server, with that of its backend unless it is the same.
pub(in crate::config) fn tracked(text: &str) -> Result<Tracked, Mistake> {
    let (backend, server) = text.split_once('/').unwrap_or(("", text));
    if server.is_empty() || text.starts_with('/') || text.chars().any(char::is_control) {
        return Err(
            Mistake::new(format!("`{}` names no server", text.escape_debug())).hint("for example app/web1, or web1 in the same backend")
        );
    }
    Ok(Tracked { backend: backend.to_owned(), server: server.to_owned() })
}

/// Reads a path that does not depend on where the daemon was started.
pub(in crate::config) fn absolute_path(text: &str) -> Result<PathBuf, Mistake> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    Err(Mistake::new(format!("`{}` is not an absolute path", text)).hint("begins with /"))
}

/// Reads any path.
pub(in crate::config) fn path(text: &str) -> Result<PathBuf, Mistake> {
    match not_empty(text)? {
        path if path.contains('\0') => Err(Mistake::new(format!("`{path}` is not a path"))),
        path => Ok(PathBuf::from(path)),
    }
}

/// Checks a word in the header of a log line: the name of a program or of a host.
pub(in crate::config) fn log_word(text: &str) -> Result<String, Mistake> {
    if (1..=LONGEST_LOG_WORD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` cannot stand in the header of a log line")).hint("up to 48 characters of ASCII without a space"))
}

/// Checks text that becomes a part of a header field.
pub(in crate::config) fn header_text(text: &str) -> Result<String, Mistake> {
    if !text.is_empty() && text.chars().all(|c| !c.is_control()) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{}` cannot be shown", text.escape_debug())))
}

/// Checks a name and a password.
pub(in crate::config) fn account(text: &str) -> Result<String, Mistake> {
    if text.split_once(':').is_some_and(|(name, _)| !name.is_empty()) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not a name and a password")).hint("for example admin:secret"))
}

/// Reads permission bits.
pub(in crate::config) fn permissions(text: &str) -> Result<u32, Mistake> {
    let octal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| octal && *bits <= 0o777);
    bits.ok_or_else(|| Mistake::new(format!("`{text}` are no permissions")).hint("octal digits: for example 660"))
}

/// Reads a key of 128 bits.
pub(in crate::config) fn key(text: &str) -> Result<[u8; 16], Mistake> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = u128::from_str_radix(text, 16).ok().filter(|_| digits).map(u128::to_be_bytes);
    key.ok_or_else(|| Mistake::new("a hash key is 32 hexadecimal digits").hint("for example from: openssl rand -hex 16"))
}

/// Reads the ports full NAT takes: the kernel tier finds a port by masking, so their number is a power of two and they are aligned to it.
pub(in crate::config) fn source_ports(text: &str) -> Result<PortRange, Mistake> {
    let range = port_range(text)?;
    let aligned = range.count().is_power_of_two() && u32::from(range.first()).is_multiple_of(range.count());
    if aligned && range.count() >= FEWEST_SOURCE_PORTS {
        return Ok(range);
    }
    let message = format!("`{text}` cannot be used as source ports");
    Err(Mistake::new(message).hint("a power of two of them, from 1024, beginning at a multiple of that: for example 32768-65535"))
}

/// Reads the name of a host, or `*.` and the end of one, in lower case.
pub(in crate::config) fn host_pattern(text: &str) -> Result<String, Mistake> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    if name.len() <= LONGEST_HOST && name.split('.').all(is_label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Mistake::new(format!("`{text}` is not the name of a host")).hint("for example www.example.org, or *.example.org for all below it"))
}

/// Reads the target of a request to this host.
pub(in crate::config) fn request_target(text: &str) -> Result<String, Mistake> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not the target of a request")).hint("begins with /: for example /alive"))
}

/// Checks what may stand as the name or the value of a cookie.
pub(in crate::config) fn cookie(text: &str) -> Result<String, Mistake> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\=".contains(&byte);
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{}` cannot stand in a cookie", text)).hint("letters, digits and any of - _ ."))
}

/// Checks an attribute of a cookie, which must not end it or the header.
pub(in crate::config) fn cookie_attribute(written: &str) -> Result<String, Mistake> {
    let text = not_empty(written)?;
    if text.bytes().all(|byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b';') {
        return Ok(text);
    }
    Err(Mistake::new(format!("`{}` cannot stand in a cookie", written)))
}

/// Checks the name of a protocol as ALPN has it.
pub(in crate::config) fn protocol(text: &str) -> Result<String, Mistake> {
    let good = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    let wrong = || Mistake::new(format!("`{}` is not a protocol", text)).hint("for example h2 or http/1.1");
    if good { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// Reads names of protocols with commas between.
pub(in crate::config) fn protocols(text: &str) -> Result<Vec<String>, Mistake> {
    text.split(',').map(|name| protocol(name).map_err(|mistake| mistake.at(text, name))).collect()
}

/// Reads names of capabilities with commas between them.
pub(in crate::config) fn capabilities(text: &str) -> Result<Vec<Capability>, Mistake> {
    text.split(',').map(|name| word::CAPABILITY.read(name).map_err(|mistake| mistake.at(text, name))).collect()
}

/// Checks something that is kept as written.
pub(in crate::config) fn not_empty(text: &str) -> Result<String, Mistake> {
    if text.trim().is_empty() { Err(Mistake::new("nothing is written here")) } else { Ok(text.to_owned()) }
}

/// Reads the address a health check goes to instead of the server's.
pub(in crate::config) fn check_address(text: &str) -> Result<std::net::IpAddr, Mistake> {
    address::ip(text).map_err(|mistake| match text.parse::<std::net::SocketAddr>() {
        Ok(socket) => Mistake::new(format!("`{text}` is an address with a port")).hint(format!(
            "write address = \"{}\", port = {}",
            socket.ip(),
            socket.port()
        )),
        Err(_) => mistake,
    })
}

/// RFC 1035 section 2.3.4, without the length before the first label and the root.
const LONGEST_HOST: usize = 253;
/// The kernel's IFNAMSIZ without the final zero.
/// As RFC 5424 has it for a program.
const LONGEST_LOG_WORD: usize = 48;
const LONGEST_INTERFACE: usize = 15;
const FEWEST_SOURCE_PORTS: u32 = 1024;

/// Reads how many there are of something, or the numbers of the first and the last.
pub(in crate::config) fn count_or_range(text: &str) -> Result<std::ops::RangeInclusive<u32>, Mistake> {
    let wrong =
        || Mistake::new(format!("`{text}` is not a number of servers")).hint(format!("for example 3 or 5-8, at most {MOST_SERVERS}"));
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(wrong);
    let range = match text.split_once('-') {
        None => 1..=number(text)?,
        Some((first, last)) => number(first)?..=number(last)?,
    };
    if range.is_empty() || range.end() - range.start() >= MOST_SERVERS { Err(wrong()) } else { Ok(range) }
}

/// How many servers one line makes at most.
pub(in crate::config) const MOST_SERVERS: u32 = 4096;

/// Reads what may be wrong with a certificate: `all`, or numbers with commas between them.
pub(in crate::config) fn pardon(text: &str) -> Result<Pardon, Mistake> {
    if text == "all" {
        return Ok(Pardon::Everything);
    }
    let codes = text.split(',').map(str::parse).collect::<Result<_, _>>();
    codes
        .map(Pardon::Codes)
        .map_err(|_| Mistake::new(format!("`{text}` is no list of errors")).hint("all, or numbers of OpenSSL: for example 10,20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_what_the_kernel_allows() {
        for text in ["eth0", "enp3s0.100", "a", "wlan0-very-long"] {
            assert!(interface(text).is_ok(), "{text}");
        }
        for text in ["", "sixteen-letters!", "a b", "a/b", "a:b", ".", "..", "a\n"] {
            assert!(interface(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn source_ports_can_be_masked() {
        for text in ["32768-65535", "49152-65535", "1024-2047", "63488-65535"] {
            assert!(source_ports(text).is_ok(), "{text}");
        }
        for text in ["32768-60999", "1024-3071", "1025-2048", "512-1023", "40000"] {
            assert!(source_ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hash_key_is_read_from_left_to_right() {
        let expected = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0F];
        assert_eq!(key("000102030405060708090A0b0c0d0e0f"), Ok(expected));
        for text in ["", "00", "+00102030405060708090a0b0c0d0e0f", "zz0102030405060708090a0b0c0d0e0f"] {
            assert!(key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_lowered_and_may_begin_with_a_star() {
        assert_eq!(host_pattern("WWW.Example.org"), Ok("www.example.org".to_owned()));
        assert_eq!(host_pattern("*.example.org"), Ok("*.example.org".to_owned()));
        for text in ["", "*", "*.", "a..b", "a.*.b", "*a.b", "a b", "a.b.", "[::1]"] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!(permissions("660"), Ok(0o660));
        for text in ["", "888", "1777", "+66", "rw"] {
            assert!(permissions(text).is_err(), "{text}");
        }
    }
}
