//! Commands about what is under way.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use control::admin::{Answering, Call, Command, Reply, Run, servers};
use control::config::{Mode, SocketLevel};
use tokio::sync::{mpsc, oneshot};

use super::{Engine, later};
use crate::date;
use crate::peer::Peer;
use crate::sessions::{Cause, Mark, Session, Which};
use crate::site::{Backend, Frontend, Server, Site};
use crate::stats;
use crate::worker::Order;

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    let (words, help) = ("show sess", "list what is under way, or tell more of one session or all");
    vec![
        Command { words, arguments: "[<id>|all]", help, level: SocketLevel::Operator, run: Run::Later(show) },
        later("shutdown session", "<id>", "end a session at once", |engine, call| Box::pin(end_one(engine, call))),
        later("shutdown sessions server", "<bk>/<srv>", "end all sessions with a server at once", |engine, call| {
            Box::pin(end_of_server(engine, call))
        }),
    ]
}

fn show(engine: Engine, call: Call) -> Answering {
    Box::pin(async move {
        let mut all = engine.ask_workers(Order::List).await;
        all.sort_by_key(|session| session.began);
        let (site, mut text) = (engine.site(), String::new());
        match call.word(0) {
            "" => all.iter().for_each(|session| line(&mut text, &site, session)),
            "all" => all.iter().for_each(|session| detail(&mut text, &site, session)),
            id => match number(id).and_then(|id| all.iter().find(|session| session.id == id)) {
                Some(session) => detail(&mut text, &site, session),
                None => return Reply::error("Session not found."),
            },
        }
        Reply::Output(text)
    })
}

async fn end_one(engine: Engine, call: Call) -> Reply {
    if call.word(0).is_empty() {
        return Reply::error("Session pointer expected (use 'show sess').");
    }
    let ended = match number(call.word(0)) {
        Some(id) => engine.end_sessions(Which::One(id), Cause::Killed).await,
        None => 0,
    };
    if ended == 0 { Reply::error("No such session (use 'show sess').") } else { Reply::Done }
}

async fn end_of_server(engine: Engine, call: Call) -> Reply {
    if let Err(reply) = servers::find(&engine.fleet.view(), call.word(0)) {
        return reply;
    }
    let site = engine.site();
    let server = call.word(0).split_once('/').and_then(|(backend, server)| {
        let pool = site.backends().iter().find(|pool| pool.name() == backend)?;
        pool.servers().iter().find(|machine| machine.name() == server)
    });
    if let Some(server) = server {
        engine.end_sessions(Which::OfServer(Mark::of(server.meter())), Cause::Killed).await;
    }
    Reply::Done
}

/// Reads the id of a session.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

impl Engine {
    /// Tells every worker the same, and returns all that they answer.
    pub(super) async fn ask_workers<T>(&self, order: impl Fn(oneshot::Sender<Vec<T>>) -> Order) -> Vec<T> {
        let mut all = Vec::new();
        for worker in self.workers.iter().filter_map(mpsc::WeakSender::upgrade) {
            let (answer, answered) = oneshot::channel();
            if worker.send(order(answer)).await.is_ok() {
                all.extend(answered.await.unwrap_or_default());
            }
        }
        all
    }

    /// Ends sessions as administrators want by the page of statistics, for as long as it is polled.
    pub(crate) async fn end_as_told(self, mut told: mpsc::Receiver<Which>) {
        while let Some(which) = told.recv().await {
            self.end_sessions(which, Cause::Killed).await;
        }
    }

    /// Ends sessions, and tells how many that were.
    pub(crate) async fn end_sessions(&self, which: Which, cause: Cause) -> usize {
        self.ask_workers(|answer| Order::End((which, cause), answer)).await.len()
    }
}

/// What a session has to do with, as far as it is still there.
struct Parts<'s> {
    frontend: Option<&'s Frontend>,
    backend: Option<(usize, &'s Backend)>,
    server: Option<&'s Server>,
}

impl<'s> Parts<'s> {
    fn of(site: &'s Site, session: &Session) -> Self {
        let frontend = site.frontends().find(|frontend| Mark::of(frontend.meter()) == session.frontend);
        let pools = || site.backends().iter().enumerate();
        let backend = session.backend.and_then(|mark| pools().find(|(_, pool)| Mark::of(pool.meter()) == mark));
        let server =
            session.server.zip(backend).and_then(|(mark, (_, pool))| pool.servers().iter().find(|server| Mark::of(server.meter()) == mark));
        Self { frontend, backend: backend.map(|(place, pool)| (place, &**pool)), server }
    }
}

fn protocol(client: Peer) -> &'static str {
    match client {
        Peer::Inet(address) if address.is_ipv4() => "tcpv4",
        Peer::Inet(_) => "tcpv6",
        Peer::Unix(_) => "unix_stream",
    }
}

fn line(text: &mut String, site: &Site, session: &Session) {
    let Parts { frontend, backend, server } = Parts::of(site, session);
    let (front, back) = (frontend.map_or("<NONE>", Frontend::name), backend.map_or("<NONE>", |(_, backend)| backend.name()));
    let server = server.map_or("<none>", Server::name);
    let (proto, age) = (protocol(session.client), age(session.began.elapsed()));
    let _ = writeln!(text, "{:#x}: proto={proto} src={} fe={front} be={back} srv={server} age={age}", session.id, session.client);
}

fn detail(text: &mut String, site: &Site, session: &Session) {
    let Parts { frontend, backend, server } = Parts::of(site, session);
    let began = SystemTime::now().checked_sub(session.began.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut write = |line: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(line);
    };
    write(format_args!("{:#x}: [{}] id={}", session.id, date::Common(began), session.id & 0xffff_ffff));
    write(format_args!(" proto={} source={}\n", protocol(session.client), session.client));
    match frontend {
        Some(frontend) => write(format_args!("  frontend={} (mode={})\n", frontend.name(), mode(frontend.mode()))),
        None => write(format_args!("  frontend=<NONE>\n")),
    }
    match backend {
        Some((place, backend)) => {
            let id = site.frontends().count() + place + 2;
            write(format_args!("  backend={} (id={id} mode={})\n", backend.name(), mode(backend.mode())));
        }
        None => write(format_args!("  backend=<NONE> (id=-1 mode=-)\n")),
    }
    match server {
        Some(server) => {
            let (id, address) = (server.model().number(), stats::address(server.model()));
            write(format_args!("  server={} (id={id}) addr={address}\n", server.name()));
        }
        None => write(format_args!("  server=<NONE> (id=-1)\n")),
    }
    write(format_args!("  age={}\n", age(session.began.elapsed())));
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Http => "http",
        Mode::Tcp => "tcp",
    }
}

/// Writes a time in the two largest of its units, as HAProxy does.
fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(seconds / 86400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    units[first..].iter().take(2).map(|(count, unit)| format!("{count}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        let cases = [(0, "0s"), (59, "59s"), (61, "1m1s"), (3600, "1h0m"), (90_061, "1d1h")];
        for (seconds, text) in cases {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
