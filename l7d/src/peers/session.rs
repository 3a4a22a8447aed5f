//! One connection with a peer, from the moment both know each other.
//!
//! Both sides say what they have to say at the same time; nobody stops listening to speak. Who says nothing for a while is gone.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::codec::{Malformed, Message};
use super::group::Group;
use super::member::{Member, Turn};
use super::talk::{BATCH, Talk};
use super::teach::Manner;

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// This process.
    Connected,
    /// The peer.
    Accepted,
}

/// How a connection begins.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) side: Side,
    pub(super) manner: Manner,
    /// What was read already.
    pub(super) early: Vec<u8>,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    /// The peer has closed it.
    #[error("closed")]
    Closed,
    /// The peer has said nothing for too long.
    #[error("nothing was heard")]
    Silence,
    /// Another connection has taken its place.
    #[error("another connection takes its place")]
    Replaced,
    /// The peer did not understand.
    #[error("the peer did not understand")]
    NotUnderstood,
    /// What the peer says is none of this protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The connection is broken.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

/// Speaks with a peer until one side ends it; `taught` is called when the peer confirms that it knows everything.
pub(super) async fn run<S>(stream: S, group: &Group, member: &Member, turn: &mut Turn, terms: Terms, taught: impl FnOnce()) -> Ending
where
    S: AsyncRead + AsyncWrite,
{
    let mut talk = Talk::new(group, member, &terms);
    let ending = tokio::select! {
        ending = go_on(&mut talk, member, (stream, terms.early), taught) => ending.err().unwrap_or(Ending::Closed),
        () = turn.lost() => Ending::Replaced,
    };
    talk.end(&ending, Instant::now());
    ending
}

async fn go_on<S: AsyncRead + AsyncWrite>(
    talk: &mut Talk<'_>,
    member: &Member,
    (stream, mut inbox): (S, Vec<u8>),
    taught: impl FnOnce(),
) -> Result<(), Ending> {
    let (mut reader, mut writer) = split(stream);
    let mut taught = Some(taught);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut spoken, mut written, mut is_flushed) = (Instant::now(), Instant::now(), 0, true);
    talk.hear(&mut inbox, Instant::now())?;
    loop {
        if written == talk.out.len() {
            talk.out.clear();
            written = 0;
        }
        inbox.reserve(BATCH);
        // Who does not listen is not listened to, either.
        let is_heard = talk.out.len() - written < MOST_UNSENT;
        tokio::select! {
            count = reader.read_buf(&mut inbox), if is_heard => {
                if count? == 0 {
                    return Err(Ending::Closed);
                }
                heard = Instant::now();
                if let Err(error) = talk.hear(&mut inbox, Instant::now()) {
                    complain((talk, member), &error, &mut writer, written).await;
                    return Err(error);
                }
                member.standing().learnt = talk.told();
                if talk.is_taught && let Some(taught) = taught.take() {
                    taught();
                }
            }
            count = send(&mut writer, &talk.out[written..]), if written < talk.out.len() || !is_flushed => {
                let count = count?;
                written += count;
                (spoken, is_flushed) = (Instant::now(), count == 0);
                member.standing().heartbeat = Some(spoken + HEARTBEAT);
                if is_flushed {
                    talk.speak(Instant::now());
                }
            }
            _ = tick.tick() => {
                let now = Instant::now();
                if now - heard > SILENCE {
                    member.standing().silences += 1;
                    return Err(Ending::Silence);
                }
                if talk.out.is_empty() {
                    talk.speak(Instant::now());
                }
                if talk.out.is_empty() && now - spoken > HEARTBEAT {
                    member.standing().sent += 1;
                    Message::Heartbeat.write(&mut talk.out);
                }
            }
        }
    }
}

/// Tells the peer what was wrong, if it still listens.
async fn complain((talk, member): (&mut Talk<'_>, &Member), error: &Ending, writer: &mut (impl AsyncWrite + Unpin), written: usize) {
    let message = match error {
        Ending::Malformed(Malformed::TooLong) => Message::SizeLimit,
        Ending::Malformed(_) => Message::ProtocolError,
        Ending::Closed | Ending::Silence | Ending::Replaced | Ending::NotUnderstood | Ending::Broken(_) => return,
    };
    member.standing().malformed += 1;
    message.write(&mut talk.out);
    let farewell = async {
        writer.write_all(&talk.out[written..]).await?;
        writer.shutdown().await
    };
    // It is over either way.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// Sends some of the bytes, or whatever still waits of those before; returns how many.
async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// How often the tables are looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long nothing is said before a sign of life is given; HAProxy's, too.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long nothing is heard before the peer is gone; HAProxy's, too.
const SILENCE: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(1);
/// As many bytes wait to be sent at most, acknowledgements included.
const MOST_UNSENT: usize = 1 << 20;
