//! One thread of the engine: its own runtime, its own listening sockets, and every connection accepted on them.
//!
//! A worker does what [`crate::app`] tells it: take a new site with the sockets it needs, or stop accepting. Connections keep the
//! site they began with.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use control::handover::Listening;
use control::shutdown::Shutdown;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::error;

use crate::bind::{self, Spec};
use crate::h3::{self, Endpoint};
use crate::idle;
use crate::listener;
use crate::sessions::{self, Cause, Session, Which};
use crate::site::{Door, Site};
use crate::socket::Socket;
use crate::stats;
use crate::upstream::pool;

/// What a worker is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// To serve a site.
    Serve(Plan),
    /// To stop accepting for the frontend of this name.
    Hold(String, oneshot::Sender<()>),
    /// To accept for it again.
    Resume(String, oneshot::Sender<()>),
    /// To close the sockets of the frontend.
    Close(String, oneshot::Sender<()>),
    /// To answer, which shows that it lives.
    Answer(oneshot::Sender<Vec<()>>),
    /// To list what is under way.
    List(oneshot::Sender<Vec<Session>>),
    /// To hand out copies of the sockets that accept.
    Share(oneshot::Sender<Vec<Listening>>),
    /// To end some of it, and tell what that was.
    End((Which, Cause), oneshot::Sender<Vec<u64>>),
}

/// A site to serve from now on, with a socket for each of its addresses that no site had before.
#[derive(Debug)]
pub(crate) struct Plan {
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
pub(crate) fn start(number: usize, orders: mpsc::Receiver<Order>, shutdown: Shutdown) -> std::io::Result<thread::JoinHandle<()>> {
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
        let mut accepting = Doors { shutdown: shutdown.clone(), sockets: HashMap::new() };
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Serve(plan)) => {
                        sweep = tokio::time::interval(plan.site.purge_delay().clamp(SHORTEST_SWEEP, SWEEP));
                        accepting.follow(plan);
                    }
                    Some(Order::Hold(frontend, done)) => accepting.hold(&frontend, done),
                    Some(Order::Resume(frontend, done)) => accepting.resume(&frontend, done),
                    Some(Order::Close(frontend, done)) => accepting.close(&frontend, done),
                    Some(Order::Answer(answer)) => drop(answer.send(Vec::new())),
                    Some(Order::Share(answer)) => drop(answer.send(accepting.share())),
                    Some(Order::List(answer)) => drop(answer.send(sessions::all())),
                    Some(Order::End((which, cause), answer)) => drop(answer.send(sessions::end(which, cause))),
                    None => return h3::say_farewell().await,
                },
                () = shutdown.begun() => break,
                _ = sweep.tick() => pool::sweep(Instant::now()),
            }
        }
        drop(accepting);
        idle::begin_drain();
        // Connections go on; the end of the orders is the end of the process.
        while let Some(order) = orders.recv().await {
            match order {
                Order::Answer(answer) => drop(answer.send(Vec::new())),
                Order::List(answer) => drop(answer.send(sessions::all())),
                Order::End((which, cause), answer) => drop(answer.send(sessions::end(which, cause))),
                Order::Serve(_) | Order::Hold(..) | Order::Resume(..) | Order::Close(..) | Order::Share(_) => {}
            }
        }
        h3::say_farewell().await;
    });
}

/// The sockets of this thread.
struct Doors {
    shutdown: Shutdown,
    sockets: HashMap<Spec, Accepting>,
}

/// A socket of this thread.
struct Accepting {
    door: Rc<RefCell<Arc<Door>>>,
    /// Another descriptor of it, for when accepting begins again.
    socket: OwnedFd,
    /// All connections of QUIC on it, from the first time that is begun.
    endpoint: Option<Rc<Endpoint>>,
    /// The task that accepts; none while that is on hold.
    task: Option<Task>,
}

/// A task that accepts; dropping it stops that for ever, and a word stops it for now.
struct Task {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Doors {
    fn follow(&mut self, order: Plan) {
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
        let mut accepting = Accepting { door: Rc::new(RefCell::new(Arc::clone(door))), socket, endpoint: None, task: None };
        accepting.begin(&self.shutdown)?;
        Ok(accepting)
    }

    fn of<'l>(&'l mut self, frontend: &'l str) -> impl Iterator<Item = &'l mut Accepting> {
        self.sockets.iter_mut().filter(move |(spec, _)| spec.frontend() == frontend).map(|(_, accepting)| accepting)
    }

    /// Stops accepting for a frontend; its addresses stay taken, and who tries to connect is refused by the kernel.
    fn hold(&mut self, frontend: &str, done: oneshot::Sender<()>) {
        let held: Vec<_> = self.of(frontend).filter_map(|accepting| Some((accepting.task.take()?, accepting.socket.try_clone()))).collect();
        tokio::task::spawn_local(async move {
            for (Task { stop, ended }, socket) in held {
                // It may have ended by itself.
                let _ = stop.send(());
                // Whoever the kernel had accepted already is served first.
                let _ = ended.await;
                if let Ok(socket) = socket {
                    bind::refuse(&socket);
                }
            }
            let _ = done.send(());
        });
    }

    fn resume(&mut self, frontend: &str, done: oneshot::Sender<()>) {
        let shutdown = self.shutdown.clone();
        for accepting in self.of(frontend).filter(|accepting| accepting.task.is_none()) {
            let spec = accepting.door.borrow().spec().clone();
            if let Err(error) = spec.listen_again(&accepting.socket).and_then(|()| accepting.begin(&shutdown)) {
                error!("frontend {frontend}: {error}");
            }
        }
        let _ = done.send(());
    }

    fn share(&self) -> Vec<Listening> {
        let copy = |(spec, accepting): (&Spec, &Accepting)| {
            let interface = spec.interface().to_owned();
            Some(Listening { socket: accepting.socket.try_clone().ok()?, interface })
        };
        self.sockets.iter().filter(|(_, accepting)| accepting.task.is_some()).filter_map(copy).collect()
    }

    fn close(&mut self, frontend: &str, done: oneshot::Sender<()>) {
        self.sockets.retain(|spec, _| spec.frontend() != frontend);
        let _ = done.send(());
    }
}

impl Accepting {
    fn begin(&mut self, shutdown: &Shutdown) -> std::io::Result<()> {
        let (stop, stopped) = oneshot::channel();
        let is_quic = self.door.borrow().spec().is_quic();
        let ended = if is_quic {
            let endpoint = match &self.endpoint {
                Some(endpoint) => endpoint,
                None => self.endpoint.insert(Endpoint::new(self.socket.try_clone()?)?),
            };
            tokio::task::spawn_local(h3::listener::run(Rc::clone(endpoint), Rc::clone(&self.door), stopped, shutdown.clone()))
        } else {
            let listener = Socket::new(self.socket.try_clone()?)?;
            tokio::task::spawn_local(listener::run(listener, Rc::clone(&self.door), stopped, shutdown.clone()))
        };
        self.task = Some(Task { stop, ended });
        Ok(())
    }
}

/// How often idle connections to servers are looked through, unless some server wants that sooner.
const SWEEP: Duration = Duration::from_secs(1);
const SHORTEST_SWEEP: Duration = Duration::from_millis(50);
