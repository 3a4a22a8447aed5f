//! Accepts connections on the sockets of one thread until told to stop.
//!
//! A connection stays on the thread that accepted it. A connection over a limit waits accepted but unserved, and holds up those behind
//! it, as HAProxy's do.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use control::shutdown::Shutdown;
use tokio::sync::{Semaphore, oneshot};
use tracing::warn;

use crate::peer::Peer;
use crate::session::{self, Client};
use crate::sessions;
use crate::site::{Counted, Door};
use crate::socket::Socket;
use crate::stream::Stream;

/// Accepts connections and starts a session for each, until told to stop; `door` may be replaced meanwhile.
pub(crate) async fn run(listener: Socket, door: Rc<RefCell<Arc<Door>>>, mut stop: oneshot::Receiver<()>, shutdown: Shutdown) {
    // The daemon stays open until those who wait are served, too.
    let _open = shutdown.guard();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let present = Arc::clone(&door.borrow());
                let admission = tokio::select! {
                    admission = Admission::of(&present, &shutdown) => admission,
                    _ = &mut stop => {
                        start_if_room(socket, peer, &door, &shutdown);
                        break;
                    }
                };
                start(socket, peer, Rc::clone(&door), admission);
            }
            Err(error) => {
                warn!("accept on frontend {}: {error}", door.borrow().spec().frontend());
                // Short of descriptors, accept fails again at once; the pause keeps the loop from spinning.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    serve_the_waiting(&listener, &door, &shutdown);
}

/// Starts sessions for those whose connection the kernel has accepted already, who would otherwise be reset.
fn serve_the_waiting(listener: &Socket, door: &Rc<RefCell<Arc<Door>>>, shutdown: &Shutdown) {
    while let Ok((socket, peer)) = listener.accept_now() {
        start_if_room(socket, peer, door, shutdown);
    }
}

/// Starts a session unless it would have to wait for others to end; rates no longer matter.
fn start_if_room(socket: Socket, peer: Option<SocketAddr>, door: &Rc<RefCell<Arc<Door>>>, shutdown: &Shutdown) {
    let admission = Admission::at_once(&door.borrow(), shutdown);
    if let Some(admission) = admission {
        start(socket, peer, Rc::clone(door), admission);
    }
}

fn start(socket: Socket, peer: Option<SocketAddr>, door: Rc<RefCell<Arc<Door>>>, admission: Admission) {
    door.borrow().frontend().upkeep().apply(&socket);
    let peer = peer.map_or_else(|| Peer::Unix(door.borrow().number()), Peer::Inet);
    let mut client = Client::new(Stream::plain(socket), peer);
    sessions::spawn(|entry| async move {
        entry.enter().await;
        session::serve(&mut client, &door).await;
        drop((admission, entry));
    });
}

/// A connection's place in all limits that count it; holds the daemon open, too.
#[derive(Debug)]
pub(crate) struct Admission {
    _places: Places,
    _guard: control::shutdown::Guard,
    _counts: [Counted; 2],
}

impl Admission {
    /// Waits until every limit has room.
    pub(crate) async fn of(door: &Door, shutdown: &Shutdown) -> Self {
        let guard = shutdown.guard();
        door.pace().await;
        let mut taking = Taking { limits: door.limits(), taken: 0 };
        for limit in &**door.limits() {
            limit.acquire().await.expect("limits are never closed").forget();
            taking.taken += 1;
        }
        Self { _places: taking.all(), _guard: guard, _counts: door.frontend().count() }
    }

    /// Returns a place if every limit has room now.
    pub(crate) fn at_once(door: &Door, shutdown: &Shutdown) -> Option<Self> {
        let mut taking = Taking { limits: door.limits(), taken: 0 };
        for limit in &**door.limits() {
            limit.try_acquire().ok()?.forget();
            taking.taken += 1;
        }
        Some(Self { _places: taking.all(), _guard: shutdown.guard(), _counts: door.frontend().count() })
    }
}

/// A place in each of some limits.
///
/// It owns no permits, for which every connection would need a block of memory of its own.
#[derive(Debug)]
struct Places(Arc<[Arc<Semaphore>]>);

impl Drop for Places {
    fn drop(&mut self) {
        self.0.iter().for_each(|limit| limit.add_permits(1));
    }
}

/// Places in the first so many limits, while those in the others are waited for.
struct Taking<'d> {
    limits: &'d Arc<[Arc<Semaphore>]>,
    taken: usize,
}

impl Taking<'_> {
    /// Keeps the places, of which there is one in each limit now.
    fn all(mut self) -> Places {
        self.taken = 0;
        Places(Arc::clone(self.limits))
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.limits[..self.taken].iter().for_each(|limit| limit.add_permits(1));
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
