//! Commands that only look.

use std::fmt::Write as _;

use control::{
    admin::{self, Call, Command, Reply},
    config::SocketLevel,
};

use super::{Desk, now, stat};
use crate::flows;

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Desk>> {
    use SocketLevel::{Operator, User};
    vec![
        now("show info", "", "report on the process and the data plane", User, |desk, _| info(desk)),
        now("show stat", "[<proxy> <kinds> <server>] [no-maint|up]*", "report on frontends, backends and servers", User, |desk, call| {
            stat::rows(desk, call)
        }),
        now("show backend", "", "list the backends", User, |desk, _| backends(desk)),
        now("show version", "", "tell the version", User, |_, _| Reply::Output(format!("l4d {}\n", env!("CARGO_PKG_VERSION")))),
        now("show env", "[<name>]", "list the variables of the environment", Operator, |_, call: &Call| admin::environment(call)),
    ]
}

fn info(desk: &Desk) -> Reply {
    desk.with_kernel(|kernel| {
        let uptime = desk.started.elapsed().as_secs();
        let maps = kernel.datapath.maps();
        let live: u64 = flows::count(maps.flow_words(), maps.nat_entries(), flows::now()).values().sum();
        let (days, hours, minutes, seconds) = (uptime / 86_400, uptime / 3600 % 24, uptime / 60 % 60, uptime % 60);
        let guard = &kernel.wanted.guard;
        let mut text = String::new();
        let _ = write!(
            text,
            "Name: l4d\nVersion: {}\nPid: {}\nUptime: {days}d {hours}h{minutes:02}m{seconds:02}s\nUptime_sec: {uptime}\nCurrConns: {live}\n\
             Services: {}\nServers: {}\nGuardPrefixes: {}\nGuardPrefixesByCommand: {}\n",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            kernel.tables.services().count(),
            kernel.tables.servers.len(),
            guard.prefixes.len(),
            kernel.commanded.len(),
        );
        let Ok(reasons) = maps.reasons() else { return Reply::error("The counters cannot be read.") };
        for (reason, count) in reasons {
            let _ = writeln!(text, "Packets_{}: {count}", reason.name());
        }
        Reply::Output(text)
    })
}

/// Lists the backends that the kernel tier serves.
fn backends(desk: &Desk) -> Reply {
    let config = desk.fleet.config();
    let names: String = stat::backends(&config).into_iter().map(|backend| format!("{}\n", config.backend(backend).name())).collect();
    Reply::Output(format!("# name\n{names}"))
}
