//! The search for a server that takes a connection: which one is tried, and which one after it failed.

use std::time::Duration;

use control::config::{RetryCause, RetryOn, Timeout};

use super::attempts::{self, Attempts, Next};
use super::reserve::{NoServer, Reserved, Wish, reserve};
use crate::deadline::Deadline;
use crate::queue::Priority;
use crate::site::{Backend, Server};
use crate::stick::{Hold, Pin};

/// A slot on the server being tried, and what was tried before.
#[derive(Debug)]
pub(crate) struct Pursuit<'a> {
    backend: &'a Backend,
    /// Its pin is the server that the exchange belongs to, as long as it does.
    seeker: Seeker,
    attempts: Attempts,
    /// `None` only while another is being looked for.
    reserved: Option<Reserved>,
    failed: u32,
}

/// Whom a server is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeker {
    /// By what one is chosen where the balance goes by a key.
    pub(crate) key: Option<u32>,
    /// The server that the exchange belongs to.
    pub(crate) pin: Option<Pin>,
    /// The place of a server that is taken if it has room now, where no other is asked for.
    pub(crate) liked: Option<usize>,
    /// How urgent it is where others wait, too.
    pub(crate) priority: Priority,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server in hand may be tried.
    TryAgain,
    /// No attempt is left.
    GiveUp,
}

impl<'a> Pursuit<'a> {
    /// Reserves a slot on a first server: the one the exchange belongs to, or else one for a key.
    ///
    /// # Errors
    /// Fails if there is no server, or none has room in time.
    pub(crate) async fn begin(backend: &'a Backend, mut seeker: Seeker, deadline: &mut Deadline) -> Result<Self, NoServer> {
        let reserved = reserve(backend, seeker.wish(None), deadline, queue_limit(backend)).await?;
        let attempts = Attempts::new(backend.retries(), backend.redispatch());
        Ok(Self { backend, seeker, attempts, reserved: Some(reserved), failed: 0 })
    }

    /// Tells whether the server in hand is the one that the exchange belongs to.
    pub(crate) fn is_pinned(&self) -> bool {
        self.seeker.pin.is_some()
    }

    /// Returns the server to be tried.
    pub(crate) fn server(&self) -> &'a Server {
        let reserved = self.reserved.as_ref().expect("a slot is held between two searches");
        &self.backend.servers()[reserved.place]
    }

    /// Returns how many attempts have failed.
    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// Returns what may be followed by another attempt.
    pub(crate) fn causes_left(&self) -> RetryOn {
        if self.attempts.are_left() { self.backend.retry_on() } else { RetryOn::NEVER }
    }

    /// Finds what to try after an attempt at the server in hand has failed; one that refused the connection is given the time to restart.
    ///
    /// # Errors
    /// Fails if there is no server any more, or none has room in time.
    pub(crate) async fn after_failure(&mut self, cause: RetryCause, deadline: &mut Deadline) -> Result<Verdict, NoServer> {
        if !self.causes_left().contains(cause) {
            return Ok(Verdict::GiveUp);
        }
        self.failed += 1;
        let connect = self.backend.timeouts().of(Timeout::Connect);
        let is_bound = self.seeker.pin.is_some_and(|pin| pin.hold == Hold::Always);
        let next = self.attempts.after_failure(connect);
        let next = if is_bound && next == Next::Other { Next::Same(attempts::pause(connect)) } else { next };
        match next {
            Next::GiveUp => return Ok(Verdict::GiveUp),
            Next::Same(pause) if cause == RetryCause::ConnFailure => tokio::time::sleep(pause).await,
            Next::Same(_) => {}
            Next::Other => {
                let avoid = self.reserved.take().map(|reserved| reserved.place);
                self.seeker.pin = None;
                self.reserved = Some(reserve(self.backend, self.seeker.wish(avoid), deadline, queue_limit(self.backend)).await?);
            }
        }
        Ok(Verdict::TryAgain)
    }
}

impl Seeker {
    fn wish(&mut self, avoid: Option<usize>) -> Wish<'_> {
        Wish { key: self.key, pin: &mut self.pin, liked: self.liked.take(), priority: self.priority, avoid }
    }
}

/// Waiting for a slot takes as long as connecting may where nothing else is said, as in HAProxy.
fn queue_limit(backend: &Backend) -> Option<Duration> {
    backend.timeouts().of(Timeout::Queue).or(backend.timeouts().of(Timeout::Connect))
}
