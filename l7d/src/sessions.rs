//! What is under way on this thread, for who wants to look at it or end it: each exchange, and in mode tcp each connection.
//!
//! All of it belongs to one thread, so keeping it costs no lock. What a session has to do with is known by the place in memory of its
//! numbers, which a reload does not change.

use std::cell::RefCell;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::task::{self, AbortHandle, Id, spawn_local};

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
    task: Option<Id>,
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

#[derive(Debug)]
struct Room {
    /// What ids of this thread begin with.
    base: u64,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    /// How many there ever were.
    count: u64,
    /// What ends the tasks that carry sessions.
    tasks: Vec<Option<AbortHandle>>,
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
                task: task::try_id(),
            });
            Self(number)
        })
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

/// A task's place in the list of those that can be ended; dropping it leaves. The task keeps it.
#[derive(Debug)]
pub(crate) struct Entry(usize);

/// Starts a task that carries sessions, and can be ended with them.
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(work: impl FnOnce(Entry) -> F) {
    let place = ROOM.with_borrow_mut(|room| {
        room.free_tasks.pop().unwrap_or_else(|| {
            room.tasks.push(None);
            room.tasks.len() - 1
        })
    });
    let task = spawn_local(work(Entry(place)));
    ROOM.with_borrow_mut(|room| room.tasks[place] = Some(task.abort_handle()));
}

impl Drop for Entry {
    fn drop(&mut self) {
        let handle = ROOM.try_with(|room| {
            let mut room = room.borrow_mut();
            room.free_tasks.push(self.0);
            room.tasks[self.0].take()
        });
        // It may be the last to know the task, whose end is not for a room that is borrowed.
        drop(handle);
    }
}

/// Lists what is under way.
pub(crate) fn all() -> Vec<Session> {
    ROOM.with_borrow(|room| room.sessions.iter().flatten().copied().collect())
}

/// Ends sessions at once, with their connections where those carry no others, and returns their ids.
pub(crate) fn end(which: Which) -> Vec<u64> {
    let is_meant = |session: &&Session| match which {
        Which::One(id) => session.id == id,
        Which::OfServer(mark) => session.server == Some(mark),
    };
    let tasks: Vec<(u64, AbortHandle)> = ROOM.with_borrow(|room| {
        let handle = |task: Id| room.tasks.iter().flatten().find(|handle| handle.id() == task).cloned();
        let meant = room.sessions.iter().flatten().filter(is_meant);
        meant.filter_map(|session| Some((session.id, handle(session.task?)?))).collect()
    });
    tasks.iter().for_each(|(_, task)| task.abort());
    tasks.into_iter().map(|(id, _)| id).collect()
}
