//! One thread of the engine: its own runtime, its own listening sockets, and every connection accepted on them.
//!
//! A worker does what [`crate::app`] tells it: take a new site with the sockets it needs, or stop accepting. Connections keep the
//! site they began with.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use control::shutdown::Shutdown;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::bind::Spec;
use crate::idle;
use crate::listener;
use crate::site::{Door, Site};
use crate::socket::Socket;
use crate::stats;
use crate::upstream::pool;

/// A site to serve from now on, with a socket for each of its addresses that no site had before.
#[derive(Debug)]
pub(crate) struct Order {
    /// The site.
    pub(crate) site: Arc<Site>,
    /// New sockets.
    pub(crate) sockets: Vec<(Spec, OwnedFd)>,
    /// Told once the site is served.
    pub(crate) done: oneshot::Sender<()>,
}

/// Starts the thread with this number; it ends when `orders` does.
///
/// # Errors
/// Fails if the system has no room for another thread.
pub(crate) fn start(number: usize, orders: mpsc::Receiver<Order>, shutdown: Shutdown) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("l7d-{number}")).spawn(move || {
        stats::enter_thread(number);
        run(orders, shutdown);
    })
}

fn run(mut orders: mpsc::Receiver<Order>, mut shutdown: Shutdown) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("no runtime for a thread: {error}");
            return;
        }
    };
    runtime.block_on(async {
        let mut listening = Listening { shutdown: shutdown.clone(), sockets: HashMap::new() };
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => listening.follow(order),
                    None => return,
                },
                () = shutdown.begun() => break,
                _ = sweep.tick() => pool::sweep(Instant::now()),
            }
        }
        drop(listening);
        idle::begin_drain();
        // Connections go on; the end of the orders is the end of the process.
        while orders.recv().await.is_some() {}
    });
}

/// The sockets of this thread.
struct Listening {
    shutdown: Shutdown,
    sockets: HashMap<Spec, Accepting>,
}

/// A socket being accepted from; dropping it stops that.
struct Accepting {
    door: Rc<RefCell<Arc<Door>>>,
    _stop: oneshot::Sender<()>,
}

impl Listening {
    fn follow(&mut self, order: Order) {
        let mut new: HashMap<_, _> = order.sockets.into_iter().collect();
        let mut before = std::mem::take(&mut self.sockets);
        for door in order.site.doors() {
            let accepting = match (before.remove(door.spec()), new.remove(door.spec())) {
                (Some(accepting), _) => {
                    *accepting.door.borrow_mut() = Arc::clone(door);
                    accepting
                }
                (None, Some(socket)) => match self.accept(socket, door) {
                    Ok(accepting) => accepting,
                    Err(error) => {
                        error!("frontend {}: {error}", door.frontend().name());
                        continue;
                    }
                },
                (None, None) => continue,
            };
            self.sockets.insert(door.spec().clone(), accepting);
        }
        // Whoever gave the order may have stopped waiting.
        let _ = order.done.send(());
    }

    fn accept(&self, socket: OwnedFd, door: &Arc<Door>) -> std::io::Result<Accepting> {
        let listener = Socket::new(socket)?;
        let door = Rc::new(RefCell::new(Arc::clone(door)));
        let (stop, stopped) = oneshot::channel();
        tokio::task::spawn_local(listener::run(listener, Rc::clone(&door), stopped, self.shutdown.clone()));
        Ok(Accepting { door, _stop: stop })
    }
}

/// How often idle connections to servers are looked through.
const SWEEP: Duration = Duration::from_secs(5);
