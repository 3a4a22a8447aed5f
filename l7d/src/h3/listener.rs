//! Accepts connections of QUIC on the socket of one thread until told to stop.
//!
//! A client whose address is not proven may be told to come again with a token, which costs it a round trip and us no memory: always
//! where the bind says so, and otherwise while many handshakes are not complete.

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

use super::endpoint::Endpoint;
use super::server;
use crate::listener::Admission;
use crate::sessions;
use crate::site::Door;

/// Accepts connections and serves each, until told to stop; `door` may be replaced meanwhile.
pub(crate) async fn run(endpoint: Rc<Endpoint>, door: Rc<RefCell<Arc<Door>>>, mut stop: oneshot::Receiver<()>, shutdown: Shutdown) {
    endpoint.open(&door.borrow());
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.quinn().accept() => incoming,
            _ = &mut stop => break,
        };
        let Some(incoming) = incoming else { return };
        let present = Arc::clone(&door.borrow());
        let Some(incoming) = proven(incoming, &present) else { continue };
        let admission = tokio::select! {
            admission = Admission::of(&present, &shutdown) => Some(admission),
            _ = &mut stop => None,
        };
        match admission {
            Some(admission) => start(incoming, &endpoint, &door, admission),
            None => {
                start_if_room(incoming, &endpoint, &door, &shutdown);
                break;
            }
        }
    }
    // Who waits already is served; others are not heard.
    while let Poll::Ready(Some(incoming)) = pin!(endpoint.quinn().accept()).poll(&mut Context::from_waker(Waker::noop())) {
        start_if_room(incoming, &endpoint, &door, &shutdown);
    }
    endpoint.shut();
}

/// Returns a client that need not prove its address, or has.
fn proven(incoming: Incoming, door: &Door) -> Option<Incoming> {
    let is_busy = HALF_OPEN.load(Ordering::Relaxed) >= door.quic().retry_threshold();
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
    let (endpoint, door) = (Rc::clone(endpoint), Rc::clone(door));
    let half_open = HalfOpen::new();
    sessions::spawn(|entry| async move {
        entry.enter().await;
        server::serve(incoming, half_open, &endpoint, &door).await;
        drop((admission, entry));
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
