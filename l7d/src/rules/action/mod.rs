//! What rules do: end the exchange with an answer, or change its message and variables.

mod header;
mod normalize;
mod parse;
mod redirect;
mod reply;
mod target;
mod when;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use control::config::Family;
use regex::bytes::Regex;
use tracing::debug;

pub(super) use header::{HeaderChange, NameTest};
pub(super) use normalize::Normalizer;
#[cfg(test)]
pub(super) use parse::names;
pub(super) use parse::{field_name, parse, parse_redirect};
pub(super) use redirect::Redirect;
pub(super) use reply::{Answer, parse_error};
pub(super) use target::{Change, Part};
use when::When;

use super::capture;
use super::expr::Expression;
use super::fetch::{Needs, Side};
use super::log_format::Format;
use super::sample::Sample;
use super::stick::{Update, Value, key_of};
use super::store::PatternFile;
use super::view::{Behind, Lookup, Loudness, Memory, Pause, Repetition, Scene, Tracking, VariableId, View, Wait};
use crate::brand::Brand;
use crate::cache::{Cache, Found, Hit};
use crate::message::head::{RequestHead, ResponseHead, Version};
use crate::message::headers::{Headers, InvalidField};
use crate::reply::Reply;
use crate::stats::scrape;
use crate::stick::{Event, Table, now};

/// Which rules an action is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connection,
    Session,
    Content,
    /// The first bytes of servers.
    Answer,
    /// Requests for the statistics.
    Statistics,
    Request,
    Response,
    AfterResponse,
}

/// What a rule does.
#[derive(Debug)]
pub(super) enum Action {
    /// The rules that follow do not matter.
    Accept,
    Deny(Answer),
    Return(Answer),
    Redirect(Redirect),
    /// The client's connection closes without an answer.
    Reject,
    /// The server's connection closes, and the client gets what has come from it.
    Cut,
    SetHeader {
        name: Box<[u8]>,
        value: Format,
    },
    AddHeader {
        name: Box<[u8]>,
        value: Format,
    },
    RemoveHeader(NameTest),
    ReplaceHeader(Box<HeaderChange>),
    SetTarget {
        part: Part,
        value: Format,
    },
    ReplaceTarget(Box<Change>),
    SetMethod(Format),
    SetStatus {
        status: u16,
        reason: Option<Box<[u8]>>,
    },
    SetVariable {
        id: VariableId,
        when: Box<[When]>,
        value: Expression,
    },
    SetVariableText {
        id: VariableId,
        when: Box<[When]>,
        value: Format,
    },
    UnsetVariable(VariableId),
    /// No server gets the request twice.
    ForbidRepetition,
    ChangeFile {
        file: Arc<PatternFile>,
        key: Format,
        change: FileChange,
    },
    /// The answer waits for so long that asking again is no fun.
    Tarpit(Answer),
    /// The connection is forgotten without a word to the client.
    Vanish,
    /// The client is asked who it is, with this challenge.
    Authenticate(Box<[u8]>),
    /// A value is kept for log lines, in the slot of this number.
    Capture {
        side: Side,
        slot: usize,
        value: Expression,
    },
    /// How loudly the log tells of the exchange.
    SetLoudness(Loudness),
    /// What is only advice to another program.
    Nothing,
    /// The time-out is another one.
    SetTimeout {
        limit: Limit,
        value: Value,
    },
    /// The answer is in a cache, or may be put there.
    UseCache(Arc<Cache>),
    /// The answer is put into a cache.
    StoreInCache(Arc<Cache>),
    /// The answer is the metrics.
    Scrape,
    /// The packets of a connection carry something.
    Brand {
        whose: Whose,
        seal: Seal,
        value: Value,
    },
    /// Where the connection comes from or goes to is somewhere else.
    SetEnd {
        end: End,
        value: Expression,
        /// Whether the connection itself still comes from where it came.
        keeps_origin: bool,
    },
    /// The target is written in another way.
    Normalize(Normalizer),
    /// The client gets an interim response with this field.
    Hint {
        name: Box<[u8]>,
        value: Format,
    },
    /// Whether the rules that follow fail where a message cannot hold what they would put into it.
    SetStrictness(Strictness),
    /// The request is served before those of higher classes.
    SetPriorityClass(Expression),
    /// The request counts as having come so many milliseconds later.
    SetPriorityOffset(Expression),
    /// The rules that follow wait for the body.
    Wait(Wait),
    /// The rules that follow wait for an address of a name.
    Resolve(Box<Resolve>),
    /// The rules that follow wait for the handshake, which is over before anything is asked, as no early data is taken.
    WaitForHandshake,
    Track(Box<Track>),
    UpdateTracked(Box<Update>),
}

