//! What the rules make of one exchange: the frontend's and the backend's, in the order a request and its response meet them.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use control::config::{NamePolicy, Timeout};

use crate::cache::{Hit, Keep};
use crate::compress::{Coding, Settings};
use crate::downstream::Downstream;
use crate::exchange::Turn;
use crate::flow::{Audience, Meters};
use crate::message::head::{RequestHead, ResponseHead};
use crate::queue::Priority;
use crate::reply::Reply;
use crate::rules::{
    Content, Lookup, Memory, Observer, Pause, ProxyRules, Repetition, Rest, Scene, ServerLine, Verdict, Verification, View, Wait, Wishes,
};
use crate::session;
use crate::site::{Backend, Frontend, Server};
use crate::stick::{Affinity, Event, Persist};
use crate::tls::Session;
use crate::tunnel::Carriage;

/// One exchange as the rules see it.
#[derive(Debug)]
pub(crate) struct Review<'a> {
    frontend: &'a Frontend,
    backend: Option<&'a Backend>,
    persist: Option<Persist>,
    scene: Scene<'a>,
    memory: &'a mut Memory,
    /// The rule that is next, of those that wait for something.
    next: usize,
    /// Whose rules have the response.
    judge: Judge,
}

/// Whose rules are next to have a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Judge {
    /// There is no response yet.
    Unknown,
    Backend,
    Frontend,
    Nobody,
}

/// How a rule ended an exchange.
#[derive(Debug)]
pub(crate) struct Ruling {
    /// The answer the client gets; none if it gets none.
    pub(crate) reply: Option<Reply>,
    /// Who ended the exchange and in which phase, in HAProxy's letters.
    pub(crate) termination: &'static str,
    /// How it is carried out.
    pub(crate) manner: Manner,
}

/// How a ruling is carried out.
#[derive(Debug)]
pub(crate) enum Manner {
    /// Without delay.
    AtOnce,
    /// After so long.
    Late(Duration),
    /// In a way that the client never hears of the end of its connection.
    Vanishing,
    /// By the answer of a cache.
    Held(Box<Hit>),
}

/// Which message a rule was about.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Request,
    /// The response, before it is known as one.
    Answer,
    Response,
}

impl<'a> Review<'a> {
    /// Begins the review of a client's request.
    pub(crate) fn new(client: &Downstream<'_>, frontend: &'a Frontend, turn: Turn, memory: &'a mut Memory) -> Self {
        Self::of(frontend, scene(client, frontend, turn), memory)
    }

    /// Begins the review of a request in a scene.
    pub(crate) fn of(frontend: &'a Frontend, scene: Scene<'a>, memory: &'a mut Memory) -> Self {
        Self { frontend, backend: None, persist: None, scene, memory, next: 0, judge: Judge::Unknown }
    }

    /// Notes that the request has come.
    pub(crate) fn begin(&mut self, head: &RequestHead) {
        self.frontend.rules().capture_request(Some(head), self.memory);
        if self.memory.is_tracking() {
            self.memory.note(|record| record.count(Event::Request));
        }
    }

    /// Has an observer told from now on what rules are asked.
    pub(crate) fn observe(&mut self, observer: &'a Observer) {
        self.scene.observer = Some(observer);
        observer.enter(format!("frontend {}", self.frontend.name()));
    }

    /// Tells an observer whose rules are next.
    fn mark(&self, name: impl FnOnce() -> String) {
        if let Some(observer) = self.scene.observer {
            observer.enter(name());
        }
    }

