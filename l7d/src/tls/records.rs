//! One connection's TLS: records from the wire to bytes, and bytes to records. Knows no socket.
//!
//! rustls keeps the protocol's state and works in memory that is handed to it, so nothing is held here but what is incomplete:
//! records that arrived in part, bytes the reader had no room for, records the system did not take yet.

use std::fmt;
use std::io::IoSlice;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

use super::wire::{FOUR_RECORDS, ONE_RECORD, Wire};
use crate::buffer::Buffer;

/// The two roles one may have in a connection.
pub(crate) enum Connection {
    /// The one who is connected to.
    Server(UnbufferedServerConnection),
    /// The one who connects.
    Client(UnbufferedClientConnection),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

/// The records of one connection.
#[derive(Debug)]
pub(super) struct Records {
    connection: Connection,
    /// Records that are incomplete or not decrypted yet.
    incoming: Option<Wire>,
    /// Records on their way to the wire.
    outgoing: Option<Wire>,
    /// Decrypted bytes that nobody had room for.
    plain: Option<Buffer>,
    inbound: Inbound,
    failed: Option<Error>,
    said_goodbye: bool,
    /// Whether the peer has sent something before the handshake was complete.
    has_early: bool,
    /// Whether the last read filled its memory, so that more is worth having for the next.
    is_bulk: bool,
}

/// What may still come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbound {
    Open,
    /// The peer has said that nothing will.
    Closed,
}

/// How far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shaken {
    /// There is more to come.
    Nothing,
    /// There is more to come, and something to read already.
    Early,
    /// It is complete.
    Whole,
}

/// What a step of the protocol led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There may be more to do.
    More,
    /// What rustls had to say is queued; it may have put off other news for that.
    Queued,
    /// Nothing more without more bytes from the wire.
    Blocked,
    /// Everything there is was taken in, and bytes may be sent.
    Open,
    /// The peer will send nothing more.
    PeerClosed,
    /// Both sides are done.
    Over,
}

impl Records {
    pub(super) fn new(connection: Connection) -> Self {
        let (incoming, outgoing, plain) = (None, None, None);
        let (said_goodbye, has_early, is_bulk) = (false, false, false);
        Self { connection, incoming, outgoing, plain, inbound: Inbound::Open, failed: None, said_goodbye, has_early, is_bulk }
    }

