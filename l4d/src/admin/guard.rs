//! Commands about prefixes: denied or allowed by hand, for a time or until they are deleted.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use control::{
    admin::{Call, Command, Reply},
    config::{self, SocketLevel},
};
use xdp_common::{
    guard::{Origin, Rule, Ruling},
    limits::COMMANDED_PREFIXES,
};

use super::{Desk, now};
use crate::{app::seconds_now, kernel::Kernel, plan};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Desk>> {
    let change = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Admin, run);
    let show = |words, help, run| now(words, "", help, SocketLevel::User, run);
    vec![
        change("deny add", "<prefix> [for <time>]", "drop what a prefix sends to services", |desk, call| add(desk, call, Ruling::Deny)),
        change("deny del", "<prefix>", "end what a command denied", |desk, call| delete(desk, call, Ruling::Deny)),
        show("deny show", "list the denied prefixes", |desk, _| list(desk, Ruling::Deny)),
        change("allow add", "<prefix> [for <time>]", "neither drop nor slow down a prefix", |desk, call| add(desk, call, Ruling::Allow)),
        change("allow del", "<prefix>", "end what a command allowed", |desk, call| delete(desk, call, Ruling::Allow)),
        show("allow show", "list the allowed prefixes", |desk, _| list(desk, Ruling::Allow)),
    ]
}

/// Adds a rule, or gives one that a command made another end.
fn add(desk: &Desk, call: &Call, ruling: Ruling) -> Reply {
    let prefix = match config::prefix(call.word(0)) {
        Ok(prefix) => prefix,
        Err(mistake) => return Reply::error(mistake),
    };
    let until = match (call.word(1), call.word(2), call.arguments.len()) {
        ("", _, _) => 0,
        ("for", time, 3) => match config::duration(time) {
            Ok(time) if time >= Duration::from_secs(1) => seconds_now().saturating_add(time.as_secs()),
            Ok(_) => return Reply::error("A rule lasts a second at least."),
            Err(mistake) => return Reply::error(mistake),
        },
        _ => return Reply::error("Expects a prefix, and perhaps 'for' and a time such as 10m."),
    };
    let (key, rule) = (plan::prefix_key(&prefix), Rule { ruling, origin: Origin::Command { until } });
    let reply = desk.with_kernel(|kernel| match refusal(kernel, key, ruling) {
        Some(reason) => Reply::error(reason),
        None => {
            kernel.commanded.insert(key, rule);
            Reply::Done
        }
    });
    desk.reconcile();
    reply
}

/// Says what speaks against a rule.
fn refusal(kernel: &Kernel, key: (IpAddr, u8), ruling: Ruling) -> Option<String> {
    if !kernel.commanded.contains_key(&key) && kernel.commanded.len() >= COMMANDED_PREFIXES as usize {
        return Some(format!("There are {COMMANDED_PREFIXES} prefixes by command already, which is the most there can be."));
    }
    let file = &kernel.written.prefixes;
    let trusted = file.iter().find(|(held, rule)| rule.ruling == Ruling::Allow && plan::holds(**held, key));
    trusted.filter(|_| ruling == Ruling::Deny).map(|(held, _)| format!("The file allows {}.", shown(*held)))
}

fn delete(desk: &Desk, call: &Call, ruling: Ruling) -> Reply {
    let prefix = match config::prefix(call.word(0)) {
        Ok(prefix) => prefix,
        Err(mistake) => return Reply::error(mistake),
    };
    let key = plan::prefix_key(&prefix);
    let reply = desk.with_kernel(|kernel| match kernel.commanded.get(&key) {
        Some(rule) if rule.ruling == ruling => {
            kernel.commanded.remove(&key);
            Reply::Done
        }
        _ if kernel.written.prefixes.get(&key).is_some_and(|rule| rule.ruling == ruling) => {
            Reply::error("That is in the file, where it can be deleted.")
        }
        _ => Reply::error("No such prefix."),
    });
    desk.reconcile();
    reply
}

fn list(desk: &Desk, ruling: Ruling) -> Reply {
    desk.with_kernel(|kernel| {
        let mut text = String::from("# prefix origin expires\n");
        for (key, rule) in kernel.wanted.guard.prefixes.iter().filter(|(_, rule)| rule.ruling == ruling) {
            let (origin, expires) = match rule.origin {
                Origin::File => ("file", "-".to_owned()),
                Origin::Command { until: 0 } => ("command", "never".to_owned()),
                Origin::Command { until } => ("command", format!("{}s", until.saturating_sub(seconds_now()))),
            };
            let _ = writeln!(text, "{} {origin} {expires}", shown(*key));
        }
        Reply::Output(text)
    })
}

/// Shows a prefix as it is written.
fn shown((address, length): (IpAddr, u8)) -> String {
    format!("{address}/{}", if address.is_ipv4() { length.saturating_sub(96) } else { length })
}
