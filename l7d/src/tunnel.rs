//! Carries bytes between a client and a server until both are done.
//!
//! Each direction copies through a pooled buffer while little flows, and lets the kernel move the bytes through a pooled pipe once a
//! read fills the buffer. A side that closes its sending half closes it for the other side too; the tunnel ends when both have.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use control::config::{Timeout, Timeouts};
use tokio::time::Instant;
use tracing::debug;

use crate::buffer::{Buffer, SMALL};
use crate::bulk::Bulk;
use crate::deadline::Deadline;
use crate::flow::{Flow, Meters};
use crate::pipe::Pipe;
use crate::rules::Memory;
use crate::socket::Socket;
use crate::stick::Event;
use crate::stream::Stream;
use crate::streams::{Incoming, Sending};

/// How long nothing may flow in either direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet {
    /// While both sides may still send.
    pub(crate) open: Option<Patience>,
    /// Once one side has closed its sending half.
    pub(crate) half_closed: Option<Patience>,
}

/// How long nothing may flow, and whose time-out that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How long.
    pub(crate) limit: Duration,
    /// The side that is waited for no longer.
    pub(crate) side: Side,
}

impl Quiet {
    /// Returns the tunnel timeout where there is one, else the shorter of both sides'.
    pub(crate) fn of(client: &Timeouts, server: &Timeouts) -> Self {
        let tunnel = client.of(Timeout::Tunnel).or(server.of(Timeout::Tunnel));
        let client_open = tunnel.or(client.of(Timeout::Client));
        let server_open = tunnel.or(server.of(Timeout::Server));
        Self {
            open: shorter(client_open, server_open),
            half_closed: shorter(client.of(Timeout::ClientFin).or(client_open), server.of(Timeout::ServerFin).or(server_open)),
        }
    }
}

fn shorter(client: Option<Duration>, server: Option<Duration>) -> Option<Patience> {
    let client = client.map(|limit| Patience { limit, side: Side::Client });
    let server = server.map(|limit| Patience { limit, side: Side::Server });
    client.into_iter().chain(server).min_by_key(|patience| patience.limit)
}

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// What ended a tunnel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// Both sides closed.
    #[error("both sides closed")]
    Closed,
    /// Nothing flowed for as long as this side may be silent.
    #[error("nothing flowed for too long")]
    Quiet(Side),
    /// A side failed.
    #[error("{0:?} failed: {1}")]
    Failed(Side, io::Error),
    /// The client was to have what had come from the server, and no more.
    #[error("the server was to say no more")]
    Cut,
    /// The client was to have nothing of it.
    #[error("the server's first bytes were refused")]
    Refused(Refusal),
}

/// How a client is refused what a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its connection closes.
    Told,
    /// It is not even told that.
    Silent,
}

/// What becomes of the first bytes of a server.
#[derive(Debug)]
pub(crate) enum Held {
    /// The client gets them, and all that follows.
    Passed(Option<Buffer>),
    /// The client gets them alone.
    Cut(Option<Buffer>),
    /// The client does not get so many.
    Refused(Refusal, u64),
}

/// What a tunnel carried and what ended it.
#[derive(Debug)]
pub(crate) struct Carried {
    /// Bytes from client to server.
    pub(crate) to_server: u64,
    /// Bytes from server to client.
    pub(crate) to_client: u64,
    /// What ended it.
    pub(crate) end: Ended,
}

/// How many bytes have gone through a tunnel that is still open.
#[derive(Debug, Default)]
pub(crate) struct Carriage {
    /// From client to server.
    pub(crate) to_server: Flow,
    /// From server to client.
    pub(crate) to_client: Flow,
}

impl Carriage {
    /// Lets everything that is tracked, and `meters`, know of the bytes while they flow.
    pub(crate) fn watch(&self, memory: &Memory, meters: Option<&Meters>) {
        self.to_server.watch(memory.audience(Event::BytesIn, meters));
        self.to_client.watch(memory.audience(Event::BytesOut, meters));
    }
}

