//! One question to one server of the DNS, over UDP, and over TCP where that is wanted or an answer does not fit.
//!
//! Each question has a number and a port of its own, both by chance; a datagram from elsewhere, or one that is no answer to this
//! question, is as good as none.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{Answer, Fault, Kind, Question};
use crate::config::{Carrier, Nameserver};

/// What is counted of a server of the DNS, in HAProxy's words.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; NAMES.len()]);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Sent,
    SendError,
    Valid,
    Update,
    NoName,
    Timeout,
    Refused,
    Other,
    Invalid,
    Truncated,
    Outdated,
}

/// The counters as they are printed; the names are HAProxy's, and what cannot happen here stays zero.
const NAMES: [(&str, Option<Count>); 15] = [
    ("sent", Some(Count::Sent)),
    ("snd_error", Some(Count::SendError)),
    ("valid", Some(Count::Valid)),
    ("update", Some(Count::Update)),
    ("cname", None),
    ("cname_error", None),
    ("any_err", None),
    ("nx", Some(Count::NoName)),
    ("timeout", Some(Count::Timeout)),
    ("refused", Some(Count::Refused)),
    ("other", Some(Count::Other)),
    ("invalid", Some(Count::Invalid)),
    ("too_big", None),
    ("truncated", Some(Count::Truncated)),
    ("outdated", Some(Count::Outdated)),
];

impl Counters {
    pub(super) fn add(&self, count: Count) {
        if let Some(place) = NAMES.iter().position(|(_, known)| *known == Some(count)) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns each name and number.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.iter().zip(&self.0).map(|((name, _), number)| (*name, number.load(Ordering::Relaxed)))
    }
}

/// Asks a server and waits for its answer.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask(
    nameserver: &Nameserver,
    (name, kind): (String, Kind),
    (payload, patience): (u16, Duration),
    counters: &Counters,
) -> Result<Answer, Fault> {
    let mut id = [0; 2];
    // Without numbers that nobody can guess, nothing is asked.
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(|_| Fault::Unreachable)?;
    let question = Question { id: u16::from_ne_bytes(id), name, kind };
    let carried = async {
        match nameserver.carrier() {
            Carrier::Tcp => by_stream(nameserver.address(), &question, payload, counters).await,
            Carrier::Udp => match by_datagram(nameserver.address(), &question, payload, counters).await {
                Err(Fault::Truncated) => {
                    counters.add(Count::Truncated);
                    by_stream(nameserver.address(), &question, payload, counters).await
                }
                reply => reply,
            },
        }
    };
    let reply = timeout(patience, carried).await.unwrap_or(Err(Fault::Timeout));
    counters.add(match reply {
        Ok(_) => Count::Valid,
        Err(Fault::NoName) => Count::NoName,
        Err(Fault::Refused) => Count::Refused,
        Err(Fault::Timeout) => Count::Timeout,
        Err(Fault::Unreachable) => Count::SendError,
        Err(Fault::Invalid) => Count::Invalid,
        Err(Fault::NoRecord | Fault::Truncated | Fault::Failed) => Count::Other,
    });
    reply
}

async fn by_datagram(to: SocketAddr, question: &Question, payload: u16, counters: &Counters) -> Result<Answer, Fault> {
    let from: SocketAddr = if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let unreachable = |_| Fault::Unreachable;
    let socket = UdpSocket::bind(from).await.map_err(unreachable)?;
    // From here on the system drops what comes from elsewhere.
    socket.connect(to).await.map_err(unreachable)?;
    socket.send(&question.encode(payload)).await.map_err(unreachable)?;
    counters.add(Count::Sent);
    let mut answer = vec![0; usize::from(payload)];
    loop {
        let length = socket.recv(&mut answer).await.map_err(unreachable)?;
        match question.decode(&answer[..length]) {
            // It may be somebody's guess; the true answer is still to come.
            Err(Fault::Invalid) => counters.add(Count::Invalid),
            reply => return reply,
        }
    }
}

async fn by_stream(to: SocketAddr, question: &Question, payload: u16, counters: &Counters) -> Result<Answer, Fault> {
    let unreachable = |_| Fault::Unreachable;
    let mut stream = TcpStream::connect(to).await.map_err(unreachable)?;
    let message = question.encode(payload);
    let mut framed = u16::try_from(message.len()).map_err(|_| Fault::Invalid)?.to_be_bytes().to_vec();
    framed.extend_from_slice(&message);
    stream.write_all(&framed).await.map_err(unreachable)?;
    counters.add(Count::Sent);
    let length = stream.read_u16().await.map_err(unreachable)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(unreachable)?;
    question.decode(&answer)
}
