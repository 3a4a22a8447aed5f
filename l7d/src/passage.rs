//! The way of a request through rules, from its head to the backend whose servers are to have it.
//!
//! ask the frontend's rules → show the statistics, if that is what it asks for → choose the backend → the same there. Whatever ends the
//! exchange on this way is a [`Stop`], which [`crate::exchange`] answers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use control::config::Timeout;
use control::dns::Asker;

use crate::downstream::{Downstream, Wire};
use crate::error::ExchangeError;
use crate::h1::body::Body;
use crate::h2::convert;
use crate::lane::{IoFailure, flatten};
use crate::log::Record;
use crate::look::{self, Inlet, Sight, Until};
use crate::message::head::{RequestHead, ResponseHead, Version};
use crate::message::headers::Known;
use crate::peer::Peer;
use crate::reply::Reply;
use crate::review::{Review, Ruling};
use crate::rules::{Lookup, Pause, ProxyRules, Rest, Wait};
use crate::site::{Backend, Frontend};
use crate::stats::{Entrance, Visitor};
use crate::stick::Affinity;
use crate::tls::Wanted;

/// Why a request gets no further than this.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A rule decided so.
    Ruled(Ruling),
    /// It asked for the statistics.
    Shown(Reply),
    /// It cannot be served.
    Failed(ExchangeError),
}

impl From<ExchangeError> for Stop {
    fn from(error: ExchangeError) -> Self {
        Self::Failed(error)
    }
}

impl From<Ruling> for Stop {
    fn from(ruling: Ruling) -> Self {
        Self::Ruled(ruling)
    }
}

/// Whose rules a request goes through.
#[derive(Debug, Clone, Copy)]
enum Stage<'a> {
    Frontend(&'a Frontend),
    Backend(&'a Backend),
}

impl<'a> Stage<'a> {
    fn entrance(self) -> Option<&'a Entrance> {
        match self {
            Self::Frontend(frontend) => frontend.entrance(),
            Self::Backend(backend) => backend.entrance(),
        }
    }

    fn asker(self) -> &'a Asker {
        match self {
            Self::Frontend(frontend) => frontend.asker(),
            Self::Backend(backend) => backend.asker(),
        }
    }

    fn rules(self) -> &'a ProxyRules {
        match self {
            Self::Frontend(frontend) => frontend.rules(),
            Self::Backend(backend) => backend.rules(),
        }
    }

    /// Takes a request through the rules about requests, as far as they go without waiting.
    fn judge(self, review: &mut Review<'_>, head: &mut RequestHead) -> Result<Option<Pause>, Ruling> {
        match self {
            Self::Frontend(_) => review.enter(head),
            Self::Backend(_) => review.leave(head),
        }
    }
}

/// Takes a request from its head to its backend.
pub(crate) async fn find_backend<'a: 'r, 'r>(
    client: &mut Downstream<'_>,
    review: &mut Review<'r>,
    (head, body): (&mut RequestHead, &Body),
    frontend: &'a Frontend,
    record: &mut Record<'a>,
) -> Result<&'a Arc<Backend>, Stop> {
    verify(client, review, head).await?;
    if review.looks_at_bodies() || frontend.buffers() {
        let until = if frontend.buffers() { Until::Whole } else { Until::Now };
        Box::pin(look_at(client, head, body, (until, frontend.head_end(record.began())), record)).await?;
    }
    pass(client, review, (head, body), Stage::Frontend(frontend), record).await?;
    let backend = frontend.route(&review.view(head)).ok_or(ExchangeError::NoBackend)?;
    review.hand_over(backend, head);
    record.backend(backend);
    client.wire.set_close(backend.close());
    if backend.buffers() && !frontend.buffers() {
        Box::pin(look_at(client, head, body, (Until::Whole, frontend.head_end(record.began())), record)).await?;
    }
    pass(client, review, (head, body), Stage::Backend(backend), record).await?;
    Ok(backend)
}

