//! Connections to the proxy, bare or with TLS, both driven by the task that uses them.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::case::Traffic;
use super::super::certificate::NAME;
use super::super::pattern::Pattern;

/// What all connections of a process share.
#[derive(Debug)]
pub(super) struct Client {
    target: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    pub(super) pattern: Pattern,
}

impl Client {
    /// Prepares connections to the proxy, with TLS if there is a certificate that it must have.
    ///
    /// # Errors
    /// Fails if the certificate cannot be used.
    pub(super) fn new(target: SocketAddr, certificate: Option<&Path>, traffic: Traffic) -> Result<Self> {
        let tls = certificate.map(|file| tls(file, traffic)).transpose().context("certificate for clients")?;
        Ok(Self { target, tls, pattern: Pattern::new() })
    }

    /// Returns the scheme of what is asked for.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As connecting, and if the other side is not who it should be.
    pub(super) async fn connect(&self) -> Result<Stream> {
        let socket = TcpStream::connect(self.target).await.context("connect")?;
        socket.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Stream::Plain(socket)) };
        let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(NAME)?)?;
        let mut stream = TlsStream { socket, connection: Box::new(connection) };
        stream.shake_hands().await.context("TLS handshake")?;
        let chosen = stream.connection.alpn_protocol();
        ensure!(chosen.is_none() || chosen == config.alpn_protocols.first().map(Vec::as_slice), "the proxy chose {chosen:?}");
        Ok(Stream::Tls(stream))
    }
}

/// Never resumes a session, so that every handshake is a full one.
fn tls(file: &Path, traffic: Traffic) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![if matches!(traffic, Traffic::Streams { .. }) { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Arc::new(config))
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(TlsStream),
}

/// A connection with TLS.
#[derive(Debug)]
pub(super) struct TlsStream {
    socket: TcpStream,
    connection: Box<ClientConnection>,
}

/// Bytes of the longest record.
const RECORD: usize = 16 * 1024;

/// The socket as rustls wants it: what would block says so.
struct Socket<'a>(&'a TcpStream);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    async fn shake_hands(&mut self) -> io::Result<()> {
        while self.connection.is_handshaking() || self.connection.wants_write() {
            std::future::poll_fn(|cx| self.poll_send(cx)).await?;
            if self.connection.is_handshaking() {
                std::future::poll_fn(|cx| self.poll_receive(cx)).await?;
            }
        }
        Ok(())
    }

    /// Sends everything that waits to be sent.
    fn poll_send(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.connection.write_tls(&mut Socket(&self.socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => drop(sent?),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Receives something; 0 is the end.
    fn poll_receive(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.connection.read_tls(&mut Socket(&self.socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => {
                    let count = received?;
                    self.connection.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    return Poll::Ready(if count == 0 && self.connection.is_handshaking() {
                        Err(io::ErrorKind::UnexpectedEof.into())
                    } else {
                        Ok(count)
                    });
                }
            }
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What a write could not send has nobody else to send it.
        if let Poll::Ready(sent) = self.poll_send(cx) {
            sent?;
        }
        let room = buffer.remaining().min(RECORD);
        loop {
            match self.connection.reader().read(buffer.initialize_unfilled_to(room)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    buffer.advance(read?);
                    return Poll::Ready(Ok(()));
                }
            }
            ready!(self.poll_receive(cx))?;
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self.connection.writer().write(bytes)?;
        match self.poll_send(cx) {
            Poll::Ready(sent) => Poll::Ready(sent.map(|()| taken)),
            Poll::Pending if taken > 0 => Poll::Ready(Ok(taken)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.connection.send_close_notify();
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
