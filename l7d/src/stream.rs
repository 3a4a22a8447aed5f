//! A connection as a stream of bytes: what the peer sends and is sent, whatever lies around it on the wire.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use crate::buffer::Buffer;
use crate::socket::Socket;
use crate::tls::{Agreed, Layer, Secured, Session, Wanted};

/// One connection's bytes, both ways.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    /// Boxed because most of it is not touched while the connection waits, and plain connections do without.
    tls: Option<Box<Layer>>,
}

/// Who can read the bytes of a connection on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Everyone on the way.
    Clear,
    /// Both ends of the TLS.
    Tls,
}

impl Stream {
    /// Returns the stream of a socket whose bytes stand for themselves.
    pub(crate) fn plain(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    /// Puts TLS between the socket and the stream from now on; see [`Self::handshake`].
    pub(crate) fn secure(&mut self, layer: Layer) {
        self.tls = Some(Box::new(layer));
    }

    /// Returns what was agreed on in the handshake of TLS; none for clear text.
    pub(crate) fn tls(&self) -> Option<Agreed> {
        self.tls.as_ref()?.agreed()
    }

    /// Returns the same in the words of OpenSSL.
    pub(crate) fn secured(&self) -> Option<Secured> {
        self.tls.as_ref()?.secured()
    }

    /// Returns all that rules may know of the TLS; none for clear text.
    pub(crate) fn session(&self) -> Option<Session> {
        self.tls.as_ref()?.session()
    }

    /// Returns who can read the bytes on the wire.
    pub(crate) fn privacy(&self) -> Privacy {
        if self.tls.is_some() { Privacy::Tls } else { Privacy::Clear }
    }

    /// Takes the handshake of TLS as far as is wanted.
    ///
    /// # Errors
    /// As the protocol demands, as reading and writing.
    pub(crate) async fn handshake(&self, wanted: Wanted) -> io::Result<()> {
        match &self.tls {
            Some(layer) => poll_fn(|cx| layer.poll_handshake(&self.socket, wanted, cx)).await,
            None => Ok(()),
        }
    }

    /// Tells whether the client has said something that others may say again, because it has not completed its handshake yet.
    pub(crate) fn is_early(&self) -> bool {
        self.tls.as_ref().is_some_and(|layer| layer.is_early())
    }

    /// Returns the socket under the stream.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Returns the socket if its bytes are those of the stream, so that the kernel may move them.
    pub(crate) fn bare(&self) -> Option<&Socket> {
        self.tls.is_none().then_some(&self.socket)
    }

    /// Tells whether nothing has arrived that was not asked for; costs a system call only if something may have.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.tls {
            Some(layer) => layer.is_quiet(&self.socket),
            None => self.socket.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
        }
    }

    /// Waits until there may be something to read, the end of the stream or an error included.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            Some(layer) => layer.poll_readable(&self.socket, cx),
            None => self.socket.poll_readable(cx),
        }
    }

    /// Reads into the spare capacity of `bytes`, of which there must be some, and returns how much; 0 is the end of the stream.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        match &self.tls {
            Some(layer) => layer.poll_read(&self.socket, cx, bytes),
            None => self.socket.poll_read(cx, bytes),
        }
    }

    /// Writes from one piece after the other, and returns how much was taken; see [`Self::poll_flush`].
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &self.tls {
            Some(layer) => layer.poll_write(&self.socket, cx, pieces),
            None => self.socket.poll_write(cx, pieces),
        }
    }

    /// Hands everything written so far to the system.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            Some(layer) => layer.poll_flush(&self.socket, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ends what is sent, in a way that the peer can tell from a failure.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.vanishes() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if let Some(layer) = &self.tls {
            ready!(layer.poll_goodbye(&self.socket, cx))?;
        }
        Poll::Ready(self.socket.shut_write())
    }

    /// Waits for bytes and returns them in a buffer, which is empty at the end of the stream; holds no buffer while waiting.
    ///
    /// # Errors
    /// As reading.
    pub(crate) async fn receive(&self) -> io::Result<Buffer> {
        poll_fn(|cx| {
            ready!(self.poll_readable(cx))?;
            let mut buffer = Buffer::take();
            self.poll_read(cx, buffer.tail()).map_ok(|_| buffer)
        })
        .await
    }

    /// Reads more bytes into a buffer that has room, and returns how many; 0 is the end of the stream.
    ///
    /// # Errors
    /// As reading.
    pub(crate) async fn receive_more(&self, buffer: &mut Buffer) -> io::Result<usize> {
        buffer.make_room();
        poll_fn(|cx| self.poll_read(cx, buffer.tail())).await
    }

    /// Writes everything.
    ///
    /// # Errors
    /// As writing.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_pieces([bytes]).await
    }

    /// Writes some pieces, with one call if the receiver takes it all.
    ///
    /// # Errors
    /// As writing.
    pub(crate) async fn send_pieces<const N: usize>(&self, mut pieces: [&[u8]; N]) -> io::Result<()> {
        poll_fn(|cx| {
            loop {
                let mut slices = [IoSlice::new(&[]); N];
                let mut filled = 0;
                for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                    slices[filled] = IoSlice::new(piece);
                    filled += 1;
                }
                if filled == 0 {
                    return self.poll_flush(cx);
                }
                let mut count = ready!(self.poll_write(cx, &slices[..filled]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                for piece in &mut pieces {
                    let taken = count.min(piece.len());
                    *piece = &piece[taken..];
                    count -= taken;
                }
            }
        })
        .await
    }

    /// Ends what is sent.
    ///
    /// # Errors
    /// As the system does when the connection is gone already.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }
}
