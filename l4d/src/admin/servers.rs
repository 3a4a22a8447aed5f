//! Commands about servers.

use control::{
    admin::{Call, Command, Reply, servers},
    config::{ServerId, SocketLevel},
    fleet::View,
    server_state::{Admin, Checking},
};

use super::{Desk, now};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Desk>> {
    let admin = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Admin, run);
    vec![
        now("show servers state", "[<backend>]", "dump the states of servers", SocketLevel::User, |desk, call| {
            servers::states(&desk.fleet, call)
        }),
        now("show resolvers", "[<section>]", "count what servers of the DNS were asked and said", SocketLevel::User, |desk, call| {
            desk.names.show(call.word(0)).map_or_else(|| Reply::error("Can't find that resolvers section"), Reply::Output)
        }),
        now("get weight", "<backend>/<server>", "tell the weight of a server", SocketLevel::User, |desk, call| {
            servers::with_server(&desk.fleet, call, |_, server| servers::weight(&desk.fleet, server))
        }),
        admin("set server", "<backend>/<server> [opts]", "change the state, weight or health of a server", |desk, call| {
            change(desk, call, |view, server| servers::set(&desk.fleet, view, server, call).unwrap_or_else(usage))
        }),
        admin("set weight", "<backend>/<server> <weight>[%]", "change the weight of a server", |desk, call| {
            change(desk, call, |view, server| servers::set_weight(&desk.fleet, view, server, call.word(1)))
        }),
        admin("enable server", "<backend>/<server>", "end the maintenance of a server", |desk, call| {
            change(desk, call, |view, server| servers::set_admin(&desk.fleet, view, server, Admin::Ready))
        }),
        admin("disable server", "<backend>/<server>", "take a server out", |desk, call| {
            change(desk, call, |view, server| servers::set_admin(&desk.fleet, view, server, Admin::Maint))
        }),
        admin("enable health", "<backend>/<server>", "let checks go on", |desk, call| {
            change(desk, call, |view, server| servers::set_checking(&desk.fleet, view, server, Checking::On))
        }),
        admin("disable health", "<backend>/<server>", "let checks rest", |desk, call| {
            change(desk, call, |view, server| servers::set_checking(&desk.fleet, view, server, Checking::Resting))
        }),
    ]
}

/// Changes a server, and has the maps follow before that is answered.
fn change(desk: &Desk, call: &Call, change: impl FnOnce(&View, ServerId) -> Reply) -> Reply {
    let reply = servers::with_server(&desk.fleet, call, change);
    desk.reconcile();
    reply
}

fn usage() -> Reply {
    Reply::error("usage: set server <backend>/<server> health | state | weight")
}
