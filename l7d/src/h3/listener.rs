//! Accepts connections of QUIC on the socket of one thread until told to stop.
//!
//! A client whose address is not proven may be told to come again with a token, which costs it a round trip and us no memory: always
//! where the bind says so, and otherwise while many handshakes are not complete.
//!
//! Who tells it to stop may want to go on later. Where that is over, the socket is given up for the next process.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use control::shutdown::Shutdown;
use quinn::Incoming;
use tokio::sync::oneshot;

use super::endpoint::{self, Endpoint};
use super::server;
use crate::listener::Admission;
use crate::sessions;
use crate::site::Door;

/// Accepts connections and serves each, until told to stop for now, or, by the end of `stop`, for ever; `door` may be replaced meanwhile.
pub(crate) async fn run(endpoint: Rc<Endpoint>, door: Rc<RefCell<Arc<Door>>>, mut stop: oneshot::Receiver<()>, shutdown: Shutdown) {
    endpoint.open(&door.borrow());
    let goes_on_later = loop {
        let incoming = tokio::select! {
            incoming = endpoint.quinn().accept() => incoming,
            stopped = &mut stop => break stopped.is_ok(),
        };
        let Some(incoming) = incoming else { return };
        let present = Arc::clone(&door.borrow());
        let Some(incoming) = proven(incoming, &present) else { continue };
        let admission = tokio::select! {
            admission = Admission::of(&present, &shutdown) => Ok(admission),
            stopped = &mut stop => Err(stopped.is_ok()),
        };
        match admission {
            Ok(admission) => start(incoming, &endpoint, &door, admission),
            Err(goes_on_later) => {
                start_if_room(incoming, &endpoint, &door, &shutdown);
                break goes_on_later;
            }
        }
    };
    // Who waits already is served; others are not heard.
    while let Poll::Ready(Some(incoming)) = pin!(endpoint.quinn().accept()).poll(&mut Context::from_waker(Waker::noop())) {
        start_if_room(incoming, &endpoint, &door, &shutdown);
    }
    endpoint.shut();
    if !goes_on_later {
        let spec = door.borrow().spec().clone();
        endpoint.part(&spec).await;
    }
}

/// Returns a client that need not prove its address, or has.
fn proven(incoming: Incoming, door: &Door) -> Option<Incoming> {
    let is_busy = HALF_OPEN.load(Ordering::Relaxed) >= endpoint::retry_threshold();
    if incoming.remote_address_validated() || !incoming.may_retry() || !(is_busy || door.quic().forces_retry()) {
        return Some(incoming);
    }
    incoming.retry().err().map(quinn::RetryError::into_incoming)
}

fn start_if_room(incoming: Incoming, endpoint: &Rc<Endpoint>, door: &Rc<RefCell<Arc<Door>>>, shutdown: &Shutdown) {
    let admission = Admission::at_once(&door.borrow(), shutdown);
    match admission {
        Some(admission) => start(incoming, endpoint, door, admission),
        None => incoming.refuse(),
    }
}

fn start(incoming: Incoming, endpoint: &Rc<Endpoint>, door: &Rc<RefCell<Arc<Door>>>, admission: Admission) {
    let (endpoint, door, attendance) = (Rc::clone(endpoint), Rc::clone(door), endpoint.attend(&incoming));
    let half_open = HalfOpen::new();
    sessions::spawn(|entry| async move {
        entry.enter().await;
        server::serve(incoming, half_open, &endpoint, &door).await;
        drop((admission, attendance, entry));
    });
}

/// Handshakes of the process that are not complete.
static HALF_OPEN: AtomicU32 = AtomicU32::new(0);

/// Counts a handshake until it is complete.
pub(super) struct HalfOpen;

impl HalfOpen {
    fn new() -> Self {
        HALF_OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        HALF_OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}
