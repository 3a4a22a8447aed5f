//! A connection of a probe, whatever its family.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connection of a probe.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// One that knows its peer, so that the system says when nobody is there.
    Datagrams(UdpSocket),
    Tls(Box<TlsStream<Self>>),
}

impl Connection {
    /// Returns the protocol TLS agreed on.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Tcp(_) | Self::Unix(_) | Self::Datagrams(_) => None,
        }
    }

    /// Tells whether TLS is spoken.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Waits for bytes, at most `room`, and puts them behind those that are there; of datagrams for one, which is lost where it does not fit.
    ///
    /// # Errors
    /// As reading; from datagrams also that nobody is there.
    pub(super) async fn receive(&mut self, into: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        let Self::Datagrams(socket) = self else { return self.take(room as u64).read_buf(into).await };
        into.reserve(room);
        loop {
            let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
            let would_block = || io::Error::from(io::ErrorKind::WouldBlock);
            // What comes back from the network does not make the socket readable.
            if ready.is_error()
                && let Ok(error) = socket.try_io(Interest::ERROR, || socket.take_error()?.ok_or_else(would_block))
            {
                return Err(error);
            }
            match socket.try_recv_buf(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Tells whether what is read comes whole or not at all.
    pub(super) fn is_datagrams(&self) -> bool {
        matches!(self, Self::Datagrams(_))
    }

    /// Returns the addresses of both ends, ours first; none for a Unix socket.
    pub(super) fn endpoints(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok().zip(stream.peer_addr().ok()),
            Self::Unix(_) | Self::Datagrams(_) | Self::Tls(_) => None,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Datagrams(socket) => socket.poll_recv(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Datagrams(socket) => socket.poll_send(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Datagrams(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Datagrams(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
