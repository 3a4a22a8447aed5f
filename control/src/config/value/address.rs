//! Addresses of binds, servers and endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use super::{Mistake, later, naming};
use crate::config::model::{BindAddress, Guise, Inet, PortRange, Prefix, ServerAddress, ServerSource, Transport, UnixAddress};
use crate::config::suggest;

/// Reads the address of a bind: `*:80`, `[::]:443`, `10.0.0.1:80-89`, `udp@10.0.0.1:53`, `quic4@*:443`, `unix@/run/site.sock`, `abns@site`, `fd@3`.
pub(in crate::config) fn bind(text: &str) -> Result<BindAddress, Mistake> {
    if let Some(address) = unix(text)? {
        return Ok(BindAddress::Unix(address));
    }
    let (prefix, rest) = text.split_once('@').map_or((None, text), |(prefix, rest)| (Some(prefix), rest));
    let transport = match prefix {
        None | Some("tcp" | "tcp4" | "tcp6" | "ipv4" | "ipv6") => Transport::Tcp,
        Some("udp" | "udp4" | "udp6") => Transport::Udp,
        Some("quic4" | "quic6") => Transport::Quic,
        Some("fd") => return descriptor(rest).map(BindAddress::Inherited).map_err(|mistake| mistake.at(text, rest)),
        Some(known @ ("sockpair" | "rhttp")) => return Err(later("address", known)),
        Some(other) => {
            let known = ["tcp", "udp", "quic4", "quic6", "unix", "abns", "fd", "ipv4", "ipv6"];
            return Err(Mistake::new(format!("`{other}@` is no kind of address")).at(text, other).hint(suggest::hint(other, &known)));
        }
    };
    if rest.contains(',') {
        return Err(Mistake::new(format!("`{rest}` is more than one address")).hint("use a list: bind = [\"…\", \"…\"]"));
    }
    let (host, ports) = host_and_port(rest, BIND_FORM).map_err(|mistake| mistake.at(text, rest))?;
    let ports = ports.ok_or_else(|| Mistake::new(format!("`{rest}` has no port")).hint(BIND_FORM))?;
    let ip = match (host, prefix) {
        ("*" | "", Some("ipv6" | "tcp6" | "udp6" | "quic6")) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ("*" | "", _) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => ip_or_bracketed(host, BIND_FORM).map_err(|mistake| mistake.at(text, host))?,
    };
    let other_family = |family: &str| Err(Mistake::new(format!("`{host}` is not an {family} address")).at(text, host));
    match prefix {
        Some("ipv4" | "tcp4" | "udp4" | "quic4") if ip.is_ipv6() => return other_family("IPv4"),
        Some("ipv6" | "tcp6" | "udp6" | "quic6") if ip.is_ipv4() => return other_family("IPv6"),
        _ => {}
    }
    let ports = port_range(ports).map_err(|mistake| mistake.at(text, ports))?;
    Ok(BindAddress::Inet(Inet { transport, ip, ports }))
}

/// Reads the address of a Unix socket; none if it is of another kind.
fn unix(text: &str) -> Result<Option<UnixAddress>, Mistake> {
    let fits = |name: &str| match name.len() {
        0 => Err(Mistake::new(format!("`{text}` lacks its name"))),
        1..=UnixAddress::LONGEST if !name.contains('\0') => Ok(name.to_owned()),
        _ => Err(Mistake::new(format!("`{name}` is too long for a socket")).at(text, name).hint("at most 107 bytes, none of them zero")),
    };
    Ok(Some(match text.split_once('@') {
        _ if text.starts_with('/') => UnixAddress::Path(PathBuf::from(fits(text)?)),
        Some(("unix", path)) if path.starts_with('/') => UnixAddress::Path(PathBuf::from(fits(path)?)),
        Some(("unix", path)) => return Err(Mistake::new(format!("`{path}` is not an absolute path")).at(text, path)),
        Some(("abns", name)) => UnixAddress::Padded(fits(name)?),
        Some(("abnsz", name)) => UnixAddress::Exact(fits(name)?),
        Some(_) | None => return Ok(None),
    }))
}

