//! Serves a client in mode `tcp`: chooses a server, connects to it, and carries bytes.

use std::borrow::Cow;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use control::config::{LogStep, RetryCause};
use control::tls::Host;
use tracing::info;

use crate::balance::Seen;
use crate::buffer::Buffer;
use crate::deadline::Deadline;
use crate::downstream::{self, Close};
use crate::error::ExchangeError;
use crate::h1::parse::{self, Parsed};
use crate::inspect::{self, Judged};
use crate::log::Record;
use crate::message::head::RequestHead;
use crate::rules::{self, Content, Memory, ProxyRules, Rest, Scene, ServerLine, View};
use crate::session::Client;
use crate::sessions;
use crate::site::{Backend, Frontend, Names, Server, Sign};
use crate::stick::Affinity;
use crate::stream::Stream;
use crate::tunnel::{self, End, Ended, Ends, Held, Quiet, Refusal};
use crate::upstream::Link;
use crate::upstream::connect::{Inbound, connect};
use crate::upstream::pursuit::{Pursuit, Seeker, Verdict};

/// Serves the client until either side is done.
pub(crate) async fn serve(client: &mut Client, frontend: &Frontend) {
    let mut record = Record::new(client.source, frontend, Instant::now());
    record.secured(client.stream.secured(), client.take_handshake());
    record.destination(|| client.destination());
    record.step(frontend, LogStep::Accept, &client.view(&client.scene(frontend)));
    let place = record.place();
    let carried = {
        let carrying = pin!(carry(client, frontend, &mut record));
        sessions::unless_ended(place, carrying).await
    };
    if let Err(error) = carried.unwrap_or_else(|cause| Err(record.ended(cause))) {
        info!("{} on frontend {}: {error}", client.source, frontend.name());
        record.fail(&error);
    }
    record.account(&client.memory);
    let scene = client.scene(frontend);
    record.write_tcp(frontend, &client.view(&scene));
}

async fn carry<'a>(client: &mut Client, frontend: &'a Frontend, record: &mut Record<'a>) -> Result<(), ExchangeError> {
    let mut scene = client.scene(frontend);
    frontend.rules().capture_request(None, &mut client.memory);
    if let Some(termination) = inspect(client, frontend.rules(), &mut scene).await {
        record.ruled(termination);
        return Ok(());
    }
    let named = match frontend.names() {
        Some(names) => Box::pin(by_name(client, names)).await,
        None => None,
    };
    let backend = named.or_else(|| route(client, frontend, &scene)).ok_or(ExchangeError::NoBackend)?;
    record.backend(backend);
    scene.backend = Some(backend.name());
    if !backend.is_twin_of(frontend)
        && let Some(termination) = inspect(client, backend.rules(), &mut scene).await
    {
        record.ruled(termination);
        return Ok(());
    }
    record.step(frontend, LogStep::Request, &client.view(&scene));
    let (server, _pursuit, affinity) = dial(client, frontend, backend, record).await?;
    scene.server = record.names().1;
    record.step(frontend, LogStep::Connect, &client.view(&scene));
    let early = client.early.take();
    let rules = backend.rules();
    let quiet = Quiet::of(frontend.timeouts(), backend.timeouts());
    record.begin_flow(frontend);
    record.progress.tunnel.watch(&client.memory, record.progress.meters.as_ref());
    let carried = if rules.concerns_first_answers() || rules.sticks_late() {
        let mut memory = mem::take(&mut client.memory);
        let carried = {
            let mut held = Box::pin(hold(&server.stream, (rules, &affinity), scene, &mut memory));
            let held: Pin<&mut dyn Future<Output = Held>> = held.as_mut();
            let ends = Ends { client: End::Bytes(&client.stream), server: End::Bytes(&server.stream), early, held: Some(held) };
            tunnel::run(ends, quiet, &mut client.deadline, &record.progress.tunnel).await
        };
        client.memory = memory;
        carried
    } else {
        affinity.learn(&[]);
        let ends = Ends { client: End::Bytes(&client.stream), server: End::Bytes(&server.stream), early, held: None };
        tunnel::run(ends, quiet, &mut client.deadline, &record.progress.tunnel).await
    };
    if let Ended::Refused(Refusal::Silent) = carried.end {
        client.stream.socket().vanish();
    }
    record.tunnel(&carried);
    if carried.to_server == 0 && frontend.ignores_null() {
        record.silence();
    }
    Ok(())
}

/// Waits for the name a client asks for, and returns the backend that serves it.
async fn by_name<'a>(client: &mut Client, names: &'a Names) -> Option<&'a Arc<Backend>> {
    let hello = inspect::look(client, names.delay(), inspect::client_hello).await??;
    names.backend(&hello.server_name?)
}

