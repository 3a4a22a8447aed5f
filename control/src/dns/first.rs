//! Where servers that have names are at the start, before anybody was asked: `init-addr`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin;
use crate::config::{Config, Diagnostic, InitAddress, Move, NamedAddress, Report, Server};

/// Finds the first addresses of servers that have names. Those that `before` knows stay where they are, but for names that are asked
/// for at the start and at reloads alone.
///
/// # Errors
/// The servers whose names lead nowhere, where that is not allowed.
pub async fn settle(config: Config, before: Option<&Config>) -> Result<Config, Report> {
    let config = before.map(|before| config.with_addresses_of(before)).unwrap_or(config);
    let homeless = |server: &&Server| {
        let is_settled = server.ip().is_some() && server.naming().resolvers().is_some();
        !is_settled && server.address().named().is_some_and(|named| named.host().is_some())
    };
    let homeless: Vec<&Server> = config.servers().iter().filter(homeless).collect();
    if homeless.is_empty() {
        return Ok(config);
    }
    // The file is of the process before; after a reload it says nothing new.
    let saved = if before.is_none() { admin::saved_addresses(&config) } else { HashMap::new() };
    let last = |server: &Server| saved.get(&(config.backend(server.backend()).name().to_owned(), server.name().to_owned())).copied();
    let found = of_system(&homeless, |server| last(server).is_some()).await;
    let (mut moves, mut wrong) = (Vec::new(), Vec::new());
    for server in homeless {
        match first(server, last(server), &found) {
            Some(None) => {}
            Some(Some(ip)) if has(server, ip, &found) => {}
            Some(Some(ip)) => {
                let to = NamedAddress { ip: Some(ip), ..server.address().named().cloned().unwrap_or_default() };
                let (backend, server) = (config.backend(server.backend()).name().to_owned(), server.name().to_owned());
                moves.push(Move { backend, server, to, weight: None, by: String::new() });
            }
            None if server.ip().is_some() => {}
            None => {
                let host = server.address().named().and_then(NamedAddress::host).unwrap_or_default();
                let error = Diagnostic::error(server.address_location(), format!("`{host}` has no address now"));
                wrong.push(error.hint("init-addr with none at its end begins without one"));
            }
        }
    }
    if wrong.is_empty() { Ok(config.with_moves(&moves)) } else { Err(wrong.into()) }
}

/// Tells whether a server is at an address already, or at another one of its name.
fn has(server: &Server, ip: IpAddr, system: &HashMap<String, Vec<IpAddr>>) -> bool {
    let host = server.address().named().and_then(NamedAddress::host);
    let known = host.and_then(|host| system.get(host)).filter(|known| known.contains(&ip));
    server.ip().is_some_and(|own| own == ip || known.is_some_and(|known| known.contains(&own)))
}

/// Returns the first address of a server, or none where it may begin without one; nothing at all where it may not.
fn first(server: &Server, last: Option<IpAddr>, system: &HashMap<String, Vec<IpAddr>>) -> Option<Option<IpAddr>> {
    server.naming().init().iter().find_map(|place| match place {
        InitAddress::Last => last.map(Some),
        InitAddress::Ip(ip) => Some(Some(*ip)),
        InitAddress::None => Some(None),
        InitAddress::Libc => {
            let found = system.get(server.address().named()?.host()?)?;
            found.first().map(|ip| Some(*ip))
        }
    })
}

/// Asks the system for the names of those servers that leave it to it, all at once.
async fn of_system(servers: &[&Server], has_last: impl Fn(&Server) -> bool) -> HashMap<String, Vec<IpAddr>> {
    let asks = |server: &&&Server| {
        let earlier = |place: &&InitAddress| match place {
            InitAddress::Last => has_last(server),
            InitAddress::Libc | InitAddress::None | InitAddress::Ip(_) => true,
        };
        server.naming().init().iter().find(earlier) == Some(&InitAddress::Libc)
    };
    let mut names: Vec<String> =
        servers.iter().filter(asks).filter_map(|server| Some(server.address().named()?.host()?.to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    let mut lookups = JoinSet::new();
    for name in names {
        lookups.spawn(async move {
            let found = timeout(PATIENCE, lookup_host((name.as_str(), 0))).await;
            let found = found.ok().and_then(Result::ok).map(|found| found.map(|address| address.ip().to_canonical()).collect());
            (name, found.unwrap_or_default())
        });
    }
    lookups.join_all().await.into_iter().filter(|(_, found): &(String, Vec<IpAddr>)| !found.is_empty()).collect()
}

/// How long the system may take to find a name.
const PATIENCE: Duration = Duration::from_secs(20);
