//! Options of a proxy.

use super::Mistake;
use crate::config::model::{ForwardFor, Forwarded, NamePolicy, ProxyOption};
use crate::config::suggest;

/// An option switched on, or off where the defaults have it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Switch {
    pub(in crate::config) option: ProxyOption,
    pub(in crate::config) on: bool,
}

/// Reads an option with its arguments; a leading `no` switches it off.
pub(in crate::config) fn option(text: &str) -> Result<Switch, Mistake> {
    let mut words = text.split_ascii_whitespace().peekable();
    let on = words.next_if_eq(&"no").is_none();
    let name =
        words.next().ok_or_else(|| Mistake::new(format!("`{text}` is not an option")).hint(format!("known: {}", KNOWN.join(", "))))?;
    let rest: Vec<&str> = words.collect();
    if name == "forwardfor" {
        return Ok(Switch { option: ProxyOption::ForwardFor(forwardfor(text, &rest)?), on });
    }
    if name == "httplog" && rest == ["clf"] {
        return Ok(Switch { option: ProxyOption::HttpLogClf, on });
    }
    if name == "redispatch" {
        return Ok(Switch { option: ProxyOption::Redispatch(redispatch(text, &rest)?), on });
    }
    if name == "originalto" {
        return Ok(Switch { option: ProxyOption::OriginalTo(originalto(text, &rest)?), on });
    }
    if name == "forwarded" {
        return Ok(Switch { option: ProxyOption::Forwarded(forwarded(text, &rest)?), on });
    }
    if name == "http-restrict-req-hdr-names" {
        return Ok(Switch { option: ProxyOption::HttpRestrictNames(name_policy(text, name, &rest)?), on });
    }
    let option = match name {
        "clitcpka" => ProxyOption::ClientKeepAlive,
        "http-ignore-probes" => ProxyOption::HttpIgnoreProbes,
        "http-no-delay" => ProxyOption::HttpNoDelay,
        "http-pretend-keepalive" => ProxyOption::HttpPretendKeepAlive,
        "nolinger" => ProxyOption::NoLinger,
        "srvtcpka" => ProxyOption::ServerKeepAlive,
        "tcpka" => ProxyOption::TcpKeepAlive,
        "abortonclose" => ProxyOption::AbortOnClose,
        "allbackups" => ProxyOption::AllBackups,
        "disable-h2-upgrade" => ProxyOption::DisableH2Upgrade,
        "dontlog-normal" => ProxyOption::DontLogNormal,
        "contstats" => ProxyOption::ContStats,
        "dontlognull" => ProxyOption::DontLogNull,
        "http-buffer-request" => ProxyOption::HttpBufferRequest,
        "http-keep-alive" => ProxyOption::HttpKeepAlive,
        "http-server-close" => ProxyOption::HttpServerClose,
        "httpclose" => ProxyOption::HttpClose,
        "idle-close-on-response" => ProxyOption::IdleCloseOnResponse,
        "httplog" => ProxyOption::HttpLog,
        "httpslog" => ProxyOption::HttpsLog,
        "log-health-checks" => ProxyOption::LogHealthChecks,
        "log-separate-errors" => ProxyOption::LogSeparateErrors,
        "persist" => ProxyOption::Persist,
        "prefer-last-server" => ProxyOption::PreferLastServer,
        "tcplog" => ProxyOption::TcpLog,
        "httpchk" => return Err(of_check(name).at(text, name).hint("write check = { http = { path = \"/\" } }")),
        "tcp-check" => return Err(of_check(name).at(text, name).hint("write check = { tcp = {} }")),
        "ldap-check" | "mysql-check" | "pgsql-check" | "redis-check" | "smtpchk" | "ssl-hello-chk" => {
            let key = name.trim_end_matches("-check").trim_end_matches("-chk").trim_end_matches("chk");
            return Err(of_check(name).at(text, name).hint(format!("write check = {{ {key} = … }}")));
        }
        _ if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) => {
            return Err(Mistake::new(format!("option `{name}` is not supported: {reason}")).at(text, name));
        }
        _ => return Err(Mistake::new(format!("`{name}` is not an option")).at(text, name).hint(suggest::hint(name, &KNOWN))),
    };
    match rest.first() {
        None => Ok(Switch { option, on }),
        Some(word) => Err(Mistake::new(format!("option `{name}` does not know `{word}`")).at(text, word)),
    }
}

