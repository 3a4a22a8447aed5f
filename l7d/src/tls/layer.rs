//! TLS between a socket and the stream of bytes it carries.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};

use super::pardon::{self, Faults};
use super::records::{Connection, Records, Shaken};
use super::session::{self, Session, Shown};
use crate::socket::Socket;
use crate::stats::census::{self, Channel, Side};

/// The TLS of one connection. It holds memory for records only while some are incomplete or not yet sent.
#[derive(Debug)]
pub(crate) struct Layer {
    records: RefCell<Records>,
    /// What a client was shown.
    shown: OnceCell<Box<Shown>>,
    /// What of a client's certificates was overlooked.
    faults: Cell<Faults>,
    is_counted: Cell<bool>,
    side: Side,
    _channel: Channel,
}

/// How far a handshake has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To its end.
    Whole,
    /// To its end, or until there is early data of HTTP/1.
    Request,
}

/// What both sides have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The version.
    pub(crate) version: ProtocolVersion,
    /// How bytes are encrypted.
    pub(crate) cipher: CipherSuite,
    /// The protocol that is spoken inside, if they have talked about it.
    pub(crate) alpn: Option<Vec<u8>>,
}

/// What both sides of a handshake have agreed on, in the words of OpenSSL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secured {
    /// The version.
    pub(crate) version: &'static str,
    /// How bytes are encrypted.
    pub(crate) cipher: &'static str,
}

impl Layer {
    /// Begins a connection; `early` was read from the socket already.
    pub(crate) fn new(connection: Connection, early: &[u8]) -> Self {
        let side = if matches!(connection, Connection::Server(_)) { Side::Client } else { Side::Server };
        let mut records = Records::new(connection);
        if !early.is_empty() {
            records.feed(early);
        }
        Self {
            records: RefCell::new(records),
            shown: OnceCell::new(),
            faults: Cell::default(),
            is_counted: Cell::default(),
            side,
            _channel: Channel::take(side),
        }
    }