/// Reads the number of a descriptor; the first three are taken.
fn descriptor(text: &str) -> Result<u16, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is not the number of a socket")).hint("from 3 on: for example fd@3");
    text.parse().ok().filter(|number| *number > 2 && !text.starts_with('+')).ok_or_else(wrong)
}

/// Reads where connections come from: an IP address, if need be with ports.
pub(in crate::config) fn source(text: &str) -> Result<ServerSource, Mistake> {
    let (host, ports) = host_and_port(text, SOURCE_FORM)?;
    let ip = ip_or_bracketed(host, SOURCE_FORM).map_err(|mistake| mistake.at(text, host))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Mistake::new(format!("`{host}` is not an address of this host")).at(text, host).hint(SOURCE_FORM));
    }
    let ports = ports.map(|ports| port_range(ports).map_err(|mistake| mistake.at(text, ports))).transpose()?;
    Ok(ServerSource { ip: Some(ip), ports, ..ServerSource::ANY })
}

/// Reads where connections come from, as [`source`] does, or `*`, which leaves it to the system.
pub(in crate::config) fn any_source(text: &str) -> Result<ServerSource, Mistake> {
    if text == "*" { Ok(ServerSource::ANY) } else { source(text) }
}

/// Reads whose address a server sees.
pub(in crate::config) fn guise(text: &str) -> Result<Guise, Mistake> {
    match text {
        "client" => return Ok(Guise::Client),
        "clientip" => return Ok(Guise::ClientIp),
        _ if text.starts_with("hdr_ip(") => {
            return Err(Mistake::new(format!("`{text}`: an address from a header is not supported yet")).hint(GUISE_FORM));
        }
        _ => {}
    }
    let (host, port) = host_and_port(text, GUISE_FORM)?;
    let ip = ip_or_bracketed(host, GUISE_FORM).map_err(|mistake| mistake.at(text, host))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Mistake::new(format!("`{host}` is nobody's address")).at(text, host).hint(GUISE_FORM));
    }
    let wrong = |port: &str| Mistake::new(format!("`{port}` is not a port")).at(text, port).hint(GUISE_FORM);
    let port = port.map_or(Ok(0), |port| port.parse().ok().filter(|_| !port.starts_with('+')).ok_or_else(|| wrong(port)))?;
    Ok(Guise::Address(SocketAddr::new(ip, port)))
}

/// Reads the address of a server: an IP address or a name, if need be with a port, or a Unix socket.
pub(in crate::config) fn server(text: &str) -> Result<ServerAddress, Mistake> {
    if let Some(address) = unix(text)? {
        return Ok(ServerAddress::Unix(address));
    }
    if text.contains('@') {
        return Err(Mistake::new(format!("`{text}`: servers at anything but IP addresses, names and Unix sockets are not supported yet"))
            .hint(SERVER_FORM));
    }
    let (host, port) = host_and_port(text, SERVER_FORM)?;
    let port = match port {
        None | Some("0") => None,
        Some(port) if port.starts_with(['+', '-']) => {
            return Err(Mistake::new(format!("`{port}`: ports relative to the client's are not supported yet")).at(text, port));
        }
        Some(text_of_port) => {
            let range = port_range(text_of_port).map_err(|mistake| mistake.at(text, text_of_port))?;
            let one = || Mistake::new(format!("`{text_of_port}`: a server has one port")).hint("without one it keeps the client's");
            Some(range.single().ok_or_else(|| one().at(text, text_of_port))?)
        }
    };
    if is_name(host) {
        return naming::named(host, port).map(ServerAddress::Named).map_err(|mistake| mistake.at(text, host));
    }
    let ip = ip_or_bracketed(host, SERVER_FORM).map_err(|mistake| mistake.at(text, host))?;
    if ip.is_multicast() {
        return Err(Mistake::new(format!("`{host}` is not the address of one machine")).at(text, host).hint(SERVER_FORM));
    }
    Ok(ServerAddress::Inet(ip, port))
}

