//! One connection with a peer, from the moment both know each other.
//!
//! Both sides say what they have to say at the same time; nobody stops listening to speak. Who says nothing for a while is gone.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use super::codec::{self, Frame, Malformed, Message};
use super::group::Group;
use super::learn::Learner;
use super::member::{Kinship, Member, Turn};
use super::resync::{Outcome, Stage};
use super::teach::{Audience, Manner, Teacher};

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

/// What one side of a conversation has in mind.
struct Talk<'g> {
    group: &'g Group,
    member: &'g Member,
    teacher: Teacher<'g>,
    learner: Learner<'g>,
    out: Vec<u8>,
    side: Side,
    /// Told once the peer has confirmed that it was taught everything.
    is_taught: bool,
}

/// Speaks with a peer until one side ends it; `taught` is called when the peer confirms that it knows everything.
pub(super) async fn run<S>(stream: S, group: &Group, member: &Member, turn: &mut Turn, terms: Terms, taught: impl FnOnce()) -> Ending
where
    S: AsyncRead + AsyncWrite,
{
    let before = member.standing().progress.clone();
    let audience = if member.kinship() == Kinship::Local { Audience::Successor } else { Audience::Others(group.portion(member)) };
    let mut talk = Talk {
        group,
        member,
        teacher: Teacher::new(group.tables(), &before, (terms.manner, audience)),
        learner: Learner::new(group.tables()),
        out: Vec::new(),
        side: terms.side,
        is_taught: false,
    };
    let ending = tokio::select! {
        ending = talk.go_on(stream, terms.early, taught) => ending.err().unwrap_or(Ending::Closed),
        () = turn.lost() => Ending::Replaced,
    };
    {
        let mut standing = member.standing();
        (standing.progress, standing.heartbeat) = (talk.teacher.progress(), None);
    }
    group.resync().leave(member.place, Outcome::Lost, Instant::now());
    ending
}

impl Talk<'_> {
    async fn go_on<S: AsyncRead + AsyncWrite>(&mut self, stream: S, mut inbox: Vec<u8>, taught: impl FnOnce()) -> Result<(), Ending> {
        let (mut reader, mut writer) = split(stream);
        let mut taught = Some(taught);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut spoken, mut written, mut is_flushed) = (Instant::now(), Instant::now(), 0, true);
        if self.side == Side::Connected && self.member.kinship() == Kinship::Local {
            self.teacher.begin();
        }
        self.hear(&mut inbox)?;
        loop {
            if written == self.out.len() {
                self.out.clear();
                written = 0;
            }
            inbox.reserve(BATCH);
            // Who does not listen is not listened to, either.
            let is_heard = self.out.len() - written < MOST_UNSENT;
            tokio::select! {
                count = reader.read_buf(&mut inbox), if is_heard => {
                    if count? == 0 {
                        return Err(Ending::Closed);
                    }
                    heard = Instant::now();
                    if let Err(error) = self.hear(&mut inbox) {
                        self.complain(&error, &mut writer, written).await;
                        return Err(error);
                    }
                    self.member.standing().learnt = self.learner.told();
                    if self.is_taught && let Some(taught) = taught.take() {
                        taught();
                    }
                }
                count = send(&mut writer, &self.out[written..]), if written < self.out.len() || !is_flushed => {
                    let count = count?;
                    written += count;
                    (spoken, is_flushed) = (Instant::now(), count == 0);
                    self.member.standing().heartbeat = Some(spoken + HEARTBEAT);
                    if is_flushed {
                        self.speak();
                    }
                }
                _ = tick.tick() => {
                    let now = Instant::now();
                    if now - heard > SILENCE {
                        self.member.standing().silences += 1;
                        return Err(Ending::Silence);
                    }
                    if self.out.is_empty() {
                        self.speak();
                    }
                    if self.out.is_empty() && now - spoken > HEARTBEAT {
                        self.member.standing().sent += 1;
                        Message::Heartbeat.write(&mut self.out);
                    }
                }
            }
        }
    }

    /// Says what there is to say.
    fn speak(&mut self) {
        if self.member.kinship() == Kinship::Remote && self.group.resync().asks(self.member.place, Instant::now()) {
            debug!("peers {}: {} is asked for everything", self.group.name(), self.member.name());
            Message::ResyncRequest.write(&mut self.out);
        }
        if self.teacher.say(BATCH, &mut self.out) {
            let knows = self.group.resync().stage(Instant::now()) == Stage::Done;
            if knows { Message::ResyncFinished } else { Message::ResyncPartial }.write(&mut self.out);
        }
        if !self.out.is_empty() {
            self.member.standing().progress = self.teacher.progress();
        }
    }

    /// Understands all whole messages, and takes them away.
    fn hear(&mut self, inbox: &mut Vec<u8>) -> Result<(), Ending> {
        let mut done = 0;
        let outcome = loop {
            match codec::read(&inbox[done..]) {
                Ok(Frame::Partial) => break Ok(()),
                Ok(Frame::Whole(message, size)) => {
                    done += size;
                    if let Err(error) = self.understand(message) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error.into()),
            }
        };
        inbox.drain(..done);
        self.learner.acknowledge(&mut self.out);
        outcome
    }

    fn understand(&mut self, message: Message<'_>) -> Result<(), Ending> {
        let now = Instant::now();
        match message {
            Message::ResyncRequest => self.teacher.begin(),
            Message::ResyncFinished => {
                self.group.resync().finish();
                debug!("peers {}: {} has taught everything", self.group.name(), self.member.name());
                Message::ResyncConfirm.write(&mut self.out);
            }
            Message::ResyncPartial => {
                self.group.resync().leave(self.member.place, Outcome::Partial, now);
                Message::ResyncConfirm.write(&mut self.out);
            }
            Message::ResyncConfirm => self.is_taught = true,
            Message::Heartbeat => self.member.standing().heard += 1,
            Message::ProtocolError | Message::SizeLimit => return Err(Ending::NotUnderstood),
            Message::Define(definition) => self.learner.define(definition, self.member.name())?,
            Message::Switch(number) => self.learner.switch(number),
            Message::Acknowledge(table, number) => self.teacher.acknowledge(table, number),
            Message::Update(update) => self.learner.update(&update)?,
            Message::Unknown => {}
        }
        Ok(())
    }

    /// Tells the peer what was wrong, if it still listens.
    async fn complain(&mut self, error: &Ending, writer: &mut (impl AsyncWrite + Unpin), written: usize) {
        let message = match error {
            Ending::Malformed(Malformed::TooLong) => Message::SizeLimit,
            Ending::Malformed(_) => Message::ProtocolError,
            Ending::Closed | Ending::Silence | Ending::Replaced | Ending::NotUnderstood | Ending::Broken(_) => return,
        };
        self.member.standing().malformed += 1;
        message.write(&mut self.out);
        let farewell = async {
            writer.write_all(&self.out[written..]).await?;
            writer.shutdown().await
        };
        // It is over either way.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
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
/// About how many bytes wait to be sent at most.
const BATCH: usize = 65_536;
/// As many bytes wait to be sent at most, acknowledgements included.
const MOST_UNSENT: usize = 1 << 20;