/// Whose time-out it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Client,
    Server,
    Tunnel,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Client,
    Server,
}

/// What packets carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    Mark,
    Service,
}

/// Which end of a client's connection, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    SourcePort,
    Destination,
    DestinationPort,
}

/// Whether a rule fails where a message cannot hold what it would put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    On,
    Off,
}

/// What a rule changes in a file of patterns.
#[derive(Debug)]
pub(super) enum FileChange {
    /// The pattern gets this value, and is added if it is not there.
    Put(Format),
    /// The pattern is taken out.
    Remove,
}

/// A name that is asked for, and where its address is put.
#[derive(Debug)]
pub(super) struct Resolve {
    pub(super) variable: VariableId,
    pub(super) resolvers: Arc<str>,
    pub(super) prefer: Family,
    pub(super) name: Expression,
}

/// What is tracked, under which number, and for how long.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) slot: u8,
    pub(super) key: Expression,
    pub(super) table: Arc<Table>,
    pub(super) tracking: Tracking,
    /// Whether it begins with a request, which then counts.
    pub(super) has_request: bool,
}

/// A message on its way through the rules, with everything they may look at.
pub(super) struct Passage<'p> {
    /// As the rules have left it so far.
    pub(super) scene: Scene<'p>,
    pub(super) memory: &'p mut Memory,
    pub(super) message: Message<'p>,
    /// Whether rules fail where the message cannot hold what they would put into it.
    pub(super) strictness: Strictness,
    /// Memory for texts on their way into the message.
    pub(super) scratch: Vec<u8>,
}

/// The message that rules may change.
pub(super) enum Message<'p> {
    /// There is none, or nothing of it may be changed yet.
    Content {
        request: Option<&'p RequestHead>,
        response: Option<&'p ResponseHead>,
    },
    Request(&'p mut RequestHead),
    Response {
        request: Option<&'p RequestHead>,
        response: &'p mut ResponseHead,
    },
}

/// What follows from an action.
#[derive(Debug)]
pub(super) enum Effect {
    /// The next rule.
    Next,
    /// No further rule of this list.
    Done,
    /// The exchange ends with an answer that a rule refuses it by.
    Denied(Reply),
    /// The exchange ends with an answer that a rule gives.
    Answered(Reply),
    /// The exchange ends with an answer that was kept.
    Held(Box<Hit>),
    /// The exchange and its connection end without an answer.
    Closed,
    /// As [`Closed`](Self::Closed), behind what has come.
    Cut,
    /// As [`Denied`](Self::Denied), after a while.
    Tarpitted(Reply),
    /// The exchange ends with the question who the client is.
    Challenged(Box<[u8]>),
    /// As [`Closed`](Self::Closed), and the client is not even told that.
    Vanished,
    /// The next rule, once so much of the body is there, or an address is found or not.
    Waits(Pause),
}

impl Message<'_> {
    pub(super) const NOTHING: Self = Self::Content { request: None, response: None };
}

