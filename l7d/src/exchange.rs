//! One request from its first byte to the last byte of its response; the file to read first.
//!
//! read the head → go through the rules to a backend ([`crate::passage`]) → choose a server, waiting for a slot → connect, or reuse a
//! connection → forward → log. There is one loop, around choosing, connecting and forwarding, and nobody below it tries anything twice.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control::config::{LogStep, RetryCause, RetryOn, Timeout};
use control::tls::Host;
use tracing::{debug, info};

use crate::balance::Seen;
use crate::brand::Brand;
use crate::buffer::Buffer;
use crate::cache::Hit;
use crate::compress::{Coder, Settings};
use crate::deadline::Deadline;
use crate::downstream::{Downstream, Outlook, Streamed, Wire};
use crate::error::ExchangeError;
use crate::forward::{self, Fate, Finished, Held, Limits, Outgoing, Progress};
use crate::forwarded;
use crate::h1::body::Body;
use crate::h1::encode::Connection;
use crate::h1::framing;
use crate::h1::parse::{self, Parsed};
use crate::h2::convert;
use crate::idle;
use crate::lane::{IoFailure, flatten};
use crate::log::Record;
use crate::message::body::Framing;
use crate::message::head::{Method, RequestHead, Version};
use crate::passage::{self, Stop};
use crate::peer::Peer;
use crate::reply::{self, BodyOf, Reply};
use crate::review::{self, Manner, Review, Ruling};
use crate::rules::{Memory, Scene, View, Wishes};
use crate::sessions;
use crate::site::{Backend, Frontend, Reuse, Server, Sign};
use crate::stick::{Affinity, Event};
use crate::stream::Stream;
use crate::trace::Trail;
use crate::tunnel::Quiet;
use crate::upstream::connect::{ConnectError, Inbound};
use crate::upstream::pool::Key;
use crate::upstream::pursuit::{Pursuit, Seeker, Verdict};
use crate::upstream::{self, Sharing, Upstream};

/// Where in the life of its connection a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the first.
    First,
    /// Others came before it.
    Later,
}

/// Serves one request and returns what becomes of the client's connection.
pub(crate) async fn run(client: &mut Downstream<'_>, memory: &mut Memory, frontend: &Frontend, turn: Turn, began: Instant) -> Fate {
    let trail = Trail::begin(frontend);
    let mut record = Record::new(client.source, frontend, began);
    record.secured(client.secured(), std::mem::take(&mut client.handshake));
    record.destination(|| client.find_destination());
    let place = record.place();
    let served = {
        let serving = pin!(serve(client, memory, frontend, turn, (&mut record, trail.as_deref())));
        sessions::unless_ended(place, serving).await
    };
    let served = served.unwrap_or_else(|cause| Err(Failure { error: record.ended(cause), reply: None, fate: Fate::Close }));
    let fate = match served {
        Ok(fate) => fate,
        Err(Failure { error, reply, fate }) => {
            tell(client.source, frontend, &error);
            if let (ExchangeError::Request(fault), Wire::H1 { input, .. }) = (&error, &client.wire) {
                frontend.captures().note(client.source, input.filled(), *fault);
            }
            if matches!(error, ExchangeError::Request(_) | ExchangeError::Upload(_)) {
                memory.note(|record| record.count(Event::Glitch));
            }
            if matches!(error, ExchangeError::RequestTimeout | ExchangeError::RequestCut) && client.wire.is_silent() {
                // A browser may connect before it knows whether it has anything to ask.
                if frontend.ignores_probes() {
                    return Fate::Close;
                }
                if frontend.ignores_null() {
                    record.silence();
                }
            }
            record.fail(&error);
            refuse(client, reply, fate, &mut record).await
        }
    };
    let ending = trail.as_ref().map(|_| record.ending());
    record.account(memory);
    let (backend, server) = record.names();
    let scene = Scene { backend, server, ..review::scene(client, frontend, turn) };
    record.write(frontend, &View { scene: &scene, request: None, response: None, memory });
    memory.end_exchange();
    if let Some((trail, ending)) = trail.zip(ending) {
        trail.end(&ending);
    }
    fate
}

