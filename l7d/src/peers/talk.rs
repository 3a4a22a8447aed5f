//! What one side of a conversation has in mind: bytes that were heard come in, bytes to be said go out, and `now` is handed in.
//!
//! It knows nothing of connections, so that a simulation can carry what it says, lose it, and let it begin anew.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::codec::{self, Frame, Message};
use super::group::Group;
use super::learn::{Learner, Told};
use super::member::{Kinship, Member};
use super::resync::{Outcome, Stage};
use super::session::{Ending, Side, Terms};
use super::teach::{Audience, Licence, Teacher};
use crate::stick::Weight;

/// One side of a conversation.
pub(super) struct Talk<'g> {
    group: &'g Group,
    member: &'g Member,
    teacher: Teacher<'g>,
    learner: Learner<'g>,
    /// Which of the conversations with this peer it is.
    number: u64,
    /// What is to be said.
    pub(super) out: Vec<u8>,
    /// Whether the peer has confirmed that it was taught everything.
    pub(super) is_taught: bool,
    /// Whether the peer has said everything it knows: what it says since is news.
    has_taught: bool,
}

impl<'g> Talk<'g> {
    /// Begins where the conversation before this one ended.
    pub(super) fn new(group: &'g Group, member: &'g Member, terms: &Terms) -> Self {
        // It says anew which connections it has open.
        group.forget_open(member);
        let (before, number) = {
            let mut standing = member.standing();
            standing.lost = None;
            standing.talks += 1;
            (standing.progress.clone(), standing.talks)
        };
        let is_local = member.kinship() == Kinship::Local;
        let audience = match (member.kinship(), terms.side) {
            (Kinship::Local, Side::Connected) => Audience::Successor,
            (Kinship::Local, Side::Accepted) => Audience::Predecessor,
            (Kinship::Remote, _) => Audience::Others(group.portion(member)),
        };
        let mut teacher = Teacher::new(group.tables(), &before, (terms.manner, audience));
        if terms.side == Side::Connected && is_local {
            teacher.begin();
        }
        let learner = Learner::new(group.tables(), member.name(), member.kinship());
        Self { group, member, teacher, learner, number, out: Vec::new(), is_taught: false, has_taught: false }
    }

    /// Keeps what is known for the next one.
    pub(super) fn end(&self, ending: &Ending, now: Instant) {
        {
            let mut standing = self.member.standing();
            (standing.progress, standing.heartbeat) = (self.teacher.progress(), None);
            // Another one may have begun already. Who is silent was waited for.
            if standing.talks == self.number {
                standing.lost = Some(if matches!(ending, Ending::Silence) { now } else { now + RETURN });
            }
        }
        self.group.resync().leave(self.member.place, Outcome::Lost, now);
    }

    /// Returns what was learnt of each table.
    pub(super) fn told(&self) -> Vec<Told> {
        self.learner.told()
    }

    /// Says what there is to say.
    pub(super) fn speak(&mut self, now: Instant) {
        if self.member.kinship() == Kinship::Remote && self.group.resync().asks(self.member.place, now) {
            debug!("peers {}: {} is asked for everything", self.group.name(), self.member.name());
            Message::ResyncRequest.write(&mut self.out);
            self.learner.weight = Weight::Memory;
        }
        self.teacher.allow(if self.group.resync().is_taught() { Licence::Lessons } else { Licence::Whole });
        if self.teacher.say(BATCH, &mut self.out) {
            let knows = self.group.resync().stage(now) == Stage::Done;
            if knows { Message::ResyncFinished } else { Message::ResyncPartial }.write(&mut self.out);
        }
        if !self.out.is_empty() {
            self.member.standing().progress = self.teacher.progress();
        }
    }

    /// Understands all whole messages, and takes them away.
    pub(super) fn hear(&mut self, inbox: &mut Vec<u8>, now: Instant) -> Result<(), Ending> {
        let mut done = 0;
        // HAProxy says first what it would have said meanwhile, and then everything.
        if self.learner.weight != Weight::Memory {
            let is_early = !self.has_taught && self.group.resync().stage(now) != Stage::Done;
            self.learner.weight = if is_early { Weight::Early } else { Weight::News };
        }
        let outcome = loop {
            match codec::read(&inbox[done..]) {
                Ok(Frame::Partial) => break Ok(()),
                Ok(Frame::Whole(message, size)) => {
                    done += size;
                    if let Err(error) = self.understand(message, now) {
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

    fn understand(&mut self, message: Message<'_>, now: Instant) -> Result<(), Ending> {
        match message {
            Message::ResyncRequest => self.teacher.begin(),
            Message::ResyncFinished => {
                self.group.resync().finish();
                self.end_lesson();
                debug!("peers {}: {} has taught everything", self.group.name(), self.member.name());
                Message::ResyncConfirm.write(&mut self.out);
            }
            Message::ResyncPartial => {
                self.group.resync().leave(self.member.place, Outcome::Partial, now);
                self.end_lesson();
                Message::ResyncConfirm.write(&mut self.out);
            }
            Message::ResyncConfirm => self.is_taught = true,
            Message::Heartbeat => self.member.standing().heard += 1,
            Message::ProtocolError | Message::SizeLimit => return Err(Ending::NotUnderstood),
            Message::Define(definition) => self.learner.define(definition)?,
            Message::Switch(number) => self.learner.switch(number),
            Message::Acknowledge(table, number) => self.teacher.acknowledge(table, number),
            Message::Update(update) => self.learner.update(&update)?,
            Message::Unknown => {}
        }
        Ok(())
    }

    fn end_lesson(&mut self) {
        self.has_taught = true;
        if self.member.kinship() == Kinship::Remote {
            self.learner.weight = Weight::News;
        }
    }
}

/// How long who was cut off has to come back, before what it has said of itself is forgotten: it tries again within two seconds.
const RETURN: Duration = Duration::from_secs(3);
/// About how many bytes wait to be said at most.
pub(super) const BATCH: usize = 65_536;
