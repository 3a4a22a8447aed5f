//! Commands about peers.

use control::admin::{Call, Command, Reply};
use control::config::SocketLevel;

use super::{Engine, now};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![now(
        "show peers",
        "[dict|-] [<section>]",
        "tell who shares tables with this process, and how far that has come",
        SocketLevel::Operator,
        show,
    )]
}

fn show(engine: &Engine, call: &Call) -> Reply {
    let name = match call.word(0) {
        "dict" | "-" => call.word(1),
        name => name,
    };
    engine.peers.show(Some(name).filter(|name| !name.is_empty())).map_or_else(|| Reply::error("No such peers"), Reply::Output)
}
