//! What rules look at: the connection, the messages, and the variables other rules have set.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use control::config::Family;

use super::action::Strictness;
use super::capture;
use super::fetch::{Ingress, ServerLine};
use super::observer::{Observer, RuleId};
use super::sample::Sample;
use crate::brand::Brand;
use crate::cache::{Cache, Hit, Keep, Visit};
use crate::compress::Coding;
use crate::flow::{Audience, Meters};
use crate::h1::encode::{self, Connection};
use crate::level::Level;
use crate::message::head::{RequestHead, ResponseHead};
use crate::queue::Priority;
use crate::site::Frontend;
use crate::stick::{self, Event, Key, Record, Table, Tracked};
use crate::tls;

/// What is known of an exchange besides its messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// Who the client is; none if it has no address.
    pub(crate) source: Option<SocketAddr>,
    /// Which address the client connected to; none where no rule wants to know.
    pub(crate) destination: Option<SocketAddr>,
    /// Whether the client's connection is encrypted.
    pub(crate) is_tls: bool,
    /// Whether the request is the first of its connection.
    pub(crate) is_first: bool,
    /// The name of the frontend.
    pub(crate) frontend: &'a str,
    /// The name of the backend, once there is one.
    pub(crate) backend: Option<&'a str>,
    /// The name of the server, once it was asked.
    pub(crate) server: Option<&'a str>,
    /// The variables of the process.
    pub(crate) shared: &'a Shared,
    /// The first bytes of the connection, where they are looked at.
    pub(crate) content: Option<&'a Content<'a>>,
    /// The first bytes of the server's, where they are looked at.
    pub(crate) answer: Option<&'a Content<'a>>,
    /// The frontend itself, which knows how busy everything is; none where no traffic is.
    pub(crate) site: Option<&'a Frontend>,
    /// Who is told what rules are asked, where somebody wants to know.
    pub(crate) observer: Option<&'a Observer>,
}

impl<'a> Scene<'a> {
    /// Tells whether nothing may change, as it is only asked what would happen.
    pub(super) fn rehearses(&self) -> bool {
        self.observer.is_some_and(Observer::rehearses)
    }

    /// Returns the scene of no exchange at all.
    pub(super) fn nowhere(shared: &'a Shared) -> Self {
        let (source, destination) = (None, None);
        Self {
            source,
            destination,
            is_tls: false,
            is_first: false,
            frontend: "",
            backend: None,
            server: None,
            shared,
            content: None,
            answer: None,
            site: None,
            observer: None,
        }
    }
}

/// The first bytes of a connection, as far as they have come.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    bytes: Option<&'a [u8]>,
    rest: Rest,
    /// Whether the rest may make a request of the bytes.
    request: Rest,
    /// Whether something was asked for that more bytes could change.
    lacks: Cell<bool>,
}

/// Whether more bytes may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// They may, and are worth waiting for.
    Expected,
    /// What is there must do.
    Over,
}

impl<'a> Content<'a> {
    /// Returns bytes to be looked at, of which not more may come than that.
    pub(crate) fn new(bytes: &'a [u8], rest: Rest) -> Self {
        Self { bytes: Some(bytes), rest, request: rest, lacks: Cell::new(false) }
    }

    /// Returns the content of a connection whose bytes are known as a request.
    pub(crate) fn of_request(rest: Rest) -> Self {
        Self { bytes: None, rest, request: Rest::Over, lacks: Cell::new(false) }
    }

    /// Gives up hope that the bytes become a request.
    pub(crate) fn without_request(self) -> Self {
        Self { request: Rest::Over, ..self }
    }

    /// Returns what has come, where bytes are looked at.
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        self.bytes
    }

    /// Tells whether the bytes may still become a request.
    pub(super) fn awaits_request(&self) -> bool {
        self.request == Rest::Expected
    }

    /// Notes that more bytes could change what was found, and tells whether they may come.
    pub(super) fn could_change(&self) -> bool {
        if self.rest == Rest::Expected {
            self.lacks.set(true);
        }
        self.rest == Rest::Expected
    }

    /// Tells whether more bytes could change what was found since this was last asked.
    pub(super) fn take_lack(&self) -> bool {
        self.lacks.take()
    }
}

