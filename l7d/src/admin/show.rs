//! Commands that only look.

use control::admin::{self, Call, Command, Reply, Urgency};
use control::config::SocketLevel;

use super::{Engine, now};
use crate::stats::{Depth, Detail, Form, Health, Scope, Wanted};
use crate::version;

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    use SocketLevel::{Operator, User};
    vec![
        now("show info", "[desc|json|typed]*", "report on the process", User, info),
        now("show stat", "[<proxy> <kinds> <server>] [json|no-maint|typed|up]*", "report on frontends, backends and servers", User, stat),
        now("show backend", "", "list the backends", User, backend),
        now("show cache", "", "list the caches and what they hold", User, cache),
        now("show health", "[all]", "tell which limits are near, or all of them", User, health),
        now("show version", "", "tell the version", User, |_, _| Reply::Output(format!("{}\n", version::full()))),
        now("show resolvers", "[<section>]", "count what servers of the DNS were asked and said", User, |engine, call| {
            engine.names.show(call.word(0)).map_or_else(|| Reply::error("Can't find that resolvers section"), Reply::Output)
        }),
        now("show env", "[<name>]", "list the variables of the environment", Operator, |_, call| admin::environment(call)),
        now("get var", "<name>", "tell a variable of the process", User, variable),
        now("show cli sockets", "", "list the sockets of this interface", Operator, sockets),
    ]
}

fn info(engine: &Engine, call: &Call) -> Reply {
    let has = |word: &str| call.arguments.iter().any(|argument| argument == word);
    let detail = if has("desc") { Detail::Described } else { Detail::Plain };
    Reply::Output(engine.stats.info(detail, form(call)))
}

fn variable(engine: &Engine, call: &Call) -> Reply {
    let name = call.word(0);
    if name.is_empty() {
        return Reply::error("Missing process-wide variable identifier.");
    }
    match engine.site().rules().shown_variable(name) {
        Some((kind, value)) => Reply::Message(Urgency::Info, format!("{name}: type={kind} value=<{}>", value.escape_ascii())),
        None => Reply::error("Variable not found."),
    }
}

fn health(engine: &Engine, call: &Call) -> Reply {
    match call.word(0) {
        "" => Reply::Output(engine.stats.health(Depth::Worrying)),
        "all" => Reply::Output(engine.stats.health(Depth::Everything)),
        other => Reply::error(format!("'show health' takes 'all', or nothing, and not '{other}'.")),
    }
}

fn form(call: &Call) -> Form {
    let form = call.arguments.iter().find_map(|word| match word.as_str() {
        "typed" => Some(Form::Typed),
        "json" => Some(Form::Json),
        _ => None,
    });
    form.unwrap_or(Form::Table)
}

fn stat(engine: &Engine, call: &Call) -> Reply {
    let mut scope = Scope::default();
    if let [proxy, kinds, server, ..] = call.arguments.as_slice() {
        scope.proxy = match proxy.parse::<i64>() {
            Ok(number) => u64::try_from(number).ok().map(Wanted::Number),
            Err(_) => Some(Wanted::Name(proxy.clone())),
        };
        // As in HAProxy, -1 is every kind and every server.
        scope.kinds = kinds.parse::<i64>().ok().and_then(|kinds| u8::try_from(kinds).ok());
        scope.server = server.parse::<i64>().ok().and_then(|server| u64::try_from(server).ok());
    }
    if let Some(Wanted::Name(name)) = &scope.proxy {
        let site = engine.site();
        let is_known = site.frontends().any(|frontend| frontend.name() == name) || site.backends().iter().any(|one| one.name() == name);
        if !is_known {
            return Reply::error("No such proxy.");
        }
    }
    for word in &call.arguments {
        match word.as_str() {
            "up" => scope.health = Health::Up,
            "no-maint" => scope.health = Health::NotInMaintenance,
            _ => {}
        }
    }
    Reply::Output(engine.stats.rows(&scope, form(call)))
}

fn cache(engine: &Engine, _: &Call) -> Reply {
    let mut text = String::new();
    engine.site().rules().caches().iter().for_each(|cache| cache.show(&mut text));
    Reply::Output(text)
}

fn backend(engine: &Engine, _: &Call) -> Reply {
    let names: String = engine.site().backends().iter().map(|backend| format!("{}\n", backend.name())).collect();
    Reply::Output(format!("# name\n{names}"))
}

fn sockets(engine: &Engine, _: &Call) -> Reply {
    let lines = engine.sockets().into_iter().map(|(address, level)| {
        let level = match level {
            SocketLevel::User => "user",
            SocketLevel::Operator => "operator",
            SocketLevel::Admin => "admin",
        };
        format!("{address} {level} all\n")
    });
    Reply::Output(format!("# socket lvl processes\n{}", lines.collect::<String>()))
}