impl Passage<'_> {
    /// Returns what expressions look at.
    pub(super) fn view(&self) -> View<'_> {
        let (request, response) = match &self.message {
            Message::Content { request, response } => (*request, *response),
            Message::Request(request) => (Some(&**request), None),
            Message::Response { request, response } => (*request, Some(&**response)),
        };
        View { scene: &self.scene, request, response, memory: self.memory }
    }

    /// Changes the fields of the message, if there is one.
    fn on_headers<E>(&mut self, change: impl FnOnce(&mut Headers) -> Result<(), E>) -> Result<(), E> {
        match &mut self.message {
            Message::Content { .. } => Ok(()),
            Message::Request(head) => change(&mut head.headers),
            Message::Response { response, .. } => change(&mut response.headers),
        }
    }

    fn change_file(&mut self, file: &PatternFile, key: &Format, change: &FileChange) {
        if self.scene.rehearses() {
            return;
        }
        let (mut pattern, mut text) = (Vec::new(), Vec::new());
        key.write(&self.view(), &mut pattern);
        match change {
            FileChange::Put(value) => {
                value.write(&self.view(), &mut text);
                // A pattern that cannot be compared the way the file is used is not put there.
                if let Err(bad) = file.put(&pattern, &text) {
                    debug!("a rule puts a pattern into a file: {bad}");
                }
            }
            FileChange::Remove => {
                file.remove(&pattern);
            }
        }
    }

    /// Looks for the answer in a cache, or notes that it may be put there.
    fn use_cache(&mut self, cache: &Arc<Cache>) -> Effect {
        let mut text = std::mem::take(&mut self.scratch);
        let found = self.view().request.map(|request| cache.visit(request, &mut text));
        self.scratch = text;
        let side = if self.scene.backend.is_some() { Behind::Backend } else { Behind::Frontend };
        match found {
            None => Effect::Next,
            Some(Found::Hit(hit)) => {
                self.memory.cached.hit(side, &hit);
                self.memory.wishes.service = Some("<CACHE>");
                Effect::Held(Box::new(hit))
            }
            Some(Found::Miss(visit)) => {
                self.memory.cached.miss(side, visit);
                Effect::Next
            }
            Some(Found::Unasked(visit)) => {
                self.memory.cached.visit = visit;
                Effect::Next
            }
        }
    }

    /// Has the answer kept, if it may be.
    fn store_in_cache(&mut self, cache: &Arc<Cache>) {
        let Message::Response { response, .. } = &self.message else { return };
        if !self.scene.rehearses()
            && let Some(visit) = self.memory.cached.visit.take()
        {
            self.memory.cached.keep = cache.consider(visit, response);
        }
    }

    /// Notes where the connection itself comes from and goes to, before a rule first says otherwise.
    fn keep_origin(&mut self) {
        let ends = (self.scene.source, self.scene.destination);
        self.memory.entry.iter_mut().for_each(|entry| entry.keep(ends));
    }

    /// Says of one end of the connection what a rule says.
    fn set_end(&mut self, end: End, value: &Expression) {
        let Some(sample) = value.value(&self.view()) else { return };
        let (address, port) = (sample.to_address(), sample.to_int().and_then(|port| u16::try_from(port).ok()));
        let scene = &mut self.scene;
        let place = match end {
            End::Source | End::SourcePort => &mut scene.source,
            End::Destination | End::DestinationPort => &mut scene.destination,
        };
        let before = place.unwrap_or(SocketAddr::from(([0; 4], 0)));
        match end {
            End::Source | End::Destination => *place = address.map(|address| SocketAddr::new(address, before.port())).or(*place),
            End::SourcePort | End::DestinationPort => *place = port.map(|port| SocketAddr::new(before.ip(), port)).or(*place),
        }
    }

    /// Has the client told something before its response, if it can hear it.
    fn hint(&mut self, name: &[u8], value: &Format) -> Result<(), InvalidField> {
        if self.view().request.is_none_or(|head| head.version() == Version::Http10) {
            return Ok(());
        }
        let mut head = ResponseHead::of(Version::Http11, 103, b"Early Hints");
        self.with(value, |_, value| head.headers.append(name, value))?;
        self.memory.hint(&head);
        Ok(())
    }

    /// Prints a format and hands it to `change`.
    fn with(&mut self, format: &Format, change: impl FnOnce(&mut Self, &[u8]) -> Result<(), InvalidField>) -> Result<(), InvalidField> {
        if let Some(text) = format.constant() {
            return change(self, text);
        }
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        format.write(&self.view(), &mut text);
        let outcome = change(self, &text);
        self.scratch = text;
        outcome
    }
}

impl Action {
    /// Returns what must have arrived before it can be carried out.
    pub(super) fn needs(&self) -> Needs {
        if let Self::SetVariable { value, .. }
        | Self::Capture { value, .. }
        | Self::SetEnd { value, .. }
        | Self::SetPriorityClass(value)
        | Self::SetPriorityOffset(value) = self
        {
            return value.needs();
        }
        if let Self::Track(track) = self {
            return track.key.needs();
        }
        if let Self::Brand { value: Value::Computed(value), .. } = self {
            return value.needs();
        }
        if matches!(self, Self::SetVariableText { .. }) { Needs::Request } else { Needs::Connection }
    }

