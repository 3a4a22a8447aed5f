//! Commands about servers.

use control::admin::{Call, Command, Reply, Urgency, servers};
use control::config::{ServerId, SocketLevel};
use control::fleet::View;
use control::server_state::{Admin, Checking};

use super::{Engine, later, now, pool};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    let read = [
        now("show servers state", "[<backend>]", "dump the states of servers", SocketLevel::User, |engine, call| {
            servers::states(&engine.fleet, call)
        }),
        now("show servers conn", "[<backend>]", "count the connections of servers", SocketLevel::User, connections),
        now("get weight", "<backend>/<server>", "tell the weight of a server", SocketLevel::User, |engine, call| {
            servers::with_server(&engine.fleet, call, |_, server| servers::weight(&engine.fleet, server))
        }),
    ];
    let admin = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Admin, run);
    let change = [
        later("set server", "<backend>/<server> [opts]", "change the state, weight or address of a server", |engine, call| {
            match call.word(1) {
                "addr" => engine.amend(call, pool::set_address),
                "fqdn" => engine.amend(call, pool::set_name),
                "check-addr" | "check-port" => engine.amend(call, pool::set_check_target),
                _ => Box::pin(std::future::ready(set(&engine, &call))),
            }
        }),
        admin("set weight", "<backend>/<server> <weight>[%]", "change the weight of a server", |engine, call| {
            servers::with_server(&engine.fleet, call, |view, server| servers::set_weight(&engine.fleet, view, server, call.word(1)))
        }),
        admin("enable server", "<backend>/<server>", "end the maintenance of a server", |engine, call| {
            set_admin(engine, call, Admin::Ready)
        }),
        admin("disable server", "<backend>/<server>", "take a server out", |engine, call| set_admin(engine, call, Admin::Maint)),
        admin("enable health", "<backend>/<server>", "let checks go on", |engine, call| set_checking(engine, call, Checking::On)),
        admin("disable health", "<backend>/<server>", "let checks rest", |engine, call| set_checking(engine, call, Checking::Resting)),
        admin("enable agent", "<backend>/<server>", "let agent checks go on", |engine, call| set_asking(engine, call, Checking::On)),
        admin("disable agent", "<backend>/<server>", "let agent checks rest", |engine, call| set_asking(engine, call, Checking::Resting)),
    ];
    read.into_iter().chain(change).collect()
}

fn set_admin(engine: &Engine, call: &Call, admin: Admin) -> Reply {
    servers::with_server(&engine.fleet, call, |view, server| servers::set_admin(&engine.fleet, view, server, admin))
}

fn set_checking(engine: &Engine, call: &Call, checking: Checking) -> Reply {
    servers::with_server(&engine.fleet, call, |view, server| servers::set_checking(&engine.fleet, view, server, checking))
}

fn set_asking(engine: &Engine, call: &Call, asking: Checking) -> Reply {
    servers::with_server(&engine.fleet, call, |view, server| servers::set_asking(&engine.fleet, view, server, asking))
}

fn has_agent(view: &View, server: ServerId) -> bool {
    view.config().server(server).agent().is_some()
}

fn set(engine: &Engine, call: &Call) -> Reply {
    servers::with_server(&engine.fleet, call, |view, server| {
        servers::set(&engine.fleet, view, server, call).unwrap_or_else(|| match call.word(1) {
            "agent-send" | "agent-addr" | "agent-port" if has_agent(view, server) => {
                Reply::error("where an agent is and what it is sent is changed by a reload.")
            }
            "agent-send" => Reply::error("agent checks are not enabled on this server."),
            "agent-addr" | "agent-port" => Reply::Message(Urgency::Error, "agent checks are not enabled on this server".to_owned()),
            "ssl" => Reply::error("'set server <srv> ssl' cannot be set.  default-server should define ssl settings"),
            _ => Reply::error(
                "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | check-port | \
                 fqdn | health | ssl | state | weight",
            ),
        })
    })
}

fn connections(engine: &Engine, call: &Call) -> Reply {
    let (site, snapshot, wanted) = (engine.site(), engine.fleet.snapshot(), call.word(0));
    if !wanted.is_empty() && !site.backends().iter().any(|backend| backend.name() == wanted) {
        return Reply::error("Can't find backend.");
    }
    let threads = site.threads();
    let mut text = format!(
        "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb idle_lim idle_cur idle_per_thr[{threads}]\n"
    );
    for backend in site.backends().iter().filter(|backend| wanted.is_empty() || backend.name() == wanted) {
        let number = servers::backend_number(&snapshot, snapshot.config.backend(backend.id()));
        for server in backend.servers() {
            let address = server.model().ip().map_or_else(|| "-".to_owned(), |ip| ip.to_string());
            let (port, used, most) = (server.model().port().unwrap_or(0), server.load().active(), server.meter().most());
            let idle = vec!["0"; threads].join(" ");
            let (name, own) = (format!("{}/{}", backend.name(), server.name()), server.model().number());
            text.push_str(&format!("{name} {number}/{own} {address} {port} - 5000 {used} {most} {used} 0 0 -1 0 {idle}\n"));
        }
    }
    Reply::Output(text)
}
