//! Per-thread pools of idle connections to servers.
//!
//! A connection that ended its exchange cleanly waits here for the next one. The freshest is lent first, so that those beyond what
//! the traffic needs grow old and are closed. What arrives on an idle connection, be it the server's close, makes it useless.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use super::Upstream;
use crate::h2::client::Sender;
use crate::queue::LoadId;
use crate::stream::Stream;

/// Which connections will do for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Those to the server of this load.
    pub(crate) server: LoadId,
    /// Those of this [`kinship`](crate::tls::Connector::kinship); 0 for those without TLS.
    pub(crate) kinship: u64,
}

/// Takes a connection of this kind that can serve one more exchange now, if there is one.
pub(crate) fn take(key: Key) -> Option<Upstream> {
    POOL.with_borrow_mut(|pool| {
        let kept = pool.get_mut(&key)?;
        if let Some(shared) = kept.shared.iter_mut().find_map(|shared| shared.sender.has_room().then_some(shared)) {
            return Some(Upstream::H2(shared.sender.clone()));
        }
        std::iter::from_fn(|| kept.idle.pop()).map(|idle| idle.stream).find(Stream::is_quiet).map(Upstream::H1)
    })
}

/// Keeps a connection for the next exchange; one of HTTP/2 is kept already.
pub(crate) fn put(key: Key, connection: Upstream) {
    let Upstream::H1(stream) = connection else { return };
    POOL.with_borrow_mut(|pool| {
        let idle = &mut pool.entry(key).or_default().idle;
        if idle.len() < KEEP {
            idle.push(Idle { stream, since: Instant::now() });
        }
    });
}

/// Lets other exchanges have a part in a connection of HTTP/2.
pub(crate) fn share(key: Key, sender: &Sender) {
    POOL.with_borrow_mut(|pool| {
        let shared = &mut pool.entry(key).or_default().shared;
        shared.retain(|shared| !shared.sender.is_spent());
        if shared.len() < KEEP {
            shared.push(Shared { sender: sender.clone(), used: Instant::now() });
        }
    });
}

/// Closes what has been idle for long, and forgets servers without connections; a worker calls this now and then.
pub(crate) fn sweep(now: Instant) {
    POOL.with_borrow_mut(|pool| {
        pool.retain(|_, kept| {
            let Kept { idle, shared } = kept;
            // The oldest are at the front, as the freshest are lent first.
            let stale = idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) >= MAX_AGE).count();
            idle.drain(..stale);
            shared.retain_mut(|shared| {
                if shared.sender.is_busy() {
                    shared.used = now;
                }
                !shared.sender.is_spent() && now.saturating_duration_since(shared.used) < MAX_AGE
            });
            !(idle.is_empty() && shared.is_empty())
        });
    });
}

/// The connections of one kind.
#[derive(Debug, Default)]
struct Kept {
    /// Those of HTTP/1 that wait for their next exchange.
    idle: Vec<Idle>,
    /// Those of HTTP/2, at work or not.
    shared: Vec<Shared>,
}

#[derive(Debug)]
struct Shared {
    sender: Sender,
    /// When the last sweep found it at work.
    used: Instant,
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: Instant,
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

type Pool = HashMap<Key, Kept, BuildHasherDefault<IdHasher>>;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Idle connections a thread keeps to one server.
const KEEP: usize = 1024;
/// How long a connection stays idle at most; servers mostly close theirs after five seconds or more.
const MAX_AGE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::queue::{Limits, Load};
    use crate::socket::Socket;

    fn key() -> Key {
        Key { server: Load::new(Limits::default()).id(), kinship: 0 }
    }

    fn address(connection: Option<Upstream>) -> SocketAddr {
        let Some(Upstream::H1(stream)) = connection else { panic!("{connection:?}") };
        stream.socket().local_address().unwrap()
    }

    async fn connection() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Stream::plain(Socket::new(ours.unwrap().into_std().unwrap()).unwrap()), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn freshest_connection_is_lent_first_and_only_to_its_server() {
        let (server, other) = (key(), key());
        let ((one, _peer_one), (two, _peer_two)) = (connection().await, connection().await);
        let newest = two.socket().local_address().unwrap();
        put(server, Upstream::H1(one));
        put(server, Upstream::H1(two));
        assert!(take(other).is_none());
        assert_eq!(address(take(server)), newest);
        assert!(take(server).is_some());
        assert!(take(server).is_none());
    }

    #[tokio::test]
    async fn connection_on_which_something_arrived_is_not_lent() {
        let server = key();
        let ((closed, peer_closed), (noisy, mut peer_noisy), (good, _peer_good)) =
            (connection().await, connection().await, connection().await);
        let expected = good.socket().local_address().unwrap();
        put(server, Upstream::H1(good));
        drop(peer_closed);
        closed.socket().readable().await.unwrap();
        put(server, Upstream::H1(closed));
        peer_noisy.write_all(b"?").await.unwrap();
        noisy.socket().readable().await.unwrap();
        put(server, Upstream::H1(noisy));
        assert_eq!(address(take(server)), expected);
    }

    #[tokio::test]
    async fn old_connections_are_swept() {
        let server = key();
        let (ours, _theirs) = connection().await;
        put(server, Upstream::H1(ours));
        sweep(Instant::now());
        sweep(Instant::now() + MAX_AGE);
        assert!(take(server).is_none());
    }
}