fn of_check(name: &str) -> Mistake {
    Mistake::new(format!("option `{name}` is a key of its own"))
}

pub(in crate::config) const KNOWN: [&str; 30] = [
    "abortonclose",
    "allbackups",
    "clitcpka",
    "contstats",
    "disable-h2-upgrade",
    "dontlog-normal",
    "dontlognull",
    "forwarded",
    "forwardfor",
    "http-buffer-request",
    "http-ignore-probes",
    "http-keep-alive",
    "http-no-delay",
    "http-pretend-keepalive",
    "http-restrict-req-hdr-names",
    "http-server-close",
    "httpclose",
    "httplog",
    "httpslog",
    "idle-close-on-response",
    "log-health-checks",
    "log-separate-errors",
    "nolinger",
    "originalto",
    "persist",
    "prefer-last-server",
    "redispatch",
    "srvtcpka",
    "tcpka",
    "tcplog",
];

/// Options that HAProxy has and that are not carried out, and why.
const REFUSED: &[(&str, &str)] = &[
    ("accept-invalid-http-request", "what no two programs read alike is refused"),
    ("accept-invalid-http-response", "what no two programs read alike is refused"),
    ("accept-unsafe-violations-in-http-request", "what no two programs read alike is refused"),
    ("accept-unsafe-violations-in-http-response", "what no two programs read alike is refused"),
    ("checkcache", "deny by a rule: `http-response deny if { res.hdr(set-cookie) -m found } { … }`"),
    ("h1-case-adjust-bogus-client", "names of fields keep the case they came in, or are in small letters"),
    ("h1-case-adjust-bogus-server", "names of fields keep the case they came in, or are in small letters"),
    ("http-drop-request-trailers", "trailers go through"),
    ("http-drop-response-trailers", "trailers go through"),
    ("http-use-proxy-header", "clients that speak to a proxy say so by `Connection`"),
    ("independent-streams", "each direction counts as activity of both"),
    ("logasap", "lines are written when an exchange ends"),
    ("socket-stats", "statistics are by frontend"),
    ("transparent", "write a `server` at 0.0.0.0, which goes where the client wanted to"),
];

fn forwardfor(text: &str, rest: &[&str]) -> Result<ForwardFor, Mistake> {
    let mut forwardfor = ForwardFor::default();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let lacks = || Mistake::new(format!("`{word}` lacks its value")).at(text, word);
        match *word {
            "except" => forwardfor.except = Some(network(text, words.next().ok_or_else(lacks)?)?),
            "header" => forwardfor.header = Some(named(text, words.next().ok_or_else(lacks)?)?),
            "if-none" => forwardfor.if_none = true,
            other => {
                let known = ["except", "header", "if-none"];
                return Err(Mistake::new(format!("option `forwardfor` does not know `{other}`"))
                    .at(text, other)
                    .hint(suggest::hint(other, &known)));
            }
        }
    }
    Ok(forwardfor)
}

fn originalto(text: &str, rest: &[&str]) -> Result<ForwardFor, Mistake> {
    if let Some(word) = rest.iter().find(|word| **word == "if-none") {
        return Err(Mistake::new("option `originalto` does not know `if-none`").at(text, word));
    }
    let originalto = forwardfor(text, rest)?;
    Ok(ForwardFor { header: originalto.header.or_else(|| Some("X-Original-To".to_owned())), ..originalto })
}

fn forwarded(text: &str, rest: &[&str]) -> Result<Forwarded, Mistake> {
    if rest.is_empty() {
        return Ok(Forwarded { proto: true, from: true, ..Forwarded::default() });
    }
    let mut forwarded = Forwarded::default();
    for word in rest {
        match *word {
            "proto" => forwarded.proto = true,
            "host" => forwarded.host = true,
            "by" => forwarded.by = true,
            "by_port" => forwarded.by_port = true,
            "for" => forwarded.from = true,
            "for_port" => forwarded.from_port = true,
            later @ ("host-expr" | "by-expr" | "by_port-expr" | "for-expr" | "for_port-expr") => {
                return Err(Mistake::new(format!("`{later}` of option `forwarded` is not supported yet")).at(text, word));
            }
            other => {
                let known = ["proto", "host", "by", "by_port", "for", "for_port"];
                let mistake = Mistake::new(format!("option `forwarded` does not know `{other}`"));
                return Err(mistake.at(text, other).hint(suggest::hint(other, &known)));
            }
        }
    }
    Ok(forwarded)
}