/// Finds out who sent the request, where rules are going to ask and that takes a while.
async fn verify(client: &mut Downstream<'_>, review: &mut Review<'_>, head: &RequestHead) -> Result<(), ExchangeError> {
    if let Some(work) = review.verification(head) {
        let outcomes = client.wire.unless_left(pin!(Box::pin(work.run()))).await.map_err(ExchangeError::TakenBack)?;
        review.verified(outcomes);
    }
    Ok(())
}

/// Takes the request through one side's rules, and past its statistics.
async fn pass(
    client: &mut Downstream<'_>,
    review: &mut Review<'_>,
    (head, body): (&mut RequestHead, &Body),
    stage: Stage<'_>,
    record: &mut Record<'_>,
) -> Result<(), Stop> {
    let judged = judge(client, review, (head, body), stage, record).await;
    heed(client, review, record).await;
    match (stage, &judged) {
        (Stage::Frontend(_), Ok(()) | Err(Stop::Shown(_) | Stop::Failed(_))) => {}
        (Stage::Frontend(_), Err(Stop::Ruled(_))) => review.note_cookies(head),
        (Stage::Backend(backend), _) => {
            review.note_cookies(head);
            if matches!(judged, Err(Stop::Ruled(_))) {
                record.given(Affinity::of(backend, head, review.persist(), None).given());
            }
        }
    }
    judged?;
    let Some(entrance) = stage.entrance().filter(|entrance| entrance.is_for(head)) else { return Ok(()) };
    match review.admit(stage.rules(), head) {
        Ok(()) => {
            if head.method_text() == b"POST" && head.seen.is_none() {
                let end = tokio::time::Instant::now() + FORM;
                Box::pin(look_at(client, head, body, (Until::Whole, Some(end)), record)).await?;
            }
            let may_change = stage.rules().administers(&review.view(head));
            Err(Stop::Shown(entrance.answer(head, if may_change { Visitor::Administrator } else { Visitor::Reader })))
        }
        Err(ruling) => {
            record.names_statistics();
            Err(Stop::Ruled(ruling))
        }
    }
}

/// Takes the request through one side's rules, which may want to wait for more of it.
async fn judge(
    client: &mut Downstream<'_>,
    review: &mut Review<'_>,
    (head, body): (&mut RequestHead, &Body),
    stage: Stage<'_>,
    record: &mut Record<'_>,
) -> Result<(), Stop> {
    inspect(client, review, head).await?;
    while let Some(pause) = stage.judge(review, head)? {
        match pause {
            Pause::Body(wait) => Box::pin(look_at(client, head, body, until(wait), record)).await?,
            Pause::Handshake => shake_hands(client, review).await?,
            Pause::Name(lookup) => resolve(client, review, &lookup, stage.asker()).await?,
        }
    }
    Ok(())
}

/// Waits until the client has completed its handshake, as long as for a request.
async fn shake_hands(client: &mut Downstream<'_>, review: &mut Review<'_>) -> Result<(), ExchangeError> {
    let limit = review.frontend().timeouts();
    let limit = limit.of(Timeout::HttpRequest).or(limit.of(Timeout::Client));
    if let Wire::H1 { stream, .. } = &client.wire {
        let shaken = client.deadline.within(limit, pin!(stream.handshake(Wanted::Whole))).await;
        shaken.map_err(|_| ExchangeError::RequestTimeout)?.map_err(|_| ExchangeError::RequestCut)?;
    }
    review.shaken();
    Ok(())
}

/// Finds an address that a rule waits for; without one the variable is not set.
async fn resolve(client: &mut Downstream<'_>, review: &mut Review<'_>, lookup: &Lookup, asker: &Asker) -> Result<(), ExchangeError> {
    let asking = Box::pin(asker.ask(&lookup.resolvers, &lookup.name, lookup.prefer));
    if let Some(ip) = client.wire.unless_left(pin!(asking)).await.map_err(ExchangeError::TakenBack)? {
        review.found(lookup, ip);
    }
    Ok(())
}