/// Reads the address of a peer, and how the process that is called so listens there: names are looked up at once, as by HAProxy.
pub(in crate::config) fn peer(text: &str) -> Result<(ServerAddress, BindAddress), Mistake> {
    let text = if text.starts_with(['*', ':']) && !text.starts_with("::") {
        format!("0.0.0.0{}", text.trim_start_matches('*'))
    } else {
        text.to_owned()
    };
    let mut address = server(&text)?;
    let place = match &mut address {
        ServerAddress::Named(named) => {
            let host = named.host.clone().ok_or_else(|| Mistake::new(format!("`{text}` is a service, and a peer is one machine")))?;
            let mut found = (host.as_str(), named.port.unwrap_or(0)).to_socket_addrs().map_err(|error| {
                Mistake::new(format!("`{host}` leads nowhere: {error}"))
                    .at(&text, &host)
                    .hint("peers are looked up when the configuration is read")
            })?;
            named.ip = found.next().map(|address| address.ip());
            match (named.ip, named.port) {
                (Some(ip), Some(port)) => SocketAddr::new(ip, port).to_string(),
                _ => return Err(Mistake::new(format!("`{text}` has no port")).hint("for example 10.0.0.2:1024")),
            }
        }
        ServerAddress::Inet(..) | ServerAddress::Unix(_) => text,
    };
    Ok((address, bind(&place)?))
}

/// Reads an address and port the daemon itself listens on.
pub(in crate::config) fn endpoint(text: &str) -> Result<SocketAddr, Mistake> {
    text.parse().map_err(|_| Mistake::new(format!("`{text}` is not an address and port")).hint("for example 127.0.0.1:9101 or [::1]:9101"))
}

/// Reads a prefix, or an address, which is one of full length.
pub(in crate::config) fn prefix(text: &str) -> Result<Prefix, Mistake> {
    let wrong = |what: &str| Mistake::new(format!("`{text}` {what}")).hint("for example 192.0.2.0/24 or 2001:db8::/32");
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| wrong("is not a prefix of addresses"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(length) => length.parse().ok().filter(|length| *length <= longest).ok_or_else(|| wrong("has a length that no prefix has"))?,
    };
    let bits = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    if bits.checked_shl(u32::from(length)).unwrap_or(0) != 0 {
        return Err(wrong("has bits set after its length"));
    }
    Ok(Prefix { address, length })
}

/// Reads an IP address.
pub(in crate::config) fn ip(text: &str) -> Result<IpAddr, Mistake> {
    let address: Result<IpAddr, _> = text.parse();
    address
        .map(|address| address.to_canonical())
        .map_err(|_| Mistake::new(format!("`{text}` is not an IP address")).hint("for example 10.0.0.5 or fd00::5"))
}

/// Reads ports: one, or the first and the last with a dash between.
pub(in crate::config) fn port_range(text: &str) -> Result<PortRange, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is not a port")).hint("1 to 65535, or a range such as 8000-8009");
    let port = |text: &str| text.parse().ok().filter(|port| *port > 0 && !text.starts_with('+')).ok_or_else(wrong);
    let (first, last) = match text.split_once('-') {
        None => (port(text)?, port(text)?),
        Some((first, last)) => (port(first)?, port(last)?),
    };
    if first > last {
        return Err(Mistake::new(format!("range `{text}` runs backwards")).hint(format!("{last}-{first}")));
    }
    Ok(PortRange { first, last })
}

const BIND_FORM: &str = "for example *:80, [::]:443, 10.0.0.1:80 or unix@/run/site.sock";
const SERVER_FORM: &str = "for example 10.0.0.11:8080, [fd00::11]:8080 or unix@/run/app.sock";
const GUISE_FORM: &str = "clientip, client, or an address as 192.0.2.1";
const SOURCE_FORM: &str = "for example 10.0.0.5 or 10.0.0.5:40000-49999";