/// An exchange that failed.
struct Failure {
    error: ExchangeError,
    /// What the client is told, if anything.
    reply: Option<Reply>,
    /// What becomes of the client's connection.
    fate: Fate,
}

impl Failure {
    /// Makes it of what went wrong, after which the connection closes.
    fn new(error: ExchangeError, review: &mut Review<'_>, head: Option<&RequestHead>) -> Self {
        let mut reply = error.status().map(|status| review.page(status, head));
        if let Some(reply) = reply.as_mut().filter(|_| !error.is_before_rules()) {
            review.polish(head, reply);
        }
        Self { error, reply, fate: Fate::Close }
    }
}

/// Notes a request that was refused before it became an exchange.
pub(crate) fn reject(client: Peer, frontend: &Frontend, began: Instant, error: &ExchangeError) {
    tell(client, frontend, error);
    let mut record = Record::new(client, frontend, began);
    record.fail(error);
    let scene = Scene::bare(client.inet(), frontend.name(), frontend.rules().shared());
    record.write(frontend, &View { scene: &scene, request: None, response: None, memory: &Memory::default() });
}

fn tell(client: Peer, frontend: &Frontend, error: &ExchangeError) {
    if error.is_doubtful() {
        info!("{client} on frontend {}: {error}", frontend.name());
    } else {
        debug!("{client} on frontend {}: {error}", frontend.name());
    }
}

async fn serve<'a>(
    client: &mut Downstream<'_>,
    memory: &mut Memory,
    frontend: &'a Frontend,
    turn: Turn,
    (record, trail): (&mut Record<'a>, Option<&'a Trail>),
) -> Result<Fate, Failure> {
    let mut review = Review::new(client, frontend, turn, memory);
    let (mut head, body) = match request(client, frontend, record).await {
        Ok(request) => request,
        Err(error) => return Err(Failure::new(error, &mut review, None)),
    };
    review.begin(&head);
    record.step(frontend, LogStep::Accept, &review.view(&head));
    if let Some(observer) = trail.and_then(|trail| trail.meet(&head, &review.view(&head))) {
        review.observe(observer);
    }
    if frontend.is_monitor(head.target()) {
        return Ok(assure(client, &head, &body, &review, record).await);
    }
    let backend = match passage::find_backend(client, &mut review, (&mut head, &body), frontend, record).await {
        Ok(backend) => backend,
        Err(Stop::Ruled(Ruling { manner: Manner::Held(hit), .. })) => {
            let given = from_cache(client, &hit, (&mut head, body), &mut review, frontend, record).await;
            return given.map_err(|error| Failure::new(error, &mut review, Some(&head)));
        }
        Err(Stop::Ruled(ruling)) => {
            let overruled = overrule(client, ruling, &head, body, frontend, record).await;
            return overruled.map_err(|error| Failure::new(error, &mut review, Some(&head)));
        }
        Err(Stop::Shown(reply)) => return Ok(exhibit(client, reply, &head, body, frontend, record).await),
        Err(Stop::Failed(error)) => return Err(Failure::new(error, &mut review, Some(&head))),
    };
    let directed = Affinity::directed(backend, review.persist(), &review.view(&head));
    let mut affinity = Affinity::of(backend, &mut head, review.persist(), directed);
    record.given(affinity.given());
    review.name(&mut head);
    record.trace(&mut head);
    record.step(frontend, LogStep::Request, &review.view(&head));
    forwarded::add(&mut head, client, frontend, backend);
    if backend.rules().sticks() {
        affinity.recall(backend, &review.view(&head));
    }
    let key = backend.key(Seen { client: client.source, request: Some(&head), bytes: b"" });
    let sharing = Sharing::of(backend, client, turn, head.method());
    let whole = body.is_done();
    let settings = Settings::of(frontend.compression(), backend.compression());
    let compression = settings.and_then(|settings| settings.offer(&mut head));
    let limits = limits(frontend, backend, review.wishes());
    let mut request = outgoing(head, body, frontend, backend, (review, affinity));
    request.compression = compression;
    let place = record.place();
    let outcome = {
        let delivering = pin!(deliver(client, &mut request, backend, (key, sharing), limits, record));
        sessions::unless_ended(place, delivering).await
    };
    let outcome = outcome.unwrap_or_else(|cause| Err(record.ended(cause)));
    outcome.map_err(|error| {
        let failure = Failure::new(error, &mut request.review.borrow_mut(), Some(&request.head));
        // A client whose request is over may go on with the next one, whatever became of this one's server.
        let stays = whole && request.head.version() != Version::Http10 && matches!(failure.error.status(), Some(502..=504));
        Failure { fate: if stays { request.client } else { Fate::Close }, ..failure }
    })
}

