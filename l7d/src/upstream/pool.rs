//! Per-thread pools of connections to servers that wait for another request.
//!
//! A connection that ended its exchange cleanly waits here for the next one. The freshest is lent first, so that those beyond what
//! the traffic needs grow old. As in HAProxy, half of what was not needed lately is closed every `pool-purge-delay`. What arrives on
//! an idle connection, be it the server's close, makes it useless. Who may share connections is decided in [`super::sharing`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Upstream;
use crate::brand::Brand;
use crate::h2::client::Sender;
use crate::queue::LoadId;
use crate::site::Server;
use crate::stats::{Counter, Here, Meter};

/// Which connections will do for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Those to the server of this load.
    pub(crate) server: LoadId,
    /// Those of this kind.
    pub(crate) kind: Kind,
}

/// How connections to one server differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Their [`kinship`](crate::tls::Connector::kinship); 0 for those without TLS.
    pub(crate) kinship: u64,
    /// What their packets carry.
    pub(crate) brand: Brand,
    /// Whose address the server sees, where that is not this host's.
    pub(crate) guise: Option<SocketAddr>,
}

impl Hash for Kind {
    /// Hashes one number, as nearly all kinds of one server differ in nothing or in their kinship.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let brand = u64::from(self.brand.mark.unwrap_or(0)) ^ (u64::from(self.brand.service.unwrap_or(0)) << 32);
        state.write_u64(self.kinship ^ brand);
    }
}

/// Which of the connections that wait for another request may be lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lend {
    /// Those that have served again already.
    Proven,
    /// All.
    Any,
}

/// How a connection of HTTP/2 is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Others may have a part in it, too.
    Shared,
    /// It leaves the pool.
    Alone,
}

/// Takes a connection of this kind that can serve one more exchange now, if there is one.
pub(super) fn take(key: Key, lend: Lend, manner: Manner) -> Option<Upstream> {
    POOL.with_borrow_mut(|pool| {
        let shelf = pool.get_mut(&key.server)?;
        let taken = shelf.kinds.get_mut(&key.kind)?.take(lend, manner)?;
        shelf.numbers.0.here().inspect(Here::note_use);
        Some(taken)
    })
}

/// Keeps a connection that has ended its exchange; one of HTTP/2 only if nobody else has a part in it.
pub(super) fn put(server: &Server, key: Key, connection: Upstream) {
    let terms = server.model().pool();
    let waiting = || server.meter().sum(Counter::IdleNew) + server.meter().sum(Counter::IdleProven);
    if !terms.purge_delay().is_zero() && terms.most_idle().is_none_or(|most| waiting() < u64::from(most)) {
        POOL.with_borrow_mut(|pool| Shelf::of(pool, server, key).put(key.kind, connection));
    }
}

/// Lets other exchanges have a part in a connection of HTTP/2.
pub(super) fn share(server: &Server, key: Key, sender: &Sender) {
    POOL.with_borrow_mut(|pool| {
        let shared = &mut Shelf::of(pool, server, key).kinds.entry(key.kind).or_default().shared;
        shared.retain(|shared| !shared.is_spent());
        if shared.len() < KEEP && !shared.iter().any(|shared| shared.is_same(sender)) {
            shared.push(sender.clone());
        }
    });
}

/// Takes back a part in a connection of HTTP/2; one that nobody has a part in any more waits from now on.
pub(super) fn release(server: &Server, key: Key, sender: Sender) {
    let last = POOL.with_borrow_mut(|pool| {
        let shared = &mut pool.get_mut(&key.server)?.kinds.get_mut(&key.kind)?.shared;
        let place = shared.iter().position(|shared| shared.is_same(&sender))?;
        drop(sender);
        (!shared[place].is_busy()).then(|| shared.swap_remove(place))
    });
    if let Some(last) = last {
        put(server, key, Upstream::H2(last));
    }
}

/// Closes what ended and half of what is not needed, and forgets servers without connections; a worker calls this now and then.
pub(crate) fn sweep(now: Instant) {
    POOL.with_borrow_mut(|pool| {
        pool.retain(|_, shelf| {
            shelf.sweep(now);
            !shelf.kinds.is_empty()
        });
    });
}

/// The connections of one thread to one server.
#[derive(Debug)]
struct Shelf {
    numbers: Rc<Numbers>,
    delay: Duration,
    /// When it is looked through for what is not needed.
    due: Instant,
    kinds: HashMap<Kind, Kept, BuildHasherDefault<IdHasher>>,
}