impl<'a> Scene<'a> {
    /// Returns what is known of a client before anything is asked of its connection.
    pub(crate) fn bare(source: Option<SocketAddr>, frontend: &'a str, shared: &'a Shared) -> Self {
        Self {
            source,
            destination: None,
            is_tls: false,
            is_first: true,
            frontend,
            backend: None,
            server: None,
            shared,
            content: None,
            answer: None,
            site: None,
            observer: None,
        }
    }
}

/// What rules wait for.
#[derive(Debug)]
pub(crate) enum Pause {
    /// More of the body.
    Body(Wait),
    /// An address.
    Name(Lookup),
    /// The end of the client's handshake.
    Handshake,
}

/// A name that a rule wants an address of.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// The section of servers that is asked.
    pub(crate) resolvers: Arc<str>,
    /// The name.
    pub(crate) name: String,
    /// The family that is asked for first.
    pub(crate) prefer: Family,
    /// Where the address is put.
    pub(super) variable: VariableId,
}

/// How much of a message's body a rule waits for, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// How long.
    pub(crate) time: Duration,
    /// How many bytes are enough; none waits for all.
    pub(crate) least: Option<u64>,
}

/// Everything an expression can be evaluated over.
#[derive(Clone, Copy)]
pub(crate) struct View<'v> {
    /// The exchange.
    pub(crate) scene: &'v Scene<'v>,
    /// The request, once there is one.
    pub(crate) request: Option<&'v RequestHead>,
    /// The response, once there is one.
    pub(crate) response: Option<&'v ResponseHead>,
    /// The variables.
    pub(crate) memory: &'v Memory,
}

/// Where a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lifetime {
    /// As long as the process.
    Process,
    /// As long as the client's connection.
    Session,
    /// As long as one request and its response.
    Transaction,
    /// As long as the request is processed.
    Request,
    /// As long as the response is processed.
    Response,
}

/// A variable: where it lives, and its number among all names of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct VariableId {
    pub(super) lifetime: Lifetime,
    pub(super) number: u32,
}

