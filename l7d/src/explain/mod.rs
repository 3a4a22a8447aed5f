//! Why traffic goes where it goes: a request that never was is taken through the rules, and every step is told.
//!
//! It is the engine itself that is asked, on a [`Site`] in force or on one made of a file for that purpose; an
//! [`Observer`] writes down what it finds. Nothing changes: no counter, no table, no turn of a server.

mod question;
mod report;

use std::net::SocketAddr;
use std::sync::Arc;

use control::config::{self, Mode};

use crate::balance::Seen;
use crate::message::head::{RequestHead, ResponseHead};
use crate::peer::Peer;
use crate::review::{Manner, Review, Ruling};
use crate::rules::{Content, Memory, Noted, Observer, ProxyRules, Rest, Scene, Shared, Verdict, View};
use crate::site::{Backend, Frontend, Outlook, Site};
use crate::stick::{Affinity, Hold, Pin};
use crate::tcp::with_request;
use question::Inquiry;
pub(crate) use question::Question;
pub(crate) use report::write_steps;

/// Everything that was found.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// What was asked, in one line.
    title: String,
    steps: Vec<Noted>,
    end: End,
}

/// What becomes of the traffic.
#[derive(Debug)]
enum End {
    /// A rule ended it.
    Ruled { status: Option<u16>, termination: &'static str },
    /// It is answered without a server.
    Shown(&'static str),
    /// Nobody serves it.
    NoBackend,
    /// A server gets it.
    Pool(Box<Pool>),
}

/// The choice among the servers of a pool.
#[derive(Debug)]
struct Pool {
    backend: String,
    balance: &'static str,
    key: Option<u32>,
    /// The place of the server that it belongs to, how firmly, and whether it is taken.
    pin: Option<(Pin, Kept)>,
    outlook: Outlook,
    servers: Vec<Machine>,
    /// What becomes of the response that was asked about.
    answer: Option<Answer>,
}

/// What becomes of a server's response.
#[derive(Debug)]
enum Answer {
    /// The client gets it so.
    Sent { status: u16, fields: Vec<String> },
    /// A rule put something in its place, or nothing.
    Ruled { status: Option<u16>, termination: &'static str },
}

/// Whether traffic goes to the server that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// A server, as far as the choice depends on it.
#[derive(Debug)]
struct Machine {
    name: String,
    address: String,
    active: u32,
    waiting: u32,
    most: Option<u32>,
}

/// Explains what becomes of a request.
///
/// # Errors
/// Says what of the question makes no sense.
pub(crate) async fn explain(site: &Site, question: &Question, certificate: Option<&[u8]>) -> Result<Explanation, String> {
    let door = question.door(site)?;
    let frontend: &Frontend = door.frontend();
    let inquiry = question.inquiry(door, certificate)?;
    let verification = frontend.rules().verification(&inquiry.head);
    let verified = match verification {
        Some(work) => work.run().await,
        None => Vec::new(),
    };
    Ok(follow(frontend, inquiry, verified))
}

/// Takes a request through everything that decides about it.
fn follow(frontend: &Frontend, inquiry: Inquiry, verified: Vec<(usize, bool)>) -> Explanation {
    let Inquiry { title, head, bytes, source, destination, tls, is_tls, host, response } = inquiry;
    let observer = Observer::new(frontend.rules().sources());
    let shared: Shared = frontend.rules().shared().copy();
    let mut memory = Memory::default();
    memory.tls = tls;
    memory.verify(verified);
    let scene = Scene {
        source: Some(source),
        destination: Some(destination),
        is_tls,
        observer: Some(&observer),
        site: Some(frontend),
        ..Scene::bare(Some(source), frontend.name(), &shared)
    };
    let way = Way { frontend, observer: &observer, client: source, response };
    let end = way.run(scene, &mut memory, head, (&bytes, host.as_deref()));
    drop(memory);
    Explanation { title, steps: observer.into_steps(), end }
}

/// The way through one frontend.
struct Way<'a> {
    frontend: &'a Frontend,
    observer: &'a Observer,
    client: SocketAddr,
    /// What the server answers, if that is asked about.
    response: Option<ResponseHead>,
}

/// What ends the way before there is a choice of servers.
type Stopped = Result<(), End>;

impl<'a> Way<'a> {
    fn run(&self, mut scene: Scene<'a>, memory: &mut Memory, head: RequestHead, (bytes, host): (&[u8], Option<&str>)) -> End {
        self.observer.enter(format!("frontend {}", self.frontend.name()));
        let rules = self.frontend.rules();
        let begun = stop(rules.on_connection(&mut scene, memory)).and_then(|()| stop(rules.on_session(&mut scene, memory)));
        let found = begun.and_then(|()| match self.frontend.mode() {
            Mode::Http => self.http(scene, memory, head),
            Mode::Tcp => self.tcp(scene, memory, (bytes, host)),
        });
        found.map_or_else(|end| end, |pool| End::Pool(Box::new(pool)))
    }

    fn http(&self, scene: Scene<'a>, memory: &mut Memory, mut head: RequestHead) -> Result<Pool, End> {
        let mut review = Review::of(self.frontend, scene, memory);
        review.begin(&head);
        if self.frontend.is_monitor(head.target()) {
            return Err(End::Shown(if review.health(&head) == 200 { "monitor-uri: 200" } else { "monitor-uri: 503" }));
        }
        inspect(&mut review, &head)?;
        while review.enter(&mut head)?.is_some() {}
        if self.frontend.entrance().is_some_and(|entrance| entrance.is_at(&head)) {
            review.admit(self.frontend.rules(), &mut head)?;
            return Err(End::Shown("the page of statistics"));
        }
        let backend = self.frontend.route(&review.view(&head)).ok_or(End::NoBackend)?;
        review.hand_over(backend, &head);
        inspect(&mut review, &head)?;
        while review.leave(&mut head)?.is_some() {}
        if backend.entrance().is_some_and(|entrance| entrance.is_at(&head)) {
            review.admit(backend.rules(), &mut head)?;
            return Err(End::Shown("the page of statistics"));
        }
        let directed = Affinity::directed(backend, review.persist(), &review.view(&head));
        let mut affinity = Affinity::of(backend, &mut head, review.persist(), directed);
        if backend.rules().sticks() {
            affinity.recall(backend, &review.view(&head));
        }
        let client = review.ends().0.unwrap_or(self.client);
        let key = backend.key(Seen { client: Peer::Inet(client), request: Some(&head), bytes: b"" });
        let mut pool = pool(backend, key, affinity.pin());
        if let (Some(response), Some(place)) = (&self.response, pool.chosen()) {
            review.serve(&backend.servers()[place]);
            pool.answer = Some(answered(&mut review, &head, response));
        }
        Ok(pool)
    }

    fn tcp(&self, mut scene: Scene<'a>, memory: &mut Memory, (bytes, host): (&[u8], Option<&str>)) -> Result<Pool, End> {
        self.frontend.rules().capture_request(None, memory);
        self.content(&mut scene, memory, (bytes, self.frontend.rules()))?;
        let named = self.frontend.names().zip(host).and_then(|(names, host)| names.backend(host));
        let backend: &'a Arc<Backend> = match named {
            Some(backend) => {
                self.observer.remark(format!("the name {} leads to backend {}", host.unwrap_or_default(), backend.name()));
                backend
            }
            None => {
                let (request, content) = with_request(bytes, Rest::Over, self.frontend.rules());
                let here = Scene { content: Some(&content), ..scene };
                let view = View { scene: &here, request: request.as_ref(), response: None, memory };
                self.frontend.route(&view).ok_or(End::NoBackend)?
            }
        };
        self.observer.enter(format!("backend {}", backend.name()));
        scene.backend = Some(backend.name());
        if !backend.is_twin_of(self.frontend) {
            self.content(&mut scene, memory, (bytes, backend.rules()))?;
        }
        let content = Content::new(bytes, Rest::Over);
        let here = Scene { content: Some(&content), ..scene };
        let affinity = Affinity::of_connection(backend, &View { scene: &here, request: None, response: None, memory });
        let client = Peer::Inet(scene.source.unwrap_or(self.client));
        Ok(pool(backend, backend.key(Seen { client, request: None, bytes }), affinity.pin()))
    }

    fn content(&self, scene: &mut Scene<'a>, memory: &mut Memory, (bytes, rules): (&[u8], &ProxyRules)) -> Stopped {
        let (request, content) = with_request(bytes, Rest::Over, rules);
        let mut here = Scene { content: Some(&content), ..*scene };
        let verdict = rules.on_content(&mut 0, request.as_ref(), &mut here, memory);
        (scene.source, scene.destination) = (here.source, here.destination);
        verdict.map_or(Ok(()), stop)
    }
}

/// Takes a server's response through the rules about it.
fn answered(review: &mut Review<'_>, head: &RequestHead, response: &ResponseHead) -> Answer {
    let mut response = response.clone();
    let mut go = || -> Result<(), End> {
        review.listen(head, &response, std::time::Duration::ZERO)?;
        while review.respond(head, &mut response)?.is_some() {}
        Ok(())
    };
    match go() {
        Err(End::Ruled { status, termination }) => Answer::Ruled { status, termination },
        Ok(()) | Err(End::Shown(_) | End::NoBackend | End::Pool(_)) => {
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let fields = response.headers.iter().map(|field| format!("{}: {}", shown(field.name), shown(field.value))).collect();
            Answer::Sent { status: response.status(), fields }
        }
    }
}

/// Takes a request through rules about content, which see all of it at once.
fn inspect(review: &mut Review<'_>, head: &RequestHead) -> Stopped {
    review.inspect(head, Rest::Over)?;
    Ok(())
}

impl From<Ruling> for End {
    fn from(ruling: Ruling) -> Self {
        let status = match ruling.manner {
            Manner::Held(_) => Some(200),
            Manner::AtOnce | Manner::Late(_) | Manner::Vanishing => ruling.reply.map(|reply| reply.status()),
        };
        Self::Ruled { status, termination: ruling.termination }
    }
}

/// Returns what a verdict about a connection comes to.
fn stop(verdict: Verdict) -> Stopped {
    match verdict {
        Verdict::Pass => Ok(()),
        Verdict::Wait(_)
        | Verdict::Answer(_)
        | Verdict::Held(_)
        | Verdict::Challenge(_)
        | Verdict::Deny(_)
        | Verdict::Tarpit(_)
        | Verdict::Close
        | Verdict::Cut
        | Verdict::Vanish
        | Verdict::Fail => Err(End::Ruled { status: None, termination: "PR" }),
    }
}

/// Shows where a server is; the port is missing where the client's is kept.
fn address(server: &config::Server) -> String {
    match (server.address(), server.ip(), server.port()) {
        (config::ServerAddress::Unix(unix), _, _) => unix.to_string(),
        (config::ServerAddress::Inet(..) | config::ServerAddress::Named(_), Some(ip), Some(port)) => SocketAddr::new(ip, port).to_string(),
        (config::ServerAddress::Inet(..) | config::ServerAddress::Named(_), Some(ip), None) => ip.to_string(),
        (config::ServerAddress::Inet(..) | config::ServerAddress::Named(_), None, _) => "-".to_owned(),
    }
}

/// Asks a pool whom it would choose.
fn pool(backend: &Backend, key: Option<u32>, pin: Option<Pin>) -> Pool {
    let machine = |server: &crate::site::Server| Machine {
        name: server.name().to_owned(),
        address: address(server.model()),
        active: server.load().active(),
        waiting: server.load().waiting(),
        most: server.model().maxconn(),
    };
    let kept = |pin: Pin| {
        let is_usable = pin.hold != Hold::WhileUp || backend.is_up(pin.place);
        let is_open = pin.hold == Hold::Always || backend.room(pin.place) != Some(crate::balance::Room::Shut);
        if is_usable && is_open { Kept::Yes } else { Kept::No }
    };
    Pool {
        backend: backend.name().to_owned(),
        balance: backend.balance_name(),
        key,
        pin: pin.map(|pin| (pin, kept(pin))),
        outlook: backend.outlook(key),
        servers: backend.servers().iter().map(machine).collect(),
        answer: None,
    }
}