/// Splits at the colon before the port; an IPv6 address must be in brackets, else the colon would be a guess.
fn host_and_port<'t>(text: &'t str, form: &str) -> Result<(&'t str, Option<&'t str>), Mistake> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let wrong = || Mistake::new(format!("`{text}` is not an address")).hint(form);
        let (inside, after) = bracketed.split_once(']').ok_or_else(wrong)?;
        let host = &text[..inside.len() + 2];
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(wrong()),
        };
    }
    match text.matches(':').count() {
        0 => Ok((text, None)),
        1 => Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))),
        _ => Err(Mistake::new(format!("`{text}`: an IPv6 address stands in brackets")).hint(form)),
    }
}

fn ip_or_bracketed(host: &str, form: &str) -> Result<IpAddr, Mistake> {
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Result<Ipv6Addr, _> = inside.parse();
        return address
            .map(|address| address.to_canonical())
            .map_err(|_| Mistake::new(format!("`{inside}` is not an IPv6 address")).hint(form));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(address.into());
    }
    if is_name(host) {
        return Err(Mistake::new(format!("`{host}`: only servers may have names, everything else has an IP address")).hint(form));
    }
    Err(Mistake::new(format!("`{host}` is not an IP address")).hint(form))
}

/// Tells whether a host is meant to be a name.
fn is_name(host: &str) -> bool {
    let is_numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    !is_numeric && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        bind(text).unwrap().to_string()
    }

    #[test]
    fn binds_are_read_in_every_form() {
        for (written, meant) in [
            ("*:80", "*:80"),
            (":80", "*:80"),
            ("[::]:80", "[::]:80"),
            ("ipv6@*:80", "[::]:80"),
            ("10.0.0.1:80-89", "10.0.0.1:80-89"),
            ("10.0.0.1:80-80", "10.0.0.1:80"),
            ("udp@10.0.0.1:53", "udp@10.0.0.1:53"),
            ("udp6@[fd00::1]:53", "udp@[fd00::1]:53"),
            ("quic4@:443", "quic4@*:443"),
            ("quic6@:443", "quic6@[::]:443"),
            ("quic6@[fd00::1]:443", "quic6@[fd00::1]:443"),
            ("unix@/run/a b.sock", "unix@/run/a b.sock"),
            ("/run/site.sock", "unix@/run/site.sock"),
            ("abns@site", "abns@site"),
            ("abnsz@site", "abnsz@site"),
            ("fd@3", "fd@3"),
        ] {
            assert_eq!(shown(written), meant, "{written}");
        }
    }

    #[test]
    fn what_is_no_bind_is_refused() {
        for text in [
            "",
            "80",
            "*",
            "*:0",
            "*:65536",
            "*:x",
            "*:9-8",
            "*:+80",
            "[::1:80",
            "[::1]80",
            "::1:80",
            "fd@2",
            "fd@x",
            "fd@65536",
            "abns@",
            "sockpair@3",
            "web:80",
            "1.2.3:80",
            "ipv4@[::]:80",
            "ipv6@1.2.3.4:80",
            "quic4@[::1]:443",
            "quic6@1.2.3.4:443",
            "quic@1.2.3.4:443",
            "unix@run",
            "xyz@1.2.3.4:80",
            "1.2.3.4:80,1.2.3.5:80",
            "[1.2.3.4]:80",
        ] {
            assert!(bind(text).is_err(), "{text}");
        }
    }

    #[test]
    fn server_without_a_port_keeps_the_clients() {
        assert_eq!(server("10.0.0.1"), Ok(ServerAddress::Inet([10, 0, 0, 1].into(), None)));
        assert_eq!(server("10.0.0.1:80").map(|address| address.port()), Ok(Some(80)));
        assert_eq!(
            server("[::ffff:10.0.0.1]").map(|address| address.ip()),
            Ok(Some([10, 0, 0, 1].into())),
            "a mapped address is the one it maps"
        );
        assert_eq!(server("[fd00::1]").map(|address| address.port()), Ok(None));
        assert_eq!(server("[fd00::1]:80").map(|address| address.port()), Ok(Some(80)));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in ["", "*:80", "224.0.0.1:80", "a..example:80", "10.0.0.1:80-81", "10.0.0.1:+1", "unix@x", "fd@3", "fd00::1:80"] {
            assert!(server(text).is_err(), "{text}");
        }
    }
}
