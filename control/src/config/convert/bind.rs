//! Where frontends, peers and the runtime interface listen.

use super::value::{Table, Value};
use super::words;
use crate::config::location::Located;
use crate::config::model::{
    Account, Bind, BindAddress, ClientAuth, Congestion, Pardon, Quic, SocketFile, StatsSocket, SuiteOrder, Tcp, Tls, TlsProtocol,
    UnixAddress,
};
use crate::config::value::word;
use crate::config::written::TlsProtocolSettings;

/// Writes one address, with its settings if there are any.
pub(super) fn bind(bind: &Bind) -> Value {
    let Bind { name, address, tls, accept_proxy, backlog, maxconn, interface, v6only, transparent, file, quic, tcp, protocol } = bind;
    let Tcp { fast_open, defers, patience, segment } = *tcp;
    let Quic { forces_retry, congestion } = quic;
    let address = address.to_string();
    let mut table = Table::default();
    table.put("address", address.clone());
    table.maybe("name", name.clone());
    table.maybe("tls", tls.as_ref().map(self::tls));
    table.flags([("accept-proxy", *accept_proxy)]);
    table.maybe("backlog", *backlog);
    table.maybe("maxconn", *maxconn);
    table.maybe("interface", interface.as_ref().map(|interface| interface.value().clone()));
    table.flags([("v6only", *v6only), ("transparent", *transparent)]);
    socket_file(&mut table, file);
    table.flags([("quic-force-retry", *forces_retry)]);
    table.maybe("quic-cc-algo", (*congestion != Congestion::default()).then(|| word::CONGESTION.name(congestion)));
    table.flags([("tfo", fast_open), ("defer-accept", defers)]);
    table.maybe("tcp-ut", patience.map(words::duration));
    table.maybe("mss", segment);
    table.maybe("proto", protocol.as_ref().map(|protocol| word::PROTOCOL.name(protocol)));
    if table.len() == 1 { Value::Text(address) } else { Value::Table(table) }
}

/// Writes a socket of the runtime interface.
pub(super) fn stats_socket(socket: &StatsSocket) -> Value {
    let StatsSocket { address, file, level, exposes } = socket;
    let mut table = Table::default();
    match address {
        BindAddress::Unix(UnixAddress::Path(path)) => table.put("path", path.display().to_string()),
        BindAddress::Unix(_) | BindAddress::Inet(_) | BindAddress::Inherited(_) => table.put("address", address.to_string()),
    }
    socket_file(&mut table, file);
    table.put("level", word::SOCKET_LEVEL.name(level));
    table.flags([("expose-listeners", *exposes)]);
    Value::Table(table)
}

fn socket_file(table: &mut Table, file: &SocketFile) {
    let SocketFile { mode, user, group } = file;
    table.maybe("mode", mode.map(words::permissions));
    account(table, ["user", "uid"], user.as_ref());
    account(table, ["group", "gid"], group.as_ref());
}

/// Writes a user or a group by its name or its number, each of which has a key of its own.
pub(super) fn account(table: &mut Table, [name, id]: [&str; 2], account: Option<&Account>) {
    match account {
        Some(Account::Name(text)) => table.put(name, text.clone()),
        Some(Account::Id(number)) => table.put(id, *number),
        None => {}
    }
}

fn tls(tls: &Tls) -> Table {
    let Tls { certificates, crt_lists, alpn, strict_sni, tickets, early, fetches_ocsp, order, base, client, protocol } = tls;
    let mut table = Table::default();
    table.some("certificates", paths(certificates));
    table.some("crt-list", paths(crt_lists));
    table.maybe("crt-base", base.as_ref().map(|base| base.display().to_string()));
    table.some("alpn", alpn.clone());
    table.flags([
        ("strict-sni", *strict_sni),
        ("allow-0rtt", *early),
        ("ocsp-update", *fetches_ocsp),
        ("prefer-client-ciphers", *order == SuiteOrder::Client),
    ]);
    table.maybe("tickets", (!tickets).then_some(false));
    let trust = match client {
        ClientAuth::None => None,
        ClientAuth::Optional(trust) => Some(("optional", trust)),
        ClientAuth::Required(trust) => Some(("required", trust)),
    };
    if let Some((verify, trust)) = trust {
        table.put("verify", verify);
        table.some("ca", paths(&trust.ca));
        table.some("crl", paths(&trust.crl));
        table.maybe("crt-ignore-err", pardon(&trust.own_pardon));
        table.maybe("ca-ignore-err", pardon(&trust.pardon_above));
    }
    let TlsProtocol { min, max, ciphers, ciphersuites, curves } = protocol;
    let usual = TlsProtocolSettings::default().with_defaults();
    table.maybe("min", Some(min).filter(|min| **min != usual.min).map(|min| word::TLS_VERSION.name(min)));
    table.maybe("max", Some(max).filter(|max| **max != usual.max).map(|max| word::TLS_VERSION.name(max)));
    names(&mut table, "ciphers", &word::CIPHER, ciphers.as_deref());
    names(&mut table, "ciphersuites", &word::CIPHERSUITE, ciphersuites.as_deref());
    names(&mut table, "curves", &word::CURVE, curves.as_deref());
    table
}

fn pardon(pardon: &Pardon) -> Option<String> {
    match pardon {
        Pardon::Nothing => None,
        Pardon::Codes(codes) => Some(codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        Pardon::Everything => Some("all".to_owned()),
    }
}

/// Writes what of TLS is spoken, as far as it is set.
pub(super) fn protocol(table: &mut Table, protocol: &TlsProtocolSettings) {
    let TlsProtocolSettings { min, max, ciphers, ciphersuites, curves } = protocol;
    table.maybe("min", min.as_ref().map(|min| word::TLS_VERSION.name(min)));
    table.maybe("max", max.as_ref().map(|max| word::TLS_VERSION.name(max)));
    names(table, "ciphers", &word::CIPHER, ciphers.as_deref());
    names(table, "ciphersuites", &word::CIPHERSUITE, ciphersuites.as_deref());
    names(table, "curves", &word::CURVE, curves.as_deref());
}

fn names<T: PartialEq>(table: &mut Table, key: &str, words: &word::Words<T>, values: Option<&[T]>) {
    table.some(key, values.unwrap_or_default().iter().map(|value| words.name(value)));
}

pub(super) fn paths(paths: &[Located<std::path::PathBuf>]) -> impl Iterator<Item = String> {
    paths.iter().map(|path| path.display().to_string())
}