/// The two ends of a tunnel, and what the client sent before it was open.
pub(crate) struct Ends<'a> {
    /// The client's end.
    pub(crate) client: End<'a>,
    /// The server's end.
    pub(crate) server: End<'a>,
    /// Bytes for the server that were read already.
    pub(crate) early: Option<Buffer>,
    /// Looks at the first bytes of the server, of which the client gets none before.
    pub(crate) held: Option<Pin<&'a mut dyn Future<Output = Held>>>,
}

/// One end of a tunnel.
#[derive(Debug)]
pub(crate) enum End<'a> {
    /// A connection.
    Bytes(&'a Stream),
    /// A stream of HTTP/2 or HTTP/3.
    Stream(&'a mut Incoming, &'a mut Sending),
}

impl<'a> End<'a> {
    fn split(self) -> (Inlet<'a>, Outlet<'a>) {
        match self {
            Self::Bytes(stream) => (Inlet::Bytes(stream), Outlet::Bytes(stream)),
            Self::Stream(inlet, outlet) => (Inlet::Stream(inlet), Outlet::Stream(outlet)),
        }
    }
}

/// Where the bytes of one direction come from.
enum Inlet<'a> {
    Bytes(&'a Stream),
    Stream(&'a mut Incoming),
}

/// Where they go.
enum Outlet<'a> {
    Bytes(&'a Stream),
    Stream(&'a mut Sending),
}

/// Some bytes on their way; what comes from a connection lies in a buffer of the pool, and nothing else is allocated for it.
enum Piece {
    Buffer(Buffer),
    Frame(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer.filled(),
            Self::Frame(bytes) => bytes,
        }
    }

    fn into_frame(self) -> Bytes {
        match self {
            Self::Buffer(buffer) => Bytes::from_owner(buffer),
            Self::Frame(bytes) => bytes,
        }
    }
}

impl Inlet<'_> {
    /// Waits for bytes; none are the end.
    async fn receive(&mut self) -> io::Result<Piece> {
        match self {
            Self::Bytes(stream) => stream.receive().await.map(Piece::Buffer),
            Self::Stream(stream) => loop {
                let Some(bytes) = stream.data().await else { return Ok(Piece::Frame(Bytes::new())) };
                let bytes = bytes?;
                // An empty frame is not the end.
                if !bytes.is_empty() || stream.is_end_stream() {
                    return Ok(Piece::Frame(bytes));
                }
            },
        }
    }
}

impl Outlet<'_> {
    async fn send(&mut self, piece: Piece) -> io::Result<()> {
        match self {
            Self::Bytes(stream) => stream.send(piece.bytes()).await,
            Self::Stream(stream) => stream.data(piece.into_frame(), false).await.map(drop),
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Bytes(stream) => stream.shutdown().await,
            Self::Stream(stream) => stream.finish(),
        }
    }
}

/// Carries bytes between the two until both close, one fails, or nothing flows for too long; `carriage` counts while that goes on.
pub(crate) async fn run(ends: Ends<'_>, quiet: Quiet, deadline: &mut Deadline, carriage: &Carriage) -> Carried {
    let Ends { client, server, early, held } = ends;
    let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
    let early = early.filter(|early| !early.is_empty()).map(Piece::Buffer);
    let pulse = Pulse { last: Cell::new(Instant::now()), half_closed: Cell::new(false) };
    let up = Direction { pulse: &pulse, from: Side::Client, carried: &carriage.to_server };
    let down = Direction { pulse: &pulse, from: Side::Server, carried: &carriage.to_client };
    let end = {
        let mut forth = pin!(up.relay(early, client_in, server_out));
        let mut back = pin!(down.relay_held(held, server_in, client_out));
        let (mut forth_done, mut back_done) = (false, false);
        poll_fn(|cx| {
            if !forth_done && let Poll::Ready(outcome) = forth.as_mut().poll(cx) {
                forth_done = true;
                if let Err(end) = outcome {
                    return Poll::Ready(end);
                }
            }
            if !back_done && let Poll::Ready(outcome) = back.as_mut().poll(cx) {
                back_done = true;
                if let Err(end) = outcome {
                    return Poll::Ready(end);
                }
            }
            if forth_done && back_done {
                return Poll::Ready(Ended::Closed);
            }
            loop {
                let limit = if pulse.half_closed.get() { quiet.half_closed } else { quiet.open };
                let Some(Patience { limit, side }) = limit else { return Poll::Pending };
                let end = pulse.last.get() + limit;
                ready!(deadline.poll_until(end, cx));
                if Instant::now() >= pulse.last.get() + limit {
                    return Poll::Ready(Ended::Quiet(side));
                }
            }
        })
        .await
    };
    let carried = Carried { to_server: up.carried.count(), to_client: down.carried.count(), end };
    debug!("tunnel carried {} bytes to the server and {} to the client: {}", carried.to_server, carried.to_client, carried.end);
    carried
}