/// The connections of one kind.
#[derive(Debug, Default)]
struct Kept {
    /// Those that wait for their next exchange, the freshest last.
    idle: Vec<Idle>,
    /// Those of HTTP/2 at work that others may have a part in.
    shared: Vec<Sender>,
}

/// A connection that waits, and counts as waiting.
#[derive(Debug)]
struct Idle {
    connection: Upstream,
    _waits: Waits,
    /// Whether it has served again already.
    is_proven: bool,
}

/// Counts a connection as waiting while it lives.
#[derive(Debug)]
struct Waits(Rc<Numbers>, Counter);

/// What counts the connections of a shelf; all of them are the thread's, so that they share it without counting together with others.
#[derive(Debug)]
struct Numbers(Arc<Meter>);

impl Shelf {
    /// Returns what the thread has of a server, beginning it if there is nothing yet.
    fn of<'p>(pool: &'p mut Pool, server: &Server, key: Key) -> &'p mut Self {
        let delay = server.model().pool().purge_delay();
        let new = || Self {
            numbers: Rc::new(Numbers(Arc::clone(server.shared_meter()))),
            delay,
            due: Instant::now() + delay,
            kinds: HashMap::default(),
        };
        let shelf = pool.entry(key.server).or_insert_with(new);
        shelf.delay = delay;
        shelf
    }

    /// Keeps a connection unless more are open than are needed, and one that is as good waits.
    fn put(&mut self, kind: Kind, connection: Upstream) {
        let is_proven = connection.is_proven();
        let counter = if is_proven { Counter::IdleProven } else { Counter::IdleNew };
        let idle = &mut self.kinds.entry(kind).or_default().idle;
        let is_surplus = self.numbers.0.here().is_some_and(Here::has_surplus) && idle.iter().any(|other| other.is_proven || !is_proven);
        if !is_surplus && idle.len() < KEEP {
            self.numbers.0.add(counter, 1);
            idle.push(Idle { connection, _waits: Waits(Rc::clone(&self.numbers), counter), is_proven });
        }
    }

    /// Closes what ended, and if it is time half of what was not needed lately.
    fn sweep(&mut self, now: Instant) {
        self.kinds.retain(|_, kept| {
            kept.idle.retain_mut(|idle| idle.connection.is_ready());
            kept.shared.retain(|shared| !shared.is_spent());
            !(kept.idle.is_empty() && kept.shared.is_empty())
        });
        if self.due > now {
            return;
        }
        self.due = now + self.delay;
        let excess = self.numbers.0.here().map_or(0, Here::end_interval);
        let waiting: usize = self.kinds.values().map(|kept| kept.idle.len()).sum();
        let mut left = usize::try_from(excess.div_ceil(2)).unwrap_or(usize::MAX);
        for kept in self.kinds.values_mut() {
            // Each kind gives its part, the oldest first, as the freshest are lent first.
            let part = (kept.idle.len() * left).div_ceil(waiting.max(1));
            kept.idle.drain(..part.min(left).min(kept.idle.len()));
            left -= part.min(left);
        }
    }
}

impl Kept {
    fn take(&mut self, lend: Lend, manner: Manner) -> Option<Upstream> {
        if let Some(shared) = self.shared.iter_mut().find_map(|shared| shared.has_room().then_some(shared)) {
            return Some(Upstream::H2(shared.clone()));
        }
        let mut taken = loop {
            let place = self.idle.iter().rposition(|idle| lend == Lend::Any || idle.is_proven)?;
            let Idle { mut connection, .. } = self.idle.remove(place);
            if connection.is_ready() {
                break connection;
            }
        };
        if let (Upstream::H2(sender), Manner::Shared) = (&mut taken, manner) {
            self.shared.push(sender.clone());
        }
        Some(taken)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.0.subtract(self.1, 1);
    }
}