/// Takes the client's first bytes through the rules about them, waiting for as many as these want to see; returns how the log says that
/// one of them ended the connection.
async fn inspect(client: &mut Client, of: &ProxyRules, scene: &mut Scene<'_>) -> Option<&'static str> {
    if !of.concerns_content() {
        return None;
    }
    let mut memory = mem::take(&mut client.memory);
    let before = (scene.source, scene.destination);
    let mut next = 0;
    let mut judge = |bytes: &[u8], rest: Rest| {
        let (request, content) = with_request(bytes, rest, of);
        let mut here = Scene { content: Some(&content), ..*scene };
        let verdict = of.on_content(&mut next, request.as_ref(), &mut here, &mut memory);
        (scene.source, scene.destination) = (here.source, here.destination);
        verdict
    };
    let early = match of.inspect_delay() {
        Some(delay) => {
            let look = |bytes: &[u8]| judge(bytes, Rest::Expected).map_or(Judged::Wait, Judged::Known);
            Box::pin(inspect::look(client, delay, look)).await
        }
        None => None,
    };
    let verdict = match early {
        Some(verdict) => Some(verdict),
        None => judge(client.early.as_ref().map_or(&[], Buffer::filled), Rest::Over),
    };
    client.memory = memory;
    client.believe(before, scene);
    match verdict {
        None | Some(rules::Verdict::Pass) => None,
        Some(rules::Verdict::Vanish) => {
            client.stream.socket().vanish();
            Some("PR")
        }
        Some(
            rules::Verdict::Wait(_)
            | rules::Verdict::Answer(_)
            | rules::Verdict::Held(_)
            | rules::Verdict::Challenge(_)
            | rules::Verdict::Deny(_)
            | rules::Verdict::Tarpit(_)
            | rules::Verdict::Close
            | rules::Verdict::Cut
            | rules::Verdict::Fail,
        ) => Some("PR"),
    }
}

/// Takes the server's first bytes through the rules about them, waiting for as many as these want to see, and notes what ties the client
/// to the server.
async fn hold(server: &Stream, (of, affinity): (&ProxyRules, &Affinity<'_>), mut scene: Scene<'_>, memory: &mut Memory) -> Held {
    let mut next = 0;
    let mut judge = |bytes: &[u8], rest: Rest| {
        let content = Content::new(bytes, rest).without_request();
        let mut here = Scene { answer: Some(&content), ..scene };
        let verdict = of.on_first_answer(&mut next, (None, None), &mut here, memory);
        (scene.source, scene.destination) = (here.source, here.destination);
        verdict
    };
    let mut early = None;
    let known = match of.answer_delay() {
        Some(delay) => {
            let look = |bytes: &[u8]| judge(bytes, Rest::Expected).map_or(Judged::Wait, Judged::Known);
            inspect::look_at((server, &mut early), delay, &mut Deadline::default(), look).await
        }
        None => None,
    };
    let bytes = early.as_ref().map_or(&[][..], Buffer::filled);
    let verdict = known.or_else(|| judge(bytes, Rest::Over));
    let refusal = match verdict {
        None | Some(rules::Verdict::Pass | rules::Verdict::Cut) => {
            let content = Content::new(bytes, Rest::Over).without_request();
            let scene = Scene { answer: Some(&content), ..scene };
            affinity.learn(&of.late_ties(&View { scene: &scene, request: None, response: None, memory }));
            return if matches!(verdict, Some(rules::Verdict::Cut)) { Held::Cut(early) } else { Held::Passed(early) };
        }
        Some(rules::Verdict::Vanish) => Refusal::Silent,
        Some(
            rules::Verdict::Wait(_)
            | rules::Verdict::Answer(_)
            | rules::Verdict::Held(_)
            | rules::Verdict::Challenge(_)
            | rules::Verdict::Deny(_)
            | rules::Verdict::Tarpit(_)
            | rules::Verdict::Close
            | rules::Verdict::Fail,
        ) => Refusal::Told,
    };
    Held::Refused(refusal, bytes.len() as u64)
}

/// Reads the request that bytes begin, where rules want to know.
pub(crate) fn with_request<'b>(bytes: &'b [u8], rest: Rest, of: &ProxyRules) -> (Option<RequestHead>, Content<'b>) {
    let content = Content::new(bytes, rest);
    if !of.reads_requests() {
        return (None, content);
    }
    match parse::request(bytes) {
        Ok(Parsed::Complete { head, .. }) => (Some(head), content),
        Ok(Parsed::Partial) => (None, content),
        Err(_) => (None, content.without_request()),
    }
}

/// Chooses the backend by what is known of the connection.
fn route<'a>(client: &Client, frontend: &'a Frontend, scene: &Scene<'_>) -> Option<&'a Arc<Backend>> {
    let bytes = client.early.as_ref().map_or(&[][..], Buffer::filled);
    let (request, content) = with_request(bytes, Rest::Over, frontend.rules());
    let scene = Scene { content: Some(&content), ..*scene };
    frontend.route(&View { scene: &scene, request: request.as_ref(), response: None, memory: &client.memory })
}

/// Returns the host that a server is asked for in the handshake of TLS.
fn host_for<'s>(server: &'s Server, client: &Client, frontend: &Frontend, backend: &Backend) -> Option<Cow<'s, [u8]>> {
    if !server.wants_host() {
        return None;
    }
    let content = Content::new(client.early.as_ref().map_or(&[], Buffer::filled), Rest::Over);
    let scene = Scene { backend: Some(backend.name()), content: Some(&content), ..client.scene(frontend) };
    server.host(&View { scene: &scene, request: None, response: None, memory: &client.memory })
}