    /// Carries it out.
    ///
    /// # Errors
    /// A message cannot hold what the rule would put into it.
    pub(super) fn run(&self, passage: &mut Passage<'_>) -> Result<Effect, InvalidField> {
        match self {
            Self::Accept => return Ok(Effect::Done),
            Self::Reject => return Ok(Effect::Closed),
            Self::Cut => return Ok(Effect::Cut),
            Self::Vanish => return Ok(Effect::Vanished),
            Self::Scrape => {
                let Some(reply) = passage.view().request.map(scrape) else { return Ok(Effect::Next) };
                passage.memory.wishes.service = Some("<PROMEX>");
                return Ok(Effect::Answered(reply));
            }
            Self::UseCache(cache) => return Ok(passage.use_cache(cache)),
            Self::StoreInCache(cache) => passage.store_in_cache(cache),
            Self::Wait(wait) => return Ok(Effect::Waits(Pause::Body(*wait))),
            Self::Resolve(resolve) => return Ok(resolve.run(&passage.view())),
            Self::WaitForHandshake if passage.memory.is_early => return Ok(Effect::Waits(Pause::Handshake)),
            Self::WaitForHandshake => {}
            Self::SetPriorityClass(value) => {
                if let Some(class) = value.value(&passage.view()).and_then(|value| value.to_int()) {
                    passage.memory.wishes.priority.set_class(class);
                }
            }
            Self::SetPriorityOffset(value) => {
                if let Some(offset) = value.value(&passage.view()).and_then(|value| value.to_int()) {
                    passage.memory.wishes.priority.set_offset(offset);
                }
            }
            Self::Authenticate(challenge) => return Ok(Effect::Challenged(challenge.clone())),
            Self::Tarpit(answer) => return answer.reply(&passage.view()).map(Effect::Tarpitted),
            Self::Deny(answer) => return answer.reply(&passage.view()).map(Effect::Denied),
            Self::Return(answer) => return answer.reply(&passage.view()).map(Effect::Answered),
            Self::Redirect(redirect) => {
                let reply = redirect.reply(&passage.view())?;
                return Ok(reply.map_or(Effect::Next, Effect::Answered));
            }
            Self::SetHeader { name, value } => passage.with(value, |passage, value| {
                passage.on_headers(|headers| {
                    headers.remove_if(|field| field.name.eq_ignore_ascii_case(name));
                    headers.append(name, value)
                })
            })?,
            Self::AddHeader { name, value } => {
                passage.with(value, |passage, value| passage.on_headers(|headers| headers.append(name, value)))?;
            }
            Self::RemoveHeader(test) => passage.on_headers(|headers| {
                headers.remove_if(|field| !header::is_framing(field.known) && test.matches(field.name));
                Ok(())
            })?,
            Self::ReplaceHeader(change) => {
                passage.with(&change.replacement, |passage, text| passage.on_headers(|headers| change.apply(headers, text)))?;
            }
            Self::SetTarget { part, value } => passage.with(value, |passage, value| passage.set_target(*part, value))?,
            Self::ReplaceTarget(change) => {
                passage.with(&change.replacement, |passage, text| match change.apply(&passage.view(), text) {
                    Some(value) => passage.set_target(change.part, &value),
                    None => Ok(()),
                })?;
            }
            Self::SetMethod(value) => passage.with(value, |passage, value| match &mut passage.message {
                Message::Request(head) => head.set_method(value),
                Message::Content { .. } | Message::Response { .. } => Ok(()),
            })?,
            Self::SetStatus { status, reason } => {
                if let Message::Response { response, .. } = &mut passage.message {
                    let usual = crate::reply::reason(*status).as_bytes();
                    response.set_status(*status, reason.as_deref().unwrap_or(usual))?;
                }
            }
            Self::SetVariable { id, when, value } => {
                let view = passage.view();
                let value = value.value(&view).filter(|value| when.iter().all(|when| when.holds(&view, *id, value)));
                if let Some(value) = value.map(Sample::into_owned) {
                    passage.memory.set(passage.scene.shared, *id, value);
                }
            }
            Self::SetVariableText { id, when, value } => {
                passage.with(value, |passage, text| {
                    let value = Sample::own(text.to_vec());
                    if when.iter().all(|when| when.holds(&passage.view(), *id, &value)) {
                        passage.memory.set(passage.scene.shared, *id, value);
                    }
                    Ok(())
                })?;
            }
            Self::ChangeFile { file, key, change } => passage.change_file(file, key, change),
            Self::ForbidRepetition => passage.memory.wishes.repetition = Repetition::Forbidden,
            Self::UnsetVariable(id) => passage.memory.unset(passage.scene.shared, *id),
            Self::Capture { side, slot, value } => {
                let view = passage.view();
                if let Some(sample) = value.value(&view) {
                    capture::put(&view, *side, *slot, &sample);
                }
            }
            Self::SetLoudness(loudness) => passage.memory.wishes.loudness = *loudness,
            Self::Nothing => {}
            Self::SetTimeout { limit, value } => {
                let time = value.find(&passage.view()).map(Duration::from_millis).filter(|time| !time.is_zero());
                let wishes = &mut passage.memory.wishes;
                let place = match limit {
                    Limit::Client => &mut wishes.client_timeout,
                    Limit::Server => &mut wishes.server_timeout,
                    Limit::Tunnel => &mut wishes.tunnel_timeout,
                };
                *place = time.or(*place);
            }
            Self::Brand { whose, seal, value } => {
                let Some(value) = value.find(&passage.view()) else { return Ok(Effect::Next) };
                let (mark, service) = (u32::try_from(value).ok(), u8::try_from(value).ok());
                let brand = match seal {
                    Seal::Mark => Brand { mark, service: None },
                    Seal::Service => Brand { mark: None, service },
                };
                match whose {
                    Whose::Client => passage.memory.press(brand),
                    Whose::Server => {
                        let wanted = &mut passage.memory.wishes.brand;
                        *wanted = Brand { mark: brand.mark.or(wanted.mark), service: brand.service.or(wanted.service) };
                    }
                }
            }
            Self::SetEnd { end, value, keeps_origin } => {
                if *keeps_origin {
                    passage.keep_origin();
                }
                passage.set_end(*end, value);
            }
            Self::Normalize(normalizer) => {
                let Some(value) = passage.view().request.map(|head| normalizer.apply(head)) else { return Ok(Effect::Next) };
                let Some(value) = value else { return Ok(Effect::Denied(Reply::page(400))) };
                passage.set_target(Part::PathAndQuery, &value)?;
            }
            Self::Hint { name, value } => passage.hint(name, value)?,
            Self::SetStrictness(strictness) => passage.strictness = *strictness,
            Self::Track(track) => track.run(passage),
            Self::UpdateTracked(update) => update.run(&passage.view()),
        }
        Ok(Effect::Next)
    }
}