    /// Returns what both sides have agreed on.
    pub(super) fn agreed(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// Takes bytes that were read from the wire by somebody else.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let wire = self.incoming.get_or_insert_with(|| Wire::take(bytes.len()));
        wire.room_for(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        wire.extend(bytes.len());
    }

    /// Takes the handshake as far as the bytes that have arrived allow, and tells how far that is.
    ///
    /// # Errors
    /// As the protocol demands; what the peer is to be told about it waits to be sent.
    pub(super) fn shake_hands(&mut self) -> Result<Shaken, Error> {
        while self.agreed().is_handshaking() {
            match self.step(&mut Vec::new(), &mut Wish::Nothing)? {
                Step::More | Step::Queued => {}
                Step::Blocked | Step::Open => break,
                Step::PeerClosed | Step::Over => return Err(Error::General("closed during the handshake".to_owned())),
            }
        }
        self.hand_out();
        self.incoming.take_if(|wire| wire.is_empty());
        Ok(match (self.agreed().is_handshaking(), &self.plain) {
            (false, _) => Shaken::Whole,
            (true, Some(_)) => Shaken::Early,
            (true, None) => Shaken::Nothing,
        })
    }

    /// Tells whether the peer has said something that others may say again, because it has not completed the handshake yet.
    pub(super) fn is_early(&self) -> bool {
        self.has_early && self.agreed().is_handshaking()
    }

    /// Decrypts what has arrived into the spare capacity of `bytes`; what does not fit waits for the next time.
    ///
    /// # Errors
    /// As the protocol demands; what the peer is to be told about it waits to be sent.
    pub(super) fn decrypt(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(plain) = &mut self.plain {
            let count = plain.len().min(bytes.capacity() - bytes.len());
            bytes.extend_from_slice(&plain.filled()[..count]);
            plain.consume(count);
            if !plain.is_empty() {
                return Ok(());
            }
            self.plain = None;
        }
        let start = bytes.len();
        let mut last = Step::More;
        while self.inbound == Inbound::Open && self.plain.is_none() {
            match self.next_record() {
                None if last != Step::Queued => break,
                // A record that may not fit waits, unless there would be nothing to give otherwise.
                Some(record) if bytes.len() > start && bytes.capacity() - bytes.len() < record => break,
                None | Some(_) => {}
            }
            last = self.step(bytes, &mut Wish::Nothing)?;
            match last {
                Step::More | Step::Queued | Step::PeerClosed => {}
                Step::Blocked | Step::Open | Step::Over => break,
            }
        }
        self.hand_out();
        self.incoming.take_if(|wire| wire.is_empty());
        Ok(())
    }

    /// Tells whether [`Self::decrypt`] has something to do.
    pub(super) fn has_more(&self) -> bool {
        self.plain.is_some() || self.inbound == Inbound::Closed || self.next_record().is_some()
    }

    /// Tells whether the peer has said that nothing more will come.
    pub(super) fn is_closed(&self) -> bool {
        self.inbound == Inbound::Closed
    }

    /// Tells whether a record has arrived in part.
    pub(super) fn is_amid_record(&self) -> bool {
        self.incoming.is_some()
    }

    /// Encrypts from one piece after the other, as much as there is room for, and returns how much that was.
    ///
    /// # Errors
    /// Fails once either side has closed or the keys are worn out.
    pub(super) fn encrypt(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, Error> {
        let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.said_goodbye {
            return Err(Error::General("closed".to_owned()));
        }
        let wire = self.outgoing.get_or_insert_with(|| Wire::take(sealed_size(whole)));
        if wire.room().len() < sealed_size(whole.min(LONGEST_CONTENT)) {
            if wire.filled().len() >= ONE_RECORD {
                return Ok(0);
            }
            wire.room_for(FOUR_RECORDS - ONE_RECORD);
        }
        let mut taken = 0;
        self.until_open(&mut Wish::Encrypt { pieces, taken: &mut taken })?;
        Ok(taken)
    }

    /// Ends what is sent, which can be done once.
    ///
    /// # Errors
    /// As encrypting.
    pub(super) fn say_goodbye(&mut self) -> Result<(), Error> {
        if self.said_goodbye || (self.agreed().is_handshaking() && !self.has_early) {
            return Ok(());
        }
        self.said_goodbye = true;
        self.until_open(&mut Wish::Goodbye)
    }

    /// Returns the records that wait to be sent.
    pub(super) fn outgoing(&self) -> &[u8] {
        self.outgoing.as_ref().map_or(&[], Wire::filled)
    }

    /// Counts `count` bytes as sent.
    pub(super) fn sent(&mut self, count: usize) {
        if let Some(wire) = &mut self.outgoing {
            wire.consume(count);
        }
        self.outgoing.take_if(|wire| wire.is_empty());
    }

    /// Lets `read` fill free memory, and counts what it read as arrived.
    pub(super) fn refill<E>(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<usize, E> {
        let size = if self.is_bulk { FOUR_RECORDS } else { ONE_RECORD };
        let wire = self.incoming.get_or_insert_with(|| Wire::take(size));
        if wire.room().is_empty() {
            wire.room_for(ONE_RECORD);
        }
        let room = wire.room();
        let most = room.len();
        let outcome = read(room);
        match &outcome {
            Ok(count) => {
                wire.extend(*count);
                self.is_bulk = *count == most || (self.is_bulk && *count > ONE_RECORD);
            }
            Err(_) => {
                self.incoming.take_if(|wire| wire.is_empty());
            }
        }
        outcome
    }

    /// Takes steps until bytes may be sent, and then does as wished.
    fn until_open(&mut self, wish: &mut Wish<'_>) -> Result<(), Error> {
        loop {
            match self.step(&mut Vec::new(), wish)? {
                Step::More | Step::Queued | Step::PeerClosed => {}
                Step::Open => return Ok(()),
                Step::Blocked => return Err(Error::HandshakeNotComplete),
                Step::Over => return Err(Error::General("closed".to_owned())),
            }
        }
    }

    fn step(&mut self, bytes: &mut Vec<u8>, wish: &mut Wish<'_>) -> Result<Step, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let step = self.turn(bytes, wish);
        if let Err(error) = &step {
            self.failed = Some(error.clone());
            self.hand_out();
        }
        step
    }

    /// Queues what the protocol itself has to say, and nothing else: rustls must not look again at what it has refused.
    fn hand_out(&mut self) {
        while self.agreed().wants_write() && matches!(self.turn(&mut Vec::new(), &mut Wish::Nothing), Ok(Step::More)) {}
    }

    fn turn(&mut self, bytes: &mut Vec<u8>, wish: &mut Wish<'_>) -> Result<Step, Error> {
        let input = self.incoming.as_mut().map_or(&mut [][..], Wire::filled_mut);
        let mut output = Output { bytes, plain: &mut self.plain, outgoing: &mut self.outgoing };
        let (discard, step) = match &mut self.connection {
            Connection::Server(connection) => {
                let mut status = connection.process_tls_records(input);
                if let Ok(ConnectionState::ReadEarlyData(early)) = &mut status.state {
                    self.has_early = true;
                    while let Some(Ok(record)) = early.next_record() {
                        output.give(record.payload);
                    }
                    (status.discard, Ok(Step::More))
                } else {
                    output.accept(status, wish)
                }
            }
            Connection::Client(connection) => output.accept(connection.process_tls_records(input), wish),
        };
        if let Some(wire) = &mut self.incoming {
            wire.consume(discard);
        }
        if let Ok(Step::PeerClosed) = step {
            self.inbound = Inbound::Closed;
        }
        step
    }

    /// Returns the length of the next record if all of it has arrived, or if it cannot be one.
    fn next_record(&self) -> Option<usize> {
        let bytes = self.incoming.as_ref()?.filled();
        let [_kind, _, _, high, low, rest @ ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        (length <= rest.len() || length > LONGEST_RECORD).then_some(length)
    }
}

/// What is wanted once bytes may be sent.
#[derive(Debug)]
enum Wish<'a> {
    Nothing,
    Encrypt { pieces: &'a [IoSlice<'a>], taken: &'a mut usize },
    Goodbye,
}

/// Where the outcome of a step goes.
struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    plain: &'a mut Option<Buffer>,
    outgoing: &'a mut Option<Wire>,
}

impl Output<'_> {
    /// Returns how much was used of what arrived, and what follows.
    fn accept<D>(&mut self, status: UnbufferedStatus<'_, '_, D>, wish: &mut Wish<'_>) -> (usize, Result<Step, Error>) {
        let UnbufferedStatus { mut discard, state } = status;
        let state = match state {
            Ok(state) => state,
            Err(error) => return (discard, Err(error)),
        };
        let step = match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            self.give(record.payload);
                        }
                        Err(error) => return (discard, Err(error)),
                    }
                }
                Ok(Step::More)
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let mut encode = |room: &mut [u8]| match data.encode(room) {
                    Err(EncodeError::InsufficientSize(short)) => Err(short.required_size),
                    Err(EncodeError::AlreadyEncoded) => Ok(0),
                    Ok(count) => Ok(count),
                };
                self.write(&mut encode);
                Ok(Step::More)
            }
            ConnectionState::TransmitTlsData(data) => {
                // It waits before everything that follows, which is all the order that matters.
                data.done();
                Ok(Step::Queued)
            }
            ConnectionState::WriteTraffic(traffic) => self.fulfil(traffic, wish).map(|()| Step::Open),
            ConnectionState::BlockedHandshake => Ok(Step::Blocked),
            ConnectionState::PeerClosed => Ok(Step::PeerClosed),
            ConnectionState::Closed => Ok(Step::Over),
            // Early data was read before, and no server is sent any.
            ConnectionState::ReadEarlyData(_) | _ => Err(Error::General("unknown state of the protocol".to_owned())),
        };
        (discard, step)
    }

    fn give(&mut self, payload: &[u8]) {
        let count = payload.len().min(self.bytes.capacity() - self.bytes.len());
        let (fits, rest) = payload.split_at(count);
        self.bytes.extend_from_slice(fits);
        if !rest.is_empty() {
            self.plain.get_or_insert_with(Buffer::take).tail().extend_from_slice(rest);
        }
    }

    /// Lets `encode` write to free memory; it says how much it wrote or how much it needs.
    fn write(&mut self, encode: &mut impl FnMut(&mut [u8]) -> Result<usize, usize>) {
        let wire = self.outgoing.get_or_insert_with(|| Wire::take(ONE_RECORD));
        let mut outcome = encode(wire.room());
        if let Err(needed) = outcome {
            outcome = encode(wire.room_for(needed));
        }
        wire.extend(outcome.unwrap_or(0));
    }

    fn fulfil<D>(&mut self, mut traffic: WriteTraffic<'_, D>, wish: &mut Wish<'_>) -> Result<(), Error> {
        match wish {
            Wish::Nothing => {}
            Wish::Encrypt { pieces, taken } => {
                let wire = self.outgoing.get_or_insert_with(|| Wire::take(ONE_RECORD));
                for piece in *pieces {
                    let room = wire.room();
                    let count = piece.len().min(content_size(room.len()));
                    let sealed = traffic.encrypt(&piece[..count], room).map_err(|_| Error::EncryptError)?;
                    wire.extend(sealed);
                    **taken += count;
                    if count < piece.len() {
                        break;
                    }
                }
            }
            Wish::Goodbye => {
                let wire = self.outgoing.get_or_insert_with(|| Wire::take(ONE_RECORD));
                let sealed = traffic.queue_close_notify(wire.room_for(OVERHEAD)).map_err(|_| Error::EncryptError)?;
                wire.extend(sealed);
            }
        }
        Ok(())
    }
}

/// Returns how long records are that hold this much content.
fn sealed_size(content: usize) -> usize {
    content + content.div_ceil(LONGEST_CONTENT).max(1) * OVERHEAD
}

/// Returns how much content fits into records of this length.
fn content_size(sealed: usize) -> usize {
    let (whole, rest) = (sealed / (LONGEST_CONTENT + OVERHEAD), sealed % (LONGEST_CONTENT + OVERHEAD));
    whole * LONGEST_CONTENT + rest.saturating_sub(OVERHEAD)
}

/// Most content of one record (RFC 8446 section 5.1).
const LONGEST_CONTENT: usize = 16 * 1024;
/// Longest record there may be, without its header (RFC 5246 section 6.2.3).
const LONGEST_RECORD: usize = 16 * 1024 + 2048;
/// Far more than a record adds to its content, and room for a key update before it.
const OVERHEAD: usize = 256;