/// Takes the request through rules about content, which may want to wait.
async fn inspect(client: &mut Downstream<'_>, review: &mut Review<'_>, head: &RequestHead) -> Result<(), Stop> {
    if let Some(delay) = review.inspect(head, Rest::Expected)? {
        let waiting = Box::pin(tokio::time::sleep(delay));
        client.wire.unless_left(pin!(waiting)).await.map_err(ExchangeError::TakenBack)?;
        review.inspect(head, Rest::Over)?;
    }
    Ok(())
}

/// Returns how much a rule waits for, and until when.
fn until(wait: Wait) -> (Until, Option<tokio::time::Instant>) {
    (wait.least.map_or(Until::Whole, Until::Least), Some(tokio::time::Instant::now() + wait.time))
}

/// Lets rules see the body of a request, waiting for as much as is wanted until the moment it is wanted by.
async fn look_at(
    client: &mut Downstream<'_>,
    head: &mut RequestHead,
    body: &Body,
    (until, end): (Until, Option<tokio::time::Instant>),
    record: &mut Record<'_>,
) -> Result<(), ExchangeError> {
    if until != Until::Now && !body.is_done() && head.headers.known(Known::Expect).next().is_some() {
        invite(client, head).await?;
    }
    let inlet = match &mut client.wire {
        Wire::H1 { stream, input, .. } => Inlet::H1 { stream, input, body },
        Wire::Stream(_) if body.is_done() => return Ok(()),
        Wire::Stream(stream) => Inlet::Stream(&mut stream.body),
    };
    let Sight { content, outcome } = look::look(inlet, until, end, client.deadline).await.map_err(ExchangeError::Request)?;
    head.seen = Some(content);
    if until != Until::Now {
        record.seen(outcome.is_ok());
    }
    outcome.map_err(|failure| match failure {
        IoFailure::Io(_) => ExchangeError::BodyCut,
        IoFailure::Elapsed(_) => ExchangeError::BodyTimeout,
    })
}

/// Asks for the body of a request whose client waits for that, in place of a server that will not be asked to.
async fn invite(client: &mut Downstream<'_>, head: &mut RequestHead) -> Result<(), ExchangeError> {
    head.headers.remove_if(|field| field.known == Known::Expect);
    match &mut client.wire {
        Wire::H1 { stream, .. } => {
            let sent = client.deadline.within(Some(INTERIM), pin!(stream.send(b"HTTP/1.1 100 Continue\r\n\r\n"))).await;
            flatten(sent).map_err(|_| ExchangeError::BodyCut)
        }
        Wire::Stream(stream) => {
            let interim = convert::response(&ResponseHead::of(Version::Http11, 100, b"")).map_err(ExchangeError::Untranslatable)?;
            let sent = client.deadline.within(Some(INTERIM), pin!(stream.respond.inform(interim))).await;
            flatten(sent).map_err(|_| ExchangeError::BodyCut)
        }
    }
}

/// Does what rules want done with the client: believes what they say of its addresses, and tells it what it is to hear at once.
async fn heed(client: &mut Downstream<'_>, review: &mut Review<'_>, record: &mut Record<'_>) {
    let (source, destination) = review.ends();
    if source != client.source.inet() || destination.is_some() && destination != client.destination {
        client.source = source.map_or(client.source, Peer::Inet);
        client.destination = destination.or(client.destination);
        record.ends(client.source, destination);
    }
    let hints = review.take_hints();
    if !hints.is_empty() {
        client.inform(&hints, INTERIM).await;
    }
}

/// How long a form for the page of statistics may take to come.
const FORM: Duration = Duration::from_secs(10);
/// How long an interim response may take to be written.
const INTERIM: Duration = Duration::from_secs(1);
