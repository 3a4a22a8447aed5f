//! What is under way on this thread, for who wants to look at it or end it: each exchange, and in mode tcp each connection.
//!
//! All of it belongs to one thread, so keeping it costs no lock. What a session has to do with is known by the place in memory of its
//! numbers, which a reload does not change.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Instant;

use tokio::task::{self, Id, spawn_local};

use crate::peer::Peer;
use crate::site::{Backend, Frontend, Server};
use crate::stats::Meter;

/// What is known of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// Tells it from all others of the process.
    pub(crate) id: u64,
    /// When it began.
    pub(crate) began: Instant,
    /// Who it is for.
    pub(crate) client: Peer,
    /// The frontend.
    pub(crate) frontend: Mark,
    /// The backend, once there is one.
    pub(crate) backend: Option<Mark>,
    /// The server that was tried last.
    pub(crate) server: Option<Mark>,
    /// Why it is to end, once somebody wants that.
    end: Option<Cause>,
    task: Option<Id>,
}

/// Why a session is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A command asks for it.
    Killed,
    /// Its server is down.
    Down,
    /// Its server is a spare, and one that is none is up again.
    Up,
}

impl Cause {
    /// Returns the words for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "by a command",
            Self::Down => "because its server is down",
            Self::Up => "because it was with a spare that is no longer needed",
        }
    }
}

/// Tells one frontend, backend or server from the others, also over reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(usize);

impl Mark {
    /// Returns the mark of who has these numbers.
    pub(crate) fn of(meter: &Meter) -> Self {
        Self(std::ptr::from_ref(meter).addr())
    }
}

/// Which sessions are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    /// That of an id.
    One(u64),
    /// All that have to do with a server.
    OfServer(Mark),
}

/// A session's place in the list; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Seat(usize);

/// Where a session is found in the list for as long as it has its seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(usize);

#[derive(Debug)]
struct Room {
    /// What ids of this thread begin with.
    base: u64,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    /// How many there ever were.
    count: u64,
    /// What wakes the tasks that carry sessions.
    tasks: Vec<Option<(Id, Waker)>>,
    free_tasks: Vec<usize>,
}

impl Default for Room {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let base = NEXT.fetch_add(1, Relaxed) << 44;
        Self { base, sessions: Vec::new(), free: Vec::new(), count: 0, tasks: Vec::new(), free_tasks: Vec::new() }
    }
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

impl Seat {
    /// Begins a session.
    pub(crate) fn take(client: Peer, frontend: &Frontend, began: Instant) -> Self {
        ROOM.with_borrow_mut(|room| {
            room.count += 1;
            let number = room.free.pop().unwrap_or_else(|| {
                room.sessions.push(None);
                room.sessions.len() - 1
            });
            room.sessions[number] = Some(Session {
                id: room.base | room.count << 4,
                began,
                client,
                frontend: Mark::of(frontend.meter()),
                backend: None,
                server: None,
                end: None,
                task: task::try_id(),
            });
            Self(number)
        })
    }

    /// Returns where the session is found.
    pub(crate) fn place(&self) -> Place {
        Place(self.0)
    }

    /// Notes the backend.
    pub(crate) fn note_backend(&self, backend: &Backend) {
        self.change(|session| session.backend = Some(Mark::of(backend.meter())));
    }

    /// Notes the server.
    pub(crate) fn note_server(&self, server: &Server) {
        self.change(|session| session.server = Some(Mark::of(server.meter())));
    }

    fn change(&self, change: impl FnOnce(&mut Session)) {
        ROOM.with_borrow_mut(|room| room.sessions[self.0].as_mut().map(change));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A thread that ends may drop sessions after the room.
        let _ = ROOM.try_with(|room| {
            let mut room = room.borrow_mut();
            room.sessions[self.0] = None;
            room.free.push(self.0);
        });
    }
}

/// A task's place in the list of those that carry sessions; dropping it leaves. The task keeps it.
#[derive(Debug)]
pub(crate) struct Entry(usize);

/// Starts a task that carries sessions, and enters the list with what it is given.
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(work: impl FnOnce(Entry) -> F) {
    let place = ROOM.with_borrow_mut(|room| {
        room.free_tasks.pop().unwrap_or_else(|| {
            room.tasks.push(None);
            room.tasks.len() - 1
        })
    });
    spawn_local(work(Entry(place)));
}

impl Entry {
    /// Notes how the task is woken; it must be the one that asks.
    pub(crate) async fn enter(&self) {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        ROOM.with_borrow_mut(|room| room.tasks[self.0] = Some((task::id(), waker)));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let task = ROOM.try_with(|room| {
            let mut room = room.borrow_mut();
            room.free_tasks.push(self.0);
            room.tasks[self.0].take()
        });
        // It may be the last to know the task, whose end is not for a room that is borrowed.
        drop(task);
    }
}

/// Does a session's work unless the session is to end before that is done.
///
/// # Errors
/// Fails with the cause; the work rests where it is, to be dropped.
pub(crate) fn unless_ended<T>(place: Place, mut work: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = Result<T, Cause>> {
    poll_fn(move |cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => {
            let end = ROOM.with_borrow(|room| room.sessions[place.0].as_ref().and_then(|session| session.end));
            end.map_or(Poll::Pending, |cause| Poll::Ready(Err(cause)))
        }
    })
}

/// Lists what is under way.
pub(crate) fn all() -> Vec<Session> {
    ROOM.with_borrow(|room| room.sessions.iter().flatten().copied().collect())
}

/// Ends sessions at once, with their connections where those carry no others, and returns their ids.
pub(crate) fn end(which: Which, cause: Cause) -> Vec<u64> {
    let is_meant = |session: &Session| match which {
        Which::One(id) => session.id == id,
        Which::OfServer(mark) => session.server == Some(mark),
    };
    let (ids, tasks): (Vec<u64>, Vec<Waker>) = ROOM.with_borrow_mut(|room| {
        let Room { sessions, tasks, .. } = room;
        let waker = |task: Id| tasks.iter().flatten().find(|(id, _)| *id == task).map(|(_, waker)| waker.clone());
        let meant = sessions.iter_mut().flatten().filter(|session| is_meant(session));
        let woken = meant.filter_map(|session| {
            session.end.get_or_insert(cause);
            Some((session.id, waker(session.task?)?))
        });
        woken.unzip()
    });
    tasks.into_iter().for_each(Waker::wake);
    ids
}
