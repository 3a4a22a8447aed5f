//! Commands about limits.

use control::admin::{Call, Command, Reply};
use control::config::Config;
use rustix::process::{Resource, getrlimit};

use super::pool::{self, Outcome};
use super::{Engine, later};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![
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