fn name_policy(text: &str, name: &str, rest: &[&str]) -> Result<NamePolicy, Mistake> {
    match rest {
        ["preserve"] => Ok(NamePolicy::Preserve),
        ["delete"] => Ok(NamePolicy::Delete),
        ["reject"] => Ok(NamePolicy::Reject),
        [] => Err(Mistake::new(format!("option `{name}` lacks its policy")).at(text, name).hint("preserve, delete or reject")),
        [word, ..] => Err(Mistake::new(format!("`{word}` is not a policy")).at(text, word).hint("preserve, delete or reject")),
    }
}

fn network(text: &str, word: &str) -> Result<String, Mistake> {
    let (address, length) = word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
    let limit = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => Some(32),
        Ok(std::net::IpAddr::V6(_)) => Some(128),
        Err(_) => None,
    };
    let length = length.map_or(Ok(0), str::parse::<u8>);
    match (limit, length) {
        (Some(limit), Ok(length)) if length <= limit => Ok(word.to_owned()),
        _ => Err(Mistake::new(format!("`{word}` is not a network")).at(text, word).hint("for example 127.0.0.0/8")),
    }
}

fn named(text: &str, word: &str) -> Result<String, Mistake> {
    header(word).map_err(|mistake| mistake.at(text, word))
}

/// Reads the name of a header field.
pub(in crate::config) fn header(word: &str) -> Result<String, Mistake> {
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
        return Ok(word.to_owned());
    }
    Err(Mistake::new(format!("`{word}` is not the name of a header")).hint("for example X-Real-IP"))
}

fn redispatch(text: &str, rest: &[&str]) -> Result<Option<u32>, Mistake> {
    match rest {
        // The last attempt, as where nothing is written.
        [] | ["-1"] => Ok(None),
        [tries] => {
            let wrong = || Mistake::new(format!("`{tries}` is not a number of tries")).at(text, tries).hint("for example redispatch 1");
            tries.parse().ok().filter(|tries| *tries > 0).map(Some).ok_or_else(wrong)
        }
        [_, word, ..] => Err(Mistake::new(format!("option `redispatch` does not know `{word}`")).at(text, word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_their_arguments() {
        let on = |option| Ok(Switch { option, on: true });
        assert_eq!(option("httplog"), on(ProxyOption::HttpLog));
        assert_eq!(option("no httplog"), Ok(Switch { option: ProxyOption::HttpLog, on: false }));
        assert_eq!(option("redispatch"), on(ProxyOption::Redispatch(None)));
        assert_eq!(option("redispatch 2"), on(ProxyOption::Redispatch(Some(2))));
        let ProxyOption::ForwardFor(forwardfor) = option("forwardfor except 10.0.0.0/8 header X-Real-IP if-none").unwrap().option else {
            panic!("not forwardfor")
        };
        assert_eq!((forwardfor.except(), forwardfor.header(), forwardfor.if_none()), (Some("10.0.0.0/8"), "X-Real-IP", true));
    }

    #[test]
    fn every_option_without_arguments_is_read() {
        for name in KNOWN.iter().filter(|name| **name != "http-restrict-req-hdr-names") {
            assert!(option(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in [
            "",
            "no",
            "httplogs",
            "httplog elf",
            "tcpka on",
            "http-restrict-req-hdr-names",
            "http-restrict-req-hdr-names drop",
            "forwarded all",
            "originalto if-none",
            "httpchk GET /",
            "redispatch 0",
            "redispatch 1 2",
            "forwardfor header",
            "forwardfor except 10.0.0.0/33",
            "forwardfor header X:Y",
            "forwardfor excpt 10.0.0.0/8",
        ] {
            assert!(option(text).is_err(), "{text}");
        }
    }
}