/// Finds a server for a request and relays its answer.
async fn deliver<'a: 'm, 'm>(
    client: &mut Downstream<'_>,
    request: &mut Outgoing<'m>,
    backend: &'a Backend,
    (key, sharing): (Option<u32>, Sharing<'_>),
    limits: Limits,
    record: &mut Record<'a>,
) -> Result<Fate, ExchangeError> {
    let repeats = backend.retry_on().repeats_requests() && request.may_repeat();
    if repeats {
        Box::pin(request.keep(&mut client.wire, client.deadline, limits.client)).await?;
    }
    let liked = if key.is_none() { sharing.liked(backend) } else { None };
    let seeker = Seeker { key, pin: request.affinity.pin(), liked, priority: request.priority() };
    let pursuit = {
        let begun = pin!(Pursuit::begin(backend, seeker, client.deadline));
        client.wire.unless_left(begun).await.map_err(ExchangeError::LeftQueue)??
    };
    record.queued();
    Delivery { request, backend, pursuit, sharing, limits, repeats }.run(client, record).await
}

/// A request that has a backend, until one of its servers has answered.
struct Delivery<'a, 'r, 'm> {
    request: &'r mut Outgoing<'m>,
    backend: &'a Backend,
    pursuit: Pursuit<'a>,
    sharing: Sharing<'r>,
    limits: Limits,
    /// Whether the request may be sent again after a server has had it.
    repeats: bool,
}

