//! Commands about limits.

use control::admin::{Call, Command, Reply};
use control::config::{Config, SocketLevel};
use rustix::process::{Resource, getrlimit};

use super::pool::{self, Outcome};
use super::{Engine, later, now};
use crate::pace;
use crate::stats::Extent;

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![
        now("set rate-limit", "<setting> <value>", "change how fast connections are taken", SocketLevel::Admin, set_pace),
        now("clear counters", "[all]", "forget the highest numbers, or all", SocketLevel::Operator, clear),
        later("set maxconn frontend", "<frontend> <value>", "change how many connections a frontend serves", |engine, call| {
            engine.amend(call, of_frontend)
        }),
        later("set maxconn server", "<bk>/<srv> <value>", "change how many connections a server takes", |engine, call| {
            engine.amend(call, pool::set_maxconn)
        }),
        later("set maxconn global", "<value>", "change how many connections the process serves", |engine, call| {
            engine.amend(call, of_process)
        }),
    ]
}

fn set_pace(_: &Engine, call: &Call) -> Reply {
    let pace = match (call.word(0), call.word(1)) {
        ("connections", "global") => &pace::CONNECTIONS,
        ("sessions", "global") => &pace::SESSIONS,
        ("ssl-sessions", "global") => &pace::HANDSHAKES,
        ("http-compression", "global") => return Reply::error("'set rate-limit http-compression' is not supported: it is not limited."),
        _ => return Reply::error(PACES),
    };
    if call.word(2).is_empty() {
        return Reply::error("Expects an integer value.");
    }
    let Ok(most) = call.word(2).parse::<i64>() else { return Reply::error("Expects an integer value.") };
    let Ok(most) = most.try_into() else { return Reply::error("Value out of range.") };
    pace.set(most);
    Reply::Done
}

fn clear(engine: &Engine, call: &Call) -> Reply {
    match (call.word(0), call.rights.level) {
        ("all", SocketLevel::Admin) => engine.stats.forget(Extent::All),
        ("all", _) => return Reply::error("Permission denied"),
        _ => engine.stats.forget(Extent::Highs),
    }
    Reply::Done
}

const PACES: &str = "'set rate-limit' only supports :
   - 'connections global' to set the per-process maximum connection rate
   - 'sessions global' to set the per-process maximum session rate
   - 'ssl-sessions global' to set the per-process maximum SSL session rate
   - 'http-compression global' to set the per-process maximum compression speed in kB/s";

fn of_frontend(_: &Engine, config: &Config, call: &Call) -> Outcome {
    if call.word(0).is_empty() {
        return Err(Reply::error("A frontend name is expected."));
    }
    let frontend = config.frontends().iter().find(|frontend| frontend.name() == call.word(0));
    let frontend = frontend.ok_or_else(|| Reply::error("No such frontend."))?;
    let most: u32 = call.word(1).parse().map_err(|_| Reply::error("Integer value expected."))?;
    Ok((config.with_frontend_maxconn(frontend.id(), Some(most).filter(|most| *most > 0)), Reply::Done))
}

fn of_process(_: &Engine, config: &Config, call: &Call) -> Outcome {
    let most: u32 = call.word(0).parse().map_err(|_| Reply::error("Expects an integer value."))?;
    // A connection takes a descriptor at least.
    if getrlimit(Resource::Nofile).current.is_some_and(|descriptors| u64::from(most) > descriptors) {
        return Err(Reply::error("Value out of range."));
    }
    Ok((config.with_maxconn(Some(most).filter(|most| *most > 0)), Reply::Done))
}