/// Ids are counted up or hashed already, so they spread by themselves.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, id: u64) {
        // The table takes its buckets from the low bits and its tags from the high ones.
        self.0 = (self.0.rotate_left(32) ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Pool = HashMap<LoadId, Shelf, BuildHasherDefault<IdHasher>>;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Idle connections of one kind a thread keeps at most.
const KEEP: usize = 1024;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::socket::Socket;
    use crate::stats::enter_thread;
    use crate::stream::Stream;
    use crate::upstream::{Link, Open};

    const DELAY: Duration = Duration::from_secs(5);

    fn shelf() -> Shelf {
        enter_thread(0);
        Shelf { numbers: Rc::new(Numbers(Arc::new(Meter::new(1)))), delay: DELAY, due: Instant::now() + DELAY, kinds: HashMap::default() }
    }

    impl Shelf {
        fn take(&mut self, kind: Kind, lend: Lend) -> Option<Link> {
            match self.kinds.get_mut(&kind)?.take(lend, Manner::Shared)? {
                Upstream::H1(link) => Some(link),
                Upstream::H2(_) => None,
            }
        }

        fn level(&self) -> (u64, u64, u64) {
            (self.numbers.0.sum(Counter::Open), self.numbers.0.sum(Counter::IdleNew), self.numbers.0.sum(Counter::IdleProven))
        }

        async fn connection(&self) -> (Upstream, TcpStream, SocketAddr) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let stream = Stream::plain(Socket::new(ours.unwrap().into_std().unwrap()).unwrap());
            let address = stream.socket().local_address().unwrap();
            (Upstream::H1(Link { stream, served: 1, open: Open::on(&self.numbers.0) }), theirs.unwrap().0, address)
        }
    }

    fn kind(kinship: u64) -> Kind {
        Kind { kinship, brand: Brand::default(), guise: None }
    }

    #[tokio::test]
    async fn freshest_connection_is_lent_first_and_only_to_its_kind() {
        let mut shelf = shelf();
        let ((one, _peer_one, _), (two, _peer_two, newest)) = (shelf.connection().await, shelf.connection().await);
        shelf.put(kind(0), one);
        shelf.put(kind(0), two);
        assert_eq!(shelf.level(), (2, 2, 0));
        assert!(shelf.take(kind(1), Lend::Any).is_none() && shelf.take(kind(0), Lend::Proven).is_none());
        let mut link = shelf.take(kind(0), Lend::Any).unwrap();
        assert_eq!((link.stream.socket().local_address(), shelf.level()), (Some(newest), (2, 1, 0)));
        link.served += 1;
        shelf.put(kind(0), Upstream::H1(link));
        assert_eq!(shelf.level(), (2, 1, 1));
        assert!(
            shelf.take(kind(0), Lend::Proven).is_some()
                && shelf.take(kind(0), Lend::Any).is_some()
                && shelf.take(kind(0), Lend::Any).is_none()
        );
        assert_eq!(shelf.level(), (0, 0, 0));
    }

    #[tokio::test]
    async fn connection_on_which_something_arrived_is_not_lent() {
        let mut shelf = shelf();
        let (good, _peer, expected) = shelf.connection().await;
        let (closed, peer_closed, _) = shelf.connection().await;
        let (noisy, mut peer_noisy, _) = shelf.connection().await;
        shelf.put(kind(0), good);
        drop(peer_closed);
        closed.stream().unwrap().socket().readable().await.unwrap();
        shelf.put(kind(0), closed);
        peer_noisy.write_all(b"?").await.unwrap();
        noisy.stream().unwrap().socket().readable().await.unwrap();
        shelf.put(kind(0), noisy);
        assert_eq!(shelf.take(kind(0), Lend::Any).unwrap().stream.socket().local_address(), Some(expected));
    }

    #[tokio::test]
    async fn half_of_what_is_not_needed_goes_with_each_interval() {
        let mut shelf = shelf();
        let mut peers = Vec::new();
        let mut all = Vec::new();
        for _ in 0..8 {
            let (connection, peer, _) = shelf.connection().await;
            peers.push(peer);
            all.push(connection);
        }
        all.into_iter().for_each(|connection| shelf.put(kind(0), connection));
        let mut now = Instant::now();
        let mut kept = Vec::new();
        for _ in 0..8 {
            shelf.sweep(now);
            kept.push(shelf.level().1);
            now += DELAY;
        }
        // All eight were needed at once; that counts for half as much an interval later, and so on.
        assert_eq!(kept, [8, 8, 8, 6, 4, 2, 1, 0]);
    }

    #[tokio::test]
    async fn no_more_wait_than_are_needed_at_a_time() {
        let mut shelf = shelf();
        let (one, _peer_one, _) = shelf.connection().await;
        shelf.put(kind(0), one);
        let (two, _peer_two, _) = shelf.connection().await;
        shelf.put(kind(0), two);
        assert_eq!(shelf.level().0, 1, "only one was ever in use");
    }
}