impl<'a: 'm, 'm> Delivery<'a, '_, 'm> {
    /// Tries servers and connections until one has answered, or none is left.
    async fn run(mut self, client: &mut Downstream<'_>, record: &mut Record<'a>) -> Result<Fate, ExchangeError> {
        loop {
            let server = self.pursuit.server();
            record.server(server, self.pursuit.failed());
            self.request.affinity.serve(server, self.pursuit.is_pinned());
            self.request.review.borrow_mut().serve(server);
            record.given(self.request.affinity.given());
            if let Some(field) = self.backend.name_header() {
                self.request.tell_name(field, server);
            }
            let host = self.request.host_for(server);
            let host = host.as_deref().map_or(Host::Unstated, Host::Named);
            let brand = self.request.review.borrow().wishes().brand;
            let kind = server.kind(host, (brand, client.source));
            let Some((mut connection, past)) = self.connection(client, server, (kind, host), record).await? else { continue };
            self.request.review.borrow_mut().connected(|| connection.session());
            self.request.review.borrow_mut().reached(|| connection.line());
            let whole = self.request.body.is_done();
            self.request.retry_on = if whole && self.repeats { self.pursuit.causes_left() } else { RetryOn::NEVER };
            record.begin_flow(self.request.review.borrow().frontend());
            {
                let review = self.request.review.borrow();
                record.step(review.frontend(), LogStep::Connect, &review.view(&self.request.head));
                let outline = record.outline(review.frontend(), &review.view(&self.request.head));
                drop(review);
                self.request.outline = outline;
            }
            let outcome = forward::run(client, &mut connection, self.request, self.limits, &mut record.progress).await;
            record.response();
            let progress = &record.progress;
            if let Some(sign) = sign(&outcome, past, progress) {
                server.note(sign);
            }
            match outcome {
                Ok(Finished::Exchanged { client: fate, server: rest }) => {
                    if rest == Fate::Keep {
                        self.sharing.give_back(server, kind, connection);
                    }
                    if self.request.body.is_done() && !self.request.head.keeps_alive() {
                        client.outlook = Outlook::Nothing;
                    }
                    return Ok(fate);
                }
                Ok(Finished::Overruled { ruling, client: fate }) => {
                    if ruling.reply.is_none() {
                        record.withheld();
                    }
                    let version = self.request.head.version();
                    return Ok(announce(client, ruling, fate, version, record).await);
                }
                Ok(Finished::Tunnel(carried)) => {
                    record.tunnel(&carried);
                    return Ok(Fate::Close);
                }
                // A server may close an idle connection at any moment, also at this one: it has not seen the request, or may see it twice.
                Err(ExchangeError::Server(_))
                    if past == Past::Reused && (progress.unsent || (whole && may_repeat(self.request, progress))) =>
                {
                    self.sharing.forgo();
                }
                // A new connection may be told so too: the server's limit on streams was not known when the request was sent.
                Err(error @ ExchangeError::Server(_)) if whole && progress.unprocessed => {
                    if try_again(client, &mut self.pursuit, RetryCause::ConnFailure).await? == Verdict::GiveUp {
                        return Err(error);
                    }
                }
                Err(error) => {
                    // The connection may be one whose other end is gone without a word.
                    if matches!(error, ExchangeError::ServerTimeout) {
                        connection.distrust();
                    }
                    let cause = error.retry_cause().filter(|_| progress.status.is_none());
                    let Some(cause) = cause.filter(|cause| self.request.retry_on.contains(*cause)) else { return Err(error) };
                    debug!("{} to server {}/{}: {error}", client.source, self.backend.name(), server.name());
                    if try_again(client, &mut self.pursuit, cause).await? == Verdict::GiveUp {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Finds a connection to a server, or opens one; none where that failed and another server is to be tried.
    async fn connection(
        &mut self,
        client: &mut Downstream<'_>,
        server: &Server,
        (kind, host): (Key, Host<'_>),
        record: &mut Record<'_>,
    ) -> Result<Option<(Upstream, Past)>, ExchangeError> {
        if let Some(connection) = self.sharing.find(server, kind) {
            record.reused(connection.stream());
            return Ok(Some((connection, Past::Reused)));
        }
        match open(client, self.backend, (server, kind.kind.brand), host, record).await? {
            Ok(connection) => {
                server.note(Sign::Connected);
                self.sharing.opened(server, kind, &connection);
                Ok(Some((connection, Past::New)))
            }
            Err(error) => {
                server.note(Sign::Unreachable);
                match try_again(client, &mut self.pursuit, RetryCause::ConnFailure).await? {
                    Verdict::TryAgain => Ok(None),
                    Verdict::GiveUp => Err(error.into()),
                }
            }
        }
    }
}

/// Returns what an exchange says of its server, in HAProxy's words.
fn sign(outcome: &Result<Finished, ExchangeError>, past: Past, progress: &Progress) -> Option<Sign> {
    if let Some(status) = progress.heard {
        return Some(Sign::Answered(status));
    }
    let error = outcome.as_ref().err()?;
    if let ExchangeError::Server(error) = error {
        // A connection that was idle may have ended before.
        let what = if error.kind() == ErrorKind::UnexpectedEof { "Close from server (http)" } else { "Read error (http)" };
        return (past == Past::New).then_some(Sign::Failed(what));
    }
    if matches!(error, ExchangeError::ServerTimeout) {
        return Some(Sign::Failed("Read timeout (http)"));
    }
    let is_junk = matches!(error, ExchangeError::Response(_) | ExchangeError::ResponseTooLong | ExchangeError::Untranslatable(_));
    is_junk.then_some(Sign::Failed("Invalid http response (headers)"))
}

/// What a connection to a server has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Nothing.
    New,
    /// Other requests.
    Reused,
}

/// Opens a connection to the server in hand, unless the client leaves meanwhile.
async fn open(
    client: &mut Downstream<'_>,
    backend: &Backend,
    (server, brand): (&Server, Brand),
    host: Host<'_>,
    record: &mut Record<'_>,
) -> Result<Result<Upstream, ConnectError>, ExchangeError> {
    record.connecting();
    let inbound = Inbound { client: client.source, destination: client.destination, socket: client.wire.socket(), host, brand };
    let connection = {
        let opening = pin!(upstream::open(backend, server, inbound, client.deadline));
        client.wire.unless_left(opening).await.map_err(ExchangeError::LeftConnect)?
    };
    if let Ok(connection) = &connection {
        record.connected(connection.stream());
    }
    Ok(connection)
}

/// Finds what to try after a failed attempt, unless the client leaves meanwhile.
async fn try_again(client: &mut Downstream<'_>, pursuit: &mut Pursuit<'_>, cause: RetryCause) -> Result<Verdict, ExchangeError> {
    let next = pin!(pursuit.after_failure(cause, client.deadline));
    Ok(client.wire.unless_left(next).await.map_err(ExchangeError::LeftQueue)??)
}

/// Takes the request's head, and tells how its body ends.
async fn request(client: &mut Downstream<'_>, frontend: &Frontend, record: &mut Record<'_>) -> Result<(RequestHead, Body), ExchangeError> {
    match &mut client.wire {
        Wire::H1 { stream, input, .. } => {
            let head = read_head(stream, input, client.deadline, frontend, record.began()).await?;
            record.request(&head);
            let body = Body::new(framing::request(&head).map_err(ExchangeError::Request)?);
            Ok((head, body))
        }
        Wire::Stream(stream) => {
            let head = stream.head.take().ok_or(ExchangeError::RequestCut)?;
            record.request(&head);
            let body = body_in_frames(&head, stream)?;
            Ok((head, body))
        }
    }
}

/// Tells how a body ends that comes in frames, or that it will have none of its own but a tunnel's.
fn body_in_frames(head: &RequestHead, stream: &Streamed) -> Result<Body, ExchangeError> {
    let is_tunnel = head.method() == Method::Connect || convert::asks_for_websocket(head);
    if stream.body.is_end_stream() || is_tunnel {
        return Ok(Body::Done);
    }
    // A declared length of zero is a body, too, while its end is still to come: it must not go on in chunks.
    Ok(match framing::request(head).map_err(ExchangeError::Request)? {
        Framing::Length(length) => Body::Length(length),
        Framing::None | Framing::Chunked | Framing::UntilClose => Body::UntilClose,
    })
}

/// Tells whether a request may be sent again after a connection failed that had served others before.
fn may_repeat(request: &Outgoing<'_>, progress: &Progress) -> bool {
    progress.unprocessed || (!progress.server_spoke && request.head.method().is_idempotent())
}

fn limits(frontend: &Frontend, backend: &Backend, wishes: Wishes) -> Limits {
    let (mut client, mut server) = (*frontend.timeouts(), *backend.timeouts());
    if let Some(limit) = wishes.client_timeout {
        client = client.with(Timeout::Client, limit);
    }
    if let Some(limit) = wishes.server_timeout {
        server = server.with(Timeout::Server, limit);
    }
    if let Some(limit) = wishes.tunnel_timeout {
        (client, server) = (client.with(Timeout::Tunnel, limit), server.with(Timeout::Tunnel, limit));
    }
    Limits { client: client.of(Timeout::Client), server: server.of(Timeout::Server), tunnel: Quiet::of(&client, &server) }
}

/// Reads the head of the request that `input` begins with.
async fn read_head(
    stream: &Stream,
    input: &mut Buffer,
    deadline: &mut Deadline,
    frontend: &Frontend,
    began: Instant,
) -> Result<RequestHead, ExchangeError> {
    let end = frontend.head_end(began);
    let mut worth_parsing = true;
    loop {
        if worth_parsing && let Parsed::Complete { head, length } = parse::request(input.filled()).map_err(ExchangeError::Request)? {
            if !parse::may_be(length) {
                return Err(ExchangeError::RequestTooLong);
            }
            input.consume(length);
            return Ok(head);
        }
        if !parse::goes_on(input) {
            return Err(ExchangeError::RequestTooLong);
        }
        let seen = input.len();
        let more = deadline.until(end, pin!(stream.receive_more(input))).await;
        match flatten(more) {
            Ok(0) | Err(IoFailure::Io(_)) => return Err(ExchangeError::RequestCut),
            Ok(_) => {}
            Err(IoFailure::Elapsed(_)) => return Err(ExchangeError::RequestTimeout),
        }
        // A head that comes byte by byte is not read anew for each of them: only a line end can complete it.
        worth_parsing = input.filled()[seen..].contains(&b'\n');
    }
}

/// Makes the request that a server gets, and decides which connections may outlive it.
fn outgoing<'a>(
    head: RequestHead,
    body: Body,
    frontend: &Frontend,
    backend: &Backend,
    (review, affinity): (Review<'a>, Affinity<'a>),
) -> Outgoing<'a> {
    let closes = frontend.closes() || backend.closes();
    let client = if !closes && head.keeps_alive() && !idle::is_draining() { Fate::Keep } else { Fate::Close };
    let server = if backend.reuse() != Reuse::Nothing && !closes { Fate::Keep } else { Fate::Close };
    let mut request = Outgoing::new(head, body, client, server, (review, affinity));
    request.farewell = if frontend.pretends() || backend.pretends() { Connection::Unstated } else { Connection::Close };
    request
}

/// Gives the answer of a cache, which goes through the rules about responses as a server's does.
async fn from_cache(
    client: &mut Downstream<'_>,
    hit: &Hit,
    (head, body): (&mut RequestHead, Body),
    review: &mut Review<'_>,
    frontend: &Frontend,
    record: &mut Record<'_>,
) -> Result<Fate, ExchangeError> {
    let fate = fate_after(client, head, body, frontend)?;
    let (mut response, body) = hit.answer(head);
    if review.looks_at_bodies() {
        response.seen = Some(body.to_vec().into_boxed_slice());
    }
    loop {
        match review.respond(head, &mut response) {
            // All that is waited for is there.
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(ruling) => return Ok(announce(client, ruling, fate, head.version(), record).await),
        }
    }
    let body = if head.method() == Method::Head { Bytes::new() } else { body };
    let offer = review.compression().filter(|_| !body.is_empty()).and_then(|settings| settings.offer(head));
    let coder = offer.and_then(|offer| offer.accept(&mut response, Some(body.len() as u64)));
    if coder.is_some() {
        offer.into_iter().for_each(|offer| review.compressed(offer.coding()));
    }
    if coder.is_some() && matches!(client.wire, Wire::H1 { .. }) {
        response.headers.append(b"Transfer-Encoding", b"chunked").map_err(|_| ExchangeError::ResponseTooLong)?;
    }
    record.held(response.status());
    record.progress.pressed = coder.as_ref().map(Coder::pressed);
    let limit = review.wishes().client_timeout.or_else(|| frontend.timeouts().of(Timeout::Client));
    let held = Held { head: response, body, coder, connection: connection(fate, head.version()) };
    let given = Box::pin(held.give(client, limit, &record.progress.sent)).await;
    record.sent();
    given.map(|()| fate)
}

/// Gives the answer a rule decided on to a request that reached no server; the connection stays if the request has arrived whole.
async fn overrule(
    client: &mut Downstream<'_>,
    ruling: Ruling,
    head: &RequestHead,
    body: Body,
    frontend: &Frontend,
    record: &mut Record<'_>,
) -> Result<Fate, ExchangeError> {
    let fate = fate_after(client, head, body, frontend)?;
    Ok(announce(client, ruling, fate, head.version(), record).await)
}

/// Returns what becomes of the connection of a client whose request gets no server: it stays if the request has arrived whole.
fn fate_after(client: &mut Downstream<'_>, head: &RequestHead, mut body: Body, frontend: &Frontend) -> Result<Fate, ExchangeError> {
    if let Wire::H1 { input, .. } = &mut client.wire {
        let count = body.take(input.filled()).map_err(ExchangeError::Upload)?;
        input.consume(count);
    }
    let stays = body.is_done() && !frontend.closes() && head.keeps_alive() && !idle::is_draining();
    Ok(if stays { Fate::Keep } else { Fate::Close })
}

/// Shows the statistics; the connection stays if the request has no body.
async fn exhibit(
    client: &mut Downstream<'_>,
    reply: Reply,
    head: &RequestHead,
    body: Body,
    frontend: &Frontend,
    record: &mut Record<'_>,
) -> Fate {
    let stays = body.is_done() && !frontend.closes() && head.keeps_alive() && !idle::is_draining();
    record.exhibited();
    answer(client, reply, if stays { Fate::Keep } else { Fate::Close }, head.version(), record).await
}

/// Answers as a rule decided.
async fn announce(client: &mut Downstream<'_>, ruling: Ruling, fate: Fate, version: Version, record: &mut Record<'_>) -> Fate {
    record.ruled(ruling.termination);
    match ruling.manner {
        Manner::AtOnce | Manner::Held(_) => {}
        Manner::Late(wait) => {
            let waiting = Box::pin(tokio::time::sleep(wait));
            // Who left meanwhile is not told.
            let _ = client.wire.unless_left(pin!(waiting)).await;
        }
        Manner::Vanishing => {
            if let Some(socket) = client.wire.socket() {
                socket.vanish();
            }
        }
    }
    let Some(reply) = ruling.reply else { return Fate::Close };
    answer(client, reply, fate, version, record).await
}

/// Sends an answer of our own.
async fn answer(client: &mut Downstream<'_>, reply: Reply, fate: Fate, version: Version, record: &mut Record<'_>) -> Fate {
    let fate = if reply.closes() { Fate::Close } else { fate };
    let connection = connection(fate, version);
    let status = reply.status();
    let response = reply.print(if record.is_head() { BodyOf::Head } else { BodyOf::Any }, connection);
    record.answered(status, response.len());
    // A client that does not take a few hundred bytes is not waited for; statistics may be long.
    let limit = REFUSAL * (1 + u32::try_from(response.len() / LONG).unwrap_or(u32::MAX).min(60));
    client.answer(&response, limit).await;
    fate
}

/// Returns what an answer says about its connection.
fn connection(fate: Fate, version: Version) -> Connection {
    match (fate, version) {
        (Fate::Close, _) => Connection::Close,
        (Fate::Keep, Version::Http10) => Connection::KeepAlive,
        (Fate::Keep, Version::Http11 | Version::Http2 | Version::Http3) => Connection::Unstated,
    }
}

/// Answers a request that only asks whether we are there, and leaves no line about it.
async fn assure(client: &mut Downstream<'_>, head: &RequestHead, body: &Body, review: &Review<'_>, record: &mut Record<'_>) -> Fate {
    record.silence();
    let fate = if body.is_done() && head.keeps_alive() && !idle::is_draining() { Fate::Keep } else { Fate::Close };
    let of = if record.is_head() { BodyOf::Head } else { BodyOf::Any };
    let reply = review.page(review.health(head), Some(head));
    if reply.is_usual() && reply.status() == 200 {
        client.answer(&reply::ready(of, fate), REFUSAL).await;
        return fate;
    }
    let fate = if reply.closes() { Fate::Close } else { fate };
    let connection = connection(fate, head.version());
    client.answer(&reply.print(of, connection), REFUSAL).await;
    fate
}

/// Answers a request that failed, if the client still waits for an answer.
async fn refuse(client: &mut Downstream<'_>, reply: Option<Reply>, fate: Fate, record: &mut Record<'_>) -> Fate {
    match reply.filter(|_| record.may_answer()) {
        Some(reply) => answer(client, reply, fate, Version::Http11, record).await,
        None => Fate::Close,
    }
}

/// How long a refusal may take to be written.
const REFUSAL: Duration = Duration::from_secs(1);
/// For every so many bytes it may take that time once more.
const LONG: usize = 32 * 1024;