/// Signs of life, seen by both directions.
struct Pulse {
    last: Cell<Instant>,
    half_closed: Cell<bool>,
}

/// One direction.
struct Direction<'a> {
    pulse: &'a Pulse,
    /// The side that sends.
    from: Side,
    carried: &'a Flow,
}

impl Direction<'_> {
    fn to(&self) -> Side {
        match self.from {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    fn moved(&self, count: usize) {
        self.carried.add(count as u64);
        self.pulse.last.set(Instant::now());
    }

    /// Carries everything behind what was looked at first, if anything was, and that as it was decided.
    async fn relay_held(
        &self,
        held: Option<Pin<&mut dyn Future<Output = Held>>>,
        from: Inlet<'_>,
        mut to: Outlet<'_>,
    ) -> Result<(), Ended> {
        let Some(held) = held else { return self.relay(None, from, to).await };
        match held.await {
            Held::Passed(early) => self.relay(early.map(Piece::Buffer), from, to).await,
            Held::Cut(early) => {
                if let Some(early) = early {
                    let count = early.filled().len();
                    to.send(Piece::Buffer(early)).await.map_err(|error| Ended::Failed(self.to(), error))?;
                    self.moved(count);
                }
                Err(Ended::Cut)
            }
            Held::Refused(refusal, count) => {
                self.carried.add(count);
                Err(Ended::Refused(refusal))
            }
        }
    }

    /// Carries everything up to the end of the stream, and passes that on too.
    async fn relay(&self, early: Option<Piece>, mut from: Inlet<'_>, mut to: Outlet<'_>) -> Result<(), Ended> {
        let mut piece = match early {
            Some(piece) => piece,
            None => from.receive().await.map_err(|error| Ended::Failed(self.from, error))?,
        };
        while !piece.bytes().is_empty() {
            let count = piece.bytes().len();
            to.send(piece).await.map_err(|error| Ended::Failed(self.to(), error))?;
            self.moved(count);
            if count == SMALL
                && let (Inlet::Bytes(from), Outlet::Bytes(to)) = (&from, &to)
                && let Some((from, to)) = from.bare().zip(to.bare())
                && self.splice(from, to).await? == Flowed::ToTheEnd
            {
                break;
            }
            piece = from.receive().await.map_err(|error| Ended::Failed(self.from, error))?;
        }
        self.pulse.half_closed.set(true);
        self.pulse.last.set(Instant::now());
        // A side that is gone already needs no telling.
        let _ = to.shutdown().await;
        Ok(())
    }

    /// Moves bytes inside the kernel as long as many come at a time.
    async fn splice(&self, from: &Socket, to: &Socket) -> Result<Flowed, Ended> {
        let mut from = Bulk::unannounced(from);
        loop {
            from.readable().await.map_err(|error| Ended::Failed(self.from, error))?;
            let Ok(mut pipe) = Pipe::take() else { return Ok(Flowed::Little) };
            let taken = match from.fill(&mut pipe, u64::MAX) {
                Ok(0) => return Ok(Flowed::ToTheEnd),
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(Ended::Failed(self.from, error)),
            };
            while pipe.held() > 0 {
                let given = to.when_writable(|to| pipe.drain(to)).await.map_err(|error| Ended::Failed(self.to(), error))?;
                self.moved(given);
            }
            if taken < WORTH_SPLICING {
                return Ok(Flowed::Little);
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Flowed {
    /// The sender closed.
    ToTheEnd,
    /// Too little came at a time.
    Little,
}

/// Below this, copying is cheaper than two calls to splice.
const WORTH_SPLICING: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Returns both ends of a connection: the peer's and ours.
    async fn connection() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, peer) = tokio::join!(listener.accept(), peer);
        (peer.unwrap(), Stream::plain(Socket::new(ours.unwrap().0.into_std().unwrap()).unwrap()))
    }

    struct Bench {
        client: TcpStream,
        server: TcpStream,
        tunnel: tokio::task::JoinHandle<Carried>,
    }

    async fn bench(quiet: Quiet) -> Bench {
        let ((client, inner), (server, outer)) = (connection().await, connection().await);
        let tunnel = tokio::task::spawn_local(async move {
            let ends = Ends { client: End::Bytes(&inner), server: End::Bytes(&outer), early: None, held: None };
            run(ends, quiet, &mut Deadline::default(), &Carriage::default()).await
        });
        Bench { client, server, tunnel }
    }

    const FOREVER: Quiet = Quiet { open: None, half_closed: None };

    #[tokio::test(flavor = "local")]
    async fn half_closed_client_still_gets_its_answer() {
        let mut bench = bench(FOREVER).await;
        bench.client.write_all(b"question").await.unwrap();
        bench.client.shutdown().await.unwrap();
        let mut question = String::new();
        bench.server.read_to_string(&mut question).await.unwrap();
        bench.server.write_all(b"answer").await.unwrap();
        drop(bench.server);
        let mut answer = String::new();
        bench.client.read_to_string(&mut answer).await.unwrap();
        let carried = bench.tunnel.await.unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        assert!(matches!(carried, Carried { to_server: 8, to_client: 6, end: Ended::Closed }), "{carried:?}");
    }

    #[tokio::test(flavor = "local")]
    async fn bulk_and_trickle_arrive_whole_and_in_order() {
        let Bench { mut client, mut server, tunnel } = bench(FOREVER).await;
        let sent: Vec<u8> = (0u32..3_000_000).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1].wrapping_mul(31)).collect();
        let expected = sent.clone();
        let sender = tokio::spawn(async move {
            for (size, chunk) in [1usize, 50_000, 7, 700_000, 3].iter().cycle().zip(sent.chunks(500_000)) {
                for part in chunk.chunks(*size.max(&20)) {
                    server.write_all(part).await.unwrap();
                }
            }
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        drop(client);
        sender.await.unwrap();
        assert!(received == expected);
        assert_eq!(tunnel.await.unwrap().to_client, 3_000_000);
    }

    #[tokio::test(flavor = "local")]
    async fn bytes_keep_a_tunnel_alive_and_silence_ends_it() {
        let quiet = Quiet { open: shorter(None, Some(Duration::from_secs(2))), half_closed: None };
        let mut bench = bench(quiet).await;
        let start = Instant::now();
        for _ in 0..6 {
            bench.client.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let carried = bench.tunnel.await.unwrap();
        assert!(matches!(carried, Carried { to_server: 6, end: Ended::Quiet(Side::Server), .. }), "{carried:?}");
        assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    }

    #[tokio::test(flavor = "local")]
    async fn half_closed_tunnel_has_its_own_patience() {
        let quiet = Quiet { open: None, half_closed: shorter(Some(Duration::from_millis(50)), Some(Duration::from_millis(90))) };
        let mut bench = bench(quiet).await;
        bench.client.shutdown().await.unwrap();
        assert!(matches!(bench.tunnel.await.unwrap().end, Ended::Quiet(Side::Client)));
    }

    #[tokio::test(flavor = "local")]
    async fn reset_is_told_by_its_side() {
        let bench = bench(FOREVER).await;
        bench.server.set_zero_linger().unwrap();
        drop(bench.server);
        assert!(matches!(bench.tunnel.await.unwrap().end, Ended::Failed(Side::Server, _)));
    }
}
