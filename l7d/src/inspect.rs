//! A look at what a client sends first, before it is decided where that goes; the bytes stay where they are, for whoever gets them.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::Buffer;
use crate::client_hello::{self, ClientHello, Peek};
use crate::deadline::Deadline;
use crate::session::Client;
use crate::stream::Stream;

/// What can be told from the bytes that have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged<T> {
    /// Nothing yet: more may tell.
    Wait,
    /// This, whatever comes.
    Known(T),
}

/// Collects the client's first bytes until `judge` knows, and returns its verdict; none if `delay` is over before, the client sends no
/// more, or the buffer is full.
pub(crate) async fn look<T>(client: &mut Client, delay: Duration, judge: impl FnMut(&[u8]) -> Judged<T>) -> Option<T> {
    let Client { stream, early, deadline, .. } = client;
    look_at((stream, early), delay, deadline, judge).await
}

/// As [`look`], at what comes from `stream` and is kept in `early`.
pub(crate) async fn look_at<T>(
    (stream, early): (&Stream, &mut Option<Buffer>),
    delay: Duration,
    deadline: &mut Deadline,
    mut judge: impl FnMut(&[u8]) -> Judged<T>,
) -> Option<T> {
    let end = Instant::now() + delay;
    if early.is_none() {
        if let Judged::Known(verdict) = judge(&[]) {
            return Some(verdict);
        }
        // No buffer is held while nothing has come.
        let first = deadline.until(Some(end), pin!(stream.receive())).await.ok()?.ok()?;
        *early = Some(first).filter(|first| !first.is_empty());
    }
    let bytes: &mut Buffer = early.as_mut()?;
    loop {
        if let Judged::Known(verdict) = judge(bytes.filled()) {
            return Some(verdict);
        }
        if bytes.make_room() == 0 {
            return None;
        }
        let more = deadline.until(Some(end), pin!(stream.receive_more(bytes))).await.ok()?.ok()?;
        if more == 0 {
            return None;
        }
    }
}

/// Judges whether bytes begin a TLS connection, and with what.
pub(crate) fn client_hello(bytes: &[u8]) -> Judged<Option<ClientHello>> {
    match client_hello::peek(bytes) {
        Ok(Peek::Partial) => Judged::Wait,
        Ok(Peek::Complete(hello)) => Judged::Known(Some(hello)),
        Err(_) => Judged::Known(None),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::peer::Peer;
    use crate::socket::Socket;
    use crate::stream::Stream;

    async fn client() -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (theirs, ours) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let stream = Stream::plain(Socket::new(ours.unwrap().0.into_std().unwrap()).unwrap());
        (Client::new(stream, Peer::Inet(SocketAddr::from(([127, 0, 0, 1], 1)))), theirs.unwrap())
    }

    fn line(bytes: &[u8]) -> Judged<usize> {
        bytes.iter().position(|byte| *byte == b'\n').map_or(Judged::Wait, Judged::Known)
    }

    fn early(client: &Client) -> &[u8] {
        client.early.as_ref().map_or(b"", Buffer::filled)
    }

    #[tokio::test]
    async fn bytes_are_judged_as_they_come_and_stay() {
        let (mut ours, mut theirs) = client().await;
        let sending = async {
            for part in ["ab", "c", "d\nrest"] {
                theirs.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (verdict, ()) = tokio::join!(look(&mut ours, Duration::from_secs(60), line), sending);
        assert_eq!((verdict, early(&ours)), (Some(4), &b"abcd\nrest"[..]));
        assert_eq!(look(&mut ours, Duration::from_secs(60), line).await, Some(4), "what has been read is looked at first");
    }

    #[tokio::test]
    async fn silence_an_end_and_a_full_buffer_tell_nothing() {
        let (mut ours, mut theirs) = client().await;
        assert_eq!(look(&mut ours, Duration::from_millis(20), line).await, None);
        theirs.write_all(b"abc").await.unwrap();
        assert_eq!(look(&mut ours, Duration::from_millis(100), line).await, None);
        assert_eq!(early(&ours), b"abc");
        theirs.shutdown().await.unwrap();
        assert_eq!(look(&mut ours, Duration::from_secs(60), line).await, None);
        assert_eq!(early(&ours), b"abc");
        let (mut ours, mut theirs) = client().await;
        let flood = tokio::spawn(async move { theirs.write_all(&[b'x'; 1 << 20]).await });
        assert_eq!(look(&mut ours, Duration::from_secs(60), line).await, None);
        assert!(!early(&ours).is_empty());
        drop(ours);
        let _ = flood.await;
    }
}