impl Resolve {
    /// Asks for the name, if there is one.
    fn run(&self, view: &View<'_>) -> Effect {
        let Some(name) = self.name.value(view).and_then(|name| String::from_utf8(name.to_bytes().into_owned()).ok()) else {
            return Effect::Next;
        };
        let Self { resolvers, prefer, variable, .. } = self;
        Effect::Waits(Pause::Name(Lookup { resolvers: Arc::clone(resolvers), name, prefer: *prefer, variable: *variable }))
    }
}

impl Track {
    /// Begins to track, unless something is tracked under that number already.
    fn run(&self, passage: &mut Passage<'_>) {
        if passage.memory.tracked(self.slot).is_some() {
            return;
        }
        let key = self.key.value(&passage.view()).and_then(|sample| key_of(&self.table, &sample));
        let now = now();
        let track = |key| passage.view().at_table(&self.table, &key, |table| Table::track(table, &key, now));
        let Some(tracked) = key.and_then(track) else { return };
        tracked.open(now);
        if self.has_request {
            tracked.update(now, |record| record.count(Event::Request));
        }
        passage.memory.track(self.slot, self.tracking, tracked);
    }
}

/// Finds an expression in a text and prints what takes the text's place.
fn replaced(regex: &Regex, text: &[u8], replacement: &[u8]) -> Option<Vec<u8>> {
    let groups = regex.captures(text)?;
    let mut out = Vec::new();
    super::replace::Replacement::parse(replacement).write(&groups, &mut out);
    Some(out)
}