/// Finds out which server the client belongs to.
fn affinity<'a>(client: &Client, frontend: &Frontend, backend: &'a Backend) -> Affinity<'a> {
    if !backend.rules().sticks() && !backend.rules().names_servers() && !backend.heeds_rdp() {
        return Affinity::default();
    }
    let content = Content::new(client.early.as_ref().map_or(&[], Buffer::filled), Rest::Over);
    let scene = Scene { backend: Some(backend.name()), content: Some(&content), ..client.scene(frontend) };
    Affinity::of_connection(backend, &View { scene: &scene, request: None, response: None, memory: &client.memory })
}

/// Connects to a server, trying again and elsewhere as the backend allows.
async fn dial<'a>(
    client: &mut Client,
    frontend: &'a Frontend,
    backend: &'a Arc<Backend>,
    record: &mut Record<'a>,
) -> Result<(Link, Pursuit<'a>, Affinity<'a>), ExchangeError> {
    let key = {
        let bytes = client.early.as_ref().map_or(&[][..], Buffer::filled);
        backend.key(Seen { client: client.source, request: None, bytes })
    };
    let mut affinity = affinity(client, frontend, backend);
    let begun = {
        let seeker = Seeker { key, pin: affinity.pin(), liked: None, priority: client.memory.wishes.priority };
        let begun = pin!(Pursuit::begin(backend, seeker, &mut client.deadline));
        unless_closed(backend, (&client.stream, &mut client.early), begun).await
    };
    let mut pursuit = begun.map_err(|error| gone(error, ExchangeError::LeftQueue))??;
    record.queued();
    loop {
        let server = pursuit.server();
        record.server(server, pursuit.failed());
        affinity.serve(server, pursuit.is_pinned());
        let host = host_for(server, client, frontend, backend);
        let host = host.as_deref().map_or(Host::Unstated, Host::Named);
        let inbound = Inbound {
            client: client.source,
            destination: client.stated_destination(),
            socket: Some(client.stream.socket()),
            host,
            brand: client.memory.wishes.brand,
        };
        record.connecting();
        let connected = {
            let connecting = pin!(connect(backend, server, inbound, &mut client.deadline));
            unless_closed(backend, (&client.stream, &mut client.early), connecting).await
        };
        let error = match connected.map_err(|error| gone(error, ExchangeError::LeftConnect))? {
            Ok(link) => {
                server.note(Sign::Connected);
                record.connected(Some(&link.stream));
                if frontend.rules().asks_server_line() {
                    let socket = link.stream.socket();
                    let line = ServerLine { local: socket.local_address(), peer: socket.peer_address(), version: 1 };
                    client.memory.server_line = Some(line);
                }
                return Ok((link, pursuit, affinity));
            }
            Err(error) => error,
        };
        server.note(Sign::Unreachable);
        info!("{} to server {}/{}: {error}", client.source, backend.name(), server.name());
        let next = {
            let next = pin!(pursuit.after_failure(RetryCause::ConnFailure, &mut client.deadline));
            unless_closed(backend, (&client.stream, &mut client.early), next).await
        };
        if next.map_err(|error| gone(error, ExchangeError::LeftQueue))?? == Verdict::GiveUp {
            return Err(error.into());
        }
    }
}

/// Does `work` unless the client closes, where that means that it wants no server any more.
async fn unless_closed<T>(
    backend: &Backend,
    (stream, early): (&Stream, &mut Option<Buffer>),
    work: Pin<&mut impl Future<Output = T>>,
) -> io::Result<T> {
    match backend.close() {
        Close::Nothing => Ok(work.await),
        Close::TakesBack => downstream::unless_closed(stream, early.get_or_insert_with(Buffer::take), work).await,
    }
}

/// Returns what it is that a client is gone: one whose connection failed has not closed it.
fn gone(error: io::Error, closed: fn(io::Error) -> ExchangeError) -> ExchangeError {
    if downstream::is_close(&error) { closed(error) } else { ExchangeError::Client(error) }
}
