//! A client's stream whose head has come, on its way to become an exchange.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use http::request;

use super::{Incoming, Responder};
use crate::deadline::Deadline;
use crate::downstream::{Downstream, Outlook, Streamed, Wire};
use crate::error::ExchangeError;
use crate::exchange::{self, Turn};
use crate::h2::convert;
use crate::message::head::Version;
use crate::peer::Peer;
use crate::rules::{Keepsake, Memory};
use crate::site::Door;
use crate::tls::Secured;
use crate::upstream::Own;

/// What all streams of a connection have in common, for one of them.
pub(crate) struct Newcomer {
    pub(crate) version: Version,
    pub(crate) source: Peer,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) secured: Option<Secured>,
    /// How long PROXY header and TLS took, if this is the first stream.
    pub(crate) handshake: Duration,
    pub(crate) turn: Turn,
    /// What rules keep in mind about the client.
    pub(crate) memory: Rc<RefCell<Keepsake>>,
    /// Connections to servers that serve this client alone.
    pub(crate) own: Rc<Own>,
}

/// A stream whose head has come.
pub(crate) struct Arrival {
    pub(crate) newcomer: Newcomer,
    pub(crate) began: Instant,
    pub(crate) head: request::Parts,
    pub(crate) body: Incoming,
    pub(crate) respond: Responder,
}

impl Arrival {
    /// Serves it to the end of its exchange.
    pub(crate) async fn serve(self, door: &Door) {
        let Self { newcomer, began, head, body, respond } = self;
        let Newcomer { version, source, destination, secured, handshake, turn, memory: shared, own } = newcomer;
        let head = match convert::request_head(&head, version) {
            Ok(head) => head,
            Err(error) => {
                respond.refuse();
                // The engine of HTTP/2 is watched for what it says of that.
                shared.borrow().note_glitches(u32::from(version == Version::Http3));
                return exchange::reject(source, door.frontend(), began, &ExchangeError::Malformed(error));
            }
        };
        let mut deadline = Deadline::default();
        let stream = Box::new(Streamed { head: Some(head), body, respond, secured });
        let wire = Wire::Stream(stream);
        let mut client = Downstream { wire, source, destination, handshake, own: &own, deadline: &mut deadline, outlook: Outlook::More };
        // Streams run side by side: each sees what those before it have left behind.
        let mut memory = Memory::clone(&shared.borrow());
        // Boxed here, as what is spawned is moved several times before it rests.
        Box::pin(exchange::run(&mut client, &mut memory, door.frontend(), turn, began)).await;
        shared.borrow_mut().adopt(memory);
    }
}

/// How many exchanges a connection carries, and who wants to know when it carries none.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    count: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Activity {
    /// Returns how many exchanges there are.
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// Tells whether there is any; if so, the task is woken when there is none.
    pub(crate) fn poll_busy(&self, cx: &Context<'_>) -> bool {
        let is_busy = self.count.get() > 0;
        if is_busy {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        is_busy
    }
}

/// Counts an exchange of a connection while it lasts.
pub(crate) struct Active(Rc<Activity>);

impl Active {
    /// Begins one.
    pub(crate) fn new(activity: &Rc<Activity>) -> Self {
        activity.count.set(activity.count.get() + 1);
        Self(Rc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}