/// The variables that live as long as the process; every thread reads and writes them, holding the lock for one access at a time.
#[derive(Debug, Default)]
pub(crate) struct Shared(RwLock<Vec<(VariableId, Sample<'static>)>>);

impl Shared {
    /// Returns variables with the same values, which change by themselves.
    pub(crate) fn copy(&self) -> Self {
        Self(RwLock::new(self.0.read().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    pub(super) fn value(&self, id: VariableId) -> Option<Sample<'static>> {
        let values = self.0.read().unwrap_or_else(PoisonError::into_inner);
        values.iter().find(|(known, _)| *known == id).map(|(_, value)| value.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(VariableId, Sample<'static>)>)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The variables of one client and of its exchange at hand.
#[derive(Debug, Default, Clone)]
pub(crate) struct Memory {
    /// What rules want of the way to the server.
    pub(crate) wishes: Wishes,
    /// The client's connection, where rules say what its packets carry.
    pub(crate) line: Option<Rc<OwnedFd>>,
    own: Vec<(VariableId, Sample<'static>)>,
    /// What is tracked as long as the client is connected, by number.
    of_session: Vec<(u8, Arc<Tracked>)>,
    /// What is tracked as long as the exchange lasts.
    of_exchange: Vec<(u8, Arc<Tracked>)>,
    /// How the client came in, where rules want to know.
    pub(crate) entry: Option<Ingress>,
    /// The connection to the server, where rules want to know.
    pub(crate) server_line: Option<ServerLine>,
    /// The TLS of the client's connection, where rules want to know.
    pub(crate) tls: Option<Arc<tls::Session>>,
    /// The TLS of the connection to the server, where rules want to know.
    pub(crate) server_tls: Option<Rc<tls::Session>>,
    /// What is kept for log lines.
    pub(super) captured: capture::Store,
    /// What converters have set, until it is put beside the other variables.
    fresh: RefCell<Vec<(VariableId, Option<Sample<'static>>)>>,
    /// Interim responses the client is to get.
    hints: Vec<u8>,
    /// The number of the exchange, once something has asked for it.
    number: Cell<Option<u32>>,
    /// The name of the exchange, once something has asked for it.
    unique: RefCell<Option<Vec<u8>>>,
    /// Which lists of users, by number, admit the sender of the request, where that was computed.
    verified: Vec<(usize, bool)>,
    /// What caches have to do with the exchange.
    pub(crate) cached: Cached,
    /// How many changes could not be made, and how many of these ended the exchange.
    faults: [u8; 2],
    /// How the response was compressed on its way.
    pub(crate) compressed: Option<Coding>,
    /// Whether the request came before the handshake was complete, and may be somebody else's.
    pub(crate) is_early: bool,
    /// The last rule that decided about the exchange.
    last_rule: Option<RuleId>,
}

/// What caches have to do with one exchange.
#[derive(Debug, Default, Clone)]
pub(crate) struct Cached {
    /// What is left behind of a request that no cache could answer.
    pub(super) visit: Option<Visit>,
    /// What is to be kept of the answer.
    pub(crate) keep: Option<Keep>,
    /// The cache that answered.
    pub(super) by: Option<Arc<Cache>>,
    /// How often caches were asked, by rules of the frontend and of the backend.
    pub(crate) lookups: [u8; 2],
    /// How often they had the answer.
    pub(crate) hits: [u8; 2],
}

/// Whose rule asks a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    Frontend,
    Backend,
}

impl Cached {
    pub(super) fn hit(&mut self, side: Behind, hit: &Hit) {
        self.miss(side, None);
        self.hits[side as usize] = self.hits[side as usize].saturating_add(1);
        self.by = Some(Arc::clone(hit.cache()));
    }

    pub(super) fn miss(&mut self, side: Behind, visit: Option<Visit>) {
        self.lookups[side as usize] = self.lookups[side as usize].saturating_add(1);
        self.visit = visit;
    }
}

/// A client's [`Memory`], which takes no room of its own while there is nothing to remember.
#[derive(Debug, Default)]
pub(crate) struct Keepsake(OnceCell<Box<Memory>>);

impl Deref for Keepsake {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        self.0.get_or_init(Box::default)
    }
}

impl DerefMut for Keepsake {
    fn deref_mut(&mut self) -> &mut Memory {
        self.0.get_or_init(Box::default);
        self.0.get_mut().expect("made above")
    }
}

impl Keepsake {
    /// Tells whether anything is tracked.
    pub(crate) fn is_tracking(&self) -> bool {
        self.0.get().is_some_and(|memory| memory.is_tracking())
    }

    /// Counts something that is none of the protocol for everything that is tracked.
    pub(crate) fn note_glitches(&self, count: u32) {
        let tracking = self.0.get().filter(|memory| count > 0 && memory.is_tracking());
        tracking.into_iter().for_each(|memory| memory.note(|record| (0..count).for_each(|_| record.count(Event::Glitch))));
    }

    /// Gives the room back if there is nothing to remember between two exchanges.
    pub(crate) fn settle(&mut self) {
        if self.0.get().is_some_and(|memory| memory.is_blank()) {
            self.0.take();
        }
    }
}

/// How long something is tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracking {
    /// As long as the client is connected.
    Session,
    /// As long as the exchange lasts.
    Exchange,
}

/// What rules want of the way of one request to a server.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Whether a server that has had the request may have it again.
    pub(crate) repetition: Repetition,
    /// How loudly the log tells of it.
    pub(crate) loudness: Loudness,
    /// In place of the time-outs of the configuration.
    pub(crate) client_timeout: Option<Duration>,
    pub(crate) server_timeout: Option<Duration>,
    pub(crate) tunnel_timeout: Option<Duration>,
    /// The name of our own service that answers, as lines tell it in place of a server's.
    pub(crate) service: Option<&'static str>,
    /// What the packets to the server are to carry.
    pub(crate) brand: Brand,
    /// How urgent it is where others wait for a server, too.
    pub(crate) priority: Priority,
}

/// How loudly the log tells of an exchange.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loudness {
    /// As usual.
    #[default]
    Usual,
    /// At this level.
    At(Level),
    /// Not at all.
    Silent,
}

/// Whether a request may go to a server that has had it already.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// It may.
    #[default]
    Allowed,
    /// It may not.
    Forbidden,
}

impl<'v> View<'v> {
    /// Returns the name of the exchange; none where its frontend gives none.
    pub(crate) fn unique_id(&self) -> Option<Vec<u8>> {
        if let Some(name) = &*self.memory.unique.borrow() {
            return Some(name.clone());
        }
        let mut name = Vec::new();
        self.scene.site?.rules().unique_id()?.write(self, &mut name);
        // As in lines, of several spaces in a row one stays, and none at the beginning.
        name.dedup_by(|byte, before| *byte == b' ' && *before == b' ');
        name.drain(..usize::from(name.starts_with(b" ")));
        *self.memory.unique.borrow_mut() = Some(name.clone());
        Some(name)
    }

    /// Does something with the entry of a key, in the table itself unless nothing is to change.
    pub(super) fn at_table<T>(&self, table: &Arc<Table>, key: &Key, act: impl FnOnce(&Arc<Table>) -> T) -> T {
        match self.scene.observer {
            None => act(table),
            Some(observer) => act(&observer.copy(table, key)),
        }
    }

    /// Returns the value of a variable.
    pub(super) fn variable(&self, id: VariableId) -> Option<Sample<'v>> {
        if id.lifetime == Lifetime::Process {
            return self.scene.shared.value(id);
        }
        if let Some((_, value)) = self.memory.fresh.borrow().iter().rev().find(|(known, _)| *known == id) {
            return value.clone();
        }
        self.memory.own.iter().find(|(known, _)| *known == id).map(|(_, value)| value.borrowed())
    }
}

impl Memory {
    /// Has the packets to the client carry something.
    pub(super) fn press(&self, brand: Brand) {
        if let Some(line) = &self.line {
            brand.press(line);
        }
    }

    /// Sets a variable, or forgets it, while others look.
    pub(super) fn change(&self, shared: &Shared, id: VariableId, value: Option<Sample<'static>>) {
        match (id.lifetime, value) {
            (Lifetime::Process, Some(value)) => shared.change(|values| put(values, id, value)),
            (Lifetime::Process, None) => shared.change(|values| values.retain(|(known, _)| *known != id)),
            (_, value) => self.fresh.borrow_mut().push((id, value)),
        }
    }

    /// Puts what was set while others looked beside the other variables.
    fn settle(&mut self) {
        for (id, value) in self.fresh.get_mut().drain(..) {
            match value {
                Some(value) => put(&mut self.own, id, value),
                None => self.own.retain(|(known, _)| *known != id),
            }
        }
    }

    /// Tells whether there is nothing to remember between two exchanges.
    fn is_blank(&self) -> bool {
        let Self { own, of_session, tls, fresh, line, entry, .. } = self;
        line.is_none() && entry.is_none() && own.is_empty() && of_session.is_empty() && tls.is_none() && fresh.borrow().is_empty()
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, shared: &Shared, id: VariableId, value: Sample<'static>) {
        self.settle();
        if id.lifetime == Lifetime::Process { shared.change(|values| put(values, id, value)) } else { put(&mut self.own, id, value) }
    }

    /// Takes in the address that a rule has waited for.
    pub(crate) fn found(&mut self, shared: &Shared, lookup: &Lookup, ip: IpAddr) {
        self.set(shared, lookup.variable, Sample::Address(ip));
    }

    /// Forgets a variable.
    pub(super) fn unset(&mut self, shared: &Shared, id: VariableId) {
        self.settle();
        let forget = |values: &mut Vec<(VariableId, Sample<'static>)>| values.retain(|(known, _)| *known != id);
        if id.lifetime == Lifetime::Process { shared.change(forget) } else { forget(&mut self.own) }
    }

    /// Takes over what another exchange of the same client has left behind.
    pub(crate) fn adopt(&mut self, mut other: Self) {
        other.settle();
        self.settle();
        for (id, value) in other.own {
            put(&mut self.own, id, value);
        }
    }

    /// Forgets what does not outlive the request's way to the server.
    pub(crate) fn end_request(&mut self) {
        self.settle();
        self.own.retain(|(id, _)| id.lifetime != Lifetime::Request);
    }

    /// Forgets what does not outlive the exchange.
    pub(crate) fn end_exchange(&mut self) {
        self.settle();
        self.number.set(None);
        *self.unique.get_mut() = None;
        self.own.retain(|(id, _)| id.lifetime == Lifetime::Session);
        self.wishes = Wishes::default();
        self.of_exchange.clear();
        self.verified.clear();
        self.last_rule = None;
        self.server_tls = None;
        self.server_line = None;
        self.cached = Cached::default();
        self.compressed = None;
        self.faults = [0; 2];
        *self.captured.get_mut() = None;
    }

    /// Notes that a change could not be made, and whether that ends the exchange.
    pub(super) fn fault(&mut self, strictness: Strictness) {
        self.faults[0] = self.faults[0].saturating_add(1);
        self.faults[1] = self.faults[1].saturating_add((strictness == Strictness::On).into());
    }

    /// Returns how many changes could not be made, and how many of these ended the exchange.
    pub(crate) fn faults(&self) -> [u8; 2] {
        self.faults
    }

    /// Returns the number of the exchange among all of the process.
    pub(crate) fn number(&self) -> u32 {
        let number = self.number.get().unwrap_or_else(|| EXCHANGES.fetch_add(1, Ordering::Relaxed));
        self.number.set(Some(number));
        number
    }

    /// Adds an interim response for the client.
    pub(super) fn hint(&mut self, head: &ResponseHead) {
        encode::response(head, Connection::Unstated, &mut self.hints);
    }

    /// Takes the interim responses for the client.
    pub(crate) fn take_hints(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.hints)
    }

    /// Notes the rule that decided.
    pub(super) fn decide(&mut self, rule: RuleId) {
        self.last_rule = Some(rule);
    }

    /// Returns the last rule that decided.
    pub(super) fn last_rule(&self) -> Option<RuleId> {
        self.last_rule
    }

    /// Notes which lists of users admit the sender of the request.
    pub(crate) fn verify(&mut self, outcomes: Vec<(usize, bool)>) {
        self.verified = outcomes;
    }

    /// Tells whether a list of users admits the sender of the request; none if that was not computed.
    pub(super) fn verified(&self, list: usize) -> Option<bool> {
        self.verified.iter().find(|(number, _)| *number == list).map(|(_, outcome)| *outcome)
    }

    /// Returns what is tracked under a number.
    pub(super) fn tracked(&self, slot: u8) -> Option<&Arc<Tracked>> {
        let mut all = self.of_session.iter().chain(&self.of_exchange);
        all.find(|(known, _)| *known == slot).map(|(_, tracked)| tracked)
    }

    /// Tracks an entry under a number that is not taken yet.
    pub(super) fn track(&mut self, slot: u8, tracking: Tracking, tracked: Tracked) {
        let tracked = (slot, Arc::new(tracked));
        match tracking {
            Tracking::Session => self.of_session.push(tracked),
            Tracking::Exchange => self.of_exchange.push(tracked),
        }
    }

    /// Tells whether anything is tracked.
    pub(crate) fn is_tracking(&self) -> bool {
        !self.of_session.is_empty() || !self.of_exchange.is_empty()
    }

    /// Returns who is to be told of bytes while they flow, among them `meters`; none if nobody is.
    pub(crate) fn audience(&self, event: fn(u64) -> Event, meters: Option<&Meters>) -> Option<Audience> {
        let tracked = || self.of_session.iter().chain(&self.of_exchange).map(|(_, tracked)| Arc::clone(tracked));
        (self.is_tracking() || meters.is_some()).then(|| Audience { event, entries: tracked().collect(), meters: meters.cloned() })
    }

    /// Counts something for everything that is tracked.
    pub(crate) fn note(&self, change: impl Fn(&mut Record<'_>)) {
        let now = stick::now();
        self.of_session.iter().chain(&self.of_exchange).for_each(|(_, tracked)| tracked.update(now, &change));
    }
}

/// Numbers the exchanges of which something asks for the number.
static EXCHANGES: AtomicU32 = AtomicU32::new(0);

fn put(values: &mut Vec<(VariableId, Sample<'static>)>, id: VariableId, value: Sample<'static>) {
    match values.iter_mut().find(|(known, _)| *known == id) {
        Some((_, old)) => *old = value,
        None => values.push((id, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_live_as_long_as_they_should() {
        let shared = Shared::default();
        let mut memory = Memory::default();
        let id = |lifetime| VariableId { lifetime, number: 1 };
        let all = [Lifetime::Process, Lifetime::Session, Lifetime::Transaction, Lifetime::Request, Lifetime::Response];
        for (value, lifetime) in (1..).zip(all) {
            memory.set(&shared, id(lifetime), Sample::Int(value));
        }
        let living = |memory: &Memory| {
            let scene = crate::rules::tests::scene(&shared);
            let view = View { scene: &scene, request: None, response: None, memory };
            all.into_iter().filter(|lifetime| view.variable(id(*lifetime)).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(living(&memory), all);
        memory.end_request();
        assert_eq!(living(&memory), [Lifetime::Process, Lifetime::Session, Lifetime::Transaction, Lifetime::Response]);
        memory.end_exchange();
        assert_eq!(living(&memory), [Lifetime::Process, Lifetime::Session]);
        assert_eq!(living(&Memory::default()), [Lifetime::Process]);
        memory.unset(&shared, id(Lifetime::Process));
        assert_eq!(living(&Memory::default()), []);
    }
}