    /// Takes the request through the rules about content of the proxy that has it; returns for how long they want to wait before they are
    /// asked once more, for the last time.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn inspect(&mut self, head: &RequestHead, rest: Rest) -> Result<Option<Duration>, Ruling> {
        let rules: &ProxyRules = match (self.backend, self.other_half()) {
            (None, _) => self.frontend.rules(),
            (Some(_), Some(backend)) => backend.rules(),
            (Some(_), None) => return Ok(None),
        };
        if !rules.concerns_content() {
            return Ok(None);
        }
        let delay = rules.inspect_delay().filter(|_| rest == Rest::Expected);
        let content = Content::of_request(if delay.is_some() { Rest::Expected } else { Rest::Over });
        let mut scene = Scene { content: Some(&content), ..self.scene };
        let verdict = rules.on_content(&mut self.next, Some(head), &mut scene, self.memory);
        (self.scene.source, self.scene.destination) = (scene.source, scene.destination);
        match verdict {
            None => Ok(delay),
            Some(verdict) => {
                self.next = 0;
                self.judge(verdict, Phase::Request, head).map(|()| None)
            }
        }
    }

    /// Takes an answer of our own through the rules about all answers.
    pub(crate) fn polish(&mut self, request: Option<&RequestHead>, reply: &mut Reply) {
        let proxies = [self.other_half().map(Backend::rules), Some(self.frontend.rules())];
        for rules in proxies.into_iter().flatten().filter(|rules| rules.concerns_answers()) {
            reply.revise(|head| {
                // What cannot be put into an answer is left out of it.
                let _ = rules.after_response(request, head, &mut self.scene, self.memory);
            });
        }
    }

    /// Takes the request through the frontend's rules; returns how much of its body they want to see before they go on.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn enter(&mut self, head: &mut RequestHead) -> Result<Option<Pause>, Ruling> {
        let verdict = self.frontend.rules().on_request(&mut self.next, head, &mut self.scene, self.memory);
        if let Verdict::Wait(wait) = verdict {
            return Ok(Some(wait));
        }
        self.judge(verdict, Phase::Request, head)?;
        self.restrict(self.frontend.name_policy(), head).map(|()| None)
    }

    /// Takes in the address that a rule has waited for.
    pub(crate) fn found(&mut self, lookup: &Lookup, ip: IpAddr) {
        self.memory.found(self.scene.shared, lookup, ip);
    }

    /// Takes in that the client has completed its handshake.
    pub(crate) fn shaken(&mut self) {
        self.memory.is_early = false;
    }

    /// Tells whether any rule looks at bodies.
    pub(crate) fn looks_at_bodies(&self) -> bool {
        self.frontend.rules().looks_at_bodies()
    }

    /// Returns where rules say that the client is, and where it has connected to.
    pub(crate) fn ends(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        (self.scene.source, self.scene.destination)
    }

    /// Notes the TLS of the connection to the server, if rules want to know.
    pub(crate) fn connected(&mut self, find: impl FnOnce() -> Option<Rc<Session>>) {
        if self.frontend.rules().asks_server_tls() {
            self.memory.server_tls = find();
        }
    }

    /// Notes the connection to the server itself, if rules want to know.
    pub(crate) fn reached(&mut self, find: impl FnOnce() -> ServerLine) {
        if self.frontend.rules().asks_server_line() {
            self.memory.server_line = Some(find());
        }
    }

    /// Notes which server is asked.
    pub(crate) fn serve(&mut self, server: &'a Server) {
        self.scene.server = Some(server.name());
    }

    /// Returns what rules want of the way to the server.
    pub(crate) fn wishes(&self) -> Wishes {
        self.memory.wishes
    }

    /// Takes the interim responses that rules have for the client.
    pub(crate) fn take_hints(&mut self) -> Vec<u8> {
        self.memory.take_hints()
    }

    /// Tells the server the name of the exchange, if it is to know.
    pub(crate) fn name(&self, head: &mut RequestHead) {
        let Some(field) = self.frontend.rules().unique_header() else { return };
        if let Some(name) = self.view(head).unique_id() {
            // A name that cannot stand in a field is not told.
            let _ = head.headers.append(field, &name);
        }
    }

    /// Keeps what is asked for of the cookies of the request.
    pub(crate) fn note_cookies(&mut self, head: &RequestHead) {
        self.frontend.rules().capture_cookie(head, self.memory);
    }

    /// Returns what rules that choose may look at.
    pub(crate) fn view<'v>(&'v self, head: &'v RequestHead) -> View<'v> {
        View { scene: &self.scene, request: Some(head), response: None, memory: self.memory }
    }

    /// Returns what a line about a response may look at.
    pub(crate) fn view_of_response<'v>(&'v self, request: &'v RequestHead, head: &'v ResponseHead) -> View<'v> {
        View { scene: &self.scene, request: Some(request), response: Some(head), memory: self.memory }
    }

    /// Returns the status of the answer to whoever asks whether we are there.
    pub(crate) fn health(&self, head: &RequestHead) -> u16 {
        if self.frontend.rules().fails_monitor(&self.view(head)) { 503 } else { 200 }
    }

    /// Notes the backend that was chosen.
    pub(crate) fn hand_over(&mut self, backend: &'a Backend, head: &RequestHead) {
        self.mark(|| format!("backend {}", backend.name()));
        self.backend = Some(backend);
        self.scene.backend = Some(backend.name());
        self.persist = backend.rules().persistence(&self.view(head));
    }

    /// Returns the host that a server is asked for in the handshake of TLS.
    pub(crate) fn host_for<'s>(&self, server: &'s Server, head: &RequestHead) -> Option<Cow<'s, [u8]>> {
        if !server.wants_host() {
            return None;
        }
        server.host(&self.view(head))
    }

    /// Returns what the backend's rules say about persistence.
    pub(crate) fn persist(&self) -> Option<Persist> {
        self.persist
    }

    /// Takes what a cache is to keep of the response.
    pub(crate) fn take_keep(&mut self) -> Option<Keep> {
        self.memory.cached.keep.take()
    }

    /// Notes how the response is compressed on its way.
    pub(crate) fn compressed(&mut self, coding: Coding) {
        self.memory.compressed = Some(coding);
    }

    /// Returns what is compressed of what the client gets.
    pub(crate) fn compression(&self) -> Option<Settings<'a>> {
        Settings::of(self.frontend.compression(), self.backend.and_then(Backend::compression))
    }

    /// Returns what must be computed before rules can ask who sent a request; none if that is nothing.
    pub(crate) fn verification(&self, head: &RequestHead) -> Option<Verification> {
        self.frontend.rules().verification(head)
    }

    /// Notes what was computed of who sent the request.
    pub(crate) fn verified(&mut self, outcomes: Vec<(usize, bool)>) {
        self.memory.verify(outcomes);
    }

    /// Takes a request for the statistics of a proxy through its rules about them.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn admit(&mut self, rules: &ProxyRules, head: &mut RequestHead) -> Result<(), Ruling> {
        let verdict = rules.on_statistics(head, &mut self.scene, self.memory);
        self.judge(verdict, Phase::Request, head)
    }

    /// Tells whether rules let a server have the request that has had it already.
    pub(crate) fn may_repeat(&self) -> bool {
        self.memory.wishes.repetition == Repetition::Allowed
    }

    /// Returns how urgent rules say the request is.
    pub(crate) fn priority(&self) -> Priority {
        self.memory.wishes.priority
    }

    /// Takes the request through the backend's rules; returns how much of its body they want to see before they go on.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn leave(&mut self, head: &mut RequestHead) -> Result<Option<Pause>, Ruling> {
        let Some(backend) = self.other_half() else { return Ok(None) };
        let verdict = backend.rules().on_request(&mut self.next, head, &mut self.scene, self.memory);
        if let Verdict::Wait(wait) = verdict {
            return Ok(Some(wait));
        }
        self.judge(verdict, Phase::Request, head)?;
        self.restrict(backend.name_policy(), head).map(|()| None)
    }

    /// Returns the backend, if its rules are others than the frontend's.
    fn other_half(&self) -> Option<&'a Backend> {
        self.backend.filter(|backend| !backend.is_twin_of(self.frontend))
    }

    /// Notes which server has answered, where the backend's rules tie anything to servers.
    pub(crate) fn learn(&self, affinity: &Affinity<'_>, request: &RequestHead, response: &ResponseHead) {
        let Some(backend) = self.backend.filter(|backend| backend.rules().sticks()) else { return };
        let late = backend.rules().late_ties(&View { response: Some(response), ..self.view(request) });
        affinity.learn(&late);
    }

    /// Tells whether the backend has rules about the first bytes of servers.
    pub(crate) fn concerns_first_answers(&self) -> bool {
        self.backend.is_some_and(|backend| backend.rules().concerns_first_answers())
    }

    /// Takes the response through the rules about the first bytes of servers, which have waited for it so long.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn listen(&mut self, request: &RequestHead, head: &ResponseHead, waited: Duration) -> Result<(), Ruling> {
        let Some(rules) = self.backend.map(Backend::rules).filter(|rules| rules.concerns_first_answers()) else { return Ok(()) };
        // Who no longer waited has seen nothing of it.
        let response = Some(head).filter(|_| rules.answer_delay().is_some_and(|delay| waited <= delay));
        let content = Content::of_request(Rest::Over);
        let mut scene = Scene { answer: Some(&content), ..self.scene };
        let verdict = rules.on_first_answer(&mut 0, (Some(request), response), &mut scene, self.memory);
        verdict.map_or(Ok(()), |verdict| self.judge(verdict, Phase::Answer, request))
    }

    /// Returns whose client it is.
    pub(crate) fn frontend(&self) -> &'a Frontend {
        self.frontend
    }

    /// Returns who is to be told of bytes while they flow, among them `meters`; none if nobody is.
    pub(crate) fn audience(&self, event: fn(u64) -> Event, meters: Option<&Meters>) -> Option<Audience> {
        self.memory.audience(event, meters)
    }

    /// Lets everything that is tracked, and `meters`, know what a tunnel carries.
    pub(crate) fn watch(&self, carriage: &Carriage, meters: Option<&Meters>) {
        carriage.watch(self.memory, meters);
    }

    /// Takes the response through the backend's rules and then the frontend's; returns how much of its body they want to see before they
    /// go on.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn respond(&mut self, request: &RequestHead, head: &mut ResponseHead) -> Result<Option<Wait>, Ruling> {
        if self.judge == Judge::Unknown {
            (self.judge, self.next) = (Judge::Backend, 0);
            self.memory.end_request();
            self.frontend.rules().capture_response(head, self.memory);
        }
        let outcome = self.react(request, head);
        if !matches!(outcome, Ok(Some(_))) {
            self.frontend.rules().capture_set_cookie(head, self.memory);
        }
        outcome
    }

    fn react(&mut self, request: &RequestHead, head: &mut ResponseHead) -> Result<Option<Wait>, Ruling> {
        let of_backend = self.other_half().map(Backend::rules);
        let judges = [(of_backend, Judge::Backend, Judge::Frontend), (Some(self.frontend.rules()), Judge::Frontend, Judge::Nobody)];
        for (rules, judge, after) in judges {
            let Some(rules) = rules.filter(|_| self.judge <= judge) else { continue };
            if self.next == 0 && rules.concerns_responses() {
                self.mark(|| self.whose(judge));
            }
            let verdict = rules.on_response(&mut self.next, request, head, &mut self.scene, self.memory);
            if let Verdict::Wait(Pause::Body(wait)) = verdict {
                return Ok(Some(wait));
            }
            (self.judge, self.next) = (after, 0);
            self.judge(verdict, Phase::Response, request)?;
        }
        let proxies = [self.other_half().map(Backend::rules), Some(self.frontend.rules())];
        for rules in proxies.into_iter().flatten().filter(|rules| rules.concerns_answers()) {
            let verdict = rules.after_response(Some(request), head, &mut self.scene, self.memory);
            self.judge(verdict, Phase::Response, request)?;
        }
        Ok(None)
    }

    /// Returns what rules about a response are headed by.
    fn whose(&self, judge: Judge) -> String {
        match (judge, self.other_half()) {
            (Judge::Backend, Some(backend)) => format!("response of backend {}", backend.name()),
            _ => format!("response of frontend {}", self.frontend.name()),
        }
    }

    /// Returns what is answered with a status: what the backend has for it, else the frontend, else the usual page.
    pub(crate) fn page(&self, status: u16, request: Option<&RequestHead>) -> Reply {
        let view = View { scene: &self.scene, request, response: None, memory: self.memory };
        let of_backend = self.backend.and_then(|backend| backend.rules().page(status, view));
        of_backend.or_else(|| self.frontend.rules().page(status, view)).unwrap_or_else(|| Reply::page(status))
    }

    /// Returns how long those in the tarpit wait.
    fn tarpit(&self) -> Duration {
        let of_backend = self.backend.map(Backend::timeouts);
        let all = of_backend.into_iter().chain([self.frontend.timeouts()]);
        let limit = |which: Timeout| all.clone().find_map(|timeouts| timeouts.of(which));
        limit(Timeout::Tarpit).or_else(|| limit(Timeout::Connect)).unwrap_or_default()
    }

    /// Does with unusual names as a proxy wants it.
    fn restrict(&mut self, policy: Option<NamePolicy>, head: &mut RequestHead) -> Result<(), Ruling> {
        let is_unusual = |name: &[u8]| !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        match policy {
            None | Some(NamePolicy::Preserve) => Ok(()),
            Some(NamePolicy::Delete) => {
                head.headers.remove_if(|field| is_unusual(field.name));
                Ok(())
            }
            Some(NamePolicy::Reject) if head.headers.iter().any(|field| is_unusual(field.name)) => {
                self.judge(Verdict::Deny(Reply::page(403)), Phase::Request, head)
            }
            Some(NamePolicy::Reject) => Ok(()),
        }
    }

    /// Returns the answer for who must say who it is.
    fn challenge(&self, challenge: &[u8], request: &RequestHead) -> Reply {
        let mut reply = self.page(401, Some(request));
        reply.revise(|head| {
            head.headers.remove_if(|field| field.name.eq_ignore_ascii_case(CHALLENGE));
            head.headers.append(CHALLENGE, challenge).expect("realms are checked at load");
        });
        reply
    }

    fn judge(&mut self, verdict: Verdict, phase: Phase, request: &RequestHead) -> Result<(), Ruling> {
        let (given, refused) = match phase {
            Phase::Request => ("LR", "PR"),
            Phase::Answer => ("LD", if matches!(verdict, Verdict::Vanish) { "PR" } else { "PD" }),
            Phase::Response => ("LH", "PH"),
        };
        let manner = match verdict {
            Verdict::Held(hit) => return Err(Ruling { reply: None, termination: given, manner: Manner::Held(hit) }),
            Verdict::Tarpit(_) => Manner::Late(self.tarpit()),
            Verdict::Vanish => Manner::Vanishing,
            Verdict::Pass
            | Verdict::Wait(_)
            | Verdict::Answer(_)
            | Verdict::Challenge(_)
            | Verdict::Deny(_)
            | Verdict::Close
            | Verdict::Cut
            | Verdict::Fail => Manner::AtOnce,
        };
        let (reply, termination) = match verdict {
            Verdict::Pass | Verdict::Wait(_) | Verdict::Held(_) => return Ok(()),
            Verdict::Answer(reply) => (Some(reply), given),
            Verdict::Deny(reply) => (Some(reply), refused),
            Verdict::Challenge(challenge) => (Some(self.challenge(&challenge, request)), given),
            Verdict::Tarpit(reply) => (Some(reply), "PT"),
            Verdict::Close | Verdict::Cut | Verdict::Vanish => (None, refused),
            Verdict::Fail => (Some(Reply::page(500)), refused),
        };
        let own = |reply: Reply| if reply.is_usual() { self.page(reply.status(), Some(request)) } else { reply };
        let mut reply = reply.map(own);
        if let Some(reply) = &mut reply {
            self.polish(Some(request), reply);
        }
        Err(Ruling { reply, termination, manner })
    }
}

/// The field that asks a client who it is (RFC 9110 section 11.6.1).
const CHALLENGE: &[u8] = b"WWW-Authenticate";

/// Returns what rules may know of a client's request besides its messages.
pub(crate) fn scene<'f>(client: &Downstream<'_>, frontend: &'f Frontend, turn: Turn) -> Scene<'f> {
    let scene = session::scene(frontend, client.source, client.privacy(), || client.find_destination());
    Scene { is_first: turn == Turn::First, ..scene }
}
