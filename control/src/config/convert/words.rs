//! Values as the words that stand for them.

use std::time::Duration;

use crate::config::location::Located;
use crate::config::model::{
    Balance, Format, ForwardFor, Forwarded, HashType, NamePolicy, Piece, ProxyOption, RETRIED_STATUSES, RetryCause, RetryOn, ServerAddress,
    Stored, TableKey, Tracked,
};
use crate::config::value::option::Switch;
use crate::config::value::word;

/// Writes a time in the greatest unit that needs no fraction.
pub(super) fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    match units.into_iter().find(|(_, unit)| micros > 0 && micros.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None if micros == 0 => "0s".to_owned(),
        None => format!("{micros}us"),
    }
}

/// Writes permissions.
pub(super) fn permissions(bits: u32) -> String {
    format!("{bits:03o}")
}

pub(super) fn texts(texts: &[Located<String>]) -> impl Iterator<Item = &str> {
    texts.iter().map(|text| text.as_str())
}

/// Writes the address of a server.
pub(in crate::config) fn address(address: &ServerAddress) -> String {
    match address {
        ServerAddress::Inet(ip, None) => ip.to_string(),
        ServerAddress::Inet(ip, Some(port)) => std::net::SocketAddr::new(*ip, *port).to_string(),
        ServerAddress::Unix(unix) => unix.to_string(),
        ServerAddress::Named(named) => {
            let name = named.service().or(named.host()).unwrap_or_default();
            named.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
        }
    }
}

/// Writes the name of a server, with that of its backend where it is another one's.
pub(super) fn tracked(tracked: &Tracked) -> String {
    if tracked.backend.is_empty() { tracked.server.clone() } else { tracked.to_string() }
}

pub(super) fn balance(balance: &Balance) -> String {
    let name = balance.name();
    match balance {
        Balance::RoundRobin | Balance::StaticRoundRobin | Balance::LeastConn | Balance::First | Balance::Source => name.to_owned(),
        Balance::Uri(uri) => {
            let mut text = name.to_owned();
            text.push_str(if uri.whole { " whole" } else { "" });
            text.push_str(if uri.path_only { " path-only" } else { "" });
            text.extend(uri.length.map(|length| format!(" len {length}")));
            text.extend(uri.depth.map(|depth| format!(" depth {depth}")));
            text
        }
        Balance::UrlParam(parameter) => format!("{name} {parameter}"),
        Balance::Header(header) => format!("{name}({}){}", header.name, if header.domain_only { " use_domain_only" } else { "" }),
        Balance::Random(draws) => format!("{name}({draws})"),
        Balance::RdpCookie(cookie) => format!("{name}({cookie})"),
        Balance::Hash(expression) => format!("{name} {expression}"),
    }
}

pub(super) fn hash_type(hash: HashType) -> String {
    let (method, function) = (word::HASH_METHOD.name(&hash.method), word::HASH_FUNCTION.name(&hash.function));
    format!("{method} {function}{}", if hash.avalanche { " avalanche" } else { "" })
}

/// Writes what makes a failed request go again.
pub(super) fn retry_on(causes: RetryOn) -> Vec<String> {
    let named = [
        (RetryCause::ConnFailure, "conn-failure"),
        (RetryCause::EmptyResponse, "empty-response"),
        (RetryCause::JunkResponse, "junk-response"),
        (RetryCause::ResponseTimeout, "response-timeout"),
        (RetryCause::EarlyDataRejected, "0rtt-rejected"),
    ];
    let mut words: Vec<String> = named.into_iter().filter(|(cause, _)| causes.contains(*cause)).map(|(_, word)| word.to_owned()).collect();
    words.extend(
        RETRIED_STATUSES.into_iter().filter(|status| causes.contains(RetryCause::Status(*status))).map(|status| status.to_string()),
    );
    if words.is_empty() { vec!["none".to_owned()] } else { words }
}

/// Writes an option with its arguments.
pub(super) fn option(switch: &Switch) -> String {
    let arguments = match &switch.option {
        ProxyOption::ForwardFor(forwardfor) | ProxyOption::OriginalTo(forwardfor) => forwarding(forwardfor),
        ProxyOption::Forwarded(forwarded) => self::forwarded(*forwarded),
        ProxyOption::HttpRestrictNames(policy) => match policy {
            NamePolicy::Preserve => " preserve".to_owned(),
            NamePolicy::Delete => " delete".to_owned(),
            NamePolicy::Reject => " reject".to_owned(),
        },
        ProxyOption::Redispatch(every) => every.map(|every| format!(" {every}")).unwrap_or_default(),
        ProxyOption::AbortOnClose
        | ProxyOption::AllBackups
        | ProxyOption::ClientKeepAlive
        | ProxyOption::DisableH2Upgrade
        | ProxyOption::DontLogNormal
        | ProxyOption::ContStats
        | ProxyOption::DontLogNull
        | ProxyOption::HttpBufferRequest
        | ProxyOption::HttpClose
        | ProxyOption::IdleCloseOnResponse
        | ProxyOption::HttpIgnoreProbes
        | ProxyOption::HttpKeepAlive
        | ProxyOption::HttpLog
        | ProxyOption::HttpLogClf
        | ProxyOption::HttpNoDelay
        | ProxyOption::HttpPretendKeepAlive
        | ProxyOption::HttpServerClose
        | ProxyOption::HttpsLog
        | ProxyOption::LogHealthChecks
        | ProxyOption::LogSeparateErrors
        | ProxyOption::NoLinger
        | ProxyOption::Persist
        | ProxyOption::PreferLastServer
        | ProxyOption::ServerKeepAlive
        | ProxyOption::TcpKeepAlive
        | ProxyOption::TcpLog => String::new(),
    };
    format!("{}{}{arguments}", if switch.on { "" } else { "no " }, switch.option.name())
}

fn forwarding(forwardfor: &ForwardFor) -> String {
    let mut text = String::new();
    text.extend(forwardfor.except.as_ref().map(|network| format!(" except {network}")));
    text.extend(forwardfor.header.as_ref().map(|header| format!(" header {header}")));
    text.push_str(if forwardfor.if_none { " if-none" } else { "" });
    text
}

fn forwarded(forwarded: Forwarded) -> String {
    let Forwarded { proto, host, by, by_port, from, from_port } = forwarded;
    let parts = [("proto", proto), ("host", host), ("by", by), ("by_port", by_port), ("for", from), ("for_port", from_port)];
    parts.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!(" {name}")).collect()
}

/// Writes the key of a table.
pub(super) fn table_key(key: TableKey) -> String {
    match key {
        TableKey::Ip => "ip".to_owned(),
        TableKey::Ipv6 => "ipv6".to_owned(),
        TableKey::Integer => "integer".to_owned(),
        TableKey::String(length) => format!("string({length})"),
        TableKey::Binary(length) => format!("binary({length})"),
    }
}

/// Writes what the entries of a table hold.
pub(super) fn stored(stored: Stored) -> String {
    let name = stored.kind.name();
    match (stored.kind.is_array(), stored.period) {
        (true, Some(period)) => format!("{name}({},{})", stored.count, duration(period)),
        (true, None) => format!("{name}({})", stored.count),
        (false, Some(period)) => format!("{name}({})", duration(period)),
        (false, None) => name.to_owned(),
    }
}

/// Writes a text of a check in which nothing is filled in.
pub(super) fn plain(format: &Format) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Piece::Sample(_) => String::new(),
    };
    format.pieces.iter().map(text).collect()
}
