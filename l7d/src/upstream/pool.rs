//! Per-thread pools of idle connections to servers.
//!
//! A connection that ended its exchange cleanly waits here for the next one. The freshest is lent first, so that those beyond what
//! the traffic needs grow old and are closed. What arrives on an idle connection, be it the server's close, makes it useless.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use crate::queue::LoadId;
use crate::stream::Stream;

/// Takes an idle connection to the server of this load, if one is still good.
pub(crate) fn take(server: LoadId) -> Option<Stream> {
    POOL.with_borrow_mut(|pool| {
        let idle = pool.get_mut(&server)?;
        std::iter::from_fn(|| idle.pop()).map(|idle| idle.stream).find(Stream::is_quiet)
    })
}

/// Keeps a connection for the next exchange.
pub(crate) fn put(server: LoadId, stream: Stream) {
    POOL.with_borrow_mut(|pool| {
        let idle = pool.entry(server).or_default();
        if idle.len() < KEEP {
            idle.push(Idle { stream, since: Instant::now() });
        }
    });
}

/// Closes what has been idle for long, and forgets servers without connections; a worker calls this now and then.
pub(crate) fn sweep(now: Instant) {
    POOL.with_borrow_mut(|pool| {
        pool.retain(|_, idle| {
            // The oldest are at the front, as the freshest are lent first.
            let stale = idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) >= MAX_AGE).count();
            idle.drain(..stale);
            !idle.is_empty()
        });
    });
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: Instant,
}

/// Ids are counted up, so they spread by themselves.
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
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Pool = HashMap<LoadId, Vec<Idle>, BuildHasherDefault<IdHasher>>;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Idle connections a thread keeps to one server.
const KEEP: usize = 1024;
/// How long a connection stays idle at most; servers mostly close theirs after five seconds or more.
const MAX_AGE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::queue::Load;
    use crate::socket::Socket;

    async fn connection() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Stream::plain(Socket::new(ours.unwrap().into_std().unwrap()).unwrap()), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn freshest_connection_is_lent_first_and_only_to_its_server() {
        let (server, other) = (Load::new(None).id(), Load::new(None).id());
        let ((one, _peer_one), (two, _peer_two)) = (connection().await, connection().await);
        let newest = two.socket().local_address();
        put(server, one);
        put(server, two);
        assert!(take(other).is_none());
        assert_eq!(take(server).unwrap().socket().local_address(), newest);
        assert!(take(server).is_some());
        assert!(take(server).is_none());
    }

    #[tokio::test]
    async fn connection_on_which_something_arrived_is_not_lent() {
        let server = Load::new(None).id();
        let ((closed, peer_closed), (noisy, mut peer_noisy), (good, _peer_good)) =
            (connection().await, connection().await, connection().await);
        let expected = good.socket().local_address();
        put(server, good);
        drop(peer_closed);
        closed.socket().readable().await.unwrap();
        put(server, closed);
        peer_noisy.write_all(b"?").await.unwrap();
        noisy.socket().readable().await.unwrap();
        put(server, noisy);
        assert_eq!(take(server).unwrap().socket().local_address(), expected);
    }

    #[tokio::test]
    async fn old_connections_are_swept() {
        let server = Load::new(None).id();
        let (ours, _theirs) = connection().await;
        put(server, ours);
        sweep(Instant::now());
        sweep(Instant::now() + MAX_AGE);
        assert!(take(server).is_none());
    }
}