    /// Returns what both sides have agreed on, once the handshake is complete.
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        let records = self.records.borrow();
        let agreed = records.agreed();
        let (version, cipher) = (agreed.protocol_version()?, agreed.negotiated_cipher_suite()?.suite());
        Some(Agreed { version, cipher, alpn: agreed.alpn_protocol().map(<[u8]>::to_vec) })
    }

    /// Returns the same in the words of OpenSSL.
    pub(crate) fn secured(&self) -> Option<Secured> {
        let records = self.records.borrow();
        let agreed = records.agreed();
        let version = if agreed.protocol_version()? == ProtocolVersion::TLSv1_3 { "TLSv1.3" } else { "TLSv1.2" };
        Some(Secured { version, cipher: control::tls::suite_name(agreed.negotiated_cipher_suite()?.suite()) })
    }

    /// Returns all that rules may know of it, once the handshake is complete.
    pub(crate) fn session(&self) -> Option<Session> {
        let (secured, records) = (self.secured()?, self.records.borrow());
        let agreed = records.agreed();
        Some(Session {
            secured,
            alpn: agreed.alpn_protocol().map(<[u8]>::to_vec),
            is_resumed: agreed.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: agreed.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect(),
            shown: self.shown.get().map(|shown| Shown::clone(shown)),
            faults: self.faults.get(),
        })
    }

    /// Takes the handshake as far as is wanted.
    pub(crate) fn poll_handshake(&self, socket: &Socket, wanted: Wanted, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let outcome = self.records.borrow_mut().shake_hands().map_err(refused);
            if let Some(faults) = pardon::take_overlooked() {
                self.faults.set(faults);
            }
            if let Some(shown) = session::take_chosen() {
                // A second hello is answered with the same.
                let _ = self.shown.set(Box::new(shown));
            }
            // What comes last, tickets for instance, may go with the first bytes that are sent.
            if matches!(outcome, Ok(Shaken::Whole)) {
                self.count();
                return Poll::Ready(Ok(()));
            }
            let is_enough = wanted == Wanted::Request && matches!(outcome, Ok(Shaken::Early)) && self.speaks_http1();
            let flushed = self.poll_flush(socket, cx);
            if outcome.is_err() {
                return Poll::Ready(outcome.map(drop));
            }
            if is_enough {
                self.count();
                // What is left of our part goes as soon as the socket takes it.
                return Poll::Ready(if let Poll::Ready(Err(error)) = flushed { Err(error) } else { Ok(()) });
            }
            ready!(flushed)?;
            if ready!(self.poll_refill(socket, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Tells whether the peer has said something that others may say again, because it has not completed the handshake yet.
    pub(crate) fn is_early(&self) -> bool {
        self.records.borrow().is_early()
    }

    /// Counts the handshake, once.
    fn count(&self) {
        if !self.is_counted.replace(true) {
            census::note_handshake(self.side, self.records.borrow().agreed().handshake_kind());
        }
    }

    fn speaks_http1(&self) -> bool {
        self.records.borrow().agreed().alpn_protocol().is_none_or(|protocol| protocol != b"h2")
    }

    /// Tells whether nothing has arrived but what the protocol itself is about.
    pub(crate) fn is_quiet(&self, socket: &Socket) -> bool {
        let mut records = self.records.borrow_mut();
        loop {
            if records.has_more() || records.is_amid_record() {
                return false;
            }
            match records.refill(|room| socket.try_read(room)) {
                Ok(0) => return false,
                Ok(_) if records.decrypt(&mut Vec::new()).is_ok() => {}
                Ok(_) => return false,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Waits until there may be something to read, the end of the stream or an error included.
    pub(crate) fn poll_readable(&self, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.records.borrow().has_more() {
            return Poll::Ready(Ok(()));
        }
        self.waiting(socket.poll_readable(cx), socket, cx)
    }

    /// Reads into the spare capacity of `bytes`, and returns how much; 0 is the end that the peer has announced.
    pub(crate) fn poll_read(&self, socket: &Socket, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let before = bytes.len();
        loop {
            let outcome = self.records.borrow_mut().decrypt(bytes).map_err(refused);
            if bytes.len() > before {
                return Poll::Ready(Ok(bytes.len() - before));
            }
            if let Err(error) = outcome {
                // The peer is told why, if it can be told at once.
                let _ = self.poll_flush(socket, cx);
                return Poll::Ready(Err(error));
            }
            if self.records.borrow().is_closed() {
                return Poll::Ready(Ok(0));
            }
            let refilled = self.poll_refill(socket, cx);
            match ready!(self.waiting(refilled, socket, cx)) {
                // Anyone on the way can close a connection; only the peer can say that it meant to.
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Encrypts from one piece after the other, and returns how much was taken; see [`Self::poll_flush`].
    pub(crate) fn poll_write(&self, socket: &Socket, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let taken = self.records.borrow_mut().encrypt(pieces).map_err(refused)?;
            if taken > 0 || pieces.iter().all(|piece| piece.is_empty()) {
                return Poll::Ready(Ok(taken));
            }
            ready!(self.poll_flush(socket, cx))?;
        }
    }

    /// Hands everything written so far to the system.
    pub(crate) fn poll_flush(&self, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut records = self.records.borrow_mut();
        while !records.outgoing().is_empty() {
            let count = ready!(socket.poll_write(cx, &[IoSlice::new(records.outgoing())]))?;
            records.sent(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn poll_goodbye(&self, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.records.borrow_mut().say_goodbye().map_err(refused)?;
        self.poll_flush(socket, cx)
    }

    fn poll_refill(&self, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(socket.poll_readable(cx))?;
        let read = self.records.borrow_mut().refill(|room| match socket.poll_fill(cx, room) {
            Poll::Ready(Ok(count)) => Ok(count),
            Poll::Ready(Err(error)) => Err(Some(error)),
            Poll::Pending => Err(None),
        });
        match read {
            Ok(count) => Poll::Ready(Ok(count)),
            Err(Some(error)) => Poll::Ready(Err(error)),
            Err(None) => Poll::Pending,
        }
    }

    /// Whoever waits for the peer lets go first what the peer may be waiting for.
    fn waiting<T>(&self, outcome: Poll<io::Result<T>>, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_pending()
            && let Poll::Ready(Err(error)) = self.poll_flush(socket, cx)
        {
            return Poll::Ready(Err(error));
        }
        outcome
    }
}

/// Returns what the protocol refused as the failure of a stream.
fn refused(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
